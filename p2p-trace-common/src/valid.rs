//! Which fields of a record hold an observed value. A field without its flag is absent.

/// `pid`, `tgid` and `comm`: the current task, which caused the event unless the kind says
/// otherwise.
pub const TASK: u32 = 1 << 0;
/// `domain`, `bus` and `devfn`: the device that provides the memory.
pub const DEVICE: u32 = 1 << 1;
/// `pgmap`.
pub const PGMAP: u32 = 1 << 2;
/// Kernel virtual address of p2p memory, in the direct map.
pub const ADDR: u32 = 1 << 3;
/// A size in bytes.
pub const SIZE: u32 = 1 << 4;
/// First and last physical address of a range.
pub const RANGE: u32 = 1 << 5;
/// The function's return value.
pub const RET: u32 = 1 << 6;
/// The range's reference count.
pub const REFS: u32 = 1 << 7;
/// With [`REFS`]: not the kernel's own total, but a sum over per-CPU counters that were changing,
/// or the remainder that `percpu_ref_exit` left.
pub const REFS_ESTIMATE: u32 = 1 << 8;
/// Bytes that the pool counts as allocated.
pub const ALLOCATED: u32 = 1 << 9;
/// Return address of the traced function.
pub const CALLER: u32 = 1 << 10;
/// Id of the current task's cgroup (v2).
pub const CGROUP: u32 = 1 << 11;
/// A number of pages or entries.
pub const COUNT: u32 = 1 << 12;
/// Address of a `struct page` (or folio).
pub const PAGE: u32 = 1 << 13;
/// The device that maps the memory, if it is a PCI device.
pub const CLIENT: u32 = 1 << 14;
/// BAR number.
pub const BAR: u32 = 1 << 15;
/// Offset in the BAR in bytes.
pub const OFFSET: u32 = 1 << 16;
/// User virtual address.
pub const USER_ADDR: u32 = 1 << 17;
/// Address of a scatter list.
pub const SGL: u32 = 1 << 18;
/// The boolean argument (publish).
pub const FLAG: u32 = 1 << 19;
/// Times of the first and the last counted item.
pub const SPAN: u32 = 1 << 20;
/// Physical address.
pub const PHYSICAL: u32 = 1 << 21;
/// State of a range: bits of [`crate::state`].
pub const STATE: u32 = 1 << 22;
/// Time for which a task has been off the CPU.
pub const WAITING: u32 = 1 << 23;
/// The low half of the address of a range's `struct percpu_ref`. The count of ranges is then in
/// `small`, at [`crate::state::CHUNK_SHIFT`], in place of a chunk's number.
pub const REFERENCE: u32 = 1 << 24;
