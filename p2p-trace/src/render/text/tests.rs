//! Text output.

use p2p_trace_common::{Kind, Record, Ring, hook::HOOK_SLOTS, valid};
use p2p_trace_model::{
    accounting::{Tally, Totals},
    event::{
        Symbolize,
        decode::decode,
        user::{self, Writer},
    },
    rules::{Finding, Verdict},
    testing::status as samples,
};

use super::*;
use crate::render::{Context, json::SummaryLine, samples as found};

struct Named;

impl Symbolize for Named {
    fn symbolize(&self, address: u64) -> Option<p2p_trace_model::text::Text> {
        match address {
            0x10 => Some("bpf_trampoline_6442536467+0x4f".into()),
            0x20 | 0x220 => Some("nvme_alloc_queue+0x1a3 [nvme]".into()),
            0x260 => Some("arch_rethook_trampoline+0x0".into()),
            0x30 | 0x230 => Some("device_release_driver_internal+0x19c".into()),
            _ => None,
        }
    }
}

const ALWAYS: u32 = valid::TASK | valid::DEVICE | valid::PGMAP;

fn record(kind: Kind, flags: u32, words: [u64; 4], number: u32, small: u16) -> Record {
    Record {
        kind: kind as u8,
        hook: Hook::Alloc as u8,
        valid: ALWAYS | flags,
        time_ns: 5_000_001_000 + u64::from(kind as u8) * 1_000_000,
        pid: 612,
        tgid: 611,
        comm: *b"nvme\x1b[2J-wq\0\0\0\0\0",
        bus: 3,
        words,
        number,
        small,
        ..user::blank(1)
    }
}

fn records() -> Vec<Record> {
    use valid::{
        ADDR, ALLOCATED, BAR, CALLER, CLIENT, COUNT, FLAG, PAGE, RANGE, REFS, REFS_ESTIMATE, RET, SIZE, SPAN,
        USER_ADDR,
    };
    let (start, end, addr) = (0xf800_0000, 0xfbff_ffff, 0xffff_8880_f800_0000);
    vec![
        record(Kind::AddResource, SIZE | BAR | RET | CALLER, [0, 0, 0x20, 0], 0, 2),
        record(Kind::AddResource, SIZE | BAR | RET | CALLER, [4096, 0, 0x20, 0], (-12i32).cast_unsigned(), 2),
        record(Kind::Memremap, RANGE | ADDR | RET | CALLER, [start, end, 0x40, addr], 0, 0),
        record(Kind::Publish, FLAG | CALLER, [0, 0, 0x20, 0], 0, 1),
        record(Kind::Alloc, ADDR | SIZE | CALLER, [addr, 65536, 0x20, 0], 0, 0),
        record(Kind::Alloc, SIZE | CALLER, [0, 65536, 0x20, 0], 0, 0),
        record(Kind::Free, ADDR | SIZE, [addr, 65536, 0, 0], 0, 0),
        record(
            Kind::Mmap,
            USER_ADDR | SIZE | PAGE | COUNT | RET,
            [0x7f00_0000, 65536, 0xffff_ea00, 0],
            16,
            0,
        ),
        record(Kind::PageFree, PAGE | SPAN | COUNT, [0xffff_ea00, 5_000_000_000, 5_000_015_300, 0], 16, 1),
        record(Kind::Map, PAGE | SIZE | COUNT | CLIENT, [0xffff_ea00, 4096, 0, 0x0500], 1, 0),
        record(Kind::Unbind, CALLER, [0, 0, 0x30, 0], 0, 0),
        record(Kind::Kill, RANGE | ALLOCATED | REFS | REFS_ESTIMATE | COUNT, [start, end, 65536, 17], 1, 0),
        record(Kind::Drained, RANGE | REFS, [start, end, 0, 0], 0, 0),
        record(Kind::Remove, RANGE, [start, end, 0, 0], 0, 0),
        record(Kind::Release, ALLOCATED, [0, 0, 0, 0], 0, 0),
        Record { valid: 0, ..record(Kind::Released, 0, [0; 4], 0, 0) },
    ]
}

fn shown(options: Options) -> String {
    let context = Context::new(samples::CLOCK, &samples::status(), &Named);
    let mut text = String::new();
    for record in records() {
        let mut decoded = decode(&record).unwrap();
        if decoded.kind == Kind::Kill {
            decoded.stack = vec![0x10, 0x30, 0x50];
        }
        text += &event(&decoded, &context, options);
    }
    text.push_str(&loss(&samples::LOSS, &samples::CLOCK, options.style));
    text
}

