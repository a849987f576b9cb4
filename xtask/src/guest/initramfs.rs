//! The root file system of a guest: busybox, the kernel modules, the guest programs and the script that
//! starts the agent.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::cpio::Archive;
use super::kmodule;
use super::modules::ModuleTree;
use super::programs::Program;
use crate::kernels::GuestKernel;

/// Path of busybox in Debian's and Ubuntu's busybox-static.
const BUSYBOX: &str = "/bin/busybox";
/// Modules that the agent needs; loaded at boot.
const AT_BOOT: [&str; 2] = ["virtio_pci", "virtio_console"];
/// Modules that `modprobe` can load.
const REQUIRED: [&str; 1] = ["nvme"];
/// Further ones, if the kernel has them.
const OPTIONAL: [&str; 12] = [
    "pvpanic_pci",
    "qemu_fw_cfg",
    "9p",
    "9pnet_virtio",
    "ramoops",
    "e1000",
    "netconsole",
    "nd_e820",
    "nd_pmem",
    "virtio_blk",
    "ext4",
    "null_blk",
];
/// Folders of the root file system.
const FOLDERS: [&str; 9] = ["bin", "dev", "etc", "lib", "lib/modules", "proc", "run", "sys", "tmp"];

/// Builds the file system for a kernel, with the test module if there is one: `/lib/modules/p2ptest.ko`.
///
/// # Errors
///
/// busybox is not installed, the kernel lacks a needed module, or a file cannot be read.
pub(crate) fn build(kernel: &GuestKernel, programs: &[Program], module: Option<&Path>) -> Result<Vec<u8>> {
    let tree = ModuleTree::open(&kernel.modules, &kernel.release)?;
    let mut archive = Archive::new();
    for folder in FOLDERS {
        archive.directory(folder);
    }
    let busybox = fs::read(Path::new(BUSYBOX))
        .with_context(|| format!("cannot read {BUSYBOX}: install the package busybox-static"))?;
    archive.file("bin/busybox", 0o755, &busybox);
    archive.symlink("bin/sh", "busybox");
    for program in programs {
        archive.file(&format!("bin/{}", program.name), 0o755, &program.read()?);
    }
    let nobody = "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n";
    archive.file("etc/passwd", 0o644, nobody.as_bytes());
    add_modules(&mut archive, &tree, &kernel.release)?;
    if let Some(module) = module {
        let bytes = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
        archive.file(&format!("lib/modules/{}", kmodule::file_name()), 0o644, &bytes);
    }
    archive.file("init", 0o755, init_script(&tree).as_bytes());
    Ok(archive.finish())
}

/// Adds the modules, decompressed because busybox does not do it, and the index that `modprobe` reads.
fn add_modules(archive: &mut Archive, tree: &ModuleTree, release: &str) -> Result<()> {
    let optional = OPTIONAL.into_iter().filter(|name| tree.has(name));
    let names: Vec<&str> = AT_BOOT.into_iter().chain(REQUIRED).chain(optional).collect();
    let folder = format!("lib/modules/{release}");
    archive.directory(&folder);
    let mut index = Vec::new();
    for name in &names {
        let modules = tree.resolve(&[name])?;
        // The last one is the module itself, after its dependencies, the nearest last.
        if let Some((module, needed)) = modules.split_last() {
            let needed: Vec<String> =
                needed.iter().rev().map(|needed| format!("{}.ko", needed.name)).collect();
            index.push(format!("{}.ko: {}", module.name, needed.join(" ")));
        }
    }
    for module in tree.resolve(&names)? {
        archive.file(&format!("{folder}/{}.ko", module.name), 0o644, &module.read()?);
        let entry = format!("{}.ko:", module.name);
        if !index.iter().any(|line| line.starts_with(&entry)) {
            index.push(entry);
        }
    }
    index.push(String::new());
    let index = index.join("\n");
    archive.file(&format!("{folder}/modules.dep"), 0o644, index.as_bytes());
    Ok(())
}

/// The first program of the guest. When the agent exits, the guest powers off.
fn init_script(tree: &ModuleTree) -> String {
    let load: Vec<String> = AT_BOOT
        .into_iter()
        .filter(|name| !tree.is_builtin(name))
        .map(|name| format!("modprobe {name}"))
        .collect();
    let load = load.join("\n");
    format!(
        "#!/bin/sh\n\
         /bin/busybox mount -t devtmpfs dev /dev\n\
         exec </dev/null >/dev/console 2>&1\n\
         /bin/busybox --install -s /bin\n\
         export PATH=/bin HOME=/\n\
         mount -t proc proc /proc\n\
         mount -t sysfs sys /sys\n\
         mount -t tmpfs run /run\n\
         mount -t tmpfs tmp /tmp\n\
         mount -t tracefs tracing /sys/kernel/tracing\n\
         mount -t debugfs debug /sys/kernel/debug\n\
         mount -t bpf bpf /sys/fs/bpf\n\
         chmod 1777 /tmp /run\n\
         {load}\n\
         p2p-agent\n\
         sync\n\
         poweroff -f\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_only_modules_that_are_not_built_in() {
        let folder = tempfile::tempdir().unwrap();
        let modules = folder.path().join("lib/modules/1.2");
        fs::create_dir_all(&modules).unwrap();
        fs::write(modules.join("modules.builtin"), "kernel/drivers/virtio/virtio_pci.ko\n").unwrap();
        let error = ModuleTree::open(folder.path(), "1.2").unwrap_err().to_string();
        assert!(error.contains("depmod -b"), "{error}");
        fs::write(
            modules.join("modules.dep"),
            "a/virtio_console.ko:\na/nvme.ko: a/nvme-core.ko a/nvme-auth.ko\na/nvme-core.ko: a/nvme-auth.ko\na/nvme-auth.ko:\n",
        )
        .unwrap();
        fs::create_dir(modules.join("a")).unwrap();
        for name in ["virtio_console", "nvme", "nvme-core", "nvme-auth"] {
            fs::write(modules.join(format!("a/{name}.ko")), name).unwrap();
        }
        let tree = ModuleTree::open(folder.path(), "1.2").unwrap();
        let script = init_script(&tree);
        assert!(
            script.contains("modprobe virtio_console\n") && !script.contains("modprobe virtio_pci"),
            "{script}"
        );

        let mut archive = Archive::new();
        add_modules(&mut archive, &tree, "1.2").unwrap();
        let bytes = String::from_utf8_lossy(&archive.finish()).into_owned();
        let index = "virtio_console.ko: \nnvme.ko: nvme_core.ko nvme_auth.ko\nnvme_auth.ko:\nnvme_core.ko:\n";
        assert!(bytes.contains(index), "{bytes}");
    }
}
