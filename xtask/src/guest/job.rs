//! The host's view of a command that runs in a guest.

use std::fmt;

use anyhow::{Result, bail};

/// Handle of a started command.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Job(u32);

impl Job {
    /// Its number in the protocol between host and guest.
    pub(super) const fn number(self) -> u32 {
        self.0
    }

    /// The next handle.
    pub(super) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl From<u32> for Job {
    fn from(number: u32) -> Self {
        Self(number)
    }
}

/// The origin of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Receives the lines of a job as they arrive.
pub(crate) type Sink = Box<dyn FnMut(Source, &str) + Send>;

/// The output of a command that has exited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    /// Lines of its standard output.
    pub(crate) out: Vec<String>,
    /// Lines of its standard error.
    pub(crate) err: Vec<String>,
    /// Its exit code, or 128 + the signal that killed it.
    pub(crate) code: i32,
}

impl Output {
    /// The lines of the standard output of a command that must succeed.
    ///
    /// # Errors
    ///
    /// Its exit code is not 0.
    pub(crate) fn success(self) -> Result<Vec<String>> {
        if self.code != 0 {
            bail!("exit code {}: {}", self.code, self.text());
        }
        Ok(self.out)
    }

    /// All output, standard error last, for an error message.
    pub(crate) fn text(&self) -> String {
        [self.out.as_slice(), self.err.as_slice()].concat().join("\n")
    }
}

/// The state of a job.
pub(super) struct State {
    out: Vec<String>,
    err: Vec<String>,
    code: Option<i32>,
    sink: Option<Sink>,
}

impl State {
    pub(super) const fn new(sink: Option<Sink>) -> Self {
        Self { out: Vec::new(), err: Vec::new(), code: None, sink }
    }

    pub(super) fn out(&self) -> &[String] {
        &self.out
    }

    pub(super) const fn ended(&self) -> bool {
        self.code.is_some()
    }

    /// All output so far, for an error message.
    pub(super) fn text(&self) -> String {
        [self.out.as_slice(), self.err.as_slice()].concat().join("\n")
    }

    pub(super) fn add_out(&mut self, line: String) {
        if let Some(sink) = &mut self.sink {
            sink(Source::Out, &line);
        }
        self.out.push(line);
    }

    pub(super) fn add_err(&mut self, line: String) {
        if let Some(sink) = &mut self.sink {
            sink(Source::Err, &line);
        }
        self.err.push(line);
    }

    pub(super) const fn end(&mut self, code: i32) {
        self.code = Some(code);
    }

    /// Its output, once it has exited.
    pub(super) fn finish(self) -> Option<Output> {
        Some(Output { out: self.out, err: self.err, code: self.code? })
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("out", &self.out.len())
            .field("err", &self.err.len())
            .field("code", &self.code)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn collects_and_forwards_lines() {
        let (sender, receiver) = mpsc::channel();
        let mut state = State::new(Some(Box::new(move |source, line| {
            sender.send((source, line.to_owned())).unwrap();
        })));
        state.add_out("one".to_owned());
        state.add_err("two".to_owned());
        assert!(!state.ended());
        state.end(3);
        let output = state.finish().unwrap();
        assert_eq!(receiver.recv().unwrap(), (Source::Out, "one".to_owned()));
        assert_eq!(receiver.recv().unwrap(), (Source::Err, "two".to_owned()));
        assert_eq!(output.text(), "one\ntwo");
        assert_eq!(output.success().unwrap_err().to_string(), "exit code 3: one\ntwo");
    }

    #[test]
    fn finishes_only_after_the_exit() {
        assert_eq!(State::new(None).finish(), None);
    }
}
