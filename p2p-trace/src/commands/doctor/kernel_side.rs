//! What the kernel side says of itself, while it is attached for a moment.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use p2p_trace_model::stream::{Batch, Diagnostic, Level};
use p2p_trace_probe::transport::{Request, Session};

use crate::{
    cli::DoctorArgs,
    render::doctor::{KernelSideReport, StatementReport},
    run::{open, stop::Stop},
};

/// How long it is listened to: the devices are read in this time.
const LISTEN: Duration = Duration::from_millis(300);
/// How long to wait for something to read.
const WAIT: Duration = Duration::from_millis(10);
/// Records in one batch, which nobody looks at.
const BUDGET: usize = 4096;
/// Statements that are shown.
const MAX_SHOWN: usize = 100;

/// Attaches as `live` would, listens, and detaches.
pub(super) fn listen(args: &DoctorArgs, level: Level) -> KernelSideReport {
    let request = Request {
        kernel_btf: args.kernel_btf.as_deref().map(Path::to_owned),
        diagnostics: Some(level),
        ..Request::default()
    };
    let heard = open(&request, &Stop::default()).and_then(|opened| listen_to(opened.session, LISTEN));
    match heard {
        Ok(said) => report(level, said),
        Err(error) => {
            KernelSideReport { error: Some(format!("{error:#}").into()), ..report(level, Vec::new()) }
        }
    }
}

fn listen_to(mut session: Box<dyn Session>, duration: Duration) -> Result<Vec<Diagnostic>> {
    let (begun, mut batch) = (Instant::now(), Batch::default());
    let mut said = Vec::new();
    let mut heard = || {
        while begun.elapsed() < duration {
            session.wait(WAIT);
            session.poll(BUDGET, &mut batch)?;
            said.append(&mut batch.diagnostics);
            batch.clear();
        }
        Ok(())
    };
    let heard = heard();
    // Whatever went wrong before: what is attached must be detached.
    session.detach().and(heard).map_err(|error| anyhow!("{error}")).context("listening broke off")?;
    session.finish(&mut batch).map_err(|error| anyhow!("{error}"))?;
    said.append(&mut batch.diagnostics);
    Ok(said)
}

fn report(level: Level, mut said: Vec<Diagnostic>) -> KernelSideReport {
    let omitted = said.len().saturating_sub(MAX_SHOWN);
    said.truncate(MAX_SHOWN);
    KernelSideReport {
        level,
        said: said
            .into_iter()
            .map(|Diagnostic { level, text, .. }| StatementReport { level, text })
            .collect(),
        omitted: omitted as u64,
        error: None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use p2p_trace_model::{
        accounting::{Status, Totals},
        testing::status as samples,
    };
    use p2p_trace_probe::transport::SessionError;

    use super::*;

    /// Says something at each poll, then breaks.
    struct Talking {
        polls: usize,
        detached: mpsc::Sender<()>,
    }

    fn statement(text: &str) -> Diagnostic {
        Diagnostic::new(1, Level::Debug, text)
    }

    impl Session for Talking {
        fn status(&self) -> Status {
            samples::status()
        }

        fn wait(&mut self, _timeout: Duration) {}

        fn poll(&mut self, _budget: usize, batch: &mut Batch) -> Result<(), SessionError> {
            self.polls = self.polls.checked_sub(1).ok_or("it broke")?;
            batch.diagnostics.push(statement("poll"));
            Ok(())
        }

        fn snapshot(&mut self) {}

        fn detach(&mut self) -> Result<(), SessionError> {
            Ok(self.detached.send(())?)
        }

        fn finish(&mut self, batch: &mut Batch) -> Result<(), SessionError> {
            batch.diagnostics.push(statement("finish"));
            Ok(())
        }

        fn totals(&mut self) -> Result<Totals, SessionError> {
            Ok(Totals::default())
        }
    }

    #[test]
    fn it_is_listened_to_until_it_is_detached() {
        let (detached, is_detached) = mpsc::channel();
        let talking = |polls| Box::new(Talking { polls, detached: detached.clone() });
        let said = listen_to(talking(usize::MAX), Duration::from_millis(2)).unwrap();
        assert_eq!((said.first(), said.last()), (Some(&statement("poll")), Some(&statement("finish"))));
        is_detached.try_recv().unwrap();
        let error = listen_to(talking(1), Duration::from_mins(1)).unwrap_err();
        assert!(format!("{error:#}").contains("it broke"), "{error:#}");
        is_detached.try_recv().unwrap();
    }

    #[test]
    fn no_more_is_shown_than_can_be_read() {
        let told = report(Level::Trace, vec![statement("free"); MAX_SHOWN + 3]);
        assert_eq!((told.said.len(), told.omitted), (MAX_SHOWN, 3));
    }
}
