//! Each record of each golden dump left out in turn: nobody new is accused, and where that it is missing is told, nothing that
//! rested on it is said to hold.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
};

use p2p_trace_common::{Kind, Record};
use p2p_trace_dump::{Header, Opened, Tape, Told};
use p2p_trace_model::{
    accounting::{MissedQuality, Status},
    event::{DeviceAddress, Loss, Method, Reason, decode},
    pipeline::{Closing, Pipeline, Step},
    rules::{Answer, Finding, Rule, Verdict},
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
    fn violated(&self) -> impl Iterator<Item = (Rule, DeviceAddress)> {
        let violated = self.verdicts.iter().filter(|verdict| verdict.answer == Answer::Violated);
        violated.map(|verdict| (verdict.rule, verdict.device))
    }

    fn holds(&self, (rule, device): (Rule, DeviceAddress)) -> bool {
        let is_it = |verdict: &&Verdict| verdict.rule == rule && verdict.device == device;
        // What is named as not seen does not hold as a whole.
        self.verdicts
            .iter()
            .filter(is_it)
            .any(|verdict| verdict.answer == Answer::Holds && verdict.reasons.is_empty())
    }
}

fn read(dump: &Path) -> (Header, Vec<Told>) {
    let opened = Opened::open(BufReader::new(File::open(dump).unwrap())).unwrap();
    let mut tape = Tape::new(vec![opened]).unwrap();
    let header = tape.header().clone();
    let told = std::iter::from_fn(|| tape.next_told().unwrap()).collect();
    (header, told)
}

fn judge(header: &Header, told: Vec<Told>) -> Kept {
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

/// Records of the kernel that a run of a program wrote. Readings that are not answered are repeated, and a stack is no record
/// of its own.
fn is_event(record: &Record) -> bool {
    let is_answer = matches!(record.kind(), Some(Kind::Stack | Kind::RangeState | Kind::DeviceState));
    decode::decode(record).is_ok() && !is_answer
}

/// The dump without its record of this number, and what it was; with a loss in its place, or nothing.
fn without(told: &[Told], number: usize, is_told: bool) -> (Vec<Told>, Option<Record>) {
    let mut left = number;
    let mut gone = None;
    let mut told = told.to_vec();
    for told in &mut told {
        let Told::Slice(slice) = told else { continue };
        let is_it = |item: &Item| matches!(item, Item::Record(record) if is_event(record));
        let Some((at, _)) = slice.items.iter().enumerate().filter(|(_, item)| is_it(item)).nth(left) else {
            left -= slice.items.iter().filter(|item| is_it(item)).count();
            continue;
        };
        let Item::Record(record) = slice.items[at] else { unreachable!("it is a record") };
        let event = decode::decode(&record).unwrap();
        let loss = Loss {
            reason: Reason::Overwritten,
            ..Loss::skipped(event.id.ring(), 1, record.time_ns, record.time_ns)
        };
        if is_told {
            slice.items[at] = Item::Loss(loss);
        } else {
            slice.items.remove(at);
        }
        gone = Some(record);
        break;
    }
    (told, gone)
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
        let of_slice = |told: &Told| match told {
            Told::Slice(slice) => slice
                .items
                .iter()
                .filter(|item| matches!(item, Item::Record(record) if is_event(record)))
                .count(),
            _ => 0,
        };
        let count: usize = told.iter().map(of_slice).sum();
        for number in (0..count).step_by(count / TRIED + 1) {
            for is_told in [true, false] {
                let (mut left, gone) = without(&told, number, is_told);
                let mut header = header.clone();
                if !is_told {
                    uncounted(&mut header.status);
                    for told in &mut left {
                        if let Told::Status(change) = told {
                            uncounted(&mut change.status);
                        }
                    }
                }
                let gone = gone.unwrap();
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
