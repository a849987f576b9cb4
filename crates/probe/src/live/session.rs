//! A live session: reads the rings of the attached kernel side, and arms and disarms hooks.

use std::{
    fs, mem,
    os::fd::{AsFd as _, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use aya::maps::{MapData, RingBuf};
use p2p_trace_common::{Config, Hook, Kind, Record, hook::HOOK_SLOTS};
use p2p_trace_model::{
    accounting::{Accounting, Device, HookState, HookStatus, RingSizes, SequenceQuality, Status, Totals},
    event::{Affected, DeviceAddress, Loss, SkipRow, user::Writer},
    stream::Batch,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    armed_hooks::ArmedHooks,
    crash_image::CrashImageMap,
    diagnostics::Diagnostics,
    error::ProbeError,
    holders::HolderProcesses,
    load::{load_helper, map_armed, map_arrays, map_crash_image, take_map, vmemmap},
    mapping::Arrays,
    prepare::Prepared,
    setup::Features,
    skipped::Skipped,
    snapshot::{Reading, Snapshotter},
    sys,
};
use crate::{
    attach_methods::AttachMethods,
    kernel::{
        KernelRoot,
        btf::Btf,
        clock::{asleep_ns, boottime_ns as now_ns},
        devices,
        release::Release,
        symbols::Symbols,
    },
    live::{
        attach::{Hooks, Misses},
        priority::hurry,
    },
    transport::{Image, Request, Rings, Session, SessionError},
};

/// Minimum time between two `tick` records, and between two checks for exited holders.
const TICK: Duration = Duration::from_secs(1);

/// How long page frees may stay in a burst that no event flushes.
const BURST_AGE: Duration = Duration::from_millis(50);

/// The kernel side, loaded and attached.
pub struct LiveSession {
    hooks: Arc<Mutex<Hooks>>,
    /// The miss counters of hooks that stay attached, for use while `hooks` is locked.
    misses: Vec<(Hook, Arc<Misses>)>,
    /// Set when the hooks are to be detached for good.
    closed: Arc<AtomicBool>,
    /// The program that writes bursts of page frees as records.
    flush: OwnedFd,
    arrays: Arrays,
    crash_image: CrashImageMap,
    rings: Rings,
    sizes: RingSizes,
    doorbell: RingBuf<MapData>,
    /// `None` if none were requested, or they could not be set up.
    diagnostics: Option<Diagnostics>,
    armed_hooks: ArmedHooks,
    writer: Writer,
    features: Features,
    root: KernelRoot,
    release: String,
    config: Config,
    flushed: Instant,
    snapshotter: Snapshotter,
    holders: HolderProcesses,
    ticked: Instant,
    skipped: Skipped,
    /// The set of attached hooks has changed, which has not been reported yet.
    is_changed: bool,
    /// The last record of user space has been written.
    ended: bool,
}

impl LiveSession {
    /// Loads and attaches the kernel side. `symbols` and `btf` are those of the running kernel, read once by the caller;
    /// `is_interrupted` is called between hooks.
    ///
    /// # Errors
    ///
    /// [`ProbeError`]; nothing stays attached in that case.
    pub fn start(
        root: &KernelRoot,
        symbols: &Symbols,
        btf: &Btf,
        request: &Request,
        attach_methods: AttachMethods,
        is_interrupted: &dyn Fn() -> bool,
    ) -> Result<Self, ProbeError> {
        let Prepared { mut ebpf, kernel_types, plan, rings, config, features, devices } =
            Prepared::new(root, symbols, btf, request)?;
        let arrays = map_arrays(&ebpf, config.run, &rings)?;
        let crash_image = map_crash_image(&ebpf, &config)?;
        let doorbell = take_map(&mut ebpf, "DOORBELL")?;
        let diagnostics = request.diagnostics.and_then(|_| {
            Diagnostics::of(&mut ebpf)
                .inspect_err(|error| tracing::warn!("no diagnostics from the kernel side: {error}"))
                .ok()
        });
        let armed_table = map_armed(&ebpf)?;
        let flush = load_helper(&mut ebpf, "flush_bursts")?;
        let vmemmap = vmemmap(&mut ebpf, &config)?;
        let mut snapshotter = Snapshotter::new(&mut ebpf, root, &devices, now_ns())?;
        let mut hooks = Hooks::new(ebpf, kernel_types, plan, attach_methods, features);
        tracing::debug!("attaching");
        hooks.attach_all(is_interrupted)?;
        tracing::debug!("attached");
        let answers =
            |status: &HookStatus| status.hook == Hook::Snapshot && status.state == HookState::Attached;
        snapshotter.set_attached(hooks.statuses().iter().any(answers));
        let closed = hooks.closed();
        let misses = hooks.misses();
        let hooks = Arc::new(Mutex::new(hooks));
        let armed_hooks = ArmedHooks::new(Arc::clone(&hooks), armed_table, vmemmap);
        Ok(Self {
            hooks,
            misses,
            closed,
            flush,
            rings: Rings::new(&rings, config.run),
            sizes: rings.sizes(),
            arrays,
            crash_image,
            doorbell,
            diagnostics,
            armed_hooks,
            writer: Writer::new(config.run),
            features,
            root: root.clone(),
            release: Release::read(root).map(|release| release.as_str().to_owned()).unwrap_or_default(),
            config,
            flushed: Instant::now(),
            snapshotter,
            holders: HolderProcesses::new(root),
            ticked: Instant::now(),
            skipped: Skipped::new(now_ns()),
            is_changed: false,
            ended: false,
        })
    }

    fn hooks(&self) -> MutexGuard<'_, Hooks> {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush_bursts(&mut self) -> Result<(), ProbeError> {
        self.flushed = Instant::now();
        sys::run_once(self.flush.as_fd()).map_err(ProbeError::system("write the bursts of page frees"))
    }

    /// Takes snapshots of the devices that are due: states arrive through the rings, the rest is appended.
    fn snapshot_due(&mut self, batch: &mut Batch) -> Result<(), ProbeError> {
        let due = self.snapshotter.due(now_ns());
        if due.is_empty() {
            return Ok(());
        }
        self.flush_bursts()?;
        let from_ns = now_ns();
        self.snapshotter.begin()?;
        let readings: Vec<_> =
            due.into_iter().filter_map(|device| self.snapshotter.read(device, now_ns())).collect();
        self.snapshotter.end();
        // Frees before a bitmap was read must precede the end of the snapshot in the stream.
        self.flush_bursts()?;
        self.report_readings(readings, from_ns, batch);
        Ok(())
    }

    fn report_readings(&mut self, readings: Vec<Reading>, from_ns: u64, batch: &mut Batch) {
        let to_ns = now_ns();
        for reading in readings {
            batch.records.extend(reading.records(&mut self.writer, from_ns, to_ns));
        }
    }

    /// Reports that time has passed, and which holders have exited.
    fn tick(&mut self, batch: &mut Batch) {
        if self.ticked.elapsed() < TICK {
            return;
        }
        self.ticked = Instant::now();
        let now_ns = now_ns();
        self.holders.check(now_ns, &mut self.writer, &mut batch.records);
        self.report_skipped(now_ns, batch);
        batch.records.push(self.writer.tick_asleep(now_ns, asleep_ns()));
    }

    /// Reports the runs that the kernel has skipped since the last call.
    fn report_skipped(&mut self, now_ns: u64, batch: &mut Batch) {
        // Records without numbers do not show which ring they belong to, either.
        let dropped = if self.features.fetch_add { 0 } else { self.arrays.dropped() };
        // The lock is held while armed hooks are being attached, which is slow; then report next time.
        let Ok(hooks) = self.hooks.try_lock() else { return };
        let runs: Vec<_> = hooks.missed().collect();
        drop(hooks);
        let losses = self.skipped.since(now_ns, runs, dropped);
        self.report_losses(&losses, now_ns, now_ns, batch);
    }

    /// Reports skipped steps before a removal: whether the run of the drain hook was skipped must be known before the rules evaluate it.
    fn report_skipped_steps(&mut self, first: usize, batch: &mut Batch) {
        let of_removal = |record: &&Record| record.kind == Kind::Remove as u8;
        let removals = batch.records[first..].iter().filter(of_removal);
        let Some(removed_ns) = removals.map(|record| record.time_ns).min() else {
            return;
        };
        // Armed hooks observe no steps, so there is no need to wait until they are attached.
        let runs: Vec<_> = match self.hooks.try_lock() {
            Ok(hooks) => hooks.missed().collect(),
            Err(_) => self.misses.iter().map(|(hook, misses)| (*hook, misses.read())).collect(),
        };
        let now_ns = now_ns();
        let losses = self.skipped.steps(now_ns, runs);
        self.report_losses(&losses, now_ns, removed_ns.saturating_sub(1), batch);
    }

    /// Reports losses in the stream's time order, and requests new snapshots of the devices.
    fn report_losses(&mut self, losses: &[Loss], now_ns: u64, report_ns: u64, batch: &mut Batch) {
        let is_read_anew = |loss: &Loss| loss.affected().is_none_or(Affected::is_read_anew);
        if losses.iter().any(is_read_anew) {
            self.snapshotter.lose(now_ns);
        }
        let writer = &mut self.writer;
        batch.records.extend(losses.iter().map(|loss| writer.late_loss(report_ns, loss)));
    }

    /// Appends the log statements of the kernel side.
    fn collect_diagnostics(&mut self, batch: &mut Batch) {
        if let Some(diagnostics) = &mut self.diagnostics {
            diagnostics.collect(now_ns(), &mut batch.diagnostics);
        }
    }

    /// Passes a record to the parts of the session that react to records.
    fn follow(&mut self, record: &Record) {
        // First, since hooks to be armed are needed at once.
        self.armed_hooks.follow(record);
        self.snapshotter.follow(record);
        self.holders.follow(record);
    }
}

impl Session for LiveSession {
    fn status(&self) -> Status {
        let sequence =
            if self.features.fetch_add { SequenceQuality::Exact } else { SequenceQuality::Partial };
        let hooks = self.hooks();
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            kernel: self.release.clone().into(),
            boot_id: fs::read_to_string(self.root.proc.join("sys/kernel/random/boot_id"))
                .unwrap_or_default()
                .trim()
                .into(),
            run: self.config.run,
            cpus: self.config.cpus,
            rings: self.sizes,
            accounting: Accounting { sequence, missed: hooks.missed_quality() },
            hooks: hooks.statuses(),
            devices: devices::list(&self.root).into_iter().map(device).collect(),
        }
    }

    fn reading(&mut self) {
        // The reader must keep up with tasks that cause more events than the machine can handle.
        hurry("reads");
    }

    fn wait(&mut self, timeout: Duration) {
        let mut timeout = timeout;
        if self.arrays.has_bursts() {
            timeout = timeout.min(BURST_AGE);
        }
        if let Some(next) = self.rings.next_poll() {
            timeout = timeout.min(next);
        }
        if let Some(next_ns) = self.snapshotter.next_try_ns() {
            timeout = timeout.min(Duration::from_nanos(next_ns.saturating_sub(now_ns())));
        }
        let timeout =
            Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
        let mut descriptors = [PollFd::new(&self.doorbell, PollFlags::IN)];
        // If the wait is interrupted, it only ends early.
        poll(&mut descriptors, Some(&timeout)).unwrap_or_default();
        while self.doorbell.next().is_some() {}
    }

    fn poll(&mut self, budget: usize, batch: &mut Batch) -> Result<(), SessionError> {
        self.collect_diagnostics(batch);
        if self.flushed.elapsed() >= BURST_AGE && self.arrays.has_bursts() {
            self.flush_bursts()?;
        }
        let (first, losses) = (batch.records.len(), batch.losses.len());
        self.rings.poll(&self.arrays, now_ns(), budget, batch);
        for index in first..batch.records.len() {
            let record = batch.records[index];
            self.follow(&record);
        }
        self.report_skipped_steps(first, batch);
        if batch.losses.len() > losses {
            self.snapshotter.lose(now_ns());
        }
        self.armed_hooks.drain_changes(&mut self.writer, batch);
        // While hooks are being attached or detached, which is slow, the set of attached hooks cannot be read; then report next time.
        self.is_changed |= mem::take(&mut batch.changed);
        batch.changed = self.is_changed && self.hooks.try_lock().is_ok();
        self.is_changed &= !batch.changed;
        self.snapshot_due(batch)?;
        self.tick(batch);
        self.crash_image.records(&batch.records[first..]);
        Ok(())
    }

    fn crash_image(&mut self, image: &Image) {
        self.crash_image.image(image);
    }

    fn snapshot(&mut self) {
        self.snapshotter.demand(now_ns());
    }

    fn detach(&mut self) -> Result<(), SessionError> {
        tracing::debug!("detaching");
        self.closed.store(true, Ordering::Relaxed);
        self.hooks().detach();
        tracing::debug!("detached");
        Ok(())
    }

    fn finish(&mut self, batch: &mut Batch) -> Result<(), SessionError> {
        self.flush_bursts()?;
        self.collect_diagnostics(batch);
        let first = batch.records.len();
        self.rings.finish(&self.arrays, now_ns(), batch);
        self.report_skipped_steps(first, batch);
        self.armed_hooks.drain_changes(&mut self.writer, batch);
        if !mem::replace(&mut self.ended, true) {
            self.report_skipped(now_ns(), batch);
            let given_up = self.snapshotter.give_up();
            self.report_readings(given_up, now_ns(), batch);
            batch.records.push(self.writer.end(now_ns()));
        }
        Ok(())
    }

    fn totals(&mut self) -> Result<Totals, SessionError> {
        let mut missed = vec![Some(0); HOOK_SLOTS];
        for (hook, runs) in self.hooks().missed() {
            if !SkipRow::of(hook).costs_nothing() {
                missed[hook as usize] = runs;
            } else if let Some(runs) = runs {
                tracing::info!("{runs} runs of {} were skipped, at no cost", hook.name());
            }
        }
        // With atomic fetch-add, a dropped record already has its position, and counts as lost.
        let dropped = if self.features.fetch_add { 0 } else { self.arrays.dropped() };
        Ok(Totals {
            hits: self.arrays.hits(),
            missed,
            dropped,
            shortfalls: self.arrays.shortfalls(),
            positions: self.rings.positions(&self.arrays),
            shared: self.sizes.sharing(self.config.cpus).shared(),
        })
    }
}

/// Converts a device from sysfs to the status.
fn device(found: devices::P2pDevice) -> Device {
    let address = found.address;
    Device {
        device: DeviceAddress::from_devfn(address.domain, address.bus, address.devfn()),
        driver: found.driver,
        name: found.names.into_iter().next(),
        size: found.size,
        available: found.available,
        published: found.published,
    }
}
