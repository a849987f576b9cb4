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

/// Lines after a complaint that are searched for its location.
const TRACE: usize = 60;
/// Lines of a location.
const LOCATION: usize = 10;

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

/// Where the kernel was at its first complaint: the instruction and the functions that led there.
pub(super) fn location(console: &str, provoked: &[&str]) -> Vec<String> {
    let after = lines(console).skip_while(|line| !is_complaint(line, provoked));
    let is_location = |line: &String| line.contains("RIP:") || line.contains("+0x") && line.contains("/0x");
    let without_time = |line: String| line.rsplit("] ").next().unwrap_or_default().trim().to_owned();
    after.take(TRACE).filter(is_location).map(without_time).take(LOCATION).collect()
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
    fn finds_the_location_of_the_first_complaint() {
        let trace = "[    1.1] RIP: 0010:0x0\r\n[    1.2] Code: 00\r\n[    1.3]  dev_attr_show+0x19/0x40\r\n";
        let console = format!("[    0.9]  before+0x1/0x2\r\n{CONSOLE}{trace}");
        assert_eq!(location(&console, &[]), ["RIP: 0010:0x0", "dev_attr_show+0x19/0x40"]);
        assert!(location(&console, &["mm/x.c"]).is_empty());
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
