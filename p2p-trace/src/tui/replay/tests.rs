use std::io::Cursor;

use p2p_trace_dump::{Checkpoint, Opened, Reason, Writer};
use p2p_trace_model::{event::Symbolize as _, pipeline::Pipeline, rules};

use super::*;
use crate::tui::{
    keymap::Press,
    samples::{self, SECOND, Story},
    state::{App, Effect},
    tests::{every_view, press, screen},
    theme::{Palette, Theme},
};

/// The writer of a dump, with the names of all code addresses.
fn begin() -> Writer<Vec<u8>> {
    let mut writer = Writer::new(Vec::new(), samples::header()).unwrap();
    for address in samples::CODE {
        let name = samples::code().symbolize(address).unwrap();
        writer.symbol(address, &name).unwrap();
    }
    writer
}

/// The dump of a story.
fn dump(story: &Story) -> Vec<u8> {
    let mut writer = begin();
    for slice in &story.slices {
        writer.slice(slice).unwrap();
        // One block per slice, so that a test can damage a single one.
        writer.flush().unwrap();
    }
    writer.finish(Reason::End, story.now_ns, None).unwrap()
}

fn replay(story: &Story) -> Replay<Cursor<Vec<u8>>> {
    of_runs(vec![vec![dump(story)]])
}

/// A replay of files, grouped by run.
fn of_runs(runs: Vec<Vec<Vec<u8>>>) -> Replay<Cursor<Vec<u8>>> {
    let open = move |run: usize| {
        let open = |file: &Vec<u8>| Opened::open(Cursor::new(file.clone())).unwrap();
        let files: Vec<_> = runs[run].iter().map(open).collect();
        Ok((RunReader::new(files).unwrap(), runs.len()))
    };
    Replay::new(Box::new(open), &Stop::default()).unwrap()
}

fn shown(replay: &Replay<Cursor<Vec<u8>>>) -> String {
    replay.publish();
    let app = App::new(replay.shared.view_model(), Theme::new(Palette::Rich, false));
    screen(&app, (120, 40))
}

fn act(replay: &mut Replay<Cursor<Vec<u8>>>, play: Play) {
    replay.act(play, &Stop::default()).unwrap();
}

#[test]
fn seeking_back_shows_the_same_screen() {
    let mut replay = replay(&samples::wrong());
    insta::assert_snapshot!("at_the_beginning", shown(&replay));
    act(&mut replay, Play::Seek(3 * SECOND + SECOND / 2));
    let hung = shown(&replay);
    insta::assert_snapshot!("in_the_hang", hung);
    act(&mut replay, Play::Seek(u64::MAX));
    insta::assert_snapshot!("at_the_end", shown(&replay));
    act(&mut replay, Play::Seek(3 * SECOND + SECOND / 2));
    assert_eq!(shown(&replay), hung, "after going on and back");
}

#[test]
fn steps_to_events_teardowns_and_findings_in_both_directions() {
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
        places.push(replay.seek_buffer.events);
    }
    let (steps, findings) = (&replay.outline.steps, &replay.outline.findings);
    assert_eq!(places[..6], [1, 2, 1, steps[0], steps[1], steps[0]]);
    assert_eq!(places[6..9], [findings[0], findings[1], findings[0]]);
    assert_eq!(places[9], findings[0] - 1);
    for _ in 0..100 {
        act(&mut replay, Play::Step(Target::Event, forward));
    }
    assert_eq!(replay.seek_buffer.events, replay.outline.events);
}

