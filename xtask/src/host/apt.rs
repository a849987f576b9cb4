//! Debian packages of another suite than the host's own, without changes to the host's configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::{command, packages};

/// Names a mirror of Debian's main archive if the host's own sources have none (as on Ubuntu).
const MIRROR_VARIABLE: &str = "P2P_TRACE_DEBIAN_MIRROR";

/// The keys of Debian's archive; apt checks every download against them.
const KEYRINGS: [&str; 2] =
    ["/usr/share/keyrings/debian-archive-keyring.pgp", "/usr/share/keyrings/debian-archive-keyring.gpg"];

/// The host's settings that downloads need: proxies, certificates, its policy for dated archives. Its hooks,
/// pins and further sources do not apply.
const KEPT_SETTINGS: [&str; 5] =
    ["Acquire::http", "Acquire::Check-", "Acquire::Force", "Acquire::Retries", "Acquire::Queue-Mode"];

/// Suites of Debian's archive, usually one, with a private apt configuration that is removed with the value.
#[derive(Debug)]
pub(crate) struct Suite {
    name: String,
    folder: TempDir,
}

/// A suite's description of a package.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Description {
    pub(crate) version: String,
    /// Its dependencies, as in the field `Depends`.
    pub(crate) depends: String,
    /// Bytes to download; 0 if the suite does not say.
    pub(crate) size: u64,
}

impl Description {
    fn read(paragraph: &str) -> Self {
        let field = |name: &str| {
            paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
        };
        Self {
            version: field("Version").to_owned(),
            depends: field("Depends").to_owned(),
            size: field("Size").parse().unwrap_or_default(),
        }
    }
}

impl Suite {
    /// Fetches the suite's package lists from the mirror that the host itself uses.
    ///
    /// # Errors
    /// No Debian mirror is known, it has no such suite, or its signature does not match the host's Debian
    /// keys.
    pub(crate) fn open(name: &str) -> Result<Self> {
        Self::open_all(&[name])
    }

    /// As [`Suite::open`], for several suites at once; apt's usual preference selects the source of a
    /// package.
    ///
    /// # Errors
    /// As [`Suite::open`].
    pub(crate) fn open_all(names: &[&str]) -> Result<Self> {
        packages::ensure(&packages::DEBIAN_ARCHIVE)?;
        let keyring =
            KEYRINGS.into_iter().find(|file| Path::new(file).is_file()).context("no keyring of Debian")?;
        let mirror = mirror()?;
        let sources: String = names.iter().map(|name| source_line(&mirror, name, keyring)).collect();
        let name = names.join(" and ");
        let settings = command::read(Command::new("apt-config").arg("dump"), "querying apt's settings")?;
        let suite = Self { name: name.clone(), folder: tempfile::tempdir()? };
        let at = suite.folder.path();
        for folder in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(at.join(folder))?;
        }
        fs::write(at.join("status"), "")?;
        fs::write(at.join("sources.list"), sources)?;
        fs::write(suite.config(), configuration(at, &settings))?;
        command::run(suite.apt("apt-get").arg("update"), &format!("reading Debian's {name}")).with_context(
            || {
                format!(
                    "cannot read Debian's suite {name}; is the package debian-archive-keyring up to date?"
                )
            },
        )?;
        Ok(suite)
    }

    /// The suite's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The names of all packages that begin with `prefix`.
    ///
    /// # Errors
    /// apt cannot be run.
    pub(crate) fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let names =
            command::read(self.apt("apt-cache").args(["pkgnames", prefix]), "querying package names")?;
        Ok(names.lines().map(ToOwned::to_owned).collect())
    }

    /// The versions of `package` in this suite, none if it has no such package.
    ///
    /// # Errors
    /// apt cannot be run.
    pub(crate) fn versions(&self, package: &str) -> Result<Vec<String>> {
        let table =
            command::read(self.apt("apt-cache").args(["madison", package]), "querying package versions")?;
        Ok(madison_versions(&table))
    }

    /// Describes `package` in the suite's newest version.
    ///
    /// # Errors
    /// There is no such package.
    pub(crate) fn describe(&self, package: &str) -> Result<Description> {
        let mut show = self.apt("apt-cache");
        show.args(["show", "--no-all-versions", package]);
        Ok(Description::read(&command::read(&mut show, "querying a package")?))
    }

    /// Downloads one package into `folder`, verified, and returns the file.
    ///
    /// # Errors
    /// The mirror no longer has this version, or cannot be reached.
    pub(crate) fn download(&self, package: &str, version: &str, folder: &Path) -> Result<PathBuf> {
        let mut get = self.apt("apt-get");
        get.arg("download").arg(format!("{package}={version}")).current_dir(folder);
        command::run(&mut get, &format!("downloading {package}"))?;
        fs::read_dir(folder)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|file| is_package_file(file, package))
            .with_context(|| format!("apt-get did not write a file of {package} to {}", folder.display()))
    }

    /// Downloads packages with all of their dependencies into `folder`, verified, after printing the list and
    /// the purpose.
    ///
    /// # Errors
    /// A package does not exist, or the mirror cannot be reached.
    pub(crate) fn download_with_dependencies(
        &self,
        packages: &[&str],
        purpose: &str,
        folder: &Path,
    ) -> Result<Vec<PathBuf>> {
        let install = ["install", "--yes", "--no-install-recommends"];
        let mut plan = self.apt("apt-get");
        plan.args(install).args(["--print-uris", "-qq"]).args(packages);
        let uris = command::read(&mut plan, "planning the download")?;
        println!("Downloading from Debian's {} {purpose}: {}", self.name, packages::planned(&uris));
        let mut get = self.apt("apt-get");
        get.args(install).arg("--download-only");
        get.arg("-o").arg(archives_option(folder));
        fs::create_dir_all(folder.join("partial"))?;
        command::run(get.args(packages), &format!("downloading {purpose}"))?;
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("apt.conf")
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.config());
        command
    }
}

