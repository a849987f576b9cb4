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
    terminal::{self, Screen, restore},
    theme::Theme,
    views,
};
use crate::run::stop::Stop;

/// How long the drawing thread may take to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// The minimum time between two frames. A key press is handled at once.
const FRAME: Duration = Duration::from_millis(100);

/// Shows the dashboard while `work` runs and publishes view models. Restores the terminal when the user quits or `work`
/// ends. An error of `work` takes precedence over an error of the screen.
pub(crate) fn run_with_dashboard<T>(
    shared: &Arc<Shared>,
    stop: &Stop,
    theme: Theme,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let signals = Signals::catch(stop).context("cannot catch signals")?;
    // This comes first, so that an unusable terminal fails before any work starts.
    let screen = Screen::new().context("cannot use the terminal")?;
    let drawing = {
        let (shared, stop) = (Arc::clone(shared), stop.clone());
        thread::Builder::new().name("drawing".to_owned()).spawn(move || {
            let drawn = draw(screen, &shared, &stop, &signals, theme);
            // Without a screen there is no point in continuing.
            stop.set();
            drawn
        })?
    };
    let result = {
        let _finish = Finish(shared);
        work()
    };
    let started = Instant::now();
    while !drawing.is_finished() && started.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(5));
    }
    let result = result?;
    if !drawing.is_finished() {
        // The thread can be stuck on a terminal that accepts no output. The program must end nevertheless.
        return Err(anyhow!("the terminal does not respond"));
    }
    let drawn = drawing.join().unwrap_or_else(|panic| {
        restore();
        resume_unwind(panic)
    });
    drawn.context("the terminal is no longer usable")?;
    Ok(result)
}

/// Ends the drawing thread when dropped, also if the work panics.
struct Finish<'a>(&'a Shared);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.finish();
    }
}

/// Signals that concern the terminal.
struct Signals {
    /// SIGTSTP: the program is to be suspended.
    suspend: Arc<AtomicBool>,
    /// SIGCONT: the program has been continued.
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
    while !stop.is_set() && !shared.is_finished() {
        if signals.suspend.swap(false, Ordering::SeqCst) {
            suspend(&mut screen, signals)?;
            is_stale = true;
        }
        if signals.resume.swap(false, Ordering::SeqCst) {
            screen.reenter()?;
            is_stale = true;
        }
        if let Some(message) = shared.take_message() {
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
        // Process all pending input before the next frame.
        loop {
            match event::read()? {
                Event::Key(key) => {
                    if let Some(effect) = press(&mut app, key) {
                        match effect {
                            Effect::Quit => stop.set(),
                            Effect::Suspend => signals.suspend.store(true, Ordering::SeqCst),
                            Effect::Redraw => screen.terminal().clear()?,
                            Effect::Query => shared.set_query(&app.query),
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

/// Suspends the program until it is continued; the terminal is restored meanwhile.
fn suspend(screen: &mut Screen, signals: &Signals) -> io::Result<()> {
    restore();
    #[cfg(unix)]
    signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGTSTP)?;
    signals.resume.store(false, Ordering::SeqCst);
    screen.reenter()
}

/// Writes to a new file in the current folder. Returns a message for the user.
fn export(name: &str, app: &App, text: &str) -> String {
    use io::Write as _;
    let extension = if text.starts_with('{') { "ndjson" } else { "txt" };
    let (clock, now_ns) = (&app.view_model.clock, app.view_model.now_ns);
    let name = files::name(name, clock, now_ns, extension);
    files::outcome(files::save(Path::new(""), &name, |mut file| Ok(file.write_all(text.as_bytes())?)))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use crate::tui::{
        samples,
        shell::{Shell, is_fullscreen},
        theme::Palette,
        view_model::Query,
    };

    fn show(work: impl FnOnce()) {
        let story = samples::blocked();
        let view_model = story.view_model(&Query::default(), story.now_ns);
        let shared = Arc::new(Shared::new(view_model));
        let theme = Theme::new(Palette::Rich, false);
        run_with_dashboard(&shared, &Stop::default(), theme, || {
            work();
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn restores_the_terminal_before_a_panic_message() {
        let folder = tempfile::tempdir().unwrap();
        let mut shell = Shell::new([40, 130], folder.path());
        let own = std::env::current_exe().unwrap();
        let panics = "--ignored --exact --nocapture tui::run::tests::panics_while_shown";
        shell.run(&format!("RUST_BACKTRACE=0 '{}' {panics}", own.display()));
        shell.wait_for("the dashboard", |screen| {
            is_fullscreen(screen) && screen.contents().contains("BLOCKED")
        });
        let output = shell.wait_for_exit(101);
        assert!(output.contains("panicked on purpose"), "{output}");
    }

    #[test]
    #[ignore = "panics on purpose; run by the test above on a terminal"]
    fn panics_while_shown() {
        // An export key must not leave a file among the sources.
        let folder = tempfile::tempdir().unwrap();
        std::env::set_current_dir(folder.path()).unwrap();
        show(|| {
            // Leaves time for the first frame, so that there is a terminal to restore.
            thread::sleep(Duration::from_secs(2));
            panic!("panicked on purpose");
        });
    }
}