#[test]
fn plays_at_the_selected_speed() {
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
fn keys_trigger_replay_commands() {
    let mut replay = replay(&samples::stalled());
    replay.publish();
    let mut app = App::new(replay.shared.view_model(), Theme::new(Palette::Rich, false));
    let typed = "@+2.5".chars().map(Press::Char).chain([Press::Enter]);
    let effects = press(&mut app, &typed.collect::<Vec<_>>());
    assert_eq!(effects, [Effect::Play(Play::Seek(replay.outline.start_ns + SECOND * 5 / 2))]);
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
    insta::assert_snapshot!("at_the_first_finding", shown(&replay));
}

/// The blocked story in two files of one run, split just before the unbind.
fn rotated() -> [Vec<u8>; 2] {
    let story = samples::blocked();
    let mut writer = begin();
    let mut pipeline = Pipeline::new(&samples::status(), rules::Options::default(), 0);
    let mut first = None;
    for slice in &story.slices {
        if first.is_none() && slice.watermark_ns > 3 * SECOND {
            let checkpoint = Checkpoint::of(&pipeline, 1);
            first = Some(writer.rotate(Vec::new(), &checkpoint).unwrap());
        }
        writer.slice(slice).unwrap();
        let advanced: Result<(), ()> = pipeline.advance(slice, |_| Ok(()));
        advanced.unwrap();
    }
    let second = writer.finish(Reason::End, story.now_ns, None).unwrap();
    [first.unwrap(), second]
}

#[test]
fn later_file_alone_shows_earlier_holders() {
    let [_, second] = rotated();
    let mut replay = of_runs(vec![vec![second]]);
    assert_eq!(replay.outline.start_ns, 2 * SECOND, "the checkpoint's time");
    insta::assert_snapshot!("at_the_beginning_of_a_later_file", shown(&replay));
    act(&mut replay, Play::Step(Target::Event, Direction::Forward));
    act(&mut replay, Play::Step(Target::Event, Direction::Back));
    assert!(shown(&replay).contains("p2pdio[726]"), "lost after going back");
    act(&mut replay, Play::Seek(u64::MAX));
    let blocked = shown(&replay);
    assert!(blocked.contains("BLOCKED") && blocked.contains("held by p2pdio[726]"), "{blocked}");
}

#[test]
fn shows_the_files_of_a_run_as_one() {
    let [first, second] = rotated();
    let mut full = replay(&samples::blocked());
    let mut parts = of_runs(vec![vec![second, first]]);
    for time_ns in [0, 2 * SECOND + 1, 4 * SECOND, u64::MAX] {
        act(&mut full, Play::Seek(time_ns));
        act(&mut parts, Play::Seek(time_ns));
        assert_eq!(shown(&parts), shown(&full), "at {time_ns}");
    }
}

#[test]
fn steps_between_runs() {
    let dumps = [samples::wrong(), samples::busy()].map(|story| vec![dump(&story)]);
    let mut replay = of_runs(dumps.to_vec());
    assert!(shown(&replay).contains("run 1 of 2"));
    act(&mut replay, Play::Run(Direction::Forward));
    act(&mut replay, Play::Run(Direction::Forward));
    act(&mut replay, Play::Seek(u64::MAX));
    let second = shown(&replay);
    assert!(second.contains("run 2 of 2") && second.contains("nvmet_req_alloc_sgls"), "{second}");
    act(&mut replay, Play::Run(Direction::Back));
    assert_eq!(replay.outline.findings.len(), of_runs(dumps[..1].to_vec()).outline.findings.len());
}

#[test]
fn incomplete_dump_is_inconclusive() {
    let full = dump(&samples::blocked());
    let at_end = |bytes: &[u8]| {
        let mut replay = of_runs(vec![vec![bytes.to_vec()]]);
        act(&mut replay, Play::Seek(u64::MAX));
        shown(&replay)
    };
    assert!(!at_end(&full).contains("INCONCLUSIVE"));
    let broken_off = at_end(&full[..full.len() - 40]);
    let second_line = broken_off.lines().nth(1).unwrap();
    assert!(second_line.contains("INCONCLUSIVE") && second_line.contains("breaks off"), "{broken_off}");
    // Records in the middle are unreadable. That is known from the beginning.
    let mut damaged = full;
    let middle = damaged.len() * 3 / 4;
    damaged[middle] ^= 0xff;
    let mut replay = of_runs(vec![vec![damaged]]);
    assert!(shown(&replay).contains("dump incomplete"));
    act(&mut replay, Play::Seek(u64::MAX));
    assert!(shown(&replay).contains("INCONCLUSIVE"));
    let mut app = App::new(replay.shared.view_model(), Theme::new(Palette::Rich, false));
    press(&mut app, &[Press::Char('7')]);
    insta::assert_snapshot!("a_damaged_dump", screen(&app, (120, 24)));
}

#[test]
fn saved_excerpt_shows_the_same_as_the_dump() {
    let folder = tempfile::tempdir().unwrap();
    let mut story = samples::blocked();
    // Long enough that the excerpt does not reach back to the start.
    story.idle(400 * SECOND);
    let mut full = replay(&story);
    for time_ns in [4 * SECOND, 390 * SECOND] {
        act(&mut full, Play::Seek(time_ns));
        // The excerpt ends with its last record.
        let last_ns = full.seek_buffer.reached_ns;
        act(&mut full, Play::Seek(last_ns));
        full.save(folder.path(), &Stop::default());
        let reported = full.shared.take_message().unwrap();
        let path = reported.strip_prefix("written to ").unwrap();
        let mut part = of_runs(vec![vec![std::fs::read(path).unwrap()]]);
        act(&mut part, Play::Seek(u64::MAX));
        let (full, part) = (facts(&full), facts(&part));
        assert_eq!(full, part);
        let blocks = |line: &String| line.contains("WAITING") && line.contains("p2pdio[726]");
        assert!(part.iter().any(blocks), "{part:?}");
    }
    let missing = folder.path().join("missing");
    full.save(&missing, &Stop::default());
    let reported = full.shared.take_message().unwrap();
    assert!(reported.starts_with("cannot create ") && reported.contains("missing"), "{reported}");
}

/// The part of the screen that shows devices, holders and teardown.
fn facts(replay: &Replay<Cursor<Vec<u8>>>) -> Vec<String> {
    let shown = shown(replay);
    let parts = shown.split("── Events").next().unwrap().lines();
    parts.skip(4).map(str::to_owned).collect()
}

/// A dump that was recorded in a guest. See `tests/golden`.
fn recorded(name: &str) -> Replay<Cursor<Vec<u8>>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/1");
    of_runs(vec![vec![std::fs::read(folder.join(name)).unwrap()]])
}

fn every_view_at(name: &str, replay: &mut Replay<Cursor<Vec<u8>>>, play: Play) {
    act(replay, play);
    replay.publish();
    let app = App::new(replay.shared.view_model(), Theme::new(Palette::Rich, false));
    every_view(name, app);
}

#[test]
fn shows_recorded_run_without_events() {
    every_view_at("real_empty", &mut recorded("empty.p2pt"), Play::Seek(u64::MAX));
}

#[test]
fn shows_recorded_busy_run() {
    every_view_at("real_busy", &mut recorded("busy.p2pt"), Play::Seek(u64::MAX));
}

#[test]
fn shows_recorded_blocked_unbind_and_its_end() {
    let mut replay = recorded("blocked.p2pt");
    let found = Play::Step(Target::Finding, Direction::Forward);
    every_view_at("real_blocked", &mut replay, found);
    every_view_at("real_released", &mut replay, Play::Seek(u64::MAX));
}
