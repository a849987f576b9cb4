//! Requests for whoever has the model: the server's thread takes them, another one answers.

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

/// How long a client has to wait for the thread that answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request that waits for its answer. Dropping it refuses it.
#[derive(Debug)]
pub(crate) struct PendingRequest {
    /// The devices that are asked for; none: all.
    pub(crate) devices: Vec<DeviceAddress>,
    /// The host as it was when the question was put.
    pub(crate) host: Host,
    reply: SyncSender<Report>,
}

impl PendingRequest {
    /// Gives the answer. The client may have lost patience meanwhile; that is its affair.
    pub(crate) fn answer(self, report: Report) {
        self.reply.try_send(report).unwrap_or_default();
    }
}

/// Where questions arrive, one at a time.
#[derive(Debug)]
pub(crate) struct RequestQueue {
    // Dropped before the server, whose thread may be waiting for an answer.
    requests: Receiver<PendingRequest>,
    server: Server,
}

impl RequestQueue {
    /// Listens. The tasks of the host are looked at in the server's thread, so that whoever answers does not lose time over
    /// it.
    pub(crate) fn open(place: &Place, root: KernelRoot) -> io::Result<Self> {
        let (sender, requests) = mpsc::sync_channel(1);
        let server = Server::start(place, move |Request::Holders { devices }| {
            let devices: Vec<_> = devices.iter().map(|device| device.0).collect();
            ask(&sender, &root, devices)
        })?;
        Ok(Self { requests, server })
    }

    /// The question that waits, if one does.
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
    let busy = || "the tracer is busy or about to end: ask again".to_owned();
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
    fn a_question_is_answered_by_another_thread_or_refused_when_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let (place, root) = (place(folder.path()), KernelRoot::at(folder.path()));
        let queue = RequestQueue::open(&place, root).unwrap();
        let answerer = thread::spawn(move || {
            let next = || queue.requests.recv().unwrap();
            let request = next();
            let devices = request.devices.clone();
            request.answer(samples::report());
            drop(next());
            // Ends while a question waits.
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
        assert!(refused(), "the question was dropped");
        assert!(refused(), "the tracer ended");
        let (devices, ending) = answerer.join().unwrap();
        assert_eq!(devices, [device]);
        assert!(ending < PATIENCE / 2);
        assert!(ask(&place, &request).report.is_none());
    }
}
