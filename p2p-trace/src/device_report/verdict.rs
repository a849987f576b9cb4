//! Whether an unbind would complete.
//!
//! An unbind waits, without a limit and with the device's lock held, until the last reference to the device's p2p
//! memory is dropped (`memunmap_pages`). The answer is conservative:
//!
//! - **no**: an unbind is already blocked; or another module than the bound driver holds memory in the kernel, and
//!   has held it for longer than a request does. Only its holder frees such memory. The driver's own memory
//!   (allocated by a call from its module) does not count: its remove callback, which runs before the wait, is
//!   expected to free it, as nvme does with its queues.
//! - **yes**: all allocated memory is known, no record was lost since, only the driver itself holds memory, and
//!   nothing hides more.
//! - **unknown**: everything else. If no driver is bound while some task unbinds some device, it may be this device.
//!   Memory whose holder is unknown may be the driver's own. An unbind revokes a user's mapping, so that a mapping
//!   alone never blocks it, but pages of it that are pinned by I/O in flight do, and pins are not observed.

use std::time::Duration;

use p2p_trace_model::{
    state::HolderKind,
    text::Text,
    units::{bytes, duration},
};

use super::report::{Answer, CanUnbind, Holder, Preexisting, RangeReport, Report, UnbindReport};

/// Drivers that provide memory without pages (Linux 6.19 and later), which is not traced. Source: `drivers/vfio/pci`,
/// `drivers/infiniband/hw/mlx5` of the kernel. Other such drivers are detected if the kernel's state was read.
const PAGELESS: [&str; 3] = ["vfio-pci", "nvgrace-gpu-vfio-pci", "mlx5_core"];

/// VFIO drivers have this in their name. They all wait in an unbind until every user has closed the device.
const VFIO: &str = "vfio";

/// Memory that is younger may belong to a single request: it is in use. Memory that is older is still allocated in a
/// second snapshot.
const IN_USE_NS: u64 = 1_000_000_000;
/// Time between two snapshots if memory is in use.
pub(crate) const SECOND_LOOK: Duration = Duration::from_nanos(IN_USE_NS);

/// The facts that an answer rests on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grounds<'a> {
    /// sysfs has the device.
    pub(crate) is_present: bool,
    /// The device has p2p memory with pages.
    pub(crate) has_memory: bool,
    /// Its driver provides memory without a pool.
    pub(crate) without_pool: bool,
    /// Its driver allocates pages of some range itself.
    pub(crate) bypassed: bool,
    /// Its ranges.
    pub(crate) ranges: &'a [RangeReport],
    /// The bound driver.
    pub(crate) driver: Option<&'a str>,
    /// Why an unbind may be ongoing although none is known.
    pub(crate) hidden: Option<&'a str>,
    /// Memory with a known holder.
    pub(crate) holders: &'a [Holder],
    /// Memory whose holder is unknown.
    pub(crate) preexisting: Option<&'a Preexisting>,
    /// The ongoing unbind.
    pub(crate) unbind: Option<&'a UnbindReport>,
    /// Reasons why these facts may be wrong or incomplete.
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
        let reason = format!("only {driver} itself holds memory ({own}), expected to be freed by its remove");
        (Answer::Yes, reason)
    } else {
        (Answer::Yes, "no memory is allocated".into())
    };
    CanUnbind { answer, reason: reason.into(), waits_for: waits.all() }
}

fn under_way(unbind: &UnbindReport, grounds: &Grounds<'_>) -> CanUnbind {
    let (answer, reason) = if unbind.blocked {
        (Answer::No, "an unbind is blocked already")
    } else {
        (Answer::Unknown, "an unbind is ongoing")
    };
    let step = unbind.step.map_or_else(String::new, |step| format!(": {step}"));
    let mut waits = Waits::of(grounds);
    if waits.own > 0 {
        let text = format!("{} of the driver itself, not freed so far", bytes(waits.own));
        waits.maybe.push(text);
    }
    CanUnbind { answer, reason: format!("{reason}{step}").into(), waits_for: waits.all() }
}

