//! The dashboard over a dump: where it stands, how it goes on, and back. Going back reads the dump again from its beginning, so
//! that what is shown of a moment is always what a run to that moment would have shown.

use std::{
    io::Read,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    keeper::Keeper,
    keymap::{Direction, Play, Target},
    shared::Shared,
    snapshot::{Playback, Snapshot},
};
use crate::{
    drive::stop::Stop,
    dump::{Tape, Told},
    event::assemble::Element,
    model::What,
    order::Item,
    pipeline::{Pipeline, Slice},
};

/// Between two snapshots.
const FRAME: Duration = Duration::from_millis(50);
/// The speeds that there are, in percent.
const SPEEDS: [u32; 11] = [10, 25, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 60_000];
const SECOND_NS: u64 = 1_000_000_000;

/// Opens the dump once more, from its beginning.
pub(crate) type Open<R> = Box<dyn FnMut() -> Result<Tape<R>>>;

/// What there is in a dump, and where: events are counted from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Outline {
    start_ns: u64,
    end_ns: u64,
    events: u64,
    /// Events that are steps of a teardown.
    steps: Vec<u64>,
    /// Events after which something new was found.
    findings: Vec<u64>,
}

/// How far to go.
#[derive(Clone, Copy, Debug)]
enum Until {
    /// Up to this event.
    Event(u64),
    /// Up to this time.
    Time(u64),
    End,
}

/// See the module.
pub(crate) struct Replay<R> {
    open: Open<R>,
    reel: Reel<R>,
    outline: Outline,
    now_ns: u64,
    playing: bool,
    speed: usize,
    ticked: Instant,
    shared: Arc<Shared>,
}

/// A dump that is being read, and what it has come to.
struct Reel<R> {
    tape: Tape<R>,
    pipeline: Pipeline,
    keeper: Keeper,
    /// What of the tape is next, and how much of it was taken.
    slice: Option<(Slice, usize)>,
    /// Events so far.
    events: u64,
    /// Time of the latest record.
    reached_ns: u64,
    ended: bool,
}

impl<R: Read> Reel<R> {
    fn new(tape: Tape<R>) -> Self {
        let header = tape.header();
        let status = Arc::new(header.status.clone());
        Self {
            pipeline: Pipeline::new(&header.status, header.rules(), header.start_ns),
            keeper: Keeper::new(status, header.clock),
            slice: None,
            events: 0,
            reached_ns: header.start_ns,
            ended: false,
            tape,
        }
    }

    /// Goes on, and notes in `outline` what it passes.
    fn go(&mut self, until: Until, stop: &Stop, mut outline: Option<&mut Outline>) -> Result<()> {
        while !self.ended && !stop.is_set() {
            if matches!(until, Until::Event(wanted) if self.events >= wanted) {
                return Ok(());
            }
            let Some((slice, taken)) = self.slice.take() else {
                self.next()?;
                continue;
            };
            let left = slice.items.get(taken..).unwrap_or_default();
            let count = match until {
                Until::Event(_) => left.len().min(1),
                Until::Time(time_ns) => left.partition_point(|item| item.time_ns() <= time_ns),
                Until::End => left.len(),
            };
            if count == 0 && !left.is_empty() {
                self.slice = Some((slice, taken));
                return Ok(());
            }
            let is_last = count == left.len();
            let part = Slice {
                items: left.get(..count).unwrap_or_default().to_vec(),
                watermark_ns: if is_last {
                    slice.watermark_ns
                } else {
                    left.get(count - 1).map_or(self.reached_ns, Item::time_ns)
                },
            };
            self.take(&part, outline.as_deref_mut());
            if !is_last {
                self.slice = Some((slice, taken + count));
            }
        }
        Ok(())
    }

