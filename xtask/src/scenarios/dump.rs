//! Dumps that were recorded in the guest and are read on the host.

use std::{collections::BTreeMap, ffi::OsStr, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::guest::{Guest, Output, programs};

/// Moves a file from the guest to the host.
pub(super) fn fetch(guest: &mut Guest, from: &str, to: &Path) -> Result<()> {
    copy(guest, from, to)?;
    guest.check(&format!("rm {from}")).map(drop)
}

/// Copies a file from the guest to the host, as far as it is written.
pub(super) fn copy(guest: &mut Guest, from: &str, to: &Path) -> Result<()> {
    let lines = guest.check(&format!("base64 {from}"))?;
    let bytes = decode(&lines).with_context(|| format!("{from} did not arrive as base64"))?;
    fs::write(to, bytes).with_context(|| format!("cannot write {}", to.display()))
}

/// Runs the guest's program on the host.
pub(super) fn tracer(arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Result<Output> {
    let program = programs::built(&crate::workspace(), "p2p-trace");
    let output = Command::new(&program)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let lines = |text: &str| text.lines().map(str::to_owned).collect();
    let out = String::from_utf8(output.stdout).context("p2p-trace's output is not UTF-8")?;
    Ok(Output {
        out: lines(&out),
        err: lines(&String::from_utf8_lossy(&output.stderr)),
        code: output.status.code().context("p2p-trace was killed")?,
    })
}

/// Expects a dump to replay exactly what was shown while it was recorded, except for when a name became
/// known.
pub(super) fn replays(dump: &Path, shown: &[String]) -> Result<()> {
    let Output { out: replayed, err, code } =
        tracer([OsStr::new("replay"), OsStr::new("--json"), dump.as_os_str()])?;
    ensure!(
        code == 0 && err.is_empty(),
        "the replay of {} ended with {code}: {}",
        dump.display(),
        err.join("\n")
    );
    let (replayed, shown) = (named(&replayed)?, named(shown)?);
    for (number, (replayed, shown)) in replayed.iter().zip(&shown).enumerate() {
        if replayed != shown {
            let number = number + 1;
            bail!("line {number} was {shown} live, and is {replayed} in the replay");
        }
    }
    ensure!(
        replayed.len() == shown.len(),
        "the replay has {} lines, live had {}",
        replayed.len(),
        shown.len()
    );
    Ok(())
}

/// Whether two JSON outputs agree, except for when a name became known.
pub(super) fn are_alike(these: &[String], those: &[String]) -> Result<bool> {
    Ok(named(these)? == named(those)?)
}

/// The lines with names that became known later filled in, and without the lines that carry those names.
fn named(lines: &[String]) -> Result<Vec<Value>> {
    let mut parsed = Vec::new();
    let mut names = BTreeMap::new();
    for line in lines {
        let line: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
        match line["names"].as_array() {
            Some(found) => names.extend(
                found
                    .iter()
                    .filter_map(|frame| Some((frame["addr"].as_str()?.to_owned(), frame["symbol"].clone()))),
            ),
            None => parsed.push(line),
        }
    }
    for line in &mut parsed {
        fill(line, &names);
    }
    Ok(parsed)
}

/// Fills in the name of each address that lacks one.
fn fill(value: &mut Value, names: &BTreeMap<String, Value>) {
    for (address, name) in [("addr", "symbol"), ("caller_addr", "caller")] {
        let is_frame = value.get(address).is_some() && (address != "addr" || value.get("type").is_none());
        if is_frame
            && value.get(name).is_none()
            && let Some(found) = value[address].as_str().and_then(|address| names.get(address))
        {
            value[name] = found.clone();
        }
    }
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| fill(value, names)),
        Value::Object(members) => members.values_mut().for_each(|value| fill(value, names)),
        _ => {}
    }
    if let Some(Value::Array(frames)) = value.get_mut("stack") {
        // The tracing's own frames are omitted as soon as they have names.
        let first = frames.iter().position(|frame| !is_tracing(frame)).unwrap_or_default();
        frames.drain(..first);
    }
}

/// Whether a frame lies in code that the kernel generated for the tracing.
fn is_tracing(frame: &Value) -> bool {
    frame["symbol"].as_str().is_some_and(|symbol| symbol.starts_with("bpf_"))
}

/// Decodes base64 with padding.
fn decode(lines: &[String]) -> Option<Vec<u8>> {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    let letters = lines.iter().flat_map(|line| line.bytes());
    for letter in letters.filter(|&letter| letter != b'=') {
        bits = bits << 6 | u32::from(value(letter)?);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_names_are_filled_in() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let later = named(&lines(
            r#"{"type":"event","addr":"0x5","caller":{"addr":"0x5"},"holders":[{"caller_addr":"0x5"}]}
               {"type":"names","names":[{"addr":"0x5","symbol":"a+0x1"}]}"#,
        ));
        let there = r#"{"type":"event","addr":"0x5","caller":{"addr":"0x5","symbol":"a+0x1"},"holders":[{"caller_addr":"0x5","caller":"a+0x1"}]}"#;
        assert_eq!(later.unwrap(), named(&lines(there)).unwrap());
        let other = named(&lines(&there.replace("a+0x1\"}]", "a+0x2\"}]"))).unwrap();
        assert_ne!(other, named(&lines(there)).unwrap());
    }

    #[test]
    fn omits_named_frames_of_the_tracing() {
        let line = |stack: &str| vec![format!(r#"{{"type":"event","stack":[{stack}]}}"#)];
        let frame = |symbol: &str| format!(r#"{{"addr":"0x5","symbol":"{symbol}"}}"#);
        let complete = line(&[frame("bpf_prog_1"), frame("bpf_trampoline_2"), frame("kill+0x5")].join(","));
        assert_eq!(named(&complete).unwrap(), named(&line(&frame("kill+0x5"))).unwrap());
        assert_ne!(named(&complete).unwrap(), named(&line(&frame("kill+0x6"))).unwrap());
    }

    #[test]
    fn decodes_base64() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(decode(&lines("aGVs\nbG8=")).as_deref(), Some(&b"hello"[..]));
        assert_eq!(decode(&lines("/+8AAQ==")).as_deref(), Some(&[0xff, 0xef, 0, 1][..]));
        assert_eq!(decode(&lines("")).as_deref(), Some(&[][..]));
        assert_eq!(decode(&lines("a b")), None);
    }
}
