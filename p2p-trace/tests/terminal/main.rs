//! The dashboard on a terminal, with dumps that were recorded in a guest: its keys, its sizes, and that it restores the
//! terminal however it ends.

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

    use super::shell::{Shell, is_fullscreen};

    /// Rows and columns.
    const LARGE: [u16; 2] = [40, 130];
    const SMALL: [u16; 2] = [24, 80];

    const ENTER: &str = "\r";
    const RIGHT: &str = "\x1b[C";
    const LEFT: &str = "\x1b[D";

    /// Starts the dashboard for a golden dump, in a folder for the files it writes.
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
        assert!(!shell.is_restored(), "the terminal is not in raw mode");
    }

    /// Sends keys, and waits for a screen with all of the expected texts.
    fn leads_to(shell: &mut Shell, keys: &str, expected: &[&str]) -> String {
        shell.keys(keys);
        shell.wait_for(&format!("{expected:?} after {keys:?}"), |screen| {
            let shown = screen.contents();
            is_fullscreen(screen) && expected.iter().all(|text| shown.contains(text))
        })
    }

    fn quit(shell: &mut Shell) {
        shell.keys("q");
        shell.wait_for_exit(0);
    }

    #[test]
    fn replay_keys() {
        let (mut shell, _folder) = replay("blocked.p2pt");
        for (keys, expected) in [
            ("n", &["create pages"][..]),
            ("t", &["unbind"]),
            ("f", &["stalled-", "VIOLATED", "BLOCKED", "held by p2pdio["]),
            ("2", &["CALLED FROM", "p2pdio[", "mmap"]),
            ("3", &["WAITING", "DRAINED", "KILL"]),
            ("4", &["message", "held by"]),
            ("5", &["KILL", "driver remove"]),
            ("6", &["Memory allocated"]),
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
            // Play the complete run at a hundred times its speed.
            ("++++++", &["x100"]),
            (" ", &["end x100 +"]),
            ("T", &["stopped x100"]),
            ("/", &["filter:"]),
            ("process:nobody", &["no device matches the filter"]),
            (ENTER, &["filter: process:nobody"]),
        ] {
            leads_to(&mut shell, keys, expected);
        }
        shell.keys("\x1b");
        shell.wait_for("no filter", |screen| {
            let shown = screen.contents();
            !shown.contains("filter: ") && shown.contains("0000:03:00.0")
        });
        leads_to(&mut shell, "s", &["DEVICE▼"]);
        leads_to(&mut shell, "S", &["DEVICE▲"]);
        quit(&mut shell);
    }

    #[test]
    fn replay_exports_to_files() {
        let (mut shell, folder) = replay("busy.p2pt");
        for (keys, expected) in [
            ("]", "end +"),
            ("2", "CALLED FROM"),
            ("e", "written to p2p-trace-allocated-"),
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
        // The written dump can be replayed.
        let program = env!("CARGO_BIN_EXE_p2p-trace");
        shell.run(&format!("'{program}' replay --text p2p-trace-dump-* > text"));
        shell.wait_for_exit(0);
        let text = fs::read_to_string(folder.path().join("text")).unwrap();
        assert!(text.contains("alloc"), "{text}");
        // Write errors are shown.
        shell.run("mkdir none; cd none; rmdir ../none");
        shell.wait_for_exit(0);
        start(&mut shell, "busy.p2pt");
        leads_to(&mut shell, "e", &["cannot create p2p-trace-"]);
        leads_to(&mut shell, "E", &["cannot create p2p-trace-dump-"]);
        quit(&mut shell);
    }

    #[test]
    fn redraws_on_resize() {
        let (mut shell, _folder) = replay("blocked.p2pt");
        leads_to(&mut shell, "f", &[" p2p-trace  1 Overview", "BLOCKED"]);
        shell.resize(SMALL);
        let small = leads_to(&mut shell, "", &["1Overview 2Allocated", "q quit", "held by p2pdio["]);
        assert_eq!(small.lines().count(), usize::from(SMALL[0]), "{small}");
        shell.resize([8, 30]);
        leads_to(&mut shell, "", &["needs 40 x 10"]);
        shell.resize(LARGE);
        leads_to(&mut shell, "", &[" p2p-trace  1 Overview", "BLOCKED"]);
        quit(&mut shell);
    }

    #[test]
    fn ends_on_sigterm() {
        let (mut shell, _folder) = replay("blocked.p2pt");
        // It also ends while it is playing.
        leads_to(&mut shell, " ", &["playing"]);
        shell.signal(Signal::TERM);
        shell.wait_for_exit(0);
    }

    #[test]
    fn suspends_and_resumes() {
        let (mut shell, _folder) = replay("blocked.p2pt");
        for by_key in [false, true] {
            if by_key {
                shell.keys("\x1a");
            } else {
                shell.signal(Signal::TSTP);
            }
            // It stops itself after it has restored the terminal.
            shell.wait_for_exit(128 + Signal::STOP.as_raw());
            shell.run("fg");
            leads_to(&mut shell, "", &["stopped +0"]);
        }
        leads_to(&mut shell, "f", &["BLOCKED"]);
        quit(&mut shell);
    }

    #[test]
    fn ends_when_the_terminal_is_closed() {
        let (shell, _folder) = replay("blocked.p2pt");
        let stat = format!("/proc/{}/stat", shell.running().as_raw_nonzero());
        // A zombie still has a process id.
        let runs = || fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
        assert!(runs(), "the dashboard is not running");
        drop(shell);
        let deadline = Instant::now() + Duration::from_mins(1);
        while runs() {
            assert!(Instant::now() < deadline, "the dashboard keeps running without a terminal");
            thread::sleep(Duration::from_millis(50));
        }
    }
}
