//! The file that tells scripts that everything is attached.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use p2p_trace_model::accounting::Status;

use super::Sink;
use crate::outfile::{Content, Destination, Output, OutputError, Outputs};

/// See the module; none, where nobody asked for it.
#[derive(Debug, Default)]
pub(crate) struct ReadyFile(Option<Destination>);

impl ReadyFile {
    /// Checks what was asked for, before anything is attached.
    /// Fails when there must be no such file, as there is one already.
    pub(crate) fn prepare(outputs: &mut Outputs, output: Option<&Output>) -> Result<Self, OutputError> {
        outputs.prepare_optional(output, Content::Text).map(Self)
    }

    /// Creates it, with the number of this process in it.
    pub(crate) fn announce(&self) -> Result<()> {
        let Some(destination) = &self.0 else { return Ok(()) };
        let announce = || -> Result<()> {
            let mut file = destination.create()?;
            writeln!(file, "{}", std::process::id())?;
            Ok(file.publish()?)
        };
        announce().context("cannot say by the ready file that everything is attached")
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
    fn it_has_the_number_of_the_process_and_is_refused_early_where_there_is_one() {
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
