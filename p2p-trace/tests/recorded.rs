//! What was saved of a real kernel that died is recovered, and judged.

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, process::Command};

    /// What a crash kernel saved of a Linux 7.3 that died of a use of removed memory, but for the pages that have nothing of ours.
    #[test]
    fn the_memory_of_a_real_dead_kernel_tells_why_it_died() {
        let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/dump/tests/fixtures/cores/vmcore");
        let dump = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vmcore.p2pt");
        if dump.exists() {
            fs::remove_file(&dump).unwrap();
        }
        let run = |command: &mut Command, code| {
            let output = command.env("NO_COLOR", "1").output().unwrap();
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8(said).unwrap();
            assert_eq!(output.status.code(), Some(code), "{said}");
            said
        };
        let tracer = || Command::new(env!("CARGO_BIN_EXE_p2p-trace"));
        let said = run(tracer().arg("recover").arg(core).arg("-o").arg(&dump), 0);
        for words in [
            "Linux 7.3.4+deb13-amd64",
            "62 records recovered, 0 missing",
            "the kernel side had begun 45 records when it stopped: each of them is here",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        let said = run(tracer().arg("check").arg(&dump), 1);
        for words in [
            "VIOLATED        use-after-removal (critical",
            "sh (pid 349) mapped memory for DMA by 0000:04:00.0",
            // What was attached is only known of what wrote a record: the image of that is not among the pages.
            "removed-before-drained, drained-after-removal, stalled-drain (hook drained not enabled)",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }
}
