//! The thread that draws and reads keys.

use std::{
    io,
    panic::resume_unwind,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{
    files,
    keymap::{self, Press},
    shared::Shared,
    state::{App, Effect},
    terminal::{self, Screen, give_back},
    theme::Theme,
    views,
};
use crate::run::stop::Stop;

/// How long the drawing may take to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// Between two frames at least; a key is answered at once.
const FRAME: Duration = Duration::from_millis(100);

/// Shows the dashboard while `work` is done, which publishes what there is to show. When the user has enough, or `work`
/// ends, the terminal is given back; then what `work` returns, and only then what went wrong with the screen.
pub(crate) fn beside<T>(
    shared: &Arc<Shared>,
    stop: &Stop,
    theme: Theme,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let signals = Signals::catch(stop).context("cannot catch signals")?;
    // Before anything happens, so that a terminal that cannot be used ends it at once.
    let screen = Screen::new().context("cannot use the terminal")?;
    let drawing = {
        let (shared, stop) = (Arc::clone(shared), stop.clone());
        thread::Builder::new().name("drawing".to_owned()).spawn(move || {
            let drawn = draw(screen, &shared, &stop, &signals, theme);
            // Without a screen there is no point in going on.
            stop.set();
            drawn
        })?
    };
    let worked = {
        let _finish = Finish(shared);
        work()
    };
    let begun = Instant::now();
    while !drawing.is_finished() && begun.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(5));
    }
    let worked = worked?;
    if !drawing.is_finished() {
        // Whatever holds it up, such as a terminal that takes nothing: the program ends nevertheless.
        return Err(anyhow!("the terminal does not answer"));
    }
    let drawn = drawing.join().unwrap_or_else(|panic| {
        give_back();
        resume_unwind(panic)
    });
    drawn.context("the terminal cannot be used any more")?;
    Ok(worked)
}

/// Ends the drawing when it is dropped: also when what is shown panics.
struct Finish<'a>(&'a Shared);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.finish();
    }
}

/// Signals that are about the terminal.
struct Signals {
    /// To be stopped until it is continued.
    suspend: Arc<AtomicBool>,
    /// Continued.
    resume: Arc<AtomicBool>,
}

impl Signals {
    #[cfg(unix)]
    fn catch(stop: &Stop) -> io::Result<Self> {
        use signal_hook::{
            consts::{SIGCONT, SIGHUP, SIGQUIT, SIGTSTP},
            flag,
        };
        let signals = Self { suspend: Arc::default(), resume: Arc::default() };
        flag::register(SIGTSTP, Arc::clone(&signals.suspend))?;
        flag::register(SIGCONT, Arc::clone(&signals.resume))?;
        for signal in [SIGHUP, SIGQUIT] {
            stop.on(signal)?;
        }
        Ok(signals)
    }

    #[cfg(not(unix))]
    fn catch(_stop: &Stop) -> io::Result<Self> {
        Ok(Self { suspend: Arc::default(), resume: Arc::default() })
    }
}

fn draw(mut screen: Screen, shared: &Shared, stop: &Stop, signals: &Signals, theme: Theme) -> io::Result<()> {
    let mut app = App::new(shared.view_model(), theme);
    let mut seen = None;
    let mut is_stale = true;
    let mut drawn: Option<Instant> = None;
    while !stop.is_set() && !shared.is_over() {
        if signals.suspend.swap(false, Ordering::SeqCst) {
            suspend(&mut screen, signals)?;
            is_stale = true;
        }
        if signals.resume.swap(false, Ordering::SeqCst) {
            screen.again()?;
            is_stale = true;
        }
        if let Some(message) = shared.said() {
            app.message = Some(message);
            is_stale = true;
        }
        let published = shared.published();
        if seen != Some(published) {
            app.update(shared.view_model());
            seen = Some(published);
            is_stale = true;
        }
        if is_stale {
            let size = screen.terminal().size()?;
            app.page = views::page(&app, size.width, size.height);
            screen.draw(|frame| views::draw(&app, frame))?;
            (is_stale, drawn) = (false, Some(Instant::now()));
        }
        let left = drawn.map_or(FRAME, |drawn| FRAME.saturating_sub(drawn.elapsed()));
        let is_key_there = terminal::wait_for_key(left.max(Duration::from_millis(1)))?;
        if !event::poll(Duration::ZERO)? {
            if is_key_there {
                terminal::announce_keys();
            }
            continue;
        }
        // All that has been typed, before it is drawn.
        loop {
            match event::read()? {
                Event::Key(key) => {
                    if let Some(effect) = press(&mut app, key) {
                        match effect {
                            Effect::Quit => stop.set(),
                            Effect::Suspend => signals.suspend.store(true, Ordering::SeqCst),
                            Effect::Redraw => screen.terminal().clear()?,
                            Effect::Query => shared.ask(&app.query),
                            Effect::Export => {
                                let (name, text) = views::export(&app);
                                app.message = Some(export(name, &app, &text));
                            }
                            Effect::Dump => shared.dump().store(true, Ordering::Release),
                            Effect::Play(play) => shared.play(play),
                        }
                    }
                }
                Event::Resize(..)
                | Event::FocusGained
                | Event::FocusLost
                | Event::Mouse(_)
                | Event::Paste(_) => {}
            }
            is_stale = true;
            if stop.is_set() || !event::poll(Duration::ZERO)? {
                break;
            }
        }
    }
    Ok(())
}

