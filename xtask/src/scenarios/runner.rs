//! Runs scenarios in guests, several per boot.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::agreement::{self, Verdicts};
use super::faults::UNRECORDED;
use super::lab::{Kind, Lab};
use super::scenario::{Place, Scenario};
use super::{Effort, Method, Verdict};
use crate::host::{cargo::Profile, ledger};
use crate::kernels::{GuestKernel, debian::version_of};
use crate::summary::{Outcome, Row, Summary};
use crate::{
    guest::{Acceleration, Boot, Stuck, initramfs, kmodule, probe, programs},
    host::interrupt,
};

/// Why a scenario that maps p2p memory is skipped.
const NO_MMAP: &str = "this kernel cannot map p2p memory into user space (since 6.2)";
/// Why a scenario with the test module is skipped.
const NO_HEADERS: &str = "no headers are known to build a module for this kernel";
/// How long a guest may take to boot.
const BOOT: Duration = Duration::from_mins(4);
/// How long one scenario may take.
const LIMIT: Duration = Duration::from_mins(8);
/// Additional time for each kill of a recorder.
const PER_KILL: Duration = Duration::from_secs(30);
/// How many attempts a scenario has if an external fault spoils it.
const ATTEMPTS: u32 = 3;
/// The kernel's message about a breakpoint that it does not know.
const BREAKPOINT: &str = "Oops: int3";
/// Error of a guest program that may not map a page, observed once on 6.12 where processes interrupt each
/// other. Most likely the page had no reference: before 6.19 a freed page is back in the pool before its
/// count is reset (`free_zone_device_folio`), and a task that allocates it in between gets the error
/// (`validate_page_before_insert`).
const UNCOUNTED: &str = "p2pmem/allocate\n\nCaused by:\n    Invalid argument";
/// Lines of the console that are shown with a failure.
const CONSOLE: usize = 12;

/// A kernel that is ready to be booted.
struct Bootable<'a> {
    kernel: &'a GuestKernel,
    initramfs: Vec<u8>,
    /// Why the test module is missing, if it is.
    lacks_module: Option<&'static str>,
    acceleration: Acceleration,
    /// Guests booted so far: each has its own logs.
    boots: u32,
    /// Whether the kernel can map p2p memory into user space; unknown until a guest has booted.
    has_mmap: Option<bool>,
    /// Folder that dumps are copied to.
    keep_dumps: Option<&'a Path>,
    /// Its place among the kernels.
    place: Place<'a>,
    effort: Effort,
    /// The verdicts of each scenario's traces by fentry.
    by_fentry: HashMap<&'static str, Verdicts>,
}

/// Runs every scenario by every method on every kernel where it is due.
pub(super) fn run(
    root: &Path,
    kernels: &[GuestKernel],
    scenarios: &[Scenario],
    methods: &[Method],
    keep_dumps: Option<&Path>,
    effort: Effort,
) -> Result<Summary> {
    let programs = programs::build(root, Profile::Guest)?;
    let mut summary = Summary::default();
    let mut acceleration = None;
    for (at, kernel) in kernels.iter().enumerate() {
        let started = Instant::now();
        let place = Place { at, of: kernels.len(), label: &kernel.label };
        let is_due = |scenario: &&Scenario| {
            let is_due = |&method: &Method| scenario.is_due(method, place, effort.everything);
            methods.iter().any(is_due)
        };
        let scenarios: Vec<&Scenario> = scenarios.iter().filter(is_due).collect();
        if scenarios.is_empty() {
            continue;
        }
        let wanted = scenarios.iter().any(|scenario| scenario.module);
        let (module, lacks_module) =
            if wanted { build_module(root, kernel, &mut summary)? } else { (None, Some(NO_HEADERS)) };
        let initramfs = initramfs::build(kernel, &programs, module.as_deref())
            .with_context(|| format!("cannot build the root file system for Linux {}", kernel.release))?;
        let acceleration = *acceleration.get_or_insert_with(|| probe(kernel, &initramfs));
        let mut bootable = Bootable {
            kernel,
            initramfs,
            lacks_module,
            acceleration,
            boots: 0,
            has_mmap: None,
            keep_dumps,
            place,
            effort,
            by_fentry: HashMap::new(),
        };
        for kind in Kind::ALL {
            let of_guest: Vec<&Scenario> =
                scenarios.iter().filter(|scenario| scenario.guest == kind).copied().collect();
            if !of_guest.is_empty() {
                bootable.run(kind, &of_guest, methods, &mut summary)?;
            }
        }
        let name = format!("{} total, {} guests", kernel.label, bootable.boots);
        summary.push(Row::single(name, Outcome::Part, started.elapsed()));
    }
    Ok(summary)
}

/// The kernel complains that a CPU has been at the entry of a function for minutes, where hooks are patched
/// in: it repeatedly executes a breakpoint that no longer exists (`kprobe_int3_handler` makes it retry), and
/// no code of ours.
fn is_stuck_at_breakpoint(console: &str) -> bool {
    let complaint =
        ["detected stalls on CPUs", "soft lockup"].iter().filter_map(|words| console.find(words)).min();
    complaint.is_some_and(|from| {
        let mut lines = console[from..].lines();
        lines.any(|line| line.contains("RIP: 0010:") && line.contains("+0x0/"))
    })
}

