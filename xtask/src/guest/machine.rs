//! The virtual machine of a guest, and its QEMU command line.

use std::path::Path;

use super::{
    attached,
    devices::{Card, Nvme, SWITCH, Slot},
    disk,
};

/// Device number of the virtio-serial controller; does not conflict with the drives.
const SERIAL: u8 = 0x18;
/// A virtual machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Memory in MiB.
    pub(crate) memory_mib: u32,
    /// Maximum memory in MiB, if larger: the rest is one module, which can be plugged in at run time.
    pub(crate) possible_mib: Option<u32>,
    /// Virtual processors.
    pub(crate) cpus: u8,
    /// Maximum number of processors, if larger: they can be plugged in at run time.
    pub(crate) possible_cpus: Option<u16>,
    /// The unit that its clock counts.
    pub(crate) clock: Clock,
    pub(crate) drives: Vec<Nvme>,
    /// Its other cards.
    pub(crate) cards: Vec<Card>,
    /// Further devices, each as QEMU's `-device` takes it.
    pub(crate) devices: Vec<String>,
    /// Whether it can mount the host's root folder, read-only, by the tag [`attached::HOST_TAG`].
    pub(crate) sees_host: bool,
    /// Whether it can write to the folder of its logs, by the tag [`attached::OUT_TAG`].
    pub(crate) writes_out: bool,
    /// Whether it has sinks for the messages of a dying kernel: error records of the firmware (ACPI ERST),
    /// and a network card.
    pub(crate) has_crash_sinks: bool,
    /// Size in MiB of a disk that survives it, if it has one: see [`super::disk`].
    pub(crate) disk_mib: Option<u64>,
    /// Additional arguments on the kernel's command line.
    pub(crate) kernel_args: Vec<String>,
}

/// The unit that a guest's clock counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// Real time.
    Real,
    /// Executed instructions, 2^shift nanoseconds each: slower, but identical in every run.
    Instructions {
        /// Binary logarithm of the nanoseconds per instruction.
        shift: u8,
    },
}

/// How QEMU executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acceleration {
    /// In software; works everywhere.
    Tcg,
    /// On the host's processor.
    Kvm,
}

/// Files that QEMU reads or creates.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Files<'a> {
    /// The kernel image.
    pub(crate) kernel: &'a Path,
    /// The initial root file system.
    pub(crate) initramfs: &'a Path,
    /// The kernel's console.
    pub(crate) console: &'a Path,
    /// The folder of the logs.
    pub(crate) log: &'a Path,
    /// Socket of the agent's port.
    pub(crate) control: &'a Path,
    /// Socket of QEMU's own protocol.
    pub(crate) qmp: &'a Path,
    /// Socket of the other end of the guest's terminal, `/dev/hvc0`.
    pub(crate) terminal: &'a Path,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            memory_mib: 512,
            possible_mib: None,
            cpus: 2,
            possible_cpus: None,
            clock: Clock::Real,
            drives: Vec::new(),
            cards: Vec::new(),
            devices: Vec::new(),
            sees_host: false,
            writes_out: false,
            has_crash_sinks: false,
            disk_mib: None,
            kernel_args: Vec::new(),
        }
    }
}

