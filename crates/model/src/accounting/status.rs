//! The status of tracing: what is traced, and how. A session reports this first, and again whenever it changes.

use p2p_trace_common::{Hook, slot::Sharing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    event::{DeviceAddress, Method, names, user::Change},
    text::Text,
};

/// The state of one hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HookState {
    /// Attached.
    Attached,
    /// Loaded and verified; attached only while a teardown is pending.
    Armed,
    /// This kernel does not have the function.
    Absent,
    /// It could not be attached; see the error.
    Failed,
}

/// The status of one hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HookStatus {
    /// The hook.
    #[serde(with = "names::hook")]
    #[schemars(with = "String")]
    pub hook: Hook,
    /// The kernel function that the hook is attached to, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<Text>,
    /// How it is attached.
    #[serde(default, with = "names::method", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<names::MethodName>")]
    pub method: Option<Method>,
    /// Whether it is attached.
    pub state: HookState,
    /// Without it p2p memory cannot be followed (docs/hooks.md).
    pub required: bool,
    /// Why it is not attached, or not with the preferred method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Text>,
    /// Events that are not observed without it.
    pub lost_without: Text,
}

/// How precisely lost records are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SequenceQuality {
    /// Every record has a number, so each lost record is known.
    Exact,
    /// The kernel has no atomic fetch-add for BPF. Records that interrupt another one are dropped and
    /// counted.
    Partial,
}

/// Whether runs that the kernel skipped are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MissedQuality {
    /// The kernel counts skipped runs.
    Counted,
    /// This kernel does not count skipped runs, at least for some of the hooks.
    Unknown,
}

/// The quality of loss accounting on this kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Accounting {
    /// Lost records.
    pub sequence: SequenceQuality,
    /// Runs that the kernel skipped.
    pub missed: MissedQuality,
}

/// The number of rings and the bytes of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RingSizes {
    /// Bytes of a hot ring: allocations, frees, page frees, and mappings.
    pub hot: u64,
    /// Bytes of a rare ring: setup, teardown, uses of removed memory, and their stacks.
    pub rare: u64,
    /// The number of rings of each kind. If there are fewer rings than CPUs, CPU n and CPU n + `count` write
    /// into the same one, which is known by the lower CPU number. If 0 or absent, every CPU has its own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub count: u32,
}

impl RingSizes {
    /// Bytes of all rings together.
    #[must_use]
    pub const fn total(&self) -> u64 {
        (self.hot + self.rare) * self.count as u64
    }

    /// The CPUs, of `cpus` in all, that share each ring.
    #[must_use]
    pub const fn sharing(&self, cpus: u32) -> Sharing {
        Sharing::new(self.count, cpus)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// A device that provides p2p memory, as sysfs shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Device {
    /// PCI address.
    #[serde(with = "names::device")]
    #[schemars(with = "String")]
    pub device: DeviceAddress,
    /// The bound driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<Text>,
    /// Name of the driver's own device, such as `nvme0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
    /// Bytes of p2p memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Bytes not allocated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available: Option<u64>,
    /// Whether other drivers may use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<bool>,
}

/// The status of tracing: what is traced, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Version of p2p-trace.
    pub version: Text,
    /// Release of the kernel.
    pub kernel: Text,
    /// Boot id of the kernel.
    pub boot_id: Text,
    /// Random number of the run: the first part of every id.
    #[serde(with = "names::run")]
    #[schemars(with = "String")]
    pub run: u64,
    /// The highest possible CPU number plus one.
    pub cpus: u32,
    /// The rings.
    pub rings: RingSizes,
    /// The quality of loss accounting.
    pub accounting: Accounting,
    /// Every enabled hook.
    pub hooks: Vec<HookStatus>,
    /// The devices found.
    pub devices: Vec<Device>,
}

impl HookStatus {
    /// Whether the hook is attached only for a teardown. `None` if unknown, since an armed hook may be
    /// attached at this moment.
    pub(crate) const fn will_be_armed(&self) -> Option<bool> {
        match self.state {
            HookState::Armed => Some(true),
            HookState::Failed | HookState::Absent => Some(false),
            HookState::Attached => None,
        }
    }
}

impl Status {
    /// The kernel function that `hook` is attached to.
    #[must_use]
    pub fn function(&self, hook: Hook) -> Option<&str> {
        self.hooks.iter().find(|status| status.hook == hook)?.function.as_deref()
    }

    /// The permanently attached hooks, as changes. For armed hooks, the stream has each change.
    pub(crate) fn attached(&self) -> impl Iterator<Item = Change> {
        let attached = |status: &&HookStatus| status.state == HookState::Attached;
        self.hooks.iter().filter(attached).filter_map(|status| {
            Some(Change { hook: status.hook, attached: true, method: status.method?, armed: false })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::status as samples;

    #[test]
    fn armed_absent_and_failed_hooks_are_not_attached() {
        let status = samples::status();
        let attached: Vec<_> = status
            .attached()
            .map(|change| (change.hook, change.method, change.attached, change.armed))
            .collect();
        assert_eq!(
            attached,
            [(Hook::Alloc, Method::Fentry, true, false), (Hook::Kill, Method::Kprobe, true, false)]
        );
    }
}
