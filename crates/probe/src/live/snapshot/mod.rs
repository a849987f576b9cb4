//! Snapshots: read the kernel's own state of a device, by reading one of its attributes in sysfs.

mod bits;
mod retries;
mod schedule;

use std::{
    fs,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    thread,
    time::Duration,
};

use aya::Ebpf;
use p2p_trace_common::{
    Record,
    snapshot::{BITS_WORDS, DEVICE, FOUND, MAX_WORDS, SEEN, SNAPSHOT_SIZE, Snapshot, UNREADABLE},
};
use p2p_trace_model::event::{
    DeviceAddress,
    decode::PAGE_SIZE,
    user::{Run, SnapshotEnd, Writer},
};

use bits::Runs;
use p2p_trace_model::text::Text;
use retries::Retries;
use schedule::{Due, Schedule};

use super::{
    error::ProbeError,
    load::{load_helper, map_descriptor},
    mapping::Mapping,
    sys,
};
use crate::kernel::{KernelRoot, devices};

/// Long enough for a thread to leave its CPU.
const YIELD: Duration = Duration::from_millis(1);
/// Maximum number of chunks to read from a pool; the kernel side has the same limit.
const MAX_CHUNKS: u32 = 16;
/// Maximum number of runs in one snapshot of a device; with more, the snapshot is incomplete.
const MAX_RUNS: usize = 1 << 17;
/// Index of the word of [`Snapshot`] that a field starts in.
macro_rules! word {
    ($field:ident) => {
        std::mem::offset_of!(Snapshot, $field) / size_of::<u64>()
    };
}
const TASK: usize = word!(task);
/// Chunk number, with the first word to copy in the high half.
const CHUNK: usize = word!(chunk);
const ANSWER: usize = word!(answer);
const ADDRESS: usize = word!(address);
const PAGES: usize = word!(pages);
const WORDS: usize = word!(words);
const PGMAP: usize = word!(pgmap);

/// Takes snapshots of devices, and schedules them.
#[derive(Debug)]
pub(super) struct Snapshotter {
    request: Mapping,
    bits: Mapping,
    /// The program that makes the thread which runs it the one whose reads are answered.
    begin: OwnedFd,
    /// Devices that the user named; if empty, all devices with p2p memory.
    wanted: Vec<DeviceAddress>,
    root: KernelRoot,
    schedule: Schedule,
    retries: Retries,
    /// The program that answers is attached, so a read without an answer was skipped.
    is_attached: bool,
}

/// Why the snapshot of a device is not complete.
enum Stop {
    /// The device has vanished.
    Vanished,
    /// The kernel side did not run.
    Unanswered,
    /// The kernel side could not read the pool's chunks.
    Unreadable,
}

impl Snapshotter {
    /// `ebpf` contains the kernel side's end; `wanted` limits the devices to read.
    ///
    /// # Errors
    ///
    /// If the object does not fit, or its maps cannot be mapped.
    pub(super) fn new(
        ebpf: &mut Ebpf,
        root: &KernelRoot,
        wanted: &[DeviceAddress],
        now_ns: u64,
    ) -> Result<Self, ProbeError> {
        let request = Mapping::writable(map_descriptor(ebpf, "SNAPSHOT")?, SNAPSHOT_SIZE);
        let bits = Mapping::readable(map_descriptor(ebpf, "SNAPSHOT_BITS")?, BITS_WORDS * 8);
        Ok(Self {
            request: request.map_err(ProbeError::system("map the request of snapshots"))?,
            bits: bits.map_err(ProbeError::system("map the answer of snapshots"))?,
            begin: load_helper(ebpf, "begin_snapshot")?,
            wanted: wanted.to_vec(),
            root: root.clone(),
            schedule: Schedule::new(now_ns),
            retries: Retries::default(),
            is_attached: false,
        })
    }

    /// Updates the schedule from a record: a teardown makes its device due.
    pub(super) fn follow(&mut self, record: &Record) {
        self.schedule.follow(record);
    }

    /// Records were lost, so all devices are due.
    pub(super) const fn lose(&mut self, now_ns: u64) {
        self.schedule.lose(now_ns);
    }

    /// Makes all devices due.
    pub(super) const fn demand(&mut self, now_ns: u64) {
        self.schedule.demand(now_ns);
    }

    /// Sets whether the program that answers is attached.
    pub(super) const fn set_attached(&mut self, is_attached: bool) {
        self.is_attached = is_attached;
    }

    /// The devices that are due; they count as read from now on.
    pub(super) fn due(&mut self, now_ns: u64) -> Vec<DeviceAddress> {
        let mut due = match self.schedule.due(now_ns) {
            None => Vec::new(),
            Some(Due::Some(devices)) => devices,
            Some(Due::All) if !self.wanted.is_empty() => self.wanted.clone(),
            Some(Due::All) => {
                let mut all = devices::addresses(&self.root);
                all.extend(self.schedule.pending());
                all
            }
        };
        due.extend(self.retries.due(now_ns));
        due.sort_unstable();
        due.dedup();
        due
    }

    /// When the next device whose last read was not answered is read again.
    pub(super) fn next_try_ns(&self) -> Option<u64> {
        self.retries.next_ns()
    }

    /// Ends all tries: returns failed readings for the devices that were to be read again.
    pub(super) fn give_up(&mut self) -> Vec<Reading> {
        self.retries.give_up().map(Reading::failed).collect()
    }

