//! Finds out whether the host's processor can execute guests. The existence of `/dev/kvm` proves nothing:
//! inside another virtual machine a guest may still abort or hang.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::time::Duration;

use super::machine::{Acceleration, Machine};
use super::session::{Boot, Guest, log_folder};
use crate::kernels::GuestKernel;

/// A guest that boots at all boots much faster than this.
const LIMIT: Duration = Duration::from_secs(10);

/// Boots the kernel once with KVM, if it is available; any failure means software emulation.
pub(crate) fn probe(kernel: &GuestKernel, initramfs: &[u8]) -> Acceleration {
    if OpenOptions::new().read(true).write(true).open(Path::new("/dev/kvm")).is_err() {
        return Acceleration::Tcg;
    }
    let machine = Machine::default();
    let boot = Boot {
        name: "kvm-probe",
        kernel,
        initramfs,
        machine: &machine,
        acceleration: Acceleration::Kvm,
        limit: LIMIT,
    };
    if Guest::start(boot).and_then(Guest::power_off).is_ok() {
        return Acceleration::Kvm;
    }
    // A failure is an ordinary result, and its logs are not needed.
    drop(fs::remove_dir_all(log_folder(boot.name)));
    Acceleration::Tcg
}
