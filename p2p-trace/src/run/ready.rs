//! The file that signals to scripts that all hooks are attached.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use p2p_trace_model::accounting::Status;

use super::Sink;
use crate::outfile::{Content, Destination, Output, OutputError, Outputs};

/// The file of `--ready-file`; none without that option.
#[derive(Debug, Default)]
pub(crate) struct ReadyFile(Option<Destination>);

impl ReadyFile {
    /// Checks the path, before anything is attached. Fails if the file exists and must not be replaced.
    pub(crate) fn prepare(outputs: &mut Outputs, output: Option<&Output>) -> Result<Self, OutputError> {
        outputs.prepare_optional(output, Content::Text).map(Self)
    }

    /// Creates the file with the process id in it.
    pub(crate) fn announce(&self) -> Result<()> {
        let Some(destination) = &self.0 else { return Ok(()) };
        let announce = || -> Result<()> {
            let mut file = destination.create()?;
            writeln!(file, "{}", std::process::id())?;
            Ok(file.publish()?)
        };
        announce().context("cannot create the ready file")
    }
}

impl Sink for ReadyFile {
    fn begin(&mut self, _status: &Status) -> Result<()> {
        self.announce()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::outfile::Input;

    #[test]
    fn contains_the_process_id_and_rejects_an_existing_file_early() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ready");
        let prepare = |force| {
            let mut outputs = Outputs::new(Vec::<Input>::new(), force);
            ReadyFile::prepare(&mut outputs, Some(&Output(path.clone())))
        };
        let expected = format!("{}\n", std::process::id());
        let ready = prepare(false).unwrap();
        assert!(!path.exists());
        ready.announce().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        assert!(matches!(prepare(false), Err(OutputError::Exists(_))));
        fs::write(&path, "old").unwrap();
        let ready = prepare(true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        ready.announce().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
