//! The dashboard for a dump: its position, playing, and seeking. To go back, it reads the dump again from the beginning, so
//! that the screen at a given time does not depend on how that time was reached.

mod excerpt;
mod outline;
mod seek_buffer;
#[cfg(test)]
mod tests;

use std::{
    io::{Read, Write},
    path::Path,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use p2p_trace_dump::{End, RunReader};

use outline::Outline;
use seek_buffer::{SeekBuffer, Until};

use super::{
    files,
    keymap::{Direction, Play, Target},
    shared::Shared,
    view_model::{Playback, ViewModel},
};
use crate::run::stop::Stop;

/// The time between two view models.
const FRAME: Duration = Duration::from_millis(50);
/// The available speeds, in percent.
const SPEEDS: [u32; 11] = [10, 25, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 60_000];
const SECOND_NS: u64 = 1_000_000_000;

/// Opens the run with this index from its beginning. Also returns the number of runs.
pub(crate) type Open<R> = Box<dyn FnMut(usize) -> Result<(RunReader<R>, usize)>>;

pub(crate) struct Replay<R> {
    open: Open<R>,
    run: usize,
    runs: usize,
    seek_buffer: SeekBuffer<R>,
    outline: Outline,
    /// Shared copy of `outline.missing`.
    missing: Arc<[String]>,
    now_ns: u64,
    playing: bool,
    speed: usize,
    ticked: Instant,
    shared: Arc<Shared>,
}

impl<R: Read> Replay<R> {
    /// Scans the first run to its end, then opens it at its beginning.
    pub(crate) fn new(mut open: Open<R>, stop: &Stop) -> Result<Self> {
        let (outline, seek_buffer, runs) = scan(&mut open, 0, stop)?;
        let header = seek_buffer.reader.header();
        let shared = Arc::new(Shared::new(ViewModel::blank(Arc::new(header.status.clone()), header.clock)));
        let replay = Self {
            now_ns: outline.start_ns,
            open,
            run: 0,
            runs,
            seek_buffer,
            missing: outline.missing.clone().into(),
            outline,
            playing: false,
            speed: SPEEDS.iter().position(|&speed| speed == 100).unwrap_or(0),
            ticked: Instant::now(),
            shared,
        };
        replay.publish();
        Ok(replay)
    }

    /// Goes to the beginning of another run, if there is one.
    fn change(&mut self, direction: Direction, stop: &Stop) -> Result<()> {
        let run = match direction {
            Direction::Forward => Some(self.run + 1).filter(|&run| run < self.runs),
            Direction::Back => self.run.checked_sub(1),
        };
        let Some(run) = run else { return Ok(()) };
        let (outline, seek_buffer, runs) = scan(&mut self.open, run, stop)?;
        (self.run, self.runs, self.seek_buffer, self.playing) = (run, runs, seek_buffer, false);
        self.now_ns = outline.start_ns;
        self.missing = outline.missing.clone().into();
        self.outline = outline;
        Ok(())
    }

    /// Goes to the beginning of the run.
    fn rewind(&mut self) -> Result<()> {
        let (reader, _) = (self.open)(self.run)?;
        self.seek_buffer = SeekBuffer::new(reader)?;
        Ok(())
    }

    /// Parts of the first run that were given more than once, in sentences.
    pub(crate) fn repeats(&self) -> &[String] {
        &self.outline.repeats
    }

    /// The state that is shared with the drawing thread.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// The view model at the end of the run.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn at_the_end(&mut self) -> Result<Arc<ViewModel>> {
        self.go_to(u64::MAX, &Stop::default())?;
        self.publish();
        Ok(self.shared.view_model())
    }

    /// Executes commands until `stop` is set.
    ///
    /// Fails if the dump becomes unreadable.
    pub(crate) fn run(&mut self, stop: &Stop) -> Result<()> {
        let mut asked = None;
        while !stop.is_set() {
            let mut is_new = asked.replace(self.shared.query_number()) != Some(self.shared.query_number());
            while let Some(play) = self.shared.next_play() {
                self.act(play, stop)?;
                is_new = true;
            }
            if self.shared.dump().swap(false, Ordering::Acquire) {
                self.save(Path::new(""), stop);
            }
            is_new |= self.tick(stop)?;
            if is_new {
                self.publish();
            }
            thread::sleep(FRAME);
        }
        Ok(())
    }

    /// Advances the replay by the time that has passed. Returns false if it is stopped.
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
                let time_ns =
                    if seconds < 0 { self.now_ns.saturating_sub(by) } else { self.now_ns.saturating_add(by) };
                self.go_to(time_ns, stop)?;
            }
            Play::Seek(time_ns) => self.go_to(time_ns, stop)?,
            Play::Run(direction) => self.change(direction, stop)?,
            Play::Ask => {}
        }
        // The duration of the command does not count as playing time.
        self.ticked = Instant::now();
        Ok(())
    }

    fn go_to(&mut self, time_ns: u64, stop: &Stop) -> Result<()> {
        let time_ns = time_ns.clamp(self.outline.start_ns, self.outline.end_ns);
        if time_ns < self.seek_buffer.reached_ns {
            self.rewind()?;
        }
        // The end includes the results that are only known at the end.
        let until = if time_ns == self.outline.end_ns { Until::End } else { Until::Time(time_ns) };
        self.seek_buffer.go(until, stop, None)?;
        self.now_ns = time_ns;
        Ok(())
    }

    fn step(&mut self, target: Target, direction: Direction, stop: &Stop) -> Result<()> {
        let here = self.seek_buffer.events;
        let Some(place) = self.outline.place(here, target, direction) else {
            return Ok(());
        };
        if place < here {
            self.rewind()?;
        }
        self.seek_buffer.go(Until::Event(place), stop, None)?;
        self.now_ns = self.seek_buffer.reached_ns;
        Ok(())
    }

    /// Writes a dump of the minutes before the current time to a new file in a folder, and notifies the user.
    fn save(&mut self, folder: &Path, stop: &Stop) {
        let clock = self.seek_buffer.reader.header().clock;
        let name = files::name("dump", &clock, self.now_ns, "p2pt");
        let saved = files::save(folder, &name, |file| self.excerpt(file, stop));
        self.shared.notify(files::outcome(saved));
        self.ticked = Instant::now();
    }

    fn excerpt(&mut self, out: impl Write + 'static, stop: &Stop) -> Result<()> {
        let (reader, _) = (self.open)(self.run)?;
        excerpt::write(reader, out, self.now_ns, &self.seek_buffer.reader.names(), stop)
    }

    fn publish(&self) {
        let (query, _) = self.shared.query();
        let seek_buffer = &self.seek_buffer;
        let holders = seek_buffer.history.holders(
            seek_buffer.pipeline.model(),
            &query,
            &seek_buffer.reader.names(),
            self.now_ns,
        );
        let mut view_model =
            seek_buffer.history.view_model(&seek_buffer.pipeline, &Arc::new(holders), self.now_ns);
        if let Some(uncertainty) = &self.outline.uncertainty {
            view_model.headline.uncertain(uncertainty);
        }
        view_model.playback = Some(Playback {
            start_ns: self.outline.start_ns,
            end_ns: self.outline.end_ns,
            playing: self.playing,
            speed: self.percent(),
            missing: Arc::clone(&self.missing),
            run: self.run,
            runs: self.runs,
        });
        self.shared.publish(view_model);
    }
}

