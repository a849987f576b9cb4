//! Draws every view of the end of a run, for fuzzing.

use super::{
    Replay, Theme,
    keymap::{self, Press},
    replay::Open,
    state::{App, View},
    theme::Palette,
    views,
};
use crate::run::{dumps::Input, stop::Stop};

/// The text of every view, each with and without the details of its first item.
pub(crate) fn screens(open: Open<Input>) -> String {
    let Ok(mut replay) = Replay::new(open, &Stop::default()) else { return String::new() };
    let Ok(end) = replay.at_the_end() else { return String::new() };
    let mut app = App::new(end, Theme::new(Palette::Rich, false));
    let mut text = String::new();
    for view in View::ALL {
        app.view = view;
        text.push_str(&views::as_text(&app));
        if let Some(action) = keymap::action(Press::Enter, &app) {
            app.act(action);
            text.push_str(&views::as_text(&app));
            app.detail = None;
        }
    }
    text
}
