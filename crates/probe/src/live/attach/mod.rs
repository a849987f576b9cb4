//! The hooks of a session: how each is attached, and which ones are armed during teardowns.

mod misses;
mod program;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use aya::{Ebpf, programs::Program};
use p2p_trace_common::Hook;
use p2p_trace_model::{
    accounting::{HookState, HookStatus, MissedQuality},
    event::{Method, user::Change},
    text::Text,
};

pub(super) use misses::Misses;
pub(super) use program::describe;
use program::{Attached, Attacher};

use super::{error::ProbeError, setup::Features, verification::Verified};
use crate::{
    attach_methods::AttachMethods,
    hook_table::{Need, Row},
    plan::{Plan, Planned, Unavailable},
};

/// Threads that close links. More threads would only wait for the locks of the kernel's probes.
const CLOSERS: usize = 4;

/// Counts the instructions that the verifier follows in a program: program name, function → count.
pub(super) type Count<'a> = Box<dyn Fn(&str, &str) -> Option<u32> + 'a>;

/// The suffixes of a hook's program names.
const SUFFIXES: [&str; 5] = ["_fentry", "_fexit", "_kprobe", "_note", "_kretprobe"];

/// One hook.
struct Hooked {
    planned: Planned,
    attached: Option<Attached>,
    /// The method by which an armed hook will be attached.
    prepared: Option<Method>,
    error: Option<Text>,
    /// Misses up to the last detach.
    missed: Option<u64>,
}

/// The loaded programs and what they are attached to.
pub(super) struct Hooks {
    ebpf: Ebpf,
    /// The running kernel's own types, which fentry requires.
    btf: Option<aya::Btf>,
    attach_methods: AttachMethods,
    kprobes_count: bool,
    all: Vec<Hooked>,
    unavailable: Vec<HookStatus>,
    /// Hooks on request are armed.
    maps_armed: bool,
    /// All hooks are to be detached for good, so a thread that attaches hooks stops.
    closed: Arc<AtomicBool>,
}

impl Hooks {
    /// A session without attached hooks.
    pub(super) fn new(
        ebpf: Ebpf,
        btf: Option<aya::Btf>,
        plan: Plan,
        attach_methods: AttachMethods,
        features: Features,
    ) -> Self {
        Self {
            ebpf,
            btf,
            attach_methods,
            kprobes_count: features.kprobe_misses,
            unavailable: plan.unavailable.iter().map(status_of_unavailable).collect(),
            maps_armed: plan
                .planned
                .iter()
                .any(|it| it.is_armed && matches!(it.row.need, Need::ArmedOrNamed)),
            all: plan.planned.into_iter().map(Hooked::new).collect(),
            closed: Arc::default(),
        }
    }

    /// The means of attaching, and the hooks to attach.
    fn attacher(&mut self) -> (Attacher<'_>, &mut [Hooked]) {
        let attacher = Attacher {
            ebpf: &mut self.ebpf,
            btf: self.btf.as_ref(),
            attach_methods: self.attach_methods,
            kprobes_count: self.kprobes_count,
            maps_armed: self.maps_armed,
        };
        (attacher, &mut self.all)
    }

    /// Loads all programs and attaches none; returns a sentence for each hook without an accepted program.
    pub(super) fn load(&mut self) -> Vec<String> {
        let (mut attacher, hooks) = self.attacher();
        attacher.load_all(&hooks.iter().map(|hooked| &hooked.planned).collect::<Vec<_>>());
        let refused = |hooked: &Hooked| {
            let Planned { row, function, .. } = hooked.planned;
            let error = attacher.prepare(row, function).err()?;
            Some(format!("the hook {} cannot be attached: {error}", row.hook.name()))
        };
        hooks.iter().filter_map(refused).collect()
    }