/// Scans a run to its end, then opens it at its beginning.
fn scan<R: Read>(open: &mut Open<R>, run: usize, stop: &Stop) -> Result<(Outline, SeekBuffer<R>, usize)> {
    let (reader, runs) = open(run)?;
    let mut seek_buffer = SeekBuffer::new(reader)?;
    let mut outline = Outline { start_ns: seek_buffer.reached_ns, ..Outline::default() };
    seek_buffer.go(Until::End, stop, Some(&mut outline))?;
    (outline.end_ns, outline.events) = (seek_buffer.reached_ns, seek_buffer.events);
    outline.steps.dedup();
    outline.findings.dedup();
    outline.missing = seek_buffer.reader.complaints();
    outline.repeats = seek_buffer.reader.repeats().to_vec();
    let missing = seek_buffer.end.as_ref().and_then(End::lacks);
    outline.missing.extend(missing.map(str::to_owned));
    outline.uncertainty = uncertainty(&seek_buffer);
    let (reader, _) = open(run)?;
    Ok((outline, SeekBuffer::new(reader)?, runs))
}

/// Why a run that was read to its end is inconclusive as a whole, by the criteria of `check`.
fn uncertainty<R: Read>(seek_buffer: &SeekBuffer<R>) -> Option<String> {
    if seek_buffer.end == Some(End::CutOff) {
        return End::CutOff.lacks().map(str::to_owned);
    }
    let rules = seek_buffer.pipeline.rules();
    if !rules.is_inconclusive() || !rules.verdicts(seek_buffer.pipeline.model()).is_empty() {
        return None;
    }
    let first = rules.coverage().uncertainties().first().cloned();
    first
        .or_else(|| seek_buffer.reader.complaints().into_iter().next())
        .or_else(|| Some("records were lost".to_owned()))
}
