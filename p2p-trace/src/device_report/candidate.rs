//! A candidate in the report of `holders`.

use p2p_trace_model::text::Text;
use p2p_trace_probe::kernel::tasks::UnbindStep;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::report::TaskLine;

/// A task or driver that may be involved with the memory of a device. It was not observed to hold any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// Why it is a candidate.
    #[serde(flatten)]
    pub why: Why,
    /// The reason as a sentence.
    pub reason: Text,
}

/// Why a task or driver is a candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "candidate", rename_all = "snake_case")]
pub enum Why {
    /// A process has the device's memory mapped.
    Mapping {
        /// The process.
        task: TaskLine,
        /// Bytes of address space.
        bytes: u64,
        /// Some of it dates from before the last unbind or removal of the device.
        deleted: bool,
    },
    /// A thread is in an uninterruptible wait with DMA in its kernel stack; the device is unknown.
    Waiting {
        /// The thread.
        task: TaskLine,
        /// The frame.
        frame: Text,
    },
    /// A thread is unbinding a device; which one is unknown.
    Unbinding {
        /// The thread.
        task: TaskLine,
        /// Its current step.
        step: UnbindStep,
    },
    /// The bound driver, which may have allocated memory itself.
    Driver {
        /// Its name.
        driver: Text,
    },
}
