//! Each record of each golden dump left out in turn: nobody new is accused, and where that it is missing is told, nothing that
//! rested on it is said to hold.

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

/// Records of one dump that are left out, evenly spread over it.
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
        // What is named as not seen does not hold as a whole.
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
    let told = std::iter::from_fn(|| reader.next_item().unwrap()).collect();
    (header, told)
}

fn judge(header: &Header, told: Vec<RunItem>) -> Kept {
    let mut kept = Kept::default();
    let mut pipeline = Pipeline::new(&header.status, header.rules(), header.start_ns);
    for told in told {
        take_in(told, false, &mut pipeline, &mut kept).unwrap();
    }
    kept
}

/// What is missing without a word was skipped by a kernel that does not count that.
fn uncounted(status: &mut Status) {
    status.accounting.missed = MissedQuality::Unknown;
    for hook in &mut status.hooks {
        hook.method = hook.method.map(|_| Method::Kprobe);
    }
}

/// A record of the kernel that a run of a program wrote. Readings that are not answered are repeated, and a stack is no record of
/// its own.
fn event(item: &Item) -> Option<Record> {
    let Item::Record(record) = item else { return None };
    let is_answer = matches!(record.kind(), Some(Kind::Stack | Kind::RangeState | Kind::DeviceState));
    (decode::decode(record).is_ok() && !is_answer).then_some(*record)
}

fn slices(told: &mut [RunItem]) -> impl Iterator<Item = &mut Slice> {
    told.iter_mut().filter_map(|told| match told {
        RunItem::Slice(slice) => Some(slice),
        _ => None,
    })
}

/// Leaves out the event of this number, with a loss in its place, or nothing. Gives what it was.
fn omit(told: &mut [RunItem], number: usize, is_told: bool) -> Option<Record> {
    let mut events = slices(told).flat_map(|slice| &mut slice.items).filter(|item| event(item).is_some());
    let item = events.nth(number)?;
    let record = event(item)?;
    let ring = decode::decode(&record).unwrap().id.ring();
    let lost = Loss::skipped(ring, 1, record.time_ns, record.time_ns);
    let loss = Item::Loss(Loss { reason: Reason::Overwritten, ..lost });
    *item = loss;
    drop(events);
    if !is_told {
        slices(told).for_each(|slice| slice.items.retain(|item| *item != loss));
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
fn a_record_that_is_missing_accuses_nobody_and_acquits_nothing() {
    for dump in golden() {
        let (header, told) = read(&dump);
        let whole = judge(&header, told.clone());
        let count = slices(&mut told.clone()).flat_map(|slice| &slice.items).filter_map(event).count();
        for number in (0..count).step_by(count / TRIED + 1) {
            for is_told in [true, false] {
                let (mut header, mut left) = (header.clone(), told.clone());
                let gone = omit(&mut left, number, is_told).unwrap();
                if !is_told {
                    uncounted(&mut header.status);
                    for told in &mut left {
                        if let RunItem::Status(change) = told {
                            uncounted(&mut change.status);
                        }
                    }
                }
                let kept = judge(&header, left);
                let place = format!(
                    "{} without {:?} of number {number}, told: {is_told}",
                    dump.display(),
                    gone.kind()
                );
                for accused in kept.violated() {
                    assert!(whole.violated().any(|violated| violated == accused), "{place}: {accused:?}");
                }
                if is_told {
                    for violated in whole.violated() {
                        assert!(!kept.holds(violated), "{place}: {violated:?}");
                    }
                }
            }
        }
    }
}
