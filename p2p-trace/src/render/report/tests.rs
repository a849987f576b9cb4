//! Reports made from streams.

use p2p_trace_common::{Hook, Kind};
use p2p_trace_model::{
    event::NoSymbols,
    rules::{Answer, RuleId},
    testing::simulate::{Fault, Kernel, Order, play},
};

use super::{
    html::html,
    markdown,
    samples::{by_tasks_named, context, fault, hang, story},
};

fn shown(kernel: &Kernel) -> String {
    markdown(&story(&kernel.elements), &context(&NoSymbols))
}

#[test]
fn delayed_teardown_lists_outstanding_memory() {
    let mut kernel = hang();
    while kernel.advance(0) {}
    insta::assert_snapshot!(shown(&kernel));
}

#[test]
fn pending_teardown_has_its_step() {
    let story = story(&hang().elements);
    assert_eq!(story.devices.len(), 1);
    assert_eq!(story.devices[0].answer, Answer::Holds);
    insta::assert_snapshot!(story.devices[0].sentence);
    let text = markdown(&story, &context(&NoSymbols));
    assert!(text.contains("<== END NOT OBSERVED: waiting"), "{text}");
}

#[test]
fn order_of_2018_is_reported_in_full() {
    insta::assert_snapshot!(shown(&fault(Fault::RemovedFirst)));
}

#[test]
fn report_begins_with_the_fault() {
    for kind in Fault::ALL {
        let kernel = fault(kind);
        let story = story(&kernel.elements);
        assert_eq!(story.check.verdict, Answer::Violated, "{kind:?}");
        let text = markdown(&story, &context(&NoSymbols));
        let (first, rest) = text.split_once('\n').unwrap();
        assert!(first.ends_with(": VIOLATED"), "{first}");
        for finding in &story.check.findings {
            let heading = format!("### {}. {} (", finding.number, finding.rule.name());
            assert!(rest.contains(&heading), "{kind:?}: {heading}");
            for id in &finding.evidence {
                assert!(rest.contains(&id.0.to_string()), "{kind:?}: {}", id.0);
            }
        }
    }
}

#[test]
fn withdrawn_findings_are_listed_and_not_counted() {
    let mut kernel = fault(Fault::DestroyedInUse);
    // The release returns, so nothing is outstanding.
    kernel.event(0, Kind::Released, Hook::Released, 11, |_| {});
    let story = story(&kernel.elements);
    let withdrawn: Vec<_> = story.check.withdrawn.iter().map(|finding| finding.rule).collect();
    assert_eq!(withdrawn, [RuleId::PoolDestroyedInUse]);
    assert!(story.check.findings.iter().all(|finding| finding.rule != RuleId::PoolDestroyedInUse));
    let says = |text: &str| {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        text.contains("pool-destroyed-in-use of 0000:01:00.0, is withdrawn: pci_p2pdma_release returned")
    };
    let context = context(&NoSymbols);
    let (markdown, html) = (markdown(&story, &context), html(&[(&story, &context)]));
    assert!(says(&markdown.replace('\\', "")), "{markdown}");
    assert!(says(&html), "{html}");
}

#[test]
fn names_are_escaped() {
    let kernel = by_tasks_named(b"<b>*x*\n#`|![y](z");
    let text = markdown(&story(&kernel.elements), &context(&NoSymbols));
    // Columns are not escaped.
    let prose = text.lines().filter(|line| !line.starts_with("    "));
    let named: Vec<_> = prose.filter(|line| line.contains("b>")).collect();
    assert!(!named.is_empty());
    for line in named {
        let escaped = r"\<b>\*x\*\\x0a#\`\|\!\[y\](z";
        assert!(line.contains(escaped), "{line}");
    }
    let headings = text.lines().filter(|line| line.starts_with('#')).count();
    let plain = shown(&fault(Fault::RemovedFirst));
    assert_eq!(headings, plain.lines().filter(|line| line.starts_with('#')).count());
}

#[test]
fn many_references_make_a_page_of_bounded_size() {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[4096]);
    kernel.snapshot(0, true);
    for number in 0..400 {
        kernel.alloc(0, 10 + number % 50, 1 + u64::from(number == 300));
    }
    kernel.begin(0, 9, Order::Right);
    while kernel.advance(0) {}
    let story = story(&kernel.elements);
    let teardown = &story.devices[0].teardowns[0];
    assert_eq!(teardown.lanes.len() as u64 + teardown.lanes_omitted, 400);
    assert_eq!(teardown.lanes[0].reference.bytes(), 8192);
    let text = markdown(&story, &context(&NoSymbols));
    assert!(text.contains("... and 38 more"), "{text}");
    assert!(text.lines().count() < 150, "{text}");
}

#[test]
fn losses_and_missing_hooks_are_reported() {
    let kernel = hang();
    let lost = play::with_losses(&kernel.elements, |place| place % 5 == 4);
    let story = story(&lost);
    assert_eq!(story.check.verdict, Answer::Inconclusive);
    insta::assert_snapshot!(markdown(&story, &context(&NoSymbols)));
}
