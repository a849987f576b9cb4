//! A guest's disk that survives the guest: a file next to the guest's logs, formatted and read on the host.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::machine::option;
use crate::host::{command, packages};

/// Its file.
pub(crate) const IMAGE: &str = "disk.img";
/// Its name in the guest.
pub(crate) const NAME: &str = "/dev/vda";
/// Device number of its controller.
const SLOT: u8 = 0x1c;
/// Maximum exit code of e2fsck that means that no error is left (`man 8 e2fsck`).
const REPAIRED: i32 = 1;

/// Creates the disk with a file system like that of most machines: ext4 with a journal.
pub(super) fn create(log: &Path, mib: u64) -> Result<()> {
    packages::ensure(&packages::DISK)?;
    let image = log.join(IMAGE);
    let file = File::create(&image).with_context(|| format!("cannot create {}", image.display()))?;
    file.set_len(mib << 20).context("cannot size the disk of the guest")?;
    let mut format = Command::new("mkfs.ext4");
    format.args(["-q", "-F", "-b", "4096"]).arg(&image);
    command::read(&mut format, "formatting the disk of the guest").map(drop)
}

/// QEMU's options for the disk. The file has exactly what the guest's kernel has written.
pub(super) fn attached(log: &Path) -> [String; 4] {
    [
        "-blockdev",
        &format!("node-name=disk,driver=raw,file.driver=file,file.filename={}", option(&log.join(IMAGE))),
        "-device",
        &format!("virtio-blk-pci,drive=disk,bus=pcie.0,addr={SLOT:#x}"),
    ]
    .map(str::to_owned)
}

/// Copies a file from an image after a power loss: first repairs the file system, as the next boot would.
///
/// # Errors
///
/// The file system cannot be repaired, or does not have the file.
pub(crate) fn read(image: &Path, name: &str, to: &Path) -> Result<()> {
    let repaired =
        Command::new("e2fsck").args(["-f", "-y"]).arg(image).output().context("cannot run e2fsck")?;
    let code = repaired.status.code();
    ensure!(
        code.is_some_and(|code| code <= REPAIRED),
        "e2fsck of {} exited with {code:?}: {}",
        image.display(),
        String::from_utf8_lossy(&repaired.stdout)
    );
    let mut dump = Command::new("debugfs");
    dump.arg("-R").arg(format!("dump {name} {}", to.display())).arg(image);
    // It exits with 0 even on an error.
    command::read(&mut dump, "reading the disk of the guest")?;
    ensure!(to.is_file(), "{} does not have {name}", image.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_rejects_a_missing_file() {
        let folder = tempfile::tempdir().unwrap();
        create(folder.path(), 8).unwrap();
        let to = folder.path().join("to");
        let error = read(&folder.path().join(IMAGE), "/none", &to).unwrap_err().to_string();
        assert!(error.contains("does not have /none"), "{error}");
        let options = attached(Path::new("/l,m")).join(" ");
        assert!(options.contains("filename=/l,,m/disk.img "), "{options}");
    }
}
