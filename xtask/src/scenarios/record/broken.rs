//! A disk that returns errors for a while.

use anyhow::Result;

use super::{fetch, load, load_until, lost_in_the_middle, stop};
use crate::scenarios::lab::Lab;
use crate::scenarios::{Method, Verdict};

/// The disk, in the memory of the guest's kernel (`null_blk`).
const DISK: &str = "nullb0";
/// Its folder in configfs.
const SETUP: &str = "/sys/kernel/config/nullb/nullb0";
/// Its mount point.
const MOUNT: &str = "/run/broken";
/// All of its sectors of 512 bytes.
const SECTORS: &str = "0-65535";
/// Loads while no write succeeds: far more than the one page that may have both a good and a failed write.
const LOADS: u32 = 5;

/// The error is reported although no urgent record is written, the exit code reflects it, and the written
/// records can be read.
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
    let messages = "/run/broken.stderr";
    lab.guest.check(&format!("ln -s {messages} {file}.stderr"))?;
    let job = lab.record(&file, &method.option())?;
    load(lab)?;
    // Earlier data is on the disk, including the directory entry.
    lab.guest.check("sleep 2; sync")?;

    lab.guest.check(&format!("echo +{SECTORS} > {SETUP}/badblocks"))?;
    for _ in 0..LOADS {
        load(lab)?;
    }
    lab.wait_for(&format!("grep -q 'tracing continues' {messages}"))?;
    lab.guest.check(&format!("echo -{SECTORS} > {SETUP}/badblocks"))?;
    load_until(lab, "true")?;
    lab.unbind_card()?;
    stop(lab, job, &file, 3, &["cannot write the dump", "Input/output error", "is not complete"])?;
    lab.unload_module()?;
    // Pages in the kernel's cache need not be on the disk.
    lab.guest.check(&format!("umount {MOUNT} && mount -t ext4 /dev/{DISK} {MOUNT}"))?;
    let files = fetch(lab, &[file])?;
    lab.guest
        .check(&format!("umount {MOUNT} && echo 0 > {SETUP}/power && rmdir {SETUP} && rmmod null_blk"))?;

    lost_in_the_middle(&files)?;
    Ok(Verdict::Passed)
}
