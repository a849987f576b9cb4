//! Every option that names an output, with a file that exists.

use std::{
    ffi::OsString,
    fs::{self, File},
    os::unix::fs::{PermissionsExt as _, symlink},
};

use clap::Arg;

use crate::{
    options::{Role, commands, each_command, role},
    place::Place,
};

/// The options for inputs, and the files that are used for them here.
const INPUTS: [(&str, &str); 4] =
    [("core", "core"), ("with", "dump"), ("files", "dump"), ("kernel_btf", "no-types")];
/// Commands that do not trace.
const OFFLINE: [&str; 3] = ["recover", "report", "export"];

/// A command and one of its options that name an output.
struct Case<'a> {
    command: &'a clap::Command,
    arg: &'a Arg,
}

impl Case<'_> {
    fn name(&self) -> String {
        format!("{} {}", self.command.get_name(), self.arg.get_id())
    }

    /// The command line that writes to `value`. With `reads_all` it has all possible inputs, otherwise only the required ones.
    fn words(&self, value: &str, force: bool, reads_all: bool) -> Vec<OsString> {
        let mut words = vec![self.command.get_name().into()];
        if force {
            words.push("--force".into());
        }
        let mut add = |arg: &Arg, value: &str| {
            words.extend(arg.get_long().map(|long| format!("--{long}").into()));
            words.push(value.into());
        };
        for arg in self.command.get_arguments() {
            match role(arg) {
                Role::Input if reads_all || arg.is_required_set() || !self.is_offline() => {
                    let input = INPUTS.iter().find(|(id, _)| arg.get_id() == id);
                    let (_, file) =
                        input.unwrap_or_else(|| panic!("add an input file for {} to INPUTS", arg.get_id()));
                    add(arg, file);
                }
                Role::Output if arg.get_id() == self.arg.get_id() => add(arg, value),
                Role::Output if arg.is_required_set() => add(arg, "other-output"),
                Role::Input | Role::Output | Role::Other => {}
            }
        }
        words
    }

    fn is_offline(&self) -> bool {
        OFFLINE.contains(&self.command.get_name())
    }
}

