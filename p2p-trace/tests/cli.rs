//! What the command line answers. `TRYCMD=overwrite cargo test` writes the expectations anew.

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_answers_as_documented() {
        let cases = trycmd::TestCases::new();
        cases.env("COLUMNS", "100").env("NO_COLOR", "1").case("tests/cmd/*.trycmd");
    }

    /// Nobody writes to the FIFO, or somebody has it open and says nothing.
    #[cfg(unix)]
    #[expect(clippy::disallowed_methods, reason = "a FIFO is opened, and no file created")]
    #[test]
    fn a_fifo_that_is_followed_ends_by_a_signal() {
        use std::{
            fs::OpenOptions,
            process::{Command, Stdio},
            thread,
            time::{Duration, Instant},
        };

        use rustix::process::{Pid, Signal, kill_process};

        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        for is_open in [false, true] {
            let _writer = is_open.then(|| OpenOptions::new().read(true).write(true).open(&fifo).unwrap());
            let mut replay = Command::new(env!("CARGO_BIN_EXE_p2p-trace"));
            replay.args(["replay", "--follow", "--json"]).arg(&fifo);
            let mut replay = replay.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            // It may be too early for it to have caught the signal, which ends it then too.
            thread::sleep(Duration::from_millis(500));
            kill_process(Pid::from_child(&replay), Signal::TERM).unwrap();
            let signalled = Instant::now();
            while replay.try_wait().unwrap().is_none() {
                if signalled.elapsed() > Duration::from_secs(10) {
                    replay.kill().unwrap();
                    panic!("it goes on (open for writing: {is_open})");
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
}
