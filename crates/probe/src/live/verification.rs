//! The verifier's work for the kernel side on the running kernel.

use p2p_trace_model::text::Text;

use super::{error::ProbeError, load::relocated, prepare::Prepared, statistics::Statistics};
use crate::live::attach::{Count, Hooks};
use crate::{
    attach_methods::AttachMethods,
    kernel::{KernelRoot, btf::Btf, symbols::Symbols},
    transport::Request,
};

/// The verifier's results for the programs that tracing would load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Number of possible CPUs that the programs were loaded for.
    pub cpus: u32,
    /// The accepted programs, by name.
    pub programs: Vec<Verified>,
    /// One sentence for each hook without an accepted program.
    pub refused: Vec<Text>,
}

/// A program that the verifier accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The name.
    pub program: Text,
    /// Instructions that the verifier followed: `bpf_prog_info.verified_insns` (Linux 5.16), otherwise from the statistics in its log;
    /// `None` if neither is available.
    pub instructions: Option<u32>,
}

impl Verification {
    /// Loads the programs that [`LiveSession`](super::LiveSession) would load for this request, with minimal rings, and attaches
    /// none.
    ///
    /// # Errors
    ///
    /// As [`LiveSession::start`](super::LiveSession::start).
    pub fn of(
        root: &KernelRoot,
        symbols: &Symbols,
        btf: &Btf,
        request: &Request,
        attach_methods: AttachMethods,
    ) -> Result<Self, ProbeError> {
        let request = Request { ring_size: Some(0), ..request.clone() };
        let prepared = Prepared::new(root, symbols, btf, &request)?;
        let (config, features) = (prepared.config, prepared.features);
        let mut hooks =
            Hooks::new(prepared.ebpf, prepared.kernel_types, prepared.plan, attach_methods, features);
        let refused = hooks.load().into_iter().map(Text::from).collect();
        let mut programs = hooks.verified(|ebpf| {
            let statistics = Statistics::new(&relocated(&config, features), ebpf)
                .inspect_err(|error| tracing::debug!("no statistics of the verifier: {error}"))
                .ok()?;
            let count =
                move |program: &str, function: &str| statistics.instructions(program, btf.func_id(function));
            let count: Count<'_> = Box::new(count);
            Some(count)
        });
        programs.sort_by(|one, other| one.program.cmp(&other.program));
        Ok(Self { cpus: config.cpus, programs, refused })
    }

    /// Instructions of all programs together; `None` if the count of any program is unknown.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.programs.iter().map(|program| program.instructions.map(u64::from)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_is_unknown_if_any_count_is() {
        let of = |instructions: &[Option<u32>]| Verification {
            programs: instructions
                .iter()
                .map(|&instructions| Verified { program: "alloc_fexit".into(), instructions })
                .collect(),
            ..Verification::default()
        };
        assert_eq!(of(&[Some(3), Some(u32::MAX)]).total(), Some(3 + u64::from(u32::MAX)));
        assert_eq!(of(&[Some(3), None]).total(), None);
    }
}
