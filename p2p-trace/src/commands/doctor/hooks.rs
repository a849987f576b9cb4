//! How each hook of the table would be attached here. Nothing is attached to find out.

use p2p_trace_probe::{
    hook_table::{Need, Row},
    kernel::Kernel,
    plan::Plan,
};

use crate::render::doctor::{HookReport, Method};

/// The table, held against this kernel and these rights; empty where the kernel's symbols or types cannot be
/// read.
#[must_use]
pub fn hooks(kernel: &Kernel) -> Vec<HookReport> {
    let (Ok(symbols), Ok(btf)) = (&kernel.symbols, &kernel.btf) else {
        return Vec::new();
    };
    let plan = Plan::new(symbols, btf, p2p_trace_common::Hook::ALL);
    let (method, limit) = method(kernel);
    let planned = plan.planned.iter().map(|planned| HookReport {
        symbol: Some(planned.function.to_owned()),
        method,
        reason: limit.clone().or_else(|| note(planned.row)),
        ..report(planned.row)
    });
    let unavailable = plan.unavailable.iter().filter_map(|unavailable| {
        let row = Row::of(unavailable.hook)?;
        // Where the function does not exist, nothing of its kind happens.
        let required = row.need == Need::Required && !unavailable.absent;
        Some(HookReport { required, reason: Some(unavailable.reason.clone()), ..report(row) })
    });
    planned.chain(unavailable).collect()
}

fn report(row: &Row) -> HookReport {
    HookReport {
        hook: row.hook.name().to_owned(),
        required: row.need == Need::Required,
        symbol: None,
        method: Method::None,
        reason: None,
        lost_without: row.lost_without.to_owned(),
    }
}

/// The best way that this kernel and these rights allow, and what forbids a better one.
fn method(kernel: &Kernel) -> (Method, Option<String>) {
    if !kernel.rights.missing_to_load().is_empty() {
        return (Method::None, Some("rights are missing".to_owned()));
    }
    if kernel.offers_btf {
        return (Method::Fentry, None);
    }
    let reason = "the kernel offers no BTF of its own, which fentry needs".to_owned();
    if kernel.rights.allows_kprobes() { (Method::Kprobe, Some(reason)) } else { (Method::None, Some(reason)) }
}

fn note(row: &Row) -> Option<String> {
    match row.need {
        Need::Required | Need::Optional => None,
        Need::OnRequest => Some(format!("attached on request: --hook {}", row.hook.name())),
        Need::Armed => Some("attached while a teardown with references outstanding is pending".to_owned()),
    }
}
