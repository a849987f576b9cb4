//! Removes each record of each golden dump in turn. No new violation may be found; if a loss is recorded in its place, no violated
//! rule may hold.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
};

use p2p_trace_common::{Kind, Record};
use p2p_trace_dump::{Header, Opened, RunItem, RunReader};
use p2p_trace_model::{
    accounting::{MissedQuality, Status},
    event::{DeviceAddress, Loss, Method, Reason, decode},
    pipeline::{Closing, Pipeline, Slice, Step},
    rules::{Answer, Finding, RuleId, Verdict},
    stream::order::Item,
};

use super::{Ending, Sink, play::take_in};

/// Records of one dump that are removed, evenly spread over it.
const TRIED: usize = 250;

#[derive(Default)]
struct Kept {
    findings: BTreeMap<u32, Finding>,
    verdicts: Vec<Verdict>,
}

impl Sink for Kept {
    fn step(&mut self, step: &Step<'_>) -> anyhow::Result<()> {
        self.findings.extend(step.findings.iter().map(|finding| (finding.number, finding.clone())));
        Ok(())
    }

    fn end(&mut self, closing: &Closing, _: &Ending) -> anyhow::Result<()> {
        self.findings.extend(closing.rest.iter().map(|finding| (finding.number, finding.clone())));
        self.verdicts.clone_from(&closing.verdicts);
        Ok(())
    }
}

impl Kept {
    fn violated(&self) -> impl Iterator<Item = (RuleId, DeviceAddress)> {
        let violated = self.verdicts.iter().filter(|verdict| verdict.answer == Answer::Violated);
        violated.map(|verdict| (verdict.rule, verdict.device))
    }

    fn holds(&self, (rule, device): (RuleId, DeviceAddress)) -> bool {
        let is_it = |verdict: &&Verdict| verdict.rule == rule && verdict.device == device;
        // A verdict with reasons is a partial one.
        self.verdicts
            .iter()
            .filter(is_it)
            .any(|verdict| verdict.answer == Answer::Holds && verdict.reasons.is_empty())
    }
}

fn read(dump: &Path) -> (Header, Vec<RunItem>) {
    let opened = Opened::open(BufReader::new(File::open(dump).unwrap())).unwrap();
    let mut reader = RunReader::new(vec![opened]).unwrap();
    let header = reader.header().clone();
    let items = std::iter::from_fn(|| reader.next_item().unwrap()).collect();
    (header, items)
}

fn evaluate(header: &Header, items: Vec<RunItem>) -> Kept {
    let mut kept = Kept::default();
    let mut pipeline = Pipeline::new(&header.status, header.rules(), header.start_ns);
    for item in items {
        take_in(item, false, &mut pipeline, &mut kept).unwrap();
    }
    kept
}

/// Makes the status one of a kernel that does not count missed runs.
fn uncounted(status: &mut Status) {
    status.accounting.missed = MissedQuality::Unknown;
    for hook in &mut status.hooks {
        hook.method = hook.method.map(|_| Method::Kprobe);
    }
}

/// The record of an event that a program wrote. Excludes snapshot records, which are repeated if they are missing, and stacks,
/// which belong to another record.
fn event(item: &Item) -> Option<Record> {
    let Item::Record(record) = item else { return None };
    let is_answer = matches!(record.kind(), Some(Kind::Stack | Kind::RangeState | Kind::DeviceState));
    (decode::decode(record).is_ok() && !is_answer).then_some(*record)
}

fn slices(items: &mut [RunItem]) -> impl Iterator<Item = &mut Slice> {
    items.iter_mut().filter_map(|item| match item {
        RunItem::Slice(slice) => Some(slice),
        _ => None,
    })
}

/// Removes event number `number`, and leaves a loss in its place if `is_recorded`. Returns the removed record.
fn omit(items: &mut [RunItem], number: usize, is_recorded: bool) -> Option<Record> {
    let mut events = slices(items).flat_map(|slice| &mut slice.items).filter(|item| event(item).is_some());
    let item = events.nth(number)?;
    let record = event(item)?;
    let ring = decode::decode(&record).unwrap().id.ring();
    let lost = Loss::skipped(ring, 1, record.time_ns, record.time_ns);
    let loss = Item::Loss(Loss { reason: Reason::Overwritten, ..lost });
    *item = loss;
    drop(events);
    if !is_recorded {
        slices(items).for_each(|slice| slice.items.retain(|item| *item != loss));
    }
    Some(record)
}

fn golden() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [root.join("tests/golden/1"), root.join("../crates/dump/tests/fixtures/dumps")];
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut dumps: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    dumps.retain(|path| path.extension().is_some_and(|extension| extension == "p2pt"));
    dumps.sort();
    assert!(dumps.len() >= 5, "{dumps:?}");
    dumps
}

#[test]
fn removing_a_record_adds_no_violation_and_hides_none() {
    for dump in golden() {
        let (header, items) = read(&dump);
        let complete = evaluate(&header, items.clone());
        let count = slices(&mut items.clone()).flat_map(|slice| &slice.items).filter_map(event).count();
        for number in (0..count).step_by(count / TRIED + 1) {
            for is_recorded in [true, false] {
                let (mut header, mut left) = (header.clone(), items.clone());
                let removed = omit(&mut left, number, is_recorded).unwrap();
                if !is_recorded {
                    uncounted(&mut header.status);
                    for item in &mut left {
                        if let RunItem::Status(change) = item {
                            uncounted(&mut change.status);
                        }
                    }
                }
                let kept = evaluate(&header, left);
                let place = format!(
                    "{} without {:?} of number {number}, recorded: {is_recorded}",
                    dump.display(),
                    removed.kind()
                );
                for accused in kept.violated() {
                    assert!(complete.violated().any(|violated| violated == accused), "{place}: {accused:?}");
                }
                if is_recorded {
                    for violated in complete.violated() {
                        assert!(!kept.holds(violated), "{place}: {violated:?}");
                    }
                }
            }
        }
    }
}
