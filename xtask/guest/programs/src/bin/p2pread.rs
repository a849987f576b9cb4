//! Reads from a drive past the page cache in a loop: innocent I/O, without memory of another device.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;
use rustix::fs::OFlags;

/// Read from a drive, block by block, and print the median of the reads' processor time in nanoseconds.
#[derive(Debug, Parser)]
struct Options {
    /// Drive to read from, as /dev/nvme1n1
    disk: PathBuf,
    /// Number of reads
    count: u64,
}

/// Bytes of one read.
const SIZE: usize = 4096;
/// Blocks to read, from the first one on.
const BLOCKS: u64 = 1024;

/// Memory with the alignment of direct I/O.
#[repr(align(4096))]
struct Block([u8; SIZE]);

fn main() -> Result<()> {
    let Options { disk, count } = Options::parse();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::DIRECT.bits().cast_signed())
        .open(&disk)
        .with_context(|| format!("cannot open {} for direct I/O", disk.display()))?;
    let mut block = Box::new(Block([1; SIZE]));
    let read = |block: &mut Block, number: u64| {
        file.read_exact_at(&mut block.0, number % BLOCKS * SIZE as u64)
            .with_context(|| format!("cannot read from {}", disk.display()))
    };
    // Completes the one-time work of a first read.
    read(&mut block, 0)?;
    let reads = median(count, |number| read(&mut block, number))?;
    let clock = median(count, |_| Ok(()))?;
    println!("{}", reads.saturating_sub(clock));
    Ok(())
}

/// The median processor time of a repeated action: occasional interruptions do not count.
fn median(count: u64, mut act: impl FnMut(u64) -> Result<()>) -> Result<u64> {
    let mut times = Vec::new();
    for number in 0..count {
        let before = processor_time()?;
        act(number)?;
        times.push(processor_time()? - before);
    }
    times.sort_unstable();
    times.get(times.len() / 2).copied().context("the number of reads is 0")
}

/// Nanoseconds that this thread has run, in user space and in the kernel.
fn processor_time() -> Result<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes a time of this type.
    if unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error()).context("cannot read the processor time");
    }
    Ok(time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned())
}
