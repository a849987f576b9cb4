//! From a session that plays batches to the output lines.

use std::{cell::Cell, collections::VecDeque, fs::File, io::Write, thread};

use p2p_trace_common::{Hook, Kind, Record, Ring, hook::HOOK_SLOTS};
use p2p_trace_dump as dump;
use p2p_trace_model::{
    accounting::{HookStatus, Position, Status, Totals},
    event::{NoSymbols, user},
    stream::Batch,
    testing::status as samples,
};
use p2p_trace_probe::transport::{Session, SessionError};

use super::*;
use crate::render::{
    json::{FindingState, Line, OutputLine},
    text,
};

/// Plays batches, then asks to stop.
struct Played {
    batches: VecDeque<Vec<Record>>,
    stop: Stop,
    detached: bool,
    /// Number of empty polls before it sets `stop`.
    patience: u32,
    heads: u64,
    /// Number of calls of `status`.
    asked: Cell<u64>,
}

impl Session for Played {
    fn status(&self) -> Status {
        let mut status = samples::status();
        let attached = status.hooks[0].clone();
        let more = [Hook::Free, Hook::Drained, Hook::Remove];
        status.hooks.extend(more.map(|hook| HookStatus { hook, ..attached.clone() }));
        // As if memory were allocated between the calls.
        self.asked.set(self.asked.get() + 1);
        status.devices[0].available = Some(self.asked.get() << 12);
        status
    }

    fn wait(&mut self, _timeout: Duration) {}

    fn poll(&mut self, budget: usize, batch: &mut Batch) -> Result<(), SessionError> {
        assert!(!self.detached, "read after the detach");
        match self.batches.front() {
            Some(records) if records.len() <= budget => {
                batch.watermark_ns = records.last().map_or(0, |record| record.time_ns);
                batch.records.extend(self.batches.pop_front().unwrap_or_default());
            }
            Some(_) => {}
            None if self.patience > 0 => {
                self.patience -= 1;
                thread::sleep(Duration::from_millis(1));
            }
            None => self.stop.set(),
        }
        Ok(())
    }

    fn snapshot(&mut self) {}

    fn detach(&mut self) -> Result<(), SessionError> {
        self.detached = true;
        Ok(())
    }

    fn finish(&mut self, batch: &mut Batch) -> Result<(), SessionError> {
        assert!(self.detached, "drained before the detach");
        batch.losses.push(samples::LOSS);
        batch.watermark_ns = u64::MAX;
        Ok(())
    }

    fn totals(&mut self) -> Result<Totals, SessionError> {
        let mut hits = vec![0; HOOK_SLOTS];
        hits[Hook::Alloc as usize] = self.heads + 3;
        let position = |cpu, head| Position { cpu, ring: Ring::Hot, head };
        let positions = vec![position(0, self.heads), position(1, 3)];
        Ok(Totals {
            hits,
            missed: vec![Some(0); HOOK_SLOTS],
            dropped: 0,
            shortfalls: p2p_trace_model::accounting::Shortfalls::default(),
            positions,
            shared: 0,
        })
    }
}

pub(super) fn record(position: u64, time_ns: u64) -> Record {
    let (kind, hook, seq) = (Kind::Alloc as u8, Hook::Alloc as u8, Ring::Hot.sequence(position));
    Record { kind, hook, seq, time_ns, ..user::blank(1) }
}

fn play(batches: Vec<Vec<Record>>, format: Format, out: &mut impl Write) -> Result<Exit> {
    let plan = Plan { format, ..plan(ExitPolicy::default()) };
    play_as(&plan, batches, false, out)
}

/// A plan for JSON with events.
pub(super) fn plan(exit_policy: ExitPolicy) -> Plan {
    Plan {
        format: Format::Json,
        clock: samples::CLOCK,
        duration: None,
        ready_file: ReadyFile::default(),
        only_findings: false,
        exit_policy,
        record: None,
        kmsg: false,
        is_closed: || false,
    }
}