/// apt's option for the folder of downloaded packages.
fn archives_option(folder: &Path) -> String {
    format!("Dir::Cache::Archives={}/", folder.display())
}

fn is_package_file(file: &Path, package: &str) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.strip_prefix(package).is_some_and(|rest| rest.starts_with('_')) && name.ends_with(".deb")
}

/// The private configuration: everything that apt reads or writes is below `folder`.
fn configuration(folder: &Path, machine: &str) -> String {
    let below = |name: &str| folder.join(name).display().to_string();
    let mut lines: Vec<String> = machine
        .lines()
        .filter(|line| KEPT_SETTINGS.iter().any(|kept| line.starts_with(kept)))
        .map(ToOwned::to_owned)
        .collect();
    for (key, value) in [
        ("Dir::Etc::Main", "/dev/null".to_owned()),
        ("Dir::Etc::Parts", "/dev/null".to_owned()),
        ("Dir::Etc::Preferences", "/dev/null".to_owned()),
        ("Dir::Etc::PreferencesParts", "/dev/null".to_owned()),
        ("Dir::Etc::SourceList", below("sources.list")),
        ("Dir::Etc::SourceParts", "/dev/null".to_owned()),
        ("Dir::State", folder.display().to_string()),
        ("Dir::State::Lists", below("lists")),
        ("Dir::State::Status", below("status")),
        ("Dir::Cache", below("cache")),
        ("Acquire::Languages", "none".to_owned()),
        // The folder belongs to this user, so that apt's own user could not write to it.
        ("APT::Sandbox::User", "root".to_owned()),
    ] {
        lines.push(format!("{key} \"{value}\";"));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// One line of sources.list. A dated archive has expired by nature, and only this check is disabled for it.
fn source_line(mirror: &str, suite: &str, keyring: &str) -> String {
    let dated = if is_dated(mirror) { " check-valid-until=no" } else { "" };
    format!("deb [signed-by={keyring}{dated}] {mirror} {suite} main\n")
}

/// Whether the last part of the address is a time such as `20250520T000000Z`.
fn is_dated(mirror: &str) -> bool {
    let last = mirror.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    last.len() == 16
        && last.bytes().enumerate().all(|(index, byte)| match index {
            8 => byte == b'T',
            15 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        })
}

/// The address of Debian's main archive in the host's apt configuration.
fn mirror() -> Result<String> {
    if let Ok(mirror) = std::env::var(MIRROR_VARIABLE) {
        return Ok(mirror);
    }
    let query = || {
        let mut targets = Command::new("apt-get");
        targets.args(["indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(CODENAME)|$(REPO_URI)"]);
        command::read(&mut targets, "querying apt's sources").map(|text| main_archive(&text))
    };
    if let Some(mirror) = query()? {
        return Ok(mirror);
    }
    // A fresh image knows its sources only after the first update.
    packages::update_lists()?;
    let Some(mirror) = query()? else {
        bail!("apt knows no Debian mirror: set {MIRROR_VARIABLE}=ADDRESS");
    };
    Ok(mirror)
}

/// Finds the address of Debian's main archive in lines of `origin|label|codename|address`; prefers a full
/// release to its updates.
fn main_archive(targets: &str) -> Option<String> {
    let rows = || {
        targets.lines().filter_map(|line| match *line.split('|').collect::<Vec<_>>() {
            ["Debian", "Debian", codename, address] => Some((codename, address)),
            _ => None,
        })
    };
    let address = rows().find(|(codename, _)| !codename.contains('-')).or_else(|| rows().next())?.1;
    Some(address.trim_end_matches('/').to_owned())
}

/// The second column of `apt-cache madison`.
fn madison_versions(table: &str) -> Vec<String> {
    table.lines().filter_map(|line| line.split('|').nth(1)).map(|version| version.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_main_archive() {
        let targets = "Debian|Debian-Security|bookworm-security|http://m.example/debian-security/\n\
                       Debian|Debian|bookworm-updates|http://m.example/updates/\n\
                       Debian|Debian|bookworm|http://m.example/debian/\n\
                       Other|Other|nodistro|http://other.example/\n";
        assert_eq!(main_archive(targets).as_deref(), Some("http://m.example/debian"));
        assert_eq!(main_archive("Ubuntu|Ubuntu|noble|http://u.example/ubuntu/\n"), None);
        assert_eq!(main_archive(""), None);
    }

    #[test]
    fn allows_an_expired_dated_archive() {
        let line = source_line("http://m.example/archive/debian/20250520T000000Z", "sid", "/k.gpg");
        assert!(line.starts_with("deb [signed-by=/k.gpg check-valid-until=no] http://m.example/"), "{line}");
        assert_eq!(
            source_line("http://m.example/debian", "sid", "/k"),
            "deb [signed-by=/k] http://m.example/debian sid main\n"
        );
    }

    #[test]
    fn configuration_keeps_the_proxy_and_drops_the_hooks() {
        let machine = "Acquire::http::Proxy \"http://p.example:3128\";\n\
                       APT::Update::Post-Invoke:: \"rm -f /var/cache/apt/archives/*.deb\";\n\
                       Acquire::AllowInsecureRepositories \"1\";\n";
        let configuration = configuration(Path::new("/t"), machine);
        assert!(configuration.contains("Acquire::http::Proxy"));
        assert!(!configuration.contains("Post-Invoke"));
        assert!(!configuration.contains("AllowInsecure"));
        assert!(configuration.contains("Dir::State::Lists \"/t/lists\";"));
    }

    #[test]
    fn parses_versions_of_madison() {
        let table = "  rust-src | 1.95.0+dfsg1-2~bpo13+1 | http://m.example/debian trixie-backports/main amd64 Packages\n";
        assert_eq!(madison_versions(table), ["1.95.0+dfsg1-2~bpo13+1"]);
        assert!(madison_versions("").is_empty());
    }

    #[test]
    fn parses_a_description() {
        let text = "Package: a\nVersion: 1-2\nInstalled-Size: 77\nDepends: b (= 1-2), c\nSize: 1900\nDescription: d\n";
        let expected =
            Description { version: "1-2".to_owned(), depends: "b (= 1-2), c".to_owned(), size: 1900 };
        assert_eq!(Description::read(text), expected);
        assert_eq!(Description::read(""), Description::default());
    }

    #[test]
    fn matches_package_files_exactly() {
        assert!(is_package_file(Path::new("/t/linux-base-7.3_1_amd64.deb"), "linux-base-7.3"));
        assert!(!is_package_file(Path::new("/t/linux-base-7.3_1_amd64.deb"), "linux-base"));
    }
}
