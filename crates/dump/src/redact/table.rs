//! The treatment of each field in a redacted dump. `docs/dump-format.md` shows this table, and tests compare
//! the code with it.

use p2p_trace_model::event::layout::Word;

/// The treatment of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is unchanged.
    Kept,
    /// It is removed.
    Removed,
    /// An address is moved by the same distance as all others of its kind.
    Moved,
    /// It is replaced, equal values by equal pseudonyms.
    Pseudonym,
}

impl Fate {
    /// The name used in the documentation.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Removed => "removed",
            Self::Moved => "moved",
            Self::Pseudonym => "pseudonym",
        }
    }
}

/// Fields with the same treatment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The structure that has the fields.
    pub place: &'static str,
    /// Their names, which include everything below them.
    pub fields: &'static [&'static str],
    /// Their treatment.
    pub fate: Fate,
    /// Details, or the reason.
    pub how: &'static str,
}

const fn row(place: &'static str, fields: &'static [&'static str], fate: Fate, how: &'static str) -> Row {
    Row { place, fields, fate, how }
}

/// Every field of every block. Fields of later versions have no row and are removed.
pub const TABLE: &[Row] = {
    use Fate::{Kept, Moved, Pseudonym, Removed};
    &[
        row("header", &["origin", "file", "start_ns", "stall_after_ns"], Kept, "used by the rules"),
        row("header", &["clock.boottime_ns", "clock.realtime_ns"], Kept, "to compare times with a log"),
        row("header", &["clock.utc_offset_s"], Removed, "0: times are shown in UTC"),
        row("header", &["host"], Removed, "absent"),
        row("header", &["redacted"], Removed, "`true`"),
        row("status", &["version", "kernel"], Kept, "the kernel's features depend on its release"),
        row("status", &["boot_id"], Pseudonym, "an empty one stays empty"),
        row("status", &["run"], Pseudonym, ""),
        row("status", &["cpus", "rings", "accounting"], Kept, "used by the accounting"),
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
            "names of kernel functions and of p2p-trace",
        ),
        row(
            "status",
            &["hooks.error"],
            Removed,
            "replaced by a fixed sentence: it can contain paths and program names",
        ),
        row("status", &["devices"], Kept, "PCI addresses, driver names, sizes: the subject of findings"),
        row(
            "record",
            &["magic", "schema", "kind", "hook", "flags", "valid", "cpu", "seq", "time_ns", "guard"],
            Kept,
            "what happened, when, and in which order",
        ),
        row("record", &["run"], Pseudonym, "as in the status"),
        row("record", &["pid", "tgid"], Pseudonym, "0 (the idle task) stays"),
        row("record", &["comm"], Pseudonym, "`task-` and a number; an empty one stays empty"),
        row("record", &["domain", "bus", "devfn", "small"], Kept, "the device"),
        row("record", &["pgmap"], Moved, "0 stays"),
        row("record", &["number"], Kept, "except for a reference"),
        row("record", &["number, of a reference"], Pseudonym, "0 stays"),
        row(
            "word of a record",
            &[
                "size",
                "offset",
                "first time",
                "last time",
                "mapping device",
                "allocated bytes",
                "references",
                "time off the CPU",
                "time suspended",
            ],
            Kept,
            "used by the rules",
        ),
        row("word of a record", &["caller"], Moved, "like kernel code"),
        row("word of a record", &["address", "scatter list"], Moved, "like kernel data"),
        row("word of a record", &["start", "end", "physical address"], Moved, "like physical memory"),
        row("word of a record", &["page"], Moved, "so that pages still match their memory"),
        row("word of a record", &["user address"], Moved, ""),
        row("word of a record", &["cgroup id"], Pseudonym, "0 and 1 (the root) stay"),
        row(
            "word of a record",
            &["unused"],
            Removed,
            "0, like words not flagged in `valid`; except in a `loss`",
        ),
        row("stack", &["parent", "part"], Kept, "which record it belongs to"),
        row("stack", &["frames"], Moved, "like kernel code"),
        row("symbols", &["names.address"], Moved, "as in records"),
        row("symbols", &["names.name"], Kept, "functions and modules"),
        row("records", &["before", "slices"], Kept, "counts and times"),
        row("diagnostics", &["messages.time_ns", "messages.level"], Kept, ""),
        row("diagnostics", &["messages.text"], Moved, "only the addresses in it"),
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
            "the state of the rules",
        ),
        row(
            "checkpoint",
            &["rules.found.uncertainties"],
            Removed,
            "replaced by a fixed sentence: they can name tasks",
        ),
        row("footer", &["reason", "duration_ns", "totals", "counts"], Kept, "counts and times"),
    ]
};

/// The treatment of a word of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    Kept,
    Removed,
    Virtual,
    Page,
    Physical,
    Cgroup,
}

impl Treatment {
    pub(super) const fn of(word: Word) -> Self {
        match word {
            Word::Unused => Self::Removed,
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
