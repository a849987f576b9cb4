//! Is what a reader gets whole, and is what it does not get counted?

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use aya::maps::RingBuf;

use crate::{
    cost::first_line,
    kernel::Kernel,
    reader::{Follower, Seen, drain_ring},
    sys::{self, FUNCTIONS},
};

/// How long each case runs.
const SECONDS: u64 = 6;
/// Hammering threads per CPU, one per function; sleepers beside them wake every 50 µs.
const HAMMERS: usize = 4;
const SLEEPERS: usize = 2;

/// Every transport, with a tiny and a big buffer.
pub fn run(old: bool) -> Result<()> {
    let variants: &[&str] = if old {
        &["oldring", "oldplain", "oldguard"]
    } else {
        &["ring", "plain", "claim"]
    };
    for variant in variants {
        for (size, per_cpu, ring, stall) in [
            ("tiny", 256, 64 << 10, 0),
            ("tiny+stall", 256, 64 << 10, 40),
            ("big", 1 << 18, 64 << 20, 0),
        ] {
            if let Err(e) = case(variant, size, per_cpu, ring, stall) {
                println!("RESULT stress {variant} {size} failed: {}", first_line(&e));
            }
        }
    }
    Ok(())
}

fn case(variant: &str, size: &str, per_cpu: u64, ring: u32, stall: u32) -> Result<()> {
    let mut k = Kernel::load(per_cpu, ring, stall)?;
    let names: Vec<String> = (0..FUNCTIONS.len()).map(|i| format!("{variant}_s{i}")).collect();
    let mut links = Vec::new();
    for (name, function) in names.iter().zip(FUNCTIONS) {
        links.push(k.attach(name, function)?);
    }
    let is_ring = variant.contains("ring");
    let mut ring = match is_ring {
        true => Some(RingBuf::try_from(k.bpf.take_map("RING").context("no ring")?)?),
        false => None,
    };
    let (stop, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let (mut seen, mut unresolved) = (Seen::default(), 0);
    let mut calls = [0u64; HAMMERS];
    let shared = &k;
    thread::scope(|s| -> Result<()> {
        let mut hammers = Vec::new();
        for cpu in 0..shared.ncpu {
            for n in 0..HAMMERS {
                let stop = &stop;
                hammers.push((
                    n,
                    s.spawn(move || {
                        sys::pin(cpu);
                        let mut calls = 0u64;
                        while !stop.load(Relaxed) {
                            sys::cheap(n);
                            calls += 1;
                        }
                        calls
                    }),
                ));
            }
            for _ in 0..SLEEPERS {
                let stop = &stop;
                s.spawn(move || {
                    sys::pin(cpu);
                    // SAFETY: no memory is involved.
                    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
                    while !stop.load(Relaxed) {
                        thread::sleep(Duration::from_micros(50));
                    }
                });
            }
        }
        let done = &done;
        let readers: Vec<_> = if let Some(mut ring) = ring.take() {
            vec![s.spawn(move || {
                let (mut seen, mut seqs) = (Seen::default(), HashSet::new());
                loop {
                    let last = done.load(Relaxed);
                    if drain_ring(&mut ring, true, &mut seqs, &mut seen) == 0 {
                        if last {
                            return (seen, 0);
                        }
                        thread::sleep(Duration::from_millis(1));
                    }
                }
            })]
        } else {
            (0..shared.ncpu)
                .map(|cpu| {
                    s.spawn(move || {
                        let mut f = Follower::new(cpu, 0, true);
                        loop {
                            let last = done.load(Relaxed);
                            if !f.poll(shared) {
                                if last {
                                    let unresolved = f.unresolved();
                                    return (f.seen, unresolved);
                                }
                                thread::sleep(Duration::from_millis(1));
                            }
                        }
                    })
                })
                .collect()
        };
        thread::sleep(Duration::from_secs(SECONDS));
        stop.store(true, Relaxed);
        for (n, h) in hammers {
            calls[n] += h.join().unwrap_or(0);
        }
        links.clear(); // the interrupt's program, too, so that the counters stand still
        thread::sleep(Duration::from_millis(100));
        done.store(true, Relaxed);
        for reader in readers {
            let (one, holes) = reader.join().map_err(|_| anyhow::anyhow!("a reader panicked"))?;
            seen = add(seen, one);
            unresolved += holes;
        }
        Ok(())
    })?;
    let mut misses = [0; 5];
    for (i, name) in names.iter().enumerate() {
        misses[i] = k.misses(name);
    }
    let all: Vec<_> = (0..k.ncpu).map(|c| k.counters(c)).collect();
    let sum = |f: &dyn Fn(&crate::kernel::Counters) -> u64| all.iter().map(f).sum::<u64>();
    let (head, dropped, nested) = (sum(&|c| c.head), sum(&|c| c.dropped), sum(&|c| c.nested));
    let hits = sum(&|c| c.hits.iter().sum());
    let hook_hits: Vec<u64> = (0..5).map(|h| sum(&|c| c.hits[3 + h])).collect();
    let unseen: Vec<i64> = (0..HAMMERS)
        .map(|n| calls[n] as i64 - (hook_hits[n] + misses[n]) as i64)
        .collect();
    println!(
        "RESULT stress {variant} {size}: hits {hits} head {head} dropped {dropped} nested {nested} | delivered {} overwritten {} \
         unresolved {unresolved} late {} | torn caught {} torn DELIVERED {} wrong seq {} duplicates {} | irq hits {} \
         recursion misses {misses:?} calls-hits-misses {unseen:?}",
        seen.delivered,
        seen.overwritten,
        seen.late,
        seen.torn_caught,
        seen.torn_delivered,
        seen.wrong_seq,
        seen.duplicates,
        hook_hits[4],
    );
    let balance = if is_ring {
        hits as i64 - (seen.delivered + dropped) as i64
    } else {
        hits as i64
            - (seen.delivered + seen.overwritten + unresolved) as i64
            - if variant == "oldguard" { dropped as i64 } else { 0 }
    };
    println!("RESULT stress {variant} {size}: hits - (delivered + lost) = {balance}");
    Ok(())
}

fn add(a: Seen, b: Seen) -> Seen {
    Seen {
        delivered: a.delivered + b.delivered,
        overwritten: a.overwritten + b.overwritten,
        torn_caught: a.torn_caught + b.torn_caught,
        torn_delivered: a.torn_delivered + b.torn_delivered,
        wrong_seq: a.wrong_seq + b.wrong_seq,
        duplicates: a.duplicates + b.duplicates,
        late: a.late + b.late,
        sum: a.sum.wrapping_add(b.sum),
    }
}
