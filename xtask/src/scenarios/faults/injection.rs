//! Injects the faults. The scenarios check the results.

use anyhow::{Context as _, Result, ensure};

use crate::guest::{Job, kmodule};
use crate::scenarios::lab::Lab;
use crate::scenarios::testmod::{Allocated, Answer, script};

/// Bytes of an allocation unless a scenario needs another size.
pub(in crate::scenarios) const SIZE: u64 = 64 * 1024;

/// A running process of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Busy {
    job: Job,
    /// Its process id.
    pub(in crate::scenarios) pid: u32,
}

/// A range that was removed while its memory was in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Race {
    /// The memory in use.
    pub(super) allocated: Allocated,
    /// The process that freed it after the removal, so that the release of the device could continue.
    pub(super) freer: u32,
    /// The process that unbound the device.
    pub(super) unbinder: u32,
}

/// A free that a driver must not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Freed {
    /// The process that freed.
    pub(super) pid: u32,
    /// Address of the memory.
    pub(super) addr: u64,
    /// Bytes.
    pub(super) size: u64,
}

/// A use of memory after the removal of its pages.
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

    /// Starts a command of the module in a process of its own.
    pub(super) fn start_command(&mut self, command: &str) -> Result<Busy> {
        self.start_busy(&script(command))
    }

    /// Starts a command that prints its pid first.
    fn start_busy(&mut self, command: &str) -> Result<Busy> {
        let job = self.guest.spawn(command)?;
        let pid = self.guest.wait_line(job, "")?;
        let pid = pid.parse().with_context(|| format!("invalid pid {pid}"))?;
        Ok(Busy { job, pid })
    }

    /// Waits until the process has finished, and returns the module's answer.
    ///
    /// # Errors
    ///
    /// It failed, or the kernel killed it.
    pub(crate) fn finish(&mut self, busy: Busy) -> Result<Answer> {
        let lines = self.guest.wait(busy.job)?.success();
        Answer::parse(&lines.with_context(|| format!("process {} failed", busy.pid))?)
    }

    /// The order of 2018, with the module loaded for it (`race=1`): memory is allocated, the card unbound and
    /// its pages removed; then the memory is freed.
    pub(super) fn race(&mut self) -> Result<Race> {
        let card = self.card.clone();
        let allocated = self.allocate(&card, SIZE)?;
        let unbinding = self.start_unbind_card()?;
        self.wait_sleeping(unbinding.pid, "release_late")?;
        let freer = self.command(&format!("free {}", allocated.handle))?.pid;
        self.finish(unbinding)?;
        Ok(Race { allocated, freer, unbinder: unbinding.pid })
    }

    /// Runs a command of the module that makes the kernel kill its process (`BUG` or a bad access), and
    /// returns the process. The handle and any locks that it held are lost.
    ///
    /// # Errors
    ///
    /// It survives.
    pub(super) fn fatal_command(&mut self, command: &str) -> Result<u32> {
        let busy = self.start_command(command)?;
        self.expect_killed(busy)
    }

    /// Waits until a process has ended; returns whether the kernel killed it.
    pub(super) fn is_killed_by_kernel(&mut self, busy: Busy) -> Result<bool> {
        Ok(self.guest.wait(busy.job)?.code > 128)
    }

    /// Waits until the kernel has killed a process, and returns its pid.
    ///
    /// # Errors
    ///
    /// It exited by itself.
    pub(super) fn expect_killed(&mut self, busy: Busy) -> Result<u32> {
        let code = self.guest.wait(busy.job)?.code;
        ensure!(code > 128, "the kernel should kill process {}, but it exited with {code}", busy.pid);
        Ok(busy.pid)
    }

    /// Frees the same memory twice, each time in another process; the kernel kills the second one.
    pub(super) fn free_twice(&mut self) -> Result<[Freed; 2]> {
        let card = self.card.clone();
        let Allocated { handle, addr, size, .. } = self.allocate(&card, SIZE)?;
        let first = self.command(&format!("free-keep {handle}"))?.pid;
        let second = self.fatal_command(&format!("free {handle}"))?;
        Ok([first, second].map(|pid| Freed { pid, addr, size }))
    }

    /// Allocates [`SIZE`] bytes and frees `size`. If that is more, the kernel kills the process.
    pub(super) fn free_with_size(&mut self, size: u64) -> Result<Freed> {
        let card = self.card.clone();
        let Allocated { handle, addr, .. } = self.allocate(&card, SIZE)?;
        let command = format!("free-size {handle} {size}");
        let pid = if size > SIZE { self.fatal_command(&command)? } else { self.command(&command)?.pid };
        Ok(Freed { pid, addr, size })
    }

    /// Frees memory that was never allocated; the kernel kills the process.
    pub(super) fn free_unallocated(&mut self, addr: u64, size: u64) -> Result<Freed> {
        let pid = self.fatal_command(&format!("free-at {} {addr:#x} {size}", self.card))?;
        Ok(Freed { pid, addr, size })
    }

    /// Allocates memory that a process uses this many milliseconds after its pages are removed. `how` is a
    /// command of the module, with `HANDLE` in place of the handle.
    pub(super) fn use_after_removal(&mut self, milliseconds: u32, how: &str) -> Result<LateUse> {
        let card = self.card.clone();
        let allocated = self.allocate(&card, SIZE)?;
        let handle = allocated.handle;
        let how = how.replace("HANDLE", &handle.to_string());
        let user = self.start_command(&format!("after-removal {handle} {milliseconds} {how}"))?;
        Ok(LateUse { allocated, user })
    }

    /// As [`Lab::use_after_removal`], with a mapping for the slow drive.
    pub(super) fn map_after_removal(&mut self, milliseconds: u32) -> Result<LateUse> {
        let allocated = self.allocate_mapped()?;
        let map = self.map(&allocated);
        let user = self.start_command(&format!("after-removal {} {milliseconds} {map}", allocated.handle))?;
        Ok(LateUse { allocated, user })
    }

    /// Allocates memory and maps it once for the slow drive, so that the kernel knows that it may.
    pub(in crate::scenarios) fn allocate_mapped(&mut self) -> Result<Allocated> {
        let card = self.card.clone();
        let allocated = self.allocate(&card, SIZE)?;
        let map = self.map(&allocated);
        self.command(&map)?;
        Ok(allocated)
    }

    /// The module's command that maps the memory.
    pub(in crate::scenarios) fn map(&self, allocated: &Allocated) -> String {
        format!("map {} {}", allocated.handle, self.slow)
    }
}
