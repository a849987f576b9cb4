//! The product's own types of its JSON output. Only this module names their paths.

pub(super) use p2p_trace::device_report::{
    Answer as CanUnbind, DeviceReport, Holder, RangeReport, RangeState, Report, Residual, Source, StepFrom,
    TaskLine, UnbindReport, Why,
};
pub(super) use p2p_trace::render::doctor::{DoctorReport, Method as DoctorMethod};
pub(crate) use p2p_trace::render::{
    check::{CheckReport, DumpEnding},
    json::{
        EventLine, FindingLine, FindingState, FrameLine, HolderLine, HookLine, Line, LostLine, StateName,
        StatusLine, SummaryLine, VerdictLine,
    },
};
pub(crate) use p2p_trace_model::{accounting::HookState, event::Method as AttachMethod};
pub(super) use p2p_trace_model::{event::Reason, rules::Answer, state::HolderKind};
pub(crate) use p2p_trace_model::{event::names::Bdf, names::Hex};
pub(super) use p2p_trace_probe::kernel::tasks::{Liveness, UnbindStep};

/// A device as the JSON output writes it.
pub(crate) fn address(device: Option<Bdf>) -> Option<String> {
    device.map(|Bdf(device)| device.to_string())
}
