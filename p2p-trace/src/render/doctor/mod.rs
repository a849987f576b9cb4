//! What this kernel and this user can and cannot trace, as text and as JSON.

mod report;
mod text;

pub use report::{
    CapabilityReport, ConfigReport, DoctorReport, HookReport, KernelReport, KernelSideReport, MessageReport,
    Method, OptionReport, ProgramReport, RightsReport, SymbolsReport, TypesReport, Verdict,
    VerificationReport,
};
