// Fingerprints of the inputs that the compiled kernel side is built from.
//
// `cargo xtask build-ebpf`, which records the fingerprints, and `crates/probe/build.rs`, which compares them, both include
// this file, so it uses only `std` and `sha2`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// The crate whose binary is the BPF object.
pub(crate) const CRATE: &str = "p2p-trace-ebpf";

/// The folders below the workspace root whose source files are compiled into the object.
pub(crate) const FOLDERS: [&str; 2] = [CRATE, "p2p-trace-common"];

/// Fingerprints of everything in the workspace that the object depends on: name → fingerprint.
///
/// A source file is named by its path below the root (`p2p-trace-ebpf/src/main.rs`); its fingerprint is the SHA-256 of
/// its bytes. A locked dependency is named `Cargo.lock: aya-ebpf 0.2.1`; its fingerprint is its checksum in that file.
///
/// # Errors
/// If a file cannot be read; the error names the file.
pub(crate) fn fingerprints(root: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for folder in FOLDERS.map(|folder| root.join(folder)) {
        for file in ["Cargo.toml", "build.rs"].map(|name| folder.join(name)) {
            if file.is_file() {
                all.insert(name_below(root, &file), sha256_of_file(&file)?);
            }
        }
        all.extend(folder_fingerprints(root, &folder.join("src"))?);
    }
    let lock = root.join("Cargo.lock");
    let text = fs::read_to_string(&lock).map_err(|error| name_file(&lock, &error))?;
    all.extend(
        locked_closure(&text, CRATE)
            .into_iter()
            .map(|(package, sum)| (format!("Cargo.lock: {package}"), sum)),
    );
    Ok(all)
}

/// The names whose fingerprints changed, are new, or are gone, each with which of the three applies.
pub(crate) fn differences(then: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let names: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    names
        .into_iter()
        .filter_map(|name| match (then.get(name), now.get(name)) {
            (Some(then), Some(now)) if then == now => None,
            (Some(_), Some(_)) => Some(format!("{name} changed")),
            (None, _) => Some(format!("{name} is new")),
            (_, None) => Some(format!("{name} is gone")),
        })
        .collect()
}

/// The SHA-256 of the file's bytes, as 64 hexadecimal digits.
///
/// # Errors
/// If the file cannot be read; the error names the file.
pub(crate) fn sha256_of_file(file: &Path) -> io::Result<String> {
    fs::read(file).map(|bytes| sha256(&bytes)).map_err(|error| name_file(file, &error))
}

/// The SHA-256 of `bytes`, as 64 hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let nibbles = Sha256::digest(bytes).into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles.filter_map(|nibble| char::from_digit(nibble.into(), 16)).collect()
}

/// Fingerprints of all files below `folder`, named by path below `root`: name → SHA-256. Skips hidden files and editor backups.
///
/// # Errors
/// If a file or folder cannot be read; the error names it.
pub(crate) fn folder_fingerprints(root: &Path, folder: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(|error| name_file(folder, &error))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') || name.ends_with('~') {
            continue;
        }
        if path.is_dir() {
            all.extend(folder_fingerprints(root, &path)?);
        } else {
            all.insert(name_below(root, &path), sha256_of_file(&path)?);
        }
    }
    Ok(all)
}

fn name_below(root: &Path, file: &Path) -> String {
    file.strip_prefix(root).unwrap_or(file).to_string_lossy().replace('\\', "/")
}

/// The dependency closure of `package` in the text of a Cargo.lock, the package itself included: `name version` → checksum.
///
/// A workspace package has no checksum; its entry is empty, because its version still counts.
fn locked_closure(lock: &str, package: &str) -> BTreeMap<String, String> {
    let packages = locked_packages(lock);
    let mut closure = BTreeMap::new();
    let mut wanted: Vec<&str> = vec![package];
    while let Some(reference) = wanted.pop() {
        // A dependency is written `name`, or `name version` (or `name version (source)`) if the name alone is ambiguous.
        let mut words = reference.split(' ');
        let (name, version) = (words.next(), words.next());
        let found = packages
            .iter()
            .filter(|one| Some(one.name) == name && version.is_none_or(|version| version == one.version));
        for one in found {
            if closure.insert(format!("{} {}", one.name, one.version), one.checksum.to_owned()).is_none() {
                wanted.extend(&one.dependencies);
            }
        }
    }
    closure
}

