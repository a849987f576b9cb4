//! A disk of a guest that outlives it: a file among the guest's logs, formatted and read on this machine.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::machine::option;
use crate::host::{command, packages};

/// Its file.
pub(crate) const IMAGE: &str = "disk.img";
/// What the guest calls it.
pub(crate) const NAME: &str = "/dev/vda";
/// Device number of its controller.
const SLOT: u8 = 0x1c;
/// Exit codes of e2fsck up to this one: there is no error left (`man 8 e2fsck`).
const MENDED: i32 = 1;

/// Creates it with a file system like that of most machines: ext4 with a journal.
pub(super) fn create(log: &Path, mib: u64) -> Result<()> {
    packages::ensure(&packages::DISK)?;
    let image = log.join(IMAGE);
    let file = File::create(&image).with_context(|| format!("cannot create {}", image.display()))?;
    file.set_len(mib << 20).context("cannot size the disk of the guest")?;
    let mut format = Command::new("mkfs.ext4");
    format.args(["-q", "-F", "-b", "4096"]).arg(&image);
    command::read(&mut format, "formatting the disk of the guest").map(drop)
}

/// The options of QEMU for it. What the guest's kernel has not written is not in the file; what it has is.
pub(super) fn attached(log: &Path) -> [String; 4] {
    [
        "-blockdev",
        &format!("node-name=disk,driver=raw,file.driver=file,file.filename={}", option(&log.join(IMAGE))),
        "-device",
        &format!("virtio-blk-pci,drive=disk,bus=pcie.0,addr={SLOT:#x}"),
    ]
    .map(str::to_owned)
}

/// Takes a file out of an image after a loss of power: first the file system is mended, as at the next start.
///
/// # Errors
///
/// The file system cannot be mended, or does not have the file.
pub(crate) fn read(image: &Path, name: &str, to: &Path) -> Result<()> {
    let mended =
        Command::new("e2fsck").args(["-f", "-y"]).arg(image).output().context("cannot run e2fsck")?;
    let code = mended.status.code();
    ensure!(
        code.is_some_and(|code| code <= MENDED),
        "e2fsck of {} ended with {code:?}: {}",
        image.display(),
        String::from_utf8_lossy(&mended.stdout)
    );
    let mut dump = Command::new("debugfs");
    dump.arg("-R").arg(format!("dump {name} {}", to.display())).arg(image);
    // It ends with 0 whatever happens.
    command::read(&mut dump, "reading the disk of the guest")?;
    ensure!(to.is_file(), "{} does not have {name}", image.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_on_the_disk_is_missed() {
        let folder = tempfile::tempdir().unwrap();
        create(folder.path(), 8).unwrap();
        let to = folder.path().join("to");
        let error = read(&folder.path().join(IMAGE), "/none", &to).unwrap_err().to_string();
        assert!(error.contains("does not have /none"), "{error}");
        let options = attached(Path::new("/l,m")).join(" ");
        assert!(options.contains("filename=/l,,m/disk.img "), "{options}");
    }
}
