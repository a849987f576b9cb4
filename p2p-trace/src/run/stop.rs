//! The request to stop a run: by SIGINT or SIGTERM, or by the program itself. A second signal ends the program at once.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// A flag that is set when the run is to stop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop {
    /// The number of the signal that was received; 0: none.
    signal: Arc<AtomicUsize>,
    /// The next signal ends the program at once, because the run has not started, or because it is the second signal.
    is_fatal: Arc<AtomicBool>,
    /// Set by the program. Separate from the signals, so that the first signal does not count as the second.
    asked: Arc<AtomicBool>,
}

impl Stop {
    /// A flag that signals set.
    pub(crate) fn on_signals() -> io::Result<Self> {
        let stop = Self::before_start()?;
        stop.started();
        Ok(stop)
    }

    /// A flag that signals set once the run has [started](Self::started). Until then they end the program at once, even in the
    /// kernel's verifier; the kernel detaches the hooks. Ignoring SIGINT until then is no alternative, because shells start
    /// background jobs with SIGINT ignored.
    #[cfg(unix)]
    pub(crate) fn before_start() -> io::Result<Self> {
        use signal_hook::{
            consts::{SIGINT, SIGTERM},
            flag,
        };
        let stop = Self::default();
        stop.is_fatal.store(true, Ordering::Relaxed);
        for signal in [SIGINT, SIGTERM] {
            // The order matters: the second signal needs to find the flag that the first one sets.
            flag::register_conditional_default(signal, Arc::clone(&stop.is_fatal))?;
            flag::register(signal, Arc::clone(&stop.is_fatal))?;
            flag::register_usize(signal, Arc::clone(&stop.signal), signal as usize)?;
        }
        Ok(stop)
    }

    /// A flag that is never set by a signal.
    #[cfg(not(unix))]
    #[expect(clippy::unnecessary_wraps, reason = "it can fail on other systems")]
    pub(crate) fn before_start() -> io::Result<Self> {
        Ok(Self::default())
    }

    /// From now on, a signal lets the run finish.
    pub(crate) fn started(&self) {
        self.is_fatal.store(false, Ordering::Relaxed);
    }

    /// Checked between hooks while they are attached. From the first call on, a signal no longer ends the program at once: the
    /// program detaches hooks with several threads in a fraction of the time that the kernel needs to detach those of a dead process one
    /// by one.
    #[cfg(feature = "trace")]
    pub(crate) fn is_set_while_attaching(&self) -> bool {
        self.started();
        self.is_set()
    }

    /// Ends the program as the received signal would have by default. Without a signal it does nothing.
    #[cfg(feature = "trace")]
    pub(crate) fn end_by_signal(&self) {
        let signal = self.signal.load(Ordering::Relaxed);
        if signal != 0 {
            signal_hook::low_level::emulate_default_handler(signal as i32).unwrap_or_default();
        }
    }

    /// A flag that SIGUSR1 sets, which does not stop the run.
    #[cfg(unix)]
    pub(crate) fn asked_by_signal() -> io::Result<Arc<AtomicBool>> {
        let asked = Arc::default();
        signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&asked))?;
        Ok(asked)
    }

    /// A flag that is never set: there is no such signal.
    #[cfg(not(unix))]
    #[expect(clippy::unnecessary_wraps, reason = "it can fail on other systems")]
    pub(crate) fn asked_by_signal() -> io::Result<Arc<AtomicBool>> {
        Ok(Arc::default())
    }

    /// Lets another signal set the flag.
    #[cfg(all(unix, feature = "tui"))]
    pub(crate) fn on(&self, signal: i32) -> io::Result<()> {
        signal_hook::flag::register(signal, Arc::clone(&self.asked)).map(drop)
    }

    pub(crate) fn is_set(&self) -> bool {
        self.signal.load(Ordering::Relaxed) != 0 || self.asked.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }
}
