//! `recover`: a crashed kernel's memory as an event dump.

mod show;

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    iter,
    path::Path,
};

use anyhow::{Context as _, Result, bail, ensure};
use p2p_trace_dump::recover::{
    Beginning, Carved, CoreFile, Facts, Recovered, Search, Written, append, carve, carve_pipe, open, write,
};

use show::{Meter, name};

use crate::{
    cli::{Global, RecoverArgs},
    exit::Exit,
    outfile::{Content, Destination, Input, Outputs},
    run::dumps,
};

/// Runs the command.
///
/// # Errors
///
/// When the core or the recorded dump cannot be read, or the new one cannot be written.
pub fn run(args: &RecoverArgs, _global: &Global) -> Result<Exit> {
    let inputs = iter::once(&args.core).chain(&args.with);
    let destination = Outputs::new(inputs, args.force).prepare(&args.output, Content::Dump)?;
    let search = Search { run: args.run, ..Search::default() };
    let (facts, carved) = search_core(&args.core, args, search)
        .with_context(|| format!("cannot read the memory dump {}", name(&args.core)))?;
    show::facts(&args.core, &facts, &carved);
    let mut tape = match args.with.as_slice() {
        [] => None,
        files => Some(recorded(files)?),
    };
    let run = match &tape {
        Some(tape) => carved.runs.iter().find(|run| run.run == tape.header().status.run),
        None => carved.runs.iter().find(|run| !run.records.is_empty()),
    };
    let Some(run) = run else {
        show::nothing(&args.core, &carved, tape.as_ref().map(|tape| tape.header().status.run));
        return Ok(Exit::Inconclusive);
    };
    show::others(run, &carved);
    let written = create(&destination, run, &facts, tape.as_mut())?;
    show::written(&destination, run, &facts, &written);
    Ok(Exit::Holds)
}

fn search_core(path: &Path, args: &RecoverArgs, search: Search) -> Result<(Facts, Carved)> {
    let mut meter = Meter::new();
    let format = args.format.map(Into::into);
    let found = if path == Path::new("-") {
        carve_pipe(io::stdin().lock(), format, search, |progress| {
            meter.show(progress);
        })?
    } else {
        let file = File::open(path)?;
        if file.metadata()?.is_dir() {
            bail!("it is a folder");
        }
        let pipe = file.try_clone()?;
        match CoreFile::new(file) {
            Ok(file) => {
                let memory = open(file, format)?;
                let carved = carve(memory.as_ref(), search, |progress| meter.show(progress));
                (memory.facts().clone(), carved)
            }
            // It has no size: a pipe with a name.
            Err(_) => carve_pipe(pipe, format, search, |progress| meter.show(progress))?,
        }
    };
    meter.end();
    Ok(found)
}

/// The recorded dump, which must be one run.
fn recorded(files: &[Input]) -> Result<p2p_trace_dump::Tape<dumps::Input>> {
    let (mut runs, errors) = dumps::open(files);
    if let Some(error) = errors.into_iter().next() {
        return Err(error);
    }
    ensure!(runs.len() == 1, "--with wants the files of one run, these are of {}", runs.len());
    let run = runs.pop().context("--with names no dump")?;
    Ok(run.tape)
}

fn create(
    destination: &Destination,
    run: &Recovered,
    facts: &Facts,
    tape: Option<&mut p2p_trace_dump::Tape<dumps::Input>>,
) -> Result<Written> {
    let mut file = destination.create()?;
    let fill = || -> Result<Written> {
        let mut out = BufWriter::new(&mut file);
        let written = match tape {
            Some(tape) => append(run, tape, &mut out)?,
            None => write(run, &Beginning::of(run, facts), &mut out)?,
        };
        out.flush()?;
        Ok(written)
    };
    let written = fill().with_context(|| format!("cannot write {}", destination.name()))?;
    file.finish()?;
    Ok(written)
}
