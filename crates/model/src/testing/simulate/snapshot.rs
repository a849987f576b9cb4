//! Snapshots.

use p2p_trace_common::{Hook, Kind};

use super::{Kernel, STEP_NS, SimRange, task};
use crate::event::{Refs, State, decode::PAGE_SIZE, user};

impl Kernel {
    /// The number of references to a range, and the bytes allocated from it.
    pub(super) fn counted(&self, device: usize, range: &SimRange) -> (i64, u64) {
        let inside: Vec<_> =
            self.outstanding(device).filter(|(_, held)| range.contains(held.pages[0])).collect();
        let pages: u64 = inside.iter().map(|(_, held)| held.pages.len() as u64).sum();
        let references = inside.iter().map(|(_, held)| {
            if held.kind == Kind::Mmap { held.pages.len() as i64 } else { i64::from(!held.partial) }
        });
        (references.sum::<i64>() + range.stray as i64, pages * PAGE_SIZE)
    }

    /// Takes a snapshot: the ranges, the device, the allocated runs, and the end.
    pub fn snapshot(&mut self, device: usize, complete: bool) {
        self.flush();
        let from_ns = self.pass();
        let address = self.devices[device].address;
        let allocated = self.pages(device);
        for (chunk, range) in self.devices[device].ranges.clone().into_iter().enumerate() {
            let (count, bytes) = self.counted(device, &range);
            self.event(device, Kind::RangeState, Hook::Snapshot, 1, |event| {
                event.addr = Some(range.base());
                event.allocated = Some(bytes);
                event.count = Some((range.physical.size() / PAGE_SIZE) as u32);
                event.state = Some(State {
                    chunk: chunk as u8,
                    atomic: range.killed && !range.freed,
                    dead: range.killed && !range.freed,
                    exited: false,
                    freed: range.freed,
                });
                if !range.freed {
                    event.pgmap = Some(range.pgmap);
                    event.range = Some(range.physical);
                    event.refs = Some(Refs { count, estimate: !range.killed });
                }
            });
        }
        let chunks = self.devices[device].ranges.len() as u32;
        let holder = self.devices[device].script.as_ref().map(|script| script.pid);
        self.event(device, Kind::DeviceState, Hook::Snapshot, 1, |event| {
            event.task = holder.map(task);
            event.waiting_ns = holder.map(|_| 0);
            event.count = Some(chunks);
        });
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for &page in allocated.keys() {
            match runs.last_mut() {
                Some((addr, size)) if *addr + *size == page => *size += PAGE_SIZE,
                _ => runs.push((page, PAGE_SIZE)),
            }
        }
        let count = runs.len() as u32;
        for (addr, size) in runs {
            let run = user::Run { device: address, pgmap: None, addr, size };
            self.user(|writer, time_ns| writer.run(time_ns, &run));
        }
        let to_ns = self.now_ns + STEP_NS;
        let snapshot_end = user::SnapshotEnd { device: address, from_ns, to_ns, runs: count, complete };
        self.user(|writer, _| writer.snapshot_end(&snapshot_end));
    }
}
