//! The beginning of a recovered dump: taken from the crash image of the run, or inferred from its records and
//! the kernel's own notes.

use std::collections::BTreeMap;

use p2p_trace_common::{
    Hook,
    record::{FLAG_ARMED, FLAG_KPROBE},
};
use p2p_trace_model::{
    accounting::{Accounting, HookState, HookStatus, MissedQuality, RingSizes, SequenceQuality, Status},
    event::{Method, Reason, user},
    rules,
    text::Text,
    units::Clock,
};

use super::{
    memory::Facts,
    ring::{Heads, Recovered},
};
use crate::{Checkpoint, Entry, Header, Origin, Reader};

/// The positions of the rings at a checkpoint.
pub(super) fn heads(run: &Recovered, checkpoint: &Checkpoint) -> Heads {
    let tally = checkpoint.head.tally.as_ref();
    tally.map(|tally| tally.positions(run.sharing)).unwrap_or_default()
}

/// Chooses among checkpoints (the youngest first) the one to begin with. No checkpoint if the rings reach
/// back to the beginning by themselves. Otherwise the oldest one behind which nothing was overwritten,
/// because a checkpoint contains only the counts of the findings before it. Otherwise the youngest one, which
/// omits the least.
fn choose(run: &Recovered, checkpoints: Vec<Checkpoint>) -> Option<Checkpoint> {
    let is_overwritten = |first: &Heads| {
        let losses = run.losses(first);
        losses.iter().any(|loss| loss.reason == Reason::Overwritten)
    };
    if !is_overwritten(&Heads::new()) {
        return None;
    }
    let reaching = checkpoints.iter().rposition(|checkpoint| !is_overwritten(&heads(run, checkpoint)));
    let usable = |checkpoint: &Checkpoint| checkpoint.head.tally.is_some();
    checkpoints.into_iter().nth(reaching.unwrap_or(0)).filter(usable)
}

/// The beginning of a dump.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// The header of the run.
    pub header: Header,
    /// Names of addresses.
    pub names: Vec<(u64, Text)>,
    /// The checkpoint to begin with, if the core has one and the rings do not reach back to the beginning.
    pub checkpoint: Option<Checkpoint>,
    /// True if the header is the run's own, false if it was inferred from the records.
    pub is_in_crash_image: bool,
}

impl Beginning {
    /// The beginning for a recovered run.
    #[must_use]
    pub fn of(run: &Recovered, facts: &Facts) -> Self {
        let mut images = run.images.iter().filter_map(|image| Self::read(image, run.run));
        let Some(mut youngest) = images.next() else {
            return Self::inferred(run, facts);
        };
        let checkpoints = youngest.checkpoint.take().into_iter();
        let checkpoints = checkpoints.chain(images.filter_map(|image| image.checkpoint));
        youngest.checkpoint = choose(run, checkpoints.collect());
        youngest
    }

    /// Reads an image of the beginning of a dump.
    fn read(image: &[u8], run: u64) -> Option<Self> {
        let mut reader = Reader::new(image);
        let (mut header, mut names, mut checkpoint) = (None, Vec::new(), None::<Checkpoint>);
        while let Ok(Some(entry)) = reader.next_entry() {
            match entry {
                Entry::Header(read) => header = Some(*read),
                Entry::Symbols(read) => {
                    names.extend(read.names.into_iter().map(|(address, name)| (address.0, name)));
                }
                Entry::Checkpoint(part) => match &mut checkpoint {
                    Some(first) => first.records.extend(part.records),
                    None => checkpoint = Some(*part),
                },
                _ => {}
            }
        }
        let mut header = header.filter(|header: &Header| header.status.run == run)?;
        header.origin = Origin::Recovered;
        Some(Self { header, names, checkpoint, is_in_crash_image: true })
    }

    /// Infers a header without an image: hooks that wrote a record were attached.
    fn inferred(run: &Recovered, facts: &Facts) -> Self {
        let mut hooks = BTreeMap::new();
        for record in run.records.iter().filter(|record| record.cpu != user::CPU) {
            if let Some(hook) = Hook::from_u8(record.hook) {
                hooks.entry(hook).or_insert(record.flags);
            }
        }
        let hook = |(hook, flags): (Hook, u8)| HookStatus {
            hook,
            function: None,
            method: Some(if flags & FLAG_KPROBE == 0 { Method::Fentry } else { Method::Kprobe }),
            state: if flags & FLAG_ARMED == 0 { HookState::Attached } else { HookState::Armed },
            required: false,
            error: None,
            lost_without: Text::default(),
        };
        let cpus = run.records.iter().map(|record| record.cpu).filter(|&cpu| cpu != user::CPU);
        let status = Status {
            version: Text::default(),
            kernel: facts.vmcoreinfo.release.clone().unwrap_or_default(),
            boot_id: Text::default(),
            run: run.run,
            cpus: cpus.max().map_or(0, |cpu| cpu + 1),
            rings: RingSizes { hot: 0, rare: 0, count: run.sharing.shared() },
            accounting: Accounting { sequence: SequenceQuality::Partial, missed: MissedQuality::Unknown },
            hooks: hooks.into_iter().map(hook).collect(),
            devices: Vec::new(),
        };
        let last_ns = run.last_ns();
        // The only known time of day is that of the crash, if any.
        let clock = Clock {
            boottime_ns: last_ns,
            realtime_ns: facts.vmcoreinfo.crash_time.unwrap_or(0).saturating_mul(1_000_000_000),
            utc_offset_s: 0,
        };
        let start_ns = run.records.iter().map(|record| record.time_ns).min().unwrap_or(0);
        let mut header = Header::new(status, clock, start_ns, rules::Options::default());
        header.origin = Origin::Recovered;
        Self { header, names: Vec::new(), checkpoint: None, is_in_crash_image: false }
    }
}
