//! Output for people and for scripts.

#![forbid(unsafe_code)]

pub mod check;
pub mod doctor;
pub(crate) mod holders;
pub mod json;
mod line_sink;
mod printer;
pub(crate) mod report;
#[cfg(test)]
pub(crate) mod samples;
pub(crate) mod text;
pub(crate) mod words;

use std::{cell::RefCell, collections::BTreeSet};

use p2p_trace_common::{Hook, hook::HOOKS};

pub(crate) use line_sink::{BackgroundWriter, LineSink};
pub(crate) use printer::{Format, Printer};

use p2p_trace_model::{
    accounting::Status,
    event::{Event, Symbolize, is_return_trampoline},
    text::Text,
    units::Clock,
};

/// The data needed to show an event, besides the event itself.
pub(crate) struct Context<'a> {
    pub clock: Clock,
    pub symbols: &'a dyn Symbolize,
    functions: [Option<Text>; HOOKS],
    /// Addresses shown without a name.
    unnamed: RefCell<BTreeSet<u64>>,
}

/// Maximum of remembered addresses without a name.
const MAX_UNNAMED: usize = 4096;

/// One frame of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub addr: u64,
    /// The symbol that contains the address.
    pub symbol: Option<Text>,
}

impl Frame {
    pub(crate) fn of(addr: u64, symbols: &dyn Symbolize) -> Self {
        let symbol = symbols.symbolize(addr);
        Self { addr, symbol }
    }
}

impl<'a> Context<'a> {
    /// A context for events traced with `status`.
    pub(crate) fn new(clock: Clock, status: &Status, symbols: &'a dyn Symbolize) -> Self {
        let mut context =
            Self { clock, symbols, functions: [const { None }; HOOKS], unnamed: RefCell::default() };
        context.update(status);
        context
    }

    /// Replaces the status.
    pub(crate) fn update(&mut self, status: &Status) {
        for &hook in Hook::ALL {
            self.functions[hook as usize] = status.function(hook).map(Text::from);
        }
    }

    /// The kernel function that `hook` is attached to.
    pub(crate) fn function(&self, hook: Hook) -> Option<&str> {
        self.functions[hook as usize].as_deref()
    }

    /// An address with its name.
    pub(crate) fn frame(&self, addr: u64) -> Frame {
        let frame = Frame::of(addr, self.symbols);
        self.remember_unnamed(&frame);
        frame
    }

    /// Some address was shown without a name.
    pub(crate) fn lacks_names(&self) -> bool {
        !self.unnamed.borrow().is_empty()
    }

    /// Returns the names that are now known of addresses shown without one.
    pub(crate) fn found_names(&self) -> Vec<Frame> {
        let known = self.symbols.names();
        let mut found = Vec::new();
        self.unnamed.borrow_mut().retain(|&addr| match known.symbolize(addr) {
            Some(symbol) => {
                found.push(Frame { addr, symbol: Some(symbol) });
                false
            }
            None => true,
        });
        found
    }

    /// The caller of a function, with its name; `None` if a kretprobe had already replaced the caller's address by
    /// its trampoline when the address was read (observed on 5.10).
    pub(crate) fn caller(&self, addr: u64) -> Option<Frame> {
        let frame = self.frame(addr);
        let hidden = frame.symbol.as_deref().is_some_and(is_return_trampoline);
        (!hidden).then_some(frame)
    }

    /// The stack of an event with names, without the tracer's own frames at the top. It begins with the function of
    /// the hook or, if that is not part of the stack, with the caller. The names of the other frames are not
    /// sufficient: they can become known later, and generated code can be placed where a module was, and then has the
    /// module's names.
    pub(crate) fn stack(&self, event: &Event) -> Vec<Frame> {
        let function = self.function(event.hook);
        let is_traced = |frame: &Frame| {
            Some(frame.addr) == event.caller
                || function.is_some() && frame.symbol.as_deref().map(function_of) == function
        };
        let mut frames = self.named(&event.stack);
        self.shown(match frames.iter().position(is_traced) {
            Some(first) => frames.split_off(first),
            None => without_tracing(frames),
        })
    }

    /// A stack with names, without the tracer's own frames at the top, as far as they are recognized.
    pub(crate) fn frames(&self, stack: &[u64]) -> Vec<Frame> {
        self.shown(without_tracing(self.named(stack)))
    }

    /// Looks up each name once: another thread adds names all the time, and the frames must be cut by the names that
    /// are shown.
    fn named(&self, stack: &[u64]) -> Vec<Frame> {
        stack.iter().map(|&addr| Frame::of(addr, self.symbols)).collect()
    }

    /// Remembers the frames without a name.
    fn shown(&self, frames: Vec<Frame>) -> Vec<Frame> {
        for frame in &frames {
            self.remember_unnamed(frame);
        }
        frames
    }

    fn remember_unnamed(&self, frame: &Frame) {
        let mut unnamed = self.unnamed.borrow_mut();
        if frame.symbol.is_none() && unnamed.len() < MAX_UNNAMED {
            unnamed.insert(frame.addr);
        }
    }
}

/// A stack from its first frame on that is known not to be the tracer's own.
fn without_tracing(mut frames: Vec<Frame>) -> Vec<Frame> {
    let is_traced = |frame: &Frame| frame.symbol.as_deref().is_some_and(|name| !is_tracing(name));
    match frames.iter().position(is_traced) {
        Some(first) => frames.split_off(first),
        None => frames,
    }
}

/// The function in a symbol: `kill` of `kill+0x5`.
fn function_of(symbol: &str) -> &str {
    symbol.split('+').next().unwrap_or(symbol)
}

fn is_tracing(symbol: &str) -> bool {
    ["bpf_prog_", "bpf_trampoline_", "__bpf_"].iter().any(|prefix| symbol.starts_with(prefix))
}
