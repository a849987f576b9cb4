//! The messages of `recover`, on stderr.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::Path,
};

use p2p_trace_dump::recover::{Carved, Facts, Progress, Recovered, Written};
use p2p_trace_model::{
    text::Text,
    units::{bytes as size, duration},
};

use crate::{
    outfile::{Destination, Input},
    stderr,
};

/// The name of a memory dump in messages.
pub(super) fn name(core: &Path) -> Text {
    if core == Path::new("-") { "stdin".into() } else { core.into() }
}

/// The names of several memory dumps.
pub(super) fn names(cores: &[Input]) -> String {
    let names: Vec<_> = cores.iter().map(|core| name(core)).collect();
    names.join(", ")
}

/// The progress of the search, on a terminal.
pub(super) struct Meter {
    is_terminal: bool,
    is_shown: bool,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self { is_terminal: io::stderr().is_terminal(), is_shown: false }
    }

    pub(super) fn show(&mut self, progress: Progress) {
        if !self.is_terminal {
            return;
        }
        let share = progress
            .done
            .saturating_mul(100)
            .checked_div(progress.total)
            .map_or_else(String::new, |share| format!("{share:3} % of {}, ", size(progress.total)));
        let (done, records) = (size(progress.done), progress.records);
        let done = if progress.total == 0 { format!("{done}, ") } else { String::new() };
        eprint!("\r{share}{done}{records} records\x1b[K");
        self.is_shown = true;
        // Progress is optional.
        io::stderr().flush().unwrap_or_default();
    }

    pub(super) fn end(&self) {
        if self.is_shown {
            eprint!("\r\x1b[K");
        }
    }
}

/// Shows the kind of the memory dump, and the memory that is absent from it.
pub(super) fn facts(cores: &[Input], facts: &Facts, carved: &Carved) {
    let info = &facts.vmcoreinfo;
    let flattened = if facts.flattened { ", flattened" } else { "" };
    let kernel = info.release.as_ref().map_or_else(String::new, |release| format!(", Linux {release}"));
    let offset = info.kaslr_offset.map_or_else(String::new, |offset| format!(", KASLR offset {offset:#x}"));
    let (name, format, searched) = (names(cores), facts.format, size(carved.searched));
    stderr::say(format_args!("{name}: {format}{flattened}, {searched} of memory{kernel}{offset}"));
    for (why, amount) in carved.skipped.iter() {
        let (bytes, first) = (size(amount.bytes), amount.first);
        tracing::warn!("{bytes} of memory from {first:#x} on are absent: {why}");
    }
    if carved.beyond_limit > 0 {
        let count = carved.beyond_limit;
        tracing::warn!(
            "{count} more records were found than fit into memory; --run omits those of other runs"
        );
    }
}

/// The number of missing records. `absent`: bytes of memory that are not in the dump.
pub(super) fn missing(lost: u64, absent: u64) -> String {
    match (lost, absent) {
        (lost, 0) => format!("{lost} missing"),
        (0, absent) => format!("none known to be missing, but {} of memory are absent", size(absent)),
        (lost, absent) => format!("at least {lost} missing: {} of memory are absent", size(absent)),
    }
}

/// Shows that there are no records.
pub(super) fn nothing(cores: &[Input], carved: &Carved, wanted: Option<u64>) {
    let name = names(cores);
    if let Some(wanted) = wanted {
        stderr::say(format_args!("{name}: it has no records of run {wanted:016x}"));
    } else {
        stderr::say(format_args!(
            "{name}: it has no records of p2p-trace: it was not running, or its memory is not in the dump"
        ));
        let absent = carved.skipped.bytes();
        if absent > 0 {
            stderr::say(format_args!("  {} of memory are absent, and may have had records", size(absent)));
        }
    }
    for run in &carved.runs {
        stderr::say(format_args!("  {} records of run {:016x}", run.records.len(), run.run));
    }
}

/// Shows the other runs in the memory dump.
pub(super) fn others(run: &Recovered, carved: &Carved) {
    for other in carved.runs.iter().filter(|other| other.run != run.run && !other.records.is_empty()) {
        let (records, number) = (other.records.len(), other.run);
        stderr::say(format_args!(
            "not recovered: {records} records of another run; use --run {number:016x} for those"
        ));
    }
}

/// Shows the result.
pub(super) fn written(
    destination: &Destination,
    run: &Recovered,
    facts: &Facts,
    written: &Written,
    absent: u64,
) {
    let Written { recovered, recorded, lost, is_counted, begins_ns, omitted } = *written;
    let behind = if recorded > 0 { format!(", appended to {recorded} recorded ones") } else { String::new() };
    stderr::say(format_args!(
        "run {:016x}: {recovered} records recovered{behind}, {}",
        run.run,
        missing(lost, absent)
    ));
    if is_counted {
        let begun: u64 = run.counters.iter().flat_map(|counters| counters.heads).sum();
        let all = match (lost, begins_ns) {
            (0, None) => "all are in the dump",
            (0, Some(_)) => {
                "each is in the dump, or had been processed by the tracer before the point at which the dump begins"
            }
            _ => "each is in the dump or counted as missing",
        };
        stderr::say(format_args!(
            "the kernel side had started {begun} records when the kernel stopped: {all}"
        ));
    } else {
        stderr::say(format_args!(
            "the kernel side's counters are not in the memory dump: it is unknown how many records are missing after the last one"
        ));
    }
    if let Some(begins_ns) = begins_ns {
        let before = duration(run.last_ns().saturating_sub(begins_ns));
        stderr::say(format_args!(
            "the rings do not reach back to the beginning of the run: the dump begins with a checkpoint from {before} before the last record"
        ));
        if omitted > 0 {
            stderr::say(format_args!(
                "the checkpoint is partial: the {omitted} smallest references have no holder, and rules that need them are inconclusive"
            ));
        }
    }
    if !run.torn.is_empty() {
        stderr::say(format_args!("{} records were incomplete when the kernel stopped", run.torn.len()));
    }
    if run.images.is_empty() && recorded == 0 {
        let kernel = facts.vmcoreinfo.release.as_deref().unwrap_or("an unknown kernel");
        stderr::say(format_args!(
            "the status of the run on {kernel} is not in the memory dump: it is inferred from the records"
        ));
    }
    if run.conflicts > 0 {
        tracing::warn!(
            "{} records were found twice and differ: the memory changed during the dump, or one is an old copy",
            run.conflicts
        );
    }
    let name = destination.name();
    if destination.is_file() {
        stderr::say(format_args!("wrote {name}; next: p2p-trace check {name}"));
    } else {
        stderr::say(format_args!("wrote the dump to {name}"));
    }
}
