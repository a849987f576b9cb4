//! A session of this process: it attaches, takes snapshots of the kernel's state, and with `--watch` follows the events.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use p2p_trace_common::Hook;
use p2p_trace_model::{event::DeviceAddress, stream::Batch, text::Text, units::Clock};
use p2p_trace_probe::{
    kernel::{KernelRoot, clock, devices},
    transport::Request,
};

use super::{follow::Follower, observe::Observe};
use crate::{
    device_report::{Facts, Host, Report, Source, report},
    run::{self as driver, Opened, stop::Stop},
};

/// How long to wait for the kernel's state. It takes some milliseconds per device.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long to wait for the names of symbols in modules.
const NAMES: Duration = Duration::from_secs(2);
/// How long to wait for data.
const WAIT: Duration = Duration::from_millis(10);
/// Records in one batch.
const BUDGET: usize = 4096;

/// A session of this process.
pub(super) struct OneShot {
    opened: Opened,
    follower: Follower,
    root: KernelRoot,
    kernel: Text,
    clock: fn() -> Clock,
}

impl OneShot {
    /// Attaches all hooks if the session continues, otherwise only the hook for snapshots.
    pub(super) fn open(devices: &[DeviceAddress], continues: bool) -> Result<Self> {
        let request = Request {
            devices: devices.iter().map(ToString::to_string).collect(),
            hooks: if continues { Vec::new() } else { vec![Hook::Snapshot] },
            ..Request::default()
        };
        let opened = driver::open(&request, &Stop::default())?;
        Ok(Self::new(opened, KernelRoot::default(), clock::now))
    }

    pub(super) fn new(opened: Opened, root: KernelRoot, clock: fn() -> Clock) -> Self {
        Self { kernel: opened.session.status().kernel, opened, follower: Follower::default(), root, clock }
    }

    /// Follows the session until it has reached `now_ns` and has a snapshot of each device after that.
    fn follow(&mut self, devices: &[DeviceAddress], now_ns: u64, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        let mut batch = Batch::default();
        self.opened.session.snapshot();
        while Instant::now() < deadline {
            batch.clear();
            let polled = self.opened.session.poll(BUDGET, &mut batch);
            polled.map_err(|error| anyhow!("{error}")).context("tracing broke off")?;
            self.follower.take(&batch);
            let is_read = |&device: &DeviceAddress| {
                let model = self.follower.model.device(device);
                let snapshot = model.and_then(p2p_trace_model::state::Device::last_snapshot);
                snapshot.is_some_and(|snapshot| snapshot.to_ns >= now_ns)
            };
            if self.follower.reached_ns >= now_ns && devices.iter().all(is_read) {
                return Ok(());
            }
            self.opened.session.wait(WAIT);
        }
        // The report says which state is missing.
        tracing::info!("the snapshot of the devices did not complete in time");
        Ok(())
    }
}

impl Observe for OneShot {
    fn observe(&mut self, devices: &[DeviceAddress]) -> Result<Report> {
        // A named device without p2p memory is reported too.
        let wanted: Vec<_> = if devices.is_empty() {
            devices::addresses(&self.root)
        } else {
            devices.iter().copied().filter(|&address| devices::exists(&self.root, address)).collect()
        };
        let asked_ns = (self.clock)().boottime_ns;
        self.follow(&wanted, asked_ns, PATIENCE)?;
        let clock = (self.clock)();
        let facts = Facts {
            source: &Source::OneShot,
            kernel: &self.kernel,
            traced: devices,
            host: &Host::read(&self.root, devices.iter().copied()).asked_at(asked_ns),
            symbols: self.opened.symbols.as_ref(),
            clock,
            now_ns: clock.boottime_ns,
        };
        let first = report(&self.follower.model, devices, &facts);
        // The kind of a holder can depend on a symbol name; settling has requested missing names.
        if facts.symbols.settle(Duration::ZERO) {
            return Ok(first);
        }
        facts.symbols.settle(NAMES);
        Ok(report(&self.follower.model, devices, &facts))
    }
}

impl Drop for OneShot {
    fn drop(&mut self) {
        if let Err(error) = self.opened.session.detach() {
            tracing::warn!("cannot detach: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, sync::mpsc};

    use p2p_trace_common::Record;

    use super::*;
    use crate::device_report::Answer;
    use p2p_trace_model::{
        accounting::{Status, Totals},
        event::{
            NoSymbols,
            user::{Run, SnapshotEnd, Writer},
        },
        testing::status as samples,
    };
    use p2p_trace_probe::{
        testing::sysfs,
        transport::{Session, SessionError},
    };

    /// A session that plays batches and then fails. Reports when it is detached.
    struct Played {
        batches: VecDeque<Vec<Record>>,
        snapshots: u32,
        detached: mpsc::Sender<()>,
    }

    impl Session for Played {
        fn status(&self) -> Status {
            samples::status()
        }

        fn wait(&mut self, _timeout: Duration) {}

        fn poll(&mut self, _budget: usize, batch: &mut Batch) -> Result<(), SessionError> {
            assert!(self.snapshots > 0, "no snapshot was requested");
            batch.watermark_ns = samples::CLOCK.boottime_ns + 2_000_000;
            batch.records.extend(self.batches.pop_front().ok_or("nothing left to read")?);
            Ok(())
        }

        fn snapshot(&mut self) {
            self.snapshots += 1;
        }

        fn detach(&mut self) -> Result<(), SessionError> {
            Ok(self.detached.send(())?)
        }

        fn finish(&mut self, _batch: &mut Batch) -> Result<(), SessionError> {
            Ok(())
        }

        fn totals(&mut self) -> Result<Totals, SessionError> {
            Ok(Totals::default())
        }
    }

    #[test]
    fn waits_for_the_snapshot_and_detaches_when_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let root = KernelRoot::at(folder.path());
        sysfs::plant(&root);
        let device = DeviceAddress::from_devfn(0, 3, 0);
        let mut writer = Writer::new(1);
        let run = Run { device, pgmap: None, addr: 0xff11_0000_0000_0000, size: 128 << 10 };
        let mut state = |time_ns| {
            let snapshot_end =
                SnapshotEnd { device, from_ns: time_ns, to_ns: time_ns + 1_000_000, runs: 1, complete: true };
            vec![writer.run(time_ns, &run), writer.snapshot_end(&snapshot_end)]
        };
        let (detached, is_detached) = mpsc::channel();
        let session = Played {
            batches: [vec![], state(4_000_000_000), state(5_000_000_000)].into(),
            snapshots: 0,
            detached,
        };
        let opened = Opened { session: Box::new(session), symbols: Box::new(NoSymbols) };
        let mut one_shot = OneShot::new(opened, root, || samples::CLOCK);
        let report = one_shot.observe(&[]).unwrap();
        assert_eq!(report.source, Source::OneShot);
        let [found] = &report.devices[..] else { panic!("{report:?}") };
        let preexisting = found.preexisting.as_ref().map(|preexisting| preexisting.bytes);
        assert_eq!((found.device.0, preexisting), (device, Some(128 << 10)));
        assert_eq!(report.answer(), Answer::Unknown);
        let error = one_shot.observe(&[]).unwrap_err();
        assert!(format!("{error:#}").contains("nothing left to read"));
        drop(one_shot);
        is_detached.recv().unwrap();
    }
}
