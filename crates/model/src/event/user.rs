//! The records that user space writes into the stream, so that live runs and replays read the same: time
//! that passed, records that were lost, hooks that came and went, and the end.
//!
//! They have no CPU: their `cpu` is [`CPU`], and `seq` counts them per run.

use p2p_trace_common::{
    Hook, Kind, Record, Ring,
    record::{COMM_LEN, FLAG_ARMED, FLAG_KPROBE, MAGIC, SCHEMA},
    valid,
};

use super::{DeviceAddress, Method, Task};
use crate::event::{Loss, Reason};

/// In place of a CPU: written by user space.
pub const CPU: u32 = u32::MAX;

/// In place of a hook: what user space writes is of none, and skipped runs of this one cost nothing.
const NO_HOOK: Hook = Hook::Snapshot;

/// Writes user-space records of one run, with their sequence numbers.
#[derive(Debug)]
pub struct Writer {
    run: u64,
    next: u64,
}

/// A hook that was attached or detached while tracing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub hook: Hook,
    /// Attached, or detached.
    pub attached: bool,
    /// How.
    pub method: Method,
    /// It is one of those that are attached only while a teardown is pending.
    pub armed: bool,
}

/// Memory that a pull read found allocated, by whomever: a run of set bits in the pool's bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Whose memory.
    pub device: DeviceAddress,
    /// The range that it lies in, where that is known.
    pub pgmap: Option<u64>,
    /// Direct-map address.
    pub addr: u64,
    /// Bytes.
    pub size: u64,
}

/// A pull read of one device: its runs and states stand before it in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotEnd {
    /// Which.
    pub device: DeviceAddress,
    /// The bitmap was read between these times.
    pub from_ns: u64,
    /// As above; the page frees of before are in the stream by then.
    pub to_ns: u64,
    /// How many runs it wrote.
    pub runs: u32,
    /// Every chunk was read to its end: what is in no run was free at some moment in between.
    pub complete: bool,
}

impl Writer {
    /// For a run.
    #[must_use]
    pub const fn new(run: u64) -> Self {
        Self { run, next: 0 }
    }

    /// Time has passed without anything else happening.
    pub const fn tick(&mut self, time_ns: u64) -> Record {
        self.write(Kind::Tick, time_ns)
    }

    /// The same, and how long the machine had been suspended by then since it was started, where that is known.
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

    /// Records of one ring were lost. Its time is the first at which that can have been.
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

    /// The same for a loss that is found only now, when the stream has gone further.
    pub const fn late_loss(&mut self, time_ns: u64, loss: &Loss) -> Record {
        let mut record = self.loss(loss);
        record.time_ns = time_ns;
        record
    }

    /// The end of the run.
    pub const fn end(&mut self, time_ns: u64) -> Record {
        self.write(Kind::End, time_ns)
    }

    /// A pull read found this memory allocated.
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

    /// A pull read has come to its end.
    pub const fn snapshot_end(&mut self, snapshot_end: &SnapshotEnd) -> Record {
        let mut record = self.write(Kind::SnapshotEnd, snapshot_end.to_ns);
        put_device(&mut record, snapshot_end.device);
        record.words = [snapshot_end.from_ns, snapshot_end.to_ns, 0, 0];
        record.number = snapshot_end.runs;
        record.small = snapshot_end.complete as u16;
        record.valid |= valid::SPAN | valid::COUNT | valid::FLAG;
        record
    }

    /// A process has exited by this time. Where its number is another's now, that one was started at `before_ns`: what was taken since is
    /// not the first one's.
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

/// A record in which nothing is known but its run.
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

/// The loss that a record of kind `loss` tells, or `None` where it makes no sense.
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

/// The hook that a loss is of. In place of one that is not told stands that of all records of user space.
fn hook_of(record: &Record) -> Option<Hook> {
    Hook::from_u8(record.hook).filter(|&hook| hook != NO_HOOK)
}

/// The change that a record of kind `attach` tells, or `None` where it makes no sense.
#[must_use]
pub fn change(record: &Record) -> Option<Change> {
    let method = if record.flags & FLAG_KPROBE == 0 { Method::Fentry } else { Method::Kprobe };
    let hook = Hook::from_u8(record.hook)?;
    let (attached, armed) = (record.number != 0, record.flags & FLAG_ARMED != 0);
    (record.kind() == Some(Kind::Attach)).then_some(Change { hook, attached, method, armed })
}

/// The allocated memory that a record of kind `run` tells, or `None` where it makes no sense.
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

/// The pull read that a record of kind `snapshot_end` ends, or `None` where it makes no sense.
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

/// How long the machine had been suspended since it was started, where a record of kind `tick` tells it.
#[must_use]
pub fn asleep_ns(record: &Record) -> Option<u64> {
    let told = record.kind() == Some(Kind::Tick) && record.has(valid::WAITING);
    told.then_some(record.words[0])
}

/// The process that a record of kind `gone` tells of.
#[must_use]
pub fn gone(record: &Record) -> Option<Task> {
    let Record { pid, tgid, comm, .. } = *record;
    let sound = record.kind() == Some(Kind::HolderExited) && record.has(valid::TASK);
    sound.then_some(Task { pid, tgid, comm })
}

/// When another process of the number that a record of kind `gone` tells was started, if there was one by then.
#[must_use]
pub fn exited_before_ns(record: &Record) -> Option<u64> {
    let told = record.kind() == Some(Kind::HolderExited) && record.has(valid::SPAN);
    told.then_some(record.words[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_survives_as_a_record() {
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
        // Of a hook of a later version it is as if it had not been told.
        let later = Record { hook: u8::MAX, ..record };
        assert_eq!(super::loss(&later), Some(Loss::skipped(Ring::Rare, 2, 100, 200)));
    }

    #[test]
    fn a_pull_read_survives_as_records() {
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
        let told = writer.gone(10, &task);
        assert_eq!((gone(&told), exited_before_ns(&told)), (Some(task), None));
        let asleep = writer.tick_asleep(11, Some(5));
        assert_eq!((asleep_ns(&asleep), asleep_ns(&writer.tick(11))), (Some(5), None));
        let tick = writer.tick(11);
        assert_eq!((super::run(&tick), super::snapshot_end(&tick), gone(&tick)), (None, None, None));
    }

    #[test]
    fn a_change_survives_as_a_record_and_sequences_count_up() {
        let mut writer = Writer::new(9);
        let change = Change { hook: Hook::DmaMapSg, attached: true, method: Method::Kprobe, armed: true };
        assert_eq!(writer.tick(1).seq, 0);
        let record = writer.attach(2, &change);
        assert_eq!(record.seq, 1);
        assert_eq!(super::change(&record), Some(change));
        assert_eq!(super::change(&writer.end(3)), None);
    }
}
