//! Log statements of the kernel side, which arrive through aya-log, as text.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use aya::Ebpf;
use aya_log::EbpfLogger;
use p2p_trace_common::{
    Hook,
    statement::{DEVICE, HOOK, WHAT, What},
};
use p2p_trace_model::{
    event::DeviceAddress,
    stream::{Diagnostic, Level},
};

/// The level at which nothing is logged.
const OFF: u32 = 0;

/// A level as the number that the kernel side compares.
pub(super) fn number(level: Option<Level>) -> u32 {
    level.map_or(OFF, |level| match level {
        Level::Error => aya_log::Level::Error,
        Level::Warn => aya_log::Level::Warn,
        Level::Info => aya_log::Level::Info,
        Level::Debug => aya_log::Level::Debug,
        Level::Trace => aya_log::Level::Trace,
    } as u32)
}

const fn level(level: log::Level) -> Level {
    match level {
        log::Level::Error => Level::Error,
        log::Level::Warn => Level::Warn,
        log::Level::Info => Level::Info,
        log::Level::Debug => Level::Debug,
        log::Level::Trace => Level::Trace,
    }
}

/// Statements that were logged and not yet collected.
#[derive(Clone, Default)]
struct Statements(Arc<Mutex<Vec<(Level, String)>>>);

impl log::Log for Statements {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let statement = (level(record.level()), in_words(&record.args().to_string()));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(statement);
    }

    fn flush(&self) {}
}

/// The reading end of the kernel side's log.
pub(super) struct Diagnostics {
    logger: EbpfLogger<Statements>,
    statements: Statements,
}

impl Diagnostics {
    /// Connects to the log of this object's programs.
    pub(super) fn of(ebpf: &mut Ebpf) -> Result<Self, aya_log::Error> {
        let statements = Statements::default();
        Ok(Self { logger: EbpfLogger::init_with_logger(ebpf, statements.clone())?, statements })
    }

    /// Appends the statements up to `now_ns`. The log holds 128 KiB, which bounds the size of one batch.
    pub(super) fn collect(&mut self, now_ns: u64, diagnostics: &mut Vec<Diagnostic>) {
        self.logger.flush();
        let statements =
            mem::take(&mut *self.statements.0.lock().unwrap_or_else(PoisonError::into_inner)).into_iter();
        diagnostics.extend(statements.map(|(level, text)| Diagnostic::new(now_ns, level, &text)));
    }
}

/// A statement with the words that the kernel side encodes as numbers.
fn in_words(text: &str) -> String {
    let words: Vec<_> = text.split(' ').map(|word| worded(word).unwrap_or_else(|| word.to_owned())).collect();
    words.join(" ")
}

/// The text of an encoded word; `None` if the word is not encoded.
fn worded(word: &str) -> Option<String> {
    let (word, colon) = word.strip_suffix(':').map_or((word, ""), |word| (word, ":"));
    let name = if let Some(number) = word.strip_prefix(HOOK) {
        Hook::from_u8(number.parse().ok()?)?.name().to_owned()
    } else if let Some(number) = word.strip_prefix(WHAT) {
        What::from_u8(number.parse().ok()?)?.name().to_owned()
    } else {
        let word = u64::from_str_radix(word.strip_prefix(DEVICE)?, 16).ok()?;
        DeviceAddress::from_devfn(word as u32, (word >> 32) as u8, (word >> 40) as u8).to_string()
    };
    Some(format!("{name}{colon}"))
}

#[cfg(test)]
mod tests {
    use log::Log as _;

    use super::*;

    #[test]
    fn in_words_decodes_numbers() {
        assert_eq!(in_words("hook#3: filters out pci#80300000000"), "alloc: filters out 0000:03:01.0");
        assert_eq!(
            in_words("hook#24: cannot read what#3 0xffff8881"),
            "kill: cannot read the allocated bytes of the pgmap at 0xffff8881"
        );
        assert_eq!(
            in_words("what#8 7 is in use by another program"),
            "the burst of page frees of CPU 7 is in use by another program"
        );
    }

    #[test]
    fn in_words_keeps_other_words() {
        for text in ["", "hook#200: x", "what#255 1", "pci#x", "hook#", "a  b"] {
            assert_eq!(in_words(text), text);
        }
    }

    #[test]
    fn levels_match_the_kernel_side() {
        assert_eq!(number(None), 0);
        let levels = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];
        assert_eq!(levels.map(|level| number(Some(level))), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn log_keeps_statements_as_text() {
        let statements = Statements::default();
        let record = log::Record::builder().level(log::Level::Debug).args(format_args!("hook#4: x")).build();
        statements.log(&record);
        assert_eq!(*statements.0.lock().unwrap(), [(Level::Debug, "free: x".to_owned())]);
    }
}
