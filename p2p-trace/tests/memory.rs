//! Reading a dump uses bounded memory, whatever the dump contains.

#![expect(clippy::disallowed_methods, reason = "tests create files in their own folder")]

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::{fs, path::Path, process::Command};

    /// KiB of address space that a reader may use.
    const LIMIT: u32 = 256 << 10;
    /// The size of the largest block.
    const LARGEST: usize = 16 << 20;
    const HEADER: u8 = 1;
    const STATUS: u8 = 3;
    const SYMBOLS: u8 = 4;
    const DIAGNOSTICS: u8 = 7;

    /// A compressed block of a few kilobytes that expands to megabytes: `front`, `text` repeated `times` times, and `back`.
    fn bomb(number: u32, kind: u8, front: &str, text: &str, times: usize, back: &str) -> Vec<u8> {
        let mut content = Vec::new();
        let literals = |content: &mut Vec<u8>, bytes: &[u8], copied: usize| {
            content.push((bytes.len().min(15) as u8) << 4 | copied.min(15) as u8);
            if bytes.len() >= 15 {
                long(content, bytes.len() - 15);
            }
            content.extend_from_slice(bytes);
        };
        // A copy has at least four bytes.
        let copied = text.len() * (times - 1) - 4;
        literals(&mut content, [front, text].concat().as_bytes(), copied);
        content.extend_from_slice(&(text.len() as u16).to_le_bytes());
        long(&mut content, copied - 15);
        literals(&mut content, back.as_bytes(), 0);
        block(number, kind, 1, &content, front.len() + text.len() * times + back.len())
    }

    /// An LZ4 length that does not fit into four bits.
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

    /// The header block of a real run: stored content, codec, and size.
    fn header() -> (Vec<u8>, u8, usize) {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/1/blocked.p2pt");
        let golden = fs::read(golden).unwrap();
        let word = |at: usize| u32::from_le_bytes(golden[at..at + 4].try_into().unwrap()) as usize;
        (golden[32..32 + word(12)].to_vec(), golden[10], word(16))
    }

    /// Reads the blocks with each command that reads dumps. Returns the output.
    fn read(name: &str, blocks: &[Vec<u8>]) -> String {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.p2pt"));
        fs::write(&path, blocks.concat()).unwrap();
        let mut output = String::new();
        for command in ["check", "replay", "report"] {
            let limited = format!("ulimit -v {LIMIT} && exec \"$0\" {command} \"$1\"");
            let mut shell = Command::new("sh");
            shell.args(["-c", &limited, env!("CARGO_BIN_EXE_p2p-trace")]).arg(&path);
            // Otherwise the C library reserves 64 MiB of address space per thread.
            shell.env("MALLOC_ARENA_MAX", "1");
            let exited = shell.env("NO_COLOR", "1").env("RUST_BACKTRACE", "0").output().unwrap();
            let words = String::from_utf8([exited.stdout, exited.stderr].concat()).unwrap();
            let tail = words.get(words.len().saturating_sub(500)..).unwrap_or_default();
            assert!(
                matches!(exited.status.code(), Some(0..=3)),
                "{name}: {command}: {}: {tail}",
                exited.status
            );
            output.push_str(&words);
        }
        fs::remove_file(&path).unwrap();
        output
    }

    /// A run with a header and more blocks.
    fn run(more: impl IntoIterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
        let (content, codec, size) = header();
        std::iter::once(block(0, HEADER, codec, &content, size)).chain(more).collect()
    }

    #[test]
    fn very_long_names_are_truncated() {
        let name = |number: u32| {
            let front = format!("{{\"names\":[[\"{:#x}\",\"", 0xffff_ffff_8100_0000u64 + u64::from(number));
            bomb(1 + number, SYMBOLS, &front, "a", LARGEST - 100, "\"]]}")
        };
        let output = read("names", &run((0..20).map(name)));
        assert!(output.contains("20 symbol names were truncated to 512 bytes"), "{output}");
    }

    #[test]
    fn a_block_with_a_million_names_is_damaged() {
        let names = |number: u32| {
            bomb(1 + number, SYMBOLS, "{\"names\":[", "[\"0x1\",\"\"],", LARGEST / 11 - 9, "[\"0x1\",\"\"]]}")
        };
        let output = read("many-names", &run((0..4).map(names)));
        assert!(output.contains("the symbols block at offset"), "{output}");
    }

    #[test]
    fn a_very_large_status_is_damaged() {
        let status = |number: u32| {
            let front = "{\"time_ns\":1,\"status\":{\"devices\":[";
            bomb(1 + number, STATUS, front, "\"\",", LARGEST / 3 - 100, "\"\"]}}")
        };
        let output = read("status", &run((0..4).map(status)));
        assert!(output.contains("the status block at offset"), "{output}");
    }

    #[test]
    fn blocks_before_the_header_are_kept_up_to_a_limit() {
        let front = "{\"messages\":[{\"time_ns\":1,\"level\":\"info\",\"text\":\"";
        let early = (0..20).map(|number| bomb(number, DIAGNOSTICS, front, "a", LARGEST - 100, "\"}]}"));
        let (content, codec, size) = header();
        let blocks: Vec<_> = early.chain([block(20, HEADER, codec, &content, size)]).collect();
        let output = read("early", &blocks);
        assert!(output.contains("blocks before the header of the run exceed the limit"), "{output}");
    }
}
