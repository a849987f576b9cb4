//! The individual references of a teardown: chooses the relevant ones among up to a million.

use std::{cmp::Reverse, collections::HashMap};

use p2p_trace_model::{
    event::Id,
    state::{Closed, Device, Reference},
};

use super::story::Lane;

/// References that are followed at a moment. More are kept than shown, since the relevant ones are known only at the
/// end.
const FOLLOWED: usize = 64;
/// References that are followed for a teardown.
const MAX_FOLLOWED: usize = 512;

/// The references of one teardown.
#[derive(Clone, Debug, Default)]
pub(super) struct Lanes {
    followed: Vec<Lane>,
    by_record: HashMap<Id, usize>,
    /// References outstanding at its beginning, or allocated later.
    total: u64,
}

impl Lanes {
    /// Outstanding references.
    pub(super) fn begin(&mut self, device: &Device) {
        self.total = device.reference_count() as u64;
        for reference in largest(device) {
            self.follow(device, &reference, false);
        }
    }

    /// The outstanding references have outlived a kill.
    pub(super) fn killed(&mut self, device: &Device) {
        let is_killed = |lane: &Lane| {
            let range = lane.range.and_then(|id| device.range(id));
            lane.end.is_none() && range.is_none_or(|range| range.steps.killed.is_some())
        };
        for lane in &mut self.followed {
            lane.outlived_kill |= is_killed(lane);
        }
        for reference in largest(device) {
            self.follow(device, &reference, true);
        }
    }

    pub(super) fn allocated(&mut self, device: &Device, reference: &Reference) {
        self.total += 1;
        let range = device.range_of(reference);
        let killed = range.is_some_and(|range| range.steps.killed.is_some());
        self.follow(device, reference, killed);
    }

    pub(super) fn closed(&mut self, closed: &Closed) {
        let lane = self.by_record.get(&closed.reference.at.id);
        if let Some(lane) = lane.and_then(|&index| self.followed.get_mut(index)) {
            lane.end = Some((closed.at, closed.by));
        }
    }

    /// The `max` most relevant, and the number of the others.
    pub(super) fn finish(mut self, max: usize) -> (Vec<Lane>, u64) {
        self.followed.sort_by_key(|lane| {
            let Reference { at, .. } = lane.reference;
            (!lane.outlived_kill, Reverse(lane.reference.bytes()), at.time_ns, at.id)
        });
        self.followed.truncate(max);
        let omitted = self.total.saturating_sub(self.followed.len() as u64);
        (self.followed, omitted)
    }

    fn follow(&mut self, device: &Device, reference: &Reference, outlived_kill: bool) {
        let id = reference.at.id;
        if self.followed.len() >= MAX_FOLLOWED || self.by_record.contains_key(&id) {
            return;
        }
        let allocated_by = device.allocated_by(reference);
        self.by_record.insert(id, self.followed.len());
        self.followed.push(Lane {
            reference: *reference,
            range: device.range_of(reference).map(|range| range.id),
            task: allocated_by.task,
            end: None,
            outlived_kill,
        });
    }
}

/// The largest outstanding references, the oldest of them first.
fn largest(device: &Device) -> Vec<Reference> {
    let rank = |reference: &Reference| (Reverse(reference.bytes()), reference.at.time_ns, reference.at.id);
    let mut all: Vec<_> = device.references().map(|(_, reference)| *reference).collect();
    if all.len() > FOLLOWED {
        all.select_nth_unstable_by_key(FOLLOWED, rank);
        all.truncate(FOLLOWED);
    }
    all.sort_by_key(rank);
    all
}
