//! Opens a session for a request.

use anyhow::{Result, bail};
use p2p_trace_model::event::Symbolize;
use p2p_trace_probe::transport::{Request, Session};

use super::stop::Stop;
use crate::exit::{Exit, Refusal};

/// A session with the names of the kernel it traces.
pub(crate) struct Opened {
    /// The session, with all hooks attached.
    pub(crate) session: Box<dyn Session>,
    /// Names of kernel addresses.
    pub(crate) symbols: Box<dyn Symbolize>,
}

/// Attaches to the running kernel. A signal that sets `stop` ends the program.
///
/// # Errors
///
/// The kernel cannot be traced; the error has the reason.
#[cfg(feature = "trace")]
pub(crate) fn open(request: &Request, stop: &Stop) -> Result<Opened> {
    use anyhow::Context as _;

    use p2p_trace_probe::{
        attach_methods::AttachMethods,
        kernel::{Kernel, KernelRoot, symbols::Modules},
        live::{LiveSession, ProbeError},
        transport::Attach,
    };

    let root = KernelRoot::default();
    // Read before the symbols: a module that is loaded in between counts as new.
    let modules = Modules::read(&root).context("cannot read the list of loaded modules")?;
    let kernel = Kernel::collect(&root, request.kernel_btf.as_deref())?;
    let traceability = kernel.traceability();
    if !traceability.is_possible() {
        let message = traceability
            .obstacle()
            .map_or_else(|| "this kernel cannot be traced".to_owned(), ToString::to_string);
        bail!(Refusal::new(Exit::from(traceability.cause()), message));
    }
    if request.attach == Attach::Kprobe && !kernel.rights.allows_kprobes() {
        let message = "kprobes need CAP_SYS_ADMIN while kernel.perf_event_paranoid is above 2: run as root, or \
                       attach by fentry (--attach fentry)";
        bail!(Refusal::new(Exit::NoRights, message));
    }
    let attach_methods = AttachMethods::of(request, &kernel);
    let symbols = kernel.symbols.context("cannot read the kernel's symbols in /proc/kallsyms")?;
    let btf = kernel.btf.with_context(|| {
        format!(
            "cannot read the kernel's types in {}; --kernel-btf names another file",
            p2p_trace_model::text::Text::from(kernel.btf_path.as_path())
        )
    })?;
    let is_interrupted = || stop.is_set_while_attaching();
    let session = LiveSession::start(&root, &symbols, &btf, request, attach_methods, &is_interrupted)
        .map_err(|error| {
            if matches!(error, ProbeError::Interrupted) {
                stop.end_by_signal();
            }
            let exit = match error {
                ProbeError::Device(_) => Exit::Usage,
                _ => Exit::Error,
            };
            // Includes the causes, because the refusal replaces the error.
            Refusal::new(exit, format!("{:#}", anyhow::Error::new(error)))
        })?;
    let symbols = Box::new(super::symbols::KernelSymbols::new(root, symbols, modules));
    Ok(Opened { session: Box::new(session), symbols })
}

/// Fails: this build cannot trace.
#[cfg(not(feature = "trace"))]
pub(crate) fn open(_request: &Request, _stop: &Stop) -> Result<Opened> {
    bail!(Refusal::new(
        Exit::NotTraceable,
        "this build cannot trace a kernel; build it on Linux with the feature `trace`"
    ))
}
