//! A clock that is set back while a recorder writes.

use anyhow::{Result, ensure};

use super::{check, fetch, load_until, replay, stop};
use crate::scenarios::dump::are_alike;
use crate::scenarios::faults::SIZE;
use crate::scenarios::lab::Lab;
use crate::scenarios::product::DumpEnding;
use crate::scenarios::{Method, Verdict};

/// Seconds.
const BACK: i32 = 3600;

/// The order of files, lines, times and a follower's output is the order of the events.
pub(in crate::scenarios) fn clock_set_back(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("")?;
    let file = "/run/clock.p2pt";
    let job = lab.record(file, &format!("--max-size 12K {}", method.option()))?;
    let follower = lab.guest.spawn(&format!("exec p2p-trace replay --json --follow {file}"))?;
    let card = lab.card.clone();
    let before = lab.allocate(&card, SIZE)?;
    load_until(lab, &format!("[ -s {file}.1 ]"))?;
    set_clock(lab, -BACK)?;
    load_until(lab, &format!("[ -s {file}.2 ]"))?;
    lab.command(&format!("free {}", before.handle))?;
    lab.unbind_card()?;
    stop(lab, job, file, 0, &[])?;
    let followed = lab.guest.wait(follower)?.success()?;
    set_clock(lab, BACK)?;
    lab.unload_module()?;
    let names = lab.guest.check(&format!("ls -v {file} {file}.[0-9]*"))?;
    let files = fetch(lab, &names)?;

    ensure!(files.len() > 2, "expected more than two files: {names:?}");
    let checked = check(&files, 0)?;
    ensure!(
        checked.ending == DumpEnding::Complete && checked.lost == 0 && checked.damage.is_empty(),
        "the files together: {checked:?}"
    );
    let (lines, messages) = replay(&files)?;
    ensure!(messages.is_empty(), "the replay of all files prints: {messages}");
    ensure!(are_alike(&followed, &lines)?, "the follower's output differs from the replay");
    let reversed: Vec<_> = files.iter().rev().cloned().collect();
    let (again, _) = replay(&reversed)?;
    ensure!(are_alike(&again, &lines)?, "the order of the arguments changes the replay");
    for kind in ["\"time\":\"", "\"time_ns\":"] {
        in_order(&lines, kind)?;
    }
    for one in files.chunks(1) {
        let alone = check(one, 2).or_else(|_| check(one, 0))?;
        // Each file begins with the clock of the run, not with the clock at that moment.
        ensure!(
            alone.start == checked.start,
            "{} began at {}, the run at {}",
            one[0].display(),
            alone.start,
            checked.start
        );
    }
    Ok(Verdict::Passed)
}

/// Adjusts the clock, and verifies it.
fn set_clock(lab: &mut Lab, seconds: i32) -> Result<()> {
    lab.guest.check(&format!(
        "was=$(date +%s) && date -s @$((was + {seconds})) && now=$(date +%s) && \
        [ $((now - was - {seconds})) -ge 0 ] && [ $((now - was - {seconds})) -lt 60 ]"
    ))?;
    Ok(())
}

/// Expects events in the order of their times, as far as these have the same number of digits.
fn in_order(lines: &[String], before: &str) -> Result<()> {
    let times: Vec<&str> = lines
        .iter()
        .filter(|line| line.starts_with("{\"type\":\"event\""))
        .filter_map(|line| line.split_once(before)?.1.split(['"', ',']).next())
        .collect();
    let key = |time: &&str| (time.len(), (*time).to_owned());
    ensure!(times.len() > 100, "only {} events have a time after {before}", times.len());
    ensure!(times.is_sorted_by_key(key), "{before} decreases");
    Ok(())
}
