//! Stages that run beside others: in a process of their own, which has only what the others leave of the processors. What it says is
//! printed in one piece when it has ended.

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

/// Low: a tenth of what others get who want the same processor.
const PRIORITY: i32 = 10;

/// See the module.
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
        println!("\n== beside the rest: {} ==", stages.join(", "));
        let folder = tempfile::tempdir().context("cannot create a folder")?;
        let rows = folder.path().join("rows");
        let log = folder.path().join("log");
        let out = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let own = std::env::current_exe().context("cannot tell where this task's program is")?;
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
        let mut child = task.spawn().context("cannot start this task once more")?;
        let group = Pid::from_child(&child);
        interrupt::register(group);
        let waiter = thread::spawn(move || {
            let status = child.wait()?;
            print!("{}", String::from_utf8_lossy(&fs::read(&log)?));
            Ok(status)
        });
        Ok(Self { waiter, group, rows, _folder: folder })
    }

    /// Waits for its end, and gives what its stages came to.
    ///
    /// # Errors
    ///
    /// It ended without saying.
    pub(crate) fn finish(self) -> Result<Summary> {
        let ended = self.waiter.join().unwrap_or_else(|_panic| Err(io::ErrorKind::Other.into()));
        interrupt::unregister(self.group);
        interrupt::check()?;
        let status = ended.context("cannot wait for the stages beside the rest")?;
        let rows = fs::read_to_string(&self.rows)
            .with_context(|| format!("the stages beside the rest ended with {status} and say nothing"))?;
        serde_json::from_str(&rows).context("what the stages beside the rest came to is not understood")
    }
}

/// For the task that [`Background`] starts: leaves what it came to where the other one finds it.
///
/// # Errors
///
/// It cannot be written.
pub(super) fn tell(rows: &PathBuf, summary: &Summary) -> Result<()> {
    let text = serde_json::to_string(summary)?;
    fs::write(rows, text).with_context(|| format!("cannot write {}", rows.display()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::summary::{Outcome, Row};

    #[test]
    fn what_stages_came_to_is_handed_over() {
        let folder = tempfile::tempdir().unwrap();
        let rows = folder.path().join("rows");
        let failed = Outcome::Failed("reason".to_owned());
        let summary = Summary::from(Row::single("docs", failed, Duration::from_millis(1500)));
        tell(&rows, &summary).unwrap();
        let task = Background {
            waiter: thread::spawn(|| Ok(ExitStatus::default())),
            group: Pid::INIT,
            rows,
            _folder: folder,
        };
        assert_eq!(task.finish().unwrap().to_string(), summary.to_string());
    }

    #[test]
    fn a_task_that_says_nothing_has_failed() {
        let folder = tempfile::tempdir().unwrap();
        let task = Background {
            waiter: thread::spawn(|| Ok(ExitStatus::default())),
            group: Pid::INIT,
            rows: folder.path().join("rows"),
            _folder: folder,
        };
        let error = task.finish().unwrap_err().to_string();
        assert!(error.contains("say nothing"), "{error}");
    }
}
