//! The files that a user wants written.

use std::{
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use crate::{output::Clock, recorder::Saved};

/// Names that are tried where there is such a file already.
const TRIES: u32 = 1000;

/// `p2p-trace-taken-20261122-180003.txt`.
pub(super) fn name(what: &str, clock: &Clock, time_ns: u64, extension: &str) -> String {
    let time = clock.rfc3339(time_ns);
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let (date, time) = time.split_once('T').unwrap_or(("", &time));
    let time: String = digits(time).chars().take(6).collect();
    format!("p2p-trace-{what}-{}-{time}.{extension}", digits(date))
}

/// Creates a file of this name, or with a number behind it, in a folder. Kernel addresses and names of tasks are nobody
/// else's business.
pub(super) fn create(folder: &Path, name: &str) -> Result<(PathBuf, File), String> {
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let mut path = folder.join(name);
    for number in 1..=TRIES {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                path = folder.join(format!("{stem}-{number}.{extension}"));
            }
            Err(error) => return Err(failed(&path, &error)),
        }
    }
    Err(format!(
        "cannot write {name}: there are {TRIES} such files already"
    ))
}

/// Why it could not be written.
pub(super) fn failed(path: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error}", path.display())
}

/// What came of it, for the user.
pub(super) fn told(saved: Saved) -> String {
    match saved {
        Ok(path) => format!("written to {}", path.display()),
        Err(why) => why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::samples;

    #[test]
    fn a_file_is_new_and_nobody_elses_business() {
        let folder = tempfile::tempdir().unwrap();
        let name = name("taken", &samples::CLOCK, 3 * samples::SECOND, "txt");
        assert_eq!(name, "p2p-trace-taken-20261122-180003.txt");
        let (first, file) = create(folder.path(), &name).unwrap();
        let (second, _) = create(folder.path(), &name).unwrap();
        assert_eq!(first, folder.path().join(&name));
        assert_eq!(
            second,
            folder.path().join("p2p-trace-taken-20261122-180003-1.txt")
        );
        #[cfg(unix)]
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions()) & 0o777,
            0o600
        );
        let error = create(&folder.path().join("gone"), &name).unwrap_err();
        assert!(
            error.starts_with("cannot write ") && error.contains("No such file"),
            "{error}"
        );
    }
}
