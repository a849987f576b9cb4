//! Maps and unmaps p2p memory: once for some time, or in a storm of processes pinned to given processors.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use p2p_trace_guest::Mapping;
use rustix::thread::{CpuSet, sched_setaffinity};

/// Map p2p memory of a PCI device and unmap it again.
#[derive(Debug, Clone, Parser)]
struct Options {
    /// PCI device whose memory to map, as 0000:03:00.0
    device: String,
    /// Bytes per mapping
    #[arg(long, default_value_t = 64 * 1024)]
    size: usize,
    /// How often to map and unmap, in each process
    #[arg(long, default_value_t = 1)]
    loops: u64,
    /// How long to hold each mapping
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    hold: u64,
    /// Number of concurrent processes
    #[arg(long, default_value_t = 1)]
    processes: u32,
    /// Processors to pin them to, in turn: 0 or 0,1 (default: not pinned)
    #[arg(long, value_delimiter = ',')]
    cpus: Vec<usize>,
}

/// The mappings of one run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Total {
    maps: u64,
    pages: u64,
    bytes: u64,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let total = if options.processes > 1 { storm(&options)? } else { map(&options)? };
    println!(
        "done pid={} maps={} pages={} bytes={}",
        std::process::id(),
        total.maps,
        total.pages,
        total.bytes
    );
    Ok(())
}

/// Maps and unmaps in this process.
fn map(options: &Options) -> Result<Total> {
    if let Some(&cpu) = options.cpus.first() {
        ensure!(cpu < CpuSet::MAX_CPU, "invalid processor {cpu}");
        let mut set = CpuSet::new();
        set.set(cpu);
        sched_setaffinity(None, &set).with_context(|| format!("cannot run on processor {cpu}"))?;
    }
    let mut total = Total::default();
    for _ in 0..options.loops {
        let mapping = Mapping::new(&options.device, options.size)?;
        if options.hold > 0 {
            println!("mapped pid={} bytes={} pages={}", std::process::id(), mapping.len(), mapping.pages());
            std::io::stdout().flush()?;
            std::thread::sleep(Duration::from_millis(options.hold));
        }
        total.maps += 1;
        total.pages += mapping.pages() as u64;
        total.bytes += mapping.len() as u64;
        mapping.unmap()?;
    }
    Ok(total)
}

/// Runs several concurrent processes of this program and adds up their totals.
fn storm(options: &Options) -> Result<Total> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut children = Vec::new();
    for index in 0..options.processes {
        let mut command = Command::new(&program);
        command
            .arg(&options.device)
            .args(["--size", &options.size.to_string()])
            .args(["--loops", &options.loops.to_string()])
            .args(["--hold", &options.hold.to_string()])
            .stdout(Stdio::piped());
        if !options.cpus.is_empty() {
            let cpu = options.cpus[index as usize % options.cpus.len()];
            command.args(["--cpus", &cpu.to_string()]);
        }
        children.push(command.spawn().context("cannot start another process")?);
    }
    let mut total = Total::default();
    for mut child in children {
        let mut text = String::new();
        child.stdout.take().context("a process has no output")?.read_to_string(&mut text)?;
        let status = child.wait()?;
        ensure!(status.success(), "process {} of the storm failed: {status}", child.id());
        let part =
            parse(&text).with_context(|| format!("unexpected output of process {}: {text:?}", child.id()))?;
        total.maps += part.maps;
        total.pages += part.pages;
        total.bytes += part.bytes;
    }
    Ok(total)
}

/// Parses the `done` line of another process.
fn parse(text: &str) -> Option<Total> {
    let line = text.lines().find(|line| line.starts_with("done "))?;
    let value = |key: &str| {
        line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse::<u64>().ok())
    };
    Some(Total { maps: value("maps")?, pages: value("pages")?, bytes: value("bytes")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_the_line_of_another_process() {
        let text = "mapped pid=7 bytes=1 pages=1\ndone pid=7 maps=2 pages=32 bytes=131072\n";
        assert_eq!(parse(text), Some(Total { maps: 2, pages: 32, bytes: 131_072 }));
        assert_eq!(parse("done pid=7 maps=2 pages=x bytes=1\n"), None);
        assert_eq!(parse(""), None);
    }
}
