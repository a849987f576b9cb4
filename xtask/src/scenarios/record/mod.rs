//! Recordings with faults of the recorder or its disk, read afterwards on the host: no verdict may go beyond
//! the run's evidence.

mod broken;
mod clock;
mod disk;
mod flight;
mod killed;
mod power;
mod rotated;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::{
    dump,
    lab::Lab,
    product::{CheckReport, DumpEnding},
};
use crate::guest::{Job, Output};

pub(super) use broken::broken_disk;
pub(super) use clock::clock_set_back;
pub(super) use disk::{full_disk, vanished};
pub(super) use flight::flight;
pub(super) use killed::killed;
pub(super) use power::power_loss;
pub(super) use rotated::rotated;

/// Runs the tracer on files of one run.
fn read(command: &str, files: &[PathBuf]) -> Result<Output> {
    let words = [command, "--json"].into_iter().map(OsStr::new);
    dump::tracer(words.chain(files.iter().map(|file| file.as_os_str())))
}

/// Checks files of one run, and expects this exit code.
fn check(files: &[PathBuf], code: i32) -> Result<CheckReport> {
    let output = read("check", files)?;
    ensure!(
        output.code == code && output.out.len() == 1,
        "check of {files:?} exited with {}, not {code}: {}",
        output.code,
        output.text()
    );
    serde_json::from_str(&output.out[0]).context("the output of check does not match its schema")
}

/// Replays files of one run as JSON; returns the lines, and the messages about the files.
fn replay(files: &[PathBuf]) -> Result<(Vec<String>, String)> {
    let Output { code, out, err } = read("replay", files)?;
    let err = err.join("\n");
    ensure!(code == 0, "replay of {files:?} exited with {code}: {err}");
    Ok((out, err))
}

/// Moves files from the guest to the folder of its logs.
fn fetch(lab: &mut Lab, files: &[String]) -> Result<Vec<PathBuf>> {
    let folder = lab.guest.log().to_owned();
    files
        .iter()
        .map(|file| {
            let name = Path::new(file).file_name().and_then(OsStr::to_str);
            let name = name.context("a file without a name")?;
            let to = folder.join(name);
            dump::fetch(&mut lab.guest, file, &to)?;
            lab.keep_dump(&to, name)?;
            Ok(to)
        })
        .collect()
}

/// Allocates and frees memory.
fn load(lab: &mut Lab) -> Result<()> {
    let card = lab.card.clone();
    lab.command(&format!("load {card} 4096 1000")).map(drop)
}

/// Allocates and frees until a shell command succeeds.
fn load_until(lab: &mut Lab, command: &str) -> Result<()> {
    let card = lab.card.clone();
    lab.wait_for(&format!("{{ echo load {card} 4096 1000 > /dev/p2ptest; {command}; }}"))
}

/// Waits until a file is larger than this.
fn wait_size(lab: &mut Lab, file: &str, bytes: u32) -> Result<()> {
    lab.wait_for(&format!("[ $(wc -c < {file}) -gt {bytes} ]"))
}

/// Stops a recorder and expects this exit code and these words on stderr.
fn stop(lab: &mut Lab, job: Job, file: &str, code: i32, words: &[&str]) -> Result<()> {
    let ended = lab.interrupt(job)?;
    let stderr = lab.guest.check(&format!("cat {file}.stderr"))?.join("\n");
    ensure!(
        ended.code == code && words.iter().all(|words| stderr.contains(words)),
        "the recorder exited with {} and printed: {stderr}; expected {code} and {words:?}",
        ended.code
    );
    ensure!(code != 0 || stderr.is_empty(), "the recorder printed errors: {stderr}");
    Ok(())
}

/// Expects a complete dump that counts unwritten records as lost, between the records before and after.
fn lost_in_the_middle(files: &[PathBuf]) -> Result<()> {
    let checked = check(files, 2)?;
    ensure!(
        checked.ending == DumpEnding::Complete && checked.findings.is_empty() && checked.lost > 0,
        "{checked:?}"
    );
    let (lines, _) = replay(files)?;
    let place = |words: &str| lines.iter().position(|line| line.contains(words));
    let (alloc, lost, kill) =
        (place("\"kind\":\"alloc\""), place("\"reason\":\"damaged\""), place("\"kind\":\"kill\""));
    ensure!(
        alloc.is_some() && alloc < lost && lost < kill,
        "an allocation is at {alloc:?}, the loss at {lost:?}, and the kill at {kill:?}"
    );
    Ok(())
}
