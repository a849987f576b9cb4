//! What is left of a trace when the kernel dies of what is traced: its memory, dumped as an administrator would, and what
//! `p2p-trace recover` makes of it on the host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use super::uses::provoke_bad_access;
use crate::guest::{interrupt, programs};
use crate::scenarios::lab::Lab;
use crate::scenarios::stream::{Event, Stream};
use crate::scenarios::testmod::Taken;
use crate::scenarios::{Method, Verdict};

/// What the kernel says when it has nothing more to say.
const END: &str = "end Kernel panic";
/// How long it may take to die.
const DEATH: Duration = Duration::from_mins(2);
/// Milliseconds from the removal to the map: by then the armed hooks are attached, however slow the emulator is.
const LATER: u32 = 2000;

/// Who uses the memory after its removal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guilty {
    taken: Taken,
    pid: u32,
}

/// What was made of a core.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// The whole run, as `replay --json` tells it.
    pub(crate) stream: Stream,
    /// What `recover` said.
    pub(crate) said: Vec<String>,
    /// What `check` said.
    pub(crate) checked: Vec<String>,
}

/// The order of 2018 with a map afterwards, which the kernel does not survive: the cores of two formats tell everything.
pub(in crate::scenarios) fn post_mortem(lab: &mut Lab, method: Method) -> Result<Verdict> {
    let guilty = die(lab, &method.option())?;
    carried_out(lab)?;
    let cores = dump(lab)?;
    let mut streams = Vec::new();
    for core in &cores {
        let recovered = recover(core)?;
        judge(&recovered, &guilty, &lab.card)
            .with_context(|| format!("{}; it said: {}", core.display(), recovered.said.join(" | ")))?;
        streams.push(recovered.stream.events.len());
    }
    for core in &cores {
        fs::remove_file(core).with_context(|| format!("cannot remove {}", core.display()))?;
    }
    ensure!(
        streams.iter().all(|count| *count == streams[0]),
        "the cores tell {streams:?} events"
    );
    Ok(Verdict::Passed)
}

