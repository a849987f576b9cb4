//! `p2p-trace holders`, compared with sysfs, the drivers, the test programs and the test module.
//!
//! Each scenario asks a tracer that was running from the start, and, where it matters, one that started too
//! late or none. Steps that do not depend on the first tracer's method run once.

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
    /// Whether the steps that do not depend on the method run with this one.
    fn is_primary(self) -> bool {
        self == Self::Fentry
    }
}
