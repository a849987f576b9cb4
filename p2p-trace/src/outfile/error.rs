//! Errors of outputs.

use std::{io, path::PathBuf};

use p2p_trace_model::text::Text;

use crate::exit::Exit;

/// The problem of an output, with a solution.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    /// The file exists.
    #[error("{} exists already: choose another name, or add --force to replace it", Text::from(.0.as_path()))]
    Exists(PathBuf),
    /// The name is a link.
    #[error(
        "{} is a symbolic link, which is not followed: name the file itself, or add --force to replace the link", Text::from(.0.as_path())
    )]
    Link(PathBuf),
    /// The command reads the file.
    #[error("{} is read by this command, so it cannot be written too: choose another name", Text::from(.0.as_path()))]
    IsInput(PathBuf),
    /// Another output of the command has the same destination.
    #[error("{} is where another output of this command goes: choose another name", Text::from(.0.as_path()))]
    Twice(PathBuf),
    #[error("{} is a folder: name a file in it", Text::from(.0.as_path()))]
    Folder(PathBuf),
    /// A kind of file that is not written to.
    #[error("{} is {what}: choose another name", Text::from(path.as_path()))]
    Special {
        path: PathBuf,
        /// Such as `a socket`.
        what: &'static str,
    },
    /// A dump is binary.
    #[error("cannot write a dump to a terminal: use a file or a pipe")]
    Terminal,
    /// The file cannot be created or opened.
    #[error("cannot create {}: {cause}", Text::from(path.as_path()))]
    Create { path: PathBuf, cause: io::Error },
    /// The new file cannot replace the existing one.
    #[error(
        "cannot replace {}: {cause}; what was there is unchanged: choose another name", Text::from(path.as_path())
    )]
    Replace { path: PathBuf, cause: io::Error },
    /// The file cannot be written.
    #[error("cannot write {}: {cause}", Text::from(path.as_path()))]
    Write { path: PathBuf, cause: io::Error },
}

impl OutputError {
    /// Whether the name is in use by a file that must be kept, so that another name can be tried.
    pub(crate) const fn is_in_the_way(&self) -> bool {
        matches!(
            self,
            Self::Exists(_) | Self::Link(_) | Self::IsInput(_) | Self::Folder(_) | Self::Special { .. }
        )
    }

    /// The exit code. Contradictory command lines are wrong usage, whatever files exist.
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::IsInput(_) | Self::Twice(_) => Exit::Usage,
            Self::Exists(_)
            | Self::Link(_)
            | Self::Folder(_)
            | Self::Special { .. }
            | Self::Terminal
            | Self::Create { .. }
            | Self::Replace { .. }
            | Self::Write { .. } => Exit::Error,
        }
    }
}

/// For writers that use [`io::Write`].
impl From<OutputError> for io::Error {
    fn from(error: OutputError) -> Self {
        let kind = match &error {
            OutputError::Exists(_) | OutputError::Link(_) => io::ErrorKind::AlreadyExists,
            OutputError::Create { cause, .. }
            | OutputError::Replace { cause, .. }
            | OutputError::Write { cause, .. } => cause.kind(),
            OutputError::IsInput(_)
            | OutputError::Twice(_)
            | OutputError::Folder(_)
            | OutputError::Special { .. }
            | OutputError::Terminal => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}
