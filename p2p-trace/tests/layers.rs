//! Dependencies between crates, and between the modules of a crate, go only downward.

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        fs,
        path::{Path, PathBuf},
    };

    /// A crate of user space with its modules. A module uses only those before it.
    struct Layers {
        folder: &'static str,
        modules: &'static [&'static str],
    }

    /// The crates. A crate uses only those before it.
    const CRATES: [Layers; 5] = [
        Layers {
            folder: "crates/model",
            modules: &[
                "text",
                "units",
                "names",
                "event",
                "accounting",
                "stream",
                "state",
                "holders",
                "rules",
                "pipeline",
            ],
        },
        Layers {
            folder: "crates/dump",
            modules: &[
                "block",
                "records",
                "describe",
                "planes",
                "codec",
                "sequence",
                "scan",
                "checkpoint",
                "reader",
                "opened",
                "repeats",
                "redact",
                "run_reader",
                "writer",
                "export",
                "follow",
                "fuzz",
                "recover",
            ],
        },
        Layers {
            folder: "crates/probe",
            modules: &[
                "kernel",
                "hook_table",
                "layout",
                "arming",
                "plan",
                "rings",
                "transport",
                "attach_methods",
                "live",
                "fuzz",
            ],
        },
        Layers {
            folder: "p2p-trace",
            modules: &[
                "exit",
                "stderr",
                "outfile",
                "cli",
                "run",
                "device_report",
                "render",
                "serve",
                "tui",
                "commands",
            ],
        },
        Layers {
            folder: "xtask",
            modules: &[
                "host",
                "summary",
                "kernels",
                "toolchain",
                "ebpf",
                "guest",
                "scenarios",
                "bench",
                "demo",
                "shell",
                "fuzz",
                "test",
                "miri",
                "soak",
            ],
        },
    ];

    /// Modules that parse or show data of others. They forbid `unsafe` for all their files.
    const READING: [&str; 22] = [
        "crates/dump/src/lib.rs",
        "crates/model/src/lib.rs",
        "crates/probe/src/kernel/accounting.rs",
        "crates/probe/src/kernel/btf/mod.rs",
        "crates/probe/src/kernel/config.rs",
        "crates/probe/src/kernel/cpus.rs",
        "crates/probe/src/kernel/devices/mod.rs",
        "crates/probe/src/kernel/lockdown.rs",
        "crates/probe/src/kernel/patching.rs",
        "crates/probe/src/kernel/realtime.rs",
        "crates/probe/src/kernel/release.rs",
        "crates/probe/src/kernel/rights.rs",
        "crates/probe/src/kernel/symbols/mod.rs",
        "crates/probe/src/kernel/tasks/mod.rs",
        "crates/probe/src/kernel/traceability/mod.rs",
        "crates/probe/src/layout.rs",
        "crates/probe/src/plan.rs",
        "p2p-trace/src/cli/mod.rs",
        "p2p-trace/src/device_report/mod.rs",
        "p2p-trace/src/render/mod.rs",
        "p2p-trace/src/run/dumps.rs",
        "p2p-trace/src/serve/mod.rs",
    ];

    /// Modules and files that are compiled only for tests. They may use everything.
    const FOR_TESTS: [&str; 7] = ["tests", "hostile", "testing", "samples", "stories", "documented", "real"];

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    fn is_for_tests(module: &[String]) -> bool {
        let is_one = |part: &String| FOR_TESTS.contains(&part.as_str()) || part.ends_with("_tests");
        module.iter().any(is_one)
    }

    /// The source files below a folder, each with its module path.
    fn files(folder: &Path, module: &[String], found: &mut Vec<(Vec<String>, PathBuf)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let mut module = module.to_vec();
            if path.is_dir() {
                module.push(stem);
                files(&path, &module, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                if stem != "mod" {
                    module.push(stem);
                }
                found.push((module, path));
            }
        }
    }

    /// The text without comments and without the tests at its end.
    fn code(text: &str) -> String {
        let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = shipped.lines().map(|line| line.split("//").next().unwrap());
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The top-level names of a crate that a module's code uses, by `folder` as a prefix or by a chain of `super`.
    fn uses_of(folder: &str, code: &str, module: &[String]) -> BTreeSet<String> {
        let up = "super::".repeat(module.len());
        let mut used = BTreeSet::new();
        for prefix in [folder, up.as_str()] {
            for (at, _) in code.match_indices(prefix) {
                // Excludes `p2p_trace_model::` and longer chains of `super`.
                let is_prefix =
                    !code[..at].ends_with(|before: char| before.is_alphanumeric() || "_:".contains(before));
                if is_prefix {
                    // A glob has no name. It is of a module within the file.
                    let names = first_names(&code[at + prefix.len()..]);
                    used.extend(names.into_iter().filter(|name| !name.is_empty()));
                }
            }
        }
        used
    }

    /// The first segment of a path, or of each path of a group.
    fn first_names(path: &str) -> Vec<String> {
        let name = |text: &str| {
            let end = text.find(|next: char| !next.is_alphanumeric() && next != '_');
            text[..end.unwrap_or(text.len())].to_owned()
        };
        let Some(group) = path.strip_prefix('{') else {
            return vec![name(path)];
        };
        let (mut names, mut depth, mut is_first) = (Vec::new(), 0, true);
        for (at, character) in group.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => is_first = true,
                _ if is_first && !character.is_whitespace() => {
                    names.push(name(&group[at..]));
                    is_first = false;
                }
                _ => {}
            }
        }
        names
    }

    /// The names that the root of a crate re-exports, with their modules.
    fn reexports(root: &str) -> BTreeMap<String, String> {
        let mut reexported = BTreeMap::new();
        for statement in root.split("use ").skip(1).filter_map(|rest| rest.split(';').next()) {
            if let Some((module, rest)) = statement.split_once("::") {
                let names = rest.split(|next: char| !next.is_alphanumeric() && next != '_');
                reexported.extend(names.map(|name| (name.to_owned(), module.to_owned())));
            }
        }
        reexported
    }

    /// The uses of modules that are higher.
    fn upward(layers: &Layers) -> Vec<String> {
        let source = root().join(layers.folder).join("src");
        let root =
            ["lib.rs", "main.rs"].map(|name| source.join(name)).into_iter().find(|root| root.is_file());
        let reexported = reexports(&code(&fs::read_to_string(root.unwrap()).unwrap()));
        let place = |module: &str| layers.modules.iter().position(|&known| known == module);
        let mut found = Vec::new();
        files(&source, &[], &mut found);
        let mut upward = Vec::new();
        for (module, path) in found {
            if is_for_tests(&module) || ["lib", "main"].contains(&module[0].as_str()) {
                continue;
            }
            let Some(own) = place(&module[0]) else {
                upward.push(format!("{}: the module has no layer", path.to_string_lossy()));
                continue;
            };
            for name in uses_of("crate::", &code(&fs::read_to_string(&path).unwrap()), &module) {
                let other = reexported.get(&name).unwrap_or(&name);
                // Functions of the root have no layer.
                if place(other).is_some_and(|other| other > own) {
                    upward.push(format!("{}: {} needs {other}", path.to_string_lossy(), module[0]));
                }
            }
        }
        upward
    }

    #[test]
    fn modules_use_only_lower_ones() {
        let upward: Vec<_> = CRATES.iter().flat_map(upward).collect();
        assert!(upward.is_empty(), "{}", upward.join("\n"));
    }

    #[test]
    fn parsers_and_renderers_forbid_unsafe_code() {
        let forbids = |file: &&&str| {
            !code(&fs::read_to_string(root().join(file)).unwrap()).contains("#![forbid(unsafe_code)]")
        };
        let open: Vec<_> = READING.iter().filter(forbids).collect();
        assert!(open.is_empty(), "unsafe code is not forbidden in {open:?}");
    }

    /// Folders of the dashboard use only lower ones.
    #[test]
    fn folders_of_the_dashboard_use_only_lower_ones() {
        let source = root().join("p2p-trace/src/tui");
        let mut found = Vec::new();
        files(&source, &[], &mut found);
        for (module, path) in found.iter().filter(|(module, _)| !is_for_tests(module)) {
            let above: &[&str] = match module.first().map_or("", String::as_str) {
                "history" => &["view_model", "state", "views"],
                "view_model" => &["state", "views"],
                "state" | "keymap" | "lists" | "detail" => &["views"],
                _ => &[],
            };
            let used = uses_of("crate::tui::", &code(&fs::read_to_string(path).unwrap()), module);
            let needed: Vec<_> = above.iter().filter(|&&name| used.contains(name)).collect();
            assert!(needed.is_empty(), "{} needs {needed:?}", path.to_string_lossy());
        }
    }

    /// Types with data from a dump, from the kernel or from another process.
    const READ: [&str; 13] = [
        "crates/model/src/rules/rule_state.rs",
        "crates/model/src/accounting/status.rs",
        "crates/model/src/stream/diagnostic.rs",
        "crates/model/src/event/symbolize.rs",
        "crates/dump/src/describe.rs",
        "crates/dump/src/reader.rs",
        "crates/dump/src/opened.rs",
        "crates/dump/src/recover",
        "crates/probe/src/kernel/devices",
        "crates/probe/src/kernel/tasks",
        "crates/probe/src/live",
        "p2p-trace/src/device_report/report.rs",
        "p2p-trace/src/serve/protocol.rs",
    ];

    /// Text from outside is of the type `Text`, which is safe in every output.
    #[test]
    fn text_from_outside_is_not_a_string() {
        let mut bare = Vec::new();
        for place in READ {
            let mut found = Vec::new();
            match root().join(place) {
                folder if folder.is_dir() => files(&folder, &[], &mut found),
                file => found.push((Vec::new(), file)),
            }
            for (_, path) in found.iter().filter(|(module, _)| !is_for_tests(module)) {
                let text = code(&fs::read_to_string(path).unwrap());
                let is_bare = |line: &&str| {
                    line.trim_start().starts_with("pub ")
                        && line.contains(": ")
                        && !line.contains(" fn ")
                        && line.contains("String")
                };
                bare.extend(text.lines().filter(is_bare).map(|line| format!("{place}: {}", line.trim())));
            }
        }
        assert!(bare.is_empty(), "{}", bare.join("\n"));
    }

    #[test]
    fn crates_use_only_lower_ones() {
        for (place, layers) in CRATES.iter().enumerate() {
            let manifest = fs::read_to_string(root().join(layers.folder).join("Cargo.toml")).unwrap();
            for above in &CRATES[place + 1..] {
                let package = match above.folder.strip_prefix("crates/") {
                    Some(name) => format!("p2p-trace-{name}"),
                    None => above.folder.to_owned(),
                };
                let needs =
                    |line: &str| line.starts_with(&package) && line[package.len()..].starts_with(['.', ' ']);
                assert!(!manifest.lines().any(needs), "{} needs {package}", layers.folder);
            }
        }
        for pure in ["crates/model", "crates/dump"] {
            let manifest = fs::read_to_string(root().join(pure).join("Cargo.toml")).unwrap();
            assert!(!manifest.contains("aya"), "only crates/probe knows aya");
        }
    }

    #[test]
    fn finds_the_names_that_are_used() {
        let used = uses_of(
            "crate::",
            "use crate::{a::{b, c}, d};\nfn f() { crate::e::g(); super::super::h::i(); super::j(); other_crate::k() }",
            &["x".to_owned(), "y".to_owned()],
        );
        assert_eq!(used.into_iter().collect::<Vec<_>>(), ["a", "d", "e", "h"]);
        assert_eq!(reexports("pub use reader::{End, RunReader};")["RunReader"], "reader");
    }
}
