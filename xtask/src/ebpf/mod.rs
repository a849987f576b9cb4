//! `cargo xtask build-ebpf`: compiles the kernel side, and proves that the committed objects match it.

mod compile;
mod sidecar;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::host::inputs;
use crate::toolchain::Toolchain;
use compile::Compiler;
use sidecar::{Object, Sidecar};

/// One object: the same sources with other features.
struct Variant {
    /// The file's name in the folder of the committed objects.
    file: &'static str,
    /// Features of the eBPF crate beyond its default ones.
    features: &'static [&'static str],
}

/// The objects that user space embeds.
const VARIANTS: [Variant; 2] = [
    Variant { file: "p2p-trace.bpf.o", features: &[] },
    // For kernels before 5.12, whose verifier knows no atomic fetch-and-add.
    Variant { file: "p2p-trace-legacy.bpf.o", features: &["no-fetch-add"] },
];

/// The result of comparing the committed objects with freshly built ones.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// Identical byte for byte.
    Identical,
    /// Other bytes, or other sources, from the same toolchain.
    Differs,
    /// Other bytes from another toolchain: this proves nothing.
    ToolchainDiffers,
}

/// The folder of the committed objects.
fn objects_folder(root: &Path) -> PathBuf {
    root.join("crates/probe/bpf")
}

/// Compiles all objects and writes them with their sidecar into the tree.
///
/// # Errors
/// The toolchain is not available, the sources do not compile, or the files cannot be written.
pub(crate) fn build(root: &Path) -> Result<()> {
    let toolchain = Toolchain::ensure()?;
    let objects = compile_all(&Compiler::new(root, &toolchain)?)?;
    let folder = objects_folder(root);
    let mut entries = Vec::new();
    for (variant, bytes) in VARIANTS.iter().zip(&objects) {
        let file = folder.join(variant.file);
        fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
        println!("{}: {} bytes", variant.file, bytes.len());
        entries.push((variant.file.to_owned(), Object::new(bytes, variant.features)));
    }
    Sidecar {
        inputs: inputs::fingerprints(root)?,
        toolchain: toolchain.versions,
        objects: entries.into_iter().collect(),
    }
    .write(&folder)
}

/// Compiles all objects again and compares them with the committed ones.
///
/// # Errors
/// As [`build`]; also if the committed files cannot be read.
pub(crate) fn check(root: &Path) -> Result<Verdict> {
    let folder = objects_folder(root);
    let sidecar = Sidecar::read(&folder)?;
    let changed = inputs::differences(&sidecar.inputs, &inputs::fingerprints(root)?);
    if !changed.is_empty() {
        println!(
            "differs: the sources have changed since the objects were built:\n  {}",
            changed.join("\n  ")
        );
        return Ok(Verdict::Differs);
    }
    let toolchain = Toolchain::ensure()?;
    let compiler = Compiler::new(root, &toolchain)?;
    compiler.clean()?;
    let fresh = compile_all(&compiler)?;
    let mut different = Vec::new();
    for (variant, fresh) in VARIANTS.iter().zip(&fresh) {
        let file = folder.join(variant.file);
        let committed = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let recorded = sidecar.objects.get(variant.file);
        if committed != *fresh {
            different.push(format!(
                "{}: {} bytes committed, {} built",
                variant.file,
                committed.len(),
                fresh.len()
            ));
        } else if recorded != Some(&Object::new(fresh, variant.features)) {
            different.push(format!("{}: the entry in {} is wrong", variant.file, sidecar::FILE));
        }
    }
    Ok(conclude(&different, &sidecar.toolchain.differences(&toolchain.versions)))
}

/// Lints the kernel side as it is compiled: for BPF, in every variant.
///
/// # Errors
/// The toolchain is not available, or clippy finds something.
pub(crate) fn lint(root: &Path) -> Result<()> {
    let toolchain = Toolchain::ensure()?;
    let compiler = Compiler::new(root, &toolchain)?;
    VARIANTS.iter().try_for_each(|variant| compiler.lint(variant))
}

/// Prints and returns the verdict.
fn conclude(different: &[String], tools: &[String]) -> Verdict {
    if different.is_empty() {
        println!("identical: {} objects, byte for byte", VARIANTS.len());
        for tool in tools {
            println!("  although the toolchain differs: {tool}");
        }
        Verdict::Identical
    } else if tools.is_empty() {
        println!("differs: other bytes from the same sources and toolchain:\n  {}", different.join("\n  "));
        println!("Rebuild the objects with `cargo xtask build-ebpf` and commit crates/probe/bpf.");
        Verdict::Differs
    } else {
        println!("inconclusive: the toolchain differs:\n  {}", tools.join("\n  "));
        Verdict::ToolchainDiffers
    }
}

/// All objects in the order of [`VARIANTS`].
fn compile_all(compiler: &Compiler<'_>) -> Result<Vec<Vec<u8>>> {
    VARIANTS.iter().map(|variant| compiler.compile(variant)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdict_depends_on_bytes_and_toolchain() {
        let (bytes, tool) = (["a.o: 1, 2".to_owned()], ["rustc: 1 here 2".to_owned()]);
        assert_eq!(conclude(&[], &[]), Verdict::Identical);
        assert_eq!(conclude(&[], &tool), Verdict::Identical);
        assert_eq!(conclude(&bytes, &[]), Verdict::Differs);
        assert_eq!(conclude(&bytes, &tool), Verdict::ToolchainDiffers);
    }
}
