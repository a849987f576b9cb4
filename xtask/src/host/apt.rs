//! Debian packages of another suite than the machine's own, without a trace in the machine's configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::{command, packages};

/// Names a mirror of Debian's main archive where the machine's own sources have none (as on Ubuntu).
const MIRROR_VARIABLE: &str = "P2P_TRACE_DEBIAN_MIRROR";

/// The keys of Debian's archive; apt checks every download against them.
const KEYRINGS: [&str; 2] =
    ["/usr/share/keyrings/debian-archive-keyring.pgp", "/usr/share/keyrings/debian-archive-keyring.gpg"];

/// Settings of the machine that downloads need: proxies, certificates, its policy for dated archives. Its hooks, pins and
/// further sources stay out.
const KEPT_SETTINGS: [&str; 5] =
    ["Acquire::http", "Acquire::Check-", "Acquire::Force", "Acquire::Retries", "Acquire::Queue-Mode"];

/// Suites of Debian's archive, mostly one, with a private apt configuration, gone with the value.
#[derive(Debug)]
pub(crate) struct Suite {
    name: String,
    folder: TempDir,
}

/// What a suite says about a package.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Description {
    pub(crate) version: String,
    /// What must be installed with it, as it stands in the field `Depends`.
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
    /// Fetches the suite's package lists from the mirror that the machine itself uses.
    ///
    /// # Errors
    /// No Debian mirror is known here, it has no such suite, or its signature does not match the machine's Debian keys.
    pub(crate) fn open(name: &str) -> Result<Self> {
        Self::open_all(&[name])
    }

    /// As [`Suite::open`], for several suites at once; a package comes from where apt itself would take it.
    ///
    /// # Errors
    /// As [`Suite::open`].
    pub(crate) fn open_all(names: &[&str]) -> Result<Self> {
        packages::ensure(&packages::DEBIAN_ARCHIVE)?;
        let keyring =
            KEYRINGS.into_iter().find(|file| Path::new(file).is_file()).context("no keyring of Debian's")?;
        let mirror = mirror()?;
        let sources: String = names.iter().map(|name| source_line(&mirror, name, keyring)).collect();
        let name = names.join(" and ");
        let settings = command::read(Command::new("apt-config").arg("dump"), "asking apt for its settings")?;
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
        let names = command::read(self.apt("apt-cache").args(["pkgnames", prefix]), "asking apt for names")?;
        Ok(names.lines().map(ToOwned::to_owned).collect())
    }

    /// The versions of `package` in this suite, none if it has no such package.
    ///
    /// # Errors
    /// apt cannot be run.
    pub(crate) fn versions(&self, package: &str) -> Result<Vec<String>> {
        let table =
            command::read(self.apt("apt-cache").args(["madison", package]), "asking apt for versions")?;
        Ok(madison_versions(&table))
    }

    /// Describes `package` in the suite's newest version.
    ///
    /// # Errors
    /// There is no such package.
    pub(crate) fn describe(&self, package: &str) -> Result<Description> {
        let mut show = self.apt("apt-cache");
        show.args(["show", "--no-all-versions", package]);
        Ok(Description::read(&command::read(&mut show, "asking apt for a package")?))
    }

    /// Downloads one package into `folder`, verified, and returns the file.
    ///
    /// # Errors
    /// The mirror does not have that version any more, or cannot be reached.
    pub(crate) fn download(&self, package: &str, version: &str, folder: &Path) -> Result<PathBuf> {
        let mut get = self.apt("apt-get");
        get.arg("download").arg(format!("{package}={version}")).current_dir(folder);
        command::run(&mut get, &format!("downloading {package}"))?;
        fs::read_dir(folder)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|file| is_package_file(file, package))
            .with_context(|| format!("apt-get left no file of {package} in {}", folder.display()))
    }

    /// Downloads packages and all that they depend on into `folder`, verified, after printing what that is and for what.
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
        let uris = command::read(&mut plan, "asking apt for the packages")?;
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

