//! What becomes of each field of a dump that is redacted. `docs/dump-format.md` shows this table, and tests hold the code to it.

use p2p_trace_model::event::layout::Word;

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays as it is.
    Kept,
    /// Nothing of it is left.
    Gone,
    /// An address is moved, by the same amount as all others of its kind.
    Moved,
    /// It is another one, and the same one wherever it is the same.
    Pseudonym,
}

impl Fate {
    /// As the documentation has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Gone => "goes",
            Self::Moved => "moved",
            Self::Pseudonym => "pseudonym",
        }
    }
}

/// Fields that have the same fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// What has them.
    pub place: &'static str,
    /// Their names, with what is below them.
    pub fields: &'static [&'static str],
    /// What becomes of them.
    pub fate: Fate,
    /// How, or why.
    pub how: &'static str,
}

const fn row(place: &'static str, fields: &'static [&'static str], fate: Fate, how: &'static str) -> Row {
    Row { place, fields, fate, how }
}

/// Every field of every block. What a later version adds has no row, and goes.
pub const TABLE: &[Row] = {
    use Fate::{Gone, Kept, Moved, Pseudonym};
    &[
        row("header", &["origin", "file", "start_ns", "stall_after_ns"], Kept, "the rules go by them"),
        row("header", &["clock.boottime_ns", "clock.realtime_ns"], Kept, "times can be compared with a log"),
        row("header", &["clock.utc_offset_s"], Gone, "0: times are shown in UTC"),
        row("header", &["host"], Gone, "absent"),
        row("header", &["redacted"], Gone, "`true`"),
        row("status", &["version", "kernel"], Kept, "what the kernel can do depends on its release"),
        row("status", &["boot_id"], Pseudonym, "none stays none"),
        row("status", &["run"], Pseudonym, ""),
        row("status", &["cpus", "rings", "accounting"], Kept, "the accounting goes by them"),
        row(
            "status",
            &[
                "hooks.hook",
                "hooks.function",
                "hooks.method",
                "hooks.state",
                "hooks.required",
                "hooks.lost_without",
            ],
            Kept,
            "the names of the kernel's own functions, and ours",
        ),
        row("status", &["hooks.error"], Gone, "one fixed sentence: it can name paths and programs"),
        row("status", &["devices"], Kept, "PCI addresses, names of drivers, sizes: what a finding is about"),
        row(
            "record",
            &["magic", "schema", "kind", "hook", "flags", "valid", "cpu", "seq", "time_ns", "guard"],
            Kept,
            "what happened, when and in which order",
        ),
        row("record", &["run"], Pseudonym, "as that of the status"),
        row("record", &["pid", "tgid"], Pseudonym, "0, the idle task's, stays"),
        row("record", &["comm"], Pseudonym, "`task-` and a number; none stays none"),
        row("record", &["domain", "bus", "devfn", "small"], Kept, "the device"),
        row("record", &["pgmap"], Moved, "0 stays"),
        row("record", &["number"], Kept, "but for a reference"),
        row("record", &["number, of a reference"], Pseudonym, "0 stays"),
        row(
            "word of a record",
            &[
                "size",
                "offset",
                "first time",
                "last time",
                "mapping device",
                "bytes taken",
                "references",
                "time off the CPU",
                "time suspended",
            ],
            Kept,
            "the rules go by them",
        ),
        row("word of a record", &["caller"], Moved, "with the kernel's code"),
        row("word of a record", &["address", "scatter list"], Moved, "with the kernel's data"),
        row("word of a record", &["start", "end", "physical address"], Moved, "with physical memory"),
        row("word of a record", &["page"], Moved, "so that the pages still belong to their memory"),
        row("word of a record", &["user address"], Moved, ""),
        row("word of a record", &["cgroup id"], Pseudonym, "0 and 1, the root's, stay"),
        row("word of a record", &["unused"], Gone, "0, as is what `valid` does not flag; not of a `loss`"),
        row("stack", &["parent", "part"], Kept, "which record it belongs to"),
        row("stack", &["frames"], Moved, "with the kernel's code"),
        row("symbols", &["names.address"], Moved, "as in records"),
        row("symbols", &["names.name"], Kept, "functions and modules"),
        row("records", &["before", "slices"], Kept, "counts and times"),
        row("diagnostics", &["said.time_ns", "said.level"], Kept, ""),
        row("diagnostics", &["said.text"], Moved, "the addresses in it, the words stay"),
        row(
            "checkpoint",
            &["part", "parts", "time_ns", "counts", "reached_ns", "tally", "omitted"],
            Kept,
            "counts and times",
        ),
        row(
            "checkpoint",
            &[
                "rules.lost_hot",
                "rules.lost_rare",
                "rules.skipped",
                "rules.found.rule",
                "rules.found.device",
                "rules.found.findings",
                "rules.found.open",
            ],
            Kept,
            "what the rules had come to",
        ),
        row("checkpoint", &["rules.found.uncertainties"], Gone, "one fixed sentence: they can name tasks"),
        row("footer", &["reason", "duration_ns", "totals", "counts"], Kept, "counts and times"),
    ]
};

/// What is done with a word of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    Kept,
    Gone,
    Virtual,
    Page,
    Physical,
    Cgroup,
}

impl Treatment {
    pub(super) const fn of(word: Word) -> Self {
        match word {
            Word::Unused => Self::Gone,
            Word::Size
            | Word::Offset
            | Word::FirstNs
            | Word::LastNs
            | Word::Client
            | Word::Allocated
            | Word::Refs
            | Word::Waiting
            | Word::Asleep => Self::Kept,
            Word::Caller | Word::Addr | Word::Sgl | Word::UserAddr => Self::Virtual,
            Word::Page => Self::Page,
            Word::Start | Word::End | Word::Physical => Self::Physical,
            Word::Cgroup => Self::Cgroup,
        }
    }
}
