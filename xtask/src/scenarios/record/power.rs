//! A machine that loses its power while a recorder writes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::{check, replay};
use crate::guest::disk;
use crate::scenarios::lab::Lab;
use crate::scenarios::product::{Answer, CheckReport, DumpEnding};
use crate::scenarios::{Method, Verdict};

/// Mount point of the disk, and the dump on it.
const MOUNT: &str = "/run/disk";
const NAME: &str = "/power.p2pt";
/// Bytes of a distinctive allocation.
const MARK: u64 = 5 * 4096;
/// Seconds until it is on the disk: five of the recorder, one in which it gathers records, and the rest for a
/// busy host.
const PROMISED: u32 = 10;
/// Seconds until a written teardown is on the disk.
const AT_ONCE: u32 = 1;
/// Number of earlier copies of the disk.
const COPIES: u32 = 4;

/// Records older than a few seconds are on the disk, those of a teardown immediately, and all of them can be
/// read.
pub(in crate::scenarios) fn power_loss(lab: &mut Lab, method: Method) -> Result<Verdict> {
    let has_disk = format!("modprobe virtio_blk && modprobe ext4 && [ -b {} ]", disk::NAME);
    if lab.guest.run(&has_disk)?.code != 0 {
        return Ok(Verdict::skipped("this kernel has no virtio_blk, or no ext4"));
    }
    lab.load_module("")?;
    let card = lab.card.clone();
    lab.guest.check(&format!("mkdir {MOUNT} && mount -t ext4 {} {MOUNT}", disk::NAME))?;
    let file = format!("{MOUNT}{NAME}");
    lab.guest.check(&format!("ln -s /run/power.stderr {file}.stderr"))?;
    lab.record(&file, &method.option())?;
    lab.guest.spawn(&format!("while true; do echo load {card} 4096 50 > /dev/p2ptest; sleep 0.1; done"))?;
    lab.guest.check("sleep 2")?;

    let allocated = lab.allocate(&card, MARK)?;
    let mut images = Vec::new();
    for number in 0..COPIES {
        lab.guest.check("sleep 1")?;
        images.push(image(lab, number)?);
    }
    lab.guest.check(&format!("sleep {}", PROMISED - COPIES))?;
    let after_promised = image(lab, COPIES)?;
    lab.command(&format!("free {}", allocated.handle))?;
    lab.unbind_card()?;
    lab.wait_for(&format!("p2p-trace replay --json {file} | grep -q '\"kind\":\"released\"'"))?;
    lab.guest.check(&format!("sleep {AT_ONCE}"))?;
    lab.guest.cut_power()?;
    let last = lab.guest.log().join(disk::IMAGE);

    for image in images {
        // Soon after the start, the file may have only a part of the header.
        read_dump(&image)?;
    }
    let (checked, lines) = read_dump(&after_promised)?;
    let mark = format!("\"size\":{MARK}");
    ensure!(
        lines.iter().any(|line| line.contains("\"kind\":\"alloc\"") && line.contains(&mark)),
        "an allocation is not on the disk after {PROMISED} s: {checked:?}"
    );
    let (checked, lines) = read_dump(&last)?;
    for kind in ["kill", "drained", "released"] {
        let words = format!("\"kind\":\"{kind}\"");
        ensure!(
            lines.iter().any(|line| line.contains(&words)),
            "the teardown's {kind} is not on the disk: {checked:?}"
        );
    }
    Ok(Verdict::Passed)
}

/// A copy of the disk at this moment: the state that a power loss would leave.
fn image(lab: &mut Lab, number: u32) -> Result<PathBuf> {
    let to = lab.guest.log().join(format!("moment.{number}.img"));
    lab.guest.qmp().execute("stop", json!({}))?;
    let copied = fs::copy(lab.guest.log().join(disk::IMAGE), &to);
    lab.guest.qmp().execute("cont", json!({}))?;
    copied.with_context(|| format!("cannot write {}", to.display()))?;
    Ok(to)
}

/// Reads the dump of a disk: it is cut off, has no other damage, and no rule claims a result.
fn read_dump(image: &Path) -> Result<(CheckReport, Vec<String>)> {
    let dump = image.with_extension("p2pt");
    disk::read(image, NAME, &dump)?;
    let one = [dump];
    let checked = check(&one, 2)?;
    let is_unsure = |answer| matches!(answer, Answer::Inconclusive | Answer::NotChecked);
    ensure!(
        checked.ending == DumpEnding::CutOff
            && checked.findings.is_empty()
            && checked.damage.len() <= 1
            && checked.verdicts.iter().all(|verdict| is_unsure(verdict.verdict)),
        "{}: {checked:?}",
        image.display()
    );
    let (lines, _) = replay(&one)?;
    Ok((checked, lines))
}
