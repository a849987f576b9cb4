//! Whether an unbind would go through.
//!
//! An unbind waits, for ever and holding the device's lock, until the last reference to the device's p2p memory is dropped
//! (`memunmap_pages`). The answer is as careful as that:
//!
//! - **no**: an unbind is blocked already; or memory is allocated in the kernel by somebody else than the bound driver, which
//!   nothing but its taker gives back, and has been for longer than a request takes. The driver's own (taken from within its module) does not count: its remove callback,
//!   which runs before the wait, is expected to free it, as nvme does with its queues.
//! - **yes**: all that is taken is known, nothing was lost since, nothing is taken but the driver's own, and nothing hides it.
//! - **unknown**: everything else. Without a driver, while some task unbinds some device, it may be this one. Memory whose taker was not seen may be the driver's own. A user's mapping is revoked by
//!   the unbind and alone never blocks it, but pages of it that I/O in flight has pinned do, and pins cannot be observed.

use std::time::Duration;

use p2p_trace_model::{
    state::HolderKind,
    text::Text,
    units::{bytes, duration},
};

use super::report::{Answer, CanUnbind, Holder, Preexisting, RangeReport, Report, UnbindReport};

/// Drivers that hand out memory without pages (Linux 6.19 and later), which is not traced; facts of the kernel's source:
/// `drivers/vfio/pci`, `drivers/infiniband/hw/mlx5`. Where the kernel's state was read that tells, too.
const PAGELESS: [&str; 3] = ["vfio-pci", "nvgrace-gpu-vfio-pci", "mlx5_core"];

/// Drivers of VFIO have it in their name. All of them wait in an unbind until everybody has closed the device.
const VFIO: &str = "vfio";

/// What has been taken for less than this may be one request's: it is in use. What is out for longer outlives two looks.
const IN_USE_NS: u64 = 1_000_000_000;
/// From one look to the next, where memory is in use.
pub(crate) const SECOND_LOOK: Duration = Duration::from_nanos(IN_USE_NS);

/// What the answer rests on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grounds<'a> {
    /// sysfs has the device.
    pub(crate) is_present: bool,
    /// The device has p2p memory with pages.
    pub(crate) has_memory: bool,
    /// Its driver hands out memory by other means than a pool.
    pub(crate) without_pool: bool,
    /// Its driver hands out pages of some range itself.
    pub(crate) bypassed: bool,
    /// Its ranges.
    pub(crate) ranges: &'a [RangeReport],
    /// The bound driver.
    pub(crate) driver: Option<&'a str>,
    /// Why an unbind may be under way although none is known.
    pub(crate) hidden: Option<&'a str>,
    /// Memory that was seen being taken.
    pub(crate) holders: &'a [Holder],
    /// Memory whose taker was not seen.
    pub(crate) preexisting: Option<&'a Preexisting>,
    /// An unbind that is under way.
    pub(crate) unbind: Option<&'a UnbindReport>,
    /// Why all of this may not be true, or not all of it.
    pub(crate) uncertain: &'a [Text],
}

/// The answer, with its reason.
pub(crate) fn can_unbind(grounds: &Grounds<'_>) -> CanUnbind {
    if let Some(unbind) = grounds.unbind {
        return under_way(unbind, grounds);
    }
    if !grounds.has_memory {
        return without_memory(grounds);
    }
    let waits = Waits::of(grounds);
    let bypassed = waits.bypassed.as_ref();
    let (answer, reason) = if let Some(first) = waits.uncertainties.first().filter(|_| !waits.sure.is_empty())
    {
        (Answer::Unknown, format!("something may block it, but {first}"))
    } else if let Some(first) = waits.sure.first() {
        (Answer::No, format!("it would wait for {first}"))
    } else if let Some(first) =
        bypassed.or_else(|| waits.uncertainties.first()).or_else(|| waits.maybe.first())
    {
        (Answer::Unknown, first.clone())
    } else if waits.own > 0 {
        let (own, driver) = (bytes(waits.own), grounds.driver.unwrap_or_default());
        let reason =
            format!("nothing is taken but {own} of {driver} itself, expected to be freed by its remove");
        (Answer::Yes, reason)
    } else {
        (Answer::Yes, "nothing is taken".into())
    };
    CanUnbind { answer, reason: reason.into(), waits_for: waits.all() }
}

