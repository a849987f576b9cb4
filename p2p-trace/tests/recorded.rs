//! Recovers and checks the memory dump of a real crashed kernel.

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, process::Command};

    /// A memory dump that a crash kernel saved of a Linux 7.3 after a use of removed memory, reduced to the pages with records.
    #[test]
    fn the_dump_of_a_crashed_kernel_shows_the_cause() {
        let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/dump/tests/fixtures/cores/vmcore");
        let dump = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vmcore.p2pt");
        if dump.exists() {
            fs::remove_file(&dump).unwrap();
        }
        let run = |command: &mut Command, code| {
            let output = command.env("NO_COLOR", "1").output().unwrap();
            let bytes = [output.stdout, output.stderr].concat();
            let text = String::from_utf8(bytes).unwrap();
            assert_eq!(output.status.code(), Some(code), "{text}");
            text
        };
        let tracer = || Command::new(env!("CARGO_BIN_EXE_p2p-trace"));
        let output = run(tracer().arg("recover").arg(core).arg("-o").arg(&dump), 0);
        for words in [
            "Linux 7.3.4+deb13-amd64",
            "62 records recovered, 0 missing",
            "the kernel side had started 45 records when the kernel stopped: all are in the dump",
        ] {
            assert!(output.contains(words), "{words}: {output}");
        }
        let output = run(tracer().arg("check").arg(&dump), 1);
        for words in [
            "VIOLATED        use-after-removal (critical",
            "sh (pid 349) mapped memory for DMA by 0000:04:00.0",
            // Without the page of the image, only hooks that wrote a record are known to be attached.
            "removed-before-drained, drained-after-removal, stalled-drain (hook drained not enabled)",
        ] {
            assert!(output.contains(words), "{words}: {output}");
        }
    }
}
