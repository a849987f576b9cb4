//! The hooks of a session: which are attached and how, and those that come and go with teardowns.

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
    hook_table::{Need, Row},
    plan::{Plan, Planned, Unavailable},
    ways::Ways,
};

/// Threads that close links. More of them only wait for the locks of the kernel's probes.
const CLOSERS: usize = 4;

/// Counts the instructions that the verifier follows in a program, for this function.
pub(super) type Count<'a> = Box<dyn Fn(&str, &str) -> Option<u32> + 'a>;

/// What follows a hook's name in those of its programs.
const SUFFIXES: [&str; 5] = ["_fentry", "_fexit", "_kprobe", "_note", "_kretprobe"];

/// One hook.
struct Hooked {
    planned: Planned,
    attached: Option<Attached>,
    /// How an armed hook will be attached.
    prepared: Option<Method>,
    error: Option<Text>,
    /// Misses up to the last detach.
    missed: Option<u64>,
}

/// The loaded programs and what they are attached to.
pub(super) struct Hooks {
    ebpf: Ebpf,
    /// The running kernel's own types, which fentry needs.
    btf: Option<aya::Btf>,
    ways: Ways,
    kprobes_count: bool,
    all: Vec<Hooked>,
    unavailable: Vec<HookStatus>,
    /// Hooks on request are armed.
    maps_armed: bool,
    /// Everything is to be detached for good: whoever attaches stops doing so.
    closed: Arc<AtomicBool>,
}

impl Hooks {
    /// Nothing is attached yet.
    pub(super) fn new(ebpf: Ebpf, btf: Option<aya::Btf>, plan: Plan, ways: Ways, features: Features) -> Self {
        Self {
            ebpf,
            btf,
            ways,
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

    /// What it takes to attach, and what is to be attached.
    fn attacher(&mut self) -> (Attacher<'_>, &mut [Hooked]) {
        let attacher = Attacher {
            ebpf: &mut self.ebpf,
            btf: self.btf.as_ref(),
            ways: self.ways,
            kprobes_count: self.kprobes_count,
            maps_armed: self.maps_armed,
        };
        (attacher, &mut self.all)
    }

    /// Loads every program and attaches none; returns a sentence for each hook of which none was accepted.
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

    /// What the verifier made of each program that is loaded. Where the kernel keeps no count, `statistics` is made of the object, and
    /// asked with the program's name and the function that it is for.
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

    /// Attaches everything in the order of the hook table ([`crate::hook_table::TABLE`]), but for the armed hooks, which are
    /// loaded and verified only.
    ///
    /// # Errors
    ///
    /// When not one hook could be attached, or when interrupted; then nothing stays attached.
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

    /// Attaches the armed hooks, and tells of each once it is: one after the other, since the kernel does nearly all of the work, a walk
    /// through the places that it can patch, under one lock.
    pub(super) fn arm(&mut self, mut tell: impl FnMut(Change)) {
        let closed = Arc::clone(&self.closed);
        let (mut attacher, hooks) = self.attacher();
        for hooked in hooks.iter_mut().filter(|hooked| hooked.is_idle()) {
            if closed.load(Ordering::Relaxed) {
                return;
            }
            match attacher.attach(hooked.planned.row, hooked.planned.function) {
                Ok(attached) => {
                    tell(hooked.change(true, attached.method));
                    hooked.attached = Some(attached);
                    hooked.error = None;
                }
                // It has failed for the run: what is not seen with it is not seen.
                Err(error) => (hooked.error, hooked.prepared) = (Some(error.into()), None),
            }
        }
    }

    /// Detaches the armed hooks, all at once, and tells of each once they are.
    pub(super) fn disarm(&mut self, tell: impl FnMut(Change)) {
        let (mut links, mut changes) = (Vec::new(), Vec::new());
        for hooked in self.all.iter_mut().filter(|hooked| hooked.prepared.is_some()) {
            if let Some(attached) = hooked.take() {
                changes.push(hooked.change(false, attached.method));
                links.push(attached);
            }
        }
        close(links);
        changes.into_iter().for_each(tell);
    }

    /// Set before everything is detached: then nobody has to wait for what is just being attached.
    pub(super) fn closed(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.closed)
    }

    /// Detaches everything.
    pub(super) fn detach(&mut self) {
        let attached: Vec<_> = self.all.iter_mut().filter_map(Hooked::take).collect();
        close(attached);
    }

    /// Every hook that was asked for.
    pub(super) fn statuses(&self) -> Vec<HookStatus> {
        self.all.iter().map(Hooked::status).chain(self.unavailable.iter().cloned()).collect()
    }

    /// Runs that the kernel skipped, by hook; `None` where it does not say.
    pub(super) fn missed(&self) -> impl Iterator<Item = (Hook, Option<u64>)> {
        self.all.iter().map(|hooked| {
            let missed = hooked.attached.as_ref().map_or(hooked.missed, |attached| attached.misses.read());
            (hooked.planned.row.hook, missed)
        })
    }

    /// What counts them, of the hooks that are attached now.
    pub(super) fn misses(&self) -> Vec<(Hook, Arc<Misses>)> {
        let misses =
            |hooked: &Hooked| Some((hooked.planned.row.hook, Arc::clone(&hooked.attached.as_ref()?.misses)));
        self.all.iter().filter_map(misses).collect()
    }

    /// Whether the kernel counts what it skips, for all that is attached.
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

    /// Loaded, to be attached while a teardown is pending, and not attached now.
    const fn is_idle(&self) -> bool {
        self.prepared.is_some() && self.attached.is_none()
    }

    const fn change(&self, attached: bool, method: Method) -> Change {
        Change { hook: self.planned.row.hook, attached, method, armed: true }
    }

    /// Takes the links out, to be dropped, once their misses are read.
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

/// Closes links on several threads: to close one is mostly to wait for the kernel's grace periods, and those who wait at
/// the same time wait for the same one.
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
