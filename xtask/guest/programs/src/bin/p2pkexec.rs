//! Loads a crash kernel: `kexec -p` for a guest without kexec-tools.
//!
//! With `kexec_file_load(2)`, the kernel itself reads the image, describes the memory to save and passes the
//! description to the crash kernel (`elfcorehdr=`).

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

/// Loads into the memory that `crashkernel=` reserves, to be started by a panic (Linux:
/// include/uapi/linux/kexec.h).
const KEXEC_FILE_ON_CRASH: libc::c_ulong = 2;

/// Load a kernel that is started when the running one crashes.
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
    // SAFETY: the two descriptors are open, and the text, whose length includes its final zero byte, outlives
    // the call.
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
    ensure!(result == 0, "cannot load the crash kernel: {}", std::io::Error::last_os_error());
    Ok(())
}