    /// Reads on.
    fn next(&mut self) -> Result<()> {
        match self.tape.next_told()? {
            Some(Told::Slice(slice)) => self.slice = Some((slice, 0)),
            Some(Told::Status(change)) => {
                self.pipeline.update(&change.status);
                self.keeper.changed(Arc::new(change.status));
            }
            Some(Told::Doubt(why)) => self.pipeline.doubt(why),
            Some(Told::Restore(_checkpoint)) => {}
            Some(Told::End(_)) | None => {
                let closing = self.pipeline.close(&crate::source::Totals::default());
                self.keeper.found(&closing.rest, &self.tape.names());
                self.ended = true;
            }
        }
        Ok(())
    }

    fn take(&mut self, part: &Slice, mut outline: Option<&mut Outline>) {
        let (keeper, events, names) = (&mut self.keeper, &mut self.events, self.tape.names());
        let taken: Result<(), std::convert::Infallible> = self.pipeline.advance(part, |step| {
            *events += u64::from(matches!(step.element, Element::Event(_)));
            keeper.step(step, &names);
            if let Some(outline) = outline.as_deref_mut() {
                if step
                    .model
                    .changes()
                    .iter()
                    .any(|change| change.what == What::Step)
                {
                    outline.steps.push(*events);
                }
                if !step.findings.is_empty() {
                    outline.findings.push(*events);
                }
            }
            Ok(())
        });
        let Ok(()) = taken;
        if let Some(last) = part.items.last() {
            self.reached_ns = self.reached_ns.max(last.time_ns());
        }
        self.keeper.count(&self.pipeline, self.reached_ns);
    }
}

