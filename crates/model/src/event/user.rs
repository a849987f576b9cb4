//! Records that user space writes into the stream, so that live runs and replays read the same: elapsed time,
//! lost records, hooks attached and detached, and the end of the run.
//!
//! They have no CPU: `cpu` is [`CPU`], and `seq` counts them per run.

use p2p_trace_common::{
    Hook, Kind, Record, Ring,
    record::{COMM_LEN, FLAG_ARMED, FLAG_KPROBE, MAGIC, SCHEMA},
    valid,
};

use super::{DeviceAddress, Method, Task};
use crate::event::{Loss, Reason};

/// In place of a CPU: the record was written by user space.
pub const CPU: u32 = u32::MAX;

/// In place of a hook: user-space records come from no hook, and skipped runs of this one cost nothing.
const NO_HOOK: Hook = Hook::Snapshot;

/// Writes the user-space records of one run with consecutive sequence numbers.
#[derive(Debug)]
pub struct Writer {
    run: u64,
    next: u64,
}

/// A hook that was attached or detached while tracing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The hook.
    pub hook: Hook,
    /// True if attached, false if detached.
    pub attached: bool,
    /// How it is attached.
    pub method: Method,
    /// The hook is attached only while a teardown is pending.
    pub armed: bool,
}

/// Memory that a snapshot found allocated, by any task: a run of set bits in the pool's bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The device.
    pub device: DeviceAddress,
    /// The range that it lies in, if known.
    pub pgmap: Option<u64>,
    /// Direct-map address.
    pub addr: u64,
    /// Size in bytes.
    pub size: u64,
}

/// The end of a snapshot of one device. Its runs and states precede it in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotEnd {
    /// The device.
    pub device: DeviceAddress,
    /// The earliest time at which the bitmap was read.
    pub from_ns: u64,
    /// The latest time at which the bitmap was read. Earlier page frees precede this record in the stream.
    pub to_ns: u64,
    /// Number of runs in the snapshot.
    pub runs: u32,
    /// Every chunk was read to its end, so memory in no run was free at some moment between the two times.
    pub complete: bool,
}

impl Writer {
    /// Creates a writer for a run.
    #[must_use]
    pub const fn new(run: u64) -> Self {
        Self { run, next: 0 }
    }

    /// Time has passed without any other event.
    pub const fn tick(&mut self, time_ns: u64) -> Record {
        self.write(Kind::Tick, time_ns)
    }

    /// Like [`Self::tick`], with the time that the machine has been suspended since boot, if known.
    #[must_use]
    pub const fn tick_asleep(&mut self, time_ns: u64, asleep_ns: Option<u64>) -> Record {
        let mut record = self.write(Kind::Tick, time_ns);
        if let Some(asleep_ns) = asleep_ns {
            record.words[0] = asleep_ns;
            record.valid |= valid::WAITING;
        }
        record
    }

    /// A hook was attached or detached.
    pub const fn attach(&mut self, time_ns: u64, change: &Change) -> Record {
        let mut record = self.write(Kind::Attach, time_ns);
        record.hook = change.hook as u8;
        if matches!(change.method, Method::Kprobe) {
            record.flags |= FLAG_KPROBE;
        }
        if change.armed {
            record.flags |= FLAG_ARMED;
        }
        record.number = change.attached as u32;
        record
    }

    /// Records of one ring were lost. The time of the record is the earliest at which that can have happened.
    pub const fn loss(&mut self, loss: &Loss) -> Record {
        let mut record = self.write(Kind::Loss, loss.from_ns);
        record.words = [loss.first_seq(), loss.last_seq(), loss.from_ns, loss.to_ns];
        record.number = match loss.cpu {
            Some(cpu) => cpu,
            None => CPU,
        };
        record.small = u16::from_le_bytes([loss.ring as u8, loss.reason as u8]);
        if let Some(hook) = loss.hook {
            record.hook = hook as u8;
        }
        record
    }

    /// Like [`Self::loss`], for a loss that is found after the stream has moved on.
    pub const fn late_loss(&mut self, time_ns: u64, loss: &Loss) -> Record {
        let mut record = self.loss(loss);
        record.time_ns = time_ns;
        record
    }

    /// The end of the run.
    pub const fn end(&mut self, time_ns: u64) -> Record {
        self.write(Kind::End, time_ns)
    }

    /// A snapshot found this memory allocated.
    pub const fn run(&mut self, time_ns: u64, run: &Run) -> Record {
        let mut record = self.write(Kind::AllocatedRun, time_ns);
        put_device(&mut record, run.device);
        if let Some(pgmap) = run.pgmap {
            record.pgmap = pgmap;
            record.valid |= valid::PGMAP;
        }
        record.words = [run.addr, run.size, 0, 0];
        record.valid |= valid::ADDR | valid::SIZE;
        record
    }

