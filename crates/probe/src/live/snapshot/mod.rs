//! Pull reads: the kernel's state of a device at this moment, through a read of one of its attributes in sysfs.

mod again;
mod bits;
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

use again::Again;
use bits::Runs;
use p2p_trace_model::text::Text;
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
/// Chunks that a pool is followed for; the kernel side has the same limit.
const MAX_CHUNKS: u32 = 16;
/// Runs that one reading of a device writes. Beyond it the reading counts as incomplete.
const MAX_RUNS: usize = 1 << 17;
/// Index of the word that a field of [`Snapshot`] begins in.
macro_rules! word {
    ($field:ident) => {
        std::mem::offset_of!(Snapshot, $field) / size_of::<u64>()
    };
}
const TASK: usize = word!(task);
/// And the first word to copy, in its high half.
const CHUNK: usize = word!(chunk);
const ANSWER: usize = word!(answer);
const ADDRESS: usize = word!(address);
const PAGES: usize = word!(pages);
const WORDS: usize = word!(words);
const PGMAP: usize = word!(pgmap);

/// Reads devices, and knows when to.
#[derive(Debug)]
pub(super) struct Snapshotter {
    request: Mapping,
    bits: Mapping,
    /// Makes the thread that runs it the one whose reads count.
    begin: OwnedFd,
    /// Devices that the user named; none: all with p2p memory.
    wanted: Vec<DeviceAddress>,
    root: KernelRoot,
    schedule: Schedule,
    again: Again,
    /// The program is attached: a reading that it does not answer was skipped.
    is_attached: bool,
}

/// Why a device could not be read to its end.
enum Stop {
    /// It has vanished.
    Vanished,
    /// The kernel side did not run.
    Unanswered,
    /// The kernel side could not follow the pool.
    Unreadable,
}

impl Snapshotter {
    /// The kernel side's end is in `ebpf`; `wanted` limits what is read.
    ///
    /// # Errors
    ///
    /// When the object does not fit, or its maps cannot be mapped.
    pub(super) fn new(
        ebpf: &mut Ebpf,
        root: &KernelRoot,
        wanted: &[DeviceAddress],
        now_ns: u64,
    ) -> Result<Self, ProbeError> {
        let request = Mapping::writable(map_descriptor(ebpf, "PULL")?, SNAPSHOT_SIZE);
        let bits = Mapping::readable(map_descriptor(ebpf, "PULL_BITS")?, BITS_WORDS * 8);
        Ok(Self {
            request: request.map_err(ProbeError::system("map the request of pull reads"))?,
            bits: bits.map_err(ProbeError::system("map the answer of pull reads"))?,
            begin: load_helper(ebpf, "begin_pull")?,
            wanted: wanted.to_vec(),
            root: root.clone(),
            schedule: Schedule::new(now_ns),
            again: Again::default(),
            is_attached: false,
        })
    }

    /// Takes note of a record: teardowns make their device due.
    pub(super) fn follow(&mut self, record: &Record) {
        self.schedule.follow(record);
    }

    /// Records were lost: all devices are due.
    pub(super) const fn lose(&mut self, now_ns: u64) {
        self.schedule.lose(now_ns);
    }

    /// All devices are due.
    pub(super) const fn demand(&mut self, now_ns: u64) {
        self.schedule.demand(now_ns);
    }

    /// Whether the program that answers is attached.
    pub(super) const fn set_attached(&mut self, is_attached: bool) {
        self.is_attached = is_attached;
    }

    /// The devices that are due, which then count as read.
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
        due.extend(self.again.due(now_ns));
        due.sort_unstable();
        due.dedup();
        due
    }

    /// When a device is read again of which the last reading was not answered.
    pub(super) fn next_try_ns(&self) -> Option<u64> {
        self.again.next_ns()
    }

    /// Nothing is read any more: of the devices that were to be read again, no reading comes.
    pub(super) fn give_up(&mut self) -> Vec<Reading> {
        self.again.give_up().map(Reading::failed).collect()
    }

    /// Makes the calling thread the one whose reads count, and has it given a CPU anew: how long another task has been
    /// waiting is counted from that moment.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to run the program.
    pub(super) fn begin(&self) -> Result<(), ProbeError> {
        thread::sleep(YIELD);
        sys::run_once(self.begin.as_fd()).map_err(ProbeError::system("begin a pull read"))
    }

    /// Reads of attributes are nothing but that again.
    pub(super) fn end(&self) {
        self.request.store(TASK, 0);
    }

    /// Reads one device: its states come through the rings, its runs are returned. `None`: it is not there, or the kernel
    /// did not answer and it is read again. The caller flushes bursts of page frees before and after.
    pub(super) fn read(&mut self, device: DeviceAddress, now_ns: u64) -> Option<Reading> {
        let read = self.try_read(device);
        if matches!(read, Err(Stop::Unanswered)) {
            let is_tried_again = self.is_attached && self.again.unanswered(device, now_ns);
            let then = if is_tried_again { "again" } else { "no more" };
            tracing::debug!("a read of the state of {device} was not answered: it is tried {then}");
            return (!is_tried_again).then(|| Reading::failed(device));
        }
        self.again.settled(device);
        read.ok()
    }

    /// The same, once. What can be read in part only is [`Reading::complete`] or not, and no error.
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

    /// Appends the runs of one chunk; false where the pool has no such chunk.
    fn read_chunk(
        &self,
        path: &Path,
        device: DeviceAddress,
        chunk: u32,
        out: &mut Vec<Run>,
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
            if !runs.missing() {
                break;
            }
            let next = u32::try_from(runs.next_word()).map_err(|_too_far| Stop::Unreadable)?;
            // The list may have changed meanwhile: a chunk that is another one now ends the reading.
            let found = self.ask(path, chunk, next)? & FOUND != 0;
            if !found || self.request.load(ADDRESS) != address {
                return Err(Stop::Unreadable);
            }
        }
        out.extend(runs.finish().into_iter().map(|(first, count)| Run {
            device,
            pgmap: (pgmap != 0).then_some(pgmap),
            addr: address.wrapping_add(first * PAGE_SIZE),
            size: count * PAGE_SIZE,
        }));
        Ok(true)
    }

    /// One request; returns the answer.
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

/// What one reading of a device brought, besides the records in the rings.
#[derive(Debug)]
pub(super) struct Reading {
    device: DeviceAddress,
    runs: Vec<Run>,
    complete: bool,
}

impl Reading {
    /// It brought nothing.
    const fn failed(device: DeviceAddress) -> Self {
        Self { device, runs: Vec::new(), complete: false }
    }

    /// As records, for a reading between these times.
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
