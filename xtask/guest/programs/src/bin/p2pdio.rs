//! Reads from an NVMe drive directly into the p2p memory of another one.
//!
//! During the read the kernel holds the pages, and an unbind of the device that owns them has to wait: the
//! simplest way to block one without a kernel module.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::mem::MaybeUninit;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use p2p_trace_guest::Mapping;
use rustix::fs::OFlags;

/// Read from a drive into the p2p memory of a PCI device, past the page cache.
#[derive(Debug, Parser)]
struct Options {
    /// PCI device whose memory is the target, as 0000:03:00.0
    #[arg(long)]
    memory: String,
    /// Drive to read from, as /dev/nvme1n1
    #[arg(long)]
    disk: PathBuf,
    /// Bytes to read, a multiple of the drive's block size
    #[arg(long, default_value_t = 64 * 1024)]
    size: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let memory = Mapping::new(&options.memory, options.size)?;
    println!("mapped pid={} bytes={} pages={}", std::process::id(), memory.len(), memory.pages());
    std::io::stdout().flush()?;

    let disk = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::DIRECT.bits().cast_signed())
        .open(&options.disk)
        .with_context(|| format!("cannot open {} for direct I/O", options.disk.display()))?;
    let started = Instant::now();
    // SAFETY: the mapping is at least that long, lives until the call returns, and no reference to it exists.
    let buffer: &mut [MaybeUninit<u8>] =
        unsafe { std::slice::from_raw_parts_mut(memory.as_mut_ptr().cast(), memory.len()) };
    let (read, _) = rustix::io::read(&disk, buffer)
        .with_context(|| format!("cannot read from {}", options.disk.display()))?;
    let read = read.len();
    println!("read pid={} bytes={read} milliseconds={}", std::process::id(), started.elapsed().as_millis());
    ensure!(read == options.size, "read {read} of {} bytes from {}", options.size, options.disk.display());
    memory.unmap()
}