fn under_way(unbind: &UnbindReport, grounds: &Grounds<'_>) -> CanUnbind {
    let (answer, reason) = if unbind.blocked {
        (Answer::No, "an unbind is blocked already")
    } else {
        (Answer::Unknown, "an unbind is under way")
    };
    let step = unbind.step.map_or_else(String::new, |step| format!(": {step}"));
    let mut waits = Waits::of(grounds);
    if waits.own > 0 {
        let text = format!("{} of the driver itself, which it has not given back so far", bytes(waits.own));
        waits.maybe.push(text);
    }
    CanUnbind { answer, reason: format!("{reason}{step}").into(), waits_for: waits.all() }
}

fn without_memory(grounds: &Grounds<'_>) -> CanUnbind {
    let is_pageless = |driver: &&str| grounds.without_pool || PAGELESS.contains(driver);
    let (answer, reason) = if !grounds.is_present {
        (Answer::Unknown, "there is no such device now".to_owned())
    } else if let Some(driver) = grounds.driver.filter(is_pageless) {
        let reason = format!(
            "the device has no p2p memory with pages, but {driver} can hand out memory without, which is not traced"
        );
        (Answer::Unknown, reason)
    } else if let Some(driver) = grounds.driver.filter(|driver| driver.contains(VFIO)) {
        let reason = format!("{driver} waits until everybody has closed the device, which is not traced");
        (Answer::Unknown, reason)
    } else if let Some(hidden) = grounds.hidden {
        (Answer::Unknown, hidden.to_owned())
    } else if grounds.without_pool {
        let reason = "the device provides memory without pages, which is not traced".to_owned();
        (Answer::Unknown, reason)
    } else if let Some(uncertainty) = grounds.uncertain.first() {
        (Answer::Unknown, uncertainty.clone().into())
    } else {
        (Answer::Yes, "the device has no p2p memory".to_owned())
    };
    CanUnbind { answer, reason: reason.into(), waits_for: Vec::new() }
}

/// Why nothing of what the pool counts matters: the driver hands out the pages itself.
fn bypassed(grounds: &Grounds<'_>) -> Option<String> {
    let driver = grounds.driver.unwrap_or("the driver");
    let references = grounds.ranges.iter().filter_map(|range| range.references).map(|refs| refs.count);
    let counted = references.reduce(i64::saturating_add).map_or_else(String::new, |count| {
        format!(" (the kernel counts {count} references, those of the range itself among them)")
    });
    let text = format!("{driver} hands out its memory itself: what of it is out is not known{counted}");
    grounds.bypassed.then_some(text)
}

/// Whether it does so is not known.
fn may_be_bypassed(grounds: &Grounds<'_>) -> Option<String> {
    let driver = grounds.driver.unwrap_or("the driver");
    let is_unknown = |range: &RangeReport| range.is_there() && range.pooled.is_none();
    let may_be = !grounds.bypassed && grounds.ranges.iter().any(is_unknown);
    may_be.then(|| format!("whether {driver} hands out its memory itself, behind the pool, cannot be told"))
}

/// What an unbind would wait for.
#[derive(Debug, Default)]
struct Waits {
    /// Surely.
    sure: Vec<String>,
    /// Perhaps.
    maybe: Vec<String>,
    /// On who knows what: the driver hands out the pages itself.
    bypassed: Option<String>,
    /// Why even what seems sure is not.
    uncertainties: Vec<String>,
    /// Bytes of the driver itself.
    own: u64,
}

impl Waits {
    fn of(grounds: &Grounds<'_>) -> Self {
        let maybe = grounds.hidden.map(str::to_owned).into_iter().collect();
        let mut waits = Self {
            uncertainties: grounds.uncertain.iter().cloned().map(String::from).collect(),
            maybe,
            ..Self::default()
        };
        for holder in grounds.holders {
            waits.holder(holder);
        }
        waits.bypassed = bypassed(grounds);
        waits.maybe.extend(may_be_bypassed(grounds));
        if let Some(preexisting) = grounds.preexisting.filter(|preexisting| preexisting.bytes > 0) {
            let text = format!(
                "{} taken by whom was not seen: the driver's own is freed by an unbind, anybody else's blocks it",
                bytes(preexisting.bytes)
            );
            waits.maybe.push(text);
        }
        waits
    }

    fn all(self) -> Vec<Text> {
        self.sure.into_iter().chain(self.bypassed).chain(self.maybe).map(Text::from).collect()
    }