/// Runs `test` for each option of each command that names an output.
fn each_output(test: impl Fn(&Case<'_>, &Place)) {
    let mut tested = 0;
    each_command(&commands(), &mut |command| {
        for arg in command.get_arguments().filter(|arg| role(arg) == Role::Output) {
            let case = Case { command, arg };
            assert!(
                command.get_arguments().any(|arg| arg.get_long() == Some("force")),
                "{} has no --force",
                case.name()
            );
            test(&case, &Place::new());
            tested += 1;
        }
    });
    assert!(tested >= 8, "{tested}");
}

/// Expects that a command line fails with this code and message, and changes nothing.
fn refused(case: &Case<'_>, place: &Place, words: &[OsString], code: i32, why: &str) {
    let before = place.state();
    let ended = place.run(words);
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert!(stderr.contains(why), "{}: {words:?} says {stderr}", case.name());
    assert_eq!(ended.status.code(), Some(code), "{}: {words:?} says {stderr}", case.name());
    assert!(place.state() == before, "{}: {words:?} changes something: {stderr}", case.name());
}

#[test]
fn existing_files_are_not_overwritten() {
    each_output(|case, place| {
        fs::write(place.path("old"), "old").unwrap();
        symlink("old", place.path("link")).unwrap();
        symlink("nothing", place.path("dangling")).unwrap();
        fs::create_dir(place.path("folder")).unwrap();
        for (value, why) in [
            ("old", "old exists already"),
            ("link", "link is a symbolic link"),
            ("dangling", "dangling is a symbolic link"),
            ("folder", "folder is a folder"),
            ("none/new", "cannot create none/new"),
        ] {
            refused(case, place, &case.words(value, false, false), 3, why);
        }
        refused(case, place, &case.words("folder", true, false), 3, "folder is a folder");
    });
}

#[test]
fn inputs_are_not_overwritten_even_with_force() {
    each_output(|case, place| {
        let mut tried = 0;
        for arg in case.command.get_arguments().filter(|arg| role(arg) == Role::Input) {
            let (_, input) = INPUTS.iter().find(|(id, _)| arg.get_id() == id).unwrap();
            for name in ["same", "link"] {
                drop(fs::remove_file(place.path(name)));
            }
            fs::hard_link(place.path(input), place.path("same")).unwrap();
            symlink(input, place.path("link")).unwrap();
            for value in [*input, "same", "link"] {
                for force in [false, true] {
                    let words = case.words(value, force, true);
                    refused(case, place, &words, 64, &format!("{value} is read by this command"));
                    tried += 1;
                }
            }
        }
        assert!(tried >= 6, "{} reads nothing", case.name());
    });
}

#[test]
fn force_replaces_existing_files_when_the_new_one_is_complete() {
    each_output(|case, place| {
        fs::write(place.path("target"), "target").unwrap();
        for name in ["old", "link"] {
            if name == "old" {
                fs::write(place.path(name), "old").unwrap();
            } else {
                symlink("target", place.path(name)).unwrap();
            }
            let words = case.words(name, true, false);
            if !case.is_offline() {
                // It fails before the new file exists, because it cannot read the kernel's types.
                let before = place.state();
                let ended = place.run(&words);
                assert!(!ended.status.success(), "{words:?}: {ended:?}");
                assert!(place.state() == before, "{words:?}: {ended:?}");
                continue;
            }
            let ended = place.run(&words);
            let stderr = String::from_utf8_lossy(&ended.stderr);
            assert!(matches!(ended.status.code(), Some(0 | 1)), "{words:?} says {stderr}");
            let metadata = fs::symlink_metadata(place.path(name)).unwrap();
            assert!(metadata.is_file() && metadata.len() > 1000, "{words:?} says {stderr}");
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read(place.path("target")).unwrap(), b"target");
        // No temporary file is left.
        let names: Vec<_> = place.state().into_keys().collect();
        assert_eq!(names, ["core", "dump", "link", "no-types", "old", "target"]);
    });
}

#[test]
fn a_failed_command_keeps_the_existing_file() {
    let place = Place::new();
    fs::write(place.path("old"), "old").unwrap();
    for words in [
        // A file without records.
        &["recover", "no-types", "--format", "raw", "-o", "old", "--force"][..],
        &["recover", "missing", "-o", "old", "--force"],
        // A dump of another run.
        &["recover", "core", "--with", "dump", "-o", "old", "--force"],
    ] {
        let words: Vec<_> = words.iter().map(OsString::from).collect();
        let before = place.state();
        let ended = place.run(&words);
        assert!(matches!(ended.status.code(), Some(2 | 3)), "{ended:?}");
        assert!(place.state() == before, "{ended:?}");
    }
}

#[test]
fn a_missing_value_of_html_does_not_overwrite_a_dump() {
    let place = Place::new();
    fs::copy(place.path("dump"), place.path("other")).unwrap();
    let before = place.state();
    let ended = place.run(&["report", "--html", "dump", "other"].map(OsString::from));
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert!(stderr.contains("dump exists already"), "{stderr}");
    assert_eq!(ended.status.code(), Some(3));
    assert!(place.state() == before);
}

#[test]
fn files_that_the_shell_has_opened_are_not_overwritten() {
    let place = Place::new();
    let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
    for force in [&[][..], &["--force"]] {
        // Stdin is an input.
        let before = place.state();
        let mut command = place.command(&words(&[&["recover", "-", "-o", "core"], force].concat()));
        let core = File::open(place.path("core")).unwrap();
        let ended = command.stdin(core).output().unwrap();
        assert_eq!(ended.status.code(), Some(64), "{ended:?}");
        assert!(place.state() == before, "{ended:?}");
    }
    // Stderr is redirected to the output.
    let log = File::create(place.path("log")).unwrap();
    let mut command = place.command(&words(&["recover", "core", "-o", "log", "--force"]));
    let status = command.stderr(log).status().unwrap();
    let log = fs::read_to_string(place.path("log")).unwrap();
    assert_eq!(status.code(), Some(64), "{log}");
    assert!(log.contains("another output"), "{log}");
}
