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

/// Why a scenario that maps p2p memory cannot be run.
const NO_MMAP: &str = "this kernel cannot map p2p memory into user space (since 6.2)";
/// Why a scenario with the test module cannot be run.
const NO_HEADERS: &str = "nothing is known to build a module for this kernel with";
/// How long a guest may take to boot.
const BOOT: Duration = Duration::from_mins(4);
/// How long one scenario may take.
const LIMIT: Duration = Duration::from_mins(8);
/// So much longer for each time that a recorder is to be killed.
const PER_KILL: Duration = Duration::from_secs(30);
/// How often a scenario is begun that something else spoils.
const ATTEMPTS: u32 = 3;
/// What the kernel calls a breakpoint that it does not know.
const BREAKPOINT: &str = "Oops: int3";
/// What a program of the guest says when it may not map a page, seen once on 6.12 where processes interrupt each other. Most
/// likely the page had no reference: before 6.19 one that is freed is back in the pool before its count is set anew
/// (`free_zone_device_folio`), and whoever takes it in between is refused (`validate_page_before_insert`).
const UNCOUNTED: &str = "p2pmem/allocate\n\nCaused by:\n    Invalid argument";
/// Lines of the console that are shown with a failure.
const CONSOLE: usize = 12;

/// A kernel that is ready to be booted.
struct Bootable<'a> {
    kernel: &'a GuestKernel,
    initramfs: Vec<u8>,
    /// Why the test module is not in there, if so.
    lacks_module: Option<&'static str>,
    acceleration: Acceleration,
    /// Guests booted so far: each has logs of its own.
    boots: u32,
    /// Whether it can map p2p memory into user space, once a guest has told.
    has_mmap: Option<bool>,
    /// Where dumps are copied to.
    keep_dumps: Option<&'a Path>,
    /// Its place among the kernels.
    place: Place<'a>,
    effort: Effort,
    /// What the traces of each scenario came to by fentry.
    by_fentry: HashMap<&'static str, Verdicts>,
}

/// Runs every scenario by every method on every kernel, where it is due.
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
        let name = format!("{} in all, {} guests", kernel.label, bootable.boots);
        summary.push(Row::single(name, Outcome::Part, started.elapsed()));
    }
    Ok(summary)
}

/// The kernel complains that a CPU has stood for minutes at the very entry of a function, where hooks are patched in: it executes
/// a breakpoint again and again that is not there any more (`kprobe_int3_handler` lets it try anew), and nothing of ours.
fn is_stuck_at_breakpoint(console: &str) -> bool {
    let complaint =
        ["detected stalls on CPUs", "soft lockup"].iter().filter_map(|words| console.find(words)).min();
    complaint.is_some_and(|from| {
        let mut lines = console[from..].lines();
        lines.any(|line| line.contains("RIP: 0010:") && line.contains("+0x0/"))
    })
}

/// The test module, or why there is none. One that does not build is a failure of its own, and the scenarios that can do
/// without go on.
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
        // Those that need a guest of their own come last: before them, as many as possible share one.
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

    /// Runs one scenario and says how it ended.
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
                // Whatever state it is in, nobody else should start from it.
                *lab = None;
                Outcome::Failed(error.to_string().lines().next().unwrap_or_default().to_owned())
            }
        };
        Ok(Row::single(name, outcome, started.elapsed()))
    }

    /// What spoiled a scenario that had not come to anything of ours.
    fn spoiler(&self, error: &anyhow::Error, lab: Option<&Lab>) -> Option<&'static str> {
        let said = format!("{error:#}");
        if self.is_emulators_fault(&said, lab) {
            Some("the emulator ran half of an instruction that was being patched")
        } else if said.contains(UNCOUNTED) && can_hand_out_uncounted(&self.kernel.release) {
            Some("the kernel refused to map p2p memory, which it most likely handed out again too early")
        } else if said.contains(UNRECORDED) {
            Some("what the kernel had freed was in use again at once")
        } else {
            None
        }
    }

    /// The guest's kernel met the breakpoint that stands in for an instruction while it is patched, and did not know it:
    /// QEMU's translator does not keep the order in which one CPU sees what another one writes to code.
    fn is_emulators_fault(&self, said: &str, lab: Option<&Lab>) -> bool {
        let has_met = |lab: &Lab| {
            let complaints = lab.guest.complaints();
            complaints.iter().any(|line| line.contains(BREAKPOINT))
                || is_stuck_at_breakpoint(&lab.guest.console())
        };
        // Where that ended a boot, there is no guest to ask any more.
        self.acceleration == Acceleration::Tcg && (said.contains(BREAKPOINT) || lab.is_some_and(has_met))
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
            lab.guest.place_of_complaint().join(", ")
        );
        let told = lab.take_told();
        if method == Method::Fentry {
            self.by_fentry.insert(scenario.name, told);
        } else if let Some(by_fentry) = self.by_fentry.get(scenario.name) {
            agreement::check(by_fentry, &told)?;
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

/// Whether a kernel of this release may hand out a page before it has set its count: see [`UNCOUNTED`].
fn can_hand_out_uncounted(release: &str) -> bool {
    version_of(release).is_some_and(|version| version < vec![6, 19])
}

/// All that helps to understand a failure.
fn account(error: &anyhow::Error, lab: Option<&mut Lab>) -> String {
    let mut lines = vec![format!("{error:#}")];
    if let Some(lab) = lab {
        lines.extend(lab.stream().map(|stream| format!("  stream: {}", stream.display())));
        lines.push(format!("  logs: {}", lab.guest.log().display()));
        let mut quote = |said: Vec<String>| lines.extend(said.iter().map(|line| format!("  | {line}")));
        // Before the evidence is taken, which fills the console.
        quote(lab.guest.console_excerpt(CONSOLE));
        if error.downcast_ref::<Stuck>().is_some() {
            match lab.guest.evidence() {
                Ok(said) => quote(said),
                Err(error) => lines.push(format!("  no evidence: {error:#}")),
            }
        }
    }
    lines.join("\n")
}

/// How a scenario ended, in one line.
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
    fn only_kernels_before_6_19_hand_out_pages_too_early() {
        assert!(can_hand_out_uncounted("6.12.107-p2pdma"));
        assert!(!can_hand_out_uncounted("6.19.6+deb14-amd64"));
        assert!(!can_hand_out_uncounted("7.3.4+deb13-amd64"));
        assert!(!can_hand_out_uncounted("?"));
    }

    #[test]
    fn a_cpu_that_stands_at_the_entry_of_a_function_is_the_emulators() {
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
