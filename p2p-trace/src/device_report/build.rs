//! Builds the report from the model.

use p2p_trace_model::{
    event::{DeviceAddress, Symbolize, names::Bdf},
    names::Hex,
    state::{Baseline, Device, Model, Range, Stage, Teardown, Uncertainty},
    text::Text,
    units::Clock,
};

use super::{
    candidates::candidates,
    holders::holders,
    host::{Host, HostDevice},
    report::{
        Answer, CanUnbind, DeviceReport, FORMAT, LifeCycle, Preexisting, RangeReport, RangeState, References,
        Report, Residual, RunReport, Source,
    },
    unbind::unbind,
    verdict::{Grounds, can_unbind},
};

/// Pieces of memory that are listed individually.
const MAX_RUNS: usize = 1024;

/// The inputs of a report besides the model.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) source: &'a Source,
    /// Release of the kernel.
    pub(crate) kernel: &'a str,
    /// The devices that the model covers; empty: all.
    pub(crate) traced: &'a [DeviceAddress],
    /// The host, read after the model's latest record.
    pub(crate) host: &'a Host,
    /// Names of kernel addresses.
    pub(crate) symbols: &'a dyn Symbolize,
    /// Times of day.
    pub(crate) clock: Clock,
    /// When the report is made, `CLOCK_BOOTTIME`.
    pub(crate) now_ns: u64,
}

/// The report on `devices`, or on all devices with p2p memory if `devices` is empty.
///
/// It is as recent as the model: a snapshot just before makes it exact.
pub(crate) fn report(model: &Model, devices: &[DeviceAddress], facts: &Facts<'_>) -> Report {
    let mut addresses = devices.to_vec();
    if addresses.is_empty() {
        let with_memory = facts.host.devices.iter().filter(|(_, device)| device.memory.is_some());
        addresses.extend(with_memory.map(|(&address, _)| address));
        addresses.extend(model.devices().filter(|device| matters(device)).map(Device::address));
    }
    addresses.sort_unstable();
    addresses.dedup();
    Report {
        format: FORMAT,
        source: facts.source.clone(),
        time: facts.clock.rfc3339(facts.now_ns).into(),
        time_ns: facts.now_ns,
        kernel: facts.kernel.into(),
        devices: addresses.iter().map(|&address| device(address, model.device(address), facts)).collect(),
        gaps: facts.host.scan.gaps.iter().map(|gap| gap.to_string().into()).collect(),
    }
}

/// The model knows something about the device although sysfs shows no memory of it.
fn matters(device: &Device) -> bool {
    device.ranges().any(|range| range.stage() < Stage::Released)
        || device.reference_count() > 0
        || device.pending_teardown().is_some_and(Teardown::touches_memory)
}

fn device(address: DeviceAddress, model: Option<&Device>, facts: &Facts<'_>) -> DeviceReport {
    let unknown = HostDevice::default();
    let host = facts.host.devices.get(&address).unwrap_or(&unknown);
    let memory = host.memory.as_ref();
    let ranges: Vec<_> = model
        .into_iter()
        .flat_map(Device::ranges)
        .filter(|range| range.stage() < Stage::Released && range.is_named())
        .map(range)
        .collect();
    let in_ranges = |of: fn(&RangeReport) -> Option<u64>| {
        let sum = ranges.iter().map(of).sum::<Option<u64>>();
        sum.filter(|_| !ranges.is_empty())
    };
    let mut report = DeviceReport {
        device: Bdf(address),
        life_cycle: LifeCycle::Pages,
        names: memory.map_or_else(Vec::new, |memory| memory.names.clone()),
        driver: host.driver.as_ref().map(|driver| driver.name.clone()),
        size: in_ranges(|range| range.size).or_else(|| memory?.size),
        allocated: in_ranges(|range| range.allocated),
        published: memory.and_then(|memory| memory.published).or_else(|| model?.published()),
        holders: model.map_or_else(Vec::new, |device| holders(device, host.driver.as_ref(), facts)),
        preexisting: model.and_then(preexisting),
        unbind: model.and_then(|device| unbind(device, facts)),
        candidates: Vec::new(),
        uncertain: uncertain(address, model, memory.is_some(), facts).into_iter().map(Text::from).collect(),
        can_unbind: CanUnbind {
            answer: Answer::Unknown,
            reason: String::new().into(),
            waits_for: Vec::new(),
        },
        ranges,
    };
    report.candidates = candidates(address, &report, host, &facts.host.scan);
    report.can_unbind = can_unbind(&Grounds {
        is_present: host.is_present,
        has_memory: memory.is_some() || !report.ranges.is_empty() || !report.holders.is_empty(),
        without_pool: model.is_some_and(Device::is_without_pool),
        bypassed: model.is_some_and(Device::is_bypassed),
        ranges: &report.ranges,
        driver: report.driver.as_deref(),
        hidden: host.hidden_unbind(&facts.host.scan).as_deref(),
        holders: &report.holders,
        preexisting: report.preexisting.as_ref(),
        unbind: report.unbind.as_ref(),
        uncertain: &report.uncertain,
    });
    report
}

