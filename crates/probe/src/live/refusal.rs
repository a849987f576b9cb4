//! Error messages for programs that the kernel rejects.

use std::{
    env,
    fs::File,
    io::{self, Write as _},
    iter,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use aya::programs::ProgramError;
use p2p_trace_model::text::Text;

use super::attach::describe;

/// Bytes of a verifier log that are kept: its end, which contains the reason. A complete log can have 16 MiB, for each program.
const KEPT: usize = 256 << 10;
/// File names to try.
const NUMBERS: u32 = 1_000;
/// Maximum length of the verifier's reason in a message, in characters.
const REASON: usize = 120;

/// A sentence that says why `program` could not be loaded. The verifier's log is written to a file that the sentence names.
pub(super) fn load_error(program: &str, error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            refused(program, io_error, &verifier_log.to_string(), &env::temp_dir())
        }
        other => describe(other),
    }
}

fn refused(program: &str, error: &io::Error, log: &str, folder: &Path) -> String {
    if log.trim().is_empty() {
        return format!("the kernel rejected the program {program}: {error}");
    }
    let reason = reason(log).map_or_else(String::new, |reason| format!(" ({reason})"));
    let kept = match keep(program, log, folder) {
        Ok(path) => format!("its log is in {}", Text::from(path.as_path())),
        Err(error) => format!("its log could not be saved: {error}"),
    };
    format!("the verifier rejected the program {program}: {error}{reason}; {kept}")
}

/// The last message of the verifier before its statistics.
fn reason(log: &str) -> Option<String> {
    let mut lines = log.lines().rev().map(str::trim);
    let reason = lines.find(|line| !line.is_empty() && !line.starts_with("processed "))?;
    let visible = reason.chars().filter(|character| !character.is_control());
    Some(visible.take(REASON).collect())
}

/// Writes the end of the log to a new file, with a number in its name if the name is in use.
#[expect(clippy::disallowed_methods, reason = "it opens no existing file")]
fn keep(program: &str, log: &str, folder: &Path) -> Result<PathBuf, String> {
    let first = folder.join(format!("p2p-trace-{program}.log"));
    let others = (1..NUMBERS).map(|number| folder.join(format!("p2p-trace-{program}-{number}.log")));
    let mut failed = None;
    for path in iter::once(first).chain(others) {
        let created = File::options().write(true).create_new(true).mode(0o600).open(&path);
        match created {
            Ok(mut file) => {
                let written = file.write_all(end(log).as_bytes());
                return written
                    .map(|()| path.clone())
                    .map_err(|error| format!("cannot write {}: {error}", Text::from(path.as_path())));
            }
            Err(error) => {
                let exists = error.kind() == io::ErrorKind::AlreadyExists;
                failed = Some(format!("cannot create {}: {error}", Text::from(path.as_path())));
                if !exists {
                    break;
                }
            }
        }
    }
    Err(failed.unwrap_or_default())
}

/// The last complete lines of a long log.
fn end(log: &str) -> &str {
    let from = log.len().saturating_sub(KEPT);
    if from == 0 {
        return log;
    }
    let tail = (from..log.len()).find_map(|at| log.get(at..)).unwrap_or_default();
    tail.split_once('\n').map_or(tail, |(_cut, complete)| complete)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn too_large() -> io::Error {
        io::Error::from_raw_os_error(7)
    }

    #[test]
    fn load_error_is_one_sentence_and_the_log_goes_to_a_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let log = "0: (bf) r6 = r1\nBPF program is too large. Processed 1000001 insn\n\
                   processed 1000001 insns (limit 1000000) max_states_per_insn 32\n";
        let sentence = refused("kill_kprobe", &too_large(), log, folder.path());
        let path = folder.path().join("p2p-trace-kill_kprobe.log");
        assert_eq!(
            sentence,
            format!(
                "the verifier rejected the program kill_kprobe: Argument list too long (os error 7) (BPF program is too \
                 large. Processed 1000001 insn); its log is in {}",
                Text::from(path.as_path())
            )
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), log);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = refused("kill_kprobe", &too_large(), log, folder.path());
        assert!(again.ends_with("p2p-trace-kill_kprobe-1.log"), "{again}");
    }

    #[test]
    fn a_long_log_is_cut_and_a_failed_save_is_reported() {
        let line = "é: a line of the log\n";
        let log = line.repeat(2 * KEPT / line.len());
        assert!(end(&log).len() <= KEPT && end(&log).starts_with('é'));
        assert_eq!(end(line), line);
        let sentence = refused("alloc_fexit", &too_large(), &log, Path::new("/nowhere"));
        assert!(
            sentence.contains(
                "its log could not be saved: cannot create /nowhere/p2p-trace-alloc_fexit.log: No such file"
            ),
            "{sentence}"
        );
        assert!(!sentence.contains('\n'), "{sentence}");
    }

    #[test]
    fn names_the_kernel_if_there_is_no_log() {
        let sentence = refused("alloc_fexit", &too_large(), "", Path::new("/nowhere"));
        assert_eq!(
            sentence,
            "the kernel rejected the program alloc_fexit: Argument list too long (os error 7)"
        );
    }
}
