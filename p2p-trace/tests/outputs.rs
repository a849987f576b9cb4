//! No file that a command writes destroys another one. The options that name such files, and those that name what is read, are
//! taken from the command line itself: one that is added is tried like the others, or fails here until it says which of the two it is.

#![expect(
    clippy::disallowed_methods,
    reason = "tests make what they need in a folder of their own"
)]

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::{
        any::TypeId,
        collections::BTreeMap,
        ffi::OsString,
        fs,
        io::Write as _,
        os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink},
        path::{Path, PathBuf},
        process::{Command, Output as Ended, Stdio},
    };

    use clap::{Arg, ValueHint};
    use p2p_trace::{
        cli,
        outfile::{Input, Output},
    };

    /// Names of values that are paths.
    const PATHS: [&str; 7] = ["FILE", "PATH", "CORE", "DUMP", "FOLDER", "DIR", "DIRECTORY"];
    /// What commands with outputs read, by the names of their options, and what these are given here.
    const INPUTS: [(&str, &str); 4] = [
        ("core", "core"),
        ("with", "dump"),
        ("files", "dump"),
        ("kernel_btf", "no-types"),
    ];
    /// Commands that are done without a kernel to trace.
    const OFFLINE: [&str; 2] = ["recover", "report"];

    /// What an option is about.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Role {
        Input,
        Output,
        Other,
    }

    fn role(arg: &Arg) -> Role {
        let parsed = arg.get_value_parser().type_id();
        if parsed == TypeId::of::<Output>() {
            Role::Output
        } else if parsed == TypeId::of::<Input>() {
            Role::Input
        } else {
            Role::Other
        }
    }

    fn is_path(arg: &Arg) -> bool {
        let parsed = arg.get_value_parser().type_id();
        let takes_value = arg.get_action().takes_values();
        let is_named_so = arg
            .get_value_names()
            .is_some_and(|names| names.iter().any(|name| PATHS.contains(&name.as_str())));
        let is_completed_so = matches!(
            arg.get_value_hint(),
            ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath
        );
        takes_value
            && (parsed == TypeId::of::<PathBuf>()
                || parsed == TypeId::of::<OsString>()
                || is_named_so
                || is_completed_so)
    }

    /// A command and its options, as `visit` wants them.
    fn each_command(command: &clap::Command, visit: &mut dyn FnMut(&clap::Command)) {
        visit(command);
        for below in command.get_subcommands() {
            each_command(below, visit);
        }
    }

    fn commands() -> clap::Command {
        let mut command = cli::command();
        command.build();
        command
    }

    #[test]
    fn every_option_that_names_a_file_says_whether_it_is_read_or_written() {
        let mut found = BTreeMap::<_, Vec<_>>::new();
        each_command(&commands(), &mut |command| {
            for arg in command.get_arguments() {
                let (role, name) = (role(arg), format!("{} {}", command.get_name(), arg.get_id()));
                assert_eq!(
                    role != Role::Other,
                    is_path(arg),
                    "{name}: make it an `Input` or an `Output` of `p2p_trace::outfile`, with the hint `FilePath`"
                );
                found.entry(format!("{role:?}")).or_default().push(name);
            }
        });
        let written = &found["Output"];
        for expected in [
            "live ready_file",
            "live record",
            "record output",
            "record ready_file",
            "recover output",
            "report html",
            "top ready_file",
        ] {
            assert!(
                written.iter().any(|name| name == expected),
                "{expected}: {written:?}"
            );
        }
        assert!(found["Input"].len() >= 8, "{:?}", found["Input"]);
    }

    /// A folder with what commands read.
    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let place = Self(tempfile::tempdir().unwrap());
            let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
            fs::copy(tests.join("fixtures/cores/vmcore"), place.path("core")).unwrap();
            fs::copy(tests.join("golden/1/blocked.p2pt"), place.path("dump")).unwrap();
            // Nothing is attached by what gets as far as this.
            fs::write(place.path("no-types"), "no types").unwrap();
            place
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn run(&self, words: &[OsString]) -> Ended {
            self.command(words).output().unwrap()
        }

        fn command(&self, words: &[OsString]) -> Command {
            let mut command = Command::new(env!("CARGO_BIN_EXE_p2p-trace"));
            command
                .args(words)
                .current_dir(self.0.path())
                .env("NO_COLOR", "1")
                .stdin(Stdio::null());
            command
        }

        /// All there is: name, kind, inode, mode and content.
        fn state(&self) -> BTreeMap<OsString, (u64, u32, Vec<u8>)> {
            let entries = fs::read_dir(self.0.path()).unwrap();
            let state = entries.map(|entry| {
                let entry = entry.unwrap();
                let metadata = fs::symlink_metadata(entry.path()).unwrap();
                let content = if metadata.is_file() {
                    fs::read(entry.path()).unwrap()
                } else {
                    Vec::new()
                };
                (entry.file_name(), (metadata.ino(), metadata.mode(), content))
            });
            state.collect()
        }
    }

    /// An option of a command that names a file to write, with the rest of a command line.
    struct Case<'a> {
        command: &'a clap::Command,
        arg: &'a Arg,
    }

    impl Case<'_> {
        fn name(&self) -> String {
            format!("{} {}", self.command.get_name(), self.arg.get_id())
        }

        /// The command line that writes to `value`; with everything that it can read, or with what it must.
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
                        let (_, file) = input.unwrap_or_else(|| panic!("what does {} read?", arg.get_id()));
                        add(arg, file);
                    }
                    Role::Output if arg.get_id() == self.arg.get_id() => add(arg, value),
                    Role::Output if arg.is_required_set() => add(arg, "beside"),
                    Role::Input | Role::Output | Role::Other => {}
                }
            }
            words
        }

        fn is_offline(&self) -> bool {
            OFFLINE.contains(&self.command.get_name())
        }
    }

    /// Runs `test` for each option of each command that names a file to write.
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
        assert!(tested >= 7, "{tested}");
    }

    /// A command line is refused, for this reason, and leaves everything as it was.
    fn refused(case: &Case<'_>, place: &Place, words: &[OsString], code: i32, why: &str) {
        let before = place.state();
        let ended = place.run(words);
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(said.contains(why), "{}: {words:?} says {said}", case.name());
        assert_eq!(
            ended.status.code(),
            Some(code),
            "{}: {words:?} says {said}",
            case.name()
        );
        assert!(
            place.state() == before,
            "{}: {words:?} changes something: {said}",
            case.name()
        );
    }

    #[test]
    fn a_file_that_exists_is_not_written_over() {
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
            refused(
                case,
                place,
                &case.words("folder", true, false),
                3,
                "folder is a folder",
            );
        });
    }

    #[test]
    fn what_is_read_is_never_written_not_even_with_force() {
        each_output(|case, place| {
            let mut tried = 0;
            for arg in case
                .command
                .get_arguments()
                .filter(|arg| role(arg) == Role::Input)
            {
                let (_, input) = INPUTS.iter().find(|(id, _)| arg.get_id() == id).unwrap();
                for name in ["same", "link"] {
                    drop(fs::remove_file(place.path(name)));
                }
                fs::hard_link(place.path(input), place.path("same")).unwrap();
                symlink(input, place.path("link")).unwrap();
                for value in [*input, "same", "link"] {
                    for force in [false, true] {
                        let words = case.words(value, force, true);
                        refused(
                            case,
                            place,
                            &words,
                            64,
                            &format!("{value} is read by this command"),
                        );
                        tried += 1;
                    }
                }
            }
            assert!(tried >= 6, "{} reads nothing", case.name());
        });
    }

    #[test]
    fn force_replaces_what_is_there_once_the_new_file_is_there() {
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
                    // It ends before there is anything new: there is no kernel that has no types.
                    let before = place.state();
                    let ended = place.run(&words);
                    assert!(!ended.status.success(), "{words:?}: {ended:?}");
                    assert!(place.state() == before, "{words:?}: {ended:?}");
                    continue;
                }
                let ended = place.run(&words);
                let said = String::from_utf8_lossy(&ended.stderr);
                assert!(
                    matches!(ended.status.code(), Some(0 | 1)),
                    "{words:?} says {said}"
                );
                let metadata = fs::symlink_metadata(place.path(name)).unwrap();
                assert!(
                    metadata.is_file() && metadata.len() > 1000,
                    "{words:?} says {said}"
                );
                assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
            }
            assert_eq!(fs::read(place.path("target")).unwrap(), b"target");
            // No temporary file is left.
            let names: Vec<_> = place.state().into_keys().collect();
            assert_eq!(names, ["core", "dump", "link", "no-types", "old", "target"]);
        });
    }

    #[test]
    fn what_fails_leaves_what_was_there() {
        let place = Place::new();
        fs::write(place.path("old"), "old").unwrap();
        for words in [
            // Nothing of ours is in it.
            &["recover", "no-types", "--format", "raw", "-o", "old", "--force"][..],
            &["recover", "missing", "-o", "old", "--force"],
            // It is of another run.
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
    fn a_forgotten_name_of_the_page_costs_no_dump() {
        let place = Place::new();
        fs::copy(place.path("dump"), place.path("other")).unwrap();
        let before = place.state();
        let ended = place.run(&["report", "--html", "dump", "other"].map(OsString::from));
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(said.contains("dump exists already"), "{said}");
        assert_eq!(ended.status.code(), Some(3));
        assert!(place.state() == before);
    }

    /// Command lines that write a dump or a page, without the name, and how what they write begins.
    const WRITERS: [(&[&str], &[u8]); 2] = [
        (&["recover", "core", "-o"], b"\x89P2PTD\r\n"),
        (&["report", "dump", "--html"], b"<!DOCTYPE html>"),
    ];

    fn words(begin: &[&str], value: &str) -> Vec<OsString> {
        begin.iter().copied().chain([value]).map(OsString::from).collect()
    }

    #[test]
    fn stdout_is_written_to_as_it_is() {
        let place = Place::new();
        for (begin, expected) in WRITERS {
            let before = place.state();
            let mut whole = Vec::new();
            for value in ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
                // A pipe.
                let ended = place.run(&words(begin, value));
                assert!(matches!(ended.status.code(), Some(0 | 1)), "{ended:?}");
                assert!(ended.stdout.starts_with(expected), "{value}");
                assert!(ended.stdout.len() > 1000 && (whole.is_empty() || whole == ended.stdout));
                assert!(place.state() == before, "{value}");
                whole = ended.stdout;
                // A file, behind what it has already.
                let mut file = tempfile::NamedTempFile::new().unwrap();
                file.write_all(b"before").unwrap();
                let out = file.as_file().try_clone().unwrap();
                let status = place
                    .command(&words(begin, value))
                    .stdout(out)
                    .stderr(Stdio::null())
                    .status();
                assert!(matches!(status.unwrap().code(), Some(0 | 1)));
                let written = fs::read(file.path()).unwrap();
                assert!(written == [&b"before"[..], &whole].concat(), "{value}");
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
}
