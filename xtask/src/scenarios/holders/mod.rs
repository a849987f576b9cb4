//! `p2p-trace holders`, against what sysfs, the drivers, the test programs and the test module know.
//!
//! Each scenario asks a tracer that was there from the start, and, where it matters, one that came too late or none. What
//! is the same however the first one attaches is done once.

mod ask;
mod bypassed;
mod direct_io;
mod expect;
mod kernel_held;
mod losses;
mod many;
mod mapping;
mod monitoring;
mod other_freer;
mod queues;
mod report;
mod two_devices;
mod two_ranges;
mod unbinding;

pub(super) use bypassed::bypassed;
pub(super) use direct_io::direct_io;
pub(super) use kernel_held::kernel_held;
pub(super) use losses::losses;
pub(super) use many::many;
pub(super) use mapping::mapping;
pub(super) use monitoring::monitoring;
pub(super) use other_freer::other_freer;
pub(super) use queues::queues;
pub(super) use two_devices::two_devices;
pub(super) use two_ranges::two_ranges;

use super::Method;

/// Bytes of a page.
const PAGE: u64 = 4096;

impl Method {
    /// Whether what does not depend on the method is done along with this one.
    fn does_the_rest(self) -> bool {
        self == Self::Fentry
    }
}
