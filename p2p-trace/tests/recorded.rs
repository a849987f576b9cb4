//! Dumps that were recorded in guests come to what they came to when they were added. `P2P_TRACE_BLESS=1 cargo test` writes
//! the expectations anew.

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path, process::Command};

    /// With what they end, for `check`.
    const DUMPS: [(&str, i32); 3] = [
        ("fixtures/dumps/flight.p2pt", 1),
        ("fixtures/dumps/rotated.p2pt", 1),
        ("dumps/blocked.p2pt", 1),
    ];

    #[test]
    fn recorded_dumps_come_to_the_same_as_ever() {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        for (dump, code) in DUMPS {
            let stem = Path::new(dump).file_stem().unwrap().to_str().unwrap();
            for (arguments, suffix, code) in [
                (["check", "--json"], "check.json", code),
                (["replay", "--text"], "replay.txt", 0),
            ] {
                let output = Command::new(env!("CARGO_BIN_EXE_p2p-trace"))
                    .args(arguments)
                    .arg(dump)
                    .current_dir(&tests)
                    .env("NO_COLOR", "1")
                    .env("TZ", "Asia/Kolkata")
                    .output()
                    .unwrap();
                let said = String::from_utf8(output.stdout).unwrap();
                let err = String::from_utf8_lossy(&output.stderr);
                assert_eq!(output.status.code(), Some(code), "{arguments:?} {dump}: {err}");
                let expected = tests.join("expected").join(format!("{stem}.{suffix}"));
                if env::var_os("P2P_TRACE_BLESS").is_some() {
                    fs::create_dir_all(expected.parent().unwrap()).unwrap();
                    fs::write(&expected, &said).unwrap();
                }
                let kept = fs::read_to_string(&expected).unwrap();
                let differs = kept.lines().zip(said.lines()).find(|(kept, said)| kept != said);
                assert_eq!(differs, None, "{}", expected.display());
                assert_eq!(kept, said, "{}", expected.display());
            }
        }
    }
    /// What a crash kernel saved of a Linux 7.3 that died of a use of removed memory, but for the pages that have nothing of ours.
    #[test]
    fn the_memory_of_a_real_dead_kernel_tells_why_it_died() {
        let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cores/vmcore");
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
            "VIOLATED        removed-before-drained (critical",
            "VIOLATED        use-after-removal (critical",
            "taken by sh (pid 333)",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }
}