#[test]
fn a_life_and_a_teardown() {
    insta::assert_snapshot!(shown(Options::default()));
}

#[test]
fn stacks_are_shown_on_request() {
    let text = shown(Options { stacks: true, ..Options::default() });
    assert!(text.contains("device_release_driver_internal+0x19c\n"), "{text}");
    assert!(text.contains("at 0x50\n") && !text.contains("bpf_trampoline"), "{text}");
}

#[test]
fn stack_omits_unnamed_frames_of_the_tracer() {
    let status = samples::status();
    let mut context = Context::new(samples::CLOCK, &status, &Named);
    context.functions[Hook::Unbind as usize] = Some("device_release_driver_internal".into());
    let mut event = decode(&record(Kind::Unbind, 0, [0; 4], 0, 0)).unwrap();
    event.hook = Hook::Unbind;
    let mut shown = |stack: &[u64], caller| {
        (event.stack, event.caller) = (stack.to_vec(), caller);
        context.stack(&event).iter().map(|frame| frame.addr).collect::<Vec<_>>()
    };
    assert_eq!(shown(&[0x50, 0x10, 0x30, 0x60], None), [0x30, 0x60]);
    assert_eq!(shown(&[0x50, 0x10, 0x70, 0x30], Some(0x70)), [0x70, 0x30], "a caller in a module");
    assert_eq!(shown(&[0x20, 0x30, 0x60], None), [0x30, 0x60], "named after a module that lay there");
    assert_eq!(shown(&[0x50, 0x60], None), [0x50, 0x60], "nothing has a name");
}

/// Returns a name from the second call on, like a lookup by another thread.
#[derive(Default)]
struct Late(std::cell::RefCell<std::collections::BTreeSet<u64>>);

impl Symbolize for Late {
    fn symbolize(&self, address: u64) -> Option<p2p_trace_model::text::Text> {
        (!self.0.borrow_mut().insert(address)).then(|| Named.symbolize(address))?
    }
}

#[test]
fn frames_are_cut_by_shown_names() {
    let late = Late::default();
    let context = Context::new(samples::CLOCK, &samples::status(), &late);
    let mut event = decode(&record(Kind::Unbind, 0, [0; 4], 0, 0)).unwrap();
    event.stack = vec![0x10, 0x30];
    let first = context.stack(&event);
    assert!(first.iter().all(|frame| frame.symbol.is_none()) && first.len() == 2, "{first:?}");
    let second = context.stack(&event);
    assert_eq!(second.iter().map(|frame| frame.addr).collect::<Vec<_>>(), [0x30]);
}

#[test]
fn color_is_the_only_escape() {
    let all = |options| [shown(options), found(options)].concat();
    let plain = all(Options::default());
    let coloured = all(Options { style: Style { color: true }, ..Options::default() });
    assert!(!plain.contains('\u{1b}'));
    let codes = ["1", "2", "33", "1;31", "1;36", "0"].map(|code| format!("\u{1b}[{code}m"));
    let stripped = codes.iter().fold(coloured.clone(), |text, code| text.replace(code, ""));
    assert_ne!(coloured, plain);
    assert!(!stripped.contains('\u{1b}'), "{stripped:?}");
}

fn found(options: Options) -> String {
    let context = Context::new(samples::CLOCK, &samples::status(), &Named);
    let (stall, told_ns) = (found::stall(), 10_000_000_000);
    let mut again = found::late_use();
    let mut text = finding(&stall, told_ns, &context, options);
    text += &finding(&again, told_ns, &context, options);
    text += &changed(&found::ended_stall(), 12_345_678_900, &context, options);
    (again.occurrences, again.end_ns) = (153, Some(20_000_000_000));
    text += &changed(&again, 20_000_000_000, &context, options);
    text += &verdicts(&found::verdicts(), options.style);
    text
}

#[test]
fn findings_and_what_comes_of_them() {
    insta::assert_snapshot!(found(Options::default()));
}

#[test]
fn stall_reported_after_its_end_says_so() {
    let context = Context::new(samples::CLOCK, &samples::status(), &Named);
    let text = finding(&found::ended_stall(), 12_345_678_900, &context, Options::default());
    assert!(text.contains(" ended after 7.3 s\n"), "{text}");
    let text = finding(&found::late_use(), 12_345_678_900, &context, Options::default());
    assert!(!text.contains("ended"), "{text}");
}

