//! Prints the arrival time of each line of standard input, or of each new size of a file.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use rustix::time::{ClockId, clock_gettime};

/// Polling interval of the file.
const INTERVAL: Duration = Duration::from_millis(5);

/// Print lines with their arrival time in front of them, `CLOCK_BOOTTIME` in nanoseconds.
#[derive(Debug, Parser)]
struct Options {
    /// Print the sizes of this file instead, until this process is killed
    #[arg(long, value_name = "FILE")]
    size_of: Option<PathBuf>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let mut out = io::stdout().lock();
    if let Some(file) = options.size_of {
        let mut before = 0;
        loop {
            let size = file.metadata().map_or(0, |file| file.len());
            if size != before {
                writeln!(out, "{} {size}", now_ns())?;
                before = size;
            }
            thread::sleep(INTERVAL);
        }
    }
    // A read of the kernel's log returns one entry, and fails if the buffer is too small for it.
    let mut lines = BufReader::with_capacity(1 << 16, io::stdin().lock());
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        write!(out, "{} ", now_ns())?;
        out.write_all(&line)?;
        line.clear();
    }
    Ok(())
}

fn now_ns() -> i64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}
