//! The doctor's result as data: the JSON output, and the source of the text.

use std::path::PathBuf;

use p2p_trace_model::{accounting::RingSizes, stream::Level, text::Text};
use p2p_trace_probe::kernel::{
    Kernel,
    accounting::LossAccounting,
    btf::Btf,
    config::{OPTIONS, Setting},
    devices::P2pDevice,
    lockdown::Lockdown,
    patching::Patching,
    rights::{Capability, Limit, Rights},
    traceability::{Problem, ProblemKind, Traceability},
};
use p2p_trace_probe::rings::RingPlan;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;

use crate::exit::Exit;

/// Version of the report's format. A change that is not an addition raises it.
const FORMAT: u32 = 1;

/// The report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "p2p-trace doctor --json")]
pub struct DoctorReport {
    /// Version of the format.
    pub format: u32,
    /// Whether this kernel can be traced by this user.
    pub verdict: Verdict,
    /// The kernel.
    pub kernel: KernelReport,
    /// The rights of this process.
    pub rights: RightsReport,
    /// Devices that offer p2p memory now.
    pub devices: Vec<P2pDevice>,
    /// The hooks, and how each would be attached.
    pub hooks: Vec<HookReport>,
    /// How exactly losses can be counted.
    pub loss_accounting: LossAccounting,
    /// The rings that tracing would allocate by default; absent if the possible CPUs are unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rings: Option<RingSizes>,
    /// The verifier's results for the kernel side; only with `--verbose`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification: Option<VerificationReport>,
    /// Diagnostics of the kernel side; only with `--verbose` twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_side: Option<KernelSideReport>,
}

/// Diagnostics of the kernel side, attached for a moment: failed reads, entries in use, omissions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelSideReport {
    /// The requested level.
    pub level: Level,
    /// The messages, in order.
    pub messages: Vec<MessageReport>,
    /// Number of further messages.
    pub omitted: u64,
    /// Why it could not be attached or listened to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Text>,
}

/// A message of the kernel side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageReport {
    /// Its importance.
    pub level: Level,
    /// The text.
    pub text: Text,
}

/// The results of the running kernel's verifier for the programs that tracing would load. They are loaded for this
/// check, and attached to nothing.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerificationReport {
    /// Possible CPUs that they are loaded for.
    pub cpus: Option<u32>,
    /// Instructions that the verifier followed in all of them; absent if the kernel does not report it.
    pub instructions: Option<u64>,
    /// The accepted programs.
    pub programs: Vec<ProgramReport>,
    /// Why hooks cannot be attached, or why nothing could be loaded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Text>,
}

/// An accepted program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProgramReport {
    /// Its name.
    pub program: Text,
    /// Instructions that the verifier followed; absent if the kernel does not report it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<u32>,
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// Whether anything can be traced.
    pub can_trace: bool,
    /// The exit code: 0, or 69 for the kernel, 77 for rights and lockdown, 3 if the cause is unclear.
    pub exit_code: u8,
    /// The verdict in one line.
    pub summary: Text,
    /// Obstacles, complete or partial.
    pub problems: Vec<Problem>,
}

/// The kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelReport {
    /// Its release.
    pub release: Text,
    /// Its possible CPUs, counted as the highest index plus one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub possible_cpus: Option<u32>,
    /// Its lockdown level.
    pub lockdown: Lockdown,
    /// Whether its functions can be live-patched while fentry is attached.
    pub live_patches: Patching,
    /// Its types.
    pub btf: TypesReport,
    /// Its symbols.
    pub symbols: SymbolsReport,
    /// Its configuration.
    pub config: ConfigReport,
}

/// The kernel's types.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TypesReport {
    /// The file that was read.
    pub path: PathBuf,
    /// Number of types.
    pub types: Option<u32>,
    /// Why they are unknown.
    pub error: Option<Text>,
}

/// The kernel's symbols.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SymbolsReport {
    /// Whether names can be read.
    pub readable: bool,
    /// Whether addresses are shown.
    pub addresses: bool,
    /// Why names cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Text>,
}

/// The kernel's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigReport {
    /// The file it was read from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The options that matter.
    pub options: Vec<OptionReport>,
}

/// One option.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OptionReport {
    /// Its name.
    pub name: Text,
    /// Its setting.
    pub setting: Setting,
    /// The purpose that it is needed for.
    pub purpose: String,
}

/// The rights of this process.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RightsReport {
    /// The capabilities that matter.
    pub capabilities: Vec<CapabilityReport>,
    /// Whether this is the initial user namespace.
    pub initial_user_namespace: Option<bool>,
    /// `kernel.perf_event_paranoid`.
    pub perf_event_paranoid: Option<i32>,
    /// `kernel.kptr_restrict`.
    pub kptr_restrict: Option<u32>,
    /// `kernel.unprivileged_bpf_disabled`.
    pub unprivileged_bpf_disabled: Option<u32>,
    /// Hard limit on locked memory, in bytes; absent if there is none.
    pub memlock: Option<u64>,
}

