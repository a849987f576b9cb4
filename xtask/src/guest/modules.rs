//! Finds kernel modules and their dependencies in an unpacked module tree.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

/// One loadable module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Module {
    /// Name as in `lsmod`, with underscores.
    pub(crate) name: String,
    /// Its file in the module tree.
    pub(crate) path: PathBuf,
}

/// The modules of one kernel: `lib/modules/<release>`.
#[derive(Debug)]
pub(crate) struct ModuleTree {
    folder: PathBuf,
    /// Relative path → relative paths of its dependencies, from `modules.dep`.
    dependencies: BTreeMap<String, Vec<String>>,
    /// Module name → relative path.
    paths: BTreeMap<String, String>,
    /// Names of the modules in the image, from `modules.builtin`.
    builtin: BTreeSet<String>,
}

impl ModuleTree {
    /// Reads the index files of `root/lib/modules/<release>`.
    ///
    /// # Errors
    ///
    /// There is no such folder, or depmod(8) has not been run on it.
    pub(crate) fn open(root: &Path, release: &str) -> Result<Self> {
        let folder = root.join("lib/modules").join(release);
        ensure!(folder.is_dir(), "there are no modules for {release}: {} is not a folder", folder.display());
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).with_context(|| {
                format!("cannot read {}: run `depmod -b {} {release}`", path.display(), root.display())
            })
        };
        Ok(Self::parse(folder.clone(), &read("modules.dep")?, &read("modules.builtin")?))
    }

    /// The tree described by the text of `modules.dep` and `modules.builtin`.
    fn parse(folder: PathBuf, dependencies: &str, builtin: &str) -> Self {
        let dependencies: BTreeMap<String, Vec<String>> = dependencies
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(path, needed)| (path.to_owned(), needed.split_whitespace().map(str::to_owned).collect()))
            .collect();
        let paths = dependencies.keys().map(|path| (module_name(path), path.clone())).collect();
        Self { folder, dependencies, paths, builtin: builtin.lines().map(module_name).collect() }
    }

    /// Whether the kernel has this module in its image.
    pub(crate) fn is_builtin(&self, name: &str) -> bool {
        self.builtin.contains(&module_name(name))
    }

    /// Whether the kernel can have this module at all, built in or loadable.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.is_builtin(name) || self.paths.contains_key(&module_name(name))
    }

    /// The files to load for these modules, each after its dependencies, without built-in ones.
    ///
    /// # Errors
    ///
    /// A module is neither built in nor in the tree.
    pub(crate) fn resolve(&self, names: &[&str]) -> Result<Vec<Module>> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for name in names {
            if self.is_builtin(name) {
                continue;
            }
            let Some(path) = self.paths.get(&module_name(name)) else {
                bail!("the kernel has no module {name} (looked in {})", self.folder.display());
            };
            self.visit(path, &mut seen, &mut order);
        }
        Ok(order)
    }

    /// Depth first, so that a module comes after all of its dependencies.
    fn visit(&self, path: &str, seen: &mut BTreeSet<String>, order: &mut Vec<Module>) {
        if !seen.insert(path.to_owned()) {
            return;
        }
        for needed in self.dependencies.get(path).into_iter().flatten() {
            self.visit(needed, seen, order);
        }
        order.push(Module { name: module_name(path), path: self.folder.join(path) });
    }
}

impl Module {
    /// The module's bytes, decompressed.
    ///
    /// # Errors
    ///
    /// The file cannot be read or is damaged, its compression is unknown, or the program for it is not
    /// installed.
    pub(crate) fn read(&self) -> Result<Vec<u8>> {
        let path = self.path.display();
        let program = match self.path.extension().and_then(|extension| extension.to_str()) {
            Some("ko") => return fs::read(&self.path).with_context(|| format!("cannot read {path}")),
            Some("xz") => "xz",
            Some("zst") => "zstd",
            Some("gz") => "gzip",
            _ => bail!("cannot decompress {path}: only .ko, .ko.xz, .ko.zst and .ko.gz are known"),
        };
        let output = Command::new(program)
            .args(["--decompress", "--stdout", "--quiet"])
            .arg(&self.path)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot decompress {path}: is {program} installed?"))?;
        let message = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cannot decompress {path}: {}", message.trim());
        Ok(output.stdout)
    }
}

/// `kernel/net/9p/9pnet-x.ko.xz` → `9pnet_x`.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split_once(".ko").map_or(file, |(name, _)| name).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "kernel/nvme/nvme-auth.ko.xz:\n\
        kernel/nvme/nvme-core.ko.xz: kernel/nvme/nvme-auth.ko.xz\n\
        kernel/nvme/nvme.ko.xz: kernel/nvme/nvme-core.ko.xz kernel/nvme/nvme-auth.ko.xz\n\
        kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz\n\
        kernel/net/9p/9pnet.ko.xz:\n";
    const BUILTIN: &str = "kernel/drivers/virtio/virtio_pci.ko\nkernel/lib/crc-x.ko\n";

    fn tree() -> ModuleTree {
        ModuleTree::parse(PathBuf::from("/m"), DEPENDENCIES, BUILTIN)
    }

    fn names(modules: &[Module]) -> Vec<&str> {
        modules.iter().map(|module| module.name.as_str()).collect()
    }

    #[test]
    fn resolves_dependencies_first_and_once() {
        let modules = tree().resolve(&["nvme", "9pnet_virtio", "nvme_core", "nvme"]).unwrap();
        assert_eq!(names(&modules), ["nvme_auth", "nvme_core", "nvme", "9pnet", "9pnet_virtio"]);
        assert_eq!(modules[1].path, Path::new("/m/kernel/nvme/nvme-core.ko.xz"));
    }

    #[test]
    fn recognizes_built_in_modules() {
        let tree = tree();
        assert!(tree.is_builtin("virtio_pci") && tree.is_builtin("virtio-pci") && tree.is_builtin("crc_x"));
        assert!(tree.has("nvme") && !tree.has("nvmet"));
        assert_eq!(tree.resolve(&["virtio_pci"]).unwrap(), []);
    }

    #[test]
    fn names_the_missing_module() {
        let error = tree().resolve(&["nvmet"]).unwrap_err().to_string();
        assert!(error.contains("no module nvmet") && error.contains("/m"), "{error}");
    }

    #[test]
    fn terminates_on_a_cycle() {
        let tree = ModuleTree::parse(PathBuf::new(), "a.ko: b.ko\nb.ko: a.ko\n", "");
        assert_eq!(names(&tree.resolve(&["a"]).unwrap()), ["b", "a"]);
    }

    #[test]
    fn reads_compressed_modules() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("x.ko");
        fs::write(&plain, "module").unwrap();
        let read = |name: &str| Module { name: "x".to_owned(), path: folder.path().join(name) }.read();
        assert_eq!(read("x.ko").unwrap(), b"module");
        assert!(Command::new("gzip").arg("--keep").arg(&plain).status().unwrap().success());
        assert_eq!(read("x.ko.gz").unwrap(), b"module");
        fs::rename(&plain, folder.path().join("y.ko.gz")).unwrap();
        assert!(read("y.ko.gz").unwrap_err().to_string().contains("cannot decompress"));
        let error = read("x.ko.lz4").unwrap_err().to_string();
        assert!(error.contains("only .ko, .ko.xz, .ko.zst and .ko.gz"), "{error}");
    }
}
