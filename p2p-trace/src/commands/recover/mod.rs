//! `recover`: extracts an event dump from a memory dump.

mod show;
mod sparse;
#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io::{self, BufWriter, Read, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result, bail, ensure};
use p2p_trace_dump::recover::{
    Beginning, Carved, Facts, PhysicalMemory, Recovered, Search, Written, append, carve, carve_pipe, join,
    open, write,
};

use p2p_trace_model::{text::Text, units::bytes as size};
use show::{Meter, name, names};
use sparse::SparseFile;

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
/// When the memory dump or the recorded event dump cannot be read, or the new one cannot be written.
pub fn run(args: &RecoverArgs, _global: &Global) -> Result<Exit> {
    let inputs = args.core.iter().chain(&args.with);
    let destination = Outputs::new(inputs, args.force).prepare(&args.output, Content::Dump)?;
    let search = Search { run: args.run, ..Search::default() };
    let (facts, carved) = search_cores(args, search)
        .with_context(|| format!("cannot read the memory dump {}", names(&args.core)))?;
    show::facts(&args.core, &facts, &carved);
    let mut reader = match args.with.as_slice() {
        [] => None,
        files => Some(recorded(files)?),
    };
    let run = match &reader {
        Some(reader) => carved.runs.iter().find(|run| run.run == reader.header().status.run),
        None => carved.runs.iter().find(|run| !run.records.is_empty()),
    };
    let too_little = too_little(&carved);
    let Some(run) = run else {
        if let Some(why) = too_little {
            bail!("cannot search {}: {why}", names(&args.core));
        }
        show::nothing(&args.core, &carved, reader.as_ref().map(|reader| reader.header().status.run));
        return Ok(Exit::Inconclusive);
    };
    show::others(run, &carved);
    let written = create(&destination, run, &facts, reader.as_mut())?;
    show::written(&destination, run, &facts, &written, carved.skipped.bytes());
    match too_little {
        Some(why) => {
            tracing::error!("the recovered dump is incomplete: {why}");
            Ok(Exit::Error)
        }
        None => Ok(Exit::Success),
    }
}

/// The reason why the search is insufficient: less than half of the memory that the headers promise is there.
fn too_little(carved: &Carved) -> Option<String> {
    let (searched, absent) = (carved.searched, carved.skipped.bytes());
    if searched == 0 {
        return Some("none of the memory that its headers promise is there".to_owned());
    }
    (searched < absent).then(|| {
        let all = size(searched.saturating_add(absent));
        format!("only {} of the {all} of memory that its headers promise are there", size(searched))
    })
}

fn search_cores(args: &RecoverArgs, search: Search) -> Result<(Facts, Carved)> {
    let mut meter = Meter::new();
    let format = args.format.map(Into::into);
    let mut parts: Vec<(Text, Box<dyn PhysicalMemory>)> = Vec::new();
    let mut pipe: Option<Box<dyn Read>> = None;
    for path in &args.core {
        if **path == *Path::new("-") {
            pipe = Some(Box::new(io::stdin()));
            continue;
        }
        let of = || name(path);
        let file = File::open(path).with_context(of)?;
        ensure!(!file.metadata().with_context(of)?.is_dir(), "{} is a folder", name(path));
        let again = file.try_clone()?;
        match SparseFile::new(file) {
            Ok(file) if args.core.len() == 1 => parts.push((name(path), open(file, format)?)),
            Ok(file) => parts.push((name(path), open(file, format).with_context(of)?)),
            // A file without a size is a named pipe.
            Err(_) => pipe = Some(Box::new(again)),
        }
    }
    let found = match pipe {
        Some(_) if args.core.len() > 1 => {
            bail!("a part of a split dump cannot be read from a pipe: write it to a file first")
        }
        Some(pipe) => carve_pipe(pipe, format, search, |progress| meter.show(progress))?,
        None => {
            let memory = join(parts)?;
            let carved = carve(memory.as_ref(), search, |progress| meter.show(progress));
            (memory.facts().clone(), carved)
        }
    };
    meter.end();
    Ok(found)
}

/// The recorded dump, which must be of one run.
fn recorded(files: &[Input]) -> Result<p2p_trace_dump::RunReader<dumps::Input>> {
    let (mut runs, errors) = dumps::open(files);
    if let Some(error) = errors.into_iter().next() {
        return Err(error);
    }
    ensure!(runs.len() == 1, "--with needs the files of one run, but these are of {} runs", runs.len());
    let run = runs.pop().context("--with names no event dump")?;
    Ok(run.reader)
}

fn create(
    destination: &Destination,
    run: &Recovered,
    facts: &Facts,
    reader: Option<&mut p2p_trace_dump::RunReader<dumps::Input>>,
) -> Result<Written> {
    let mut file = destination.create()?;
    let fill = || -> Result<Written> {
        let mut out = BufWriter::new(&mut file);
        let written = match reader {
            Some(reader) => append(run, reader, &mut out)?,
            None => write(run, &Beginning::of(run, facts), &mut out)?,
        };
        out.flush()?;
        Ok(written)
    };
    let written = fill().with_context(|| format!("cannot write {}", destination.name()))?;
    file.finish()?;
    Ok(written)
}
