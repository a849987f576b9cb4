//! Priority of threads that must not wait for a CPU.

/// Nice value of a thread whose work is short, and whose delays cause missed events.
const NICE: i32 = -10;

/// Raises the priority of the current thread. Without `CAP_SYS_NICE` it stays unchanged.
pub(super) fn hurry(task: &str) {
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!("the thread that {task} keeps its priority: {error}");
    }
}
