//! Entry points for fuzzing: everything that shows a dump, and the texts that this program reads.

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

/// Shows a dump in every format and returns the outputs. Bytes that are not a dump give an empty string.
///
/// # Panics
///
/// An output contains a character that no output may contain.
pub fn shown(bytes: &[u8]) -> String {
    let Some(run) = open(bytes) else { return String::new() };
    let (reports, _) = report::evaluate(vec![run], Vec::new(), &ReportArgs::default());
    let mut outputs = vec![("report", report::mail(&reports)), ("page", report::page(&reports))];
    let text = Format::Text(Options { style: Style::default(), stacks: true });
    for (name, format) in [("text", text), ("json", Format::Json)] {
        let mut lines = Vec::new();
        let run = open(bytes).map(|run| replay::show(run, format, false, &Stop::default(), &mut lines));
        drop(run);
        outputs.push((name, String::from_utf8_lossy(&lines).into_owned()));
    }
    let bytes = bytes.to_vec();
    let reopen =
        move |_run| open(&bytes).map(|run| (run.reader, 1)).ok_or_else(|| anyhow::anyhow!("not a dump"));
    outputs.push(("dashboard", tui::fuzz::screens(Box::new(reopen))));
    outputs.into_iter().map(|(name, output)| safe(name, output)).collect()
}

/// Checks each line of an output: the line feed is the one unsafe character that outputs need.
fn safe(name: &str, output: String) -> String {
    let found = output.split('\n').find(|line| line.contains(is_unsafe));
    assert!(found.is_none(), "{name} contains an unsafe character: {found:?}");
    output
}

fn open(bytes: &[u8]) -> Option<Run> {
    let input: Input = Box::new(Cursor::new(bytes.to_vec()));
    let opened = Opened::open(input).ok()?;
    Some(Run { files: vec![PathBuf::from("dump")], reader: RunReader::new(vec![opened])? })
}

/// Reads bytes as a line of the `holders` protocol (an answer or a request), or as a command line with one argument per line.
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
    fn the_corpora_are_read_and_shown_without_unsafe_characters() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let files = |folder: &str| -> Vec<_> {
            let files = fs::read_dir(root.join(folder)).unwrap();
            files.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
        };
        // The first byte selects the crate.
        for bytes in files("fuzz/corpus/texts") {
            texts(&bytes[1..]);
        }
        let dumps = ["fuzz/corpus/shown", "crates/dump/tests/fixtures/dumps"].map(files).concat();
        let outputs: Vec<_> = dumps.iter().map(|bytes| shown(bytes)).collect();
        assert!(outputs.iter().any(|output| output.contains("PWNED")), "the seed is read and shown");
    }
}
