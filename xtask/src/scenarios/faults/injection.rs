//! What the faults are committed with. Nothing is judged here.

use anyhow::{Context as _, Result, ensure};

use crate::guest::{Job, kmodule};
use crate::scenarios::lab::Lab;
use crate::scenarios::testmod::{Allocated, Answer, script};

/// Bytes that are taken where nothing else is asked for.
pub(in crate::scenarios) const SIZE: u64 = 64 * 1024;

/// A process of the guest that is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Busy {
    job: Job,
    /// Its number.
    pub(in crate::scenarios) pid: u32,
}

/// A range that was removed while its memory was in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Race {
    /// What was in use.
    pub(super) allocated: Allocated,
    /// The process that gave it back after the removal, and by that let the release of the device go on.
    pub(super) freer: u32,
    /// The process that unbound the device.
    pub(super) unbinder: u32,
}

/// A free that a driver must not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Freed {
    /// The process that did it.
    pub(super) pid: u32,
    /// Where.
    pub(super) addr: u64,
    /// How much.
    pub(super) size: u64,
}

/// A use of memory behind the removal of its pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LateUse {
    /// The memory.
    pub(super) allocated: Allocated,
    /// The process that uses it.
    pub(super) user: Busy,
}

impl Lab {
    /// Starts to unbind the card from the module's provider.
    pub(crate) fn start_unbind_card(&mut self) -> Result<Busy> {
        let (card, driver) = (&self.card, kmodule::NAME);
        let command = format!("echo $$; echo {card} > /sys/bus/pci/drivers/{driver}/unbind");
        self.start_busy(&command)
    }

    /// Starts a command of the module in a process that lives only for it.
    pub(super) fn start_command(&mut self, command: &str) -> Result<Busy> {
        self.start_busy(&script(command))
    }

    /// Starts what prints its pid first.
    fn start_busy(&mut self, command: &str) -> Result<Busy> {
        let job = self.guest.spawn(command)?;
        let pid = self.guest.wait_line(job, "")?;
        let pid = pid.parse().with_context(|| format!("{pid} is no pid"))?;
        Ok(Busy { job, pid })
    }

    /// Waits until it has done its work, and gives what the module answered.
    ///
    /// # Errors
    ///
    /// It failed, or the kernel ended it.
    pub(crate) fn finish(&mut self, busy: Busy) -> Result<Answer> {
        let lines = self.guest.wait(busy.job)?.success();
        Answer::parse(&lines.with_context(|| format!("process {} failed", busy.pid))?)
    }

    /// The order of 2018, with the module loaded for it (`race=1`): memory is taken, the card unbound and its pages
    /// removed; then the memory is given back.
    pub(super) fn race(&mut self) -> Result<Race> {
        let card = self.card.clone();
        let allocated = self.take(&card, SIZE)?;
        let unbinding = self.start_unbind_card()?;
        self.wait_sleeping(unbinding.pid, "release_late")?;
        let freer = self.command(&format!("free {}", allocated.handle))?.pid;
        self.finish(unbinding)?;
        Ok(Race { allocated, freer, unbinder: unbinding.pid })
    }

    /// Has the kernel end a process for a command of the module (`BUG` or a bad access), and gives the process. What it
    /// held is lost: the handle, and whatever locks.
    ///
    /// # Errors
    ///
    /// It lives on.
    pub(super) fn fatal_command(&mut self, command: &str) -> Result<u32> {
        let busy = self.start_command(command)?;
        self.expect_ended(busy)
    }

    /// Waits until a process has ended; whether the kernel ended it.
    pub(super) fn is_ended_by_kernel(&mut self, busy: Busy) -> Result<bool> {
        Ok(self.guest.wait(busy.job)?.code > 128)
    }

    /// Waits until the kernel has ended a process, and gives it.
    ///
    /// # Errors
    ///
    /// It ended by itself.
    pub(super) fn expect_ended(&mut self, busy: Busy) -> Result<u32> {
        let code = self.guest.wait(busy.job)?.code;
        ensure!(code > 128, "process {} was to be ended by the kernel, but ended with {code}", busy.pid);
        Ok(busy.pid)
    }

    /// Frees the same memory twice, each time by another process; the kernel ends the second one.
    pub(super) fn free_twice(&mut self) -> Result<[Freed; 2]> {
        let card = self.card.clone();
        let Allocated { handle, addr, size, .. } = self.take(&card, SIZE)?;
        let first = self.command(&format!("free-keep {handle}"))?.pid;
        let second = self.fatal_command(&format!("free {handle}"))?;
        Ok([first, second].map(|pid| Freed { pid, addr, size }))
    }

    /// Takes [`SIZE`] bytes and frees so many. If that is more, the kernel ends the process that does it.
    pub(super) fn free_with_size(&mut self, size: u64) -> Result<Freed> {
        let card = self.card.clone();
        let Allocated { handle, addr, .. } = self.take(&card, SIZE)?;
        let command = format!("free-size {handle} {size}");
        let pid = if size > SIZE { self.fatal_command(&command)? } else { self.command(&command)?.pid };
        Ok(Freed { pid, addr, size })
    }

    /// Frees memory that nobody has taken; the kernel ends the process that does it.
    pub(super) fn free_unallocated(&mut self, addr: u64, size: u64) -> Result<Freed> {
        let pid = self.fatal_command(&format!("free-at {} {addr:#x} {size}", self.card))?;
        Ok(Freed { pid, addr, size })
    }

    /// Takes memory that a process uses so many milliseconds after its pages are removed. `how` is a command of the
    /// module on a handle, with `HANDLE` in place of that.
    pub(super) fn use_after_removal(&mut self, milliseconds: u32, how: &str) -> Result<LateUse> {
        let card = self.card.clone();
        let allocated = self.take(&card, SIZE)?;
        let handle = allocated.handle;
        let how = how.replace("HANDLE", &handle.to_string());
        let user = self.start_command(&format!("after-removal {handle} {milliseconds} {how}"))?;
        Ok(LateUse { allocated, user })
    }

    /// As [`Lab::use_after_removal`], with a mapping for the slow drive.
    pub(super) fn map_after_removal(&mut self, milliseconds: u32) -> Result<LateUse> {
        let allocated = self.take_mapped()?;
        let map = self.map(&allocated);
        let user = self.start_command(&format!("after-removal {} {milliseconds} {map}", allocated.handle))?;
        Ok(LateUse { allocated, user })
    }

    /// Takes memory and maps it once for the slow drive, so that the kernel knows that it may.
    pub(in crate::scenarios) fn take_mapped(&mut self) -> Result<Allocated> {
        let card = self.card.clone();
        let allocated = self.take(&card, SIZE)?;
        let map = self.map(&allocated);
        self.command(&map)?;
        Ok(allocated)
    }

    /// The command of the module that maps it.
    pub(in crate::scenarios) fn map(&self, allocated: &Allocated) -> String {
        format!("map {} {}", allocated.handle, self.slow)
    }
}
