//! A recorder that is killed while it writes.

use std::fs;
use std::hash::{BuildHasher as _, RandomState};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::{check, fetch, replay, wait_size};
use crate::guest::kmodule;
use crate::scenarios::lab::Lab;
use crate::scenarios::product::{Answer, DumpEnding};
use crate::scenarios::{Method, Verdict};

/// The recorder is killed when the file is larger than this: the header has about 4 KiB.
const SIZE: u32 = 6000;
/// Upper bound of the additional random delay in milliseconds.
const MOMENTS: u64 = 300;

/// The content of each file can be read, and no reader takes it for complete.
pub(in crate::scenarios) fn killed(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("")?;
    let card = lab.card.clone();
    let driver = format!("/sys/bus/pci/drivers/{}", kmodule::NAME);
    // Teardowns, because they are written immediately: there is always a partly written block.
    let work = lab.guest.spawn(&format!(
        "while [ ! -e /run/enough ]; do echo load {card} 4096 50 > /dev/p2ptest; \
         echo {card} > {driver}/unbind; echo {card} > {driver}/bind; done"
    ))?;
    let mut files = Vec::new();
    for round in 0..lab.effort.kills {
        let file = format!("/run/killed.{round}.p2pt");
        let job = lab.record(&file, &method.option())?;
        wait_size(lab, &file, SIZE)?;
        // The operating system seeds its keys.
        let moment = RandomState::new().hash_one(round) % MOMENTS;
        lab.guest.check(&format!("usleep {}", moment * 1000))?;
        lab.guest.signal(job, Signal::KILL)?;
        let code = lab.guest.wait(job)?.code;
        ensure!(code == 128 + 9, "the killed recorder has the exit code {code}");
        files.push(file);
    }
    lab.guest.check("touch /run/enough")?;
    lab.guest.wait(work)?.success()?;
    lab.guest.check("rm /run/enough")?;
    lab.unload_module()?;

    let files = fetch(lab, &files)?;
    let mut events = 0;
    for file in &files {
        let of = || format!("{}", file.display());
        let one = std::slice::from_ref(file);
        let checked = check(one, 2)?;
        ensure!(
            checked.ending == DumpEnding::CutOff
                && checked.verdict == Answer::Inconclusive
                && checked.findings.is_empty(),
            "{}: {checked:?}",
            of()
        );
        let is_unsure = |answer| matches!(answer, Answer::Inconclusive | Answer::NotChecked);
        ensure!(
            checked.verdicts.iter().all(|verdict| is_unsure(verdict.verdict)),
            "{}: a rule is neither inconclusive nor unchecked: {checked:?}",
            of()
        );
        // One partly written block, and no other damage.
        ensure!(checked.damage.len() <= 1, "{}: {:?}", of(), checked.damage);
        let (lines, messages) = replay(one).with_context(of)?;
        ensure!(messages.contains("breaks off before the end"), "{}: {messages}", of());
        let shown = lines.iter().filter(|line| line.starts_with("{\"type\":\"event\"")).count() as u64;
        ensure!(shown >= checked.events, "{}: {shown} events are shown of {}", of(), checked.events);
        events += shown;
    }
    ensure!(events > 100, "only {events} events are left");
    let last = files.last().context("no file")?;
    check_truncated(last)?;
    Ok(Verdict::Passed)
}

/// Truncates the same file at a sample of other places.
fn check_truncated(file: &std::path::Path) -> Result<()> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let torn = file.with_extension("torn");
    for part in 5..20 {
        let length = bytes.len() * part / 20 + part;
        fs::write(&torn, &bytes[..length.min(bytes.len())])
            .with_context(|| format!("cannot write {}", torn.display()))?;
        let checked = check(std::slice::from_ref(&torn), 2)?;
        ensure!(
            checked.ending == DumpEnding::CutOff && checked.findings.is_empty(),
            "truncated at {length}: {checked:?}"
        );
    }
    Ok(())
}
