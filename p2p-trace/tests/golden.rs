//! Golden dumps of each version of the format stay readable and give the same output. `P2P_TRACE_BLESS=1 cargo test` rewrites the
//! expected output, but not the dumps.

#![expect(clippy::disallowed_methods, reason = "the expected output is rewritten on request")]

#[cfg(test)]
mod tests {
    use std::{
        env, fs,
        path::{Path, PathBuf},
        process::Command,
    };

    /// The commands to run on each dump, and the extensions of the files with the expected output.
    const COMMANDS: [(&[&str], &str); 3] = [
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

    fn output(arguments: &[&str], dump: &Path) -> String {
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
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        format!("{stdout}{stderr}exit code {code}\n")
    }

    #[test]
    fn golden_dumps_give_the_expected_output() {
        for dump in (1..=CURRENT).flat_map(dumps) {
            for (arguments, suffix) in COMMANDS {
                let output = output(arguments, &dump);
                let expected = dump.with_extension(suffix);
                if env::var_os("P2P_TRACE_BLESS").is_some() {
                    fs::write(&expected, &output).unwrap();
                }
                let kept = fs::read_to_string(&expected).unwrap_or_default();
                let differs = kept.lines().zip(output.lines()).find(|(kept, line)| kept != line);
                assert_eq!(differs, None, "{}", expected.to_string_lossy());
                assert_eq!(kept, output, "{}", expected.to_string_lossy());
            }
        }
    }

    #[test]
    fn golden_dumps_have_the_version_of_their_folder() {
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