/// The test module, or why there is none. A failed build is a failure of its own, and the scenarios that do
/// not need the module continue.
fn build_module(
    root: &Path,
    kernel: &GuestKernel,
    summary: &mut Summary,
) -> Result<(Option<PathBuf>, Option<&'static str>)> {
    let started = Instant::now();
    match kmodule::build(root, kernel) {
        Ok(Some(module)) => Ok((Some(module), None)),
        Ok(None) => Ok((None, Some(NO_HEADERS))),
        Err(error) => {
            interrupt::check()?;
            println!("{error:#}");
            let reason = error.to_string().lines().next().unwrap_or_default().to_owned();
            let name = format!("{} test module", kernel.label);
            let row = Row::single(name, Outcome::Failed(reason), started.elapsed());
            println!("{}", line(&row));
            summary.push(row);
            Ok((None, Some("the test module could not be built")))
        }
    }
}

impl Bootable<'_> {
    /// Runs the scenarios of one kind of guest.
    fn run(
        &mut self,
        kind: Kind,
        scenarios: &[&Scenario],
        methods: &[Method],
        summary: &mut Summary,
    ) -> Result<()> {
        let mut lab = None;
        // Scenarios that need their own guest come last: before them, as many as possible share one.
        for own_guest in [false, true] {
            for (at, &method) in methods.iter().enumerate() {
                let (place, effort) = (self.place, self.effort);
                let is_due = |scenario: &&&Scenario| {
                    scenario.own_guest == own_guest
                        && (at == 0 || !scenario.once)
                        && scenario.is_due(method, place, effort.everything)
                };
                let again = |scenario| std::iter::repeat_n(scenario, effort.times);
                for scenario in scenarios.iter().filter(is_due).flat_map(again) {
                    let row = self.row(kind, scenario, method, &mut lab)?;
                    println!("{}", line(&row));
                    summary.push(row);
                }
            }
            if let Some(lab) = lab.take() {
                let started = Instant::now();
                if let Err(error) = lab.guest.power_off() {
                    println!("{error:#}");
                    let name = format!("{} power-off", self.kernel.label);
                    summary.push(Row::single(name, Outcome::Failed(error.to_string()), started.elapsed()));
                }
            }
        }
        Ok(())
    }

    /// Runs one scenario and returns its result.
    fn row(&mut self, kind: Kind, scenario: &Scenario, method: Method, lab: &mut Option<Lab>) -> Result<Row> {
        let name = format!("{} {} {}", self.kernel.label, scenario.name, method.name());
        let started = Instant::now();
        let mut result = self.perform(kind, scenario, method, lab);
        for _ in 1..ATTEMPTS {
            let Err(error) = &result else { break };
            interrupt::check()?;
            let Some(spoiler) = self.spoiler(error, lab.as_ref()) else {
                break;
            };
            println!("{}", account(error, lab.as_mut()));
            println!("  {spoiler}: {name} again, in a new guest");
            *lab = None;
            result = self.perform(kind, scenario, method, lab);
        }
        let result = result.and_then(|verdict| {
            let used = lab.take_if(|_| scenario.own_guest);
            used.map_or(Ok(()), |lab| lab.guest.discard())?;
            Ok(verdict)
        });
        let outcome = match result {
            Ok(Verdict::Passed) => Outcome::Passed,
            Ok(Verdict::Skipped(reason)) => Outcome::Skipped(reason),
            Err(error) => {
                interrupt::check()?;
                println!("{}", account(&error, lab.as_mut()));
                // The guest's state is unknown, so that no other scenario may start from it.
                *lab = None;
                Outcome::Failed(error.to_string().lines().next().unwrap_or_default().to_owned())
            }
        };
        Ok(Row::single(name, outcome, started.elapsed()))
    }

    /// The external fault that spoiled a scenario, if there was one.
    fn spoiler(&self, error: &anyhow::Error, lab: Option<&Lab>) -> Option<&'static str> {
        let message = format!("{error:#}");
        if self.is_emulators_fault(&message, lab) {
            Some("the emulator ran half of an instruction that was being patched")
        } else if message.contains(UNCOUNTED) && can_allocate_uncounted(&self.kernel.release) {
            Some("the kernel refused to map p2p memory, most likely because it reallocated a page too early")
        } else if message.contains(UNRECORDED) {
            Some("memory that the kernel had freed was reused immediately")
        } else {
            None
        }
    }

    /// The guest's kernel hit the breakpoint that replaces an instruction while it is patched, and did not
    /// recognize it: QEMU's translator does not keep the order in which one CPU sees another one's writes to
    /// code.
    fn is_emulators_fault(&self, message: &str, lab: Option<&Lab>) -> bool {
        let has_met = |lab: &Lab| {
            let complaints = lab.guest.complaints();
            complaints.iter().any(|line| line.contains(BREAKPOINT))
                || is_stuck_at_breakpoint(&lab.guest.console())
        };
        // If the fault ended a boot, there is no guest left to query.
        self.acceleration == Acceleration::Tcg && (message.contains(BREAKPOINT) || lab.is_some_and(has_met))
    }

    /// Runs one scenario, in a new guest if there is none.
    fn perform(
        &mut self,
        kind: Kind,
        scenario: &Scenario,
        method: Method,
        lab: &mut Option<Lab>,
    ) -> Result<Verdict> {
        if scenario.maps && self.has_mmap == Some(false) {
            return Ok(Verdict::skipped(NO_MMAP));
        }
        if let Some(reason) = self.lacks_module.filter(|_| scenario.module) {
            return Ok(Verdict::skipped(reason));
        }
        let lab = match lab {
            Some(lab) => lab,
            None => lab.insert(self.boot(kind)?),
        };
        self.has_mmap = Some(lab.has_mmap);
        if scenario.maps && !lab.has_mmap {
            return Ok(Verdict::skipped(NO_MMAP));
        }
        lab.begin(LIMIT + PER_KILL * self.effort.kills);
        let verdict = (scenario.run)(lab, method)?;
        let complaints = lab.guest.complaints();
        ensure!(
            complaints.is_empty(),
            "the kernel complained: {}; at {}",
            complaints.join(" | "),
            lab.guest.complaint_location().join(", ")
        );
        let verdicts = lab.take_verdicts();
        if method == Method::Fentry {
            self.by_fentry.insert(scenario.name, verdicts);
        } else if let Some(by_fentry) = self.by_fentry.get(scenario.name) {
            agreement::check(by_fentry, &verdicts)?;
        }
        Ok(verdict)
    }

    fn boot(&mut self, kind: Kind) -> Result<Lab> {
        let started = Instant::now();
        self.boots += 1;
        let machine = kind.machine();
        let mut lab = Lab::start(Boot {
            name: &format!("{}-{}-{}", self.kernel.label, kind.name(), self.boots),
            kernel: self.kernel,
            initramfs: &self.initramfs,
            machine: &machine,
            acceleration: self.acceleration,
            limit: BOOT,
        })
        .with_context(|| format!("cannot boot Linux {}", self.kernel.release))?;
        ledger::note(&format!("booting {}", self.kernel.label), started.elapsed());
        lab.keep_dumps(self.keep_dumps);
        lab.effort = self.effort;
        Ok(lab)
    }
}

