//! The compiled kernel side, embedded. There are two objects, because kernels before 5.12 reject atomic operations that return a
//! value, even in code that never runs.

use aya::include_bytes_aligned;

/// For Linux 5.12 and later.
static CURRENT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/p2p-trace.bpf.o"));
/// For older kernels: records that interrupt each other on a CPU may be lost without being counted.
static LEGACY: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/p2p-trace-legacy.bpf.o"));

/// The object for a kernel with or without atomic fetch-add for BPF.
pub(super) fn bytes(fetch_add: bool) -> &'static [u8] {
    if fetch_add { CURRENT } else { LEGACY }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use object::{Object as _, ObjectSymbol as _};

    use super::*;

    /// Functions that get the name of a map, of a global or of a helper program.
    const BY_NAME: [&str; 6] =
        ["map_descriptor(", "take_map(", "load_helper(", "map_max_entries(", "override_global(", "data("];

    /// The names that the sources beside this one pass to these functions.
    fn names() -> Vec<String> {
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/live")];
        let mut names = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                if path.ends_with("object.rs") {
                    continue;
                }
                let source = fs::read_to_string(path).unwrap();
                for call in BY_NAME {
                    for (at, _) in source.match_indices(call) {
                        let arguments = source[at..].lines().next().unwrap_or_default();
                        names.extend(arguments.split('"').nth(1).map(str::to_owned));
                    }
                }
            }
        }
        names
    }

    #[test]
    fn every_map_and_helper_exists_in_both_objects() {
        let names = names();
        assert!(names.len() >= 12, "{names:?}");
        for object in [true, false].map(bytes) {
            let file = object::File::parse(object).unwrap();
            let symbols: Vec<_> = file.symbols().filter_map(|symbol| symbol.name().ok()).collect();
            let missing: Vec<_> = names.iter().filter(|name| !symbols.contains(&name.as_str())).collect();
            assert!(missing.is_empty(), "the object lacks {missing:?}");
        }
    }
}
