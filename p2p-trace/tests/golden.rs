//! Golden files of each version of the dump's format: whatever is changed, they are read, and say what they said when they were
//! added. `P2P_TRACE_BLESS=1 cargo test` writes anew what they say, never the dumps.

#![expect(clippy::disallowed_methods, reason = "what dumps say is written anew when asked for")]

#[cfg(test)]
mod tests {
    use std::{
        env, fs,
        path::{Path, PathBuf},
        process::Command,
    };

    /// What is asked of each, and how the answer's file is called.
    const QUESTIONS: [(&[&str], &str); 3] = [
        (&["check"], "check.txt"),
        (&["check", "--json"], "check.json"),
        (&["replay", "--text"], "replay.txt"),
    ];
    /// The version that is written now.
    const CURRENT: u8 = 1;

    fn golden() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
    }

    fn dumps(version: u8) -> Vec<PathBuf> {
        let entries = fs::read_dir(golden().join(version.to_string())).unwrap();
        let mut dumps: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        dumps.retain(|path| path.extension().is_some_and(|extension| extension == "p2pt"));
        dumps.sort();
        dumps
    }

    fn answer(arguments: &[&str], dump: &Path) -> String {
        let name = dump.file_name().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_p2p-trace"))
            .args(arguments)
            .arg(name)
            .current_dir(dump.parent().unwrap())
            .env("NO_COLOR", "1")
            .env("TZ", "Asia/Kolkata")
            .output()
            .unwrap();
        let code = output.status.code().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let complaints = String::from_utf8(output.stderr).unwrap();
        // Without the time and the place in the code that they begin with.
        let complaints: String = complaints
            .lines()
            .filter_map(|line| line.split_once(": "))
            .flat_map(|(_, words)| [words, "\n"])
            .collect();
        format!("{said}{complaints}exit code {code}\n")
    }

    #[test]
    fn golden_dumps_say_what_they_ever_said() {
        for dump in (1..=CURRENT).flat_map(dumps) {
            for (arguments, suffix) in QUESTIONS {
                let said = answer(arguments, &dump);
                let expected = dump.with_extension(suffix);
                if env::var_os("P2P_TRACE_BLESS").is_some() {
                    fs::write(&expected, &said).unwrap();
                }
                let kept = fs::read_to_string(&expected).unwrap_or_default();
                let differs = kept.lines().zip(said.lines()).find(|(kept, said)| kept != said);
                assert_eq!(differs, None, "{}", expected.to_string_lossy());
                assert_eq!(kept, said, "{}", expected.to_string_lossy());
            }
        }
    }

    #[test]
    fn each_version_has_golden_dumps_that_are_of_it() {
        for version in 1..=CURRENT {
            let dumps = dumps(version);
            assert!(dumps.len() >= 5, "{dumps:?}");
            for dump in dumps {
                let bytes = fs::read(&dump).unwrap();
                assert_eq!(
                    bytes[..9],
                    *[&b"\x89P2PTD\r\n"[..], &[version]].concat(),
                    "{}",
                    dump.to_string_lossy()
                );
            }
        }
        assert_eq!(CURRENT, p2p_trace_dump::block::FORMAT, "a version without golden dumps");
    }
}
