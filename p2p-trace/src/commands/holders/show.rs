//! Formats a report for stdout.

use std::{
    env,
    io::{self, IsTerminal as _},
};

use anyhow::{Context as _, Result};

use crate::{
    cli::HoldersArgs,
    device_report::{Answer, Report},
    render::{holders::text, text::Style},
};

/// The size if the terminal's size is not known.
const WIDTH: usize = 100;
const ROWS: usize = 40;

/// Moves to the top left corner.
const HOME: &str = "\x1b[H";
/// Clears the rest of a line.
const CLEAR_LINE: &str = "\x1b[K";
/// Clears everything below.
const CLEAR_BELOW: &str = "\x1b[J";

/// The format of reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// For people.
    Text { style: Style, width: usize, screen: Screen },
    /// One line per device: the answer of `--can-unbind`.
    Verdict { style: Style },
    /// One object; on one line where others may follow.
    Json { lines: bool },
}

/// How a report is placed on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Screen {
    /// Only one report is shown.
    Once,
    /// Replace the previous report, with at most `rows` lines.
    Redraw { rows: usize },
    /// Append to the previous report.
    Append,
}

impl Format {
    pub(super) fn new(args: &HoldersArgs, style: Style) -> Self {
        let screen = match (args.watch, io::stdout().is_terminal()) {
            (false, _) => Screen::Once,
            (true, true) => Screen::Redraw { rows: size().map_or(ROWS, |(_, rows)| rows) },
            (true, false) => Screen::Append,
        };
        match (args.json, args.can_unbind) {
            (true, _) => Self::Json { lines: args.watch },
            (false, true) => Self::Verdict { style },
            (false, false) => Self::Text { style, width: width(), screen },
        }
    }

    pub(super) fn show(&self, report: &Report) -> Result<String> {
        const FAILED: &str = "cannot write the report as JSON";
        Ok(match *self {
            Self::Text { style, width, screen } => screen.place(&text(report, width, style)),
            Self::Verdict { style } => verdicts(report, style),
            Self::Json { lines: true } => format!("{}\n", serde_json::to_string(report).context(FAILED)?),
            Self::Json { lines: false } => {
                format!("{}\n", serde_json::to_string_pretty(report).context(FAILED)?)
            }
        })
    }
}

impl Screen {
    fn place(self, text: &str) -> String {
        match self {
            Self::Once => text.to_owned(),
            Self::Append => format!("{text}\n"),
            // Rewrites line by line to avoid flicker. More lines than the terminal has would scroll.
            Self::Redraw { rows } => {
                let count = text.lines().count();
                let shown = if count < rows { count } else { rows.saturating_sub(2) };
                let mut screen = HOME.to_owned();
                for line in text.lines().take(shown) {
                    screen.extend([line, CLEAR_LINE, "\n"]);
                }
                if shown < count {
                    screen.extend([&format!("... {} more lines", count - shown), CLEAR_LINE, "\n"]);
                }
                screen.push_str(CLEAR_BELOW);
                screen
            }
        }
    }
}

fn verdicts(report: &Report, style: Style) -> String {
    if report.devices.is_empty() {
        return "no device has p2p memory\n".to_owned();
    }
    let line = |device: &crate::device_report::DeviceReport| {
        let answer = match device.can_unbind.answer {
            Answer::Yes => "yes".to_owned(),
            Answer::Unknown => style.warning("unknown"),
            Answer::No => style.alarm("no"),
        };
        format!("{} {answer}: {}\n", device.device.0, device.can_unbind.reason)
    };
    report.devices.iter().map(line).collect()
}

/// Columns of the terminal.
fn width() -> usize {
    let variable = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let columns = || size().map(|(columns, _)| columns);
    variable.or_else(columns).filter(|&columns| columns > 0).unwrap_or(WIDTH)
}

/// Columns and rows of the terminal.
#[cfg(feature = "trace")]
fn size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    let known = size.ws_col > 0 && size.ws_row > 0;
    known.then(|| (usize::from(size.ws_col), usize::from(size.ws_row)))
}

#[cfg(not(feature = "trace"))]
const fn size() -> Option<(usize, usize)> {
    None
}
