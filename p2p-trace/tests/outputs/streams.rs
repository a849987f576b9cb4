//! Outputs to stdout, FIFOs and devices.

use std::{
    ffi::OsString,
    fs,
    io::Write as _,
    os::unix::fs::FileTypeExt as _,
    process::{Command, Stdio},
};

use crate::place::Place;

/// Command lines that write a dump or a page, without the output name, and the first bytes of the output.
const WRITERS: [(&[&str], &[u8]); 2] =
    [(&["recover", "core", "-o"], b"\x89P2PTD\r\n"), (&["report", "dump", "--html"], b"<!DOCTYPE html>")];

fn words(begin: &[&str], value: &str) -> Vec<OsString> {
    begin.iter().copied().chain([value]).map(OsString::from).collect()
}

#[test]
fn stdout_is_appended_to() {
    let place = Place::new();
    for (begin, expected) in WRITERS {
        let before = place.state();
        let mut complete = Vec::new();
        for value in ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
            // A pipe.
            let ended = place.run(&words(begin, value));
            assert!(matches!(ended.status.code(), Some(0 | 1)), "{ended:?}");
            assert!(ended.stdout.starts_with(expected), "{value}");
            assert!(ended.stdout.len() > 1000 && (complete.is_empty() || complete == ended.stdout));
            assert!(place.state() == before, "{value}");
            complete = ended.stdout;
            // A file: the output is appended to its content.
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(b"before").unwrap();
            let out = file.as_file().try_clone().unwrap();
            let status = place.command(&words(begin, value)).stdout(out).stderr(Stdio::null()).status();
            assert!(matches!(status.unwrap().code(), Some(0 | 1)));
            let written = fs::read(file.path()).unwrap();
            assert!(written == [&b"before"[..], &complete].concat(), "{value}");
        }
    }
}

#[test]
fn fifos_and_devices_are_written_to() {
    let place = Place::new();
    let fifo = place.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for (begin, expected) in WRITERS {
        let reader = {
            let fifo = fifo.clone();
            std::thread::spawn(move || fs::read(fifo).unwrap())
        };
        let ended = place.run(&words(begin, "fifo"));
        assert!(matches!(ended.status.code(), Some(0 | 1)), "{ended:?}");
        assert!(reader.join().unwrap().starts_with(expected));
        assert!(fs::symlink_metadata(&fifo).unwrap().file_type().is_fifo());
        let ended = place.run(&words(begin, "/dev/null"));
        assert!(matches!(ended.status.code(), Some(0 | 1)), "{ended:?}");
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    }
}