/// Whether a kernel of this release may allocate a page before it has set its count: see [`UNCOUNTED`].
fn can_allocate_uncounted(release: &str) -> bool {
    version_of(release).is_some_and(|version| version < vec![6, 19])
}

/// A description of a failure with its logs.
fn account(error: &anyhow::Error, lab: Option<&mut Lab>) -> String {
    let mut lines = vec![format!("{error:#}")];
    if let Some(lab) = lab {
        lines.extend(lab.stream().map(|stream| format!("  stream: {}", stream.display())));
        lines.push(format!("  logs: {}", lab.guest.log().display()));
        let mut quote = |output: Vec<String>| lines.extend(output.iter().map(|line| format!("  | {line}")));
        // Before the evidence is collected, which fills the console.
        quote(lab.guest.console_excerpt(CONSOLE));
        if error.downcast_ref::<Stuck>().is_some() {
            match lab.guest.evidence() {
                Ok(output) => quote(output),
                Err(error) => lines.push(format!("  no evidence: {error:#}")),
            }
        }
    }
    lines.join("\n")
}

/// The result of a scenario in one line.
fn line(row: &Row) -> String {
    let (word, reason) = match &row.outcome {
        Outcome::Passed | Outcome::Part => ("passed", String::new()),
        Outcome::Failed(reason) => ("FAILED", format!(": {reason}")),
        Outcome::Skipped(reason) => ("skipped", format!(": {reason}")),
    };
    format!("{} … {word} ({:.1} s){reason}", row.name, row.time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kernels_before_6_19_allocate_uncounted_pages() {
        assert!(can_allocate_uncounted("6.12.107-p2pdma"));
        assert!(!can_allocate_uncounted("6.19.6+deb14-amd64"));
        assert!(!can_allocate_uncounted("7.3.4+deb13-amd64"));
        assert!(!can_allocate_uncounted("?"));
    }

    #[test]
    fn detects_a_cpu_stuck_at_a_function_entry() {
        let console = |at: &str| {
            format!(
                "[  170.5] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:\n[  170.5] RIP: 0010:{at}/0x40\n\
                 [  170.5] RIP: 0033:0x47cf2a\n"
            )
        };
        assert!(is_stuck_at_breakpoint(&console("dev_attr_show+0x0")));
        assert!(!is_stuck_at_breakpoint(&console("dev_attr_show+0x10")));
        assert!(!is_stuck_at_breakpoint("RIP: 0010:dev_attr_show+0x0/0x40"));
    }
}
