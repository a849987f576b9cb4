//! The interface for scripts: the exit code of a run, and its end at the first finding.

use anyhow::{Result, ensure};
use rustix::process::Signal;

use super::injection::SIZE;
use crate::guest::{Job, Output};
use crate::scenarios::lab::Lab;
use crate::scenarios::{Method, Verdict};

/// A run that ends by itself at a finding, one in which every rule holds, and one with an open rule.
pub(in crate::scenarios) fn exit_codes(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("")?;
    let card = lab.card.clone();
    let until = start(lab, method, "--until-finding --fail-on high --stall-after 1s")?;
    let allocated = lab.allocate(&card, SIZE)?;
    let unbinding = lab.start_unbind_card()?;
    let found = lab.guest.wait(until)?;
    lab.command(&format!("free {}", allocated.handle))?;
    lab.finish(unbinding)?;
    ends_with(&found, 1, "stalled-")?;
    ensure!(
        found.text().contains("VIOLATED") && !found.text().contains(" alloc "),
        "the output has more than findings: {}",
        found.text()
    );

    lab.bind_card()?;
    let quiet = start(lab, method, "--fail-on medium")?;
    lab.unbind_card()?;
    let quiet = stop(lab, quiet)?;
    ends_with(&quiet, 0, "")?;
    lab.unload_module()?;

    // The size of the driver's queues is unknown: their allocation was not traced.
    lab.load_driver()?;
    let open = start(lab, method, "--fail-on medium")?;
    lab.unbind()?;
    let open = stop(lab, open)?;
    ends_with(&open, 2, "inconclusive")?;
    lab.unload_driver()?;
    Ok(Verdict::Passed)
}

/// Starts a run that shows findings as text, and waits until it is attached.
fn start(lab: &mut Lab, method: Method, arguments: &str) -> Result<Job> {
    let ready = "/run/ready.exit-codes";
    // A file of an earlier run would be mistaken for this one's.
    lab.guest.check(&format!("rm -f {ready}"))?;
    let job = lab.guest.spawn(&format!(
        "exec p2p-trace live --findings --ready-file {ready} {} {arguments}",
        method.option()
    ))?;
    lab.wait_for(&format!("[ -e {ready} ]"))?;
    Ok(job)
}

fn stop(lab: &mut Lab, job: Job) -> Result<Output> {
    lab.guest.signal(job, Signal::INT)?;
    lab.guest.wait(job)
}

fn ends_with(output: &Output, code: i32, words: &str) -> Result<()> {
    ensure!(
        output.code == code && output.text().contains(words),
        "p2p-trace exited with {}, expected {code} and `{words}`: {}",
        output.code,
        output.text()
    );
    Ok(())
}
