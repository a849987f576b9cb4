//! Passes requests from the server's thread to the thread with the model.

use std::{
    io,
    path::Path,
    sync::mpsc::{self, Receiver, SyncSender},
    time::Duration,
};

use p2p_trace_model::event::DeviceAddress;
use p2p_trace_probe::kernel::{KernelRoot, clock::boottime_ns};

use super::{Place, Request, Server};
use crate::device_report::{Host, Report};

/// How long a client waits for the answering thread.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request that waits for its answer. Dropping it refuses it.
#[derive(Debug)]
pub(crate) struct PendingRequest {
    /// The devices of the request; empty: all.
    pub(crate) devices: Vec<DeviceAddress>,
    /// The state of the host at the time of the request.
    pub(crate) host: Host,
    reply: SyncSender<Report>,
}

impl PendingRequest {
    /// Sends the answer. The client may have timed out already.
    pub(crate) fn answer(self, report: Report) {
        self.reply.try_send(report).unwrap_or_default();
    }
}

/// The incoming requests, one at a time.
#[derive(Debug)]
pub(crate) struct RequestQueue {
    // Dropped before the server, whose thread may be waiting for an answer.
    requests: Receiver<PendingRequest>,
    server: Server,
}

impl RequestQueue {
    /// Starts to listen. The tasks of the host are read in the server's thread, so that the answering thread is not delayed.
    pub(crate) fn open(place: &Place, root: KernelRoot) -> io::Result<Self> {
        let (sender, requests) = mpsc::sync_channel(1);
        let server = Server::start(place, move |Request::Holders { devices }| {
            let devices: Vec<_> = devices.iter().map(|device| device.0).collect();
            ask(&sender, &root, devices)
        })?;
        Ok(Self { requests, server })
    }

    /// The pending request, if there is one.
    pub(crate) fn next(&self) -> Option<PendingRequest> {
        self.requests.try_recv().ok()
    }

    pub(crate) fn path(&self) -> &Path {
        self.server.path()
    }
}

fn ask(
    sender: &SyncSender<PendingRequest>,
    root: &KernelRoot,
    devices: Vec<DeviceAddress>,
) -> Result<Report, String> {
    let (reply, answer) = mpsc::sync_channel(1);
    let asked_ns = boottime_ns();
    let request =
        PendingRequest { host: Host::read(root, devices.iter().copied()).asked_at(asked_ns), devices, reply };
    let busy = || "the tracer is busy or about to exit: try again".to_owned();
    sender.try_send(request).map_err(|_unsent| busy())?;
    answer.recv_timeout(PATIENCE).map_err(|_timeout| busy())
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Instant};

    use super::{super::tests::place, *};
    use crate::{
        device_report::samples,
        serve::{
            ask::{Problem, ask},
            protocol::Code,
        },
    };
    use p2p_trace_model::event::names::Bdf;

    #[test]
    fn a_request_is_answered_by_another_thread_or_refused_when_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let (place, root) = (place(folder.path()), KernelRoot::at(folder.path()));
        let queue = RequestQueue::open(&place, root).unwrap();
        let answerer = thread::spawn(move || {
            let next = || queue.requests.recv().unwrap();
            let request = next();
            let devices = request.devices.clone();
            request.answer(samples::report());
            drop(next());
            // Exits while a request waits.
            let waiting = queue.requests.recv().unwrap();
            let ending = Instant::now();
            drop((waiting, queue));
            (devices, ending.elapsed())
        });
        let device = DeviceAddress::from_devfn(0, 3, 0);
        let request = Request::Holders { devices: vec![Bdf(device)] };
        assert_eq!(ask(&place, &request).report, Some(samples::report()));
        let refused = || {
            let asked = ask(&place, &request);
            matches!(&asked.errors[0].problem, Problem::Refused(refused) if refused.code == Code::Failed)
        };
        assert!(refused(), "the request was dropped");
        assert!(refused(), "the tracer exited");
        let (devices, ending) = answerer.join().unwrap();
        assert_eq!(devices, [device]);
        assert!(ending < PATIENCE / 2);
        assert!(ask(&place, &request).report.is_none());
    }
}