    fn holder(&mut self, holder: &Holder) {
        let (size, kind) = (bytes(holder.bytes), holder.kind.name());
        let by = holder
            .allocated_by
            .as_ref()
            .map_or_else(|| "somebody whose name was not seen".to_owned(), ToString::to_string);
        let at = holder.caller.as_ref().map_or_else(String::new, |caller| format!(" at {caller}"));
        match (holder.kind, holder.by_driver) {
            (HolderKind::Mmap, _) => self.maybe.push(format!(
                "{size} mapped by {by}: an unbind revokes the mapping, but pages pinned by I/O in flight block it, and \
                 pins cannot be observed"
            )),
            _ if holder.unsure => self.maybe.push(format!(
                "{size} taken by {by}{at} ({kind}), or by somebody else since: records were lost"
            )),
            (_, Some(true)) => self.own = self.own.saturating_add(holder.bytes),
            (_, Some(false)) if holder.is_in_use() => self.maybe.push(format!(
                "{size} in use by {by}{at} ({kind}), none of it for longer than {}: what a request takes is given back \
                 with its end",
                duration(holder.age_ns)
            )),
            (_, Some(false)) => self.sure.push(format!("{size} taken by {by}{at} ({kind})")),
            (_, None) => self.maybe.push(format!(
                "{size} taken by {by}{at} ({kind}): whether it is the driver's own cannot be told"
            )),
        }
    }
}

impl Holder {
    /// All of it was taken a short time ago: it may be given back as soon.
    const fn is_in_use(&self) -> bool {
        self.age_ns < IN_USE_NS
    }
}