/// Plays batches. With `endless`, the session does not stop by itself.
pub(super) fn play_as(
    plan: &Plan,
    batches: Vec<Vec<Record>>,
    endless: bool,
    out: &mut impl Write,
) -> Result<Exit> {
    let stop = Stop::default();
    let heads = batches.iter().map(Vec::len).sum::<usize>() as u64;
    let session = Played {
        batches: batches.into(),
        stop: stop.clone(),
        detached: false,
        patience: if endless { 10_000 } else { 0 },
        heads,
        asked: Cell::new(0),
    };
    let opened = Opened { session: Box::new(session), symbols: Box::new(NoSymbols) };
    stream(opened, plan, None, &stop, out)
}

pub(super) fn lines(out: &[u8]) -> Vec<Line> {
    let lines = out.split_inclusive(|&byte| byte == b'\n').map(|line| serde_json::from_slice(line).unwrap());
    let lines: Vec<OutputLine> = lines.collect();
    let is_same = |pair: &[OutputLine]| pair[0].envelope == pair[1].envelope;
    assert!(lines.windows(2).all(is_same), "every line names its run");
    lines.into_iter().map(|line| line.line).collect()
}

pub(super) fn shape(line: &Line) -> String {
    match line {
        Line::Status(_) => "status".to_owned(),
        Line::Event(event) => format!("event {}", event.seq / 2),
        Line::Lost(lost) => format!("lost {}", lost.count),
        Line::Finding(finding) => {
            let state = if finding.state == FindingState::Closed { "closed" } else { "open" };
            format!("finding {} {} {state}", finding.number, finding.rule.name())
        }
        Line::Names(found) => format!("names {}", found.names.len()),
        Line::Unshown(unshown) => format!("unshown {}", unshown.events),
        Line::Verdict(verdict) => format!("verdict {} {}", verdict.rule.name(), verdict.verdict.name()),
        Line::Summary(summary) => {
            format!("summary {} {} {:?}", summary.events, summary.lost, summary.contradictions)
        }
    }
}

#[test]
fn the_recorded_status_is_the_shown_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.p2pt");
    let plan = Plan { record: Some(Destination::new_file(file.clone())), ..plan(ExitPolicy::default()) };
    let mut out = Vec::new();
    play_as(&plan, vec![vec![record(0, 5_000_000_010)]], false, &mut out).unwrap();
    let shown = lines(&out).into_iter().find_map(|line| match line {
        Line::Status(status) => Some(status.devices[0].available),
        _ => None,
    });
    let recorded = dump::Opened::open(File::open(&file).unwrap()).unwrap();
    assert_eq!(shown, Some(recorded.header().status.devices[0].available));
}

#[test]
fn a_run_is_shown_as_status_events_losses_and_summary() {
    let first = vec![record(1, 5_000_000_020), record(0, 5_000_000_010)];
    let second = vec![record(2, 5_000_000_030), record(3, 5_200_000_000)];
    let mut out = Vec::new();
    assert_eq!(play(vec![first, second], Format::Json, &mut out).unwrap(), Exit::Success);
    let lines = lines(&out);
    let shape: Vec<_> = lines.iter().map(shape).collect();
    assert_eq!(shape, ["status", "event 0", "event 1", "event 2", "lost 3", "event 3", "summary 4 3 []"]);
}

#[test]
fn text_ends_with_the_summary() {
    let mut out = Vec::new();
    play(vec![vec![record(0, 5_000_000_010)]], Format::Text(text::Options::default()), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.starts_with("p2p-trace 0.1.0 on Linux"), "{text}");
    assert!(text.contains("LOST 3 records"), "{text}");
    assert!(text.contains("\n1 event in "), "{text}");
}

/// A pipe whose reader closes it after some bytes.
pub(super) struct Closing(pub(super) usize);

impl Write for Closing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let batches = (0..100).map(|position| vec![record(position, 5_000_000_000 + position)]).collect();
    assert_eq!(play(batches, Format::Json, &mut Closing(3000)).unwrap(), Exit::Success);
    assert_eq!(play(Vec::new(), Format::Json, &mut Closing(0)).unwrap(), Exit::Success);
}

/// A writer that fails as a full disk does.
struct Full;

impl Write for Full {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_an_error() {
    assert!(play(Vec::new(), Format::Json, &mut Full).is_err());
}
