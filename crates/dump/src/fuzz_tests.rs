//! The reader against arbitrary bytes: it never panics, always ends, and needs no more memory than there are
//! bytes.

use std::{env, fs, path::Path};

use proptest::prelude::*;

use super::{
    Opened,
    fuzz::{find, read, with_valid_checksums},
    samples::{dump, header},
};

/// The committed corpus. `P2P_TRACE_BLESS=1 cargo test` regenerates it from the tests' dumps.
fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/dumps");
    if env::var_os("P2P_TRACE_BLESS").is_some() {
        fs::create_dir_all(&folder).unwrap();
        let complete = dump();
        fs::write(folder.join("complete.p2pt"), &complete).unwrap();
        fs::write(folder.join("plain.p2pt"), uncompressed()).unwrap();
        fs::write(folder.join("cut.p2pt"), &complete[..complete.len() * 2 / 3]).unwrap();
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../p2p-trace/tests/golden/1");
    let mut files: Vec<_> = [folder, golden]
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "p2pt"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// A change of bytes: place, kind and value.
type Damage = (u32, u8, u8);

fn damaged(mut bytes: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for &(place, kind, value) in damages {
        if bytes.is_empty() {
            break;
        }
        let place = place as usize % bytes.len();
        match kind % 5 {
            0 => bytes[place] = value,
            1 => bytes.truncate(place),
            2 => drop(bytes.drain(place..(place + usize::from(value)).min(bytes.len()))),
            3 => {
                let end = (place + usize::from(value)).min(bytes.len());
                let copy = bytes[place..end].to_vec();
                bytes.splice(place..place, copy);
            }
            _ => bytes[place] ^= 1 << (value % 8),
        }
    }
    bytes
}

#[test]
fn reads_corpus() {
    for bytes in corpus() {
        read(&bytes);
    }
}

proptest! {
    // A quarter of the default (`PROPTEST_CASES` raises it): each case reads a complete dump.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.div_ceil(4)))]

    #[test]
    fn damaged_dumps_never_panic(
        file: prop::sample::Index,
        damages in prop::collection::vec(any::<Damage>(), 1..8),
        mend: bool,
    ) {
        let corpus = corpus();
        let bytes = damaged(corpus[file.index(corpus.len())].clone(), &damages);
        read(&if mend { with_valid_checksums(bytes) } else { bytes });
    }

    #[test]
    fn uncompressed_contents_never_panic(damages in prop::collection::vec(any::<Damage>(), 1..6)) {
        // Without compression a changed byte is a changed field.
        read(&with_valid_checksums(damaged(uncompressed(), &damages)));
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        read(&bytes);
    }
}

/// The small dump with uncompressed content.
fn uncompressed() -> Vec<u8> {
    let bytes = dump();
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(place) = find(&bytes, at) {
        let header =
            super::block::BlockHeader::from_bytes(bytes[place..place + 32].try_into().unwrap()).unwrap();
        let content = &bytes[place + 32..place + 32 + header.stored as usize];
        let decoded = super::codec::decode(header.codec, content, header.decoded as usize).unwrap();
        let plain = super::block::BlockHeader {
            codec: super::codec::NONE,
            stored: decoded.len() as u32,
            crc: crc32c::crc32c(&decoded),
            ..header
        };
        out.extend_from_slice(&plain.to_bytes());
        out.extend_from_slice(&decoded);
        at = place + 32 + content.len();
    }
    assert_eq!(Opened::open(&out[..]).unwrap().header(), &header());
    out
}
