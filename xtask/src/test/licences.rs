//! Licences and origins of the dependencies, against the list in deny.toml.
//!
//! This takes a second and needs nothing, so it always runs; where cargo-deny is installed, it has the say as well.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::spdx;
use crate::host::command;

/// Checks every package of the lock file.
pub(super) fn check(root: &Path) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let rules = fs::read_to_string(root.join("deny.toml")).context("cannot read deny.toml")?;
    let allowed = allowed_licences(&rules);
    let mut metadata = Command::new(&cargo);
    metadata
        .args(["metadata", "--format-version", "1", "--locked", "--all-features"])
        .current_dir(root);
    let metadata: Value = serde_json::from_str(&command::read(
        &mut metadata,
        "asking cargo for the dependencies",
    )?)?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo names no packages")?;
    let wrong: Vec<String> = packages
        .iter()
        .filter_map(|package| objection(package, &allowed))
        .collect();
    if !wrong.is_empty() {
        bail!(
            "{} of {} packages are not allowed:\n{}",
            wrong.len(),
            packages.len(),
            wrong.join("\n")
        );
    }
    println!(
        "{} packages, all with one of {} allowed licences",
        packages.len(),
        allowed.len()
    );

    if command::exists("cargo-deny") {
        let mut deny = Command::new(&cargo);
        deny.args(["deny", "--all-features", "check", "bans", "licenses", "sources"])
            .current_dir(root);
        return command::show(&mut deny, "cargo-deny");
    }
    println!("cargo-deny is not installed; it would look at the licence texts and at duplicates too");
    Ok(())
}

/// What is wrong with a package, if anything.
fn objection(package: &Value, allowed: &[&str]) -> Option<String> {
    let text = |key: &str| package[key].as_str().unwrap_or_default();
    let name = format!("{} {}", text("name"), text("version"));
    if !package["source"].is_null() && !text("source").starts_with("registry+") {
        return Some(format!("{name} comes from {}", text("source")));
    }
    match spdx::allows(text("license"), |licence| allowed.contains(&licence)) {
        Some(true) => None,
        Some(false) => Some(format!("{name} has the licence {}", text("license"))),
        None => Some(format!(
            "{name} has no licence that can be read: {:?}",
            text("license")
        )),
    }
}

/// The strings of `allow = […]` in the section `[licenses]`.
fn allowed_licences(rules: &str) -> Vec<&str> {
    let section = rules
        .split("\n[")
        .find(|section| section.trim_start_matches('[').starts_with("licenses]"));
    let list = section
        .and_then(|section| section.split_once("\nallow = ["))
        .and_then(|(_, rest)| rest.split_once(']'));
    list.map_or(Vec::new(), |(list, _)| {
        list.split('"').skip(1).step_by(2).collect()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_allow_list_is_that_of_the_licences() {
        let rules = "[bans]\nallow = [\"x\"]\n\n[licenses]\nconfidence-threshold = 0.9\nallow = [\n  \"MIT\",\n  \"ISC\",\n]\n[sources]\n";
        assert_eq!(allowed_licences(rules), ["MIT", "ISC"]);
        assert!(allowed_licences("[bans]\n").is_empty());
    }

    #[test]
    fn a_foreign_licence_or_origin_is_named() {
        let package = |license: &str, source: &str| json!({"name": "a", "version": "1", "license": license, "source": source});
        assert_eq!(
            objection(&package("MIT", "registry+https://index.example"), &["MIT"]),
            None
        );
        let foreign = objection(
            &package("AGPL-3.0-only", "registry+https://index.example"),
            &["MIT"],
        )
        .unwrap();
        assert!(foreign.contains("AGPL-3.0-only"), "{foreign}");
        let elsewhere = objection(&package("MIT", "git+https://git.example/a"), &["MIT"]).unwrap();
        assert!(elsewhere.contains("comes from"), "{elsewhere}");
        let silent = json!({"name": "a", "version": "1", "license": null, "source": null});
        assert!(objection(&silent, &["MIT"]).is_some());
    }
}
