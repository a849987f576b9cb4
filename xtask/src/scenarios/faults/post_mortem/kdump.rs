//! A dump as a production machine makes it: a crash kernel, loaded beforehand, takes over after the first
//! kernel's death and saves its memory from `/proc/vmcore`, both unchanged and through makedumpfile.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::crash_sinks::{self, CrashSinks};
use super::host::{Recovered, of_dump, recover};
use super::{checks, map_removed, remove_in_use};
use crate::guest::{HOST_TAG, OUT_TAG, makedumpfile};
use crate::scenarios::lab::Lab;
use crate::scenarios::{Method, Verdict, dump};

/// Mount point of the host's files in the guest.
const HOST: &str = "/host";
/// Command line of the crash kernel: few drivers cope with the state that the first kernel left, and one CPU
/// is enough (Linux: Documentation/admin-guide/kdump/kdump.rst).
const APPEND: &str = "console=ttyS0 panic=-1 loglevel=5 cryptomgr.notests=1 nr_cpus=1 irqpoll reset_devices";

/// The path in its tree; it prints errors only.
const MAKEDUMPFILE: &str = "/usr/bin/makedumpfile --message-level 4";
/// The dumps: a file each, and makedumpfile's options for it; without options, the file is the unchanged
/// memory. `-d 31` omits as much as possible: zero pages, page cache, user pages and free pages.
const DUMPS: [(&str, Option<&str>); 6] = [
    ("vmcore.elf", None),
    ("vmcore.zlib", Some("-d 31 -c")),
    ("vmcore.lzo", Some("-d 31 -l")),
    ("vmcore.zstd", Some("-d 31 -z")),
    ("vmcore.flat", Some("-d 31 -c -F")),
    ("vmcore.filtered.elf", Some("-d 31 -E")),
];

/// The order of 2018 followed by a mapping, with a crash kernel loaded: its dump has all records, in every
/// form.
pub(in crate::scenarios) fn kdump(lab: &mut Lab, method: Method) -> Result<Verdict> {
    let tree = makedumpfile::tree()?;
    let crash_sinks = crash_sinks::open(lab)?;
    load_crash_kernel(lab)?;
    let allocated = remove_in_use(lab, &format!("{} --kmsg", method.option()), |_, _, _| Ok(()))?;
    // A finding that is not sent before the crash kernel takes over may be lost.
    crash_sinks.wait_finding(&lab.guest)?;
    let fatal = map_removed(lab, allocated)?;
    lab.guest.wait_next_kernel().context("the crash kernel did not come up")?;
    CrashSinks::print_last_words(&lab.guest);
    let kept = crash_sinks.kept(&mut lab.guest)?;
    ensure!(
        kept.is_empty(),
        "{} lines of the first kernel are stored, which only crash_kexec_post_notifiers should do",
        kept.len()
    );
    let cores = save(lab, &tree)?;
    let in_crash_kernel = recover_in_crash_kernel(lab)?;
    let mut counts = Vec::new();
    let mut check = |source: &str, recovered: Recovered| {
        checks::complete(&recovered, &fatal, &lab.card)
            .with_context(|| format!("{source}; recover printed: {}", recovered.messages.join(" | ")))?;
        counts.push(recovered.stream.events.len());
        anyhow::Ok(())
    };
    for core in &cores {
        let recovered = recover(core, None).with_context(|| core.display().to_string())?;
        check(&core.display().to_string(), recovered)?;
    }
    check("/proc/vmcore", in_crash_kernel)?;
    ensure!(counts.iter().all(|count| *count == counts[0]), "the numbers of events differ: {counts:?}");
    Ok(Verdict::Passed)
}

/// Loads the guest's own kernel and root file system into the reserved memory.
fn load_crash_kernel(lab: &mut Lab) -> Result<()> {
    let [image, initramfs] = lab.guest.booted_from()?;
    lab.guest.check(&format!(
        "{} && p2pkexec --kernel {HOST}{} --initramfs {HOST}{} --append '{APPEND}' && umount {HOST} && \
         grep -q 1 /sys/kernel/kexec_crash_loaded",
        mount_host(),
        image.display(),
        initramfs.display()
    ))?;
    Ok(())
}

/// The command that mounts the host's files read-only.
fn mount_host() -> String {
    format!(
        "mkdir -p {HOST} && modprobe 9pnet_virtio && modprobe 9p && \
         mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144,cache=loose {HOST_TAG} {HOST}"
    )
}

/// In the crash kernel: saves the first kernel's memory in every form.
fn save(lab: &mut Lab, tree: &Path) -> Result<Vec<PathBuf>> {
    let tree = format!("{HOST}{}", tree.display());
    lab.guest.check(&format!(
        "{} && for d in proc dev sys tmp; do mount -o bind /$d {tree}/$d; done && \
         mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 {OUT_TAG} {tree}/mnt",
        mount_host()
    ))?;
    let mut cores = Vec::new();
    for (name, options) in DUMPS {
        let to = format!("{tree}/mnt/{name}");
        let command = match options {
            None => format!("dd if=/proc/vmcore of={to} bs=1M"),
            Some(options) if options.ends_with("-F") => {
                format!("chroot {tree} {MAKEDUMPFILE} {options} /proc/vmcore > {to}")
            }
            Some(options) => format!("chroot {tree} {MAKEDUMPFILE} {options} /proc/vmcore /mnt/{name}"),
        };
        lab.guest.check(&command)?;
        cores.push(lab.guest.log().join(name));
    }
    Ok(cores)
}

/// In the crash kernel, where there is no room for a dump: recovers only the records, straight from the first
/// kernel's memory.
fn recover_in_crash_kernel(lab: &mut Lab) -> Result<Recovered> {
    const TO: &str = "/run/crash.p2pt";
    let output = lab.guest.run(&format!("p2p-trace recover /proc/vmcore -o {TO}"))?;
    ensure!(output.code == 0, "in the crash kernel, recover exited with {}: {}", output.code, output.text());
    let kept = lab.guest.log().join("crash.p2pt");
    dump::copy(&mut lab.guest, TO, &kept)?;
    of_dump(kept, output.err)
}
