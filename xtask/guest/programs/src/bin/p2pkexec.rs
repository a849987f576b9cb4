//! Loads the kernel that takes over when this one dies: `kexec -p` for a guest without kexec-tools.
//!
//! `kexec_file_load(2)` leaves it to the kernel to read the image, to describe the memory that is to be saved and to tell the next
//! kernel of it (`elfcorehdr=`).

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

/// Into the memory that `crashkernel=` keeps free, to be started by a panic (Linux: include/uapi/linux/kexec.h).
const KEXEC_FILE_ON_CRASH: libc::c_ulong = 2;

/// Load a kernel that is started when the running one dies.
#[derive(Debug, Parser)]
struct Options {
    /// Its image
    #[arg(long)]
    kernel: PathBuf,
    /// Its initial root file system
    #[arg(long)]
    initramfs: PathBuf,
    /// Its command line
    #[arg(long)]
    append: String,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let open = |path: &Path| File::open(path).with_context(|| format!("cannot open {}", path.display()));
    let (kernel, initramfs) = (open(&options.kernel)?, open(&options.initramfs)?);
    let append = CString::new(options.append).context("a command line cannot have a zero byte")?;
    // SAFETY: the two descriptors are open, and the text, whose length counts its final zero byte, lives until the call is over.
    let result = unsafe {
        libc::syscall(
            libc::SYS_kexec_file_load,
            kernel.as_raw_fd(),
            initramfs.as_raw_fd(),
            append.as_bytes_with_nul().len(),
            append.as_ptr(),
            KEXEC_FILE_ON_CRASH,
        )
    };
    ensure!(result == 0, "the kernel does not take it: {}", std::io::Error::last_os_error());
    Ok(())
}