impl<R: Read> Replay<R> {
    /// Reads the dump once to its end, and stands at its beginning then.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub(crate) fn new(mut open: Open<R>, stop: &Stop) -> Result<Self> {
        let mut reel = Reel::new(open()?);
        let mut outline = Outline {
            start_ns: reel.tape.header().start_ns,
            ..Outline::default()
        };
        reel.go(Until::End, stop, Some(&mut outline))?;
        (outline.end_ns, outline.events) = (reel.reached_ns, reel.events);
        outline.steps.dedup();
        outline.findings.dedup();
        let reel = Reel::new(open()?);
        let header = reel.tape.header();
        let shared = Arc::new(Shared::new(Snapshot::blank(
            Arc::new(header.status.clone()),
            header.clock,
        )));
        let replay = Self {
            now_ns: outline.start_ns,
            open,
            reel,
            outline,
            playing: false,
            speed: SPEEDS.iter().position(|&speed| speed == 100).unwrap_or(0),
            ticked: Instant::now(),
            shared,
        };
        replay.publish();
        Ok(replay)
    }

    /// What the one that draws reads.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Does what is asked until it is time to stop.
    ///
    /// # Errors
    ///
    /// When the dump cannot be read any more.
    pub(crate) fn run(&mut self, stop: &Stop) -> Result<()> {
        let mut asked = None;
        while !stop.is_set() {
            let mut is_new = asked.replace(self.shared.asked()) != Some(self.shared.asked());
            while let Some(play) = self.shared.next_play() {
                self.act(play, stop)?;
                is_new = true;
            }
            is_new |= self.tick(stop)?;
            if is_new {
                self.publish();
            }
            thread::sleep(FRAME);
        }
        Ok(())
    }

    /// Lets the time that has passed pass in the dump, too; false: it stands still.
    fn tick(&mut self, stop: &Stop) -> Result<bool> {
        let passed = self.ticked.elapsed();
        self.ticked = Instant::now();
        if !self.playing {
            return Ok(false);
        }
        let passed = passed.as_nanos() * u128::from(self.percent()) / 100;
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        self.go_to(self.now_ns.saturating_add(passed), stop)?;
        self.playing &= self.now_ns < self.outline.end_ns;
        Ok(true)
    }

    fn percent(&self) -> u32 {
        SPEEDS.get(self.speed).copied().unwrap_or(100)
    }

    fn act(&mut self, play: Play, stop: &Stop) -> Result<()> {
        match play {
            Play::Toggle => {
                if !self.playing && self.now_ns >= self.outline.end_ns {
                    self.go_to(self.outline.start_ns, stop)?;
                }
                self.playing = !self.playing;
            }
            Play::Faster => self.speed = (self.speed + 1).min(SPEEDS.len() - 1),
            Play::Slower => self.speed = self.speed.saturating_sub(1),
            Play::Step(target, direction) => {
                self.playing = false;
                self.step(target, direction, stop)?;
            }
            Play::Skip(seconds) => {
                let by = seconds.unsigned_abs() * SECOND_NS;
                let time_ns = if seconds < 0 {
                    self.now_ns.saturating_sub(by)
                } else {
                    self.now_ns.saturating_add(by)
                };
                self.go_to(time_ns, stop)?;
            }
            Play::Seek(time_ns) => self.go_to(time_ns, stop)?,
            Play::Ask => {}
        }
        Ok(())
    }

    fn go_to(&mut self, time_ns: u64, stop: &Stop) -> Result<()> {
        let time_ns = time_ns.clamp(self.outline.start_ns, self.outline.end_ns);
        if time_ns < self.reel.reached_ns {
            self.reel = Reel::new((self.open)()?);
        }
        // At its end everything has been said that is known at the end only.
        let until = if time_ns == self.outline.end_ns {
            Until::End
        } else {
            Until::Time(time_ns)
        };
        self.reel.go(until, stop, None)?;
        self.now_ns = time_ns;
        Ok(())
    }

    fn step(&mut self, target: Target, direction: Direction, stop: &Stop) -> Result<()> {
        let here = self.reel.events;
        let among = |places: &[u64]| match direction {
            Direction::Forward => places.iter().copied().find(|&place| place > here),
            Direction::Back => places.iter().copied().rev().find(|&place| place < here),
        };
        let place = match (target, direction) {
            (Target::Event, Direction::Forward) => {
                Some(here + 1).filter(|&place| place <= self.outline.events)
            }
            (Target::Event, Direction::Back) => here.checked_sub(1),
            (Target::Teardown, _) => among(&self.outline.steps),
            (Target::Finding, _) => among(&self.outline.findings),
        };
        let Some(place) = place else { return Ok(()) };
        if place < here {
            self.reel = Reel::new((self.open)()?);
        }
        self.reel.go(Until::Event(place), stop, None)?;
        self.now_ns = self.reel.reached_ns;
        Ok(())
    }

    fn publish(&self) {
        let (query, _) = self.shared.query();
        let reel = &self.reel;
        let takers = reel
            .keeper
            .takers(reel.pipeline.model(), &query, &reel.tape.names(), self.now_ns);
        let mut snapshot = reel
            .keeper
            .snapshot(&reel.pipeline, &Arc::new(takers), self.now_ns);
        snapshot.playback = Some(Playback {
            start_ns: self.outline.start_ns,
            end_ns: self.outline.end_ns,
            playing: self.playing,
            speed: self.percent(),
        });
        self.shared.publish(snapshot);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::{
        dump::{Opened, Reason, Writer},
        tui::{
            keymap::Press,
            samples::{self, SECOND, Story},
            state::{App, Effect},
            tests::{press, screen},
            theme::{Palette, Theme},
        },
    };

    /// What was told of a run, as a dump.
    fn dump(story: &Story) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), samples::header()).unwrap();
        for slice in &story.slices {
            writer.slice(slice).unwrap();
        }
        writer.finish(Reason::End, story.now_ns, None).unwrap()
    }

    fn replay(story: &Story) -> Replay<Cursor<Vec<u8>>> {
        let bytes = dump(story);
        let open = move || {
            let opened = Opened::open(Cursor::new(bytes.clone()))?;
            Ok(Tape::new(vec![opened]).unwrap())
        };
        Replay::new(Box::new(open), &Stop::default()).unwrap()
    }

    fn shown(replay: &Replay<Cursor<Vec<u8>>>) -> String {
        replay.publish();
        let app = App::new(replay.shared.snapshot(), Theme::new(Palette::Rich, false));
        screen(&app, (120, 40))
    }

    fn act(replay: &mut Replay<Cursor<Vec<u8>>>, play: Play) {
        replay.act(play, &Stop::default()).unwrap();
    }

    #[test]
    fn each_moment_is_shown_as_it_was() {
        let mut replay = replay(&samples::wrong());
        insta::assert_snapshot!("at the beginning", shown(&replay));
        act(&mut replay, Play::Seek(3 * SECOND + SECOND / 2));
        let hung = shown(&replay);
        insta::assert_snapshot!("in the hang", hung);
        act(&mut replay, Play::Seek(u64::MAX));
        insta::assert_snapshot!("at the end", shown(&replay));
        act(&mut replay, Play::Seek(3 * SECOND + SECOND / 2));
        assert_eq!(shown(&replay), hung, "what was gone through and back to");
    }

    #[test]
    fn it_steps_to_events_teardowns_and_findings_and_back() {
        let mut replay = replay(&samples::wrong());
        let (forward, back) = (Direction::Forward, Direction::Back);
        let mut places = Vec::new();
        for (target, direction) in [
            (Target::Event, forward),
            (Target::Event, forward),
            (Target::Event, back),
            (Target::Teardown, forward),
            (Target::Teardown, forward),
            (Target::Teardown, back),
            (Target::Finding, forward),
            (Target::Finding, forward),
            (Target::Finding, back),
            (Target::Event, back),
        ] {
            act(&mut replay, Play::Step(target, direction));
            places.push(replay.reel.events);
        }
        let (steps, findings) = (&replay.outline.steps, &replay.outline.findings);
        assert_eq!(places[..6], [1, 2, 1, steps[0], steps[1], steps[0]]);
        assert_eq!(places[6..9], [findings[0], findings[1], findings[0]]);
        assert_eq!(places[9], findings[0] - 1);
        for _ in 0..100 {
            act(&mut replay, Play::Step(Target::Event, forward));
        }
        assert_eq!(replay.reel.events, replay.outline.events);
    }

    #[test]
    fn time_goes_on_as_fast_as_is_asked_for() {
        let mut replay = replay(&samples::stalled());
        for _ in 0..30 {
            act(&mut replay, Play::Faster);
        }
        assert_eq!(replay.percent(), 60_000);
        act(&mut replay, Play::Toggle);
        let before = replay.now_ns;
        thread::sleep(Duration::from_millis(2));
        assert!(replay.tick(&Stop::default()).unwrap());
        assert!(replay.now_ns >= before + SECOND);
        while replay.playing {
            thread::sleep(Duration::from_millis(2));
            replay.tick(&Stop::default()).unwrap();
        }
        assert_eq!(replay.now_ns, replay.outline.end_ns);
        act(&mut replay, Play::Toggle);
        assert_eq!((replay.playing, replay.now_ns), (true, replay.outline.start_ns));
        act(&mut replay, Play::Skip(2));
        act(&mut replay, Play::Skip(-1));
        assert_eq!(replay.now_ns, replay.outline.start_ns + SECOND);
    }

    #[test]
    fn keys_lead_to_what_they_say() {
        let mut replay = replay(&samples::stalled());
        replay.publish();
        let mut app = App::new(replay.shared.snapshot(), Theme::new(Palette::Rich, false));
        let typed = "@+2.5".chars().map(Press::Char).chain([Press::Enter]);
        let effects = press(&mut app, &typed.collect::<Vec<_>>());
        assert_eq!(
            effects,
            [Effect::Play(Play::Seek(replay.outline.start_ns + SECOND * 5 / 2))]
        );
        let step = Play::Step(Target::Finding, Direction::Forward);
        let effects = press(&mut app, &[Press::Char('f'), Press::Char(' '), Press::Char('+')]);
        let expected = [step, Play::Toggle, Play::Faster].map(Effect::Play);
        assert_eq!(effects, expected);
        let working: Vec<_> = crate::tui::keymap::BINDINGS
            .iter()
            .filter(|binding| binding.works(&app))
            .flat_map(|binding| binding.keys)
            .collect();
        for key in &working {
            assert_eq!(working.iter().filter(|other| other == &key).count(), 1, "{key:?}");
        }
        act(&mut replay, step);
        insta::assert_snapshot!("at the first finding", shown(&replay));
    }
}
