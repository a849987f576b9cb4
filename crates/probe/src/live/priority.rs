//! Threads that must not wait for a processor.

/// Of a thread that is quick, and whose delay costs what is then not seen.
const NICE: i32 = -10;

/// Puts the current thread before others. Without `CAP_SYS_NICE` it stays where it is.
pub(super) fn hurry(what_it_does: &str) {
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!("the thread that {what_it_does} keeps its priority: {error}");
    }
}
