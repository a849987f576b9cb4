//! What a record costs to write and to read.

use std::{collections::HashSet, sync::Barrier};

use anyhow::{Context as _, Result};
use aya::maps::{MapData, RingBuf};

use crate::{
    kernel::{Counters, Kernel, map_fd},
    reader::{Follower, Seen, drain_ring},
    sys::{self, FUNCTIONS},
};

const CALLS: u64 = 20_000;
const PER_CPU: u64 = 1 << 17;
const RING: u32 = 1 << 24;

pub const VARIANTS: [&str; 9] = [
    "empty", "ring", "ring2", "plain", "claim", "sum", "oldring", "oldplain", "oldguard",
];

/// Median guest time of one pass over the loop, in nanoseconds (instructions under icount) per call.
fn pass() -> f64 {
    let mut times: Vec<u64> = (0..3)
        .map(|_| {
            let start = sys::now(libc::CLOCK_MONOTONIC);
            for _ in 0..CALLS {
                sys::cheap(0);
            }
            sys::now(libc::CLOCK_MONOTONIC) - start
        })
        .collect();
    times.sort_unstable();
    times[1] as f64 / CALLS as f64
}

fn total(k: &Kernel, of: impl Fn(Counters) -> u64) -> u64 {
    (0..k.ncpu).map(|c| of(k.counters(c))).sum()
}

fn take_rings(k: &mut Kernel) -> Result<Vec<RingBuf<MapData>>> {
    let take = |n| Ok(RingBuf::try_from(k.bpf.take_map(n).context("no ring")?)?);
    ["RING", "RING2"].into_iter().map(take).collect()
}

/// Added instructions per event of each variant and attach type, and the reader's cost.
pub fn added_instructions() -> Result<()> {
    sys::pin(0);
    std::thread::sleep(std::time::Duration::from_secs(8));
    let mut k = Kernel::load(PER_CPU, RING, 0)?;
    let mut rings = take_rings(&mut k)?;
    let base = pass();
    println!("RESULT cost untraced {base:.1}");
    for how in ["fentry", "fexit", "kprobe"] {
        let mut empty = 0.0;
        for variant in VARIANTS {
            let name = format!("{variant}_{how}");
            let start = k.head(0);
            let before = (total(&k, |c| c.hits.iter().sum()), total(&k, |c| c.dropped));
            let link = match k.attach(&name, FUNCTIONS[0]) {
                Ok(link) => link,
                Err(e) => {
                    println!("RESULT cost {name} refused: {}", first_line(&e));
                    continue;
                }
            };
            let added = pass() - base;
            drop(link);
            if variant == "empty" {
                empty = added;
                println!("RESULT cost {name} added {added:.1}");
                continue;
            }
            let hits = total(&k, |c| c.hits.iter().sum()) - before.0;
            let dropped = total(&k, |c| c.dropped) - before.1;
            let began = sys::now(libc::CLOCK_MONOTONIC);
            let seen = match variant {
                "sum" => Seen::default(), // its guard is not the one that the reader knows
                v if v.contains("ring") => drain(&mut rings),
                _ => follow(&k, start),
            };
            let read = (sys::now(libc::CLOCK_MONOTONIC) - began) as f64 / seen.delivered.max(1) as f64;
            println!(
                "RESULT cost {name} added {added:.1} over-empty {:.1} hits {hits} dropped {dropped} delivered {} reader {read:.1}",
                added - empty,
                std::hint::black_box(seen).delivered
            );
        }
    }
    Ok(())
}

fn drain(rings: &mut [RingBuf<MapData>]) -> Seen {
    let (mut seen, mut none) = (Seen::default(), HashSet::new());
    for ring in rings {
        drain_ring(ring, false, &mut none, &mut seen);
    }
    seen
}

fn follow(k: &Kernel, start: u64) -> Seen {
    let mut follower = Follower::new(0, start, false);
    follower.poll(k);
    follower.seen
}

/// Two CPUs at once against one, in wall-clock nanoseconds per call.
pub fn contention(old: bool) -> Result<()> {
    let variants: &[&str] = if old {
        &["empty", "oldring", "oldguard"]
    } else {
        &["empty", "ring", "ring2", "plain", "claim"]
    };
    let mut k = Kernel::load(PER_CPU, RING, 0)?;
    let mut rings = take_rings(&mut k)?;
    for round in 0..3 {
        for variant in variants {
            let name = format!("{variant}_fentry");
            let mut times = Vec::new();
            for threads in [1, 2] {
                let link = k.attach(&name, FUNCTIONS[0])?;
                let barrier = Barrier::new(threads);
                let each: Vec<f64> = std::thread::scope(|s| {
                    let run = |cpu: usize| {
                        let barrier = &barrier;
                        s.spawn(move || {
                            sys::pin(cpu);
                            barrier.wait();
                            pass()
                        })
                    };
                    let handles: Vec<_> = (0..threads).map(run).collect();
                    handles
                        .into_iter()
                        .map(|h| h.join().unwrap_or(f64::NAN))
                        .collect()
                });
                drop(link);
                drain(&mut rings);
                times.push(each.iter().sum::<f64>() / threads as f64);
            }
            println!(
                "RESULT contend round {round} {variant} one {:.0} two {:.0} ns/call",
                times[0], times[1]
            );
        }
    }
    Ok(())
}

/// Memory of both at 2 CPUs × 32 Ki records.
pub fn memory() -> Result<()> {
    let small = Kernel::load(32, 4096, 0)?;
    let _keep = small;
    for (what, per_cpu, ring) in [("array", 1 << 15, 4096), ("ring", 32, 4 << 20)] {
        let before = sys::mem_free();
        let k = Kernel::load(per_cpu, ring, 0)?;
        let used = before.saturating_sub(sys::mem_free());
        println!(
            "RESULT mem {what} ncpu {} MemFree -{used} KiB, memlock SLOTS {} RING {} RING2 {}",
            k.ncpu,
            sys::memlock(map_fd(&k.bpf, "SLOTS")?),
            sys::memlock(map_fd(&k.bpf, "RING")?),
            sys::memlock(map_fd(&k.bpf, "RING2")?),
        );
    }
    Ok(())
}

/// The lines of a verifier's refusal that say why.
pub fn first_line(e: &anyhow::Error) -> String {
    let text = format!("{e:#}");
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let tail = lines.len().saturating_sub(9);
    [
        &lines[..1.min(lines.len())],
        &lines[tail.max(1).min(lines.len())..],
    ]
    .concat()
    .join(" | ")
    .chars()
    .take(900)
    .collect()
}
