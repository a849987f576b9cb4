//! The dashboard on a terminal, over dumps that were recorded in a guest: its keys, its sizes, and that it leaves the terminal
//! as it was, however it ends.

#![cfg(all(target_os = "linux", feature = "tui"))]

#[cfg(test)]
mod shell;

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::PermissionsExt as _,
        path::Path,
        thread,
        time::{Duration, Instant},
    };

    use rustix::process::Signal;
    use tempfile::TempDir;

    use super::shell::{Shell, is_allocated};

    /// Rows and columns.
    const LARGE: [u16; 2] = [40, 130];
    const SMALL: [u16; 2] = [24, 80];

    const ENTER: &str = "\r";
    const RIGHT: &str = "\x1b[C";
    const LEFT: &str = "\x1b[D";

    /// The dashboard over a golden dump, in a folder for what it writes.
    fn replay(dump: &str) -> (Shell, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let mut shell = Shell::new(LARGE, folder.path());
        start(&mut shell, dump);
        (shell, folder)
    }

    fn start(shell: &mut Shell, dump: &str) {
        let dump = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/1").join(dump);
        let program = env!("CARGO_BIN_EXE_p2p-trace");
        shell.run(&format!("'{program}' replay '{}'", dump.to_string_lossy()));
        leads_to(shell, "", &["stopped +0"]);
        assert!(!shell.is_as_before(), "keys come line by line");
    }

    /// Keys lead to a screen with all of this.
    fn leads_to(shell: &mut Shell, keys: &str, expected: &[&str]) -> String {
        shell.keys(keys);
        shell.wait_for(&format!("{expected:?} after {keys:?}"), |screen| {
            let shown = screen.contents();
            is_allocated(screen) && expected.iter().all(|text| shown.contains(text))
        })
    }

    fn quit(shell: &mut Shell) {
        shell.keys("q");
        shell.ended(0);
    }

    #[test]
    fn a_replay_goes_where_its_keys_say() {
        let (mut shell, _folder) = replay("blocked.p2pt");
        for (keys, expected) in [
            ("n", &["create pages"][..]),
            ("t", &["unbind"]),
            ("f", &["stalled-", "VIOLATED", "BLOCKED", "taken by p2pdio["]),
            ("2", &["CALLED FROM", "p2pdio[", "mmap"]),
            ("3", &["WAITING", "DRAINED", "KILL"]),
            ("4", &["what", "taken by"]),
            ("5", &["KILL", "driver remove"]),
            ("6", &["Memory taken"]),
            ("7", &["stalled-drain", "VIOLATED"]),
            ("?", &["to the next finding"]),
            ("?", &["stalled-drain"]),
            ("1", &["DEVICE"]),
            ("@", &["go to time:"]),
            ("+0.5", &["+0.5"]),
            (ENTER, &["stopped +500.0 ms"]),
            (RIGHT, &["stopped +1.5 s"]),
            (LEFT, &["stopped +500.0 ms"]),
            ("]", &["end +", "no teardown under way", "released"]),
            ("[", &["stopped +0"]),
            // The whole run at a hundred times its speed, to its end.
            ("++++++", &["x100"]),
            (" ", &["end x100 +"]),
            ("T", &["stopped x100"]),
            ("/", &["filter:"]),
            ("process:nobody", &["none matches the filter"]),
            (ENTER, &["filter: process:nobody"]),
        ] {
            leads_to(&mut shell, keys, expected);
        }
        shell.keys("\x1b");
        shell.wait_for("that nothing is filtered", |screen| {
            let shown = screen.contents();
            !shown.contains("filter: ") && shown.contains("0000:03:00.0")
        });
        leads_to(&mut shell, "s", &["DEVICE▼"]);
        leads_to(&mut shell, "S", &["DEVICE▲"]);
        quit(&mut shell);
    }

    #[test]
    fn a_replay_writes_what_it_shows_to_files() {
        let (mut shell, folder) = replay("busy.p2pt");
        for (keys, expected) in [
            ("]", "end +"),
            ("2", "CALLED FROM"),
            ("e", "written to p2p-trace-taken-"),
            ("5", "Events"),
            ("e", "written to p2p-trace-events-"),
            ("E", "written to p2p-trace-dump-"),
        ] {
            leads_to(&mut shell, keys, &[expected]);
        }
        quit(&mut shell);
        let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(Result::unwrap).collect();
        assert_eq!(files.len(), 3, "{files:?}");
        for file in &files {
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
        }
        // What was written is a dump.
        let program = env!("CARGO_BIN_EXE_p2p-trace");
        shell.run(&format!("'{program}' replay --text p2p-trace-dump-* > text"));
        shell.ended(0);
        let text = fs::read_to_string(folder.path().join("text")).unwrap();
        assert!(text.contains("alloc"), "{text}");
        // Where nothing can be written, it says so.
        shell.run("mkdir none; cd none; rmdir ../none");
        shell.ended(0);
        start(&mut shell, "busy.p2pt");
        leads_to(&mut shell, "e", &["cannot create p2p-trace-"]);
        leads_to(&mut shell, "E", &["cannot create p2p-trace-dump-"]);
        quit(&mut shell);
    }

    #[test]
    fn it_is_drawn_anew_when_the_size_changes() {
        let (mut shell, _folder) = replay("blocked.p2pt");
        leads_to(&mut shell, "f", &[" p2p-trace  1 Overview", "BLOCKED"]);
        shell.resize(SMALL);
        let small = leads_to(&mut shell, "", &["1Overview 2Taken", "q quit", "taken by p2pdio["]);
        assert_eq!(small.lines().count(), usize::from(SMALL[0]), "{small}");
        shell.resize([8, 30]);
        leads_to(&mut shell, "", &["needs 40 x 10"]);
        shell.resize(LARGE);
        leads_to(&mut shell, "", &[" p2p-trace  1 Overview", "BLOCKED"]);
        quit(&mut shell);
    }

    #[test]
    fn a_signal_ends_it() {
        let (mut shell, _folder) = replay("blocked.p2pt");
        // It may just be playing.
        leads_to(&mut shell, " ", &["playing"]);
        shell.signal(Signal::TERM);
        shell.ended(0);
    }

    #[test]
    fn it_can_be_stopped_and_goes_on() {
        let (mut shell, _folder) = replay("blocked.p2pt");
        for by_key in [false, true] {
            if by_key {
                shell.keys("\x1a");
            } else {
                shell.signal(Signal::TSTP);
            }
            // It stops itself when it has given the terminal back.
            shell.ended(128 + Signal::STOP.as_raw());
            shell.run("fg");
            leads_to(&mut shell, "", &["stopped +0"]);
        }
        leads_to(&mut shell, "f", &["BLOCKED"]);
        quit(&mut shell);
    }

    #[test]
    fn it_ends_when_the_terminal_is_closed() {
        let (shell, _folder) = replay("blocked.p2pt");
        let stat = format!("/proc/{}/stat", shell.running().as_raw_nonzero());
        // One that nobody has waited for is still there.
        let runs = || fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
        assert!(runs(), "it does not run");
        drop(shell);
        let deadline = Instant::now() + Duration::from_mins(1);
        while runs() {
            assert!(Instant::now() < deadline, "it goes on without a terminal");
            thread::sleep(Duration::from_millis(50));
        }
    }
}
