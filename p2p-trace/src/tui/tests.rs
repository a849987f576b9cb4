//! Tests of the drawn screen.

use std::fmt::Write as _;

use ratatui::{Terminal, backend::TestBackend};

use super::{
    keymap::{self, Press},
    lists,
    samples::{self, Story},
    state::{App, Effect, View},
    theme::{Palette, Theme},
    views,
};
use crate::run::{dumps, stop::Stop};

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

/// The text on the screen.
pub(super) fn screen(app: &App, (width, height): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| views::draw(app, frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let cells = |y| (0..width).map(move |x| buffer[(x, y)].symbol()).collect::<String>();
    let line = |y| cells(y).trim_end().to_owned();
    let lines: Vec<_> = (0..height).map(line).collect();
    lines.join("\n")
}

pub(super) fn press(app: &mut App, presses: &[Press]) -> Vec<Effect> {
    let press_one = |&press: &Press| {
        if app.prompt.is_some() {
            app.type_in(press)
        } else {
            let action = keymap::action(press, app)?;
            app.act(action)
        }
    };
    presses.iter().filter_map(press_one).collect()
}

/// The text of every view at the end of each run, with and without the details of the item under the cursor.
pub(crate) fn every_screen(runs: Vec<dumps::Run>) -> String {
    let mut text = String::new();
    for run in runs {
        let mut reader = Some(run.reader);
        let files = run.files;
        let open = move |_| match reader.take() {
            Some(reader) => Ok((reader, 1)),
            None => Ok((dumps::open(&files).0.swap_remove(0).reader, 1)),
        };
        let mut replay = super::Replay::new(Box::new(open), &Stop::default()).unwrap();
        let mut app = App::new(replay.at_the_end().unwrap(), Theme::new(Palette::Rich, false));
        for view in View::ALL {
            app.view = view;
            for presses in [&[][..], &[Enter], &[Esc]] {
                press(&mut app, presses);
                text.push_str(&screen(&app, (200, 60)));
                text.push('\n');
            }
        }
    }
    text
}

/// Every view of a state at every size.
pub(super) fn every_view(name: &str, mut app: App) {
    for size in SIZES {
        let mut text = String::new();
        for view in View::ALL {
            app.view = view;
            writeln!(text, "{}\n{}", screen(&app, size), "=".repeat(usize::from(size.0))).unwrap();
        }
        insta::assert_snapshot!(format!("{name}_{}x{}", size.0, size.1), text);
    }
}

/// Creates a story. Stories are large: all of them at once would overflow the stack.
type Make = fn() -> Story;

#[test]
fn shows_each_story_in_every_view() {
    let stories: [(&str, Make); 5] = [
        ("empty", samples::empty),
        ("busy", samples::busy),
        ("blocked", samples::blocked),
        ("stalled", samples::stalled),
        ("wrong", samples::wrong),
    ];
    for (name, story) in stories {
        every_view(name, story().app());
    }
}

#[test]
fn mono_ascii_theme_draws_only_ascii() {
    for story in [samples::empty(), samples::busy(), samples::stalled(), samples::wrong()] {
        for size in SIZES {
            let mut app = story.app();
            app.theme = Theme::new(Palette::Mono, true);
            for view in View::ALL {
                app.view = view;
                let text = screen(&app, size);
                assert!(text.is_ascii(), "{text}");
            }
        }
    }
    let mut app = samples::stalled().app();
    app.theme = Theme::new(Palette::Mono, true);
    insta::assert_snapshot!("stalled_ascii_80x24", screen(&app, (80, 24)));
}

use Press::{Char, Down, End, Enter, Esc, Tab, Up};

#[test]
fn keys_are_unambiguous_in_every_view() {
    for (story, view) in [samples::empty(), samples::busy(), samples::stalled()]
        .iter()
        .flat_map(|story| View::ALL.map(|view| (story, view)))
    {
        let mut app = story.app();
        app.view = view;
        let working: Vec<_> = keymap::BINDINGS
            .iter()
            .filter(|binding| binding.works(&app))
            .flat_map(|binding| binding.keys)
            .collect();
        for key in &working {
            let uses = working.iter().filter(|other| other == &key).count();
            assert_eq!(uses, 1, "{key:?} in {view:?}");
        }
    }
}

#[test]
fn help_lists_keys_of_the_view() {
    let mut app = samples::busy().app();
    press(&mut app, &[Char('2'), Char('?')]);
    insta::assert_snapshot!("help", screen(&app, (100, 34)));
    press(&mut app, &[Esc]);
    assert!(!app.help);
    assert_eq!(app.view, View::Allocated);
}

#[test]
fn views_have_number_keys_and_tab_cycles() {
    let mut app = samples::busy().app();
    for (at, view) in View::ALL.into_iter().enumerate() {
        let number = char::from_digit(at as u32 + 1, 10).unwrap();
        press(&mut app, &[Char(number)]);
        assert_eq!(app.view, view);
    }
    press(&mut app, &[Tab]);
    assert_eq!(app.view, View::Overview);
}

#[test]
fn filter_applies_while_it_is_typed() {
    let mut app = samples::busy().app();
    press(&mut app, &[Char('2')]);
    assert_eq!(app.count(), 4);
    let typed: Vec<_> = std::iter::once('/').chain("kind:mm".chars()).map(Char).collect();
    let effects = press(&mut app, &typed);
    assert!(effects.iter().all(|effect| *effect == Effect::Query));
    assert_eq!(app.count(), 1);
    press(&mut app, &[Enter, Char('5')]);
    let events = screen(&app, (120, 12));
    assert!(events.contains("mmap") && !events.contains("alloc"), "{events}");
    press(&mut app, &[Esc, Char('2')]);
    assert_eq!(app.count(), 4);
}

/// The driver of the device allocates pages itself, so that the count of the pool means nothing.
#[test]
fn marks_memory_allocated_by_the_driver_itself() {
    let words = "allocated by the driver itself";
    for size in SIZES {
        let shown = screen(&samples::bypassed().app(), size);
        assert!(shown.contains(words), "{shown}");
        assert!(!screen(&samples::blocked().app(), size).contains(words));
    }
}

#[test]
fn cursor_follows_its_item() {
    let story = samples::busy();
    let mut app = story.app();
    press(&mut app, &[Char('2'), Down, Down, Down]);
    assert!(screen(&app, (120, 20)).contains("▌ p2pdio[726]"));
    // In alphabetical order the item is still the last one; in reverse order it is the first.
    press(&mut app, &[Char('s')]);
    app.update(std::sync::Arc::new(story.view_model(&app.query, story.now_ns)));
    assert!(screen(&app, (120, 20)).contains("▌ p2pdio[726]"));
    press(&mut app, &[Char('S')]);
    app.update(std::sync::Arc::new(story.view_model(&app.query, story.now_ns)));
    assert!(screen(&app, (120, 20)).contains("▌ p2pdio[726]"));
    press(&mut app, &[Up, Up, Up, Up, Up]);
    assert_eq!(app.cursor(), 0);
}

#[test]
fn paused_screen_stays_and_shows_its_age() {
    let mut story = samples::blocked();
    let mut app = story.app();
    press(&mut app, &[Char(' ')]);
    let before = screen(&app, (120, 40));
    story.idle(9 * samples::SECOND);
    app.update(std::sync::Arc::new(story.view_model(&app.query, story.now_ns)));
    let held = screen(&app, (120, 40));
    assert!(held.contains("18:00:05 PAUSED 3.8 s"), "{held}");
    let below = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(below(&before), below(&held));
    press(&mut app, &[Char(' ')]);
    assert!(screen(&app, (120, 40)).contains("waits 5.8 s"));
}

#[test]
fn enter_on_a_finding_shows_its_records() {
    let mut app = samples::wrong().app();
    press(&mut app, &[Char('4'), Enter]);
    assert_eq!(app.view, View::Events);
    insta::assert_snapshot!("records_of_a_finding", screen(&app, (120, 14)));
    press(&mut app, &[Esc]);
    assert_eq!(app.view, View::Findings);
    assert_eq!(app.evidence, None);
}

#[test]
fn enter_shows_details() {
    let mut app = samples::busy().app();
    press(&mut app, &[Char('2'), Enter]);
    insta::assert_snapshot!("details_of_a_holder", screen(&app, (100, 24)));
    press(&mut app, &[Esc, Char('5'), Up, Enter]);
    insta::assert_snapshot!("details_of_an_event", screen(&app, (100, 40)));
    press(&mut app, &[Esc, End, Char('7'), Enter]);
    insta::assert_snapshot!("details_of_a_rule", screen(&app, (100, 20)));
}

#[test]
fn exports_every_view() {
    let mut app = samples::stalled().app();
    for (view, name, has) in [
        ('1', "screen", "BLOCKED"),
        ('2', "allocated", "p2pdio[726]\talive\tmmap\t65536\t16\t2026-11-22T18:00:02"),
        ('3', "screen", "WAITING"),
        ('4', "findings", "\"rule\":\"stalled-drain\""),
        ('5', "events", "\"kind\":\"kill\""),
        ('7', "rules", "VIOLATED"),
    ] {
        let effects = press(&mut app, &[Char(view), Char('e')]);
        assert_eq!(effects, [Effect::Export]);
        let (found, text) = views::export(&app);
        assert_eq!(found, name);
        assert!(text.contains(has), "{text}");
    }
}

#[test]
fn draws_on_terminals_of_any_size() {
    let mut app = samples::stalled().app();
    for view in View::ALL {
        app.view = view;
        for size in [(1, 1), (40, 10), (41, 11), (60, 12), (300, 11), (45, 100)] {
            screen(&app, size);
        }
    }
    app.help = true;
    screen(&app, (40, 10));
}

#[test]
fn shows_a_million_references_in_a_few_lines() {
    let story = samples::million();
    let mut app = story.app();
    press(&mut app, &[Char('2')]);
    for _ in 0..3 {
        press(&mut app, &[Char('g')]);
        app.update(std::sync::Arc::new(story.view_model(&app.query, story.now_ns)));
        insta::assert_snapshot!(
            format!("a million {}", app.query.grouping.name()).replace(' ', "_"),
            screen(&app, (120, 14))
        );
    }
    every_view("million", story.app());
}

/// The first word of each line in the list of the view.
fn first_words(app: &App) -> Vec<String> {
    let text = screen(app, (200, 60));
    let lines = text.lines().skip(6);
    let list = lines.take_while(|line| !line.starts_with('─') && !line.trim().is_empty());
    list.map(|line| line.trim_start_matches('▌').split_whitespace().next().unwrap().to_owned()).collect()
}

#[test]
fn orders_each_table_by_each_column_in_both_directions() {
    let stories: [(View, Make); 5] = [
        (View::Overview, samples::busy),
        (View::Allocated, samples::busy),
        (View::Teardowns, samples::busy),
        (View::Findings, samples::stalled),
        (View::Rules, samples::stalled),
    ];
    for (view, story) in stories {
        let story = story();
        let mut app = story.app();
        app.view = view;
        for _ in 0..lists::columns(view) {
            press(&mut app, &[Char('s')]);
            app.update(std::sync::Arc::new(story.view_model(&app.query, story.now_ns)));
            let heading = screen(&app, (200, 60)).lines().nth(5).unwrap().to_owned();
            assert_eq!(heading.matches('▼').count(), 1, "{view:?}: {heading}");
            let sorted = keys(&app);
            press(&mut app, &[Char('S')]);
            app.update(std::sync::Arc::new(story.view_model(&app.query, story.now_ns)));
            let heading = screen(&app, (200, 60)).lines().nth(5).unwrap().to_owned();
            assert_eq!(heading.matches('▲').count(), 1, "{view:?}: {heading}");
            let mut reversed = keys(&app);
            assert_eq!(reversed.len(), sorted.len());
            reversed.sort_unstable();
            let mut same = sorted;
            same.sort_unstable();
            assert_eq!(reversed, same, "{view:?}: lines are missing");
        }
    }
}

fn keys(app: &App) -> Vec<Option<u64>> {
    (0..app.count()).map(|at| lists::key(app, app.view, at)).collect()
}

#[test]
fn orders_devices_and_findings_by_the_marked_column() {
    let mut app = samples::busy().app();
    assert_eq!(first_words(&app), ["0000:03:00.0", "0000:04:00.0"]);
    // By allocated memory: the second device has more.
    press(&mut app, &[Char('s'); 6]);
    assert_eq!(first_words(&app), ["0000:04:00.0", "0000:03:00.0"]);
    press(&mut app, &[Char('S')]);
    assert_eq!(first_words(&app), ["0000:03:00.0", "0000:04:00.0"]);
    let mut app = samples::stalled().app();
    press(&mut app, &[Char('4')]);
    assert_eq!(first_words(&app), ["2", "1"]);
    press(&mut app, &[Char('s')]);
    assert_eq!(first_words(&app), ["1", "2"]);
}

fn filtered(story: &Story, filter: &str) -> App {
    let mut app = story.app();
    let typed: Vec<_> = std::iter::once('/').chain(filter.chars()).map(Char).collect();
    press(&mut app, &typed);
    press(&mut app, &[Enter]);
    app
}

#[test]
fn filter_applies_to_every_view() {
    let story = samples::busy();
    for (filter, counts) in [
        // Devices, holders, teardowns, findings, events, rates (no list), rules.
        ("nvme1", [1, 2, 0, 0, 86, 0, 16]),
        ("process:p2pdio", [1, 1, 1, 0, 5, 0, 0]),
        ("kind:scatter", [1, 1, 0, 0, 1, 0, 0]),
        ("caller:nvmet", [1, 1, 0, 0, 41, 0, 0]),
        ("nothing-has-this", [0, 0, 0, 0, 1, 0, 0]),
    ] {
        let mut app = filtered(&story, filter);
        for is_answered in [false, true] {
            if is_answered {
                app.update(std::sync::Arc::new(story.view_model(&app.query, story.now_ns)));
            }
            let found = View::ALL.map(|view| lists::count(&app, view));
            assert_eq!(found, counts, "{filter}, answered: {is_answered}");
        }
        for view in View::ALL {
            app.view = view;
            let text = screen(&app, (120, 40));
            let last = text.lines().last().unwrap();
            assert!(last.contains(&format!("filter: {filter}")), "{view:?}: {last}");
        }
    }
    let app = filtered(&story, "nvme1");
    assert!(!screen(&app, (120, 40)).contains("0000:03:00.0"));
}

#[test]
fn filters_findings_by_holder() {
    let story = samples::stalled();
    for (filter, count) in [
        ("process:p2pdio", 1),
        ("kind:stalled-drain", 1),
        ("device:nvme0", 2),
        ("process:sh", 1),
        ("process:nobody", 0),
    ] {
        let app = filtered(&story, filter);
        assert_eq!(lists::count(&app, View::Findings), count, "{filter}");
    }
}
