//! Attaches one hook: by fentry or fexit if possible, otherwise by kprobe or kretprobe. Dropping a link detaches its program.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd as _, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use aya::{
    Btf, Ebpf,
    programs::{
        FEntry, FExit, KProbe, Program, ProgramError, fentry::FEntryLink, fexit::FExitLink,
        kprobe::KProbeLink, links::FdLink,
    },
};
use p2p_trace_model::{event::Method, text::Text};

use super::misses::Misses;
use crate::{
    attach_methods::AttachMethods,
    hook_table::{Need, Point, Row},
    live::refusal::load_error,
    plan::Planned,
};

/// Threads that load programs. There are about fifty programs, which take about ten milliseconds each.
const MAX_LOADERS: usize = 8;

/// The link of an attached program.
#[derive(Debug)]
#[expect(dead_code, reason = "links are kept because dropping them detaches")]
enum Link {
    Entry(FEntryLink),
    Exit(FExitLink),
    Kprobe(KProbeLink),
    /// The link of a kprobe on a kernel that counts missed hits.
    CountingKprobe(FdLink),
}

/// An attached hook.
#[derive(Debug)]
pub(crate) struct Attached {
    /// The method.
    pub method: Method,
    /// Why the preferred method failed, if it was tried.
    pub fallback: Option<Text>,
    /// The counters of runs that the kernel skipped.
    pub misses: Arc<Misses>,
    #[expect(dead_code, reason = "kept because dropping it detaches")]
    links: Vec<Link>,
}

/// The means of attaching.
pub(crate) struct Attacher<'a> {
    /// The loaded object.
    pub ebpf: &'a mut Ebpf,
    /// The running kernel's BTF; without it, fentry is not possible.
    pub btf: Option<&'a Btf>,
    /// The permitted methods.
    pub attach_methods: AttachMethods,
    /// The kernel counts the missed hits of a kprobe (6.7 and later).
    pub kprobes_count: bool,
    /// Hooks on request were not requested, so they are armed.
    pub maps_armed: bool,
}

/// The prefix of program names for hooks on request when they are armed.
pub(super) const ARMED: &str = "armed_";

/// The kprobe programs of a hook, in attach order.
const fn kprobe_suffixes(row: &Row) -> &'static [&'static str] {
    match row.point {
        Point::Entry => &["kprobe"],
        // The note comes first: an exit without its note is useless.
        Point::Exit => &["note", "kretprobe"],
    }
}

