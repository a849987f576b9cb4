//! Files that the dashboard writes on request.

use std::{fs::File, path::Path, sync::Arc};

use anyhow::Result;
use p2p_trace_model::{text::Text, units::Clock};

use crate::{outfile::OutFile, run::recorder::Saved};

/// A file name such as `p2p-trace-allocated-20261122-180003.txt`.
pub(super) fn name(topic: &str, clock: &Clock, time_ns: u64, extension: &str) -> String {
    let time = clock.rfc3339(time_ns);
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let (date, time) = time.split_once('T').unwrap_or(("", &time));
    let time: String = digits(time).chars().take(6).collect();
    format!("p2p-trace-{topic}-{}-{time}.{extension}", digits(date))
}

/// Writes a new file in a folder. If the name exists, a number is appended. A file that cannot be completed is removed.
pub(super) fn save(folder: &Path, name: &str, write: impl FnOnce(Arc<File>) -> Result<()>) -> Saved {
    let file = OutFile::create_in(folder, name).map_err(|error| error.to_string())?;
    let path = file.path().to_owned();
    write(file.handle())
        .map_err(|error| format!("cannot write {}: {error:#}", Text::from(path.as_path())))?;
    file.finish().map_err(|error| error.to_string())?;
    Ok(path)
}

/// The message for the user.
pub(super) fn outcome(saved: Saved) -> String {
    match saved {
        Ok(path) => format!("written to {}", Text::from(path.as_path())),
        Err(reason) => reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::tui::samples;

    #[test]
    fn creates_new_files_with_private_mode() {
        let folder = tempfile::tempdir().unwrap();
        let name = name("allocated", &samples::CLOCK, 3 * samples::SECOND, "txt");
        assert_eq!(name, "p2p-trace-allocated-20261122-180003.txt");
        let write = |mut file: Arc<File>| Ok(file.write_all(b"shown")?);
        let first = save(folder.path(), &name, write).unwrap();
        let second = save(folder.path(), &name, write).unwrap();
        assert_eq!(first, folder.path().join(&name));
        assert_eq!(second, folder.path().join("p2p-trace-allocated-20261122-180003-1.txt"));
        assert_eq!(std::fs::read(&first).unwrap(), b"shown");
        #[cfg(unix)]
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&first.metadata().unwrap().permissions()) & 0o777,
            0o600
        );
        let error = save(&folder.path().join("missing"), &name, write).unwrap_err();
        assert!(error.starts_with("cannot create ") && error.contains("No such file"), "{error}");
    }

    #[test]
    fn removes_incomplete_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = save(folder.path(), "a.txt", |mut file| {
            file.write_all(b"half")?;
            anyhow::bail!("no more room")
        });
        let expected = format!("cannot write {}: no more room", folder.path().join("a.txt").display());
        assert_eq!(error, Err(expected.into()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
