//! The state of a guest that is stuck, for the report of a failure.

use std::time::Duration;

use anyhow::Result;

use super::session::Guest;

/// An expected event did not happen in time. The guest's state may explain why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Stuck(pub(crate) String);

/// How long the guest may take to report.
const PATIENCE: Duration = Duration::from_secs(30);
/// Maximum number of lines; the kernel's own report stays in the console's log.
const MOST: usize = 150;

/// Each thread that can be blocked: all of user space except for the agent, and every thread in
/// uninterruptible sleep, with state, system call and stack. Finally the kernel writes its blocked tasks, and
/// then all tasks, to its console (Linux: Documentation/admin-guide/sysrq.rst), which shows them only at its
/// highest level.
const SCRIPT: &str = r#"
for t in /proc/[0-9]*/task/[0-9]*; do
    comm=; state=
    while read -r key value; do
        case $key in Name:) comm=$value ;; State:) state=$value; break ;; esac
    done 2>/dev/null <$t/status
    read -r mapped 2>/dev/null <$t/maps
    case $comm in init|p2p-agent) continue ;; esac
    [ -n "$mapped" ] || case $state in D*) ;; *) continue ;; esac
    mapped=
    echo "$t ($comm) $state"
    cat $t/syscall $t/stack 2>/dev/null
done
echo 8 >/proc/sys/kernel/printk
echo w >/proc/sysrq-trigger
echo t >/proc/sysrq-trigger
"#;

impl Guest {
    /// The state of the guest's threads. The guest's own state is unknown afterwards.
    ///
    /// # Errors
    ///
    /// The guest has exited.
    pub(crate) fn evidence(&mut self) -> Result<Vec<String>> {
        self.extend(PATIENCE * 2);
        self.expect_complaints();
        let job = self.spawn(SCRIPT)?;
        let ended = self.wait_within(job, PATIENCE)?;
        let mut lines = ended.map_or_else(|| self.printed(job).to_vec(), |output| output.out);
        if lines.is_empty() {
            lines.push("the guest does not answer".to_owned());
        }
        lines.truncate(MOST);
        Ok(lines)
    }
}
