//! When to stop: SIGINT or SIGTERM, of which a second one ends the program at once, or when the program itself has seen
//! enough.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// Set when it is time to stop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop {
    /// The number of the signal that has arrived; 0: none has.
    signal: Arc<AtomicUsize>,
    /// The next signal ends the program at once: there is nothing to finish yet, or it is the second one.
    is_fatal: Arc<AtomicBool>,
    /// Apart from the signals, so that the first of them is not taken for the second.
    asked: Arc<AtomicBool>,
}

impl Stop {
    /// One that the signals set.
    pub(crate) fn on_signals() -> io::Result<Self> {
        let stop = Self::before_start()?;
        stop.started();
        Ok(stop)
    }

    /// One that the signals set once something has [started](Self::started). Until then they end the program at once, whatever
    /// it is doing, in the kernel's verifier too: the kernel detaches what was attached. Shells have what they start in the
    /// background ignore SIGINT, so that leaving it alone would not do.
    #[cfg(unix)]
    pub(crate) fn before_start() -> io::Result<Self> {
        use signal_hook::{
            consts::{SIGINT, SIGTERM},
            flag,
        };
        let stop = Self::default();
        stop.is_fatal.store(true, Ordering::Relaxed);
        for signal in [SIGINT, SIGTERM] {
            // In this order: the second signal finds the flag set by the first.
            flag::register_conditional_default(signal, Arc::clone(&stop.is_fatal))?;
            flag::register(signal, Arc::clone(&stop.is_fatal))?;
            flag::register_usize(signal, Arc::clone(&stop.signal), signal as usize)?;
        }
        Ok(stop)
    }

    /// One that nothing sets.
    #[cfg(not(unix))]
    #[expect(clippy::unnecessary_wraps, reason = "it can fail elsewhere")]
    pub(crate) fn before_start() -> io::Result<Self> {
        Ok(Self::default())
    }

    /// From now on there is something to finish when a signal arrives.
    pub(crate) fn started(&self) {
        self.is_fatal.store(false, Ordering::Relaxed);
    }

    /// Asked between one hook and the next while they are attached. From the first time on a signal is noted and no longer
    /// ends the program at once: hooks are detached by several threads in a fraction of the time that the kernel takes, one by one,
    /// for those of a program that is gone.
    #[cfg(feature = "trace")]
    pub(crate) fn is_set_while_attaching(&self) -> bool {
        self.started();
        self.is_set()
    }

    /// Ends the program as the signal that was noted would have; without one it does nothing.
    #[cfg(feature = "trace")]
    pub(crate) fn end_by_signal(&self) {
        let signal = self.signal.load(Ordering::Relaxed);
        if signal != 0 {
            signal_hook::low_level::emulate_default_handler(signal as i32).unwrap_or_default();
        }
    }

    /// Set by SIGUSR1, which asks for something and stops nothing.
    #[cfg(unix)]
    pub(crate) fn asked_by_signal() -> io::Result<Arc<AtomicBool>> {
        let asked = Arc::default();
        signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&asked))?;
        Ok(asked)
    }

    /// There is no such signal.
    #[cfg(not(unix))]
    #[expect(clippy::unnecessary_wraps, reason = "it can fail elsewhere")]
    pub(crate) fn asked_by_signal() -> io::Result<Arc<AtomicBool>> {
        Ok(Arc::default())
    }

    /// Another signal that sets it.
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
