//! Names of the files of a run: `FILE`, then `FILE.1`, `FILE.2` and so on.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

/// The file with this number in the run that begins with `first`.
pub fn numbered(first: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return first.to_owned();
    }
    let mut name = first.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// The first file of the run and the number of this file, according to its name.
pub fn place(path: &Path) -> (PathBuf, u32) {
    path.extension()
        .and_then(number_of)
        .map_or_else(|| (path.to_owned(), 0), |number| (path.with_extension(""), number))
}

/// The lowest number above this one whose file is not empty.
///
/// # Errors
///
/// If the folder cannot be read.
pub(super) fn after(first: &Path, number: u32) -> io::Result<Option<u32>> {
    // A file that has vanished meanwhile counts as absent.
    let has_content = |found| fs::metadata(numbered(first, found)).is_ok_and(|metadata| metadata.len() > 0);
    let mut numbers = numbers(first)?;
    numbers.sort_unstable();
    Ok(numbers.into_iter().find(|&found| found > number && has_content(found)))
}

/// The numbers in use, in order, whatever has the name.
///
/// # Errors
///
/// If the folder cannot be read.
pub fn used(first: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = numbers(first)?;
    if fs::symlink_metadata(first).is_ok() {
        numbers.push(0);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The number behind all numbers in use. If there is none left, the lowest unused one: the file matters more
/// than the order.
///
/// # Errors
///
/// If the folder cannot be read.
pub fn next_free(first: &Path) -> io::Result<u32> {
    let used = used(first)?;
    let behind = used.last().map_or(Some(0), |last| last.checked_add(1));
    let gap = || (0..).zip(&used).find_map(|(free, &used)| (free != used).then_some(free));
    Ok(behind.or_else(gap).unwrap_or_default())
}

/// The numbers of the files next to `first` whose names begin with its name.
fn numbers(first: &Path) -> io::Result<Vec<u32>> {
    let folder = match first.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = PathBuf::from(entry?.file_name());
        if name.file_stem() == first.file_name() {
            numbers.extend(name.extension().and_then(number_of));
        }
    }
    Ok(numbers)
}

/// A number as it is written: without leading zeros, and never 0.
fn number_of(extension: &OsStr) -> Option<u32> {
    let text = extension.to_str()?;
    let number = text.parse().ok().filter(|&number: &u32| number > 0)?;
    (text == number.to_string()).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_parses_first_file_and_number() {
        for (path, first, number) in [
            ("/run/a.p2pt", "/run/a.p2pt", 0),
            ("/run/a.p2pt.3", "/run/a.p2pt", 3),
            ("a.12", "a", 12),
            ("a.0", "a.0", 0),
            ("a.07", "a.07", 0),
            ("a", "a", 0),
        ] {
            assert_eq!(place(Path::new(path)), (PathBuf::from(first), number), "{path}");
            assert_eq!(numbered(Path::new(first), number), Path::new(path));
        }
    }

    #[test]
    fn after_returns_lowest_nonempty_file() {
        let dir = tempfile::tempdir().unwrap();
        let first = dir.path().join("a.p2pt");
        let write = |number, text: &str| fs::write(numbered(&first, number), text).unwrap();
        write(0, "x");
        fs::write(dir.path().join("b.p2pt.1"), "x").unwrap();
        assert_eq!(after(&first, 0).unwrap(), None);
        assert_eq!((used(&first).unwrap(), next_free(&first).unwrap()), (vec![0], 1));
        write(10, "x");
        write(9, "");
        write(11, "x");
        assert_eq!(after(&first, 0).unwrap(), Some(10));
        assert_eq!(after(&first, 10).unwrap(), Some(11));
        assert_eq!(used(&first).unwrap(), [0, 9, 10, 11], "empty files count");
        assert_eq!(next_free(&first).unwrap(), 12);
        write(9, "x");
        assert_eq!(after(&first, 0).unwrap(), Some(9));
        write(u32::MAX, "x");
        assert_eq!(next_free(&first).unwrap(), 1, "no number is left behind the last one");
    }
}
