//! What a memory dump of this kernel has to hold beside the records: an image of the beginning of an event dump, given to
//! the session now and then, which keeps it in the kernel's memory.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::{
    account::Status,
    dump::{Header, Writer},
    event::{Event, assemble::Element},
    kernel::clock,
    pipeline::Step,
    rules,
};

/// How often it is given anew, if anything in it is new.
const INTERVAL: Duration = Duration::from_secs(1);
/// Names that are kept for it.
const MAX_NAMES: usize = 1 << 14;

/// The image in the making.
#[derive(Debug)]
pub(super) struct Mirroring {
    header: Header,
    names: HashMap<u64, String>,
    /// Something has changed since the last image.
    is_new: bool,
    given: Option<Instant>,
}

impl Mirroring {
    /// Of a run that began at `start_ns`, `CLOCK_BOOTTIME`.
    pub(super) fn new(status: &Status, rules: rules::Options, start_ns: u64) -> Self {
        Self {
            header: Header::new(status.clone(), clock::now(), start_ns, rules),
            names: HashMap::new(),
            is_new: true,
            given: None,
        }
    }

    /// What is attached has changed.
    pub(super) fn changed(&mut self, status: &Status) {
        self.header.status = status.clone();
        self.is_new = true;
        self.given = None;
    }

    /// Learns the names that an element needs.
    pub(super) fn step(&mut self, step: &Step<'_>, name: impl Fn(u64) -> Option<String>) {
        let Element::Event(event) = step.element else {
            return;
        };
        for address in addresses(event) {
            if self.names.len() >= MAX_NAMES || self.names.contains_key(&address) {
                continue;
            }
            if let Some(name) = name(address) {
                self.names.insert(address, name);
                self.is_new = true;
            }
        }
    }

    /// The image, if it is time for a new one.
    pub(super) fn due(&mut self) -> Option<Vec<u8>> {
        if !self.is_new || self.given.is_some_and(|given| given.elapsed() < INTERVAL) {
            return None;
        }
        self.is_new = false;
        self.given = Some(Instant::now());
        let mut writer = Writer::new(Vec::new(), self.header.clone()).ok()?;
        for (address, name) in &self.names {
            writer.symbol(*address, name).ok()?;
        }
        writer.flush().ok()?;
        Some(std::mem::take(writer.get_mut()))
    }
}

/// The addresses of an event that have names.
fn addresses(event: &Event) -> impl Iterator<Item = u64> {
    event.caller.into_iter().chain(event.stack.iter().copied())
}