impl Machine {
    /// QEMU's arguments for this machine.
    pub(crate) fn arguments(&self, acceleration: Acceleration, files: Files<'_>) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(|&word| word.to_owned()));
        let (accel, cpu) = match (acceleration, self.clock) {
            (Acceleration::Kvm, Clock::Real) => ("kvm", "host"),
            (_, Clock::Real) => ("tcg,thread=multi", "max"),
            // Counting instructions requires sequential execution in software.
            (_, Clock::Instructions { .. }) => ("tcg,thread=single", "max"),
        };
        add(&["-machine", "q35", "-accel", accel, "-cpu", cpu]);
        if let Clock::Instructions { shift } = self.clock {
            // Without sleep=off an idle guest waits for the host's clock.
            add(&["-icount", &format!("shift={shift},sleep=off")]);
        }
        let room = self.possible_cpus.map_or_else(String::new, |possible| format!(",maxcpus={possible}"));
        let slots =
            self.possible_mib.map_or_else(String::new, |possible| format!(",slots=1,maxmem={possible}M"));
        add(&["-smp", &format!("{}{room}", self.cpus), "-m", &format!("{}M{slots}", self.memory_mib)]);
        add(&["-nodefaults", "-display", "none", "-no-reboot", "-nic", "none"]);
        add(&["-kernel", &files.kernel.to_string_lossy(), "-initrd", &files.initramfs.to_string_lossy()]);
        add(&["-append", &self.kernel_command_line()]);
        add(&[
            "-chardev",
            &format!("file,id=console,path={}", option(files.console)),
            "-serial",
            "chardev:console",
        ]);
        add(&["-qmp", &format!("unix:{},server=on,wait=off", option(files.qmp))]);
        add(&["-chardev", &format!("socket,id=control,path={},server=on,wait=off", option(files.control))]);
        add(&["-device", &format!("virtio-serial-pci,id=serial,bus=pcie.0,addr={SERIAL:#x}")]);
        let port = p2p_trace_guest::frame::PORT_NAME;
        add(&["-device", &format!("virtserialport,bus=serial.0,chardev=control,name={port}")]);
        arguments.extend([
            "-chardev".to_owned(),
            format!("socket,id=terminal,path={},server=on,wait=off", option(files.terminal)),
            "-device".to_owned(),
            "virtconsole,bus=serial.0,chardev=terminal".to_owned(),
        ]);
        arguments.extend(self.switch());
        for drive in &self.drives {
            arguments.extend(drive.storage());
            arguments.extend(["-device".to_owned(), drive.device()]);
        }
        for card in &self.cards {
            arguments.extend(["-device".to_owned(), card.device()]);
        }
        for device in &self.devices {
            arguments.extend(["-device".to_owned(), device.clone()]);
        }
        if self.sees_host {
            arguments.extend(attached::host());
        }
        if self.writes_out {
            arguments.extend(attached::out(files.log));
        }
        if self.has_crash_sinks {
            arguments.extend(attached::crash_sinks(files.log));
        }
        if self.disk_mib.is_some() {
            arguments.extend(disk::attached(files.log));
        }
        arguments
    }

    /// The kernel's command line. Its warnings go to the console, ordinary messages do not.
    fn kernel_command_line(&self) -> String {
        // The self-tests of ciphers take a third of the boot in software emulation, and no test needs them.
        let mut words = vec![
            "console=ttyS0",
            "panic=-1",
            "loglevel=5",
            "cryptomgr.notests=1",
            // An emulated CPU that does not run for half a minute is not an error of the guest's kernel.
            "rcupdate.rcu_cpu_stall_timeout=120",
            "watchdog_thresh=60",
        ];
        words.extend(self.kernel_args.iter().map(String::as_str));
        words.join(" ")
    }

    /// The switch with one downstream port per device on it. Two devices below one switch may always use p2p
    /// DMA with each other, regardless of the processor (Linux: `calc_map_type_and_dist`).
    fn switch(&self) -> Vec<String> {
        let slots = self.drives.iter().map(|drive| drive.slot);
        let numbers: Vec<u8> = slots
            .chain(self.cards.iter().map(|card| card.slot))
            .filter_map(|slot| match slot {
                Slot::Switch(number) => Some(number),
                Slot::Root(_) => None,
            })
            .collect();
        if numbers.is_empty() {
            return Vec::new();
        }
        let mut devices = vec![
            format!("pcie-root-port,id=root,bus=pcie.0,addr={SWITCH:#x},chassis=1,slot=1"),
            "x3130-upstream,id=up,bus=root".to_owned(),
        ];
        devices.extend(numbers.iter().map(|number| {
            let chassis = number + 2;
            format!(
                "xio3130-downstream,id=down{number},bus=up,addr={number:#x},chassis={chassis},slot={chassis}"
            )
        }));
        devices.into_iter().flat_map(|device| ["-device".to_owned(), device]).collect()
    }
}

