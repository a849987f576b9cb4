//! `cargo xtask build-ebpf`: the kernel side, compiled, and the proof that the committed objects are that.

mod compile;
mod sidecar;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::host::inputs;
use crate::toolchain::Toolchain;
use compile::Compiler;
use sidecar::{Object, Sidecar};

/// One object: the same sources with other features.
struct Variant {
    /// The file's name in the folder of the committed objects.
    file: &'static str,
    /// Features of the eBPF crate beyond its default ones.
    features: &'static [&'static str],
}

/// The objects that user space embeds.
const VARIANTS: [Variant; 2] = [
    Variant { file: "p2p-trace.bpf.o", features: &[] },
    // For kernels before 5.12, whose verifier knows no atomic fetch-and-add.
    Variant { file: "p2p-trace-legacy.bpf.o", features: &["no-fetch-add"] },
];

/// What comparing the committed objects with freshly built ones came to.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// Byte for byte the same.
    Identical,
    /// Other bytes, or other sources, from the same toolchain.
    Differs,
    /// Other bytes, but the toolchain is another one too: nothing is proved.
    ToolchainDiffers,
}

/// The folder of the committed objects.
fn objects_folder(root: &Path) -> PathBuf {
    root.join("crates/probe/bpf")
}

/// Compiles all objects and writes them with their sidecar into the tree.
///
/// # Errors
/// The toolchain cannot be had, the sources do not compile, or the files cannot be written.
pub(crate) fn build(root: &Path) -> Result<()> {
    let toolchain = Toolchain::ensure()?;
    let objects = compile_all(&Compiler::new(root, &toolchain)?)?;
    let folder = objects_folder(root);
    let mut entries = Vec::new();
    for (variant, bytes) in VARIANTS.iter().zip(&objects) {
        let file = folder.join(variant.file);
        fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
        println!("{}: {} bytes", variant.file, bytes.len());
        entries.push((variant.file.to_owned(), Object::new(bytes, variant.features)));
    }
    Sidecar {
        inputs: inputs::fingerprints(root)?,
        toolchain: toolchain.versions,
        objects: entries.into_iter().collect(),
    }
    .write(&folder)
}

/// Compiles all objects anew and compares them with the committed ones.
///
/// # Errors
/// As [`build`]; also when the committed files cannot be read.
pub(crate) fn check(root: &Path) -> Result<Verdict> {
    let folder = objects_folder(root);
    let sidecar = Sidecar::read(&folder)?;
    let moved = inputs::differences(&sidecar.inputs, &inputs::fingerprints(root)?);
    if !moved.is_empty() {
        println!("differs: the sources moved on since the objects were built:\n  {}", moved.join("\n  "));
        return Ok(Verdict::Differs);
    }
    let toolchain = Toolchain::ensure()?;
    let compiler = Compiler::new(root, &toolchain)?;
    compiler.clean()?;
    let fresh = compile_all(&compiler)?;
    let mut different = Vec::new();
    for (variant, fresh) in VARIANTS.iter().zip(&fresh) {
        let file = folder.join(variant.file);
        let committed = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let recorded = sidecar.objects.get(variant.file);
        if committed != *fresh {
            different.push(format!(
                "{}: {} bytes committed, {} built",
                variant.file,
                committed.len(),
                fresh.len()
            ));
        } else if recorded != Some(&Object::new(fresh, variant.features)) {
            different.push(format!("{}: its entry in {} is wrong", variant.file, sidecar::FILE));
        }
    }
    Ok(judge(&different, &sidecar.toolchain.differences(&toolchain.versions)))
}

/// Lints the kernel side as it is compiled: for BPF, in every variant.
///
/// # Errors
/// The toolchain cannot be had, or clippy finds something.
pub(crate) fn lint(root: &Path) -> Result<()> {
    let toolchain = Toolchain::ensure()?;
    let compiler = Compiler::new(root, &toolchain)?;
    VARIANTS.iter().try_for_each(|variant| compiler.lint(variant))
}

/// Says what was found and what it means.
fn judge(different: &[String], tools: &[String]) -> Verdict {
    if different.is_empty() {
        println!("identical: {} objects, byte for byte", VARIANTS.len());
        for tool in tools {
            println!("  although the toolchain is another one: {tool}");
        }
        Verdict::Identical
    } else if tools.is_empty() {
        println!("differs: same sources, same toolchain, other bytes:\n  {}", different.join("\n  "));
        println!("Rebuild them with `cargo xtask build-ebpf` and commit crates/probe/bpf.");
        Verdict::Differs
    } else {
        println!("toolchain differs, so that nothing can be said about the bytes:\n  {}", tools.join("\n  "));
        Verdict::ToolchainDiffers
    }
}

/// All objects in the order of [`VARIANTS`].
fn compile_all(compiler: &Compiler<'_>) -> Result<Vec<Vec<u8>>> {
    VARIANTS.iter().map(|variant| compiler.compile(variant)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bytes_are_judged_by_the_toolchain() {
        let (bytes, tool) = (["a.o: 1, 2".to_owned()], ["rustc: 1 here 2".to_owned()]);
        assert_eq!(judge(&[], &[]), Verdict::Identical);
        assert_eq!(judge(&[], &tool), Verdict::Identical);
        assert_eq!(judge(&bytes, &[]), Verdict::Differs);
        assert_eq!(judge(&bytes, &tool), Verdict::ToolchainDiffers);
    }
}