fn range(range: &Range) -> RangeReport {
    let residual = range.accounted().map(|accounted| Residual {
        count: accounted.residual,
        known: accounted.known,
        unknown_min: *accounted.unknown.start(),
        unknown_max: *accounted.unknown.end(),
        unexplained_min: *accounted.unexplained.start(),
        unexplained_max: *accounted.unexplained.end(),
    });
    RangeReport {
        pgmap: Hex(range.id.pgmap),
        range_start: range.physical.map(|physical| Hex(physical.start)),
        range_end: range.physical.map(|physical| Hex(physical.end)),
        size: range.size(),
        bar: range.bar,
        state: match range.stage() {
            Stage::Live => RangeState::Live,
            Stage::Killed => RangeState::Killed,
            Stage::Drained => RangeState::Drained,
            Stage::Removed => RangeState::Removed,
            Stage::Released => RangeState::Released,
        },
        allocated: range.counted.and_then(|counted| counted.bytes),
        allocated_ns: range.counted.map(|counted| counted.at.time_ns),
        pooled: range.pooled,
        references: range
            .counted
            .and_then(|counted| counted.refs)
            .filter(|_| range.is_bypassed())
            .map(|refs| References { count: refs.count, estimate: refs.estimate }),
        residual,
    }
}

fn preexisting(device: &Device) -> Option<Preexisting> {
    let bytes = device.preexisting_bytes();
    let run = |run: p2p_trace_model::state::Preexisting| RunReport { addr: Hex(run.addr), size: run.size };
    let count = device.preexisting().count();
    (bytes > 0).then(|| Preexisting {
        bytes,
        mapped_max: device.unplaced_mmap_bytes(),
        runs: device.preexisting().take(MAX_RUNS).map(run).collect(),
        runs_omitted: count.saturating_sub(MAX_RUNS) as u64,
    })
}

/// Reasons why the model's view of a device may be wrong or incomplete.
fn uncertain(
    address: DeviceAddress,
    model: Option<&Device>,
    has_memory: bool,
    facts: &Facts<'_>,
) -> Vec<String> {
    if !facts.traced.is_empty() && !facts.traced.contains(&address) {
        return vec![
            "the tracer was started for other devices: allocations of this one are unknown".to_owned(),
        ];
    }
    let Some(device) = model else {
        let unread = "its memory has not been read yet".to_owned();
        return if has_memory { vec![unread] } else { Vec::new() };
    };
    let uncertainties = device.uncertain();
    let lost = |uncertainty: Option<Uncertainty>, of: &str, then: &str| {
        uncertainty.map(|uncertainty| {
            let from = facts.clock.time_of_day(uncertainty.since_ns);
            let to = facts.clock.time_of_day(uncertainty.until_ns);
            let lost = uncertainty.lost;
            format!("{lost} records of {of} were lost between {from} and {to}: {then}")
        })
    };
    let unread = "allocations from before tracing have not been read";
    let unread = matches!(device.baseline(), Baseline::Unknown).then(|| unread.to_owned());
    let late = is_late(device, has_memory, facts)
        .then(|| "the kernel's state was not read in time, and recent records may be missing".to_owned());
    let failed = has_failed(device, facts).then(|| {
        "the kernel's state could not be read completely, so that earlier records are not confirmed"
            .to_owned()
    });
    [
        lost(uncertainties.hot, "allocations and frees", "some holders may be missing or outdated"),
        lost(uncertainties.rare, "teardowns", "steps may be missing"),
        unread,
        late,
        failed,
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The snapshot made for this request did not complete.
fn has_failed(device: &Device, facts: &Facts<'_>) -> bool {
    let asked_ns = facts.host.asked_ns;
    let last = device.last_snapshot().filter(|snapshot| !snapshot.complete);
    asked_ns.zip(last).is_some_and(|(asked_ns, snapshot)| snapshot.to_ns >= asked_ns)
}

/// The latest snapshot is older than the request. A pool that is known to be gone has no state to read.
fn is_late(device: &Device, has_memory: bool, facts: &Facts<'_>) -> bool {
    let has_memory = has_memory || device.ranges().any(|range| range.stage() < Stage::Released);
    let asked_ns = facts.host.asked_ns.filter(|_| has_memory);
    asked_ns.is_some_and(|asked_ns| device.last_snapshot().is_none_or(|snapshot| snapshot.to_ns < asked_ns))
}
