//! Where an output goes, once that has been found to be allowed.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use p2p_trace_dump::sequence::{next_free, numbered, used};
use p2p_trace_model::text::Text;

use super::{OutFile, OutputError, Placed, descriptor, identity::Identity, inspect::create_error};

/// How it is written to.
#[derive(Clone, Debug)]
pub(super) enum Way {
    /// As a file that is not there yet.
    New,
    /// As a file that takes the place of another one.
    Replace,
    /// It is open.
    Stream(Arc<File>),
}

/// An output that has been checked.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    path: PathBuf,
    way: Way,
    inputs: Vec<Identity>,
    /// A run that finds files of earlier ones goes on behind them.
    is_series: bool,
}

impl Destination {
    pub(super) const fn new(path: PathBuf, way: Way, inputs: Vec<Identity>) -> Self {
        Self { path, way, inputs, is_series: false }
    }

    /// The same for a run in as many files as it takes.
    pub(super) fn series(self) -> Self {
        Self { is_series: true, ..self }
    }

    /// A file whose name nobody chose, which must be new.
    #[cfg(any(feature = "tui", test))]
    pub(crate) const fn new_file(path: PathBuf) -> Self {
        Self::new(path, Way::New, Vec::new())
    }

    /// As it was named.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// For messages.
    pub(crate) fn name(&self) -> String {
        if descriptor::number(&self.path) == Some(descriptor::STDOUT) {
            "stdout".to_owned()
        } else {
            Text::from(self.path.as_path()).into()
        }
    }

    /// It is a file, not a pipe or a device: there can be several.
    pub(crate) const fn is_file(&self) -> bool {
        matches!(self.way, Way::New | Way::Replace)
    }

    /// A run in as many files as it takes.
    pub(crate) const fn is_series(&self) -> bool {
        self.is_series
    }

    /// The number to begin with: behind what earlier runs left, unless it is to be replaced.
    /// Fails when the folder cannot be read.
    pub(crate) fn first_number(&self) -> Result<u32, OutputError> {
        if self.is_series && matches!(self.way, Way::New) { self.next_free() } else { Ok(0) }
    }

    /// A number of which there is nothing.
    pub(crate) fn next_free(&self) -> Result<u32, OutputError> {
        next_free(&self.path).map_err(|cause| create_error(&self.path, cause))
    }

    /// The files that earlier runs left, the oldest first. What is no dump by its content is none of them.
    pub(crate) fn earlier(&self) -> Vec<Placed> {
        if !self.is_series || !matches!(self.way, Way::New) {
            return Vec::new();
        }
        let used = used(&self.path).unwrap_or_default();
        used.into_iter().filter_map(|number| Placed::of_dump(numbered(&self.path, number))).collect()
    }

    /// Creates the file, or gives the stream.
    /// Fails when something has come into its place since it was checked, or it cannot be created.
    pub(crate) fn create(&self) -> Result<OutFile, OutputError> {
        self.create_numbered(0)
    }

    /// The same for the file of this number of a series: `FILE`, `FILE.1`, `FILE.2` and so on.
    pub(crate) fn create_numbered(&self, number: u32) -> Result<OutFile, OutputError> {
        match &self.way {
            Way::New => OutFile::create(&numbered(&self.path, number)),
            Way::Replace => OutFile::replace(&numbered(&self.path, number), &self.inputs),
            Way::Stream(file) => Ok(OutFile::stream(&self.path, Arc::clone(file))),
        }
    }
}
