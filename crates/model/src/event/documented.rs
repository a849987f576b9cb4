//! Checks `docs/events.md` against the code. Its tables are generated from the code, and a test compares
//! them.

use std::{env, fmt::Write as _, fs, mem::offset_of, path::Path};

use p2p_trace_common::{
    Counters, Hook, Kind, Record, StackRecord,
    record::{FLAG_ARMED, FLAG_KPROBE, FLAG_STACK, Head, STACK_FRAMES, STACK_RECORDS},
    slot::Slot,
    state, valid,
};

use super::layout::{Layout, Number, Small, Word};

/// Generates rows of `offset | size | name` for the fields of a struct.
macro_rules! fields {
    ($type:ty: $($field:ident)*) => {{
        fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize { size_of::<F>() }
        let rows = [$((offset_of!($type, $field), size_of_field(|whole: &$type| &whole.$field), stringify!($field)),)*];
        let mut end = 0;
        let mut table = String::from("| offset | size | field |\n|---:|---:|---|\n");
        for (offset, size, name) in rows {
            assert_eq!(offset, end, "{name}: missing a field before this one");
            end = offset + size;
            writeln!(table, "| {offset} | {size} | `{name}` |").unwrap();
        }
        assert_eq!(end, size_of::<$type>(), "missing a field at the end");
        table
    }};
}

/// Generates rows of `bit | name` for constants.
macro_rules! bits {
    ($($path:path)*) => {{
        let mut table = String::from("| bit | name |\n|---:|---|\n");
        let mut all = 0u64;
        $(
            let value = u64::from($path);
            assert_eq!(value.count_ones(), 1);
            assert_eq!(all & value, 0);
            all |= value;
            let name = stringify!($path).rsplit(' ').next().unwrap().rsplit("::").next().unwrap();
            writeln!(table, "| {} | `{name}` |", value.trailing_zeros()).unwrap();
        )*
        assert!(all.wrapping_add(1).is_power_of_two(), "a bit has no row");
        table
    }};
}

const fn word(word: Word) -> &'static str {
    match word {
        Word::Unused => "",
        Word::Size => "size (`SIZE`)",
        Word::Offset => "offset (`OFFSET`)",
        Word::Caller => "caller (`CALLER`)",
        Word::Start => "start (`RANGE`)",
        Word::End => "end, inclusive (`RANGE`)",
        Word::Addr => "address (`ADDR`)",
        Word::Cgroup => "cgroup id (`CGROUP`)",
        Word::Sgl => "scatter list (`SGL`)",
        Word::UserAddr => "user address (`USER_ADDR`)",
        Word::Page => "first page (`PAGE`)",
        Word::FirstNs => "first time (`SPAN`)",
        Word::LastNs => "last time (`SPAN`)",
        Word::Physical => "physical address (`PHYSICAL`)",
        Word::Client => "mapping device (`CLIENT`)",
        Word::Allocated => "bytes allocated (`ALLOCATED`)",
        Word::Refs => "references (`REFS`)",
        Word::Waiting => "time off the CPU (`WAITING`)",
        Word::Asleep => "time suspended (`WAITING`)",
    }
}

const fn number(number: Number) -> &'static str {
    match number {
        Number::Unused => "",
        Number::Ret => "result, i32 (`RET`)",
        Number::Count => "count (`COUNT`)",
        Number::State => "state (`STATE`)",
        Number::ReferenceOrCount => {
            "low half of the reference's address (`REFERENCE`), without it count (`COUNT`)"
        }
    }
}

const fn small(small: Small) -> &'static str {
    match small {
        Small::Unused => "",
        Small::Bar => "BAR (`BAR`)",
        Small::Flag => "argument (`FLAG`)",
        Small::Ret => "result, i16 (`RET`)",
        Small::BurstCpu => "CPU of the burst (`SPAN`)",
        Small::State => "state and chunk (`STATE`)",
        Small::Killed => "pool state (`STATE`); from bit 8 on, count (`COUNT` with `REFERENCE`)",
        Small::Outstanding => "outstanding memory and pool state (`FLAG`)",
    }
}

