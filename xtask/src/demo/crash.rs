//! `cargo xtask demo --crash`: from the panic to the verdict.

use std::process::ExitCode;

use anyhow::Result;

use super::show_command;
use crate::scenarios::faults::post_mortem::{die, dump_memory, recover};
use crate::scenarios::lab::Lab;

/// The lines of the console that explain the crash. The lines between them are registers and stacks, and
/// those after them the panic's own dump of a trace that the oops has printed already: `(ftrace buffer
/// empty)`.
const LAST_WORDS: [&str; 6] = ["p2p-trace: ", "BUG: ", "Oops: ", " Comm: ", "RIP: 0010", "Kernel panic"];

/// Makes the kernel die of a use of removed memory, dumps its memory, and shows what the dump contains.
pub(super) fn show(mut lab: Lab, attach: &str) -> Result<ExitCode> {
    show_command(format!("p2p-trace live {attach}").trim_end());
    show_command(
        "echo CARD > unbind    # its pages are removed while they are allocated; two seconds later a process maps one",
    );
    die(&mut lab, &format!("--kmsg {attach}"), |_, _, _| Ok(()))?;
    println!("Relevant lines of the serial console:");
    for line in last_words(&lab.guest.console()) {
        println!("  {line}");
    }
    println!("The kernel is dead, and the tracer with it.");
    let [elf, _] = dump_memory(&mut lab)?;
    show_command("p2p-trace recover core.elf -o crash.p2pt");
    let recovered = recover(&elf, None)?;
    for line in &recovered.messages {
        println!("  {line}");
    }
    show_command("p2p-trace check crash.p2pt");
    for line in &recovered.checked {
        println!("  {line}");
    }
    lab.guest.discard()?;
    Ok(ExitCode::SUCCESS)
}

/// The dying kernel's messages that explain the crash.
fn last_words(console: &str) -> Vec<&str> {
    console
        .lines()
        .map(str::trim_end)
        .filter(|line| LAST_WORDS.iter().any(|words| line.contains(words)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn omits_registers_and_an_empty_trace() {
        let console = "[ 1.0] p2p-trace: removed-before-drained of x\r\n[ 2.0] RAX: 0\r\n\
                       [ 2.1] <...>-299 11 us : bpf_trace_printk: p2p-trace: use-after-removal: maps y\r\n\
                       [ 2.2] Dumping ftrace buffer:\r\n[ 2.3]    (ftrace buffer empty)\r\n\
                       [ 2.4] ---[ end Kernel panic - not syncing: Fatal exception ]---\r\n";
        let shown = last_words(console);
        assert_eq!(shown.len(), 3, "{shown:?}");
        assert!(shown[1].ends_with("maps y") && shown[2].contains("Kernel panic"), "{shown:?}");
    }
}
