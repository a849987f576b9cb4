//! What a guest is doing when it should have been done: for the report of a failure.

use std::time::Duration;

use anyhow::Result;

use super::session::Guest;

/// Something did not happen in its time. What the guest does instead is worth a look.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Stuck(pub(crate) String);

/// How long the guest gets to tell.
const PATIENCE: Duration = Duration::from_secs(30);
/// Lines that are shown; the kernel's own account stays in the console's log.
const MOST: usize = 150;

/// Each thread that can be blocked: all of user space but the agent, and whatever waits uninterruptibly. With state, system call and stack.
/// In the end the kernel writes all its blocked tasks, and then all tasks, to its console (Linux:
/// Documentation/admin-guide/sysrq.rst), which shows them only at its highest level.
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
    /// Where its threads are. Its state is unknown after that.
    ///
    /// # Errors
    ///
    /// It is gone.
    pub(crate) fn evidence(&mut self) -> Result<Vec<String>> {
        self.extend(PATIENCE * 2);
        self.expect_complaints();
        let job = self.spawn(SCRIPT)?;
        let ended = self.wait_within(job, PATIENCE)?;
        let mut lines = ended.map_or_else(|| self.printed(job).to_vec(), |output| output.out);
        if lines.is_empty() {
            lines.push("the guest does not answer any more".to_owned());
        }
        lines.truncate(MOST);
        Ok(lines)
    }
}
