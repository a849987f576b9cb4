//! What the kernel's verifier says about the programs that tracing would load on this host.

use p2p_trace_probe::kernel::{Kernel, KernelRoot};

use crate::{cli::DoctorArgs, render::doctor::VerificationReport};

/// Loads the programs without attaching them, and returns the verifier's results.
#[cfg(feature = "trace")]
#[must_use]
pub fn verify(root: &KernelRoot, kernel: &Kernel, args: &DoctorArgs) -> VerificationReport {
    use std::path::Path;

    use crate::render::doctor::ProgramReport;
    use p2p_trace_probe::{
        attach_methods::AttachMethods,
        live::verification::{Verification, Verified},
        transport::Request,
    };

    let (Ok(symbols), Ok(btf)) = (&kernel.symbols, &kernel.btf) else {
        return VerificationReport::default();
    };
    let request =
        Request { kernel_btf: args.kernel_btf.as_deref().map(Path::to_owned), ..Request::default() };
    match Verification::of(root, symbols, btf, &request, AttachMethods::of(&request, kernel)) {
        Ok(verification) => VerificationReport {
            cpus: Some(verification.cpus),
            instructions: verification.total(),
            programs: verification
                .programs
                .into_iter()
                .map(|Verified { program, instructions }| ProgramReport { program, instructions })
                .collect(),
            refused: verification.refused,
        },
        Err(error) => VerificationReport {
            refused: vec![format!("{:#}", anyhow::Error::new(error)).into()],
            ..VerificationReport::default()
        },
    }
}

/// This build has no programs to load.
#[cfg(not(feature = "trace"))]
#[must_use]
pub fn verify(_root: &KernelRoot, _kernel: &Kernel, _args: &DoctorArgs) -> VerificationReport {
    VerificationReport { refused: vec!["this build cannot trace".into()], ..VerificationReport::default() }
}