impl Report {
    /// A second look, [`SECOND_LOOK`] later, tells whether memory is held or just in use by one request after the other.
    pub(crate) fn calls_for_second_look(&self) -> bool {
        let undecided = self.devices.iter().filter(|device| device.can_unbind.answer == Answer::Unknown);
        undecided.flat_map(|device| &device.holders).any(|holder| {
            holder.is_in_use()
                && holder.by_driver == Some(false)
                && holder.kind != HolderKind::Mmap
                && !holder.unsure
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device_report::{References, samples};

    fn answer(grounds: &Grounds<'_>) -> (Answer, Text) {
        let verdict = can_unbind(grounds);
        (verdict.answer, verdict.reason)
    }

    const NOTHING: Grounds<'static> = Grounds {
        is_present: true,
        has_memory: true,
        without_pool: false,
        bypassed: false,
        ranges: &[],
        driver: Some("nvme"),
        hidden: None,
        holders: &[],
        preexisting: None,
        unbind: None,
        uncertain: &[],
    };

    #[test]
    fn what_may_have_changed_hands_is_unknown() {
        for holder in [samples::queues(), samples::target()] {
            let holders = [Holder { unsure: true, ..holder }];
            let (unknown, reason) = answer(&Grounds { holders: &holders, ..NOTHING });
            assert_eq!(unknown, Answer::Unknown);
            assert!(reason.contains("records were lost"), "{reason}");
        }
    }

    #[test]
    fn nothing_or_the_drivers_own_lets_an_unbind_through() {
        assert_eq!(answer(&NOTHING), (Answer::Yes, "nothing is taken".into()));
        let holders = [samples::queues()];
        let own = Grounds { holders: &holders, ..NOTHING };
        let (yes, reason) = answer(&own);
        assert_eq!(yes, Answer::Yes);
        assert!(reason.contains("128 KiB of nvme itself"), "{reason}");
        let none = Grounds { has_memory: false, ..NOTHING };
        assert_eq!(answer(&none).0, Answer::Yes);
        let absent = Grounds { is_present: false, ..none };
        assert_eq!(answer(&absent).0, Answer::Unknown);
    }

    #[test]
    fn what_hides_memory_or_an_unbind_is_no_yes() {
        let none = Grounds { has_memory: false, ..NOTHING };
        for driver in ["vfio-pci", "mlx5_vfio_pci"] {
            let (unknown, reason) = answer(&Grounds { driver: Some(driver), ..none });
            assert!(unknown == Answer::Unknown && reason.contains(driver), "{reason}");
        }
        let (unknown, reason) = answer(&Grounds { without_pool: true, driver: Some("own"), ..none });
        assert!(unknown == Answer::Unknown && reason.contains("but own can"), "{reason}");
        let unbound = Grounds { driver: None, ..NOTHING };
        assert_eq!(answer(&Grounds { without_pool: true, has_memory: false, ..unbound }).0, Answer::Unknown);
        assert_eq!(answer(&Grounds { has_memory: false, ..unbound }).0, Answer::Yes);
        for has_memory in [true, false] {
            let hidden = Grounds { hidden: Some("sh[1] is unbinding a device"), has_memory, ..unbound };
            assert_eq!(answer(&hidden), (Answer::Unknown, "sh[1] is unbinding a device".into()));
        }
        // What surely blocks it does so all the same.
        let holders = [samples::target()];
        let held = Grounds { hidden: Some("sh[1] is unbinding a device"), holders: &holders, ..unbound };
        assert_eq!(answer(&held).0, Answer::No);
    }

    #[test]
    fn what_a_driver_hands_out_itself_is_not_known() {
        let mut range = samples::report().devices[0].ranges[0].clone();
        range.pooled = Some(false);
        range.references = Some(References { count: 16_388, estimate: true });
        let ranges = [range];
        let bypassed = Grounds { driver: Some("uvm"), bypassed: true, ranges: &ranges, ..NOTHING };
        let (unknown, reason) = answer(&bypassed);
        assert_eq!(unknown, Answer::Unknown);
        assert!(reason.starts_with("uvm hands out") && reason.contains("16388 references"), "{reason}");
        // Memory of somebody else blocks it all the same.
        let holders = [samples::target()];
        assert_eq!(answer(&Grounds { holders: &holders, ..bypassed }).0, Answer::No);
        let untold = [RangeReport { pooled: None, references: None, ..ranges[0].clone() }];
        let (unknown, reason) = answer(&Grounds { ranges: &untold, ..NOTHING });
        assert!(unknown == Answer::Unknown && reason.contains("cannot be told"), "{reason}");
        let own = [RangeReport { pooled: Some(true), ..untold[0].clone() }];
        assert_eq!(answer(&Grounds { ranges: &own, ..NOTHING }).0, Answer::Yes);
    }

    #[test]
    fn what_a_request_takes_is_in_use_and_no_blocker() {
        let young = Holder { age_ns: IN_USE_NS - 1, ..samples::target() };
        let (unknown, reason) = answer(&Grounds { holders: std::slice::from_ref(&young), ..NOTHING });
        assert_eq!(unknown, Answer::Unknown);
        assert!(reason.starts_with("12 KiB in use by kworker/1:2H[310]"), "{reason}");
        let old = Holder { age_ns: IN_USE_NS, ..young.clone() };
        assert_eq!(answer(&Grounds { holders: std::slice::from_ref(&old), ..NOTHING }).0, Answer::No);

        let mut report = samples::report();
        let looks = |report: &Report| report.calls_for_second_look();
        assert!(!looks(&report), "all of it is old");
        report.devices[0].holders = vec![young];
        report.devices[0].can_unbind.answer = Answer::Unknown;
        assert!(looks(&report));
        report.devices[0].can_unbind.answer = Answer::No;
        assert!(!looks(&report), "something else blocks it");
    }

    #[test]
    fn memory_of_somebody_else_in_the_kernel_blocks() {
        let holders = [samples::queues(), samples::target()];
        let grounds = Grounds { holders: &holders, ..NOTHING };
        let verdict = can_unbind(&grounds);
        assert_eq!(verdict.answer, Answer::No);
        assert_eq!(verdict.waits_for.len(), 1, "{:?}", verdict.waits_for);
        let uncertain = ["3 records were lost".into()];
        let grounds = Grounds { uncertain: &uncertain, ..grounds };
        let (unknown, reason) = answer(&grounds);
        assert_eq!(unknown, Answer::Unknown);
        assert!(reason.contains("3 records were lost"), "{reason}");
    }

    #[test]
    fn what_cannot_be_told_is_unknown() {
        let unnamed = Holder { by_driver: None, ..samples::target() };
        for holder in [samples::mapping(), unnamed] {
            let grounds = Grounds { holders: &[holder], ..NOTHING };
            assert_eq!(answer(&grounds).0, Answer::Unknown);
        }
        let preexisting = samples::preexisting();
        for grounds in [
            Grounds { preexisting: Some(&preexisting), ..NOTHING },
            Grounds { uncertain: &["records were lost".into()], ..NOTHING },
        ] {
            assert_eq!(answer(&grounds).0, Answer::Unknown, "{grounds:?}");
        }
    }

    #[test]
    fn an_unbind_under_way_decides_by_itself() {
        let unbind = samples::unbind();
        let blocked = Grounds { unbind: Some(&unbind), ..NOTHING };
        let (no, reason) = answer(&blocked);
        assert_eq!(no, Answer::No);
        assert!(reason.contains("waiting for the last reference"), "{reason}");
        let holders = [samples::queues()];
        let own = Grounds { holders: &holders, ..blocked };
        let waits = can_unbind(&own).waits_for;
        assert!(waits[0].contains("128 KiB of the driver itself"), "{waits:?}");
        let going = UnbindReport { blocked: false, ..unbind };
        let going = Grounds { unbind: Some(&going), ..NOTHING };
        assert_eq!(answer(&going).0, Answer::Unknown);
    }
}
