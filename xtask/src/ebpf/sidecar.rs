//! The file next to the committed objects that lists their sources and tools.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::host::inputs;
use crate::toolchain::Versions;

/// The sidecar's name; `crates/probe/build.rs` reads it too.
pub(super) const FILE: &str = "SOURCES.json";

/// The sources and tools of the objects.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Sidecar {
    /// Source files and locked dependencies with their fingerprints, see [`inputs::fingerprints`].
    pub(super) inputs: BTreeMap<String, String>,
    /// The tools.
    pub(super) toolchain: Versions,
    /// The objects by file name.
    pub(super) objects: BTreeMap<String, Object>,
}

/// One committed object.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Object {
    /// Features of the eBPF crate it was built with beyond the default ones.
    features: Vec<String>,
    /// The SHA-256 of the file.
    sha256: String,
}

impl Object {
    pub(super) fn new(bytes: &[u8], features: &[&str]) -> Self {
        Self { features: features.iter().map(ToString::to_string).collect(), sha256: inputs::sha256(bytes) }
    }
}

impl Sidecar {
    /// Reads the sidecar from the folder of the objects.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let file = folder.join(FILE);
        let text = fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}: run `cargo xtask build-ebpf`", file.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} is not valid: run `cargo xtask build-ebpf`", file.display()))
    }

    /// Writes the sidecar into the folder of the objects.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let file = folder.join(FILE);
        let text = format!("{}\n", serde_json::to_string_pretty(self)?);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    }
}
