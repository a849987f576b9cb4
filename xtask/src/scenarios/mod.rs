//! The behavior of p2p-trace in real guests, asserted from its JSON stream.
//!
//! Several scenarios run in one guest, one after the other; each leaves the guest as it found it: running,
//! without the NVMe driver. After a failure the guest's state is unknown, and the next scenario gets a new
//! one. A scenario that leaves the kernel damaged has a guest of its own.

mod access;
mod agreement;
mod arming;
mod clean;
mod clock;
mod company;
pub(crate) mod dashboard;
mod dump;
mod effort;
mod endurance;
mod expect;
pub(crate) mod faults;
mod findings;
mod holders;
mod holding;
mod kernel_messages;
pub(crate) mod lab;
mod load;
mod mapping;
mod other_memory;
mod partial;
pub(crate) mod processors;
pub(crate) mod product;
mod provider;
mod record;
mod runner;
mod scenario;
mod skips;
mod snapshot;
pub(crate) mod stream;
mod teardown;
mod testmod;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::host::packages;
use crate::kernels::{self, GuestKernel};
use crate::summary::{Outcome, Row, Summary};
pub(crate) use effort::Effort;
use lab::Kind;
use scenario::Scenario;

/// Which scenarios to run.
#[derive(Args, Debug, Default)]
pub(crate) struct Options {
    /// Kernel to run the scenarios on (repeatable): 7.3, 7.2, 6.12, 6.1, 5.10 or host; all available ones if
    /// none is named.
    #[arg(long, value_name = "LABEL")]
    kernel: Vec<String>,
    /// Run only this scenario (repeatable).
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// Attach only by this method.
    #[arg(long, value_enum)]
    attach: Option<Method>,
    /// As many kills, events and rebinds as `cargo xtask soak`.
    #[arg(long)]
    long: bool,
    /// Copy each dump that a scenario fetches from the guest into this folder; the dump of a stream as
    /// SCENARIO.p2pt.
    #[arg(long, value_name = "DIR")]
    keep_dumps: Option<PathBuf>,
}

impl Options {
    /// Selects these scenarios on all kernels.
    pub(crate) fn of(names: &[&str]) -> Self {
        Self { scenario: names.iter().map(|&name| name.to_owned()).collect(), ..Self::default() }
    }
}

/// How the tracer attaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Method {
    /// fentry and fexit.
    Fentry,
    /// kprobe and kretprobe.
    Kprobe,
}

/// How a scenario that did not fail ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Everything was as expected.
    Passed,
    /// It cannot run here, and why.
    Skipped(String),
}

