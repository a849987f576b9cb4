//! Runs the transports inside a guest and prints one line per measurement.

mod cost;
mod kernel;
mod reader;
mod stress;
mod sys;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    sys::raise_memlock();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let old = std::fs::read_to_string("/proc/sys/kernel/osrelease")?.starts_with("5.10");
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["cost"] => cost::added_instructions(),
        ["contend"] => cost::contention(old),
        ["mem"] => cost::memory(),
        ["stress"] => stress::run(old),
        _ => bail!("usage: runner cost|contend|mem|stress"),
    }
}
