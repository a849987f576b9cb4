//! `replay` on the dashboard.

use std::{io, path::Path};

use anyhow::{Context as _, Result, ensure};
use p2p_trace_dump::Redactor;

use crate::{
    cli::{Global, ReplayArgs},
    commands::colors_stdout,
    exit::Exit,
    run::{dumps, stop::Stop},
    stderr,
    tui::{self, Replay, Theme},
};

/// Whether the dashboard is used: on a terminal, unless another format is requested. It needs to seek, which a pipe cannot.
pub(super) fn is_wanted(args: &ReplayArgs) -> bool {
    let as_lines = args.text || args.json || args.findings || args.stacks || args.follow;
    if as_lines || tui::obstacle().is_some() {
        return false;
    }
    let pipe = args.files.iter().find(|file| is_pipe(file));
    if let Some(pipe) = pipe {
        stderr::say(format_args!(
            "p2p-trace: {} is a pipe, in which the dashboard cannot seek: showing the dump as text; save it to a file to use \
             the dashboard",
            dumps::name(pipe)
        ));
    }
    pipe.is_none()
}

/// Whether the file can be read only once.
fn is_pipe(path: &Path) -> bool {
    #[cfg(unix)]
    let is_special = {
        use std::os::unix::fs::FileTypeExt as _;
        path.metadata().is_ok_and(|metadata| {
            let kind = metadata.file_type();
            kind.is_fifo() || kind.is_socket() || kind.is_char_device()
        })
    };
    #[cfg(not(unix))]
    let is_special = false;
    path == Path::new("-") || is_special
}

/// Shows the runs of the files, one at a time.
pub(super) fn run(args: &ReplayArgs, global: &Global) -> Result<Exit> {
    let stop = Stop::on_signals().context("cannot catch SIGINT and SIGTERM")?;
    let files = args.files.clone();
    // Seeking back reopens the dump, which must then be redacted in the same way.
    let redactor = args.redact.then(Redactor::random);
    let open = move |run| {
        let (mut runs, errors) = dumps::open_redacted(&files, redactor.as_ref());
        if let Some(error) = errors.into_iter().next() {
            return Err(error);
        }
        let count = runs.len();
        ensure!(run < count, "the dump changed while it was shown");
        Ok((runs.swap_remove(run).reader, count))
    };
    let theme = Theme::of_environment(colors_stdout(global)).with_ascii(args.ascii);
    let mut replay = Replay::new(Box::new(open), &stop)?;
    if stop.is_set() {
        return Err(io::Error::from(io::ErrorKind::Interrupted).into());
    }
    for repeat in replay.repeats() {
        tracing::warn!("{repeat}");
    }
    let shared = replay.shared();
    tui::run_with_dashboard(&shared, &stop, theme, || replay.run(&stop))?;
    Ok(Exit::Success)
}
