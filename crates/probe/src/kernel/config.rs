//! The kernel's build configuration, as far as it affects tracing.

#![forbid(unsafe_code)]

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::release::Release;
use super::root::{KernelRoot, read};

/// A configuration decompresses to about 300 KB.
const MAX_LEN: u64 = 16 << 20;

/// The value of one option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Setting {
    /// Built in.
    #[serde(rename = "y")]
    Yes,
    /// A module.
    #[serde(rename = "m")]
    Module,
    /// Not set, or unknown to this kernel.
    #[serde(rename = "n")]
    No,
    /// The configuration could not be read.
    Unknown,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yes => "y",
            Self::Module => "m",
            Self::No => "n",
            Self::Unknown => "unknown",
        })
    }
}

/// A configuration option that affects tracing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelOption {
    /// Its name without `CONFIG_`.
    pub name: &'static str,
    /// The feature that needs it.
    pub purpose: &'static str,
}

const fn option(name: &'static str, purpose: &'static str) -> KernelOption {
    KernelOption { name, purpose }
}

/// The relevant options, most important first.
pub const OPTIONS: &[KernelOption] = &[
    option("PCI_P2PDMA", "peer-to-peer DMA memory itself"),
    option("ZONE_DEVICE", "struct pages for it"),
    option("MEMORY_HOTREMOVE", "the removal of its pages"),
    option("BPF_SYSCALL", "loading programs"),
    option("BPF_EVENTS", "programs on kernel functions"),
    option("DEBUG_INFO_BTF", "fentry, and the layout of kernel structures"),
    option("DEBUG_INFO_BTF_MODULES", "the same in modules"),
    option("DYNAMIC_FTRACE_WITH_DIRECT_CALLS", "fentry"),
    option("KPROBES", "kprobes"),
    option("KPROBE_EVENTS", "kprobes through perf"),
    option("KALLSYMS_ALL", "the bases of the direct map and of struct pages"),
    option("BLK_DEV_NVME", "NVMe controller memory as provider"),
    option("NVME_TARGET", "NVMe target as user"),
    option("VFIO_PCI_DMABUF", "VFIO devices as provider"),
    option("SECURITY_LOCKDOWN_LSM", "lockdown"),
    option("CRASH_DUMP", "a memory dump after a crash"),
    option("PSTORE_RAM", "a log kept across a crash"),
];

/// A kernel's configuration: the lines that set an option.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelConfig {
    source: Option<PathBuf>,
    text: String,
}

impl KernelConfig {
    /// Parses the text of a `.config`.
    pub(crate) fn parse(source: &Path, text: &str) -> Self {
        let set = text.lines().filter(|line| line.starts_with("CONFIG_"));
        Self { source: Some(source.to_owned()), text: set.flat_map(|line| [line, "\n"]).collect() }
    }

    /// Reads the first file that exists of `/proc/config.gz`, `/boot/config-RELEASE` and `/lib/modules/RELEASE/config`.
    pub(crate) fn read(root: &KernelRoot, release: &Release) -> Self {
        let candidates = [
            root.proc.join("config.gz"),
            root.boot.join(format!("config-{release}")),
            root.modules.join(release.as_str()).join("config"),
        ];
        candidates.iter().find_map(|path| Some(Self::parse(path, &read_config(path)?))).unwrap_or_default()
    }

    /// The file that was read; `None` if there was none.
    pub fn source(&self) -> Option<&Path> {
        self.source.as_deref()
    }

    /// The value of an option, named without `CONFIG_`.
    pub fn setting(&self, name: &str) -> Setting {
        if self.source.is_none() {
            return Setting::Unknown;
        }
        let value = self
            .text
            .lines()
            .find_map(|line| line.strip_prefix("CONFIG_")?.strip_prefix(name)?.strip_prefix('='));
        match value {
            None | Some("n") => Setting::No,
            Some("m") => Setting::Module,
            Some(_) => Setting::Yes,
        }
    }
}

fn read_config(path: &Path) -> Option<String> {
    let bytes = read(path).ok()?;
    let bytes = if bytes.starts_with(b"\x1f\x8b") {
        let mut unpacked = Vec::new();
        GzDecoder::new(&bytes[..]).take(MAX_LEN).read_to_end(&mut unpacked).ok()?;
        unpacked
    } else {
        bytes
    };
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const TEXT: &str = "# Linux\nCONFIG_PCI=y\n# CONFIG_PCI_P2PDMA is not set\nCONFIG_BLK_DEV_NVME=m\n\
                        CONFIG_LOCALVERSION=\"-x\"\nCONFIG_HZ=250\nCONFIG_OFF=n\n";

    #[test]
    fn parses_settings() {
        let config = KernelConfig::parse(Path::new("x"), TEXT);
        assert_eq!(config.setting("PCI"), Setting::Yes);
        assert_eq!(config.setting("PCI_P2PDMA"), Setting::No);
        assert_eq!(config.setting("BLK_DEV_NVME"), Setting::Module);
        assert_eq!(config.setting("HZ"), Setting::Yes);
        assert_eq!(config.setting("OFF"), Setting::No);
        assert_eq!(config.setting("NEVER_HEARD_OF"), Setting::No);
        assert_eq!(KernelConfig::default().setting("PCI"), Setting::Unknown);
    }

    #[test]
    fn reads_the_first_file_that_exists() {
        let dir = tempfile::tempdir().unwrap();
        let root = KernelRoot::at(dir.path());
        let release = Release::parse("6.1.0-x");
        assert_eq!(KernelConfig::read(&root, &release), KernelConfig::default());

        let modules = root.modules.join("6.1.0-x");
        fs::create_dir_all(&modules).unwrap();
        fs::write(modules.join("config"), "CONFIG_A=m\n").unwrap();
        assert_eq!(KernelConfig::read(&root, &release).setting("A"), Setting::Module);

        fs::create_dir_all(&root.boot).unwrap();
        fs::write(root.boot.join("config-6.1.0-x"), "CONFIG_A=y\n").unwrap();
        assert_eq!(KernelConfig::read(&root, &release).setting("A"), Setting::Yes);

        fs::create_dir_all(&root.proc).unwrap();
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(TEXT.as_bytes()).unwrap();
        fs::write(root.proc.join("config.gz"), gz.finish().unwrap()).unwrap();
        let config = KernelConfig::read(&root, &release);
        assert_eq!(config.source(), Some(root.proc.join("config.gz").as_path()));
        assert_eq!(config.setting("PCI"), Setting::Yes);
    }
}
