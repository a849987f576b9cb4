//! Dumps that were recorded in the guest, read outside.

use std::{ffi::OsStr, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail, ensure};

use crate::guest::{Guest, Output, programs};

/// Takes a file out of the guest, and removes it there.
pub(super) fn fetch(guest: &mut Guest, from: &str, to: &Path) -> Result<()> {
    copy(guest, from, to)?;
    guest.check(&format!("rm {from}")).map(drop)
}

/// Takes a copy of a file out of the guest, as far as it is written.
pub(super) fn copy(guest: &mut Guest, from: &str, to: &Path) -> Result<()> {
    let lines = guest.check(&format!("base64 {from}"))?;
    let bytes = decode(&lines).with_context(|| format!("{from} did not come through"))?;
    fs::write(to, bytes).with_context(|| format!("cannot write {}", to.display()))
}

/// Runs the program of the guest on this machine.
pub(super) fn tracer(arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Result<Output> {
    let program = programs::built(&crate::workspace(), "p2p-trace");
    let output = Command::new(&program)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let lines = |text: &str| text.lines().map(str::to_owned).collect();
    let out = String::from_utf8(output.stdout).context("what p2p-trace says is not text")?;
    Ok(Output {
        out: lines(&out),
        err: lines(&String::from_utf8_lossy(&output.stderr)),
        code: output.status.code().context("p2p-trace was killed")?,
    })
}

/// A dump replays exactly what was shown while it was recorded.
pub(super) fn replays(dump: &Path, shown: &[String]) -> Result<()> {
    let Output { out: replayed, err, code } =
        tracer([OsStr::new("replay"), OsStr::new("--json"), dump.as_os_str()])?;
    ensure!(
        code == 0 && err.is_empty(),
        "the replay of {} ended with {code}: {}",
        dump.display(),
        err.join("\n")
    );
    for (number, (replayed, shown)) in replayed.iter().zip(shown).enumerate() {
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

/// Base64, with padding.
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
    fn base64_is_read() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(decode(&lines("aGVs\nbG8=")).as_deref(), Some(&b"hello"[..]));
        assert_eq!(decode(&lines("/+8AAQ==")).as_deref(), Some(&[0xff, 0xef, 0, 1][..]));
        assert_eq!(decode(&lines("")).as_deref(), Some(&[][..]));
        assert_eq!(decode(&lines("a b")), None);
    }
}