    /// The verifier's result for each loaded program. If the kernel keeps no instruction count, `statistics` creates a counter from the
    /// object, which is called with the program's name and its function.
    pub(super) fn verified<'a>(&self, statistics: impl FnOnce(&Ebpf) -> Option<Count<'a>>) -> Vec<Verified> {
        let loaded = |(name, program): (&str, &Program)| {
            let info = program.info().ok()?;
            Some(Verified { program: name.into(), instructions: info.verified_instruction_count() })
        };
        let mut verified: Vec<_> = self.ebpf.programs().filter_map(loaded).collect();
        if verified.iter().any(|program| program.instructions.is_none())
            && let Some(count) = statistics(&self.ebpf)
        {
            for program in &mut verified {
                let of_program = |hooked: &&Hooked| {
                    let name = program.program.strip_prefix(program::ARMED).unwrap_or(&program.program);
                    let rest = name.strip_prefix(hooked.planned.row.hook.name());
                    rest.is_some_and(|suffix| SUFFIXES.contains(&suffix))
                };
                let hooked = self.all.iter().find(of_program);
                let function = hooked.map(|hooked| hooked.planned.function);
                program.instructions = program.instructions.or_else(|| count(&program.program, function?));
            }
        }
        verified
    }

    /// Attaches all hooks in the order of the hook table ([`crate::hook_table::TABLE`]), except for armed hooks, which are only
    /// loaded and verified.
    ///
    /// # Errors
    ///
    /// If no hook could be attached, or on an interrupt; then nothing stays attached.
    pub(super) fn attach_all(&mut self, is_interrupted: &dyn Fn() -> bool) -> Result<(), ProbeError> {
        let (mut attacher, hooks) = self.attacher();
        attacher.load_all(&hooks.iter().map(|hooked| &hooked.planned).collect::<Vec<_>>());
        for hooked in hooks.iter_mut() {
            if is_interrupted() {
                self.detach();
                return Err(ProbeError::Interrupted);
            }
            let Planned { row, function, is_armed, .. } = hooked.planned;
            if is_armed {
                match attacher.prepare(row, function) {
                    Ok(method) => {
                        tracing::trace!("loaded {} for {function}", row.hook.name());
                        hooked.prepared = Some(method);
                    }
                    Err(error) => hooked.error = Some(error.into()),
                }
                continue;
            }
            match attacher.attach(row, function) {
                Ok(attached) => {
                    tracing::trace!("attached {} at {function}", row.hook.name());
                    hooked.error.clone_from(&attached.fallback);
                    hooked.attached = Some(attached);
                }
                Err(error) => hooked.error = Some(error.into()),
            }
        }
        if hooks.iter().all(|hooked| hooked.attached.is_none()) {
            let first = hooks.iter().find_map(|hooked| hooked.error.clone());
            return Err(ProbeError::NothingAttached(
                first.unwrap_or_else(|| "no function to attach to".into()),
            ));
        }
        Ok(())
    }

    /// Attaches the armed hooks and reports each as soon as it is attached. They are attached one after the other, since the kernel does
    /// nearly all of the work, a walk through the places that it can patch, under one lock.
    pub(super) fn arm(&mut self, mut report: impl FnMut(Change)) {
        let closed = Arc::clone(&self.closed);
        let (mut attacher, hooks) = self.attacher();
        for hooked in hooks.iter_mut().filter(|hooked| hooked.is_idle()) {
            if closed.load(Ordering::Relaxed) {
                return;
            }
            match attacher.attach(hooked.planned.row, hooked.planned.function) {
                Ok(attached) => {
                    report(hooked.change(true, attached.method));
                    hooked.attached = Some(attached);
                    hooked.error = None;
                }
                // The hook has failed for the run: its events are not observed.
                Err(error) => (hooked.error, hooked.prepared) = (Some(error.into()), None),
            }
        }
    }

    /// Detaches all armed hooks at once, then reports each.
    pub(super) fn disarm(&mut self, report: impl FnMut(Change)) {
        let (mut links, mut changes) = (Vec::new(), Vec::new());
        for hooked in self.all.iter_mut().filter(|hooked| hooked.prepared.is_some()) {
            if let Some(attached) = hooked.take() {
                changes.push(hooked.change(false, attached.method));
                links.push(attached);
            }
        }
        close(links);
        changes.into_iter().for_each(report);
    }

    /// A flag to set before all hooks are detached, so that the caller does not wait for hooks that are still being attached.
    pub(super) fn closed(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.closed)
    }

    /// Detaches all hooks.
    pub(super) fn detach(&mut self) {
        let attached: Vec<_> = self.all.iter_mut().filter_map(Hooked::take).collect();
        close(attached);
    }

    /// The status of each requested hook.
    pub(super) fn statuses(&self) -> Vec<HookStatus> {
        self.all.iter().map(Hooked::status).chain(self.unavailable.iter().cloned()).collect()
    }

    /// Runs that the kernel skipped, by hook; `None` if it does not count them.
    pub(super) fn missed(&self) -> impl Iterator<Item = (Hook, Option<u64>)> {
        self.all.iter().map(|hooked| {
            let missed = hooked.attached.as_ref().map_or(hooked.missed, |attached| attached.misses.read());
            (hooked.planned.row.hook, missed)
        })
    }

    /// The miss counters of the hooks that are attached now.
    pub(super) fn misses(&self) -> Vec<(Hook, Arc<Misses>)> {
        let misses =
            |hooked: &Hooked| Some((hooked.planned.row.hook, Arc::clone(&hooked.attached.as_ref()?.misses)));
        self.all.iter().filter_map(misses).collect()
    }

    /// Whether the kernel counts skipped runs of all attached hooks.
    pub(super) fn missed_quality(&self) -> MissedQuality {
        if self.missed().all(|(_, missed)| missed.is_some()) {
            MissedQuality::Counted
        } else {
            MissedQuality::Unknown
        }
    }
}

