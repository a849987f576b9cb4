//! Sinks for the messages of a dying kernel, without a memory dump: the serial console, the network
//! (netconsole), and storage of the firmware or memory that survives a reset (pstore).

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::scenarios::lab::{Lab, RAMOOPS};
use crate::{
    guest::{CAPTURE, Guest},
    host::interrupt,
};

/// A finding that the tracer wrote to the kernel's log before the panic.
pub(super) const FINDING: &str = "p2p-trace: removed-before-drained of ";
/// The kernel side's message in its trace, which the oops prints.
const USE: &str = "bpf_trace_printk: p2p-trace: use-after-removal: maps ";
/// The target of the log on the network: the host of QEMU's user network, which need not answer.
const NETCONSOLE: &str = "netconsole=6665@10.0.2.15/eth0,6666@10.0.2.2/52:55:0a:00:02:02";
/// How long the kernel may take to send it, even after its death.
const FLUSH: Duration = Duration::from_mins(1);
/// The kernel's name for its pstore backend.
const BACKEND: &str = "/sys/module/pstore/parameters/backend";

/// The sinks that this kernel has in addition to the serial console.
#[derive(Debug)]
pub(super) struct CrashSinks {
    network: bool,
    /// The pstore backend.
    backend: String,
}

/// Opens the available sinks.
pub(super) fn open(lab: &mut Lab) -> Result<CrashSinks> {
    let guest = &mut lab.guest;
    let network = succeeds(guest, "[ -e /lib/modules/$(uname -r)/netconsole.ko ]")?;
    if network {
        guest.check(&format!("modprobe e1000 && ip link set eth0 up && modprobe netconsole {NETCONSOLE}"))?;
    }
    // The firmware's error records where the kernel supports them, else reserved memory.
    let has_erst = succeeds(guest, "grep -q ' erst_write$' /proc/kallsyms")?;
    let backend = if has_erst { "erst" } else { "ramoops" }.to_owned();
    let crash_sinks = CrashSinks { network, backend };
    crash_sinks.register_backend(guest)?;
    Ok(crash_sinks)
}

impl CrashSinks {
    fn register_backend(&self, guest: &mut Guest) -> Result<()> {
        if self.backend == "ramoops" {
            guest.check(&format!("modprobe ramoops {RAMOOPS}"))?;
        }
        guest.check(&format!("grep -q '^{}$' {BACKEND}", self.backend))?;
        Ok(())
    }

    /// Expects all messages on the serial console, and on the network if there is one, of a kernel that
    /// finished its panic.
    pub(super) fn expect(&self, guest: &Guest) -> Result<()> {
        let console = guest.console();
        has("the serial console", &console, &[FINDING, USE])?;
        ensure!(!console.contains("trace_printk() being used"), "the kernel warns of its own debugging aid");
        // The end of a panic flushes the network after the serial console has printed everything.
        self.wait_network(guest, &[FINDING, USE])
    }

    /// Waits until a running kernel has sent the finding over the network, if it can: a kernel that hands
    /// over to a crash kernel sends nothing more.
    pub(super) fn wait_finding(&self, guest: &Guest) -> Result<()> {
        self.wait_network(guest, &[FINDING])
    }

    /// Prints whether the serial console has the last messages of a kernel that handed over to a crash
    /// kernel. It need not have them: another CPU or a thread may have been about to print them, and the
    /// panic, which would print them, never finishes.
    pub(super) fn print_last_words(guest: &Guest) {
        let had = if guest.console().contains(USE) { "" } else { "not " };
        println!("    (the use was {had}on the serial console before the crash kernel took over)");
    }

    fn wait_network(&self, guest: &Guest, words: &[&str]) -> Result<()> {
        if !self.network {
            return Ok(());
        }
        let capture = guest.log().join(CAPTURE);
        let deadline = Instant::now() + FLUSH;
        loop {
            interrupt::check()?;
            let bytes = fs::read(&capture).with_context(|| format!("cannot read {}", capture.display()))?;
            let found = has("the network", &String::from_utf8_lossy(&bytes), words);
            if found.is_ok() || Instant::now() >= deadline {
                return found;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Resets the dead guest, and expects all messages in the storage that survived.
    pub(super) fn expect_after_reset(&self, guest: &mut Guest) -> Result<()> {
        guest.qmp().execute("set-action", json!({ "reboot": "reset" }))?;
        guest.qmp().execute("system_reset", json!({}))?;
        guest.qmp().execute("cont", json!({}))?;
        guest.wait_next_kernel().context("the guest does not come up after its reset")?;
        let kept = self.kept(guest)?;
        has("the storage that survived the reset", &kept.join("\n"), &[FINDING, USE])
    }

    /// The stored messages, read by the kernel that started after the first one.
    pub(super) fn kept(&self, guest: &mut Guest) -> Result<Vec<String>> {
        self.register_backend(guest)?;
        let command = format!(
            "mount -t pstore pstore /sys/fs/pstore && for f in /sys/fs/pstore/dmesg-{}-*; do [ ! -e $f ] || cat $f; done",
            self.backend
        );
        guest.check(&command)
    }
}

fn succeeds(guest: &mut Guest, command: &str) -> Result<bool> {
    Ok(guest.run(command)?.code == 0)
}

fn has(sink: &str, text: &str, words: &[&str]) -> Result<()> {
    for wanted in words {
        ensure!(text.contains(wanted), "{sink} does not have `{wanted}`");
    }
    Ok(())
}