/// A path in an option with several parts: commas separate the parts, so that a comma in the path is doubled.
pub(super) fn option(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files<'static> {
        Files {
            kernel: Path::new("/k"),
            initramfs: Path::new("/i"),
            console: Path::new("/c,d"),
            log: Path::new("/l,m"),
            control: Path::new("/s"),
            qmp: Path::new("/q"),
            terminal: Path::new("/t"),
        }
    }

    #[test]
    fn plain_machine() {
        let line = Machine::default().arguments(Acceleration::Tcg, files()).join(" ");
        assert_eq!(
            line,
            "-machine q35 -accel tcg,thread=multi -cpu max -smp 2 -m 512M -nodefaults -display none -no-reboot \
             -nic none -kernel /k -initrd /i -append console=ttyS0 panic=-1 loglevel=5 cryptomgr.notests=1 \
             rcupdate.rcu_cpu_stall_timeout=120 watchdog_thresh=60 \
             -chardev file,id=console,path=/c,,d -serial chardev:console -qmp unix:/q,server=on,wait=off \
             -chardev socket,id=control,path=/s,server=on,wait=off \
             -device virtio-serial-pci,id=serial,bus=pcie.0,addr=0x18 \
             -device virtserialport,bus=serial.0,chardev=control,name=p2p-trace.control \
             -chardev socket,id=terminal,path=/t,server=on,wait=off -device virtconsole,bus=serial.0,chardev=terminal"
        );
    }

    #[test]
    fn places_drives_on_the_switch() {
        let machine = Machine {
            drives: vec![
                Nvme::new("a", Slot::Switch(0)).with_cmb(64),
                Nvme::new("b", Slot::Switch(1)).with_limit(16384),
            ],
            kernel_args: vec!["preempt=full".to_owned()],
            ..Machine::default()
        };
        let line = machine.arguments(Acceleration::Tcg, files()).join(" ");
        assert!(
            line.contains(
                "-append console=ttyS0 panic=-1 loglevel=5 cryptomgr.notests=1 rcupdate.rcu_cpu_stall_timeout=120 watchdog_thresh=60 preempt=full -chardev"
            ),
            "{line}"
        );
        let expected = "-device pcie-root-port,id=root,bus=pcie.0,addr=0x10,chassis=1,slot=1 \
            -device x3130-upstream,id=up,bus=root \
            -device xio3130-downstream,id=down0,bus=up,addr=0x0,chassis=2,slot=2 \
            -device xio3130-downstream,id=down1,bus=up,addr=0x1,chassis=3,slot=3 \
            -blockdev node-name=disk-a,driver=null-co,size=67108864,read-zeroes=on \
            -device nvme,id=a,serial=a,drive=disk-a,bus=down0,cmb_size_mb=64 \
            -object throttle-group,id=limit-b,x-bps-total=16384 \
            -blockdev node-name=zeros-b,driver=null-co,size=67108864,read-zeroes=on \
            -blockdev driver=throttle,node-name=disk-b,throttle-group=limit-b,file=zeros-b \
            -device nvme,id=b,serial=b,drive=disk-b,bus=down1";
        assert!(line.ends_with(expected), "{line}");
        assert_eq!(machine.drives[1].slot.path(), [0x10, 0, 1, 0]);
    }

    #[test]
    fn places_a_card_next_to_a_drive() {
        let machine = Machine {
            drives: vec![Nvme::new("a", Slot::Switch(0))],
            cards: vec![Card {
                id: "t".to_owned(),
                model: "pci-testdev,membar=64M".to_owned(),
                slot: Slot::Switch(2),
            }],
            ..Machine::default()
        };
        let line = machine.arguments(Acceleration::Tcg, files()).join(" ");
        assert!(line.contains("xio3130-downstream,id=down2,bus=up,addr=0x2,chassis=4,slot=4"), "{line}");
        assert!(line.ends_with("-device pci-testdev,membar=64M,id=t,bus=down2"), "{line}");
    }

    #[test]
    fn drive_on_the_first_bus_needs_no_switch() {
        let drive = Nvme::new("a", Slot::Root(1)).with_cmb(64);
        assert_eq!(drive.slot.path(), [1]);
        let machine = Machine { drives: vec![drive], ..Machine::default() };
        let line = machine.arguments(Acceleration::Kvm, files()).join(" ");
        assert!(line.contains("-accel kvm -cpu host "), "{line}");
        assert!(line.ends_with("drive=disk-a,bus=pcie.0,addr=0x1,cmb_size_mb=64"), "{line}");
        assert!(!line.contains("x3130"), "{line}");
    }

    #[test]
    fn reserves_room_for_memory_and_cpus() {
        let machine = Machine { possible_mib: Some(1024), possible_cpus: Some(64), ..Machine::default() };
        let line = machine.arguments(Acceleration::Tcg, files()).join(" ");
        assert!(line.contains(" -smp 2,maxcpus=64 -m 512M,slots=1,maxmem=1024M "), "{line}");
    }

    #[test]
    fn counting_instructions_disables_kvm() {
        let machine = Machine { clock: Clock::Instructions { shift: 0 }, cpus: 1, ..Machine::default() };
        let line = machine.arguments(Acceleration::Kvm, files()).join(" ");
        assert!(
            line.contains("-accel tcg,thread=single -cpu max -icount shift=0,sleep=off -smp 1 "),
            "{line}"
        );
    }
}
