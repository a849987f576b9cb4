//! The crash image: the beginning of an event dump, with a checkpoint. The session keeps it in the kernel's memory, so that a memory
//! dump has more than the records in the rings.

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

/// The shortest time between two images. No new one is made if nothing has changed.
const INTERVAL: Duration = Duration::from_secs(1);
/// Making images takes at most one part in 20 of the time.
const SHARE: u32 = 20;
/// Names in an image at most.
const MAX_NAMES: usize = 1 << 14;
/// References in an image: the largest ones. A lower limit is used if the image would be too large.
const CAPS: [usize; 3] = [4096, 512, 0];
/// Maximum size of an image in bytes.
const MAX_IMAGE: usize = IMAGE_PAGES as usize * PAGE_PAYLOAD;

/// The state from which images are made.
#[derive(Debug)]
pub(super) struct CrashImage {
    header: Header,
    /// Addresses that need names.
    addresses: BTreeSet<u64>,
    /// There were changes since the last image.
    is_new: bool,
    made: Option<Instant>,
    /// How long it took to make the last image.
    cost: Duration,
}

impl CrashImage {
    /// The image of a run that began at `start_ns`, `CLOCK_BOOTTIME`.
    pub(super) fn new(status: &Status, rules: rules::Options, start_ns: u64) -> Self {
        Self {
            header: Header::new(status.clone(), clock::now(), start_ns, rules),
            addresses: BTreeSet::new(),
            is_new: true,
            made: None,
            cost: Duration::ZERO,
        }
    }

    /// The set of attached hooks has changed.
    pub(super) fn changed(&mut self, status: &Status) {
        self.header.status = status.clone();
        self.is_new = true;
        self.made = None;
    }

    /// Notes an event, and looks up its names while their modules are still loaded.
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

    /// The next image, if it is due.
    pub(super) fn due(&mut self, pipeline: &Pipeline, name: impl Fn(u64) -> Option<Text>) -> Option<Image> {
        let interval = INTERVAL.max(self.cost.saturating_mul(SHARE));
        let is_early = self.made.is_some_and(|made| made.elapsed() < interval);
        // An event that waits for its stack is not in the model yet, and would not be delivered again.
        if !self.is_new || is_early || !pipeline.is_settled() {
            return None;
        }
        self.is_new = false;
        let start = Instant::now();
        let bytes = self.bytes(pipeline, name);
        self.cost = start.elapsed();
        self.made = Some(Instant::now());
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

/// The code addresses of an event.
fn addresses(event: &Event) -> impl Iterator<Item = u64> {
    event.caller.into_iter().chain(event.stack.iter().copied())
}
