//! What carries words out of a dying kernel without any memory dump: the serial console, the network (netconsole), and what the
//! firmware or memory that outlives a reset keeps (pstore).

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
/// What the kernel side wrote to its trace, which the oops prints.
const USE: &str = "bpf_trace_printk: p2p-trace: use-after-removal: maps ";
/// Where the log goes over the network: to the host of QEMU's user network, which need not answer.
const NETCONSOLE: &str = "netconsole=6665@10.0.2.15/eth0,6666@10.0.2.2/52:55:0a:00:02:02";
/// How long the kernel may take for that, also one that has just died.
const FLUSH: Duration = Duration::from_mins(1);
/// The kernel's name for who keeps what is not to be lost.
const BACKEND: &str = "/sys/module/pstore/parameters/backend";

/// What this kernel has beside the serial console.
#[derive(Debug)]
pub(super) struct CrashSinks {
    network: bool,
    /// Who keeps its last words.
    keeper: String,
}

/// Opens what the kernel has.
pub(super) fn open(lab: &mut Lab) -> Result<CrashSinks> {
    let guest = &mut lab.guest;
    let network = is_so(guest, "[ -e /lib/modules/$(uname -r)/netconsole.ko ]")?;
    if network {
        guest.check(&format!("modprobe e1000 && ip link set eth0 up && modprobe netconsole {NETCONSOLE}"))?;
    }
    // The firmware's error records where the kernel knows such, else memory that is set aside.
    let knows = is_so(guest, "grep -q ' erst_write$' /proc/kallsyms")?;
    let keeper = if knows { "erst" } else { "ramoops" }.to_owned();
    let crash_sinks = CrashSinks { network, keeper };
    crash_sinks.register_keeper(guest)?;
    Ok(crash_sinks)
}

impl CrashSinks {
    fn register_keeper(&self, guest: &mut Guest) -> Result<()> {
        if self.keeper == "ramoops" {
            guest.check(&format!("modprobe ramoops {RAMOOPS}"))?;
        }
        guest.check(&format!("grep -q '^{}$' {BACKEND}", self.keeper))?;
        Ok(())
    }

    /// Expects everything on the serial console, and on the network if there is one, of a kernel that died to its end.
    pub(super) fn expect(&self, guest: &Guest) -> Result<()> {
        let console = guest.console();
        has("the serial console", &console, &[FINDING, USE])?;
        ensure!(!console.contains("trace_printk() being used"), "the kernel warns of its own debugging aid");
        // The end of a panic flushes it after the serial console has said everything.
        self.wait_network(guest, &[FINDING, USE])
    }

    /// Waits until a kernel that still lives has sent the finding over the network, if it can: one that gives way to another kernel
    /// sends nothing more.
    pub(super) fn wait_finding(&self, guest: &Guest) -> Result<()> {
        self.wait_network(guest, &[FINDING])
    }

    /// Tells what of the last moment of a kernel that gave way to another one is on the serial console. It need not be anything:
    /// another CPU, or a thread, may have been about to print it, and the panic, which would, is never finished.
    pub(super) fn tell_last_words(guest: &Guest) {
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

    /// Switches the dead guest on again, and expects everything in what outlived that.
    pub(super) fn expect_after_reset(&self, guest: &mut Guest) -> Result<()> {
        guest.qmp().execute("set-action", json!({ "reboot": "reset" }))?;
        guest.qmp().execute("system_reset", json!({}))?;
        guest.qmp().execute("cont", json!({}))?;
        guest.wait_next_kernel().context("the guest does not come up after its reset")?;
        let kept = self.kept(guest)?;
        has("what outlived the reset", &kept.join("\n"), &[FINDING, USE])
    }

    /// What is kept by now, in the kernel that came up after the first one.
    pub(super) fn kept(&self, guest: &mut Guest) -> Result<Vec<String>> {
        self.register_keeper(guest)?;
        let command = format!(
            "mount -t pstore pstore /sys/fs/pstore && for f in /sys/fs/pstore/dmesg-{}-*; do [ ! -e $f ] || cat $f; done",
            self.keeper
        );
        guest.check(&command)
    }
}

fn is_so(guest: &mut Guest, command: &str) -> Result<bool> {
    Ok(guest.run(command)?.code == 0)
}

fn has(outlet: &str, said: &str, words: &[&str]) -> Result<()> {
    for wanted in words {
        ensure!(said.contains(wanted), "{outlet} does not have `{wanted}`");
    }
    Ok(())
}