    /// Makes reads by the calling thread count as snapshots, and gives the thread a new turn on a CPU: how long another task has been
    /// waiting is measured from that moment.
    ///
    /// # Errors
    ///
    /// If the kernel rejects the run of the program.
    pub(super) fn begin(&self) -> Result<(), ProbeError> {
        thread::sleep(YIELD);
        sys::run_once(self.begin.as_fd()).map_err(ProbeError::system("begin a snapshot"))
    }

    /// From now on reads of attributes are ordinary reads.
    pub(super) fn end(&self) {
        self.request.store(TASK, 0);
    }

    /// Takes a snapshot of one device: its states arrive through the rings, its runs are returned. `None` if the device does not exist,
    /// or if the kernel did not answer and the read is retried. The caller flushes bursts of page frees before and after.
    pub(super) fn read(&mut self, device: DeviceAddress, now_ns: u64) -> Option<Reading> {
        let read = self.try_read(device);
        if matches!(read, Err(Stop::Unanswered)) {
            let is_retried = self.is_attached && self.retries.unanswered(device, now_ns);
            let action = if is_retried { "retrying" } else { "giving up" };
            tracing::debug!("the read for a snapshot of {device} was not answered: {action}");
            return (!is_retried).then(|| Reading::failed(device));
        }
        self.retries.settled(device);
        read.ok()
    }

    /// A single try of [`Snapshotter::read`]. A partial snapshot is not an error; [`Reading::complete`] is false for it.
    fn try_read(&self, device: DeviceAddress) -> Result<Reading, Stop> {
        let path = self.root.sys.join(format!("bus/pci/devices/{device}/vendor"));
        let mut reading = Reading { device, runs: Vec::new(), complete: true };
        for chunk in 0..=MAX_CHUNKS {
            match self.read_chunk(&path, device, chunk, &mut reading.runs) {
                Ok(true) if chunk < MAX_CHUNKS && reading.runs.len() < MAX_RUNS => {}
                Ok(true) | Err(Stop::Unreadable) => {
                    reading.complete = false;
                    break;
                }
                Ok(false) => break,
                Err(stop) => return Err(stop),
            }
        }
        match self.ask(&path, DEVICE, 0) {
            Ok(_) => {}
            Err(Stop::Unreadable) => reading.complete = false,
            Err(stop) => return Err(stop),
        }
        Ok(reading)
    }

    /// Appends the runs of one chunk; returns false if the pool has no such chunk.
    fn read_chunk(
        &self,
        path: &Path,
        device: DeviceAddress,
        chunk: u32,
        all_runs: &mut Vec<Run>,
    ) -> Result<bool, Stop> {
        if self.ask(path, chunk, 0)? & FOUND == 0 {
            return Ok(false);
        }
        let (address, pages, pgmap) =
            (self.request.load(ADDRESS), self.request.load(PAGES), self.request.load(PGMAP));
        let mut runs = Runs::new(pages);
        loop {
            let words = self.request.load(WORDS).min(MAX_WORDS);
            if words == 0 {
                return Err(Stop::Unreadable);
            }
            runs.extend((0..words as usize).map(|index| self.bits.load(index)));
            if !runs.is_incomplete() {
                break;
            }
            let next = u32::try_from(runs.next_word()).map_err(|_too_far| Stop::Unreadable)?;
            // The list may have changed in the meantime; if the chunk is another one, the snapshot ends.
            let found = self.ask(path, chunk, next)? & FOUND != 0;
            if !found || self.request.load(ADDRESS) != address {
                return Err(Stop::Unreadable);
            }
        }
        all_runs.extend(runs.finish().into_iter().map(|(first, count)| Run {
            device,
            pgmap: (pgmap != 0).then_some(pgmap),
            addr: address.wrapping_add(first * PAGE_SIZE),
            size: count * PAGE_SIZE,
        }));
        Ok(true)
    }

    /// Makes one request; returns the answer.
    fn ask(&self, path: &Path, chunk: u32, first_word: u32) -> Result<u64, Stop> {
        self.request.store(CHUNK, u64::from(chunk) | u64::from(first_word) << 32);
        for word in [ANSWER, ADDRESS, PAGES, WORDS, PGMAP] {
            self.request.store(word, 0);
        }
        fs::read(path).map_err(|error| {
            tracing::debug!("cannot read {}: {error}", Text::from(path));
            Stop::Vanished
        })?;
        let answer = self.request.load(ANSWER);
        if answer & SEEN == 0 {
            Err(Stop::Unanswered)
        } else if answer & UNREADABLE != 0 {
            Err(Stop::Unreadable)
        } else {
            Ok(answer)
        }
    }
}

/// The result of one snapshot of a device, apart from the records in the rings.
#[derive(Debug)]
pub(super) struct Reading {
    device: DeviceAddress,
    runs: Vec<Run>,
    complete: bool,
}

impl Reading {
    /// A reading without any results.
    const fn failed(device: DeviceAddress) -> Self {
        Self { device, runs: Vec::new(), complete: false }
    }

    /// The records of this reading, taken between these times.
    pub(super) fn records(self, writer: &mut Writer, from_ns: u64, to_ns: u64) -> Vec<Record> {
        let runs = u32::try_from(self.runs.len()).unwrap_or(u32::MAX);
        let mut records: Vec<_> = self.runs.iter().map(|run| writer.run(to_ns, run)).collect();
        records.push(writer.snapshot_end(&SnapshotEnd {
            device: self.device,
            from_ns,
            to_ns,
            runs,
            complete: self.complete,
        }));
        records
    }
}

#[cfg(test)]
mod tests;