/// Traces, unbinds the card in the order of 2018, and has a process map its memory two seconds after its removal.
pub(crate) fn die(lab: &mut Lab, options: &str) -> Result<Guilty> {
    lab.load_driver()?;
    lab.load_module("race=1")?;
    // The dead kernel stays where it is. The firmware's device takes note of where its facts lie.
    lab.guest.check(
        "modprobe qemu_fw_cfg; cd /proc/sys/kernel && echo 1 > panic_on_oops && echo 0 > panic && echo 1 > ftrace_dump_on_oops",
    )?;
    // Where p2pdma has a function of its own for it, it dies in that, before the generic one.
    let own = lab
        .guest
        .run("grep -q ' pci_p2pdma_map_sg_attrs$' /proc/kallsyms")?
        .code
        == 0;
    let hooks = if own { HOOKS_WITH_MAPS } else { "" };
    let _trace = lab.trace("post-mortem", &format!("{options} --kmsg {hooks}"))?;
    provoke_bad_access(lab);
    lab.guest.provoke("Kernel panic");
    let taken = lab.take_mapped()?;
    let unbinding = lab.start_unbind_card()?;
    let map = lab.map(&taken);
    let user = lab.start_command(&format!("after-removal {} {LATER} {map}", taken.handle))?;
    lab.wait_sleeping(unbinding.pid, "release_late")
        .or_else(|error| {
            // It may have died in between.
            if lab.guest.console().contains("Kernel panic") {
                Ok(())
            } else {
                Err(error)
            }
        })?;
    let deadline = Instant::now() + DEATH;
    while !lab.guest.console().contains(END) {
        interrupt::check()?;
        ensure!(
            Instant::now() < deadline,
            "the kernel did not die of a map of removed memory"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(Guilty { taken, pid: user.pid })
}

/// What the serial console has carried out of the dying kernel, without any memory dump.
fn carried_out(lab: &Lab) -> Result<()> {
    let console = lab.guest.console();
    for line in console.lines().filter(|line| line.contains("p2p-trace: ")) {
        println!("    {line}");
    }
    ensure!(
        console.contains(TRACED),
        "the serial console does not have `{TRACED}`"
    );
    Ok(())
}

/// What the kernel side writes into the kernel's trace, which the kernel prints when it dies.
const TRACED: &str = "p2p-trace: use-after-removal: maps";

/// Those that the teardown needs, and maps.
const HOOKS_WITH_MAPS: &str = "--hook add_resource --hook memremap --hook publish --hook alloc --hook free --hook unbind \
                               --hook unbound --hook memremap_release --hook kill --hook drained --hook remove \
                               --hook unmapped --hook release --hook released --hook map_sg --hook dma_map_sg";

/// Dumps the memory of the dead guest, as ELF and kdump-compressed.
pub(crate) fn dump(lab: &mut Lab) -> Result<[PathBuf; 2]> {
    lab.guest.qmp().execute("stop", json!({}))?;
    let folder = lab
        .guest
        .log()
        .canonicalize()
        .context("the guest has no folder for its logs")?;
    let elf = folder.join("core.elf");
    let kdump = folder.join("core.kdump");
    for (path, format) in [(&elf, None), (&kdump, Some("kdump-zlib"))] {
        let mut arguments = json!({ "paging": false, "protocol": format!("file:{}", path.display()) });
        if let Some(format) = format {
            arguments["format"] = json!(format);
        }
        lab.guest.qmp().execute("dump-guest-memory", arguments)?;
    }
    Ok([elf, kdump])
}

/// Runs `recover`, `check` and `replay` on the host.
pub(crate) fn recover(core: &Path) -> Result<Recovered> {
    let dump = core.with_extension("p2pt");
    let (code, _, said) = run(&["recover", &text(core), "-o", &text(&dump)])?;
    ensure!(code == 0, "recover ended with {code}: {}", said.join(" | "));
    let (code, checked, errors) = run(&["check", &text(&dump)])?;
    ensure!(
        code == 1,
        "check ended with {code}: {} {}",
        checked.join(" | "),
        errors.join(" | ")
    );
    let (code, lines, errors) = run(&["replay", "--json", &text(&dump)])?;
    ensure!(code == 0, "replay ended with {code}: {}", errors.join(" | "));
    Ok(Recovered {
        stream: Stream::parse(&lines)?,
        said,
        checked,
    })
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Runs the tracer that the guest has, on this machine.
fn run(arguments: &[&str]) -> Result<(i32, Vec<String>, Vec<String>)> {
    let program = programs::built(&crate::workspace(), "p2p-trace");
    let output = Command::new(&program)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let lines = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes)
            .lines()
            .map(str::to_owned)
            .collect()
    };
    let code = output.status.code().context("p2p-trace was killed")?;
    Ok((code, lines(&output.stdout), lines(&output.stderr)))
}

/// Expects everything that the kernel side had begun, and both verdicts with whoever did it.
fn judge(recovered: &Recovered, guilty: &Guilty, card: &str) -> Result<()> {
    let Recovered { stream, said, .. } = recovered;
    let all = said.iter().any(|line| line.contains("each of them is here"));
    ensure!(
        all,
        "not every record that the kernel side had begun was recovered"
    );
    let remove = stream.first("remove")?;
    let Some(used) = stream.events.iter().rfind(|event| event.kind == "map") else {
        bail!("the map that killed the kernel is not in the core");
    };
    let Event {
        pid,
        comm,
        caller,
        time_ns,
        ..
    } = used;
    ensure!(
        *time_ns > remove.time_ns
            && *pid == Some(guilty.pid)
            && comm.as_deref() == Some("sh")
            && caller.is_some(),
        "the last map is {used:?}, not that of {guilty:x?}"
    );
    ensure!(
        used.page.is_some() || used.physical.is_some(),
        "the map has no page: {used:?}"
    );
    ensure!(
        used.device.as_deref() == Some(card),
        "the map is not known to be of {card}: {used:?}"
    );
    for rule in ["removed-before-drained", "use-after-removal"] {
        let verdict = stream.verdict(card, rule)?;
        ensure!(verdict.answer == "violated", "{rule} is {verdict:?}");
    }
    let alloc = stream
        .of_kind("alloc")
        .find(|event| event.tgid == Some(guilty.taken.pid));
    ensure!(alloc.is_some(), "who took the memory is not in the core");
    Ok(())
}