fn kinds() -> String {
    let mut table = String::from(
        "| number | kind | words[0] | words[1] | words[2] | words[3] | number | small |\n|---:|---|---|---|---|---|---|---|\n",
    );
    for &kind in Kind::ALL.iter().filter(|kind| kind.is_event() || is_snapshot(**kind)) {
        let layout = Layout::of(kind);
        let words = layout.words.map(word).join(" | ");
        let (number, small) = (number(layout.number), small(layout.small));
        writeln!(table, "| {} | `{}` | {words} | {number} | {small} |", kind as u8, kind.name()).unwrap();
    }
    table
}

/// The kinds that user space writes with the layout of an event.
fn is_snapshot(kind: Kind) -> bool {
    matches!(kind, Kind::AllocatedRun | Kind::SnapshotEnd)
}

fn other_kinds() -> String {
    let mut table = String::from("| number | kind |\n|---:|---|\n");
    for &kind in Kind::ALL.iter().filter(|kind| !kind.is_event()) {
        writeln!(table, "| {} | `{}` |", kind as u8, kind.name()).unwrap();
    }
    table
}

fn hooks() -> String {
    let mut table = String::from("| number | hook |\n|---:|---|\n");
    for &hook in Hook::ALL {
        writeln!(table, "| {} | `{}` |", hook as u8, hook.name()).unwrap();
    }
    table
}

/// The tables, by the name that marks their place in the document.
fn tables() -> Vec<(&'static str, String)> {
    vec![
        ("slot", fields!(Slot: header record)),
        (
            "record",
            fields!(Record: magic schema kind hook flags valid cpu run seq time_ns pid tgid comm domain bus devfn small pgmap words number guard),
        ),
        ("head", fields!(Head: magic schema kind hook flags valid cpu run seq time_ns)),
        ("stack", fields!(StackRecord: head parent frames part guard)),
        ("counters", fields!(Counters: tag heads burst_contended notes_full notes_missing dropped busy hits)),
        ("flags", bits!(FLAG_KPROBE FLAG_STACK FLAG_ARMED)),
        (
            "valid",
            bits!(valid::TASK valid::DEVICE valid::PGMAP valid::ADDR valid::SIZE valid::RANGE valid::RET
                valid::REFS valid::REFS_ESTIMATE valid::ALLOCATED valid::CALLER valid::CGROUP valid::COUNT
                valid::PAGE valid::CLIENT valid::BAR valid::OFFSET valid::USER_ADDR valid::SGL valid::FLAG
                valid::SPAN valid::PHYSICAL valid::STATE valid::WAITING valid::REFERENCE),
        ),
        ("state", bits!(state::ATOMIC state::DEAD state::EXITED state::FREED state::POOLED state::BYPASSED)),
        ("kinds", kinds()),
        ("other-kinds", other_kinds()),
        ("hooks", hooks()),
    ]
}

/// `P2P_TRACE_BLESS=1 cargo test` rewrites the tables.
#[test]
fn events_document_matches_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/events.md");
    let committed = fs::read_to_string(&path).unwrap();
    let mut text = committed.clone();
    for (name, table) in tables() {
        let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- end {name} -->"));
        let start = text.find(&open).unwrap_or_else(|| panic!("no table {name}")) + open.len();
        let end = start + text[start..].find(&close).unwrap();
        text.replace_range(start..end, &table);
    }
    if env::var_os("P2P_TRACE_BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    } else {
        assert!(committed == text, "docs/events.md is not up to date: P2P_TRACE_BLESS=1 cargo test");
    }
}

#[test]
fn events_document_names_the_right_sizes() {
    assert_eq!((STACK_FRAMES, STACK_RECORDS), (8, 4));
    assert_eq!((p2p_trace_common::record::SCHEMA, super::decode::PAGE_SIZE), (0, 4096));
    assert_eq!(p2p_trace_common::kind::RESERVED_PAGELESS, 30..=47);
}
