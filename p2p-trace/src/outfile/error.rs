//! Why an output is refused, or could not be written.

use std::{io, path::PathBuf};

use p2p_trace_model::text::Text;

use crate::exit::Exit;

/// What is wrong with an output, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    /// There is a file.
    #[error("{} exists already: choose another name, or add --force to replace it", Text::from(.0.as_path()))]
    Exists(PathBuf),
    /// There is a link, wherever it leads.
    #[error(
        "{} is a symbolic link, which is not followed: name the file itself, or add --force to replace the link", Text::from(.0.as_path())
    )]
    Link(PathBuf),
    /// The command reads it.
    #[error("{} is read by this command, so it cannot be written too: choose another name", Text::from(.0.as_path()))]
    IsInput(PathBuf),
    /// Something else that the command writes goes there.
    #[error("{} is where another output of this command goes: choose another name", Text::from(.0.as_path()))]
    Twice(PathBuf),
    #[error("{} is a folder: name a file in it", Text::from(.0.as_path()))]
    Folder(PathBuf),
    /// Something that is not written to.
    #[error("{} is {what}, which is never written to: choose another name", Text::from(path.as_path()))]
    Special {
        path: PathBuf,
        /// Such as `a socket`.
        what: &'static str,
    },
    /// Nobody wants to see a dump.
    #[error("a dump is not for a terminal: write it to a file, or into a pipe")]
    Terminal,
    /// The system refuses to create or open it.
    #[error("cannot create {}: {cause}", Text::from(path.as_path()))]
    Create { path: PathBuf, cause: io::Error },
    /// The system refuses to put the new file in place of the old one.
    #[error(
        "cannot replace {}: {cause}; what was there is unchanged: choose another name", Text::from(path.as_path())
    )]
    Replace { path: PathBuf, cause: io::Error },
    /// The system refuses to write.
    #[error("cannot write {}: {cause}", Text::from(path.as_path()))]
    Write { path: PathBuf, cause: io::Error },
}

impl OutputError {
    /// Something has the name of the file, and is not to be destroyed: a file of another name can do.
    pub(crate) const fn is_in_the_way(&self) -> bool {
        matches!(
            self,
            Self::Exists(_) | Self::Link(_) | Self::IsInput(_) | Self::Folder(_) | Self::Special { .. }
        )
    }

    /// How the program ends on it: a command line that contradicts itself is wrong whatever files there are.
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

/// For those who write through [`io::Write`] and know no other errors.
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
