//! The input line: a filter, or a time to go to.

use super::{
    keymap::{Play, Press},
    state::{App, Effect, Prompt},
    time,
};

impl App {
    /// Applies a key press to the input line.
    pub(crate) fn type_in(&mut self, press: Press) -> Option<Effect> {
        let mut prompt = self.prompt.take()?;
        let (Prompt::Filter(text) | Prompt::Time(text)) = &mut prompt;
        match press {
            Press::Enter => {
                return match prompt {
                    Prompt::Filter(text) => Some(self.filter(&text)),
                    Prompt::Time(text) => self.seek(&text),
                };
            }
            Press::Esc | Press::Ctrl('c') => return None,
            Press::Backspace => _ = text.pop(),
            Press::Ctrl('u') => text.clear(),
            Press::Char(typed) if text.len() < 200 => text.push(typed),
            _ => {}
        }
        // A filter takes effect while it is typed.
        let effect = if let Prompt::Filter(text) = &prompt {
            let text = text.clone();
            Some(self.filter(&text))
        } else {
            None
        };
        self.prompt = Some(prompt);
        effect
    }

    fn seek(&mut self, text: &str) -> Option<Effect> {
        let playback = self.view_model.playback.as_ref()?;
        let parsed = time::parse(text, &self.view_model.clock, playback.start_ns);
        if parsed.is_none() {
            self.message =
                Some(format!("invalid time `{text}`: write 20:57:16.5, or +3.2 for seconds from the start"));
        }
        parsed.map(|time_ns| Effect::Play(Play::Seek(time_ns)))
    }
}
