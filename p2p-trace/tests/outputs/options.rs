//! The options of the command line that name files.

use std::{any::TypeId, collections::BTreeMap, ffi::OsString, path::PathBuf};

use clap::{Arg, ValueHint};
use p2p_trace::{
    cli,
    outfile::{Input, Output},
};

/// Value names of paths.
const PATHS: [&str; 7] = ["FILE", "PATH", "CORE", "DUMP", "FOLDER", "DIR", "DIRECTORY"];

/// Whether an option names a file to read or to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Input,
    Output,
    Other,
}

pub(crate) fn role(arg: &Arg) -> Role {
    let parsed = arg.get_value_parser().type_id();
    if parsed == TypeId::of::<Output>() {
        Role::Output
    } else if parsed == TypeId::of::<Input>() {
        Role::Input
    } else {
        Role::Other
    }
}

fn is_path(arg: &Arg) -> bool {
    let parsed = arg.get_value_parser().type_id();
    let takes_value = arg.get_action().takes_values();
    let has_path_name =
        arg.get_value_names().is_some_and(|names| names.iter().any(|name| PATHS.contains(&name.as_str())));
    let has_path_hint =
        matches!(arg.get_value_hint(), ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath);
    takes_value
        && (parsed == TypeId::of::<PathBuf>()
            || parsed == TypeId::of::<OsString>()
            || has_path_name
            || has_path_hint)
}

/// Calls `visit` for a command and its subcommands.
pub(crate) fn each_command(command: &clap::Command, visit: &mut dyn FnMut(&clap::Command)) {
    visit(command);
    for below in command.get_subcommands() {
        each_command(below, visit);
    }
}

pub(crate) fn commands() -> clap::Command {
    let mut command = cli::command();
    command.build();
    command
}

#[test]
fn every_option_with_a_path_is_an_input_or_an_output() {
    let mut found = BTreeMap::<_, Vec<_>>::new();
    each_command(&commands(), &mut |command| {
        for arg in command.get_arguments() {
            let (role, name) = (role(arg), format!("{} {}", command.get_name(), arg.get_id()));
            assert_eq!(
                role != Role::Other,
                is_path(arg),
                "{name}: make it an `Input` or an `Output` of `p2p_trace::outfile`, with the hint `FilePath`"
            );
            found.entry(format!("{role:?}")).or_default().push(name);
        }
    });
    let written = &found["Output"];
    for expected in [
        "export output",
        "live ready_file",
        "live record",
        "record output",
        "record ready_file",
        "recover output",
        "report html",
        "top ready_file",
    ] {
        assert!(written.iter().any(|name| name == expected), "{expected}: {written:?}");
    }
    assert!(found["Input"].len() >= 8, "{:?}", found["Input"]);
}
