//! The drives and cards of a machine, and their slots.

/// Device number, on the first bus, of the PCIe switch's port.
pub(super) const SWITCH: u8 = 0x10;

/// An NVMe drive that contains only zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nvme {
    /// Name in QEMU and serial number in the guest.
    pub(crate) id: String,
    /// Its slot.
    pub(crate) slot: Slot,
    /// Size of its controller memory buffer in MiB: the p2p memory. One MiB is too small for Linux to use.
    pub(crate) cmb_mib: Option<u32>,
    /// Upper limit of its speed.
    pub(crate) bytes_per_second: Option<u64>,
    /// Minimum latency of an answer in nanoseconds.
    pub(crate) latency_ns: Option<u64>,
}

/// Any other pluggable device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Card {
    /// Name in QEMU.
    pub(crate) id: String,
    /// Model and options, as QEMU's `-device` takes them.
    pub(crate) model: String,
    /// Its slot.
    pub(crate) slot: Slot,
}

/// The slot of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    /// On the first bus, at this device number; cannot be unplugged.
    Root(u8),
    /// Below a downstream port of the PCIe switch, at this device number on the switch; can be unplugged.
    Switch(u8),
}

impl Nvme {
    /// A drive without p2p memory and without limits.
    pub(crate) fn new(id: &str, slot: Slot) -> Self {
        Self { id: id.to_owned(), slot, cmb_mib: None, bytes_per_second: None, latency_ns: None }
    }

    /// With a controller memory buffer of this many MiB.
    #[must_use]
    pub(crate) const fn with_cmb(mut self, mib: u32) -> Self {
        self.cmb_mib = Some(mib);
        self
    }

    /// With a speed limit.
    #[must_use]
    pub(crate) const fn with_limit(mut self, bytes_per_second: u64) -> Self {
        self.bytes_per_second = Some(bytes_per_second);
        self
    }

    /// With a minimum latency.
    #[must_use]
    pub(crate) const fn with_latency(mut self, ns: u64) -> Self {
        self.latency_ns = Some(ns);
        self
    }

    /// The controller as QEMU's `-device` takes it.
    pub(crate) fn device(&self) -> String {
        let Self { id, .. } = self;
        let place = self.slot.place();
        let cmb = self.cmb_mib.map(|mib| format!(",cmb_size_mb={mib}")).unwrap_or_default();
        format!("nvme,id={id},serial={id},drive=disk-{id},{place}{cmb}")
    }

    /// The block device behind the controller. A node of `-blockdev` survives the unplugging of its
    /// controller.
    pub(super) fn storage(&self) -> Vec<String> {
        let Self { id, .. } = self;
        let latency = self.latency_ns.map(|ns| format!(",latency-ns={ns}")).unwrap_or_default();
        let zeros = format!("driver=null-co,size=67108864,read-zeroes=on{latency}");
        self.bytes_per_second.map_or_else(
            || vec!["-blockdev".to_owned(), format!("node-name=disk-{id},{zeros}")],
            |limit| {
                vec![
                    "-object".to_owned(),
                    format!("throttle-group,id=limit-{id},x-bps-total={limit}"),
                    "-blockdev".to_owned(),
                    format!("node-name=zeros-{id},{zeros}"),
                    "-blockdev".to_owned(),
                    format!("driver=throttle,node-name=disk-{id},throttle-group=limit-{id},file=zeros-{id}"),
                ]
            },
        )
    }
}

impl Slot {
    /// The slot as options of QEMU's `-device`.
    fn place(self) -> String {
        match self {
            Self::Root(number) => format!("bus=pcie.0,addr={number:#x}"),
            Self::Switch(number) => format!("bus=down{number}"),
        }
    }

    /// Device numbers from the first bus down to the device. Unlike bus numbers, QEMU's options determine
    /// them, so that the guest's sysfs path of the device follows from them.
    pub(crate) fn path(self) -> Vec<u8> {
        match self {
            Self::Root(number) => vec![number],
            Self::Switch(number) => vec![SWITCH, 0, number, 0],
        }
    }
}

impl Card {
    /// The card as QEMU's `-device` takes it.
    pub(super) fn device(&self) -> String {
        format!("{},id={},{}", self.model, self.id, self.slot.place())
    }
}
