//! Tests on a `/proc` that is laid out in a folder.

use std::os::unix::fs::symlink;

use p2p_trace_model::event::DeviceAddress;

use super::*;
use crate::testing::procfs::{VFIO_UNBIND_STACK, plant, plant_stack, plant_task};

fn planted(folder: &Path) -> KernelRoot {
    let root = KernelRoot::at(folder);
    plant(&root);
    root
}

#[test]
fn liveness_distinguishes_alive_exited_and_replaced_processes() {
    let folder = tempfile::tempdir().unwrap();
    let root = planted(folder.path());
    let tasks = Tasks::new(root.clone());
    assert_eq!(tasks.hidden(), None);
    assert_eq!(tasks.liveness(726, 4_000_000_000), Liveness::Alive);
    assert_eq!(tasks.liveness(726, 3_999_999_999), Liveness::Exited, "it started later");
    assert_eq!(tasks.liveness(727, u64::MAX), Liveness::Exited);
    assert_eq!(tasks.liveness(0, 1), Liveness::Alive, "the idle task");
    plant_task(&root, 800, 800, "zombie", 'Z', 1);
    assert_eq!(tasks.liveness(800, u64::MAX), Liveness::Exited);
    plant_task(&root, 800, 801, "worker", 'S', 1);
    assert_eq!(tasks.liveness(800, u64::MAX), Liveness::Alive, "another thread is running");
    fs::create_dir_all(root.proc.join("900")).unwrap();
    assert_eq!(tasks.liveness(900, u64::MAX), Liveness::Unknown);
}

#[test]
fn liveness_is_unknown_if_processes_are_hidden() {
    let folder = tempfile::tempdir().unwrap();
    let root = planted(folder.path());
    let hidden = || {
        let tasks = Tasks::new(root.clone());
        let liveness = [tasks.liveness(726, u64::MAX), tasks.liveness(999, u64::MAX)];
        assert_eq!(liveness, [Liveness::Unknown; 2]);
        assert_eq!(tasks.scan(StackScope::Waiting).gaps, [Gap::Hidden(tasks.hidden().unwrap())]);
        tasks.hidden().unwrap()
    };
    let offsets = root.proc.join("self/timens_offsets");
    fs::write(&offsets, "monotonic           0         0\nboottime         3600         0\n").unwrap();
    assert_eq!(hidden(), Hidden::TimeNamespace);
    fs::write(&offsets, "monotonic           0         0\nboottime            0         0\n").unwrap();
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
fn reads_state_and_stack_of_a_task() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = Tasks::new(planted(folder.path()));
    assert_eq!((tasks.state(726, 727), tasks.state(726, 728)), (Some('D'), None));
    let stack = tasks.stack(735, 735).unwrap();
    assert_eq!(stack[0].to_string(), "memunmap_pages+0x87");
    assert_eq!(tasks.stack(1, 2), Err(StackError::Absent));
}

#[test]
fn scan_finds_mappings_and_waiting_tasks() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = Tasks::new(planted(folder.path()));
    let scan = tasks.scan(StackScope::Waiting);
    assert!(scan.gaps.is_empty(), "{:?}", scan.gaps);
    let [mapping] = &scan.mappings[..] else { panic!("{:?}", scan.mappings) };
    assert_eq!(mapping.device, DeviceAddress::from_devfn(0, 3, 0));
    assert_eq!((mapping.task.to_string().as_str(), mapping.bytes), ("p2pdio[726]", 65536));
    let [reader, unbinder] = &scan.waiting[..] else { panic!("{:?}", scan.waiting) };
    assert_eq!((reader.task.pid, reader.unbinds), (727, None));
    assert_eq!(reader.hint.as_ref().map(|hint| hint.part_of), Some("direct I/O"));
    assert_eq!((unbinder.task.pid, unbinder.unbinds), (735, Some(UnbindStep::WaitForDrain)));
}

#[test]
fn scan_finds_unbinds_in_any_state() {
    let folder = tempfile::tempdir().unwrap();
    let root = planted(folder.path());
    plant_task(&root, 178, 178, "sh", 'S', 300);
    plant_stack(&root, 178, 178, VFIO_UNBIND_STACK);
    let unbinding = |scope| {
        let scan = Tasks::new(root.clone()).scan(scope);
        assert!(scan.gaps.is_empty() && scan.waiting.len() == 2, "{scan:?}");
        scan.unbinding.iter().map(|unbinding| (unbinding.task.pid, unbinding.step)).collect::<Vec<_>>()
    };
    assert_eq!(unbinding(StackScope::Waiting), [(735, UnbindStep::WaitForDrain)]);
    let both = [(178, UnbindStep::WaitForVfioUsers), (735, UnbindStep::WaitForDrain)];
    assert_eq!(unbinding(StackScope::All), both);
}

#[test]
fn a_missing_stack_is_a_gap_unless_the_task_vanished() {
    let folder = tempfile::tempdir().unwrap();
    let root = planted(folder.path());
    fs::remove_file(root.proc.join("735/task/735/stack")).unwrap();
    fs::remove_dir_all(root.proc.join("736/task/736")).unwrap();
    let gaps = Tasks::new(root).scan(StackScope::Waiting).gaps;
    let expected = Gap::Stacks { count: 1, error: StackError::Absent };
    assert_eq!(gaps, [expected]);
}