/// All scenarios, grouped by the kind of their guest.
const SCENARIOS: &[Scenario] = &[
    Scenario::plain("load-and-unbind", teardown::load_and_unbind),
    Scenario::plain("map-and-unmap", mapping::map_and_unmap).mapping(),
    Scenario::plain("blocked-unbind", mapping::blocked_unbind).mapping().kprobe_on_first(),
    Scenario::plain("dashboard", dashboard::dashboard).mapping().once().anywhere(),
    Scenario::plain("snapshots", snapshot::snapshots).kprobe_at_ends(),
    Scenario::plain("snapshot-in-hang", snapshot::snapshot_in_hang).with_module().once().at_ends(),
    Scenario::plain("remove", teardown::remove).once(),
    Scenario::plain("unplug", teardown::unplug).once().at_ends(),
    Scenario::plain("other-device", access::other_device).once().at_ends(),
    Scenario::plain("least-rights", access::least_rights),
    Scenario::plain("doctor", access::doctor).once(),
    Scenario::plain("kernel-messages", kernel_messages::kernel_messages).with_module().once().at_ends(),
    Scenario::plain("closed-output", access::closed_output).once().anywhere(),
    Scenario::plain("test-module", provider::test_module).with_module(),
    Scenario::plain("clean-rebinds", clean::rebinds).with_module().once().at_ends(),
    Scenario::plain("clean-late-start", clean::late_start).with_module().once().at_ends(),
    Scenario::plain("clean-mapping-storm", clean::mapping_storm).mapping().once().on_first(),
    Scenario::plain("chosen-hooks", partial::chosen_hooks).with_module().kprobe_at_ends(),
    Scenario::plain("attached-in-hang", partial::attached_in_hang).with_module().kprobe_at_ends(),
    Scenario::plain("clean-two-devices", clean::two_devices).with_module().once().on_first(),
    Scenario::plain("other-memory", other_memory::other_memory).in_guest(Kind::OtherMemory).once().at_ends(),
    Scenario::plain("held-unbind", holding::held_unbind).with_module().kprobe_at_ends(),
    Scenario::plain("race-2018", faults::race_2018).with_module().kprobe_at_ends(),
    Scenario::plain("nested-unbinds", company::nested_unbinds).with_module().kprobe_at_ends(),
    Scenario::plain("busy-kprobe", company::busy_kprobe).with_module().kprobe_at_ends(),
    Scenario::plain("live-patch", company::live_patch).with_module().once(),
    Scenario::plain("stalled-by-allocation", faults::stalled_by_allocation).with_module().kprobe_at_ends(),
    Scenario::plain("stalled-in-driver", faults::stalled_in_driver).with_module().once().at_ends(),
    Scenario::plain("dead-chunk", faults::dead_chunk).with_module().in_own_guest().once().at_ends(),
    Scenario::plain("fatal-dead-chunk", faults::fatal_dead_chunk)
        .with_module()
        .in_own_guest()
        .once()
        .at_ends(),
    Scenario::plain("racing-allocations", faults::racing_allocations)
        .with_module()
        .in_own_guest()
        .once()
        .anywhere(),
    Scenario::plain("reported-in-time", faults::reported_in_time)
        .with_module()
        .in_guest(Kind::Counted)
        .in_own_guest()
        .once()
        .on_first(),
    Scenario::plain("armed-in-time", arming::armed_in_time)
        .with_module()
        .in_guest(Kind::CountedAlone)
        .once()
        .on_first(),
    Scenario::plain("legal-dying-maps", arming::legal_dying_maps).with_module().once(),
    Scenario::plain("exit-codes", faults::exit_codes).with_module().once().anywhere(),
    Scenario::plain("cpus-256", processors::with_256).with_module().in_guest(Kind::Large).once().on_first(),
    Scenario::plain("cpus-1024", processors::with_1024).with_module().in_guest(Kind::Large).kprobe_at_ends(),
    Scenario::plain("added-cpu-64", processors::added)
        .with_module()
        .in_guest(Kind::Possible64)
        .in_own_guest()
        .once()
        .on_kernel("6.1"),
    Scenario::plain("added-cpu-255", processors::added)
        .with_module()
        .in_guest(Kind::Possible255)
        .in_own_guest()
        .once()
        .on_kernel("6.1"),
    Scenario::plain("holders-queues", holders::queues).once().at_ends(),
    Scenario::plain("holders-mapping", holders::mapping).mapping().once().on_first(),
    Scenario::plain("holders-kernel-held", holders::kernel_held).with_module().once().at_ends(),
    Scenario::plain("holders-bypassed", holders::bypassed).with_module().once(),
    Scenario::plain("holders-direct-io", holders::direct_io).mapping().once().on_first(),
    Scenario::plain("holders-two-ranges", holders::two_ranges).with_module().once().at_ends(),
    Scenario::plain("holders-other-freer", holders::other_freer).with_module().once().anywhere(),
    Scenario::plain("holders-two-devices", holders::two_devices).with_module().once().anywhere(),
    Scenario::plain("holders-many", holders::many).with_module().once().anywhere(),
    Scenario::plain("holders-losses", holders::losses).with_module().once().at_ends(),
    Scenario::plain("monitoring", holders::monitoring).with_module().once().at_ends(),
    Scenario::plain("record-killed", record::killed).with_module().once().anywhere(),
    Scenario::plain("record-full-disk", record::full_disk).with_module().once().anywhere(),
    Scenario::plain("record-broken-disk", record::broken_disk).with_module().once().on_first().anywhere(),
    Scenario::plain("record-power-loss", record::power_loss)
        .with_module()
        .in_guest(Kind::Disk)
        .in_own_guest()
        .once()
        .on_first()
        .anywhere(),
    Scenario::plain("record-rotated", record::rotated).with_module().once().on_first(),
    Scenario::plain("record-flight", record::flight).with_module().once().anywhere(),
    Scenario::plain("record-vanished", record::vanished).with_module().once().on_first(),
    Scenario::plain("wrong-frees", faults::wrong_frees).with_module().in_own_guest().once().at_ends(),
    Scenario::plain("partial-free", faults::partial_free).with_module().in_own_guest().once().at_ends(),
    Scenario::plain("put-without-get", faults::put_without_get).with_module().in_own_guest().once().at_ends(),
    Scenario::plain("late-uses", faults::late_uses).with_module().in_own_guest().once(),
    Scenario::plain("late-map-after-races", faults::late_map_after_races)
        .with_module()
        .in_own_guest()
        .once()
        .on_first(),
    Scenario::plain("mapped-to-death", faults::mapped_to_death).with_module().in_own_guest().once().at_ends(),
    Scenario::plain("post-mortem", faults::post_mortem)
        .with_module()
        .in_guest(Kind::CrashSinks)
        .in_own_guest()
        .once(),
    Scenario::plain("allocated-long-ago", faults::allocated_long_ago)
        .with_module()
        .in_own_guest()
        .once()
        .at_ends(),
    Scenario::plain("many-holders", faults::many_holders).with_module().in_own_guest().once().anywhere(),
    Scenario::plain("kdump", faults::kdump)
        .with_module()
        .in_own_guest()
        .in_guest(Kind::Kdump)
        .once()
        .at_ends(),
    Scenario::plain("skipped-runs", skips::skipped_runs).with_module().once().on_first(),
    Scenario::plain("stopped-in-storm", load::stopped_in_storm).with_module().once().on_first(),
    Scenario::plain("endurance", endurance::endurance).with_module().once().on_first().anywhere(),
    Scenario::plain("record-clock-set-back", record::clock_set_back)
        .with_module()
        .once()
        .on_first()
        .anywhere(),
    Scenario::plain("tiny-ring", load::tiny_ring).mapping().kprobe_on_first(),
    Scenario::plain("nested-producers", load::nested_producers)
        .mapping()
        .in_guest(Kind::Preemptible)
        .on_first(),
    Scenario::plain("preempted-runs", load::preempted_runs)
        .with_module()
        .in_guest(Kind::Preemptible)
        .on_first(),
];

