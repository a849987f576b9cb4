//! A `/proc` laid out in a folder.

use std::{fs, os::unix::fs::symlink};

use crate::kernel::{KernelRoot, tasks::INITIAL_PID_NAMESPACE};

/// The kernel stack of a blocked unbind in Linux 7.3.
pub const UNBIND_STACK: &str = "[<0>] memunmap_pages+0x87/0x250\n[<0>] release_nodes+0x36/0xb0\n\
    [<0>] devres_release_all+0x8c/0xe0\n[<0>] device_unbind_cleanup+0xe/0x70\n\
    [<0>] device_release_driver_internal+0x1cc/0x200\n[<0>] unbind_store+0xa1/0xb0\n\
    [<0>] kernfs_fop_write_iter+0x14a/0x210\n[<0>] vfs_write+0x25d/0x480\n";

/// The kernel stack of an unbind of vfio-pci, which waits interruptibly until the device is closed.
pub const VFIO_UNBIND_STACK: &str = "[<0>] vfio_unregister_group_dev+0x99/0x140 [vfio]\n\
    [<0>] vfio_pci_core_unregister_device+0x15/0x50 [vfio_pci_core]\n\
    [<0>] vfio_pci_remove+0x12/0x20 [vfio_pci]\n[<0>] pci_device_remove+0x42/0xb0\n\
    [<0>] device_release_driver_internal+0x19b/0x200\n[<0>] unbind_store+0xa1/0xb0\n";

/// The kernel stack of a synchronous read with `O_DIRECT`.
const READ_STACK: &str = "[<0>] blk_io_schedule+0x1/0x20\n[<0>] __blkdev_direct_IO_simple+0x1c2/0x330\n\
    [<0>] blkdev_read_iter+0xb5/0x150\n[<0>] vfs_read+0x1/0x2\n";

const MAPS: &str = "7f04559a7000-7f04559b7000 rw-s 00000000 00:15 9124       \
    /sys/devices/pci0000:00/0000:00:1c.0/0000:03:00.0/p2pmem/allocate\n";

/// Adds a task. If both ids are the same, it is the first thread of its process.
pub fn plant_task(root: &KernelRoot, tgid: u32, pid: u32, comm: &str, state: char, start_ticks: u64) {
    let stat = format!("{pid} ({comm}) {state} 1{} {start_ticks} 0 0\n", " 0".repeat(17));
    let process = root.proc.join(tgid.to_string());
    let thread = process.join("task").join(pid.to_string());
    fs::create_dir_all(&thread).unwrap();
    fs::write(thread.join("stat"), &stat).unwrap();
    if tgid == pid {
        fs::write(process.join("stat"), &stat).unwrap();
        fs::write(process.join("maps"), "").unwrap();
        fs::write(process.join("cgroup"), "0::/system.slice/test.service\n").unwrap();
    }
}

pub fn plant_stack(root: &KernelRoot, tgid: u32, pid: u32, stack: &str) {
    fs::write(root.proc.join(format!("{tgid}/task/{pid}/stack")), stack).unwrap();
}

/// Adds a task in direct I/O into memory of `0000:03:00.0`, a shell that unbinds that device, and other tasks.
pub fn plant(root: &KernelRoot) {
    fs::create_dir_all(root.proc.join("self/ns")).unwrap();
    symlink(INITIAL_PID_NAMESPACE, root.proc.join("self/ns/pid")).unwrap();
    plant_task(root, 1, 1, "init", 'S', 1);
    plant_task(root, 726, 726, "p2pdio", 'S', 400);
    plant_task(root, 726, 727, "p2pdio", 'D', 401);
    plant_task(root, 735, 735, "sh", 'D', 415);
    plant_task(root, 736, 736, "dd", 'D', 416);
    for (tgid, pid) in [(1, 1), (726, 726)] {
        plant_stack(root, tgid, pid, "[<0>] do_epoll_wait+0x1/0x2\n");
    }
    plant_stack(root, 726, 727, READ_STACK);
    plant_stack(root, 735, 735, UNBIND_STACK);
    plant_stack(root, 736, 736, "[<0>] folio_wait_bit+0x1/0x2\n");
    fs::write(root.proc.join("726/maps"), MAPS).unwrap();
}
