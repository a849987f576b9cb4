//! What this kernel and this user can and cannot trace, as text and as JSON.

mod report;
mod text;

pub use report::{
    CapabilityReport, ConfigReport, DoctorReport, HookReport, KernelReport, KernelSideReport, Method,
    OptionReport, ProgramReport, RightsReport, StatementReport, SymbolsReport, TypesReport, Verdict,
    VerificationReport,
};
