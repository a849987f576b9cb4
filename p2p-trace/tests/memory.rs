//! Whatever a dump has in it, a reader of it takes a bounded place: each is read with less memory than it stands for.

#![expect(clippy::disallowed_methods, reason = "tests make what they need in a folder of their own")]

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::{fs, path::Path, process::Command};

    /// KiB of address space that a reader may have: more than it may fill.
    const LIMIT: u32 = 256 << 10;
    /// The largest block.
    const LARGEST: usize = 16 << 20;
    const HEADER: u8 = 1;
    const STATUS: u8 = 3;
    const SYMBOLS: u8 = 4;
    const DIAGNOSTICS: u8 = 7;

    /// A block whose content is `front`, this text so many times, and `back`, as LZ4 has it: some kilobytes for megabytes.
    fn bomb(number: u32, kind: u8, front: &str, text: &str, times: usize, back: &str) -> Vec<u8> {
        let mut content = Vec::new();
        let literals = |content: &mut Vec<u8>, bytes: &[u8], copied: usize| {
            content.push((bytes.len().min(15) as u8) << 4 | copied.min(15) as u8);
            if bytes.len() >= 15 {
                long(content, bytes.len() - 15);
            }
            content.extend_from_slice(bytes);
        };
        // A copy has four bytes at least.
        let copied = text.len() * (times - 1) - 4;
        literals(&mut content, [front, text].concat().as_bytes(), copied);
        content.extend_from_slice(&(text.len() as u16).to_le_bytes());
        long(&mut content, copied - 15);
        literals(&mut content, back.as_bytes(), 0);
        block(number, kind, 1, &content, front.len() + text.len() * times + back.len())
    }

    /// A length that does not fit into its four bits.
    fn long(content: &mut Vec<u8>, length: usize) {
        content.extend(std::iter::repeat_n(255, length / 255));
        content.push((length % 255) as u8);
    }

    fn block(number: u32, kind: u8, codec: u8, content: &[u8], size: usize) -> Vec<u8> {
        let mut bytes = b"\x89P2PTD\r\n".to_vec();
        bytes.extend_from_slice(&[1, kind, codec, 0]);
        for word in [content.len() as u32, size as u32, crc32c::crc32c(content), number] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes.extend_from_slice(content);
        bytes
    }

    /// The header of a real run: as it is stored, by which codec, and its size.
    fn header() -> (Vec<u8>, u8, usize) {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/1/blocked.p2pt");
        let golden = fs::read(golden).unwrap();
        let word = |at: usize| u32::from_le_bytes(golden[at..at + 4].try_into().unwrap()) as usize;
        (golden[32..32 + word(12)].to_vec(), golden[10], word(16))
    }

    /// Reads this with each command that reads dumps, and gives what they say.
    fn read(name: &str, blocks: &[Vec<u8>]) -> String {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.p2pt"));
        fs::write(&path, blocks.concat()).unwrap();
        let mut said = String::new();
        for command in ["check", "replay", "report"] {
            let limited = format!("ulimit -v {LIMIT} && exec \"$0\" {command} \"$1\"");
            let mut shell = Command::new("sh");
            shell.args(["-c", &limited, env!("CARGO_BIN_EXE_p2p-trace")]).arg(&path);
            // The C library sets 64 MiB of addresses aside for each thread otherwise, which is not memory.
            shell.env("MALLOC_ARENA_MAX", "1");
            let output = shell.env("NO_COLOR", "1").env("RUST_BACKTRACE", "0").output().unwrap();
            let words = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            let tail = words.get(words.len().saturating_sub(500)..).unwrap_or_default();
            assert!(
                matches!(output.status.code(), Some(0..=3)),
                "{name}: {command}: {}: {tail}",
                output.status
            );
            said.push_str(&words);
        }
        fs::remove_file(&path).unwrap();
        said
    }

    /// A run that begins with its header.
    fn run(more: impl IntoIterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
        let (content, codec, size) = header();
        std::iter::once(block(0, HEADER, codec, &content, size)).chain(more).collect()
    }

    #[test]
    fn names_of_megabytes_are_cut() {
        let name = |number: u32| {
            let front = format!("{{\"names\":[[\"{:#x}\",\"", 0xffff_ffff_8100_0000u64 + u64::from(number));
            bomb(1 + number, SYMBOLS, &front, "a", LARGEST - 100, "\"]]}")
        };
        let said = read("names", &run((0..20).map(name)));
        assert!(said.contains("20 symbol names were truncated to 512 bytes"), "{said}");
    }

    #[test]
    fn a_million_names_are_none() {
        let names = |number: u32| {
            bomb(1 + number, SYMBOLS, "{\"names\":[", "[\"0x1\",\"\"],", LARGEST / 11 - 9, "[\"0x1\",\"\"]]}")
        };
        let said = read("many-names", &run((0..4).map(names)));
        assert!(said.contains("the symbols block at offset"), "{said}");
    }

    #[test]
    fn a_status_of_megabytes_is_none() {
        let status = |number: u32| {
            let front = "{\"time_ns\":1,\"status\":{\"devices\":[";
            bomb(1 + number, STATUS, front, "\"\",", LARGEST / 3 - 100, "\"\"]}}")
        };
        let said = read("status", &run((0..4).map(status)));
        assert!(said.contains("the status block at offset"), "{said}");
    }

    #[test]
    fn what_lies_in_front_of_the_header_is_kept_up_to_a_limit() {
        let front = "{\"said\":[{\"time_ns\":1,\"level\":\"info\",\"text\":\"";
        let early = (0..20).map(|number| bomb(number, DIAGNOSTICS, front, "a", LARGEST - 100, "\"}]}"));
        let (content, codec, size) = header();
        let blocks: Vec<_> = early.chain([block(20, HEADER, codec, &content, size)]).collect();
        let said = read("early", &blocks);
        assert!(
            said.contains("blocks before the header of the run exceed the limit and were dropped"),
            "{said}"
        );
    }
}
