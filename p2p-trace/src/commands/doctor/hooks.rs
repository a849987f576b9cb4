//! How each hook of the table would be attached on this host. Nothing is attached to find out.

use p2p_trace_common::Hook;
use p2p_trace_model::event;
use p2p_trace_probe::{
    attach_methods::AttachMethods,
    hook_table::{self, Need, Row},
    kernel::{Kernel, patching::Patching},
    plan::Plan,
    transport::Request,
};

use crate::render::doctor::{HookReport, Method};

/// The hook table checked against this kernel and these rights; empty if the kernel's symbols or types cannot be read.
#[must_use]
pub fn hooks(kernel: &Kernel) -> Vec<HookReport> {
    let (Ok(symbols), Ok(btf)) = (&kernel.symbols, &kernel.btf) else {
        return Vec::new();
    };
    let plan = Plan::new(symbols, btf, Hook::ALL);
    let attach_methods = AttachMethods::of(&Request::default(), kernel);
    let planned = plan.planned.iter().map(|planned| {
        let (method, limit) = method(kernel, attach_methods, planned.row);
        let reason = limit.or_else(|| note(planned.row));
        HookReport {
            symbol: Some(planned.function.into()),
            method,
            reason: reason.map(Into::into),
            ..report(planned.row)
        }
    });
    let unavailable = plan.unavailable.iter().filter_map(|unavailable| {
        let row = Row::of(unavailable.hook)?;
        // Without the function, its events do not happen.
        let required = row.need == Need::Required && !unavailable.absent;
        Some(HookReport { required, reason: Some(unavailable.reason.clone()), ..report(row) })
    });
    let mut hooks: Vec<_> = planned.chain(unavailable).collect();
    // The sort is stable: the other hooks stay in the order of the table.
    hooks.sort_by_key(|hook| {
        let place = hook_table::MISSION.iter().position(|first| first.name() == hook.hook);
        place.unwrap_or(hook_table::MISSION.len())
    });
    hooks
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

/// The best method for a hook without stacks on this kernel with these rights, and why a better one is not available.
fn method(kernel: &Kernel, attach_methods: AttachMethods, row: &Row) -> (Method, Option<String>) {
    if !kernel.rights.missing_to_load().is_empty() {
        return (Method::None, Some("rights are missing".to_owned()));
    }
    if kernel.offers_btf {
        return match attach_methods.of_hook(row).first() {
            Some(event::Method::Kprobe) => {
                let is_exclusive = kernel.patching() == Patching::Exclusive;
                let limit = "fentry would block live patches";
                (Method::Kprobe, is_exclusive.then(|| limit.to_owned()))
            }
            _ => (Method::Fentry, None),
        };
    }
    let reason = "the kernel offers no BTF of its own, which fentry needs".to_owned();
    if kernel.rights.allows_kprobes() { (Method::Kprobe, Some(reason)) } else { (Method::None, Some(reason)) }
}

const ARMED: &str = "attached while a device with outstanding memory is torn down";

fn note(row: &Row) -> Option<String> {
    match row.need {
        Need::Required | Need::Optional => None,
        Need::OnRequest => Some(format!("attached on request: --hook {}", row.hook.name())),
        Need::ArmedOrNamed => Some(format!("{ARMED}; throughout on request: --hook {}", row.hook.name())),
        Need::Armed => Some(ARMED.to_owned()),
    }
}
