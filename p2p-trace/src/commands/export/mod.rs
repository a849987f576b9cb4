//! `export`: writes the files of a run as one dump, redacted on request.

#[cfg(test)]
mod tests;

use std::io::{BufWriter, Write as _};

use anyhow::{Context as _, Result, ensure};
use p2p_trace_dump::{
    Redactor,
    export::{ExportError, Exported, export},
};

use super::is_closed;
use crate::{
    cli::ExportArgs,
    exit::Exit,
    outfile::{Content, Destination, Outputs},
    run::dumps,
};

/// Runs the command.
///
/// # Errors
///
/// When a file is not a dump or cannot be read, the files are not of one run, or the new dump cannot be written.
pub fn run(args: &ExportArgs) -> Result<Exit> {
    let destination = Outputs::new(&args.files, args.force).prepare(&args.output, Content::Dump)?;
    let redactor = args.redact.then(Redactor::random);
    let (mut runs, errors) = dumps::open_redacted(&args.files, redactor.as_ref());
    if let Some(error) = errors.into_iter().next() {
        return Err(error);
    }
    ensure!(
        runs.len() == 1,
        "a dump has one run, but these files are of {} runs: export each run by itself",
        runs.len()
    );
    let mut run = runs.pop().context("there is nothing to export")?;
    let exported = match create(&destination, &mut run) {
        // The reader of the pipe has closed it.
        Err(error) if is_closed_pipe(&error) => return Ok(Exit::Success),
        exported => exported?,
    };
    for complaint in run.reader.complaints() {
        tracing::warn!("not exported: {complaint}");
    }
    for repeat in run.reader.repeats() {
        tracing::warn!("{repeat}");
    }
    if !exported.is_ended {
        tracing::warn!("the dump ends before the end of the run, and so does the exported one");
    }
    tracing::info!("exported {} records to {}", exported.items, destination.name());
    Ok(Exit::Success)
}

fn create(destination: &Destination, run: &mut dumps::Run) -> Result<Exported> {
    let mut file = destination.create()?;
    let mut fill = || -> Result<Exported, ExportError> {
        let mut out = BufWriter::new(&mut file);
        let exported = export(&mut run.reader, &mut out)?;
        out.flush()?;
        Ok(exported)
    };
    let exported = fill().with_context(|| format!("cannot export to {}", destination.name()))?;
    file.finish()?;
    Ok(exported)
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ExportError::Write(error)) if is_closed(error))
}
