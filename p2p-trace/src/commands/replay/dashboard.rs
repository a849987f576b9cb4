//! A dump on the dashboard.

use std::{io, path::Path};

use anyhow::{Context as _, Result, anyhow};

use crate::{
    cli::{Global, ReplayArgs},
    commands::{colors_stdout, dumps},
    drive::stop::Stop,
    exit::{Exit, Refusal},
    tui::{self, Replay, Theme},
};

/// On a terminal, unless another form was asked for. A pipe cannot be gone back in.
pub(super) fn is_wanted(args: &ReplayArgs) -> bool {
    let as_lines = args.text || args.json || args.findings || args.stacks || args.follow;
    let from_pipe = args.files.iter().any(|file| file == Path::new("-"));
    if as_lines || tui::obstacle().is_some() {
        return false;
    }
    if from_pipe {
        eprintln!("p2p-trace: a pipe cannot be gone back in: showing the dump as text");
    }
    !from_pipe
}

/// Shows the one run that the files are of.
pub(super) fn run(args: &ReplayArgs, global: &Global) -> Result<Exit> {
    let stop = Stop::on_signals().context("cannot catch SIGINT and SIGTERM")?;
    let files = args.files.clone();
    let open = move || {
        let (mut runs, errors) = dumps::open(&files);
        if let Some(error) = errors.into_iter().next() {
            return Err(error);
        }
        if runs.len() > 1 {
            return Err(Refusal {
                exit: Exit::Usage,
                message: format!(
                    "the files are of {} runs, and the dashboard shows one: name the files of one, or use --text",
                    runs.len()
                ),
            }
            .into());
        }
        let run = runs.pop().ok_or_else(|| anyhow!("there is nothing to show"))?;
        Ok(run.tape)
    };
    let theme = Theme::of_environment(colors_stdout(global)).with_ascii(args.ascii);
    let mut replay = Replay::new(Box::new(open), &stop)?;
    if stop.is_set() {
        return Err(io::Error::from(io::ErrorKind::Interrupted).into());
    }
    let shared = replay.shared();
    tui::beside(&shared, &stop, theme, || replay.run(&stop))?;
    Ok(Exit::Holds)
}
