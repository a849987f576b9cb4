//! A mapping of PCI peer-to-peer memory into this process.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::ptr::{self, NonNull};

use anyhow::{Context as _, Result, ensure};
use rustix::mm::{MapFlags, ProtFlags};

/// Bytes of one page of memory.
pub fn page_size() -> usize {
    rustix::param::page_size()
}

/// Peer-to-peer memory of one device, mapped `MAP_SHARED` from the file `p2pmem/allocate` that the kernel has
/// since Linux 6.2. The kernel gets one reference per page, and drops it when the page is unmapped and no I/O
/// uses it any more.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

impl Mapping {
    /// Maps `len` bytes (rounded up to whole pages by the kernel) of the memory of `device`, written as in
    /// sysfs: `0000:03:00.0`.
    ///
    /// # Errors
    ///
    /// The file cannot be opened (no such device, no p2p memory, kernel before 6.2, no permission), or the
    /// device does not have enough free memory.
    pub fn new(device: &str, len: usize) -> Result<Self> {
        ensure!(len > 0, "cannot map 0 bytes");
        let path: PathBuf = ["/sys/bus/pci/devices", device, "p2pmem/allocate"].iter().collect();
        let file = OpenOptions::new().read(true).write(true).open(&path).with_context(|| {
            format!(
                "cannot open {} (does the device have p2p memory? mapping it needs Linux 6.2)",
                path.display()
            )
        })?;
        // SAFETY: a new mapping at an address of the kernel's choice replaces no existing one.
        let start = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &file,
                0,
            )
        }
        .with_context(|| format!("cannot map {len} bytes of {}", path.display()))?;
        let start = NonNull::new(start.cast::<u8>()).context("the kernel mapped the memory at address 0")?;
        Ok(Self { start, len })
    }

    /// The requested number of bytes.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Always false: a mapping has at least one byte.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Pages that the kernel mapped.
    pub fn pages(&self) -> usize {
        self.len.div_ceil(page_size())
    }

    /// The memory, for a system call that writes into it. The program itself must not touch it while the
    /// device may be unbound: the kernel then unmaps the pages and an access ends in SIGBUS.
    pub const fn as_mut_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Unmaps the memory.
    ///
    /// # Errors
    ///
    /// As munmap(2).
    pub fn unmap(self) -> Result<()> {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: this value owns the mapping, and `self` is consumed: nothing can use it afterwards.
        unsafe { rustix::mm::munmap(this.start.as_ptr().cast(), this.len) }.context("cannot unmap the memory")
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this value owns the mapping, and nothing can use it after its drop.
        if let Err(error) = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) } {
            eprintln!("cannot unmap the memory: {error}");
        }
    }
}
