//! Who looks: a tracer that is running, else this process for a moment.

use anyhow::Result;
use p2p_trace_model::event::DeviceAddress;

use super::one_shot::OneShot;
use crate::device_report::Report;

/// Somebody who can look at what is taken.
pub(crate) trait Observe {
    /// What is taken now of these devices' memory; of all that have some, if none is named.
    fn observe(&mut self, devices: &[DeviceAddress]) -> Result<Report>;
}

/// A running tracer where there is one, else a session of this process, which goes on if there is to be more than one look.
pub(super) fn of_host(goes_on: bool) -> Box<dyn Observe> {
    Box::new(Preferring { own: None, goes_on })
}

/// Asks a running tracer each time, and looks itself from the first time on that none answers.
struct Preferring {
    own: Option<OneShot>,
    goes_on: bool,
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
            empty => empty.insert(OneShot::open(devices, self.goes_on)?),
        };
        own.observe(devices)
    }
}

/// Asks the tracers that are running.
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

/// Nothing traces here.
#[cfg(not(feature = "trace"))]
const fn ask_running(_devices: &[DeviceAddress]) -> Option<Report> {
    None
}
