//! `cargo xtask bench`: the cost of tracing, compared with other tracers and with the lower bound.
//!
//! The guest's clock counts instructions, so that neither the host nor its load changes the figures. They are
//! instructions, not time: caches, locked instructions and contention cost nothing here.
//! `docs/performance.md` explains the consequences.

pub(crate) mod case;
pub(crate) mod expected;
mod innocent;
mod lab;
mod peers;
mod reader;
mod report;
pub(crate) mod speed;
mod start;
mod watch;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::guest::{initramfs, kmodule, programs};
use crate::host::{cargo::Profile, packages};
use crate::kernels;
use crate::summary::Outcome;
use case::CASES;
pub(crate) use lab::BenchLab;
use report::Row;

/// The cases to measure.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Print JSON instead of the table: an array of one object per case.
    #[arg(long)]
    json: bool,
    /// Kernel to measure on: 7.3, 6.12, 6.1, 5.10 or host.
    #[arg(long, value_name = "LABEL", default_value = "7.3")]
    kernel: String,
    /// Measure only this case (repeatable); `untraced` is always measured.
    #[arg(long, value_name = "NAME")]
    case: Vec<String>,
}

/// Measures and prints the figures. Progress goes to standard error.
///
/// # Errors
///
/// A prerequisite of the guest is not available, a case is unknown, or a tracer fails.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    let plan = Plan { names: &options.case, profile: Profile::Release, pairs: speed::PAIRS, at_rest: true };
    let rows = measure(root, &options.kernel, plan)?;
    if options.json {
        println!("{}", report::json(&rows)?);
    } else {
        print!("{}", report::table(&rows));
    }
    Ok(())
}

/// The cases to measure, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    /// Names of cases; all of them if empty.
    pub(crate) names: &'a [String],
    /// The profile of the programs: the kernel side, which the figures are about, is the same in each.
    pub(crate) profile: Profile,
    /// Pairs that each processor makes at full speed.
    pub(crate) pairs: u64,
    /// Whether to measure the cost of an idle tracer.
    pub(crate) at_rest: bool,
}

/// Boots the guest and measures.
///
/// # Errors
///
/// As for [`run`].
pub(crate) fn measure(root: &Path, label: &str, plan: Plan<'_>) -> Result<Vec<Row>> {
    let names = plan.names;
    for name in names {
        ensure!(
            all().any(|case| case == name),
            "unknown case {name}; known cases: {}",
            all().collect::<Vec<_>>().join(", ")
        );
    }
    packages::ensure(&packages::GUEST)?;
    let selection = kernels::select(root, &[label]);
    let reason = selection.missing.into_iter().next().map(|missing| missing.reason);
    let kernel = selection
        .found
        .into_iter()
        .next()
        .with_context(|| format!("kernel {label} is not available: {}", reason.unwrap_or_default()))?;
    let programs = programs::build(root, plan.profile)?;
    let module = kmodule::build(root, &kernel)?
        .with_context(|| format!("the test module cannot be built for {}", kernel.release))?;
    let initramfs = initramfs::build(&kernel, &programs, Some(&module))?;
    eprintln!("booting Linux {} with a clock that counts instructions …", kernel.release);
    let mut lab = BenchLab::start(&kernel, &initramfs, 1, 1)?;
    let is_named = |case: &str| names.is_empty() || names.iter().any(|name| name == case);
    let mut rows: Vec<Row> = Vec::new();
    for case in CASES.iter().filter(|case| case.name == case::UNTRACED || is_named(case.name)) {
        eprint!("{:<18}", case.name);
        let measured = lab.measure(case)?;
        let row = Row::new(case.name, &kernel.release, measured, rows.first());
        eprintln!("{}", row.progress());
        rows.push(row);
    }
    rows.extend(starts(&mut lab, 1, is_named, &kernel.release)?);
    for (name, reader) in reader::CASES.iter().filter(|(name, _)| is_named(name)) {
        eprint!("{name:<18}");
        let row = Row::new(name, &kernel.release, lab.catching_up(*reader)?, None);
        eprintln!("{}", row.progress());
        rows.push(row);
    }
    for (name, possible) in innocent::CASES.iter().filter(|(name, _)| is_named(name)) {
        eprint!("{name:<18}");
        let row = Row::new(name, &kernel.release, lab.innocent(*possible)?, None);
        eprintln!("{}", row.progress());
        rows.push(row);
    }
    lab.finish()?;
    let watchers: Vec<_> = speed::CASES.iter().filter(|(name, _)| is_named(name)).collect();
    if watchers.is_empty() && !start::CASES.iter().any(|(name, cpus)| *cpus == speed::CPUS && is_named(name))
    {
        return Ok(rows);
    }
    eprintln!("booting again, with {} processors …", speed::CPUS);
    // Half of the memory can hold files, and `live` writes about 400 bytes per event.
    let scale = u32::try_from(plan.pairs.div_ceil(speed::PAIRS))?;
    let mut lab = BenchLab::start(&kernel, &initramfs, speed::CPUS, scale)?;
    rows.extend(starts(&mut lab, speed::CPUS, is_named, &kernel.release)?);
    for (name, watcher) in watchers {
        eprint!("{name:<18}");
        let row = Row::new(name, &kernel.release, lab.at_full_speed(*watcher, plan)?, None);
        eprintln!("{}", row.progress());
        rows.push(row);
    }
    lab.finish()?;
    Ok(rows)
}

/// Measures the requested starts on a guest with this number of processors.
fn starts(lab: &mut BenchLab, cpus: u8, is_named: impl Fn(&str) -> bool, release: &str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, _) in start::CASES.iter().filter(|(name, of)| *of == cpus && is_named(name)) {
        eprint!("{name:<18}");
        let row = Row::new(name, release, lab.starts()?, None);
        eprintln!("{}", row.progress());
        rows.push(row);
    }
    Ok(rows)
}

/// Measures on the kernel of the figures, and returns whether everything is as expected.
///
/// # Errors
///
/// As for [`run`].
pub(crate) fn cost(root: &Path, plan: Plan<'_>) -> Result<Outcome> {
    let selection = kernels::select(root, &[expected::LABEL]);
    let release = selection.found.first().map(|kernel| kernel.release.as_str());
    if release != Some(expected::KERNEL) {
        let reason = format!("figures exist only for Linux {}", expected::KERNEL);
        println!("{reason}");
        return Ok(Outcome::Skipped(reason));
    }
    let rows = measure(root, expected::LABEL, plan)?;
    print!("{}", report::table(&rows));
    let deviations = expected::deviations(&rows);
    for deviation in &deviations {
        println!("{deviation}");
    }
    Ok(if deviations.is_empty() { Outcome::Passed } else { Outcome::Failed(deviations.join("; ")) })
}

/// The names of all cases.
fn all() -> impl Iterator<Item = &'static str> {
    let pairs = CASES.iter().map(|case| case.name);
    let readers = reader::CASES.iter().map(|(name, _)| *name);
    let starts = start::CASES.iter().map(|(name, _)| *name);
    let innocent = innocent::CASES.iter().map(|(name, _)| *name);
    pairs.chain(readers).chain(innocent).chain(speed::CASES.iter().map(|(name, _)| *name)).chain(starts)
}