fn press(app: &mut App, key: KeyEvent) -> Option<Effect> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let press = press_of(key)?;
    if app.prompt.is_some() {
        return app.type_in(press);
    }
    let action = keymap::action(press, app)?;
    app.act(action)
}

const fn press_of(key: KeyEvent) -> Option<Press> {
    Some(match key.code {
        KeyCode::Char(typed) if key.modifiers.contains(KeyModifiers::CONTROL) => {
            Press::Ctrl(typed.to_ascii_lowercase())
        }
        KeyCode::Char(typed) => Press::Char(typed),
        KeyCode::Up => Press::Up,
        KeyCode::Down => Press::Down,
        KeyCode::Left => Press::Left,
        KeyCode::Right => Press::Right,
        KeyCode::PageUp => Press::PageUp,
        KeyCode::PageDown => Press::PageDown,
        KeyCode::Home => Press::Home,
        KeyCode::End => Press::End,
        KeyCode::Tab => Press::Tab,
        KeyCode::BackTab => Press::BackTab,
        KeyCode::Enter => Press::Enter,
        KeyCode::Esc => Press::Esc,
        KeyCode::Backspace => Press::Backspace,
        _ => return None,
    })
}

/// Stops the program, with the terminal as it was, until it is continued.
fn suspend(screen: &mut Screen, signals: &Signals) -> io::Result<()> {
    give_back();
    #[cfg(unix)]
    signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGTSTP)?;
    signals.resume.store(false, Ordering::SeqCst);
    screen.again()
}

/// Writes to a new file in the current folder, and says what came of it.
fn export(name: &str, app: &App, text: &str) -> String {
    use io::Write as _;
    let extension = if text.starts_with('{') { "ndjson" } else { "txt" };
    let (clock, now_ns) = (&app.view_model.clock, app.view_model.now_ns);
    let name = files::name(name, clock, now_ns, extension);
    files::told(files::save(Path::new(""), &name, |mut file| Ok(file.write_all(text.as_bytes())?)))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use crate::tui::{
        samples,
        shell::{Shell, is_allocated},
        theme::Palette,
        view_model::Query,
    };

    fn show(work: impl FnOnce()) {
        let story = samples::blocked();
        let view_model = story.view_model(&Query::default(), story.now_ns);
        let shared = Arc::new(Shared::new(view_model));
        let theme = Theme::new(Palette::Rich, false);
        beside(&shared, &Stop::default(), theme, || {
            work();
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn a_panic_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut shell = Shell::new([40, 130], folder.path());
        let own = std::env::current_exe().unwrap();
        let panics = "--ignored --exact --nocapture tui::run::tests::what_is_shown_panics";
        shell.run(&format!("RUST_BACKTRACE=0 '{}' {panics}", own.display()));
        shell.wait_for("the dashboard", |screen| {
            is_allocated(screen) && screen.contents().contains("BLOCKED")
        });
        let said = shell.ended(101);
        assert!(said.contains("what is shown has panicked"), "{said}");
    }

    #[test]
    #[ignore = "panics on purpose, on the terminal of the test above"]
    fn what_is_shown_panics() {
        // A key that exports what is shown must not leave a file among the sources.
        let folder = tempfile::tempdir().unwrap();
        std::env::set_current_dir(folder.path()).unwrap();
        show(|| {
            // There is something to give back.
            thread::sleep(Duration::from_secs(2));
            panic!("what is shown has panicked");
        });
    }
}
