//! A status for benchmarks, in which only run id and number of CPUs are set.

use p2p_trace_model::{
    accounting::{Accounting, MissedQuality, RingSizes, SequenceQuality, Status},
    text::Text,
};

pub(crate) fn status(run: u64, cpus: u32) -> Status {
    Status {
        version: Text::default(),
        kernel: Text::default(),
        boot_id: Text::default(),
        run,
        cpus,
        rings: RingSizes { hot: 0, rare: 0, count: 0 },
        accounting: Accounting { sequence: SequenceQuality::Exact, missed: MissedQuality::Counted },
        hooks: Vec::new(),
        devices: Vec::new(),
    }
}
