//! Existing files are kept, or replaced completely.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink},
    process::Command,
};

use super::*;
use crate::exit::Exit;

/// A folder with an input, for outputs.
struct Place {
    folder: tempfile::TempDir,
    inputs: Vec<Input>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("input"), "input").unwrap();
        Self { inputs: vec![Input(folder.path().join("input"))], folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn prepare(&self, name: &str, force: bool) -> Result<Destination, OutputError> {
        Outputs::new(&self.inputs, force).prepare(&Output(self.path(name)), Content::Dump)
    }

    /// Writes an output as a command does.
    fn write(&self, name: &str, force: bool) -> Result<(), OutputError> {
        let mut file = self.prepare(name, force)?.create()?;
        file.write_all(b"new").unwrap();
        file.finish()
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_new_file_is_private() {
    let place = Place::new();
    for (name, force) in [("a", false), ("b", true)] {
        place.write(name, force).unwrap();
        assert_eq!((place.read(name).as_str(), mode(&place.path(name))), ("new", 0o600));
    }
    assert_eq!(place.names(), ["a", "b", "input"]);
}

#[test]
fn an_existing_file_is_replaced_only_with_force() {
    let place = Place::new();
    fs::write(place.path("old"), "old").unwrap();
    fs::set_permissions(place.path("old"), fs::Permissions::from_mode(0o644)).unwrap();
    let before = fs::metadata(place.path("old")).unwrap();
    let error = place.write("old", false).unwrap_err();
    assert!(matches!(error, OutputError::Exists(_)), "{error}");
    assert!(error.to_string().contains("--force"), "{error}");
    assert_eq!((error.exit(), place.read("old").as_str()), (Exit::Error, "old"));
    assert_eq!(fs::metadata(place.path("old")).unwrap().ino(), before.ino());
    place.write("old", true).unwrap();
    assert_eq!((place.read("old").as_str(), mode(&place.path("old"))), ("new", 0o600));
    assert_eq!(place.names(), ["input", "old"]);
}

#[test]
fn links_are_not_followed() {
    for leads_to_a_file in [true, false] {
        let place = Place::new();
        if leads_to_a_file {
            fs::write(place.path("target"), "target").unwrap();
        }
        symlink(place.path("target"), place.path("link")).unwrap();
        let error = place.write("link", false).unwrap_err();
        assert!(matches!(error, OutputError::Link(_)), "{error}");
        assert!(place.path("link").is_symlink());
        assert_eq!(place.path("target").exists(), leads_to_a_file);
        place.write("link", true).unwrap();
        assert!(!place.path("link").is_symlink());
        assert_eq!(place.read("link"), "new");
        if leads_to_a_file {
            assert_eq!(place.read("target"), "target");
        }
        assert_eq!(place.path("target").exists(), leads_to_a_file);
    }
}

#[test]
fn an_input_is_not_an_output_under_any_name() {
    let place = Place::new();
    symlink(place.path("input"), place.path("link")).unwrap();
    fs::hard_link(place.path("input"), place.path("other")).unwrap();
    fs::create_dir(place.path("folder")).unwrap();
    for name in ["input", "link", "other", "folder/../input"] {
        for force in [false, true] {
            let error = place.write(name, force).unwrap_err();
            assert!(matches!(error, OutputError::IsInput(_)), "{name}: {error}");
            assert_eq!(error.exit(), Exit::Usage);
        }
    }
    assert_eq!(place.read("input"), "input");
    assert!(place.path("link").is_symlink());
    assert_eq!(fs::metadata(place.path("other")).unwrap().nlink(), 2);
    assert_eq!(place.names(), ["folder", "input", "link", "other"]);
}

#[test]
fn files_that_appear_after_the_check_are_kept() {
    let place = Place::new();
    let new = place.prepare("a", false).unwrap();
    fs::write(place.path("a"), "old").unwrap();
    assert!(matches!(new.create(), Err(OutputError::Exists(_))));
    let new = place.prepare("b", false).unwrap();
    symlink(place.path("target"), place.path("b")).unwrap();
    assert!(matches!(new.create(), Err(OutputError::Link(_))));
    // The name becomes that of the input while the replacement is being written.
    let file = place.prepare("c", true).unwrap().create().unwrap();
    fs::rename(place.path("input"), place.path("c")).unwrap();
    assert!(matches!(file.finish(), Err(OutputError::IsInput(_))));
    assert_eq!(place.read("c"), "input");
    let file = place.prepare("d", true).unwrap().create().unwrap();
    fs::create_dir(place.path("d")).unwrap();
    assert!(matches!(file.finish(), Err(OutputError::Folder(_))));
    assert_eq!(place.names(), ["a", "b", "c", "d"]);
}

#[test]
fn an_unfinished_file_is_removed_and_the_old_one_kept() {
    let place = Place::new();
    fs::write(place.path("old"), "old").unwrap();
    for (name, force) in [("old", true), ("new", false)] {
        let mut file = place.prepare(name, force).unwrap().create().unwrap();
        file.write_all(b"half").unwrap();
        assert_eq!(place.names().len(), 3);
        assert_eq!(place.read("old"), "old");
        drop(file);
        assert_eq!(place.names(), ["input", "old"]);
    }
    assert_eq!(place.read("old"), "old");
}

#[test]
fn a_published_file_can_still_be_written() {
    let place = Place::new();
    fs::write(place.path("old"), "old").unwrap();
    for (name, force) in [("old", true), ("new", false)] {
        let mut file = place.prepare(name, force).unwrap().create().unwrap();
        file.write_all(b"head").unwrap();
        file.publish().unwrap();
        assert_eq!(place.read(name), "head");
        file.write_all(b" half").unwrap();
        file.cut(4).unwrap();
        file.write_all(b", rest").unwrap();
        drop(file);
        assert_eq!(place.read(name), "head, rest");
    }
    assert_eq!(place.names(), ["input", "new", "old"]);
}

#[test]
fn removes_only_the_created_file() {
    let place = Place::new();
    let mut file = place.prepare("a", false).unwrap().create().unwrap();
    file.publish().unwrap();
    let placed = file.placed().unwrap();
    fs::remove_file(place.path("a")).unwrap();
    fs::write(place.path("a"), "another file").unwrap();
    placed.remove().unwrap();
    assert_eq!(place.read("a"), "another file");
    let mut file = place.prepare("b", false).unwrap().create().unwrap();
    file.publish().unwrap();
    file.placed().unwrap().remove().unwrap();
    file.placed().unwrap().remove().unwrap();
    assert_eq!(place.names(), ["a", "input"]);
}

#[test]
fn rejects_folders_and_sockets() {
    let place = Place::new();
    fs::create_dir(place.path("folder")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(place.path("socket")).unwrap();
    for force in [false, true] {
        let error = place.write("folder", force).unwrap_err();
        assert!(matches!(error, OutputError::Folder(_)), "{error}");
        let error = place.write("socket", force).unwrap_err();
        assert!(error.to_string().contains("is a socket"), "{error}");
        let error = place.write("none/a", force).unwrap_err();
        assert!(matches!(error, OutputError::Create { .. }), "{error}");
        let error = place.write("input/a", force).unwrap_err();
        assert!(matches!(error, OutputError::Create { .. }), "{error}");
    }
    drop(socket);
    assert_eq!(place.names(), ["folder", "input", "socket"]);
}

#[test]
fn fifos_and_devices_are_written_to() {
    let place = Place::new();
    let fifo = place.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let reader = {
        let fifo = fifo.clone();
        std::thread::spawn(move || fs::read_to_string(fifo).unwrap())
    };
    place.write("fifo", false).unwrap();
    assert_eq!(reader.join().unwrap(), "new");
    assert!(fs::symlink_metadata(&fifo).unwrap().file_type().is_fifo());
    let mut outputs = Outputs::new(&place.inputs, true);
    let null = outputs.prepare(&Output("/dev/null".into()), Content::Dump).unwrap();
    assert!(!null.is_file());
    let mut file = null.create().unwrap();
    file.write_all(b"new").unwrap();
    file.finish().unwrap();
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
}

#[test]
fn rejects_two_outputs_to_the_same_file() {
    let place = Place::new();
    fs::create_dir(place.path("folder")).unwrap();
    let output = |name: &str| Output(place.path(name));
    for force in [false, true] {
        let twice = |first: (&Output, Content), second: &Output| {
            let mut outputs = Outputs::new(&place.inputs, force);
            outputs.prepare(first.0, first.1).unwrap();
            matches!(outputs.prepare(second, Content::Text), Err(OutputError::Twice(_)))
        };
        assert!(twice((&output("a"), Content::Dump), &output("folder/../a")));
        assert!(!twice((&output("a"), Content::Dump), &output("folder/a")));
        assert!(!twice((&output("a"), Content::Dump), &output("a.1")));
        assert!(twice((&output("a"), Content::Dumps), &output("a")));
        assert!(twice((&output("a"), Content::Dumps), &output("a.1")));
        assert!(!twice((&output("a"), Content::Dumps), &output("b.1")));
        let mut outputs = Outputs::new(&place.inputs, force);
        outputs.reserve_stdout();
        for name in ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
            let error = outputs.prepare(&Output(name.into()), Content::Text).unwrap_err();
            assert!(matches!(error, OutputError::Twice(_)), "{error}");
            assert_eq!(error.exit(), Exit::Usage);
        }
    }
}

#[test]
fn a_series_continues_after_existing_files() {
    let place = Place::new();
    let prepare = |force| {
        let mut outputs = Outputs::new(&place.inputs, force);
        outputs.prepare(&Output(place.path("a")), Content::Dumps)
    };
    assert_eq!(prepare(false).unwrap().first_number().unwrap(), 0);
    fs::write(place.path("a"), "").unwrap();
    assert_eq!(prepare(false).unwrap().first_number().unwrap(), 1);
    fs::write(place.path("a.9"), "").unwrap();
    assert_eq!(prepare(false).unwrap().first_number().unwrap(), 10);
    let series = prepare(true).unwrap();
    assert_eq!(series.first_number().unwrap(), 0);
    series.create_numbered(9).unwrap().publish().unwrap();
    assert_eq!(place.names(), ["a", "a.9", "input"]);
    // A link is not a file of an earlier run.
    fs::remove_file(place.path("a")).unwrap();
    symlink(place.path("target"), place.path("a")).unwrap();
    assert!(matches!(prepare(false), Err(OutputError::Link(_))));
}

#[test]
fn only_dumps_are_files_of_an_earlier_run() {
    let place = Place::new();
    fs::write(place.path("a"), p2p_trace_dump::MAGIC).unwrap();
    fs::write(place.path("a.1"), "notes").unwrap();
    fs::write(place.path("a.2"), [&p2p_trace_dump::MAGIC[..], b"more"].concat()).unwrap();
    fs::write(place.path("a.3"), "").unwrap();
    symlink(place.path("a"), place.path("a.4")).unwrap();
    fs::create_dir(place.path("a.5")).unwrap();
    fs::write(place.path("a.06"), p2p_trace_dump::MAGIC).unwrap();
    let mut outputs = Outputs::new(&place.inputs, false);
    let series = outputs.prepare(&Output(place.path("a")), Content::Dumps).unwrap();
    let earlier = series.earlier();
    let names: Vec<_> = earlier.iter().map(|placed| placed.path().to_owned()).collect();
    assert_eq!(names, [place.path("a"), place.path("a.2"), place.path("a.3")]);
    fs::rename(place.path("a.1"), place.path("a.2")).unwrap();
    earlier[1].remove().unwrap();
    assert_eq!(place.read("a.2"), "notes", "another file has the name now");
}
