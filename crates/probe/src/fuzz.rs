//! Entry points for fuzzing: BTF and texts from untrusted sources.

use std::{hint::black_box, path::Path, sync::LazyLock};

use crate::{
    kernel::{btf::Btf, config::KernelConfig, fuzz as kernel, release::Release, symbols::Symbols},
    layout::layout,
    plan::Plan,
};

/// The symbols of a real kernel, so that a plan finds functions.
static SYMBOLS: LazyLock<Symbols> =
    LazyLock::new(|| Symbols::parse(include_bytes!("../tests/fixtures/kallsyms-6.12.txt")));

/// Parses possible BTF, and makes every lookup that a session makes.
pub fn btf(bytes: &[u8]) {
    let Ok(btf) = Btf::parse(bytes.to_vec()) else { return };
    black_box(Plan::new(&SYMBOLS, &btf, &[]));
    black_box(layout(&btf));
    for name in ["dev_pagemap", "pci_dev", "task_struct", "kobject", "device", "a", "s"] {
        for path in ["pgmap", "ops.x", "range.start", "ranges", "kobj.name", "a", "b.c", "ref.data", "mode"] {
            drop(black_box(btf.member(name, path)));
        }
        black_box((btf.struct_size(name), btf.struct_id(name), btf.has_struct(name)));
    }
    for name in ["pci_alloc_p2pmem", "arch_remove_memory", "printk", "f"] {
        black_box(btf.func(name).map(|func| func.param_index("map")));
        black_box(btf.func_id(name));
    }
    black_box(btf.enumerator("MEMORY_DEVICE_PCI_P2PDMA"));
    black_box(btf.enum_value("memory_type", "MEMORY_DEVICE_PRIVATE"));
}

/// Parses texts as the kernel, or an untrusted machine, may have written them.
pub fn texts(bytes: &[u8]) {
    let Some((&which, bytes)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(bytes);
    match which % 3 {
        0 => symbols(bytes),
        1 => kernel::texts(bytes, &text),
        _ => {
            let config = KernelConfig::parse(Path::new("config"), &text);
            black_box(config.setting("PCI_P2PDMA"));
            let release = Release::parse(&text);
            black_box((release.is_at_least(6, 1), release.as_str().len()));
        }
    }
}

fn symbols(bytes: &[u8]) {
    let symbols = Symbols::parse(bytes);
    for address in [0, 1, 0xffff_ffff_8100_0000, 0xffff_ffff_8100_0123, 0xffff_ffff_c000_0000, u64::MAX] {
        black_box((symbols.symbolise(address), symbols.is_kernel_text(address)));
    }
    black_box(symbols.variants("pci_alloc_p2pmem"));
    black_box((symbols.address_of("_stext"), symbols.address_of_static("p2pdma_pgmap_ops")));
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::PathBuf};

    use super::*;

    fn folder(target: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target)
    }

    fn each(target: &str, read: impl Fn(&[u8])) {
        let files: Vec<_> =
            fs::read_dir(folder(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!files.is_empty());
        for file in files {
            read(&fs::read(file).unwrap());
        }
    }

    #[test]
    fn parses_the_corpora() {
        if env::var_os("P2P_TRACE_BLESS").is_some() {
            fs::create_dir_all(folder("btf")).unwrap();
            fs::write(folder("btf").join("sample"), crate::kernel::btf::tests::sample().build()).unwrap();
        }
        each("btf", btf);
        // The first byte selects the crate that reads the text.
        each("texts", |bytes| texts(&bytes[1..]));
    }
}