impl Hooked {
    const fn new(planned: Planned) -> Self {
        Self { planned, attached: None, prepared: None, error: None, missed: Some(0) }
    }

    /// Whether the hook is loaded, to be attached during teardowns, and is not attached now.
    const fn is_idle(&self) -> bool {
        self.prepared.is_some() && self.attached.is_none()
    }

    const fn change(&self, attached: bool, method: Method) -> Change {
        Change { hook: self.planned.row.hook, attached, method, armed: true }
    }

    /// Reads the misses, then returns the links to be dropped.
    fn take(&mut self) -> Option<Attached> {
        let attached = self.attached.take()?;
        self.missed = attached.misses.read();
        Some(attached)
    }

    fn status(&self) -> HookStatus {
        let row = self.planned.row;
        let (state, method) = match (&self.attached, self.prepared) {
            (Some(attached), _) => (HookState::Attached, Some(attached.method)),
            (None, Some(method)) => (HookState::Armed, Some(method)),
            (None, None) => (HookState::Failed, None),
        };
        HookStatus {
            hook: row.hook,
            function: Some(self.planned.function.into()),
            method,
            state,
            required: row.need == Need::Required,
            error: self.error.clone(),
            lost_without: row.lost_without.into(),
        }
    }
}

/// Closes links on several threads: closing is mostly waiting for the kernel's grace periods, and threads that wait at the same
/// time share one.
fn close(links: Vec<Attached>) {
    let links = Mutex::new(links.into_iter());
    let next = || links.lock().unwrap_or_else(PoisonError::into_inner).next();
    thread::scope(|scope| {
        for _ in 0..CLOSERS {
            scope.spawn(|| while next().is_some() {});
        }
    });
}

fn status_of_unavailable(unavailable: &Unavailable) -> HookStatus {
    let row = Row::of(unavailable.hook);
    HookStatus {
        hook: unavailable.hook,
        function: None,
        method: None,
        state: if unavailable.absent { HookState::Absent } else { HookState::Failed },
        required: row.is_some_and(|row| row.need == Need::Required),
        error: Some(unavailable.reason.clone()),
        lost_without: row.map(|row| row.lost_without.to_owned()).unwrap_or_default().into(),
    }
}
