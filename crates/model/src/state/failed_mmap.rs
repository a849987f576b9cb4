//! User mappings that failed while they inserted pages. If the kernel lacks 6220694c52a5, such a call keeps
//! its own reference, which is then never dropped.

use super::reference::At;
use crate::event::{Event, Task};

/// Limit on the failed mappings kept per range.
pub(super) const MAX_FAILED: usize = 1024;

/// A failed user mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedMmap {
    /// The record of its return.
    pub at: At,
    /// The task.
    pub task: Option<Task>,
    /// Its first page, which may or may not have been inserted.
    pub page: u64,
    /// The return value: a negative error number.
    pub error: i32,
}

impl FailedMmap {
    /// Creates it from an event that is a failed mapping. Without a page, nothing was inserted and no
    /// reference was held.
    pub(super) fn of(event: &Event, at: At) -> Option<Self> {
        let error = event.ret.filter(|&ret| ret < 0)?;
        event.page.map(|page| Self { at, task: event.task, page, error })
    }
}

/// All failed mappings of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailedMmaps {
    list: Vec<FailedMmap>,
}

impl FailedMmaps {
    /// Adds a failed mapping. Returns false if the limit is reached.
    pub(super) fn add(&mut self, failed: FailedMmap) -> bool {
        let has_room = self.list.len() < MAX_FAILED;
        if has_room {
            self.list.push(failed);
        }
        has_room
    }

    /// The failed mappings, in the order in which they returned.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &FailedMmap> {
        self.list.iter()
    }

    /// The most references that they may have kept. `None` if there may have been more failed mappings than
    /// are known.
    #[must_use]
    pub fn most_kept(&self) -> Option<u64> {
        (self.list.len() < MAX_FAILED).then_some(self.list.len() as u64)
    }
}
