//! A status, a loss, and a clock for tests of output.

use p2p_trace_common::{Hook, Ring};

use crate::{
    accounting::{
        Accounting, Device, HookState, HookStatus, MissedQuality, RingSizes, SequenceQuality, Status,
    },
    event::{DeviceAddress, Loss, Method, Reason},
    units::Clock,
};

/// 2026-11-22 18:00:05 UTC at boottime 5 s, in a zone two hours ahead of UTC.
pub const CLOCK: Clock =
    Clock { boottime_ns: 5_000_000_000, realtime_ns: 1_795_370_405_000_000_000, utc_offset_s: 7200 };

/// Three records of CPU 1.
pub const LOSS: Loss = Loss {
    cpu: Some(1),
    ring: Ring::Hot,
    first: 10,
    last: 12,
    from_ns: 5_100_000_000,
    to_ns: 5_200_000_000,
    reason: Reason::Overwritten,
    hook: None,
};

fn hook(
    hook: Hook,
    function: &str,
    method: Option<Method>,
    state: HookState,
    error: Option<&str>,
) -> HookStatus {
    HookStatus {
        hook,
        function: (!function.is_empty()).then(|| function.into()),
        method,
        state,
        required: hook == Hook::Kill,
        error: error.map(Into::into),
        lost_without: "its events".into(),
    }
}

/// A status with one hook in each state.
pub fn status() -> Status {
    let denied = "perf_event_open: permission denied";
    Status {
        version: "0.1.0".into(),
        kernel: "7.3.4+deb13-amd64".into(),
        boot_id: "9c1e6b1e-0000-4000-8000-000000000001".into(),
        run: 0x0123_4567_89ab_cdef,
        cpus: 2,
        rings: RingSizes { hot: 1 << 20, rare: 1 << 18, count: 2 },
        accounting: Accounting { sequence: SequenceQuality::Exact, missed: MissedQuality::Counted },
        hooks: vec![
            hook(Hook::Alloc, "pci_alloc_p2pmem", Some(Method::Fentry), HookState::Attached, None),
            hook(Hook::Kill, "memunmap_pages", Some(Method::Kprobe), HookState::Attached, None),
            hook(Hook::PageFree, "p2pdma_folio_free", None, HookState::Failed, Some(denied)),
            hook(Hook::DmaMapSg, "__dma_map_sg_attrs", Some(Method::Fentry), HookState::Armed, None),
            hook(Hook::UnmapSg, "", None, HookState::Absent, None),
        ],
        devices: vec![Device {
            device: DeviceAddress::from_devfn(0, 3, 0),
            driver: Some("nvme".into()),
            name: Some("nvme0".into()),
            size: Some(64 << 20),
            available: Some((64 << 20) - (128 << 10)),
            published: Some(true),
        }],
    }
}