impl Attacher<'_> {
    /// The program's name for one kind of attachment: the name of its function in the object.
    fn program_name(&self, row: &Row, suffix: &str) -> String {
        let prefix = if self.maps_armed && matches!(row.need, Need::ArmedOrNamed) { ARMED } else { "" };
        format!("{prefix}{}_{suffix}", row.hook.name())
    }

    /// The fentry or fexit program of a hook.
    fn tracing_program(&self, row: &Row) -> String {
        let suffix = match row.point {
            Point::Entry => "fentry",
            Point::Exit => "fexit",
        };
        self.program_name(row, suffix)
    }

    /// Loads the programs that are most likely used to attach these hooks, on several CPUs in parallel: most of the startup time is spent
    /// in the kernel's verifier. [`Attacher::attach`] retries a program that is rejected here, and reports the reason.
    pub(crate) fn load_all(&mut self, planned: &[&Planned]) {
        let mut functions = HashMap::new();
        for Planned { row, function, .. } in planned.iter().copied() {
            if self.attach_methods.of_hook(row).first() == Some(&Method::Kprobe) {
                let names = kprobe_suffixes(row).iter().map(|suffix| self.program_name(row, suffix));
                functions.extend(names.map(|name| (name, *function)));
            } else {
                functions.insert(self.tracing_program(row), function);
            }
        }
        let work =
            self.ebpf.programs_mut().filter_map(|(name, program)| Some((*functions.get(name)?, program)));
        let work = Mutex::new(work.collect::<Vec<_>>().into_iter());
        let next = || work.lock().unwrap_or_else(PoisonError::into_inner).next();
        let btf = self.btf;
        let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_LOADERS);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some((function, program)) = next() {
                        if load(program, function, btf).is_err() {
                            tracing::debug!("a program for {function} failed to load; it will be retried");
                        }
                    }
                });
            }
        });
    }

    /// Attaches the hook of `row` at `function`.
    ///
    /// # Errors
    ///
    /// A sentence that says why no permitted method works.
    pub(crate) fn attach(&mut self, row: &Row, function: &str) -> Result<Attached, String> {
        let mut reasons = Vec::new();
        for &method in self.attach_methods.of_hook(row) {
            let attached = match method {
                Method::Fentry => self.by_fentry(row, function),
                Method::Kprobe => self.by_kprobe(row, function),
            };
            match attached {
                Ok(attached) => {
                    let fallback = (!reasons.is_empty()).then(|| reasons.join("; ").into());
                    return Ok(Attached { fallback, ..attached });
                }
                Err(error) => reasons.push(format!("{}: {error}", method.name())),
            }
        }
        Err(reasons.join("; "))
    }

    /// Loads the programs of a hook without attaching them, so that attaching is fast and cannot fail in the verifier.
    ///
    /// # Errors
    ///
    /// A sentence that says why no permitted method works.
    pub(crate) fn prepare(&mut self, row: &Row, function: &str) -> Result<Method, String> {
        let mut reasons = Vec::new();
        for &method in self.attach_methods.of_hook(row) {
            let loaded = match method {
                Method::Fentry => self.load_fentry(row, function).map(drop),
                Method::Kprobe => self.load_kprobes(row),
            };
            match loaded {
                Ok(()) => return Ok(method),
                Err(error) => reasons.push(format!("{}: {error}", method.name())),
            }
        }
        Err(reasons.join("; "))
    }

    fn program(&mut self, name: &str) -> Result<&mut Program, String> {
        self.ebpf.program_mut(name).ok_or_else(|| format!("the object has no program {name}"))
    }

    fn load_fentry(&mut self, row: &Row, function: &str) -> Result<String, String> {
        let btf = self.btf.ok_or("the running kernel has no BTF")?;
        let name = self.tracing_program(row);
        load(self.program(&name)?, function, Some(btf)).map_err(|error| load_error(&name, &error))?;
        Ok(name)
    }

    fn by_fentry(&mut self, row: &Row, function: &str) -> Result<Attached, String> {
        let name = self.load_fentry(row, function)?;
        let mut link = self.link_fentry(&name)?;
        if link.as_ref().is_err_and(is_used_up) {
            self.unload_fentry(&name)?;
            self.load_fentry(row, function)?;
            link = self.link_fentry(&name)?;
        }
        let link = link.map_err(|error| describe(&error))?;
        let mut misses = Misses::new();
        misses.add_tracing(descriptor(self.program(&name)?)?);
        Ok(Attached { method: Method::Fentry, fallback: None, misses: Arc::new(misses), links: vec![link] })
    }

    fn link_fentry(&mut self, name: &str) -> Result<Result<Link, ProgramError>, String> {
        match self.program(name)? {
            Program::FEntry(program) => Ok(attach_fentry(program).map(Link::Entry)),
            Program::FExit(program) => Ok(attach_fexit(program).map(Link::Exit)),
            _ => Err(format!("{name} is not a tracing program")),
        }
    }

    fn unload_fentry(&mut self, name: &str) -> Result<(), String> {
        match self.program(name)? {
            Program::FEntry(program) => program.unload(),
            Program::FExit(program) => program.unload(),
            _ => return Err(format!("{name} is not a tracing program")),
        }
        .map_err(|error| describe(&error))
    }

    fn load_kprobes(&mut self, row: &Row) -> Result<(), String> {
        kprobe_suffixes(row)
            .iter()
            .try_for_each(|suffix| self.load_kprobe(&self.program_name(row, suffix)).map(drop))
    }

    fn load_kprobe(&mut self, name: &str) -> Result<&mut KProbe, String> {
        let Program::KProbe(program) = self.program(name)? else {
            return Err(format!("{name} is not a kprobe program"));
        };
        if program.fd().is_err() {
            program.load().map_err(|error| load_error(name, &error))?;
        }
        Ok(program)
    }

    fn by_kprobe(&mut self, row: &Row, function: &str) -> Result<Attached, String> {
        let mut links = Vec::new();
        let mut misses = Misses::new();
        for suffix in kprobe_suffixes(row) {
            let name = self.program_name(row, suffix);
            let counts = self.kprobes_count;
            let program = self.load_kprobe(&name)?;
            let link = program
                .attach(function, 0)
                .and_then(|id| program.take_link(id))
                .map_err(|error| describe(&error))?;
            links.push(if counts {
                let link = FdLink::try_from(link).map_err(|error| describe(&error))?;
                let link_id = link.info().map_err(|error| describe(&error))?.id();
                misses.add_kprobe(descriptor(self.program(&name)?)?, link_id);
                Link::CountingKprobe(link)
            } else {
                // Converting a link that is not a file descriptor would detach it.
                misses.add_uncounted();
                Link::Kprobe(link)
            });
        }
        Ok(Attached { method: Method::Kprobe, fallback: None, misses: Arc::new(misses), links })
    }
}

/// Loads a program unless it is already loaded.
fn load(program: &mut Program, function: &str, btf: Option<&Btf>) -> Result<(), ProgramError> {
    match (program, btf) {
        (Program::FEntry(program), Some(btf)) if program.fd().is_err() => program.load(function, btf),
        (Program::FExit(program), Some(btf)) if program.fd().is_err() => program.load(function, btf),
        (Program::KProbe(program), _) if program.fd().is_err() => program.load(),
        _ => Ok(()),
    }
}

/// Whether the program must be loaded again to be attached: before 5.13 a program can be attached by fentry or fexit only once
/// (Linux: `bpf_tracing_prog_attach`, f3a95075549e).
fn is_used_up(error: &ProgramError) -> bool {
    matches!(error, ProgramError::SyscallError(error) if error.io_error.kind() == io::ErrorKind::NotFound)
}

fn attach_fentry(program: &mut FEntry) -> Result<FEntryLink, ProgramError> {
    let id = program.attach()?;
    program.take_link(id)
}

fn attach_fexit(program: &mut FExit) -> Result<FExitLink, ProgramError> {
    let id = program.attach()?;
    program.take_link(id)
}

/// A duplicate descriptor of a loaded program.
fn descriptor(program: &Program) -> Result<OwnedFd, String> {
    let descriptor = program.fd().map_err(|error| describe(&error))?;
    descriptor.as_fd().try_clone_to_owned().map_err(|error| describe(&error))
}

/// The error with its causes, on one line.
pub(in crate::live) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text.replace('\n', " ")
}
