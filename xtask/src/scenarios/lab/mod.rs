//! The guest of the scenarios: two NVMe drives below one switch, the first with p2p memory, the second slow, and a card
//! whose memory the test module can provide.

mod machine;
mod tracer;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use super::{Effort, agreement::Verdicts};
use crate::guest::{Boot, Guest, Job, Slot, Stuck};
pub(crate) use machine::{Kind, QUEUE_BYTES, QUEUES, RAMOOPS, machine, memory_drive, slow_drive};
use machine::{SLOW, card};
pub(crate) use tracer::Trace;

/// A booted guest and what the scenarios need to know about it.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) guest: Guest,
    /// PCI address of the drive with p2p memory.
    pub(crate) memory: String,
    /// PCI address of the slow drive.
    pub(crate) slow: String,
    /// PCI address of the card.
    pub(crate) card: String,
    /// Whether user space can map p2p memory (since Linux 6.2).
    pub(crate) has_mmap: bool,
    /// Whether the kernel has rethooks (since Linux 5.18). Some kernels with them warn when a task's stack is
    /// read while it runs in a traced function (`rethook_find_ret_addr`, before 6.9). These kernels show
    /// where a task sleeps without reading its stack (`get_wchan`); older ones do not.
    has_rethook: bool,
    /// How much work to do.
    pub(crate) effort: Effort,
    traces: u32,
    /// Where the latest stream of the scenario is kept.
    stream: Option<PathBuf>,
    /// Folder that dumps are copied to, if requested.
    keep_dumps: Option<PathBuf>,
    /// The verdicts of the scenario's traces.
    verdicts: Verdicts,
}

impl Lab {
    /// Boots the guest. No NVMe driver is loaded yet.
    pub(crate) fn start(boot: Boot<'_>) -> Result<Self> {
        let mut guest = Guest::start(boot)?;
        let paths = guest.check("for d in /sys/bus/pci/devices/*; do readlink -f $d; done")?;
        let find = |id: &str, slot: Slot| {
            find_device(&paths, &slot.path())
                .with_context(|| format!("the guest does not see the device {id}: {}", paths.join(" ")))
        };
        let (memory, slow, card) = (memory_drive(), slow_drive(), card());
        let memory = find(&memory.id, memory.slot)?;
        let slow = find(&slow.id, slow.slot)?;
        let card = find(&card.id, card.slot)?;
        ensure!(
            guest.run("lsmod | grep -q '^nvme ' || ls -d /sys/bus/pci/drivers/nvme")?.code != 0,
            "the NVMe driver is there from the start (is it built into this kernel?): \
             a trace of its loading needs it as a module"
        );
        let mut has_symbol = |name: &str| {
            let found = guest.run(&format!("grep -q ' {name}$' /proc/kallsyms"))?;
            anyhow::Ok(found.code == 0)
        };
        let has_mmap = has_symbol("p2pmem_alloc_mmap")?;
        let has_rethook = has_symbol("rethook_find_ret_addr")?;
        Ok(Self {
            guest,
            memory,
            slow,
            card,
            has_mmap,
            has_rethook,
            effort: Effort::short(),
            traces: 0,
            stream: None,
            keep_dumps: None,
            verdicts: Verdicts::default(),
        })
    }

    /// Loads the NVMe driver and waits until both drives work.
    pub(crate) fn load_driver(&mut self) -> Result<()> {
        self.guest.check("modprobe nvme")?;
        for device in [self.memory.clone(), self.slow.clone()] {
            self.wait_for(&format!("ls /sys/bus/pci/devices/{device}/nvme/nvme*/ | grep -q 'nvme.*n1'"))?;
        }
        self.wait_for(&format!("[ -e /sys/bus/pci/devices/{}/p2pmem/size ]", self.memory))
    }

    /// Unloads the NVMe driver.
    pub(crate) fn unload_driver(&mut self) -> Result<()> {
        self.guest.check("modprobe -r nvme").map(drop)
    }

    /// Unbinds the drive with p2p memory from its driver.
    pub(crate) fn unbind(&mut self) -> Result<()> {
        let command = self.unbind_command();
        self.guest.check(&command).map(drop)
    }

    /// The command of [`Lab::unbind`].
    pub(crate) fn unbind_command(&self) -> String {
        format!("echo {} > /sys/bus/pci/drivers/nvme/unbind", self.memory)
    }

    /// First and last address of the p2p memory: BAR 2 of the drive.
    pub(crate) fn range(&mut self) -> Result<(u64, u64)> {
        let device = self.memory.clone();
        self.range_of(&device)
    }

    /// First and last address of BAR 2 of a device.
    pub(crate) fn range_of(&mut self, device: &str) -> Result<(u64, u64)> {
        let lines = self.guest.check(&format!("cat /sys/bus/pci/devices/{device}/resource"))?;
        parse_resource(&lines, 2).with_context(|| format!("no memory in BAR 2: {}", lines.join(" | ")))
    }

    /// Block device of the slow drive, as `nvme1n1`.
    pub(crate) fn slow_disk(&mut self) -> Result<String> {
        let command = format!("basename $(ls -d /sys/bus/pci/devices/{}/nvme/nvme*/nvme*n1)", self.slow);
        self.guest.check(&command)?.pop().context("the slow drive has no block device")
    }

    /// Starts an `O_DIRECT` read from the slow drive into p2p memory and waits until it is under way.
    pub(crate) fn start_read(&mut self, bytes: u64) -> Result<Job> {
        let disk = self.slow_disk()?;
        // The kernel's own reads from a new drive have to finish first.
        self.wait_for(&format!("grep -q '^ *0 *0$' /sys/block/{disk}/inflight"))?;
        let command = format!("exec p2pdio --memory {} --disk /dev/{disk} --size {bytes}", self.memory);
        let job = self.guest.spawn(&command)?;
        self.guest.wait_line(job, "mapped ")?;
        self.wait_for(&format!("! grep -q '^ *0 *0$' /sys/block/{disk}/inflight"))?;
        Ok(job)
    }

