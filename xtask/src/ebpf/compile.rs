//! Compiles the eBPF crate so that the bytes depend only on its sources and the toolchain.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::Variant;
use crate::host::command;
use crate::host::inputs;
use crate::toolchain::Toolchain;

/// Little-endian BPF: the objects run on the x86-64 kernel that loads them.
const TARGET: &str = "bpfel-unknown-none";
/// The folder of everything that is built for BPF.
const FOLDER: &str = "bpf";

/// A complete profile of its own, so that changes to `[profile.release]` do not affect the objects.
const PROFILE: [&str; 9] = [
    r#"profile.bpf.inherits="release""#,
    "profile.bpf.codegen-units=1",
    "profile.bpf.debug=2",
    "profile.bpf.debug-assertions=false",
    "profile.bpf.incremental=false",
    "profile.bpf.lto=false",
    "profile.bpf.opt-level=3",
    "profile.bpf.overflow-checks=false",
    r#"profile.bpf.strip="none""#,
];

/// Sections that an object needs to be attached by BTF and relocated.
const KEPT_SECTIONS: [&str; 2] = [".BTF", ".BTF.ext"];

/// A prepared compilation.
pub(super) struct Compiler<'run> {
    root: &'run Path,
    toolchain: &'run Toolchain,
    target_folder: PathBuf,
    flags: String,
}

impl<'run> Compiler<'run> {
    /// Prepares to build into [`FOLDER`] below the workspace's target folder.
    pub(super) fn new(root: &'run Path, toolchain: &'run Toolchain) -> Result<Self> {
        let mut query = Command::new(toolchain.cargo());
        query.args(["metadata", "--format-version", "1", "--locked", "--all-features"]).current_dir(root);
        let metadata: Value = serde_json::from_str(&command::read(&mut query, "querying the dependencies")?)?;
        let target_folder =
            Path::new(metadata["target_directory"].as_str().context("no target folder")?).join(FOLDER);
        let flags = flags(&remapped_folders(root, toolchain, &target_folder, &metadata));
        Ok(Self { root, toolchain, target_folder, flags })
    }

    /// Removes earlier builds for BPF. Host code such as macros stays, because the same compiler built it.
    pub(super) fn clean(&self) -> Result<()> {
        let built = self.target_folder.join(TARGET);
        if built.exists() {
            fs::remove_dir_all(&built).with_context(|| format!("cannot remove {}", built.display()))?;
        }
        Ok(())
    }

    /// Compiles one variant and returns the object's bytes, without DWARF.
    pub(super) fn compile(&self, variant: &Variant) -> Result<Vec<u8>> {
        let mut cargo = self.cargo("build", variant);
        cargo.args(["--bins", "--message-format", "json-render-diagnostics"]);
        let messages = command::read(&mut cargo, &format!("compiling {}", variant.file))?;
        let linked = executable(&messages).context("cargo built no program from the eBPF crate")?;
        let stripped = self.target_folder.join(variant.file);
        let mut objcopy = Command::new(&self.toolchain.objcopy);
        command::run(
            // The relocations of .BTF.ext are a third of the file, and loaders take the offsets in place.
            objcopy.args(["--strip-debug", "--remove-section=.rel.BTF.ext"]).arg(linked).arg(&stripped),
            "stripping DWARF",
        )?;
        self.require_sections(&stripped)?;
        fs::read(&stripped).with_context(|| format!("cannot read {}", stripped.display()))
    }

    /// Runs clippy on one variant and shows its output.
    pub(super) fn lint(&self, variant: &Variant) -> Result<()> {
        println!("-- clippy for {} --", variant.file);
        command::show(self.cargo("clippy", variant).args(["--", "-Dwarnings"]), "clippy")
    }

    /// The pinned cargo with every setting that determines the object.
    fn cargo(&self, task: &str, variant: &Variant) -> Command {
        let mut cargo = Command::new(self.toolchain.cargo());
        cargo
            .current_dir(self.root)
            .args([task, "--locked", "--package", inputs::CRATE])
            .args(["--profile", "bpf", "--target", TARGET, "-Zbuild-std=core"])
            .args(PROFILE.iter().flat_map(|setting| ["--config", setting]))
            .args(["--features", &variant.features.join(",")])
            .arg("--target-dir")
            .arg(&self.target_folder)
            // The flags that build `core` are unstable; the pinned compiler makes that safe.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTC", self.toolchain.rustc())
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.toolchain.bpf_linker)
            .env("CARGO_ENCODED_RUSTFLAGS", &self.flags);
        cargo
    }

    fn require_sections(&self, object: &Path) -> Result<()> {
        let mut readelf = Command::new(self.toolchain.objcopy.with_file_name("llvm-readelf"));
        let table =
            command::read(readelf.arg("--section-headers").arg("--wide").arg(object), "reading the object")?;
        for section in KEPT_SECTIONS {
            if !table.split_whitespace().any(|word| word == section) {
                bail!("{} has no section {section}", object.display());
            }
        }
        Ok(())
    }
}

/// Folders of the host and their replacements in the object; if two match, rustc uses the later one.
fn remapped_folders(
    root: &Path,
    toolchain: &Toolchain,
    target: &Path,
    metadata: &Value,
) -> Vec<(PathBuf, String)> {
    let mut folders = vec![
        (toolchain.sysroot.clone(), "/rust".to_owned()),
        (toolchain.library(), "/rust/library".to_owned()),
        (root.to_owned(), "/p2p-trace".to_owned()),
        (target.to_owned(), "/p2p-trace/target".to_owned()),
    ];
    // Each crate by its name: cargo's own folders are named after the registry it was downloaded from.
    for package in
        metadata["packages"].as_array().into_iter().flatten().filter(|package| !package["source"].is_null())
    {
        let text = |key: &str| package[key].as_str().unwrap_or_default();
        if let Some(folder) = Path::new(text("manifest_path")).parent() {
            folders.push((folder.to_owned(), format!("/crates/{}-{}", text("name"), text("version"))));
        }
    }
    folders
}

/// The compiler's flags in the format of cargo's environment variable: separated by the byte 0x1f.
fn flags(remapped: &[(PathBuf, String)]) -> String {
    let mut flags: Vec<String> = [
        r#"--cfg=bpf_target_arch="x86_64""#,
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        // The first instruction set with atomic operations that return a value; every kernel from 5.1 on runs it.
        "-Ctarget-cpu=v3",
    ]
    .map(ToOwned::to_owned)
    .into_iter()
    .collect();
    flags.extend(remapped.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())));
    flags.join("\u{1f}")
}

/// The program among the artifacts that cargo reports, one JSON object per line.
fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_program_in_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","executable":"/t/p2p-trace-ebpf"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(executable(messages), Some(PathBuf::from("/t/p2p-trace-ebpf")));
        assert_eq!(executable(r#"{"reason":"build-finished","success":true}"#), None);
    }

    #[test]
    fn separates_flags_by_a_control_byte() {
        let flags = flags(&[(PathBuf::from("/a b"), "/c".to_owned())]);
        assert_eq!(flags.split('\u{1f}').next_back(), Some("--remap-path-prefix=/a b=/c"));
        assert_eq!(flags.matches('\u{1f}').count(), 4);
    }
}
