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

/// The beginning of a dump, with the names of the code.
fn begin() -> Writer<Vec<u8>> {
    let mut writer = Writer::new(Vec::new(), samples::header()).unwrap();
    for address in samples::CODE {
        let name = samples::code().symbolize(address).unwrap();
        writer.symbol(address, &name).unwrap();
    }
    writer
}

/// What was told of a run, as a dump.
fn dump(story: &Story) -> Vec<u8> {
    let mut writer = begin();
    for slice in &story.slices {
        writer.slice(slice).unwrap();
        // A block each, so that one can be damaged.
        writer.flush().unwrap();
    }
    writer.finish(Reason::End, story.now_ns, None).unwrap()
}

fn replay(story: &Story) -> Replay<Cursor<Vec<u8>>> {
    of_runs(vec![vec![dump(story)]])
}

/// Of files, by runs.
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
fn each_moment_is_shown_as_it_was() {
    let mut replay = replay(&samples::wrong());
    insta::assert_snapshot!("at_the_beginning", shown(&replay));
    act(&mut replay, Play::Seek(3 * SECOND + SECOND / 2));
    let hung = shown(&replay);
    insta::assert_snapshot!("in_the_hang", hung);
    act(&mut replay, Play::Seek(u64::MAX));
    insta::assert_snapshot!("at_the_end", shown(&replay));
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

/// The blocked story in two files of one run, cut just before the unbind.
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
fn a_later_file_alone_shows_who_took_what_before_it_begins() {
    let [_, second] = rotated();
    let mut replay = of_runs(vec![vec![second]]);
    assert_eq!(replay.outline.start_ns, 2 * SECOND, "the checkpoint's time");
    insta::assert_snapshot!("at_the_beginning_of_a_later_file", shown(&replay));
    act(&mut replay, Play::Step(Target::Event, Direction::Forward));
    act(&mut replay, Play::Step(Target::Event, Direction::Back));
    assert!(shown(&replay).contains("p2pdio[726]"), "gone when it was gone back");
    act(&mut replay, Play::Seek(u64::MAX));
    let blocked = shown(&replay);
    assert!(blocked.contains("BLOCKED") && blocked.contains("taken by p2pdio[726]"), "{blocked}");
}

#[test]
fn the_files_of_a_run_are_shown_as_one() {
    let [first, second] = rotated();
    let mut whole = replay(&samples::blocked());
    let mut parts = of_runs(vec![vec![second, first]]);
    for time_ns in [0, 2 * SECOND + 1, 4 * SECOND, u64::MAX] {
        act(&mut whole, Play::Seek(time_ns));
        act(&mut parts, Play::Seek(time_ns));
        assert_eq!(shown(&parts), shown(&whole), "at {time_ns}");
    }
}

#[test]
fn runs_are_shown_one_after_the_other() {
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
fn what_is_missing_of_a_dump_shows_in_the_answer() {
    let whole = dump(&samples::blocked());
    let at_end = |bytes: &[u8]| {
        let mut replay = of_runs(vec![vec![bytes.to_vec()]]);
        act(&mut replay, Play::Seek(u64::MAX));
        shown(&replay)
    };
    assert!(!at_end(&whole).contains("INCONCLUSIVE"));
    let broken_off = at_end(&whole[..whole.len() - 40]);
    let second_line = broken_off.lines().nth(1).unwrap();
    assert!(second_line.contains("INCONCLUSIVE") && second_line.contains("breaks off"), "{broken_off}");
    // The records of the middle cannot be read: that is known from the beginning on.
    let mut damaged = whole;
    let middle = damaged.len() * 3 / 4;
    damaged[middle] ^= 0xff;
    let mut replay = of_runs(vec![vec![damaged]]);
    assert!(shown(&replay).contains("dump not whole"));
    act(&mut replay, Play::Seek(u64::MAX));
    assert!(shown(&replay).contains("INCONCLUSIVE"));
    let mut app = App::new(replay.shared.view_model(), Theme::new(Palette::Rich, false));
    press(&mut app, &[Press::Char('7')]);
    insta::assert_snapshot!("a_damaged_dump", screen(&app, (120, 24)));
}

#[test]
fn a_part_written_at_a_moment_is_a_dump_that_shows_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let mut story = samples::blocked();
    // Long enough that the part does not reach back to the start.
    story.idle(400 * SECOND);
    let mut whole = replay(&story);
    for time_ns in [4 * SECOND, 390 * SECOND] {
        act(&mut whole, Play::Seek(time_ns));
        // The part ends with its last record.
        let last_ns = whole.seek_buffer.reached_ns;
        act(&mut whole, Play::Seek(last_ns));
        whole.save(folder.path(), &Stop::default());
        let told = whole.shared.said().unwrap();
        let path = told.strip_prefix("written to ").unwrap();
        let mut part = of_runs(vec![vec![std::fs::read(path).unwrap()]]);
        act(&mut part, Play::Seek(u64::MAX));
        let (whole, part) = (facts(&whole), facts(&part));
        assert_eq!(whole, part);
        let blocks = |line: &String| line.contains("WAITING") && line.contains("p2pdio[726]");
        assert!(part.iter().any(blocks), "{part:?}");
    }
    let missing = folder.path().join("gone");
    whole.save(&missing, &Stop::default());
    let told = whole.shared.said().unwrap();
    assert!(told.starts_with("cannot create ") && told.contains("gone"), "{told}");
}

/// What the screen says of devices, what is out of them, and the teardown.
fn facts(replay: &Replay<Cursor<Vec<u8>>>) -> Vec<String> {
    let shown = shown(replay);
    let parts = shown.split("── Events").next().unwrap().lines();
    parts.skip(4).map(str::to_owned).collect()
}

/// A dump that was recorded in a guest: see `tests/golden`.
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
fn a_real_run_in_which_nothing_happens_is_shown() {
    every_view_at("real_empty", &mut recorded("empty.p2pt"), Play::Seek(u64::MAX));
}

#[test]
fn a_real_run_in_which_much_happens_is_shown() {
    every_view_at("real_busy", &mut recorded("busy.p2pt"), Play::Seek(u64::MAX));
}

#[test]
fn a_real_unbind_that_waits_is_shown_while_it_does_and_afterwards() {
    let mut replay = recorded("blocked.p2pt");
    let found = Play::Step(Target::Finding, Direction::Forward);
    every_view_at("real_blocked", &mut replay, found);
    every_view_at("real_released", &mut replay, Play::Seek(u64::MAX));
}
