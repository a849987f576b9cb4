//! Checks the command lines, options and exit codes of the README against the code.

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, ffi::OsString, fs, path::Path};

    use p2p_trace::{cli, exit::Exit};

    /// The program by its path, because sudo does not search the user's PATH.
    const BY_PATH: &str = r#""$(command -v p2p-trace)""#;

    fn read(file: &str) -> String {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)).unwrap()
    }

    /// The lines of all shell blocks, without comments, pipes and redirections.
    fn commands(text: &str) -> Vec<String> {
        let mut commands = Vec::new();
        let mut inside = false;
        for line in text.lines() {
            if let Some(language) = line.strip_prefix("```") {
                inside = language == "sh";
            } else if inside {
                let command = [" #", " | ", " > "].iter().fold(line, |command, &cut| {
                    command.split_once(cut).map_or(command, |(before, _)| before)
                });
                commands.push(command.trim().replace(BY_PATH, "p2p-trace"));
            }
        }
        commands
    }

    /// First cells of the rows of the table below a heading, without backticks.
    fn first_cells(text: &str, heading: &str) -> Vec<String> {
        let (_, section) = text.split_once(&format!("\n## {heading}\n")).unwrap();
        let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
        let rows = section.lines().filter_map(|line| line.strip_prefix("| "));
        let cells = rows.filter_map(|row| row.split_once(" |")).map(|(cell, _)| cell.replace('`', ""));
        cells.skip(1).collect()
    }

    #[test]
    fn every_command_line_is_valid() {
        let xtask = read("xtask/src/main.rs");
        let (_, xtask) = xtask.split_once("enum Task {").unwrap();
        let (xtask, _) = xtask.split_once("\n}").unwrap();
        let (mut own, mut tasks) = (0, 0);
        for command in commands(&read("README.md")) {
            let words: Vec<_> = command.split_whitespace().skip_while(|&word| word == "sudo").collect();
            match words[..] {
                ["p2p-trace", ..] => {
                    own += 1;
                    let parsed = cli::parse(words.iter().map(OsString::from));
                    assert!(parsed.is_ok(), "{command}: {}", parsed.unwrap_err());
                }
                ["cargo", "xtask", task, ..] => {
                    tasks += 1;
                    // `build-ebpf` is the variant `BuildEbpf`.
                    let variant = task.replace('-', "");
                    let named = xtask
                        .lines()
                        .filter_map(|line| line.trim_start().split([' ', '(']).next())
                        .any(|name| name.eq_ignore_ascii_case(&variant));
                    assert!(named, "there is no task {task}");
                }
                ["cargo", "build", ..] | ["export", ..] => {}
                _ => panic!("unknown command `{command}`: add a check for it"),
            }
        }
        assert!(own >= 3 && tasks >= 2, "{own} command lines and {tasks} tasks are too few");
    }

    #[test]
    fn the_options_are_those_of_live() {
        let documented: BTreeSet<_> = first_cells(&read("README.md"), "Options")
            .iter()
            .flat_map(|cell| cell.split(", "))
            .filter_map(|option| option.strip_prefix("--"))
            .map(|option| option.split([' ', '[']).next().unwrap_or_default().to_owned())
            .collect();
        let mut command = cli::command();
        command.build();
        let live = command.find_subcommand("live").unwrap();
        let real: BTreeSet<_> = live
            .get_arguments()
            .filter_map(|argument| argument.get_long())
            .filter(|&long| long != "help")
            .map(str::to_owned)
            .collect();
        assert_eq!(documented, real);
    }

    #[test]
    fn the_exit_codes_are_those_of_the_code() {
        let all = [
            Exit::Success,
            Exit::Violated,
            Exit::Inconclusive,
            Exit::Error,
            Exit::Usage,
            Exit::NotTraceable,
            Exit::NoRights,
        ];
        let real: Vec<_> = all.iter().map(|exit| exit.code().to_string()).collect();
        assert_eq!(first_cells(&read("README.md"), "Exit codes"), real);
    }
}