    /// A snapshot is complete.
    pub const fn snapshot_end(&mut self, snapshot_end: &SnapshotEnd) -> Record {
        let mut record = self.write(Kind::SnapshotEnd, snapshot_end.to_ns);
        put_device(&mut record, snapshot_end.device);
        record.words = [snapshot_end.from_ns, snapshot_end.to_ns, 0, 0];
        record.number = snapshot_end.runs;
        record.small = snapshot_end.complete as u16;
        record.valid |= valid::SPAN | valid::COUNT | valid::FLAG;
        record
    }

    /// A process has exited by this time. If its number is in use again, `before_ns` is when the new process
    /// started: memory allocated since then is not held by the process that exited.
    #[must_use]
    pub const fn exited_before(&mut self, time_ns: u64, task: &Task, before_ns: Option<u64>) -> Record {
        let mut record = self.gone(time_ns, task);
        if let Some(before_ns) = before_ns {
            record.words[1] = before_ns;
            record.valid |= valid::SPAN;
        }
        record
    }

    /// A process has exited by this time.
    pub const fn gone(&mut self, time_ns: u64, task: &Task) -> Record {
        let mut record = self.write(Kind::HolderExited, time_ns);
        record.pid = task.pid;
        record.tgid = task.tgid;
        record.comm = task.comm;
        record.valid |= valid::TASK;
        record
    }

    const fn write(&mut self, kind: Kind, time_ns: u64) -> Record {
        let seq = self.next;
        self.next += 1;
        Record {
            kind: kind as u8,
            hook: NO_HOOK as u8,
            run: self.run,
            cpu: CPU,
            seq,
            time_ns,
            ..blank(self.run)
        }
    }
}

const fn put_device(record: &mut Record, device: DeviceAddress) {
    record.domain = device.domain;
    record.bus = device.bus;
    record.devfn = device.devfn();
    record.valid |= valid::DEVICE;
}

const fn device(record: &Record) -> DeviceAddress {
    DeviceAddress::from_devfn(record.domain, record.bus, record.devfn)
}

/// A record with all fields unset except its run.
#[must_use]
pub const fn blank(run: u64) -> Record {
    Record {
        magic: MAGIC,
        schema: SCHEMA,
        kind: 0,
        hook: 0,
        flags: 0,
        valid: 0,
        cpu: 0,
        run,
        seq: 0,
        time_ns: 0,
        pid: 0,
        tgid: 0,
        comm: [0; COMM_LEN],
        domain: 0,
        bus: 0,
        devfn: 0,
        small: 0,
        pgmap: 0,
        words: [0; 4],
        number: 0,
        guard: 0,
    }
}

/// Decodes a record of kind `loss`, or returns `None` if it is invalid.
#[must_use]
pub fn loss(record: &Record) -> Option<Loss> {
    let [first_seq, last_seq, from_ns, to_ns] = record.words;
    let [ring, reason] = record.small.to_le_bytes();
    let ring = Ring::ALL.into_iter().find(|candidate| *candidate as u8 == ring)?;
    let reason = Reason::from_u8(reason)?;
    let ((first_ring, first), (last_ring, last)) =
        (Ring::of_sequence(first_seq), Ring::of_sequence(last_seq));
    let sound = record.kind() == Some(Kind::Loss) && first_ring == ring && last_ring == ring && first <= last;
    sound.then_some(Loss {
        cpu: (record.number != CPU).then_some(record.number),
        ring,
        first,
        last,
        from_ns,
        to_ns,
        reason,
        hook: hook_of(record).filter(|_| reason == Reason::Skipped),
    })
}

/// The hook that a loss is of. The placeholder for all user-space records means that it is unknown.
fn hook_of(record: &Record) -> Option<Hook> {
    Hook::from_u8(record.hook).filter(|&hook| hook != NO_HOOK)
}

/// Decodes a record of kind `attach`, or returns `None` if it is invalid.
#[must_use]
pub fn change(record: &Record) -> Option<Change> {
    let method = if record.flags & FLAG_KPROBE == 0 { Method::Fentry } else { Method::Kprobe };
    let hook = Hook::from_u8(record.hook)?;
    let (attached, armed) = (record.number != 0, record.flags & FLAG_ARMED != 0);
    (record.kind() == Some(Kind::Attach)).then_some(Change { hook, attached, method, armed })
}

/// Decodes a record of kind `allocated_run`, or returns `None` if it is invalid.
#[must_use]
pub fn run(record: &Record) -> Option<Run> {
    let sound =
        record.kind() == Some(Kind::AllocatedRun) && record.has(valid::DEVICE | valid::ADDR | valid::SIZE);
    sound.then(|| Run {
        device: device(record),
        pgmap: record.has(valid::PGMAP).then_some(record.pgmap),
        addr: record.words[0],
        size: record.words[1],
    })
}

