//! Where a report comes from: a running tracer, or a short session of this process.

use anyhow::Result;
use p2p_trace_model::event::DeviceAddress;

use super::one_shot::OneShot;
use crate::device_report::Report;

/// A source of reports.
pub(crate) trait Observe {
    /// The current state of these devices, or of all devices with p2p memory if none is named.
    fn observe(&mut self, devices: &[DeviceAddress]) -> Result<Report>;
}

/// A running tracer if there is one, otherwise a session of this process, which stays open for further snapshots if `continues`.
pub(super) fn of_host(continues: bool) -> Box<dyn Observe> {
    Box::new(Preferring { own: None, continues })
}

/// Asks a running tracer each time. Once no tracer answers, uses a session of this process.
struct Preferring {
    own: Option<OneShot>,
    continues: bool,
}

impl Observe for Preferring {
    fn observe(&mut self, devices: &[DeviceAddress]) -> Result<Report> {
        if self.own.is_none()
            && let Some(report) = ask_running(devices)
        {
            return Ok(report);
        }
        let own = match &mut self.own {
            Some(own) => own,
            empty => empty.insert(OneShot::open(devices, self.continues)?),
        };
        own.observe(devices)
    }
}

/// Asks the running tracers.
#[cfg(feature = "trace")]
fn ask_running(devices: &[DeviceAddress]) -> Option<Report> {
    use crate::serve as server;
    use p2p_trace_model::event::names::Bdf;

    let devices = devices.iter().copied().map(Bdf).collect();
    let asked = server::ask(&server::Place::of_host(), &server::Request::Holders { devices });
    for error in &asked.errors {
        tracing::warn!("{error}");
    }
    asked.report
}

/// This build cannot ask tracers.
#[cfg(not(feature = "trace"))]
const fn ask_running(_devices: &[DeviceAddress]) -> Option<Report> {
    None
}