/// One `[[package]]` of a Cargo.lock.
#[derive(Default)]
struct LockedPackage<'text> {
    name: &'text str,
    version: &'text str,
    checksum: &'text str,
    dependencies: Vec<&'text str>,
}

/// Reads the regular subset of TOML that cargo writes into Cargo.lock: one key or one list item per line.
fn locked_packages(lock: &str) -> Vec<LockedPackage<'_>> {
    let mut packages = Vec::new();
    for block in lock.split("[[package]]").skip(1) {
        let mut package = LockedPackage::default();
        // Lists after the packages, such as unused patches, also contain names and versions.
        for line in block.lines().map(str::trim).take_while(|line| !line.starts_with('[')) {
            let value = line.split_once(" = ").map_or(line, |(_, value)| value).trim_matches([',', '"']);
            match line.split_once(" = ") {
                Some(("name", _)) => package.name = value,
                Some(("version", _)) => package.version = value,
                Some(("checksum", _)) => package.checksum = value,
                None if line.starts_with('"') => package.dependencies.push(value),
                _ => {}
            }
        }
        packages.push(package);
    }
    packages
}

fn name_file(file: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"
version = 4

[[package]]
name = "core-crate"
version = "0.1.0"
dependencies = [
 "leaf 2.0.0",
 "middle",
]

[[package]]
name = "leaf"
version = "1.0.0"
checksum = "a1"

[[package]]
name = "leaf"
version = "2.0.0"
checksum = "a2"

[[package]]
name = "middle"
version = "0.3.0"
checksum = "b"
dependencies = [
 "core-crate",
]

[[package]]
name = "other"
version = "1.0.0"
checksum = "c"

[[patch.unused]]
name = "leaf"
version = "2.0.0"
checksum = "d"
"#;

    #[test]
    fn locked_closure_resolves_versions() {
        let closure = locked_closure(LOCK, "core-crate");
        let expected = [("core-crate 0.1.0", ""), ("leaf 2.0.0", "a2"), ("middle 0.3.0", "b")];
        assert_eq!(closure, expected.map(|(name, sum)| (name.to_owned(), sum.to_owned())).into());
    }

    #[test]
    fn differences_name_changed_gone_and_new_inputs() {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, sum)| ((*name).to_owned(), (*sum).to_owned())).collect()
        };
        let (then, now) =
            (map(&[("a", "1"), ("b", "1"), ("c", "1")]), map(&[("a", "1"), ("b", "2"), ("d", "1")]));
        assert_eq!(differences(&then, &now), ["b changed", "c is gone", "d is new"]);
        assert!(differences(&then, &then).is_empty());
    }

    #[test]
    fn folder_fingerprints_skips_hidden_files_and_backups() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("crate/src");
        fs::create_dir_all(folder.join("sub")).unwrap();
        for name in ["lib.rs", "lib.rs~", ".lib.rs.swp", "sub/mod.rs"] {
            fs::write(folder.join(name), "abc").unwrap();
        }
        let found = folder_fingerprints(root.path(), &folder).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["crate/src/lib.rs", "crate/src/sub/mod.rs"]);
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(found.values().all(|sum| sum == abc));
    }

    #[test]
    fn folder_fingerprints_names_a_missing_folder() {
        let error =
            folder_fingerprints(Path::new("/"), Path::new("/no/such/folder")).unwrap_err().to_string();
        assert!(error.contains("/no/such/folder"), "{error}");
    }
}
