//! The diagnostics of the kernel side, from a short session.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use p2p_trace_model::stream::{Batch, Diagnostic, Level};
use p2p_trace_probe::transport::{Request, Session};

use crate::{
    cli::DoctorArgs,
    render::doctor::{KernelSideReport, MessageReport},
    run::{open, stop::Stop},
};

/// How long to listen. The devices are read in this time.
const LISTEN: Duration = Duration::from_millis(300);
/// How long to wait for data.
const WAIT: Duration = Duration::from_millis(10);
/// Records per batch. They are not used.
const BUDGET: usize = 4096;
/// Statements that are shown at most.
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
        Ok(diagnostics) => report(level, diagnostics),
        Err(error) => {
            KernelSideReport { error: Some(format!("{error:#}").into()), ..report(level, Vec::new()) }
        }
    }
}

fn listen_to(mut session: Box<dyn Session>, duration: Duration) -> Result<Vec<Diagnostic>> {
    let (begun, mut batch) = (Instant::now(), Batch::default());
    let mut diagnostics = Vec::new();
    let mut heard = || {
        while begun.elapsed() < duration {
            session.wait(WAIT);
            session.poll(BUDGET, &mut batch)?;
            diagnostics.append(&mut batch.diagnostics);
            batch.clear();
        }
        Ok(())
    };
    let heard = heard();
    // Detach in any case, even after an error.
    session
        .detach()
        .and(heard)
        .map_err(|error| anyhow!("{error}"))
        .context("cannot read the diagnostics of the kernel side")?;
    session.finish(&mut batch).map_err(|error| anyhow!("{error}"))?;
    diagnostics.append(&mut batch.diagnostics);
    Ok(diagnostics)
}

fn report(level: Level, mut diagnostics: Vec<Diagnostic>) -> KernelSideReport {
    let omitted = diagnostics.len().saturating_sub(MAX_SHOWN);
    diagnostics.truncate(MAX_SHOWN);
    KernelSideReport {
        level,
        messages: diagnostics
            .into_iter()
            .map(|Diagnostic { level, text, .. }| MessageReport { level, text })
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

    /// A session with one statement per poll, which then fails.
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
    fn listens_until_detached_and_detaches_after_an_error() {
        let (detached, is_detached) = mpsc::channel();
        let talking = |polls| Box::new(Talking { polls, detached: detached.clone() });
        let heard = listen_to(talking(usize::MAX), Duration::from_millis(2)).unwrap();
        assert_eq!((heard.first(), heard.last()), (Some(&statement("poll")), Some(&statement("finish"))));
        is_detached.try_recv().unwrap();
        let error = listen_to(talking(1), Duration::from_mins(1)).unwrap_err();
        assert!(format!("{error:#}").contains("it broke"), "{error:#}");
        is_detached.try_recv().unwrap();
    }

    #[test]
    fn the_number_of_statements_is_limited() {
        let shown = report(Level::Trace, vec![statement("free"); MAX_SHOWN + 3]);
        assert_eq!((shown.messages.len(), shown.omitted), (MAX_SHOWN, 3));
    }
}
