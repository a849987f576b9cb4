//! A full disk, and a file that is removed during the recording.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use super::{check, fetch, load, load_until, lost_in_the_middle, replay, stop, wait_size};
use crate::scenarios::faults::SIZE;
use crate::scenarios::lab::Lab;
use crate::scenarios::product::DumpEnding;
use crate::scenarios::{Method, Verdict};

/// Records without space are missing and reported; the others before and after are in the file.
pub(in crate::scenarios) fn full_disk(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("")?;
    lab.guest.check(
        "mkdir -p /run/small; mount -t tmpfs -o size=256k none /run/small; head -c 236k /dev/zero > /run/small/filler",
    )?;
    let file = "/run/small/full.p2pt";
    let job = lab.record(file, &method.option())?;
    // The messages need space as well.
    lab.guest.check(&format!("echo >> {file}.stderr"))?;
    load(lab)?;
    wait_size(lab, file, 6000)?;
    load_until(lab, &format!("grep -q 'tracing continues' {file}.stderr"))?;
    lab.guest.check("rm /run/small/filler")?;
    load(lab)?;
    lab.unbind_card()?;
    let words = ["cannot write the dump", "No space left on device", "is not complete"];
    stop(lab, job, file, 3, &words)?;
    lab.unload_module()?;
    let files = fetch(lab, &[file.to_owned()])?;
    lab.guest.check("umount /run/small")?;

    lost_in_the_middle(&files)?;
    Ok(Verdict::Passed)
}

/// The recorder starts another file, which can be read alone; and a redacted dump holds no address of this
/// kernel.
pub(in crate::scenarios) fn vanished(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("")?;
    let card = lab.card.clone();
    let file = "/run/gone.p2pt";
    let trace = lab.trace("record-vanished", &method.option())?;
    let job = lab.record(file, &format!("--redact {}", method.option()))?;
    let allocated = lab.allocate(&card, SIZE)?;
    load(lab)?;
    lab.guest.check(&format!("rm {file}"))?;
    load_until(lab, &format!("[ -s {file}.1 ]"))?;
    lab.command(&format!("free {}", allocated.handle))?;
    lab.unbind_card()?;
    stop(lab, job, file, 3, &["the file was removed", "tracing continues"])?;
    let stream = lab.stop(trace)?;
    lab.unload_module()?;
    let files = fetch(lab, &[format!("{file}.1")])?;

    let checked = check(&files, 0)?;
    ensure!(
        checked.ending == DumpEnding::Complete && checked.findings.is_empty() && checked.lost == 0,
        "{checked:?}"
    );
    let (lines, _) = replay(&files)?;
    let redacted = addresses(&lines);
    // The same kernel, recorded without redaction.
    let plain = addresses(&lab.shown()?);
    ensure!(
        plain.contains(&format!("{:#x}", allocated.addr)) && stream.first("kill")?.pgmap.is_some(),
        "the live output lacks the address {:#x}",
        allocated.addr
    );
    let both: Vec<_> = redacted.intersection(&plain).collect();
    ensure!(
        redacted.len() > 10 && both.is_empty(),
        "of {} addresses these are real: {both:?}",
        redacted.len()
    );
    Ok(Verdict::Passed)
}

/// All addresses in the kernel's half of the address space.
fn addresses(lines: &[String]) -> BTreeSet<String> {
    lines
        .iter()
        .flat_map(|line| line.split('"'))
        .filter(|word| word.starts_with("0xff") && word.len() == 18)
        .map(str::to_owned)
        .collect()
}
