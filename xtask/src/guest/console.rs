//! Reads the console of a guest's kernel.

/// A kernel's messages about its own errors (Linux: kernel/panic.c, lib/bug.c, arch/x86/mm/fault.c).
const COMPLAINTS: [&str; 8] = [
    "BUG:",
    "WARNING:",
    "Oops:",
    "Kernel panic",
    "general protection fault",
    "kernel BUG at",
    "blocked for more than",
    "rcu: INFO:",
];

/// An excerpt with a complaint has this many times the lines of one without.
const MORE: usize = 4;

/// The lines in which the kernel reports an error, except for those that contain one of the `provoked` words.
/// An incomplete last line is ignored.
pub(super) fn complaints(console: &str, provoked: &[&str]) -> Vec<String> {
    let (console, _unfinished) = console.rsplit_once('\n').unwrap_or_default();
    lines(console).filter(|line| is_complaint(line, provoked)).collect()
}

fn is_complaint(line: &str, provoked: &[&str]) -> bool {
    COMPLAINTS.iter().any(|complaint| line.contains(complaint))
        && !provoked.iter().any(|words| line.contains(words))
}

/// The lines from the first complaint to the end, if the kernel has died.
pub(super) fn death(console: &str) -> Vec<String> {
    if !console.contains("Kernel panic") {
        return Vec::new();
    }
    let mut started = false;
    lines(console)
        .skip_while(|line| {
            started |= is_complaint(line, &[]);
            !started
        })
        .collect()
}

/// The most useful lines: the first complaint and those after it, else the last lines.
pub(super) fn excerpt(console: &str, provoked: &[&str], count: usize) -> Vec<String> {
    let lines: Vec<String> = lines(console).collect();
    let complaint = lines.iter().position(|line| is_complaint(line, provoked));
    let (first, count) = match complaint {
        Some(at) => (at, MORE * count),
        None => (lines.len().saturating_sub(count), count),
    };
    lines.into_iter().skip(first).take(count).collect()
}

/// The non-empty lines, without the serial line's carriage returns.
fn lines(console: &str) -> impl Iterator<Item = String> + '_ {
    console.lines().map(|line| line.trim_end_matches('\r').to_owned()).filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str =
        "[    0.5] hello\r\n\r\n[    1.0] WARNING: CPU: 0 PID: 1 at mm/x.c:1\r\n[    2.0] bye\r\n";

    #[test]
    fn finds_complaints() {
        assert_eq!(complaints(CONSOLE, &[]), ["[    1.0] WARNING: CPU: 0 PID: 1 at mm/x.c:1"]);
        assert!(complaints(CONSOLE, &["mm/x.c"]).is_empty());
        assert!(complaints("[  1.0] nvme nvme0: 2/0/0 default/read/poll queues\n", &[]).is_empty());
    }

    #[test]
    fn ignores_an_incomplete_line() {
        assert!(complaints("[  1.0] hello\n[  2.0] WARNING: CPU: 0 PID: 1 at ", &["mm/x.c"]).is_empty());
    }

    #[test]
    fn death_begins_at_the_first_complaint() {
        assert_eq!(death(CONSOLE), Vec::<String>::new());
        let dead = format!("{CONSOLE}[    3.0] Kernel panic - not syncing: x\r\n");
        assert_eq!(death(&dead).len(), 3);
        assert!(death(&dead)[0].contains("WARNING"));
    }

    #[test]
    fn excerpt_begins_at_the_first_complaint() {
        let shown = excerpt(CONSOLE, &[], 1);
        assert!(shown.len() == 2 && shown[0].contains("WARNING"), "{shown:?}");
        assert_eq!(excerpt(CONSOLE, &["mm/x.c"], 1), ["[    2.0] bye"]);
        assert_eq!(excerpt(CONSOLE, &["mm/x.c"], 9).len(), 3);
    }
}
