//! A disk that answers with errors for a while.

use anyhow::Result;

use super::{fetch, load, load_until, lost_in_the_middle, stop};
use crate::scenarios::lab::Lab;
use crate::scenarios::{Method, Verdict};

/// The disk, in the memory of the guest's kernel (`null_blk`).
const DISK: &str = "nullb0";
/// Where it is set up.
const SETUP: &str = "/sys/kernel/config/nullb/nullb0";
/// Where it is mounted.
const MOUNT: &str = "/run/broken";
/// All its sectors of 512 bytes.
const SECTORS: &str = "0-65535";
/// Loads while nothing can be written: far more than the page that both a good and a bad write may be in.
const LOADS: u32 = 5;

/// The error is told though nobody writes anything urgent, and the exit code tells of it; what could be written is read.
pub(in crate::scenarios) fn broken_disk(lab: &mut Lab, method: Method) -> Result<Verdict> {
    if lab.guest.run("modprobe null_blk nr_devices=0 && modprobe ext4")?.code != 0 {
        return Ok(Verdict::skipped("this kernel has no null_blk, or no ext4"));
    }
    lab.load_module("")?;
    lab.guest.check(&format!(
        "mkdir -p {MOUNT} && mount -t configfs config /sys/kernel/config && mkdir {SETUP} && cd {SETUP} && \
         echo 32 > size && echo 512 > blocksize && echo 1 > memory_backed && echo 1 > power"
    ))?;
    lab.wait_for(&format!("[ -b /dev/{DISK} ]"))?;
    lab.guest
        .check(&format!("mke2fs -b 4096 /dev/{DISK} > /dev/null && mount -t ext4 /dev/{DISK} {MOUNT}"))?;
    let file = format!("{MOUNT}/broken.p2pt");
    let said = "/run/broken.said";
    lab.guest.check(&format!("ln -s {said} {file}.said"))?;
    let job = lab.record(&file, &method.option())?;
    load(lab)?;
    // What came before is on the disk, the folder among it.
    lab.guest.check("sleep 2; sync")?;

    lab.guest.check(&format!("echo +{SECTORS} > {SETUP}/badblocks"))?;
    for _ in 0..LOADS {
        load(lab)?;
    }
    lab.wait_for(&format!("grep -q 'tracing goes on' {said}"))?;
    lab.guest.check(&format!("echo -{SECTORS} > {SETUP}/badblocks"))?;
    load_until(lab, "true")?;
    lab.unbind_card()?;
    stop(lab, job, &file, 3, &["cannot write the dump", "Input/output error", "is not complete"])?;
    lab.unload_module()?;
    // What the kernel still remembers need not be on the disk.
    lab.guest.check(&format!("umount {MOUNT} && mount -t ext4 /dev/{DISK} {MOUNT}"))?;
    let files = fetch(lab, &[file])?;
    lab.guest
        .check(&format!("umount {MOUNT} && echo 0 > {SETUP}/power && rmdir {SETUP} && rmmod null_blk"))?;

    lost_in_the_middle(&files)?;
    Ok(Verdict::Passed)
}
