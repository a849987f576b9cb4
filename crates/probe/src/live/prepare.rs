//! Turns a request into the loaded object: the common first step of tracing and of inspecting the verifier's work.

use aya::Ebpf;
use p2p_trace_common::{
    Config,
    config::{MAX_CPUS, MAX_DEVICES},
};
use p2p_trace_model::event::DeviceAddress;

use super::{
    error::ProbeError,
    functions::functions,
    load::{load, random_run},
    setup::{Features, config},
};
use crate::{
    kernel::{KernelRoot, btf::Btf, cpus, devices, symbols::Symbols},
    plan::Plan,
    rings::RingPlan,
    transport::Request,
};

/// The object, configured for the running kernel and loaded; its programs are not loaded yet.
pub(super) struct Prepared {
    pub(super) ebpf: Ebpf,
    /// The functions in the running kernel's own types, which fentry requires.
    pub(super) kernel_types: Option<aya::Btf>,
    pub(super) plan: Plan,
    pub(super) rings: RingPlan,
    pub(super) config: Config,
    pub(super) features: Features,
    /// The requested devices.
    pub(super) devices: Vec<DeviceAddress>,
}

impl Prepared {
    /// Configures and loads the object.
    pub(super) fn new(
        root: &KernelRoot,
        symbols: &Symbols,
        btf: &Btf,
        request: &Request,
    ) -> Result<Self, ProbeError> {
        let devices = request
            .devices
            .iter()
            .map(|device| devices::resolve(root, device))
            .collect::<Result<Vec<_>, _>>()?;
        let cpus = cpus::count_possible(root)?;
        check_limits(devices.len(), cpus)?;
        let plan = Plan::new(symbols, btf, &request.hooks);
        let features = Features::of(btf, request.kernel_btf.is_some());
        let rings = RingPlan::new(cpus, features.fetch_add, request.ring_size);
        let config = config(btf, symbols, &plan, request, &devices, &rings, random_run()?);
        tracing::debug!("loading the kernel side");
        let kernel_types = match &request.kernel_btf {
            None => Some(functions(btf, plan.planned.iter().map(|planned| planned.function))),
            // Ids of types are valid for the running kernel only.
            Some(_) => aya::Btf::from_sys_fs().ok(),
        };
        let ebpf = load(&config, &rings, features)?;
        Ok(Self { ebpf, kernel_types, plan, rings, config, features, devices })
    }
}

/// Checks the request against the limits of the kernel side.
fn check_limits(devices: usize, cpus: u32) -> Result<(), ProbeError> {
    if devices > MAX_DEVICES {
        return Err(ProbeError::Load(
            format!("at most {MAX_DEVICES} devices can be selected by name").into(),
        ));
    }
    if cpus > MAX_CPUS {
        return Err(ProbeError::Load(
            format!("this machine has {cpus} possible CPUs, more than the supported {MAX_CPUS}").into(),
        ));
    }
    Ok(())
}
