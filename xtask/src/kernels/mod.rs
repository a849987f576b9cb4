//! Kernels for the guests: the host's own, Debian's, those kept as test data, or any other.

pub(crate) mod debian;
mod headers;
mod host;
mod prebuilt;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

pub(crate) use headers::Headers;

/// The label of the host's own kernel.
pub(crate) const HOST: &str = "host";

/// The kernels of the tests as far as they are available, newest first.
pub(crate) const TESTED: [&str; 4] = [debian::MEASURED.label, "6.12", "6.1", "5.10"];

/// The kernels of long runs, with one more: it may disappear from Debian at any time.
pub(crate) const SOAKED: [&str; 5] = [debian::MEASURED.label, debian::BEFORE.label, "6.12", "6.1", "5.10"];

/// A list of labels, separated by commas, whose kernels must not be missing.
const REQUIRE_VARIABLE: &str = "P2P_TRACE_REQUIRE_KERNELS";

/// A kernel a guest can boot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct GuestKernel {
    /// The name on the command line: `7.3`, `host`; for a kernel given by its files, its release.
    pub(crate) label: String,
    /// The full release, the output of `uname -r` in the guest.
    pub(crate) release: String,
    /// The bootable image.
    pub(crate) image: PathBuf,
    /// The folder above `lib/modules/<release>`, with depmod's files in it: the argument of `modprobe -d`.
    pub(crate) modules: PathBuf,
    /// Its build configuration, if known.
    pub(crate) config: Option<PathBuf>,
    /// The headers for its modules.
    pub(crate) headers: Headers,
}

impl GuestKernel {
    /// Describes the kernel whose `lib/modules/<release>` is below `modules`, after checking that its files
    /// exist.
    fn new(
        label: &str,
        release: &str,
        image: PathBuf,
        modules: PathBuf,
        config: Option<PathBuf>,
    ) -> Result<Self> {
        fs::File::open(&image)
            .with_context(|| format!("cannot read the kernel image {}", image.display()))?;
        let folder = modules.join("lib/modules").join(release);
        let index = folder.join("modules.dep");
        if !index.is_file() {
            bail!("{} is missing: run `depmod -b {} {release}`", index.display(), modules.display());
        }
        let build = folder.join("build");
        let headers = if build.join("Makefile").is_file() { Headers::Folder(build) } else { Headers::None };
        Ok(Self { label: label.to_owned(), release: release.to_owned(), image, modules, config, headers })
    }

    /// With headers from another source than the folder of its modules.
    #[must_use]
    fn with_headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }
}

/// A requested kernel that is not available.
#[derive(Debug)]
pub(crate) struct Missing {
    /// Its label.
    pub(crate) label: String,
    /// Why it is not available.
    pub(crate) reason: String,
    /// Whether `P2P_TRACE_REQUIRE_KERNELS` makes this a failure.
    pub(crate) required: bool,
}

/// The result for a list of labels.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    /// The available kernels.
    pub(crate) found: Vec<GuestKernel>,
    /// The missing ones.
    pub(crate) missing: Vec<Missing>,
}

/// Gets the kernel of this label: [`HOST`], `7.3`, `7.2`, or a folder of the kernels kept as test data, such as `6.12`.
///
/// `root` is the workspace. Downloads and unpacks missing files into the cache.
///
/// # Errors
/// The kernel is not available; the error says why and what would help.
pub(crate) fn find(root: &Path, label: &str) -> Result<GuestKernel> {
    match label {
        HOST => host::find(),
        _ if label == debian::MEASURED.label => debian::find(&debian::MEASURED),
        _ if label == debian::BEFORE.label => debian::find(&debian::BEFORE),
        _ => prebuilt::find(root, label),
    }
}

/// The kernel for demos: the host's own if a guest can use it, else Debian's.
///
/// # Errors
/// Neither is available.
pub(crate) fn find_any() -> Result<GuestKernel> {
    host::find().or_else(|reason| {
        println!("The host's own kernel is not suitable for the guest: {reason:#}");
        debian::find(&debian::MEASURED)
    })
}