/// One capability.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CapabilityReport {
    /// Its name.
    pub name: Text,
    /// Whether it is in effect.
    pub effective: bool,
}

/// How a hook would be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// By fentry or fexit.
    Fentry,
    /// By kprobe or kretprobe.
    Kprobe,
    /// Not at all.
    None,
}

/// One hook.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HookReport {
    /// The hook.
    pub hook: String,
    /// Whether p2p memory cannot be followed without it; the other hooks are attached anyway.
    pub required: bool,
    /// The kernel function it would be attached to.
    pub symbol: Option<Text>,
    /// The method.
    pub method: Method,
    /// Why there is no method, or no better one.
    pub reason: Option<Text>,
    /// The effect of its absence.
    pub lost_without: String,
}

impl DoctorReport {
    /// Evaluates the facts and the hooks.
    pub(crate) fn new(kernel: &Kernel, hooks: Vec<HookReport>) -> (Self, Exit) {
        let mut traceability = kernel.traceability();
        // If nothing can be traced, a list of missing hooks would hide the reason.
        if traceability.is_possible()
            && let Some(first) = hooks.first()
            && hooks.iter().all(|hook| hook.method == Method::None)
        {
            traceability.add(Problem::no_hook(first.reason.as_deref().unwrap_or("no such function")));
        }
        if traceability.is_possible() {
            hooks.iter().filter_map(missing_hook).for_each(|problem| traceability.add(problem));
        }
        let exit = Exit::from(traceability.cause());
        let report = Self {
            format: FORMAT,
            verdict: Verdict::of(&traceability),
            kernel: KernelReport::of(kernel),
            rights: RightsReport::of(&kernel.rights),
            devices: kernel.devices.clone(),
            hooks,
            loss_accounting: kernel.loss_accounting(),
            rings: rings(kernel),
            verification: None,
            kernel_side: None,
        };
        (report, exit)
    }
}

/// The rings of a run with default options.
fn rings(kernel: &Kernel) -> Option<RingSizes> {
    Some(RingPlan::new(kernel.possible_cpus?, kernel.loss_accounting().exact, None).sizes())
}

/// The problem of a required hook that cannot be attached.
fn missing_hook(hook: &HookReport) -> Option<Problem> {
    (hook.required && hook.method == Method::None).then(|| {
        let reason = hook.reason.as_deref().unwrap_or("no such function");
        Problem::limit(
            ProblemKind::Hook,
            format!("the hook {} cannot be attached ({reason})", hook.hook),
            format!("without it, {}", hook.lost_without),
        )
    })
}

impl Verdict {
    fn of(traceability: &Traceability) -> Self {
        let problems = traceability.problems();
        let summary = match (traceability.obstacle(), problems.len()) {
            (Some(obstacle), _) => format!("cannot trace here: {obstacle}"),
            (None, 0) => "can trace here".to_owned(),
            (None, 1) => "can trace here, with one limit".to_owned(),
            (None, count) => format!("can trace here, with {count} limits"),
        };
        Self {
            can_trace: traceability.is_possible(),
            exit_code: Exit::from(traceability.cause()).code(),
            summary: summary.into(),
            problems: problems.to_vec(),
        }
    }
}

impl KernelReport {
    fn of(kernel: &Kernel) -> Self {
        let options = OPTIONS.iter().map(|option| OptionReport {
            name: format!("CONFIG_{}", option.name).into(),
            setting: kernel.config.setting(option.name),
            purpose: option.purpose.to_owned(),
        });
        Self {
            release: kernel.release.to_string().into(),
            possible_cpus: kernel.possible_cpus,
            lockdown: kernel.lockdown,
            live_patches: kernel.patching(),
            btf: TypesReport {
                path: kernel.btf_path.clone(),
                types: kernel.btf.as_ref().ok().map(Btf::type_count),
                error: kernel.btf.as_ref().err().map(|error| error.to_string().into()),
            },
            symbols: SymbolsReport {
                readable: kernel.symbols.is_ok(),
                addresses: kernel.symbols.as_ref().is_ok_and(|symbols| !symbols.addresses_hidden()),
                error: kernel.symbols.as_ref().err().map(|error| error.to_string().into()),
            },
            config: ConfigReport {
                path: kernel.config.source().map(PathBuf::from),
                options: options.collect(),
            },
        }
    }
}

impl RightsReport {
    fn of(rights: &Rights) -> Self {
        let capabilities = Capability::ALL.iter().map(|&capability| CapabilityReport {
            name: capability.to_string().into(),
            effective: rights.capabilities.has(capability),
        });
        Self {
            capabilities: capabilities.collect(),
            initial_user_namespace: rights.initial_user_namespace,
            perf_event_paranoid: rights.perf_event_paranoid,
            kptr_restrict: rights.kptr_restrict,
            unprivileged_bpf_disabled: rights.unprivileged_bpf_disabled,
            memlock: rights.memlock.and_then(|limit| match limit {
                Limit::Bytes(bytes) => Some(bytes),
                Limit::Unlimited => None,
            }),
        }
    }
}
