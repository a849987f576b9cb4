//! The doctor: whether this kernel can be traced by this user, as text and as JSON.

mod report;
mod text;

pub use report::{
    CapabilityReport, ConfigReport, DoctorReport, HookReport, KernelReport, KernelSideReport, MessageReport,
    Method, OptionReport, ProgramReport, RightsReport, SymbolsReport, TypesReport, Verdict,
    VerificationReport,
};
