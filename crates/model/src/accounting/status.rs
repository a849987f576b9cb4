//! What is traced and how: the first thing that a session tells, and again whenever it changes.

use p2p_trace_common::{Hook, slot::Sharing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    event::{DeviceAddress, Method, names, user::Change},
    text::Text,
};

/// State of one hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HookState {
    /// It sees everything.
    Attached,
    /// Loaded and verified; attached only while a teardown is pending.
    Armed,
    /// This kernel does not have the function.
    Absent,
    /// It could not be attached: see the error.
    Failed,
}

/// One hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HookStatus {
    /// The hook.
    #[serde(with = "names::hook")]
    #[schemars(with = "String")]
    pub hook: Hook,
    /// The kernel function that it sits on, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<Text>,
    /// How it is attached.
    #[serde(default, with = "names::method", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<names::MethodName>")]
    pub method: Option<Method>,
    /// Whether it is attached.
    pub state: HookState,
    /// Without it nothing can be judged.
    pub required: bool,
    /// Why it is not attached, or not by the preferred method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Text>,
    /// What is not seen without it.
    pub lost_without: Text,
}

/// How exactly lost records are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SequenceQuality {
    /// Every record has its own number: each lost one is known.
    Exact,
    /// The kernel has no atomic fetch-add for BPF: records that interrupt another one are dropped, and counted.
    Partial,
}

/// Whether runs that the kernel skipped are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MissedQuality {
    /// The kernel counts them.
    Counted,
    /// This kernel does not count them, for some of the hooks at least.
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

/// How many rings there are, and bytes of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RingSizes {
    /// Allocations, frees, page frees, maps.
    pub hot: u64,
    /// Set-up, teardown, uses of removed memory, and their stacks.
    pub rare: u64,
    /// How many of each. Where there are fewer than CPUs, CPU n and CPU n + `count` write into the same one, which is known by the lower
    /// of their numbers. 0, or absent: every CPU has its own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub count: u32,
}

impl RingSizes {
    /// Bytes of all rings together.
    #[must_use]
    pub const fn total(&self) -> u64 {
        (self.hot + self.rare) * self.count as u64
    }

    /// Which of so many CPUs share their rings.
    #[must_use]
    pub const fn sharing(&self, cpus: u32) -> Sharing {
        Sharing::new(self.count, cpus)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// A device that offers p2p memory, as sysfs shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Device {
    /// PCI address.
    #[serde(with = "names::device")]
    #[schemars(with = "String")]
    pub device: DeviceAddress,
    /// Bound driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<Text>,
    /// Name of what the driver made of it, such as `nvme0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
    /// Bytes of p2p memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Bytes not allocated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available: Option<u64>,
    /// Other drivers may use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<bool>,
}

/// What is traced and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Version of p2p-trace.
    pub version: Text,
    /// Release of the kernel.
    pub kernel: Text,
    /// Boot id of the kernel.
    pub boot_id: Text,
    /// Random number of the run; the first part of every id.
    #[serde(with = "names::run")]
    #[schemars(with = "String")]
    pub run: u64,
    /// CPUs: the highest possible number plus one.
    pub cpus: u32,
    /// The rings.
    pub rings: RingSizes,
    /// The quality of loss accounting.
    pub accounting: Accounting,
    /// Every hook that was asked for.
    pub hooks: Vec<HookStatus>,
    /// The devices found.
    pub devices: Vec<Device>,
}

impl HookStatus {
    /// It will be attached when a teardown begins, or will not; `None`: not told, since an armed one can be attached at this moment.
    pub(crate) const fn will_be_armed(&self) -> Option<bool> {
        match self.state {
            HookState::Armed => Some(true),
            HookState::Failed | HookState::Absent => Some(false),
            HookState::Attached => None,
        }
    }
}

impl Status {
    /// The kernel function that `hook` sits on.
    #[must_use]
    pub fn function(&self, hook: Hook) -> Option<&str> {
        self.hooks.iter().find(|status| status.hook == hook)?.function.as_deref()
    }

    /// The hooks that are attached for good, as changes. Those that are armed tell each change in the stream.
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
    fn what_is_armed_absent_or_failed_is_not_attached() {
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
