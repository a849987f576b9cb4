//! What a memory dump of this kernel has to hold beside the records: an image of the beginning of an event dump, with what is
//! true now, given to the session now and then, which keeps it in the kernel's memory.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use p2p_trace_common::crash_image::{IMAGE_PAGES, PAGE_PAYLOAD};
use p2p_trace_dump::{Checkpoint, Header, Writer};
use p2p_trace_model::{
    accounting::Status,
    event::Event,
    pipeline::{Pipeline, Step},
    rules,
    stream::assemble::Element,
    text::Text,
};
use p2p_trace_probe::{kernel::clock, transport::Image};

/// How often it is given anew, at most, if anything in it is new.
const INTERVAL: Duration = Duration::from_secs(1);
/// Making it takes at most one part in so many of the time.
const SHARE: u32 = 20;
/// Names that it has.
const MAX_NAMES: usize = 1 << 14;
/// References that it tells, the largest; fewer where what belongs to them finds no room.
const CAPS: [usize; 3] = [4096, 512, 0];
/// Bytes of the largest image.
const MAX_IMAGE: usize = IMAGE_PAGES as usize * PAGE_PAYLOAD;

/// The image in the making.
#[derive(Debug)]
pub(super) struct CrashImage {
    header: Header,
    /// Addresses that need names.
    addresses: BTreeSet<u64>,
    /// Something has changed since the last image.
    is_new: bool,
    given: Option<Instant>,
    /// How long the last one took to make.
    cost: Duration,
}

impl CrashImage {
    /// Of a run that began at `start_ns`, `CLOCK_BOOTTIME`.
    pub(super) fn new(status: &Status, rules: rules::Options, start_ns: u64) -> Self {
        Self {
            header: Header::new(status.clone(), clock::now(), start_ns, rules),
            addresses: BTreeSet::new(),
            is_new: true,
            given: None,
            cost: Duration::ZERO,
        }
    }

    /// What is attached has changed.
    pub(super) fn changed(&mut self, status: &Status) {
        self.header.status = status.clone();
        self.is_new = true;
        self.given = None;
    }

    /// Takes note that something happened, and has what it needs named while its modules are loaded.
    pub(super) fn step(&mut self, step: &Step<'_>, name: impl Fn(u64) -> Option<Text>) {
        let Element::Event(event) = step.element else {
            return;
        };
        self.is_new = true;
        for address in addresses(event) {
            if self.addresses.len() < MAX_NAMES && self.addresses.insert(address) {
                name(address);
            }
        }
    }

    /// The image, if it is time for a new one.
    pub(super) fn due(&mut self, pipeline: &Pipeline, name: impl Fn(u64) -> Option<Text>) -> Option<Image> {
        let interval = INTERVAL.max(self.cost.saturating_mul(SHARE));
        let is_early = self.given.is_some_and(|given| given.elapsed() < interval);
        // An event that waits for its stack is in no model yet, and would not be told again.
        if !self.is_new || is_early || !pipeline.is_settled() {
            return None;
        }
        self.is_new = false;
        let start = Instant::now();
        let bytes = self.bytes(pipeline, name);
        self.cost = start.elapsed();
        self.given = Some(Instant::now());
        let is_calm = |device: &p2p_trace_model::state::Device| device.pending_teardown().is_none();
        Some(Image { bytes: bytes?, is_calm: pipeline.model().devices().all(is_calm) })
    }

    fn bytes(&self, pipeline: &Pipeline, name: impl Fn(u64) -> Option<Text>) -> Option<Vec<u8>> {
        let named = self.addresses.iter().filter_map(|&address| Some((address, name(address)?)));
        let names: Vec<_> = named.collect();
        let image = |checkpoint| self.image(&names, checkpoint);
        if pipeline.reached_ns() == 0 {
            return image(None);
        }
        let run = self.header.status.run;
        let capped = CAPS.into_iter().filter_map(|cap| image(Some(Checkpoint::capped(pipeline, run, cap))));
        let mut fitting = capped.filter(|image| image.len() <= MAX_IMAGE);
        fitting.next().or_else(|| image(None))
    }

    fn image(&self, names: &[(u64, Text)], checkpoint: Option<Checkpoint>) -> Option<Vec<u8>> {
        let mut writer = Writer::new(Vec::new(), self.header.clone()).ok()?;
        for (address, name) in names {
            writer.symbol(*address, name).ok()?;
        }
        if let Some(checkpoint) = checkpoint {
            writer.checkpoint(&checkpoint).ok()?;
        }
        writer.flush().ok()?;
        Some(std::mem::take(writer.get_mut()))
    }
}

/// The addresses of an event that have names.
fn addresses(event: &Event) -> impl Iterator<Item = u64> {
    event.caller.into_iter().chain(event.stack.iter().copied())
}
