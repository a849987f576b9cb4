//! Stages that run in the background: in a separate process with low priority. Its output is printed when it
//! has exited.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, nice, set_parent_process_death_signal};
use tempfile::TempDir;

use crate::host::interrupt;
use crate::summary::Summary;

/// Low priority: about a tenth of the share of a normal process on the same processor.
const PRIORITY: i32 = 10;

/// A process that runs stages in the background.
#[derive(Debug)]
pub(crate) struct Background {
    waiter: JoinHandle<io::Result<ExitStatus>>,
    group: Pid,
    rows: PathBuf,
    _folder: TempDir,
}

impl Background {
    /// Starts `cargo xtask test` for these stages.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub(crate) fn start(stages: &[String]) -> Result<Self> {
        interrupt::watch()?;
        interrupt::check()?;
        println!("\n== in the background: {} ==", stages.join(", "));
        let folder = tempfile::tempdir().context("cannot create a folder")?;
        let rows = folder.path().join("rows");
        let log = folder.path().join("log");
        let out = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let own = std::env::current_exe().context("cannot find this task's program")?;
        let mut task = Command::new(own);
        task.arg("test")
            .args(stages.iter().flat_map(|stage| ["--only", stage]))
            .arg("--rows")
            .arg(&rows)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .process_group(0);
        // SAFETY: the closure makes two system calls, allocates nothing and takes no lock.
        unsafe {
            task.pre_exec(|| {
                nice(PRIORITY)?;
                set_parent_process_death_signal(Some(Signal::TERM))?;
                Ok(())
            });
        }
        let mut child = task.spawn().context("cannot start this task in the background")?;
        let group = Pid::from_child(&child);
        interrupt::register(group);
        let waiter = thread::spawn(move || {
            let status = child.wait()?;
            print!("{}", String::from_utf8_lossy(&fs::read(&log)?));
            Ok(status)
        });
        Ok(Self { waiter, group, rows, _folder: folder })
    }

    /// Waits until the process has exited, and returns the results of its stages.
    ///
    /// # Errors
    ///
    /// It exited without a result.
    pub(crate) fn finish(self) -> Result<Summary> {
        let ended = self.waiter.join().unwrap_or_else(|_panic| Err(io::ErrorKind::Other.into()));
        interrupt::unregister(self.group);
        interrupt::check()?;
        let status = ended.context("cannot wait for the stages in the background")?;
        let rows = fs::read_to_string(&self.rows)
            .with_context(|| format!("the stages in the background exited without a result ({status})"))?;
        serde_json::from_str(&rows).context("the result of the stages in the background is not valid")
    }
}

/// Writes the results of the task that [`Background`] started to the file that it reads.
///
/// # Errors
///
/// The file cannot be written.
pub(super) fn write_results(rows: &PathBuf, summary: &Summary) -> Result<()> {
    let text = serde_json::to_string(summary)?;
    fs::write(rows, text).with_context(|| format!("cannot write {}", rows.display()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::summary::{Outcome, Row};

    #[test]
    fn passes_results_through_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let rows = folder.path().join("rows");
        let failed = Outcome::Failed("reason".to_owned());
        let summary = Summary::from(Row::single("docs", failed, Duration::from_millis(1500)));
        write_results(&rows, &summary).unwrap();
        let task = Background {
            waiter: thread::spawn(|| Ok(ExitStatus::default())),
            group: Pid::INIT,
            rows,
            _folder: folder,
        };
        assert_eq!(task.finish().unwrap().to_string(), summary.to_string());
    }

    #[test]
    fn fails_without_a_result() {
        let folder = tempfile::tempdir().unwrap();
        let task = Background {
            waiter: thread::spawn(|| Ok(ExitStatus::default())),
            group: Pid::INIT,
            rows: folder.path().join("rows"),
            _folder: folder,
        };
        let error = task.finish().unwrap_err().to_string();
        assert!(error.contains("without a result"), "{error}");
    }
}