fn without_memory(grounds: &Grounds<'_>) -> CanUnbind {
    let is_pageless = |driver: &&str| grounds.without_pool || PAGELESS.contains(driver);
    let (answer, reason) = if !grounds.is_present {
        (Answer::Unknown, "there is no such device".to_owned())
    } else if let Some(driver) = grounds.driver.filter(is_pageless) {
        let reason = format!(
            "the device has no p2p memory with pages, but {driver} can provide memory without pages, which is not traced"
        );
        (Answer::Unknown, reason)
    } else if let Some(driver) = grounds.driver.filter(|driver| driver.contains(VFIO)) {
        let reason = format!("{driver} waits until every user has closed the device, which is not traced");
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

/// The pool's counts do not matter if the driver allocates the pages itself.
fn bypassed(grounds: &Grounds<'_>) -> Option<String> {
    let driver = grounds.driver.unwrap_or("the driver");
    let references = grounds.ranges.iter().filter_map(|range| range.references).map(|refs| refs.count);
    let counted = references.reduce(i64::saturating_add).map_or_else(String::new, |count| {
        format!(" (the kernel counts {count} references, including those of the range itself)")
    });
    let text = format!("{driver} allocates its memory itself: how much is outstanding is unknown{counted}");
    grounds.bypassed.then_some(text)
}

/// It is unknown whether the driver allocates the pages itself.
fn may_be_bypassed(grounds: &Grounds<'_>) -> Option<String> {
    let driver = grounds.driver.unwrap_or("the driver");
    let is_unknown = |range: &RangeReport| range.is_there() && range.pooled.is_none();
    let may_be = !grounds.bypassed && grounds.ranges.iter().any(is_unknown);
    may_be.then(|| format!("it is unknown whether {driver} allocates its memory itself, bypassing the pool"))
}

/// The memory that an unbind would wait for.
#[derive(Debug, Default)]
struct Waits {
    /// Certain.
    sure: Vec<String>,
    /// Possible.
    maybe: Vec<String>,
    /// Unknown, because the driver allocates the pages itself.
    bypassed: Option<String>,
    /// Reasons why even certain entries are not.
    uncertainties: Vec<String>,
    /// Bytes of the driver's own memory.
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
                "{} of unknown holders: an unbind frees the driver's own memory, and waits for any other",
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
        let by =
            holder.allocated_by.as_ref().map_or_else(|| "an unknown task".to_owned(), ToString::to_string);
        let at = holder.caller.as_ref().map_or_else(String::new, |caller| format!(" at {caller}"));
        match (holder.kind, holder.by_driver) {
            (HolderKind::Mmap, _) => self.maybe.push(format!(
                "{size} mapped by {by}: an unbind revokes the mapping, but pages pinned by I/O in flight block it, and \
                 pins cannot be observed"
            )),
            _ if holder.unsure => self.maybe.push(format!(
                "{size} held by {by}{at} ({kind}), or by another task since: records were lost"
            )),
            (_, Some(true)) => self.own = self.own.saturating_add(holder.bytes),
            (_, Some(false)) if holder.is_in_use() => self.maybe.push(format!(
                "{size} in use by {by}{at} ({kind}), none of it for longer than {}: a request frees its memory \
                 when it ends",
                duration(holder.age_ns)
            )),
            (_, Some(false)) => self.sure.push(format!("{size} held by {by}{at} ({kind})")),
            (_, None) => self.maybe.push(format!(
                "{size} held by {by}{at} ({kind}): it is unknown whether it is the driver's own"
            )),
        }
    }
}

impl Holder {
    /// All of it was allocated recently, and may be freed as soon.
    const fn is_in_use(&self) -> bool {
        self.age_ns < IN_USE_NS
    }
}

impl Report {
    /// A second snapshot, [`SECOND_LOOK`] later, shows whether the memory is held, or used by one request after the
    /// other.
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
    fn unsure_holder_is_unknown() {
        for holder in [samples::queues(), samples::target()] {
            let holders = [Holder { unsure: true, ..holder }];
            let (unknown, reason) = answer(&Grounds { holders: &holders, ..NOTHING });
            assert_eq!(unknown, Answer::Unknown);
            assert!(reason.contains("records were lost"), "{reason}");
        }
    }

    #[test]
    fn no_memory_or_the_drivers_own_is_yes() {
        assert_eq!(answer(&NOTHING), (Answer::Yes, "no memory is allocated".into()));
        let holders = [samples::queues()];
        let own = Grounds { holders: &holders, ..NOTHING };
        let (yes, reason) = answer(&own);
        assert_eq!(yes, Answer::Yes);
        assert!(reason.contains("only nvme itself holds memory (128 KiB)"), "{reason}");
        let none = Grounds { has_memory: false, ..NOTHING };
        assert_eq!(answer(&none).0, Answer::Yes);
        let absent = Grounds { is_present: false, ..none };
        assert_eq!(answer(&absent).0, Answer::Unknown);
    }

    #[test]
    fn hidden_memory_or_unbind_is_unknown() {
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
        // A certain blocker still decides.
        let holders = [samples::target()];
        let held = Grounds { hidden: Some("sh[1] is unbinding a device"), holders: &holders, ..unbound };
        assert_eq!(answer(&held).0, Answer::No);
    }

    #[test]
    fn bypassed_pool_is_unknown() {
        let mut range = samples::report().devices[0].ranges[0].clone();
        range.pooled = Some(false);
        range.references = Some(References { count: 16_388, estimate: true });
        let ranges = [range];
        let bypassed = Grounds { driver: Some("uvm"), bypassed: true, ranges: &ranges, ..NOTHING };
        let (unknown, reason) = answer(&bypassed);
        assert_eq!(unknown, Answer::Unknown);
        assert!(reason.starts_with("uvm allocates") && reason.contains("16388 references"), "{reason}");
        // Memory of another module still blocks it.
        let holders = [samples::target()];
        assert_eq!(answer(&Grounds { holders: &holders, ..bypassed }).0, Answer::No);
        let unknown_range = [RangeReport { pooled: None, references: None, ..ranges[0].clone() }];
        let (unknown, reason) = answer(&Grounds { ranges: &unknown_range, ..NOTHING });
        assert!(unknown == Answer::Unknown && reason.contains("unknown whether"), "{reason}");
        let own = [RangeReport { pooled: Some(true), ..unknown_range[0].clone() }];
        assert_eq!(answer(&Grounds { ranges: &own, ..NOTHING }).0, Answer::Yes);
    }

    #[test]
    fn young_memory_is_in_use_and_unknown() {
        let young = Holder { age_ns: IN_USE_NS - 1, ..samples::target() };
        let (unknown, reason) = answer(&Grounds { holders: std::slice::from_ref(&young), ..NOTHING });
        assert_eq!(unknown, Answer::Unknown);
        assert!(reason.starts_with("12 KiB in use by kworker/1:2H[310]"), "{reason}");
        let old = Holder { age_ns: IN_USE_NS, ..young.clone() };
        assert_eq!(answer(&Grounds { holders: std::slice::from_ref(&old), ..NOTHING }).0, Answer::No);

        let mut report = samples::report();
        let needs_second = |report: &Report| report.calls_for_second_look();
        assert!(!needs_second(&report), "all of it is old");
        report.devices[0].holders = vec![young];
        report.devices[0].can_unbind.answer = Answer::Unknown;
        assert!(needs_second(&report));
        report.devices[0].can_unbind.answer = Answer::No;
        assert!(!needs_second(&report), "something else blocks it");
    }

    #[test]
    fn memory_of_another_module_is_no() {
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
    fn missing_facts_are_unknown() {
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
    fn ongoing_unbind_decides() {
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