#[test]
fn withdrawn_finding_has_its_reason() {
    let context = Context::new(samples::CLOCK, &samples::status(), &Named);
    let finding =
        Finding { withdrawn: Some("a run of drained was skipped".to_owned()), ..found::ended_stall() };
    let text = changed(&finding, 12_345_678_900, &context, Options::default());
    assert!(
        text.ends_with("stalled-drain of 0000:03:00.0 is withdrawn: a run of drained was skipped\n"),
        "{text}"
    );
}

#[test]
fn stacks_of_other_findings_are_shown_on_request() {
    let frame = "device_release_driver_internal+0x19c\n";
    assert_eq!(found(Options::default()).matches(frame).count(), 1);
    let stacks = Options { stacks: true, ..Options::default() };
    assert_eq!(found(stacks).matches(frame).count(), 2);
}

#[test]
fn omitted_parts_of_a_finding_are_counted() {
    let mut stall = found::stall();
    stall.holders = vec![stall.holders[0]; 11];
    let context = Context::new(samples::CLOCK, &samples::status(), &Named);
    let text = finding(&stall, 10_000_000_000, &context, Options::default());
    assert!(text.contains(" and by 5 more\n"), "{text}");
}

#[test]
fn each_device_has_its_own_verdicts() {
    let other = Verdict {
        device: p2p_trace_model::event::DeviceAddress::from_devfn(0, 4, 0),
        ..found::verdicts().swap_remove(0)
    };
    let text = verdicts(&[found::verdicts(), vec![other]].concat(), Style::default());
    let (first, second) = text.split_once("rules for 0000:04:00.0\n").unwrap();
    assert!(first.starts_with("rules for 0000:03:00.0\n"), "{text}");
    assert_eq!(second, "  holds          removed-before-drained\n");
}

#[test]
fn header_names_failed_hooks() {
    insta::assert_snapshot!(head(&samples::status(), Style::default()));
}

#[test]
fn loss_has_a_cpu_only_if_known() {
    let text = |loss: &Loss| loss_line(loss).split_once(' ').unwrap().1.to_owned();
    insta::assert_snapshot!(text(&samples::LOSS), @"LOST 3 records of the hot ring of CPU 1, until 20:00:05.200000: overwritten before they were read; a larger --ring-size helps");
    let skipped = Loss::skipped(Ring::Rare, 1, 5_100_000_000, 5_200_000_000);
    insta::assert_snapshot!(text(&skipped), @"LOST 1 record of the rare ring, CPU unknown, until 20:00:05.200000: never written: the kernel skips a program while one is running on the same CPU");
    let of_hook = |hook| text(&Loss::of_hook(hook, 2, 5_100_000_000, 5_200_000_000));
    insta::assert_snapshot!(of_hook(Hook::DevresRelease), @"LOST 2 runs of devres_release, until 20:00:05.200000: the kernel skips a program while it is running on the same CPU; it can affect stalled-unbind");
    insta::assert_snapshot!(of_hook(Hook::Publish), @"LOST 2 runs of publish, until 20:00:05.200000: the kernel skips a program while it is running on the same CPU; it affects no rule");
}

fn loss_line(lost: &Loss) -> String {
    loss(lost, &samples::CLOCK, Style::default()).trim_end().to_owned()
}

#[test]
fn summary_counts_skipped_as_lost() {
    let mut tally = Tally::default();
    let skipped = Loss::skipped(Ring::Rare, 1, 5_100_000_000, 5_200_000_000);
    tally.record(&Writer::new(1).late_loss(5_200_000_000, &skipped));
    tally.loss(&samples::LOSS);
    let line = SummaryLine::new(&tally.close(&Totals::default()), &samples::status(), 61_500_000_000);
    let text = summary(&line, Style::default());
    assert!(text.starts_with("0 events in 61.5 s, 4 lost (1 skipped)\n"), "{text}");
}

#[test]
fn the_summary_names_hooks_that_lost() {
    let mut totals =
        Totals { hits: vec![0; HOOK_SLOTS], missed: vec![None; HOOK_SLOTS], ..Totals::default() };
    totals.hits[Hook::Alloc as usize] = 3;
    totals.missed[Hook::Kill as usize] = Some(1);
    let mut tally = Tally::default();
    tally.loss(&samples::LOSS);
    let line = SummaryLine::new(&tally.close(&totals), &samples::status(), 61_500_000_000);
    insta::assert_snapshot!(summary(&line, Style::default()));
}
