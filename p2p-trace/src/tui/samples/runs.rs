//! The sample runs.

use p2p_trace_common::{Hook, Kind, Record, Ring, state, valid};
use p2p_trace_model::{
    event::user,
    pipeline::Slice,
    stream::order::Item,
    testing::samples::{MS, NVMET_CODE, SECOND, SHELL, code, task},
};

use super::story::{NVME0, NVME1, Story, base};

/// No device has p2p memory.
pub(in crate::tui) fn empty() -> Story {
    let mut story = Story::new();
    story.idle(3 * SECOND);
    story
}

/// Two busy devices, one of which was unbound and bound again, and lost records.
pub(in crate::tui) fn busy() -> Story {
    let mut story = Story::new();
    story.bind(NVME0, SECOND);
    story.map(NVME0, 2 * SECOND);
    story.unbind(NVME0, 3 * SECOND);
    story.drain(NVME0, 3 * SECOND + 180 * MS);
    story.finish(NVME0, 3 * SECOND + 190 * MS);
    story.bind(NVME0, 5 * SECOND);
    story.bind(NVME1, 6 * SECOND);
    for number in 0..40 {
        story.list(NVME1, 7 * SECOND + number * 50 * MS, (64 + number) << 12);
    }
    story.map(NVME0, 10 * SECOND);
    story.lose(11 * SECOND);
    story.idle(12 * SECOND);
    story
}

/// An unbind of a device whose driver allocates its pages itself.
pub(in crate::tui) fn bypassed() -> Story {
    let mut story = Story::new();
    story.bind(NVME0, SECOND);
    story.event(NVME0, Kind::Unbind, 3 * SECOND, SHELL, |record| {
        record.small = state::BYPASSED;
        record.valid |= valid::FLAG;
    });
    story.idle(4 * SECOND);
    story
}

/// An unbind that has waited two seconds for memory that a process holds.
pub(in crate::tui) fn blocked() -> Story {
    let mut story = Story::new();
    story.bind(NVME0, SECOND);
    story.map(NVME0, 2 * SECOND);
    story.unbind(NVME0, 3 * SECOND);
    story.idle(5 * SECOND + 200 * MS);
    story
}

/// [`blocked`], long enough for findings.
pub(in crate::tui) fn stalled() -> Story {
    let mut story = blocked();
    story.idle(12 * SECOND);
    story
}

/// A removal before the wait, as in the kernels of 2018.
pub(in crate::tui) fn wrong() -> Story {
    let mut story = Story::new();
    story.bind(NVME0, SECOND);
    story.map(NVME0, 2 * SECOND);
    story.unbind(NVME0, 3 * SECOND);
    story.step_of_range(NVME0, Kind::Remove, 3 * SECOND + 200 * MS, SHELL);
    story.idle(4 * SECOND);
    story.drain(NVME0, 4 * SECOND + 100 * MS);
    story.idle(7 * SECOND);
    story
}

/// A million references held by a few tasks.
pub(in crate::tui) fn million() -> Story {
    let mut story = Story::new();
    story.bind(NVME0, SECOND);
    let mut items = Vec::new();
    for number in 0..1_000_000u64 {
        let worker = task(400 + (number % 7) as u32, b"loader");
        let position = story.positions[Ring::Hot as usize];
        story.positions[Ring::Hot as usize] += 1;
        items.push(Item::Record(Record {
            kind: Kind::Alloc as u8,
            hook: Hook::Alloc as u8,
            seq: Ring::Hot.sequence(position),
            time_ns: 2 * SECOND + number * 1000,
            pid: worker.pid,
            tgid: worker.tgid,
            comm: worker.comm,
            bus: NVME0.bus,
            valid: valid::TASK | valid::DEVICE | valid::ADDR | valid::SIZE | valid::CALLER,
            words: [base(NVME0) + (1 << 32) + (number << 12), 4096, NVMET_CODE, 0],
            ..user::blank(1)
        }));
    }
    let slice = Slice { items, watermark_ns: 3 * SECOND };
    let history = &mut story.history;
    let advanced: Result<(), ()> = story.pipeline.advance(&slice, |step| {
        history.step(step, &code());
        Ok(())
    });
    assert_eq!(advanced, Ok(()));
    story.idle(4 * SECOND);
    story
}
