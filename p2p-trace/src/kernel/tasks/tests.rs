//! A `/proc` laid out in a folder.

use std::os::unix::fs::symlink;

use p2p_trace_model::event::DeviceAddress;

use super::*;

/// The kernel stack of an unbind that waits in Linux 7.3.
pub(crate) const UNBIND_STACK: &str = "[<0>] memunmap_pages+0x87/0x250\n[<0>] release_nodes+0x36/0xb0\n\
    [<0>] devres_release_all+0x8c/0xe0\n[<0>] device_unbind_cleanup+0xe/0x70\n\
    [<0>] device_release_driver_internal+0x1cc/0x200\n[<0>] unbind_store+0xa1/0xb0\n\
    [<0>] kernfs_fop_write_iter+0x14a/0x210\n[<0>] vfs_write+0x25d/0x480\n";

/// The one of a synchronous read with `O_DIRECT`.
const READ_STACK: &str = "[<0>] blk_io_schedule+0x1/0x20\n[<0>] __blkdev_direct_IO_simple+0x1c2/0x330\n\
    [<0>] blkdev_read_iter+0xb5/0x150\n[<0>] vfs_read+0x1/0x2\n";

const MAPS: &str = "7f04559a7000-7f04559b7000 rw-s 00000000 00:15 9124       \
    /sys/devices/pci0000:00/0000:00:1c.0/0000:03:00.0/p2pmem/allocate\n";

/// Adds a task; it is the first of its process where the numbers are the same.
pub(crate) fn plant_task(root: &KernelRoot, tgid: u32, pid: u32, comm: &str, state: char, start_ticks: u64) {
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

pub(crate) fn plant_stack(root: &KernelRoot, tgid: u32, pid: u32, stack: &str) {
    fs::write(root.proc.join(format!("{tgid}/task/{pid}/stack")), stack).unwrap();
}

/// A reader in direct I/O into memory of `0000:03:00.0`, a shell that unbinds that device, and others.
pub(crate) fn plant(root: &KernelRoot) {
    fs::create_dir_all(root.proc.join("self/ns")).unwrap();
    symlink(INITIAL_PID_NAMESPACE, root.proc.join("self/ns/pid")).unwrap();
    plant_task(root, 1, 1, "init", 'S', 1);
    plant_task(root, 726, 726, "p2pdio", 'S', 400);
    plant_task(root, 726, 727, "p2pdio", 'D', 401);
    plant_task(root, 735, 735, "sh", 'D', 415);
    plant_task(root, 736, 736, "dd", 'D', 416);
    plant_stack(root, 726, 727, READ_STACK);
    plant_stack(root, 735, 735, UNBIND_STACK);
    plant_stack(root, 736, 736, "[<0>] folio_wait_bit+0x1/0x2\n");
    fs::write(root.proc.join("726/maps"), MAPS).unwrap();
}

fn planted(folder: &Path) -> KernelRoot {
    let root = KernelRoot::at(folder);
    plant(&root);
    root
}

#[test]
fn a_process_is_alive_gone_or_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let root = planted(folder.path());
    let tasks = Tasks::new(root.clone());
    assert_eq!(tasks.hidden(), None);
    assert_eq!(tasks.liveness(726, 4_000_000_000), Liveness::Alive);
    assert_eq!(
        tasks.liveness(726, 3_999_999_999),
        Liveness::Gone,
        "it started later"
    );
    assert_eq!(tasks.liveness(727, u64::MAX), Liveness::Gone);
    assert_eq!(tasks.liveness(0, 1), Liveness::Alive, "the idle task");
    plant_task(&root, 800, 800, "zombie", 'Z', 1);
    assert_eq!(tasks.liveness(800, u64::MAX), Liveness::Gone);
    plant_task(&root, 800, 801, "worker", 'S', 1);
    assert_eq!(
        tasks.liveness(800, u64::MAX),
        Liveness::Alive,
        "another thread goes on"
    );
    fs::create_dir_all(root.proc.join("900")).unwrap();
    assert_eq!(tasks.liveness(900, u64::MAX), Liveness::Unknown);
}

#[test]
fn where_processes_are_hidden_nothing_is_said_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let root = planted(folder.path());
    let hidden = || {
        let tasks = Tasks::new(root.clone());
        let liveness = [tasks.liveness(726, u64::MAX), tasks.liveness(999, u64::MAX)];
        assert_eq!(liveness, [Liveness::Unknown; 2]);
        assert_eq!(tasks.scan().gaps, [Gap::Hidden(tasks.hidden().unwrap())]);
        tasks.hidden().unwrap()
    };
    let offsets = root.proc.join("self/timens_offsets");
    fs::write(
        &offsets,
        "monotonic           0         0\nboottime         3600         0\n",
    )
    .unwrap();
    assert_eq!(hidden(), Hidden::TimeNamespace);
    fs::write(
        &offsets,
        "monotonic           0         0\nboottime            0         0\n",
    )
    .unwrap();
    assert_eq!(Tasks::new(root.clone()).hidden(), None);
    fs::remove_file(root.proc.join("1/stat")).unwrap();
    assert_eq!(hidden(), Hidden::Hidepid);
    let namespace = root.proc.join("self/ns/pid");
    fs::remove_file(&namespace).unwrap();
    assert_eq!(hidden(), Hidden::NoProc);
    symlink("pid:[4026532201]", &namespace).unwrap();
    assert_eq!(hidden(), Hidden::PidNamespace);
}

#[test]
fn a_task_has_a_cgroup_a_state_and_a_stack() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = Tasks::new(planted(folder.path()));
    assert_eq!(tasks.cgroup(726).as_deref(), Some("/system.slice/test.service"));
    assert_eq!((tasks.state(726, 727), tasks.state(726, 728)), (Some('D'), None));
    let stack = tasks.stack(735, 735).unwrap();
    assert_eq!(stack[0].to_string(), "memunmap_pages+0x87");
    assert_eq!(tasks.stack(1, 1), Err(StackError::Absent));
}

#[test]
fn a_scan_finds_who_may_have_to_do_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = Tasks::new(planted(folder.path()));
    let scan = tasks.scan();
    assert!(scan.gaps.is_empty(), "{:?}", scan.gaps);
    let [mapping] = &scan.mappings[..] else {
        panic!("{:?}", scan.mappings)
    };
    assert_eq!(mapping.device, DeviceAddress::from_devfn(0, 3, 0));
    assert_eq!(
        (mapping.task.to_string().as_str(), mapping.bytes),
        ("p2pdio[726]", 65536)
    );
    let [reader, unbinder] = &scan.waiting[..] else {
        panic!("{:?}", scan.waiting)
    };
    assert_eq!((reader.task.pid, reader.unbinds), (727, None));
    assert_eq!(reader.hint.as_ref().map(|hint| hint.part_of), Some("direct I/O"));
    assert_eq!(
        (unbinder.task.pid, unbinder.unbinds),
        (735, Some(UnbindStep::WaitForDrain))
    );
}

#[test]
fn a_stack_that_is_not_there_is_a_gap_and_a_task_that_vanished_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let root = planted(folder.path());
    fs::remove_file(root.proc.join("735/task/735/stack")).unwrap();
    fs::remove_dir_all(root.proc.join("736/task/736")).unwrap();
    let gaps = Tasks::new(root).scan().gaps;
    let expected = Gap::Stacks {
        count: 1,
        error: StackError::Absent,
    };
    assert_eq!(gaps, [expected]);
}
