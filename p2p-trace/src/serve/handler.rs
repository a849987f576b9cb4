//! Answers requests of other p2p-trace processes from the model while tracing.

use std::{
    io,
    time::{Duration, Instant},
};

use p2p_trace_model::{
    event::{DeviceAddress, Symbolize},
    state::{Device, Model},
    text::Text,
    units::Clock,
};
use p2p_trace_probe::kernel::{KernelRoot, devices};

use crate::{
    device_report::{Facts, Source, report},
    run::{Answer, Opened},
    serve::{PendingRequest, Place, RequestQueue},
};

/// Starts to answer requests about a session that is limited to `devices` (empty: not limited). Returns `None` if that is not
/// possible: tracing continues without it.
pub(crate) fn handler(opened: &Opened, devices: &[String], start: &Clock) -> Option<Box<dyn Answer>> {
    let limits = Limits::of_host(devices);
    match Handler::open(limits, opened.session.status().kernel, start) {
        Ok(handler) => Some(Box::new(handler)),
        Err(error) => {
            tracing::info!("`p2p-trace holders` cannot use this tracer: {error}");
            None
        }
    }
}

/// How long an answer waits for a snapshot. After that, the report says which state is missing.
const PATIENCE: Duration = Duration::from_secs(3);

/// The limits of the session.
struct Limits {
    place: Place,
    root: KernelRoot,
    /// The devices that the session is limited to; empty: not limited.
    traced: Vec<DeviceAddress>,
}

impl Limits {
    /// The limits of a session on this host.
    fn of_host(names: &[String]) -> Self {
        let root = KernelRoot::default();
        // An unknown name has already ended the session.
        let traced = names.iter().filter_map(|name| devices::resolve(&root, name).ok()).collect();
        Self { place: Place::of_host(), root, traced }
    }
}

/// The request queue, and the request that is being answered.
struct Handler {
    queue: RequestQueue,
    root: KernelRoot,
    source: Source,
    kernel: Text,
    /// The devices that the session is limited to; empty: not limited.
    traced: Vec<DeviceAddress>,
    waiting: Option<Waiting>,
}

/// A request that waits for a snapshot.
struct Waiting {
    request: PendingRequest,
    /// The devices whose snapshot is needed, and the earliest time of that snapshot.
    devices: Vec<DeviceAddress>,
    asked_ns: u64,
    deadline: Instant,
    /// A first report has requested the lookup of names, which the next one can use.
    has_asked_names: bool,
}

impl Handler {
    /// Starts to listen. Fails if there is no folder for the socket.
    fn open(limits: Limits, kernel: Text, start: &Clock) -> io::Result<Self> {
        let Limits { place, root, traced } = limits;
        let queue = RequestQueue::open(&place, root.clone())?;
        tracing::debug!("answering at {}", Text::from(queue.path()));
        Ok(Self {
            queue,
            root,
            source: Source::Live {
                pid: std::process::id(),
                since: start.rfc3339(start.boottime_ns).into(),
                since_ns: start.boottime_ns,
            },
            kernel,
            traced,
            waiting: None,
        })
    }
}

impl Answer for Handler {
    fn take(&mut self, now_ns: u64) -> bool {
        if self.waiting.is_some() {
            return false;
        }
        let Some(request) = self.queue.next() else {
            return false;
        };
        let asked = |device: &DeviceAddress| request.devices.is_empty() || request.devices.contains(device);
        let traced = |device: &DeviceAddress| self.traced.is_empty() || self.traced.contains(device);
        let listed = devices::addresses(&self.root).into_iter();
        let devices = listed.filter(|device| asked(device) && traced(device)).collect();
        self.waiting = Some(Waiting {
            request,
            devices,
            asked_ns: now_ns,
            deadline: Instant::now() + PATIENCE,
            has_asked_names: false,
        });
        true
    }

    /// Answers after a timeout even without a snapshot.
    fn answer(&mut self, model: &Model, reached_ns: u64, symbols: &dyn Symbolize, clock: Clock) {
        let ready = self.waiting.take_if(|waiting| {
            let is_read = |device: &DeviceAddress| {
                let snapshot = model.device(*device).and_then(Device::last_snapshot);
                snapshot.is_some_and(|snapshot| snapshot.to_ns >= waiting.asked_ns)
            };
            // Even if no device needs a snapshot, all events before the request must have been processed.
            let is_there = reached_ns >= waiting.asked_ns && waiting.devices.iter().all(is_read);
            let is_named = !waiting.has_asked_names || symbols.settle(Duration::ZERO);
            is_there && is_named || Instant::now() >= waiting.deadline
        });
        let Some(waiting) = ready else {
            return;
        };
        let answer = report(
            model,
            &waiting.request.devices,
            &Facts {
                source: &self.source,
                kernel: &self.kernel,
                traced: &self.traced,
                host: &waiting.request.host,
                symbols,
                clock,
                now_ns: clock.boottime_ns,
            },
        );
        // The kind of a holder can depend on a symbol name. This thread does not wait for the lookup.
        if !waiting.has_asked_names && Instant::now() < waiting.deadline && !symbols.settle(Duration::ZERO) {
            self.waiting = Some(Waiting { has_asked_names: true, ..waiting });
            return;
        }
        waiting.request.answer(answer);
    }
}
