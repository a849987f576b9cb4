//! User mappings that failed while they inserted pages. Where the kernel lacks 6220694c52a5, such a call keeps the reference that
//! it held for itself, and nobody is left to drop it.

use super::reference::At;
use crate::event::{Event, Task};

/// Those that are kept of a range.
pub(super) const MAX_FAILED: usize = 1024;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedMmap {
    /// The record of its return.
    pub at: At,
    /// Who asked for it.
    pub task: Option<Task>,
    /// The first page that it had, which it may have been able to insert or not.
    pub page: u64,
    /// What it returned: a negative error number.
    pub error: i32,
}

impl FailedMmap {
    /// The event is one. Without a page nothing was inserted, and no reference was held.
    pub(super) fn of(event: &Event, at: At) -> Option<Self> {
        let error = event.ret.filter(|&ret| ret < 0)?;
        event.page.map(|page| Self { at, task: event.task, page, error })
    }
}

/// All of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailedMmaps {
    list: Vec<FailedMmap>,
}

impl FailedMmaps {
    /// Adds one. False: there is no room.
    pub(super) fn add(&mut self, failed: FailedMmap) -> bool {
        let has_room = self.list.len() < MAX_FAILED;
        if has_room {
            self.list.push(failed);
        }
        has_room
    }

    /// In the order in which they returned.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &FailedMmap> {
        self.list.iter()
    }

    /// The most references that they can have kept; `None`: there can have been more of them than are known.
    #[must_use]
    pub fn most_kept(&self) -> Option<u64> {
        (self.list.len() < MAX_FAILED).then_some(self.list.len() as u64)
    }
}
