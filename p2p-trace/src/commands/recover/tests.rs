//! Messages and exit codes for various files.

use std::{fs, path::PathBuf, time::Instant};

use clap::Parser as _;

use super::*;
use crate::cli::{Cli, Command};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/dump/tests/fixtures/cores").join(name)
}

/// The exit code for these memory dumps, or the error message.
fn recover(dir: &Path, cores: &[&Path]) -> Result<Exit, String> {
    let out = dir.join("out.p2pt");
    let arguments = ["p2p-trace", "recover", "--force", "-o"].map(PathBuf::from).into_iter();
    let arguments = arguments.chain([out]).chain(cores.iter().map(|core| core.to_path_buf()));
    let cli = Cli::try_parse_from(arguments).unwrap();
    let Some(Command::Recover(args)) = &cli.command else { panic!("another command") };
    run(args, &cli.global).map_err(|error| format!("{error:#}"))
}

#[test]
fn missing_memory_is_an_error_and_missing_records_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let complete = fs::read(fixture("vmcore")).unwrap();
    assert_eq!(recover(dir.path(), &[&fixture("vmcore")]), Ok(Exit::Success));
    for (name, bytes, words) in [
        ("empty", &[][..], "the file is empty"),
        ("cut", &complete[..4096], "none of the memory that its headers promise is there"),
        ("gzip", b"\x1f\x8b\x08\0\0\0\0\0", "gunzip"),
        ("zip", b"PK\x03\x04\0\0\0\0", "unzip"),
        ("saved", b"LibvirtQemudSave\x02\0\0\0", "virsh dump --memory-only"),
        ("dump", b"\x89P2PTD\r\n\x01", "use `p2p-trace check`"),
    ] {
        let error = recover(dir.path(), &[&file(name, bytes)]).unwrap_err();
        assert!(error.contains(words), "{name}: {error}");
    }
    // All of its memory, but no records.
    assert_eq!(recover(dir.path(), &[&file("zeros", &vec![0; 1 << 20])]), Ok(Exit::Inconclusive));
}

#[test]
fn less_than_half_of_the_memory_is_an_error_but_written() {
    let dir = tempfile::tempdir().unwrap();
    let core = fs::read(fixture("vmcore")).unwrap();
    let memory = core.len() - 8 * 4096;
    for (pages, exit) in [(3, Exit::Error), (5, Exit::Success)] {
        let cut = dir.path().join(format!("{pages}"));
        fs::write(&cut, &core[..memory + pages * 4096]).unwrap();
        assert_eq!(recover(dir.path(), &[&cut]), Ok(exit), "{pages} of 8 pages");
        assert!(fs::metadata(dir.path().join("out.p2pt")).unwrap().len() > 0);
    }
}

#[test]
fn skips_the_holes_of_a_sparse_terabyte() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sparse");
    fs::copy(fixture("vmcore"), &path).unwrap();
    let began = Instant::now();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    let raw = ["p2p-trace", "recover", "--format", "raw", "-o"].map(PathBuf::from).into_iter();
    let cli = Cli::try_parse_from(raw.chain([dir.path().join("raw.p2pt"), path.clone()])).unwrap();
    let Some(Command::Recover(args)) = &cli.command else { panic!("another command") };
    assert!(run(args, &cli.global).is_ok());
    assert_eq!(recover(dir.path(), &[&path]), Ok(Exit::Success));
    File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(recover(dir.path(), &[&path]), Ok(Exit::Inconclusive));
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
}

#[test]
fn rejects_several_files_that_are_not_parts() {
    let dir = tempfile::tempdir().unwrap();
    let error = recover(dir.path(), &[&fixture("elf"), &fixture("zlib")]).unwrap_err();
    assert!(error.contains("is no part"), "{error}");
}

#[test]
fn no_missing_records_needs_all_of_the_memory() {
    assert_eq!(show::missing(0, 0), "0 missing");
    assert_eq!(show::missing(7, 0), "7 missing");
    for (lost, absent) in [(0, 4096), (7, 4096)] {
        let text = show::missing(lost, absent);
        assert!(!text.contains("0 missing") && text.contains("4 KiB of memory are absent"), "{text}");
    }
}
