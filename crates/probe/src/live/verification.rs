//! How much work the kernel side is for the verifier of the running kernel.

use p2p_trace_model::text::Text;

use super::{error::ProbeError, load::completed, prepare::Prepared, statistics::Statistics};
use crate::live::attach::{Count, Hooks};
use crate::{
    kernel::{KernelRoot, btf::Btf, symbols::Symbols},
    transport::Request,
    ways::Ways,
};

/// What the verifier made of the programs that tracing would load here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Possible CPUs that they were loaded for.
    pub cpus: u32,
    /// Those that it accepted, by name.
    pub programs: Vec<Verified>,
    /// One sentence for each hook of which it accepted no program.
    pub refused: Vec<Text>,
}

/// A program that the verifier accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Its name.
    pub program: Text,
    /// Instructions that the verifier followed: `bpf_prog_info.verified_insns` (Linux 5.16), else from the statistics in its log;
    /// `None` where neither can be had.
    pub instructions: Option<u32>,
}

impl Verification {
    /// Loads what [`LiveSession`](super::LiveSession) would load for this request, with rings as small as they can be, and
    /// attaches nothing.
    ///
    /// # Errors
    ///
    /// As [`LiveSession::start`](super::LiveSession::start).
    pub fn of(
        root: &KernelRoot,
        symbols: &Symbols,
        btf: &Btf,
        request: &Request,
        ways: Ways,
    ) -> Result<Self, ProbeError> {
        let request = Request { ring_size: Some(0), ..request.clone() };
        let prepared = Prepared::new(root, symbols, btf, &request)?;
        let (config, features) = (prepared.config, prepared.features);
        let mut hooks = Hooks::new(prepared.ebpf, prepared.kernel_types, prepared.plan, ways, features);
        let refused = hooks.load().into_iter().map(Text::from).collect();
        let mut programs = hooks.verified(|ebpf| {
            let statistics = Statistics::new(&completed(&config, features), ebpf)
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

    /// Instructions of all programs together; `None` where the kernel does not say.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.programs.iter().map(|program| program.instructions.map(u64::from)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_unknown_number_makes_the_total_unknown() {
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