/// Decodes a record of kind `snapshot_end`, or returns `None` if it is invalid.
#[must_use]
pub fn snapshot_end(record: &Record) -> Option<SnapshotEnd> {
    let sound = record.kind() == Some(Kind::SnapshotEnd)
        && record.has(valid::DEVICE | valid::SPAN | valid::COUNT | valid::FLAG);
    sound.then(|| SnapshotEnd {
        device: device(record),
        from_ns: record.words[0],
        to_ns: record.words[1],
        runs: record.number,
        complete: record.small != 0,
    })
}

/// The time that the machine has been suspended since boot, if a record of kind `tick` has it.
#[must_use]
pub fn asleep_ns(record: &Record) -> Option<u64> {
    let has_value = record.kind() == Some(Kind::Tick) && record.has(valid::WAITING);
    has_value.then_some(record.words[0])
}

/// The process that a record of kind `holder_exited` is about.
#[must_use]
pub fn gone(record: &Record) -> Option<Task> {
    let Record { pid, tgid, comm, .. } = *record;
    let sound = record.kind() == Some(Kind::HolderExited) && record.has(valid::TASK);
    sound.then_some(Task { pid, tgid, comm })
}

/// When another process with the number in a record of kind `holder_exited` was started, if there was one by
/// then.
#[must_use]
pub fn exited_before_ns(record: &Record) -> Option<u64> {
    let has_value = record.kind() == Some(Kind::HolderExited) && record.has(valid::SPAN);
    has_value.then_some(record.words[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_round_trips_through_record() {
        let loss = Loss {
            cpu: Some(3),
            ring: Ring::Rare,
            first: 10,
            last: 12,
            from_ns: 100,
            to_ns: 200,
            reason: Reason::Abandoned,
            hook: None,
        };
        let record = Writer::new(9).loss(&loss);
        assert_eq!((record.run, record.cpu, record.time_ns), (9, CPU, 100));
        assert_eq!(super::loss(&record), Some(loss));
        let skipped = Loss::skipped(Ring::Hot, 2, 100, 200);
        let record = Writer::new(9).late_loss(300, &skipped);
        assert_eq!((record.number, record.time_ns), (CPU, 300));
        assert_eq!(super::loss(&record), Some(skipped));
        assert_eq!(super::loss(&Record { small: 0, ..record }), None);
        let of_hook = Loss::of_hook(Hook::Kill, 2, 100, 200);
        let record = Writer::new(9).late_loss(300, &of_hook);
        assert_eq!(super::loss(&record), Some(of_hook));
        // An unknown hook of a later version reads as no hook.
        let later = Record { hook: u8::MAX, ..record };
        assert_eq!(super::loss(&later), Some(Loss::skipped(Ring::Rare, 2, 100, 200)));
    }

    #[test]
    fn snapshot_round_trips_through_records() {
        let mut writer = Writer::new(9);
        let device = DeviceAddress::from_devfn(0x1_0000, 3, 8);
        let run = Run { device, pgmap: Some(7), addr: 0xffff_8880_0000_0000, size: 8192 };
        let unknown = Run { pgmap: None, ..run };
        let snapshot_end = SnapshotEnd { device, from_ns: 5, to_ns: 9, runs: 2, complete: true };
        let task = Task { pid: 1, tgid: 2, comm: *b"p2pmap\0\0\0\0\0\0\0\0\0\0" };
        assert_eq!(super::run(&writer.run(9, &run)), Some(run));
        assert_eq!(super::run(&writer.run(9, &unknown)), Some(unknown));
        assert_eq!(super::snapshot_end(&writer.snapshot_end(&snapshot_end)), Some(snapshot_end));
        let replaced = writer.exited_before(10, &task, Some(4));
        assert_eq!((gone(&replaced), exited_before_ns(&replaced)), (Some(task), Some(4)));
        let exited = writer.gone(10, &task);
        assert_eq!((gone(&exited), exited_before_ns(&exited)), (Some(task), None));
        let asleep = writer.tick_asleep(11, Some(5));
        assert_eq!((asleep_ns(&asleep), asleep_ns(&writer.tick(11))), (Some(5), None));
        let tick = writer.tick(11);
        assert_eq!((super::run(&tick), super::snapshot_end(&tick), gone(&tick)), (None, None, None));
    }

    #[test]
    fn change_round_trips_and_sequences_count_up() {
        let mut writer = Writer::new(9);
        let change = Change { hook: Hook::DmaMapSg, attached: true, method: Method::Kprobe, armed: true };
        assert_eq!(writer.tick(1).seq, 0);
        let record = writer.attach(2, &change);
        assert_eq!(record.seq, 1);
        assert_eq!(super::change(&record), Some(change));
        assert_eq!(super::change(&writer.end(3)), None);
    }
}
