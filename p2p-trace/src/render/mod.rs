//! Events for people and for scripts.

pub mod check;
pub mod doctor;
pub(crate) mod holders;
pub mod json;
mod printer;
pub(crate) mod report;
#[cfg(test)]
pub(crate) mod samples;
pub(crate) mod text;
pub(crate) mod words;

use p2p_trace_common::{Hook, hook::HOOKS};

pub(crate) use printer::{Format, Printer};

use p2p_trace_model::{
    accounting::Status,
    event::{Symbolize, is_return_trampoline},
    units::Clock,
};

/// What an event is shown with, beside itself.
pub(crate) struct Context<'a> {
    pub clock: Clock,
    pub symbols: &'a dyn Symbolize,
    functions: [Option<String>; HOOKS],
}

/// One frame of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub addr: u64,
    /// The symbol that it lies in.
    pub symbol: Option<String>,
}

impl Frame {
    pub(crate) fn of(addr: u64, symbols: &dyn Symbolize) -> Self {
        let symbol = symbols.symbolize(addr);
        Self { addr, symbol }
    }
}

impl<'a> Context<'a> {
    /// For events traced with `status`.
    pub(crate) fn new(clock: Clock, status: &Status, symbols: &'a dyn Symbolize) -> Self {
        let mut context = Self { clock, symbols, functions: [const { None }; HOOKS] };
        context.update(status);
        context
    }

    /// Takes over a new status.
    pub(crate) fn update(&mut self, status: &Status) {
        for &hook in Hook::ALL {
            self.functions[hook as usize] = status.function(hook).map(str::to_owned);
        }
    }

    /// The kernel function that `hook` sits on.
    pub(crate) fn function(&self, hook: Hook) -> Option<&str> {
        self.functions[hook as usize].as_deref()
    }

    /// An address with its name.
    pub(crate) fn frame(&self, addr: u64) -> Frame {
        Frame::of(addr, self.symbols)
    }

    /// The caller of a function, with its name; `None` where a kretprobe had already put its trampoline in the caller's
    /// place when the address was read (seen on 5.10).
    pub(crate) fn caller(&self, addr: u64) -> Option<Frame> {
        let frame = self.frame(addr);
        let hidden = frame.symbol.as_deref().is_some_and(is_return_trampoline);
        (!hidden).then_some(frame)
    }

    /// A stack with names, without the frames of the tracing itself at its top.
    pub(crate) fn frames(&self, stack: &[u64]) -> Vec<Frame> {
        let frames = stack.iter().map(|&addr| self.frame(addr));
        frames.skip_while(|frame| frame.symbol.as_deref().is_some_and(is_tracing)).collect()
    }
}

fn is_tracing(symbol: &str) -> bool {
    ["bpf_prog_", "bpf_trampoline_", "__bpf_"].iter().any(|prefix| symbol.starts_with(prefix))
}
