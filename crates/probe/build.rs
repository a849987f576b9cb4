//! Provides the compiled kernel side to the crate, and rejects objects that were not built from the current sources.
//!
//! The objects are committed in `bpf/`, so building needs only a stable Rust. The crate finds them in `OUT_DIR` under
//! their own names.

#![allow(clippy::disallowed_methods, reason = "a build script reports to cargo on stdout")]

#[path = "bpf/inputs.rs"]
mod inputs;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Names a folder with other objects, which are used unchecked: for packagers who compile their own.
const OVERRIDE: &str = "P2P_TRACE_BPF_OBJ";
/// The objects that the crate embeds.
const OBJECTS: [&str; 2] = ["p2p-trace.bpf.o", "p2p-trace-legacy.bpf.o"];
/// Describes the inputs that the objects were built from.
const SIDECAR: &str = "SOURCES.json";
/// How many changed sources a message names.
const NAMED: usize = 5;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=bpf");
    println!("cargo::rerun-if-env-changed={OVERRIDE}");
    if env::var_os("CARGO_FEATURE_LIVE").is_none() {
        return;
    }
    if let Err(reason) = provide() {
        for line in reason.lines() {
            println!("cargo::error={line}");
        }
    }
}

/// Checks the target, finds the objects, and copies them to `OUT_DIR`.
#[expect(clippy::disallowed_methods, reason = "the build's own folder, not a user's")]
fn provide() -> Result<(), String> {
    require_target()?;
    let manifest = folder("CARGO_MANIFEST_DIR")?;
    let objects = if let Some(objects) = env::var_os(OVERRIDE) {
        PathBuf::from(objects)
    } else {
        let objects = manifest.join("bpf");
        verify(&manifest, &objects)?;
        objects
    };
    let out = folder("OUT_DIR")?;
    for name in OBJECTS {
        let from = objects.join(name);
        println!("cargo::rerun-if-changed={}", from.display());
        fs::copy(&from, out.join(name))
            .map_err(|error| format!("cannot copy {}: {error}", from.display()))?;
    }
    Ok(())
}

fn folder(variable: &str) -> Result<PathBuf, String> {
    env::var_os(variable).map(PathBuf::from).ok_or_else(|| format!("cargo did not set {variable}"))
}

/// The kernel side reads registers and layouts of one architecture of one operating system.
fn require_target() -> Result<(), String> {
    let target = |part: &str| env::var(format!("CARGO_CFG_TARGET_{part}")).unwrap_or_default();
    let (system, architecture) = (target("OS"), target("ARCH"));
    if (system.as_str(), architecture.as_str()) == ("linux", "x86_64") {
        return Ok(());
    }
    Err(format!(
        "the feature `live` works on x86_64 Linux only, not on {architecture} {system}; \
         for reading dumps build with --no-default-features --features tui"
    ))
}

/// Compares the sidecar file with the objects and, inside the workspace, with the sources.
fn verify(manifest: &Path, objects: &Path) -> Result<(), String> {
    let file = objects.join(SIDECAR);
    let text = fs::read_to_string(&file).map_err(|error| rebuild(&format!("{}: {error}", file.display())))?;
    let sidecar: Value =
        serde_json::from_str(&text).map_err(|error| rebuild(&format!("{SIDECAR}: {error}")))?;
    for name in OBJECTS {
        let sum = inputs::sha256_of_file(&objects.join(name)).map_err(|error| rebuild(&error.to_string()))?;
        if sidecar["objects"][name]["sha256"] != sum.as_str() {
            return Err(rebuild(&format!("{name} is not the object that {SIDECAR} describes")));
        }
    }
    let Some(root) = manifest.ancestors().nth(2).filter(|root| root.join(inputs::CRATE).is_dir()) else {
        return Ok(());
    };
    for input in inputs::FOLDERS.into_iter().chain(["Cargo.lock"]) {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }
    let then: BTreeMap<String, String> = serde_json::from_value(sidecar["inputs"].clone())
        .map_err(|error| rebuild(&format!("{SIDECAR}: {error}")))?;
    let changed = inputs::differences(&then, &inputs::fingerprints(root).map_err(|error| error.to_string())?);
    if changed.is_empty() {
        return Ok(());
    }
    let named = changed.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = changed.len().saturating_sub(NAMED);
    let shown = if more == 0 { named } else { format!("{named} and {more} more") };
    Err(rebuild(&format!("the compiled kernel side in crates/probe/bpf is older than its sources: {shown}")))
}

/// The reason, followed by the command that fixes it.
fn rebuild(reason: &str) -> String {
    format!(
        "{reason}\nrun `cargo xtask build-ebpf` and commit crates/probe/bpf (it installs the BPF compiler it needs)"
    )
}
