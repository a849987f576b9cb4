//! Snapshots: how user space asks the kernel side for the state of a device, and where it finds the
//! answer.
//!
//! User space writes a request into the only element of the array `SNAPSHOT` and reads a sysfs
//! attribute of the device, which runs `dev_attr_show` in its own context. The program on that
//! function writes records of kind `range_state` and `device_state` and fills in the answer; a
//! piece of the chunk's bitmap goes into the array `SNAPSHOT_BITS`.

/// In [`Snapshot::chunk`]: the device itself instead of one of its chunks.
pub const DEVICE: u32 = u32::MAX;

/// Words in `SNAPSHOT_BITS`, a power of two.
pub const BITS_WORDS: usize = 8192;
/// Maximum number of bitmap words per read: one bit per page, so almost 2 GiB of p2p memory.
pub const MAX_WORDS: u64 = BITS_WORDS as u64 - 1;

/// A request and its answer: the only element of the array `SNAPSHOT`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Request: the thread whose reads are answered, as in `bpf_get_current_pid_tgid`; 0: none.
    pub task: u64,
    /// Request: the index of the chunk in the pool's order, or [`DEVICE`].
    pub chunk: u32,
    /// Request: first word of the chunk's bitmap to copy. Records are written only for 0.
    pub first_word: u32,
    /// Answer: [`SEEN`] and the flags below; user space clears it with the request.
    pub answer: u64,
    /// Answer: direct-map address of the chunk's first byte.
    pub address: u64,
    /// Answer: pages in the chunk.
    pub pages: u64,
    /// Answer: words copied into `SNAPSHOT_BITS`.
    pub words: u64,
    /// Answer: pgmap that the chunk belongs to; 0: not known.
    pub pgmap: u64,
    /// Private to the kernel side: node of the chunk in the pool's list.
    pub node: u64,
}

/// In [`Snapshot::answer`]: the program ran for this request.
pub const SEEN: u64 = 1 << 0;
/// In [`Snapshot::answer`]: the pool has the chunk; address and pages are filled in.
pub const FOUND: u64 = 1 << 1;
/// In [`Snapshot::answer`]: the list of chunks could not be read up to this one.
pub const UNREADABLE: u64 = 1 << 2;

/// Element size of `SNAPSHOT`.
pub const SNAPSHOT_SIZE: usize = size_of::<Snapshot>();

const _: () = assert!(SNAPSHOT_SIZE == 64);