impl Method {
    /// Both methods.
    const ALL: [Self; 2] = [Self::Fentry, Self::Kprobe];

    /// The name on the command line.
    const fn name(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
        }
    }

    /// The tracer's option for it.
    pub(crate) fn option(self) -> String {
        format!("--attach {}", self.name())
    }
}

impl Verdict {
    /// Skipped for this reason.
    fn skipped(reason: &str) -> Self {
        Self::Skipped(reason.to_owned())
    }
}

/// Runs the scenarios and prints a summary; returns whether all passed.
///
/// # Errors
///
/// A prerequisite of the guests is not available, or an option has an unknown value.
pub(crate) fn run_alone(root: &Path, options: &Options) -> Result<bool> {
    let effort = if options.long { Effort::long(1, Effort::KILLS) } else { Effort::alone() };
    let summary = run_on_all(root, options, effort)?;
    println!("\n{summary}");
    Ok(!summary.has_failed())
}

/// Gets the kernels and runs the scenarios; a kernel that is not available becomes a row of its own.
///
/// # Errors
///
/// A prerequisite of the guests is not available, or an option has an unknown value.
pub(crate) fn run_on_all(root: &Path, options: &Options, effort: Effort) -> Result<Summary> {
    let labels: Vec<&str> = options.kernel.iter().map(String::as_str).collect();
    let all: &[&str] = if effort.everything { &kernels::SOAKED } else { &kernels::TESTED };
    let selection = kernels::select(root, if labels.is_empty() { all } else { &labels });
    let mut summary = Summary::default();
    for missing in &selection.missing {
        let needed = missing.required || !labels.is_empty();
        let outcome = if needed { Outcome::Failed } else { Outcome::Skipped };
        let name = format!("kernel {}", missing.label);
        summary.push(Row::single(name, outcome(missing.reason.clone()), std::time::Duration::ZERO));
    }
    summary.extend(run(root, &selection.found, options, effort)?);
    Ok(summary)
}

/// Runs the scenarios on these kernels. Each prints a line when it ends.
///
/// # Errors
///
/// A prerequisite of the guests is not available, or an option has an unknown value.
fn run(root: &Path, kernels: &[GuestKernel], options: &Options, effort: Effort) -> Result<Summary> {
    for name in &options.scenario {
        let known: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        ensure!(
            known.contains(&name.as_str()),
            "unknown scenario {name}; known scenarios: {}",
            known.join(", ")
        );
    }
    packages::ensure(&packages::GUEST)?;
    let wanted = |scenario: &&Scenario| {
        options.scenario.is_empty() || options.scenario.iter().any(|name| name == scenario.name)
    };
    let scenarios: Vec<Scenario> = SCENARIOS.iter().filter(wanted).copied().collect();
    let methods = options.attach.map_or_else(|| Method::ALL.to_vec(), |method| vec![method]);
    let keep_dumps = options.keep_dumps.as_deref();
    if let Some(folder) = keep_dumps {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    runner::run(root, kernels, &scenarios, &methods, keep_dumps, effort)
}