/// apt's option for where downloaded packages go.
fn archives_option(folder: &Path) -> String {
    format!("Dir::Cache::Archives={}/", folder.display())
}

fn is_package_file(file: &Path, package: &str) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.strip_prefix(package).is_some_and(|rest| rest.starts_with('_')) && name.ends_with(".deb")
}

/// The private configuration: everything apt reads or writes lies below `folder`.
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
        // The folder is this user's alone, so that apt's own user could not write there.
        ("APT::Sandbox::User", "root".to_owned()),
    ] {
        lines.push(format!("{key} \"{value}\";"));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// One line of sources.list. A dated archive is past its expiry by nature, and only that is waived for it.
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

/// The address of Debian's main archive, as the machine's own apt knows it.
fn mirror() -> Result<String> {
    if let Ok(mirror) = std::env::var(MIRROR_VARIABLE) {
        return Ok(mirror);
    }
    let ask = || {
        let mut targets = Command::new("apt-get");
        targets.args(["indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(CODENAME)|$(REPO_URI)"]);
        command::read(&mut targets, "asking apt for its sources").map(|text| main_archive(&text))
    };
    if let Some(mirror) = ask()? {
        return Ok(mirror);
    }
    // A fresh image knows its sources only after the first update.
    packages::update_lists()?;
    let Some(mirror) = ask()? else {
        bail!("apt here knows no mirror of Debian; name one: {MIRROR_VARIABLE}=ADDRESS cargo xtask …");
    };
    Ok(mirror)
}

/// The address among lines of `origin|label|codename|address` that is Debian's main archive; a whole release is preferred
/// to its updates.
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
    fn the_main_archive_is_found_among_others() {
        let targets = "Debian|Debian-Security|bookworm-security|http://m.example/debian-security/\n\
                       Debian|Debian|bookworm-updates|http://m.example/updates/\n\
                       Debian|Debian|bookworm|http://m.example/debian/\n\
                       Other|Other|nodistro|http://other.example/\n";
        assert_eq!(main_archive(targets).as_deref(), Some("http://m.example/debian"));
        assert_eq!(main_archive("Ubuntu|Ubuntu|noble|http://u.example/ubuntu/\n"), None);
        assert_eq!(main_archive(""), None);
    }

    #[test]
    fn a_dated_archive_may_have_expired() {
        let line = source_line("http://m.example/archive/debian/20250520T000000Z", "sid", "/k.gpg");
        assert!(line.starts_with("deb [signed-by=/k.gpg check-valid-until=no] http://m.example/"), "{line}");
        assert_eq!(
            source_line("http://m.example/debian", "sid", "/k"),
            "deb [signed-by=/k] http://m.example/debian sid main\n"
        );
    }

    #[test]
    fn the_configuration_keeps_the_proxy_and_drops_the_hooks() {
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
    fn versions_are_the_second_column() {
        let table = "  rust-src | 1.95.0+dfsg1-2~bpo13+1 | http://m.example/debian trixie-backports/main amd64 Packages\n";
        assert_eq!(madison_versions(table), ["1.95.0+dfsg1-2~bpo13+1"]);
        assert!(madison_versions("").is_empty());
    }

    #[test]
    fn a_description_is_read_by_its_fields() {
        let text = "Package: a\nVersion: 1-2\nInstalled-Size: 77\nDepends: b (= 1-2), c\nSize: 1900\nDescription: d\n";
        let expected =
            Description { version: "1-2".to_owned(), depends: "b (= 1-2), c".to_owned(), size: 1900 };
        assert_eq!(Description::read(text), expected);
        assert_eq!(Description::read(""), Description::default());
    }

    #[test]
    fn a_package_file_is_not_taken_for_another() {
        assert!(is_package_file(Path::new("/t/linux-base-7.3_1_amd64.deb"), "linux-base-7.3"));
        assert!(!is_package_file(Path::new("/t/linux-base-7.3_1_amd64.deb"), "linux-base"));
    }
}
