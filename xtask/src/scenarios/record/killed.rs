//! A recorder that is killed while it writes.

use std::fs;
use std::hash::{BuildHasher as _, RandomState};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::{check, fetch, replay, wait_size};
use crate::guest::kmodule;
use crate::scenarios::lab::Lab;
use crate::scenarios::product::{Answer, EndName};
use crate::scenarios::{Method, Verdict};

/// From this size of the file on it is killed: the header has 4 KiB or so.
const SIZE: u32 = 6000;
/// After less than so many milliseconds more.
const MOMENTS: u64 = 300;

/// What is there of each file is read, and nobody takes it for the whole.
pub(in crate::scenarios) fn killed(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("")?;
    let card = lab.card.clone();
    let driver = format!("/sys/bus/pci/drivers/{}", kmodule::NAME);
    // Teardowns, since they are written at once: there is always something half written.
    let work = lab.guest.spawn(&format!(
        "while [ ! -e /run/enough ]; do echo load {card} 4096 50 > /dev/p2ptest; \
         echo {card} > {driver}/unbind; echo {card} > {driver}/bind; done"
    ))?;
    let mut files = Vec::new();
    for round in 0..lab.effort.kills {
        let file = format!("/run/killed.{round}.p2pt");
        let job = lab.record(&file, &method.option())?;
        wait_size(lab, &file, SIZE)?;
        // Its keys come from the operating system.
        let moment = RandomState::new().hash_one(round) % MOMENTS;
        lab.guest.check(&format!("usleep {}", moment * 1000))?;
        lab.guest.signal(job, Signal::KILL)?;
        let code = lab.guest.wait(job)?.code;
        ensure!(code == 128 + 9, "it was killed, and ended with {code}");
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
            checked.end == EndName::CutOff
                && checked.verdict == Answer::Inconclusive
                && checked.findings.is_empty(),
            "{}: {checked:?}",
            of()
        );
        let is_unsure = |answer| matches!(answer, Answer::Inconclusive | Answer::NotChecked);
        ensure!(
            checked.verdicts.iter().all(|verdict| is_unsure(verdict.verdict)),
            "{}: a rule is sure: {checked:?}",
            of()
        );
        // A block that was half written, and nothing else.
        ensure!(checked.damage.len() <= 1, "{}: {:?}", of(), checked.damage);
        let (lines, said) = replay(one).with_context(of)?;
        ensure!(said.contains("breaks off before the end"), "{}: {said}", of());
        let told = lines.iter().filter(|line| line.starts_with("{\"type\":\"event\"")).count() as u64;
        ensure!(told >= checked.events, "{}: {told} events are shown of {}", of(), checked.events);
        events += told;
    }
    ensure!(events > 100, "only {events} events are left");
    let last = files.last().context("no file")?;
    torn(last)?;
    Ok(Verdict::Passed)
}

/// The same file, torn somewhere else: every place would do, these are some.
fn torn(file: &std::path::Path) -> Result<()> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let torn = file.with_extension("torn");
    for part in 5..20 {
        let length = bytes.len() * part / 20 + part;
        fs::write(&torn, &bytes[..length.min(bytes.len())])
            .with_context(|| format!("cannot write {}", torn.display()))?;
        let checked = check(std::slice::from_ref(&torn), 2)?;
        ensure!(
            checked.end == EndName::CutOff && checked.findings.is_empty(),
            "torn at {length}: {checked:?}"
        );
    }
    Ok(())
}