    /// Sets or lifts the slow drive's limit. Lifting it shortens the rest of a read.
    pub(crate) fn limit_slow_drive(&mut self, slow: bool) -> Result<()> {
        let limits = json!({
            "path": format!("/objects/limit-{}", slow_drive().id),
            "property": "limits",
            "value": { "bps-total": if slow { SLOW } else { 0 } },
        });
        self.guest.qmp().execute("qom-set", limits).map(drop)
    }

    /// Waits until a command in the guest succeeds.
    pub(crate) fn wait_for(&mut self, command: &str) -> Result<()> {
        let waiting =
            format!("n=0; until {command}; do n=$((n+1)); [ $n -lt 900 ] || exit 1; sleep 0.1; done");
        let output = self.guest.run(&waiting)?;
        if output.code != 0 {
            bail!(Stuck(format!("waited in vain for: {command}: {}", output.text())));
        }
        Ok(())
    }

    /// Waits until a process sleeps in this function of the kernel.
    pub(crate) fn wait_sleeping(&mut self, pid: u32, function: &str) -> Result<()> {
        self.wait_for(&if self.has_rethook {
            format!("grep -q '^{function}$' /proc/{pid}/wchan")
        } else {
            format!("head -n 1 /proc/{pid}/stack | grep -q ' {function}+'")
        })
    }

    /// The lines of the latest stream.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be read.
    pub(crate) fn shown(&self) -> Result<Vec<String>> {
        let path = self.stream.as_ref().context("no stream was kept")?;
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Where the latest stream of the scenario is kept on the host, if it came that far.
    pub(crate) fn stream(&self) -> Option<&Path> {
        self.stream.as_deref()
    }

    /// From now on, copies each dump into this folder, if there is one.
    pub(crate) fn keep_dumps(&mut self, folder: Option<&Path>) {
        self.keep_dumps = folder.map(Path::to_owned);
    }

    /// Copies a dump into the folder for dumps, if there is one.
    ///
    /// # Errors
    ///
    /// The copy fails.
    pub(crate) fn keep_dump(&self, dump: &Path, name: &str) -> Result<()> {
        let Some(folder) = &self.keep_dumps else {
            return Ok(());
        };
        let to = folder.join(name);
        fs::copy(dump, &to).with_context(|| format!("cannot write {}", to.display())).map(drop)
    }

    /// Removes and returns the verdicts of the scenario's traces.
    pub(crate) fn take_verdicts(&mut self) -> Verdicts {
        std::mem::take(&mut self.verdicts)
    }

    /// Begins a scenario with this time limit.
    pub(crate) fn begin(&mut self, limit: Duration) {
        self.stream = None;
        self.verdicts = Verdicts::default();
        self.guest.extend(limit);
    }
}

/// The PCI address of the device with these device numbers, from the first bus down.
fn find_device(paths: &[String], numbers: &[u8]) -> Option<String> {
    let path = paths.iter().find(|path| {
        let below = path.strip_prefix("/sys/devices/pci0000:00/");
        below.is_some_and(|below| {
            below.split('/').map(device_number).eq(numbers.iter().map(|&number| Some(number)))
        })
    })?;
    path.rsplit('/').next().map(str::to_owned)
}

/// `0000:02:01.0` → 1; `None` for anything but function 0.
fn device_number(address: &str) -> Option<u8> {
    let (number, function) = address.rsplit(':').next()?.split_once('.')?;
    if function == "0" { u8::from_str_radix(number, 16).ok() } else { None }
}

/// First and last address of a BAR, from the lines of sysfs's `resource` file.
fn parse_resource(lines: &[String], bar: usize) -> Option<(u64, u64)> {
    let mut words = lines.get(bar)?.split(' ');
    let mut number = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    let range = (number()?, number()?);
    if range.1 == 0 { None } else { Some(range) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_device_by_its_slot() {
        let paths = [
            "/sys/devices/pci0000:00/0000:00:10.0",
            "/sys/devices/pci0000:00/0000:00:10.0/0000:01:00.0/0000:02:00.0/0000:03:00.0",
            "/sys/devices/pci0000:00/0000:00:10.0/0000:01:00.0/0000:02:01.0/0000:04:00.0",
            "/sys/devices/pci0000:00/0000:00:1f.2",
        ]
        .map(str::to_owned);
        assert_eq!(find_device(&paths, &memory_drive().slot.path()).as_deref(), Some("0000:03:00.0"));
        assert_eq!(find_device(&paths, &slow_drive().slot.path()).as_deref(), Some("0000:04:00.0"));
        assert_eq!(find_device(&paths, &[0x1f]), None);
        assert_eq!(find_device(&paths, &[0x10, 0, 2, 0]), None);
    }

    #[test]
    fn reads_a_bar() {
        let lines =
            ["0x00000000fe800000 0x00000000fe803fff 0x0000000000140204", "0x0 0x0 0x0", "0xf8 0xfb 0x0"]
                .map(str::to_owned);
        assert_eq!(parse_resource(&lines, 0), Some((0xfe80_0000, 0xfe80_3fff)));
        assert_eq!(parse_resource(&lines, 1), None);
        assert_eq!(parse_resource(&lines, 2), Some((0xf8, 0xfb)));
        assert_eq!(parse_resource(&lines, 3), None);
    }
}
