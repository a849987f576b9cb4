//! Opens the files that a user names, and groups them into runs.

#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};
use p2p_trace_dump::{Following, Opened, Origin, Redactor, RunReader, recover};
use p2p_trace_model::text::Text;

use super::fifo::Fifo;

/// The source of a dump.
pub(crate) type Input = Box<dyn Read + Send>;

/// The files of one run.
pub(crate) struct Run {
    /// The names as the user wrote them, in the order of the run.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) reader: RunReader<Input>,
}

/// Opens the files and groups them by run. Also returns the errors of files that cannot be read.
pub(crate) fn open(paths: &[impl AsRef<Path>]) -> (Vec<Run>, Vec<anyhow::Error>) {
    open_redacted(paths, None)
}

/// As [`open`], but redacted if there is a `redactor`. File names, which can be those of hosts, become numbers then.
pub(crate) fn open_redacted(
    paths: &[impl AsRef<Path>],
    redactor: Option<&Redactor>,
) -> (Vec<Run>, Vec<anyhow::Error>) {
    let mut runs = BTreeMap::<_, Vec<_>>::new();
    let mut order = Vec::new();
    let mut errors = Vec::new();
    for (number, path) in (1..).zip(paths.iter().map(AsRef::as_ref)) {
        let shown = match redactor {
            Some(_) => PathBuf::from(format!("file {number}")),
            None => path.to_owned(),
        };
        match open_file(path).map(|file| file.named(name(&shown))) {
            Ok(file) => {
                let header = file.header();
                let status = &header.status;
                // Recovered and redacted files have their own blocks, which cannot be joined with others.
                let kind = (header.origin == Origin::Recovered, header.redacted);
                let key = (status.boot_id.clone(), status.run, kind);
                if !runs.contains_key(&key) {
                    order.push(key.clone());
                }
                runs.entry(key).or_default().push((shown, file));
            }
            Err(error) => errors.push(error),
        }
    }
    let run = |key| {
        let mut files = runs.remove(&key)?;
        files.sort_by_key(|(_, file)| file.header().file);
        let (files, opened) = files.into_iter().unzip();
        Some(Run { files, reader: redacted(RunReader::new(opened)?, redactor) })
    };
    (order.into_iter().filter_map(run).collect(), errors)
}

fn open_file(path: &Path) -> Result<Opened<Input>> {
    let mut input: Input = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).with_context(|| format!("cannot open {}", Text::from(path)))?)
    };
    // A memory dump may contain blocks of an event dump in the page cache: its first bytes distinguish the two.
    let mut prefix = Vec::new();
    let read = input.by_ref().take(recover::PREFIX as u64).read_to_end(&mut prefix);
    read.with_context(|| format!("cannot read {}", name(path)))?;
    refuse(path, &prefix)?;
    let input: Input = Box::new(io::Cursor::new(prefix).chain(input));
    Opened::open(input).with_context(|| format!("cannot read {}", name(path)))
}

fn redacted(reader: RunReader<Input>, redactor: Option<&Redactor>) -> RunReader<Input> {
    match redactor {
        Some(redactor) => reader.redacted(redactor.clone()),
        None => reader,
    }
}

/// Rejects a file that begins as another known format.
fn refuse(path: &Path, prefix: &[u8]) -> Result<()> {
    match recover::no_event_dump(prefix) {
        Some(reason) => Err(anyhow!("cannot read {}: {reason}", name(path))),
        None => Ok(()),
    }
}

/// Opens a run that is still being written, from this file on, until `is_over`.
pub(crate) fn follow(
    path: &Path,
    redactor: Option<&Redactor>,
    is_over: impl FnMut() -> bool + Send + 'static,
) -> Result<Run> {
    let cannot_open = || format!("cannot open {}", Text::from(path));
    let input: Input = if fs::metadata(path).with_context(cannot_open)?.is_file() {
        let mut prefix = Vec::new();
        let file = File::open(path).with_context(cannot_open)?;
        file.take(recover::PREFIX as u64).read_to_end(&mut prefix).with_context(|| name(path))?;
        refuse(path, &prefix)?;
        Box::new(Following::open(path, is_over).with_context(cannot_open)?)
    } else {
        Box::new(Fifo::open(path, is_over).with_context(cannot_open)?)
    };
    let opened = Opened::follow(input).with_context(|| format!("cannot read {}", name(path)))?;
    let reader = RunReader::new(vec![opened]).context("the dump has no run to show")?;
    Ok(Run { files: vec![path.to_owned()], reader: redacted(reader, redactor) })
}

/// The name of a file in messages.
pub(crate) fn name(path: &Path) -> Text {
    if path == Path::new("-") { "stdin".into() } else { path.into() }
}
