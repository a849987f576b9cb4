//! What is done with bytes of which nobody knows where they come from, for fuzzing: everything that shows a dump, and the
//! texts that this program reads.

use std::{ffi::OsString, io::Cursor, iter, path::PathBuf};

use p2p_trace_dump::{Opened, RunReader};
use p2p_trace_model::text::is_unsafe;

use super::{replay, report};
use crate::{
    cli::{self, ReportArgs},
    render::{
        Format,
        text::{Options, Style},
    },
    run::{
        dumps::{Input, Run},
        stop::Stop,
    },
    serve, tui,
};

/// Shows what may be a dump in every form that there is; gives what was shown.
///
/// # Panics
///
/// When a character that no output may hold is in any of it.
pub fn shown(bytes: &[u8]) -> String {
    let Some(run) = open(bytes) else { return String::new() };
    let (told, _) = report::tell(vec![run], Vec::new(), &ReportArgs::default());
    let mut outputs = vec![("report", report::mail(&told)), ("page", report::page(&told))];
    let text = Format::Text(Options { style: Style::default(), stacks: true });
    for (name, format) in [("text", text), ("json", Format::Json)] {
        let mut lines = Vec::new();
        let run = open(bytes).map(|run| replay::show(run, format, false, &Stop::default(), &mut lines));
        drop(run);
        outputs.push((name, String::from_utf8_lossy(&lines).into_owned()));
    }
    let bytes = bytes.to_vec();
    let again = move |_run| open(&bytes).map(|run| (run.reader, 1)).ok_or_else(|| anyhow::anyhow!("no dump"));
    outputs.push(("dashboard", tui::fuzz::screens(Box::new(again))));
    outputs.into_iter().map(|(name, output)| safe(name, output)).collect()
}

/// Each output is made of several lines, which is the one unsafe thing that it needs.
fn safe(name: &str, output: String) -> String {
    let found = output.split('\n').find(|line| line.contains(is_unsafe));
    assert!(found.is_none(), "{name} holds what no output may hold: {found:?}");
    output
}

fn open(bytes: &[u8]) -> Option<Run> {
    let input: Input = Box::new(Cursor::new(bytes.to_vec()));
    let opened = Opened::open(input).ok()?;
    Some(Run { files: vec![PathBuf::from("dump")], reader: RunReader::new(vec![opened])? })
}

/// The line of a running tracer, or of who asks it, or a command line of an argument on each line.
pub fn texts(bytes: &[u8]) {
    let Some((&which, bytes)) = bytes.split_first() else { return };
    if which % 2 == 0 {
        serve::fuzz::read(bytes);
    } else {
        let text = String::from_utf8_lossy(bytes);
        let arguments = iter::once("p2p-trace").chain(text.split('\n')).map(OsString::from);
        drop(cli::parse(arguments));
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn the_corpora_are_read_and_shown_without_harm() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let files = |folder: &str| -> Vec<_> {
            let files = fs::read_dir(root.join(folder)).unwrap();
            files.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
        };
        // Their first byte says which crate they are for.
        for bytes in files("fuzz/corpus/texts") {
            texts(&bytes[1..]);
        }
        let dumps = ["fuzz/corpus/shown", "crates/dump/tests/fixtures/dumps"].map(files).concat();
        let said: Vec<_> = dumps.iter().map(|bytes| shown(bytes)).collect();
        assert!(said.iter().any(|said| said.contains("PWNED")), "the seed is read and shown");
    }
}
