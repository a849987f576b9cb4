//! `cargo xtask demo --crash`: from the panic to the verdict.

use std::process::ExitCode;

use anyhow::Result;

use super::say;
use crate::scenarios::faults::post_mortem::{die, dump_memory, recover};
use crate::scenarios::lab::Lab;

/// Lines of the dying kernel's last words that are shown.
const LAST_WORDS: usize = 12;

/// Has the kernel die of a use of removed memory, dumps its memory, and shows what is in there.
pub(super) fn show(mut lab: Lab) -> Result<ExitCode> {
    say("p2p-trace live &");
    say(
        "echo CARD > unbind    # its pages are removed while they are taken; two seconds later somebody maps one",
    );
    die(&mut lab, "--kmsg", |_, _, _| Ok(()))?;
    for line in lab.guest.console_excerpt(LAST_WORDS).iter().take(LAST_WORDS) {
        println!("  {line}");
    }
    println!("The kernel is dead, and the tracer with it.");
    let [elf, _] = dump_memory(&mut lab)?;
    say("p2p-trace recover core.elf -o crash.p2pt");
    let recovered = recover(&elf, None)?;
    for line in &recovered.said {
        println!("  {line}");
    }
    say("p2p-trace check crash.p2pt");
    for line in &recovered.checked {
        println!("  {line}");
    }
    lab.guest.discard()?;
    Ok(ExitCode::SUCCESS)
}
