//! The output of the command line. `TRYCMD=overwrite cargo test` rewrites the expectations.

#[cfg(test)]
mod tests {
    #[test]
    fn the_output_of_the_command_line_is_as_expected() {
        let cases = trycmd::TestCases::new();
        cases.env("COLUMNS", "100").env("NO_COLOR", "1").case("tests/cmd/*.trycmd");
    }

    /// Either without a writer, or with a writer that writes nothing.
    #[cfg(unix)]
    #[expect(clippy::disallowed_methods, reason = "it opens a FIFO and creates no file")]
    #[test]
    fn a_signal_ends_the_following_of_a_fifo() {
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
            // If it has not caught the signal yet, the signal ends it as well.
            thread::sleep(Duration::from_millis(500));
            kill_process(Pid::from_child(&replay), Signal::TERM).unwrap();
            let signalled = Instant::now();
            while replay.try_wait().unwrap().is_none() {
                if signalled.elapsed() > Duration::from_secs(10) {
                    replay.kill().unwrap();
                    panic!("it is still running (open for writing: {is_open})");
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
}
