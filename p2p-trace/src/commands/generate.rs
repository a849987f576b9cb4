//! `completions` and `man`: generated from the command line itself.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};
use clap_complete::Shell;

use super::is_closed;
use crate::{
    cli,
    exit::{Exit, Refusal},
};

/// Prints a completion script.
///
/// # Errors
///
/// When it cannot be written.
pub fn completions(shell: Shell) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::command(), "p2p-trace", &mut script);
    print(&script)
}

/// Prints the manual page of the command `name`, or of p2p-trace.
///
/// # Errors
///
/// When there is no such command, or the page cannot be written.
pub fn man(name: Option<&str>) -> Result<Exit> {
    let mut command = cli::command();
    command.build();
    let command = match name {
        None => command,
        Some(name) => command.find_subcommand(name).cloned().ok_or_else(|| {
            Refusal::new(Exit::Usage, format!("unknown command `{name}`; see `p2p-trace --help`"))
        })?,
    };
    print(&page(&command).context("cannot generate the manual page")?)
}

/// The manual page of a command. The text after its options becomes sections of their own.
fn page(command: &clap::Command) -> io::Result<Vec<u8>> {
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let man = clap_mangen::Man::new(command.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    for (title, text) in sections(&after) {
        writeln!(page, ".SH \"{title}\"\n{text}")?;
    }
    if command.get_version().is_some() {
        man.render_version_section(&mut page)?;
    }
    Ok(page)
}

/// Divides the text after the options by its paragraphs, with the title of each section.
fn sections(after: &str) -> Vec<(&'static str, String)> {
    const TITLES: [&str; 3] = ["NOTES", "EXIT STATUS", "EXAMPLES"];
    let title = |paragraph: &str| match paragraph {
        _ if paragraph.starts_with("Examples:") => TITLES[2],
        _ if paragraph.contains("xit code") => TITLES[1],
        _ => TITLES[0],
    };
    let paragraphs: Vec<_> = after.split("\n\n").filter(|paragraph| !paragraph.is_empty()).collect();
    let section = |wanted: &'static str| {
        let of_section = paragraphs.iter().filter(|paragraph| title(paragraph) == wanted);
        let texts: Vec<_> = of_section.map(|paragraph| roff(paragraph)).collect();
        (!texts.is_empty()).then(|| (wanted, texts.join("\n.PP\n")))
    };
    TITLES.into_iter().filter_map(section).collect()
}

/// A paragraph, with its indented lines as they stand.
fn roff(paragraph: &str) -> String {
    let escape = |line: &str| line.replace('\\', "\\\\").replace('-', "\\-").replace('\'', "\\(aq");
    let lines = paragraph.lines().filter(|line| *line != "Examples:");
    let lines = lines.map(|line| match line.strip_prefix("  ") {
        Some(example) => format!(".br\n{}", escape(example)),
        None => escape(line),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn print(bytes: &[u8]) -> Result<Exit> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if !is_closed(&error) => Err(error).context("cannot write to stdout"),
        _ => Ok(Exit::Success),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_pages_have_exit_status_and_examples() {
        let mut command = cli::command();
        command.build();
        let text = |command: &clap::Command| String::from_utf8(page(command).unwrap()).unwrap();
        let main = text(&command);
        assert!(main.contains("\n.SH \"EXIT STATUS\"\nExit codes: 0 "), "{main}");
        for name in ["check", "export", "live", "recover", "report", "replay"] {
            let page = text(command.find_subcommand(name).unwrap());
            let (_, rest) = page.split_once(".SH \"EXIT STATUS\"").unwrap();
            assert!(rest.contains(&format!(".SH \"EXAMPLES\"\n.br\np2p\\-trace {name}")), "{page}");
            assert!(!page.contains("EXTRA"), "{page}");
        }
    }
}