/// A kernel given by its files: an image, and a folder with `lib/modules/<release>` below it (or that folder itself).
///
/// # Errors
/// The image cannot be read, or there is not exactly one release below `modules`.
pub(crate) fn given(image: &Path, modules: &Path) -> Result<GuestKernel> {
    let modules = modules.canonicalize().with_context(|| format!("no folder {}", modules.display()))?;
    let (base, release) = if modules.join("modules.dep").is_file() {
        let release = modules.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (modules.ancestors().nth(3).unwrap_or(&modules).to_path_buf(), release)
    } else {
        (modules.clone(), only_release(&modules)?)
    };
    let image = image.canonicalize().with_context(|| format!("no kernel image {}", image.display()))?;
    GuestKernel::new(&release, &release, image, base, None)
}

/// Gets the kernels of all `labels` and of those required by `P2P_TRACE_REQUIRE_KERNELS`.
pub(crate) fn select(root: &Path, labels: &[&str]) -> Selection {
    let required = std::env::var(REQUIRE_VARIABLE).unwrap_or_default();
    let required = split_labels(&required);
    let mut all = labels.to_vec();
    all.extend(required.iter().filter(|label| !labels.contains(label)));
    let mut selection = Selection::default();
    for label in all {
        match find(root, label) {
            Ok(kernel) => selection.found.push(kernel),
            Err(reason) => selection.missing.push(Missing {
                label: label.to_owned(),
                reason: format!("{reason:#}"),
                required: required.contains(&label),
            }),
        }
    }
    selection
}

fn split_labels(list: &str) -> Vec<&str> {
    list.split(',').map(str::trim).filter(|label| !label.is_empty()).collect()
}

/// The one folder below `lib/modules` in `tree`.
fn only_release(tree: &Path) -> Result<String> {
    let folder = tree.join("lib/modules");
    let mut releases = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("no folder {}", folder.display()))? {
        releases.push(entry?.file_name().to_string_lossy().into_owned());
    }
    match releases.as_slice() {
        [release] => Ok(release.clone()),
        [] => bail!("{} is empty", folder.display()),
        _ => {
            bail!("{} has {}: pass one of them as the module folder", folder.display(), releases.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(releases: &[&str]) -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        fs::write(tree.path().join("vmlinuz"), "image").unwrap();
        for release in releases {
            let folder = tree.path().join("lib/modules").join(release);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("modules.dep"), "").unwrap();
        }
        tree
    }

    #[test]
    fn names_a_given_kernel_by_its_modules() {
        let tree = tree(&["6.18.1"]);
        let kernel = given(&tree.path().join("vmlinuz"), tree.path()).unwrap();
        assert_eq!(kernel.release, "6.18.1");
        assert_eq!(kernel.modules, tree.path().canonicalize().unwrap());
    }

    #[test]
    fn requires_one_of_several_releases() {
        let tree = tree(&["6.18.1", "6.18.2"]);
        let image = tree.path().join("vmlinuz");
        assert!(given(&image, tree.path()).unwrap_err().to_string().contains("pass one of them"));
        let kernel = given(&image, &tree.path().join("lib/modules/6.18.2")).unwrap();
        assert_eq!(kernel.release, "6.18.2");
        assert_eq!(kernel.modules, tree.path().canonicalize().unwrap());
    }

    #[test]
    fn error_suggests_depmod() {
        let tree = tree(&["6.18.1"]);
        fs::remove_file(tree.path().join("lib/modules/6.18.1/modules.dep")).unwrap();
        let error = given(&tree.path().join("vmlinuz"), tree.path()).unwrap_err().to_string();
        assert!(error.contains("depmod -b"), "{error}");
    }

    #[test]
    fn splits_labels_at_commas() {
        assert_eq!(split_labels("7.3, 6.12,"), ["7.3", "6.12"]);
        assert!(split_labels("").is_empty());
    }
}
