//! The destination of an output that was checked.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use p2p_trace_dump::sequence::{next_free, numbered, used};
use p2p_trace_model::text::Text;

use super::{OutFile, OutputError, Placed, descriptor, identity::Identity, inspect::create_error};

/// How the destination is written to.
#[derive(Clone, Debug)]
pub(super) enum Way {
    /// As a new file.
    New,
    /// As a file that replaces an existing one.
    Replace,
    /// As an open stream.
    Stream(Arc<File>),
}

/// A checked destination.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    path: PathBuf,
    way: Way,
    inputs: Vec<Identity>,
    /// The run may consist of several files, and continues after those of earlier runs.
    is_series: bool,
}

impl Destination {
    pub(super) const fn new(path: PathBuf, way: Way, inputs: Vec<Identity>) -> Self {
        Self { path, way, inputs, is_series: false }
    }

    /// Makes it the destination of a run in several files.
    pub(super) fn series(self) -> Self {
        Self { is_series: true, ..self }
    }

    /// A new file with a generated name.
    #[cfg(any(feature = "tui", test))]
    pub(crate) const fn new_file(path: PathBuf) -> Self {
        Self::new(path, Way::New, Vec::new())
    }

    /// The path as the user named it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The name for messages.
    pub(crate) fn name(&self) -> String {
        if descriptor::number(&self.path) == Some(descriptor::STDOUT) {
            "stdout".to_owned()
        } else {
            Text::from(self.path.as_path()).into()
        }
    }

    /// Whether it is a file, so that there can be several, and not a pipe or a device.
    pub(crate) const fn is_file(&self) -> bool {
        matches!(self.way, Way::New | Way::Replace)
    }

    /// Whether the run may consist of several files.
    pub(crate) const fn is_series(&self) -> bool {
        self.is_series
    }

    /// The number of the first file: after those of earlier runs, unless they are replaced. Fails if the folder cannot be read.
    pub(crate) fn first_number(&self) -> Result<u32, OutputError> {
        if self.is_series && matches!(self.way, Way::New) { self.next_free() } else { Ok(0) }
    }

    /// The next free number.
    pub(crate) fn next_free(&self) -> Result<u32, OutputError> {
        next_free(&self.path).map_err(|cause| create_error(&self.path, cause))
    }

    /// The files of earlier runs, oldest first. Excludes files that are not dumps by their content.
    pub(crate) fn earlier(&self) -> Vec<Placed> {
        if !self.is_series || !matches!(self.way, Way::New) {
            return Vec::new();
        }
        let used = used(&self.path).unwrap_or_default();
        used.into_iter().filter_map(|number| Placed::of_dump(numbered(&self.path, number))).collect()
    }

    /// Creates the file, or returns the stream. Fails if the file exists by now, or cannot be created.
    pub(crate) fn create(&self) -> Result<OutFile, OutputError> {
        self.create_numbered(0)
    }

    /// Creates the file of this number of a series: `FILE`, `FILE.1`, `FILE.2` and so on.
    pub(crate) fn create_numbered(&self, number: u32) -> Result<OutFile, OutputError> {
        match &self.way {
            Way::New => OutFile::create(&numbered(&self.path, number)),
            Way::Replace => OutFile::replace(&numbered(&self.path, number), &self.inputs),
            Way::Stream(file) => Ok(OutFile::stream(&self.path, Arc::clone(file))),
        }
    }
}
