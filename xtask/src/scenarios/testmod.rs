//! Loads the test module in the guest and runs its commands, which `xtask/guest/module/README.md` describes.

use anyhow::{Context as _, Result, ensure};

use super::lab::Lab;
use crate::guest::kmodule;

/// The answer of a command, and the process that ran it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The process that wrote the command; it has exited.
    pub(crate) pid: u32,
    /// `name=value` pairs.
    text: String,
}

/// A handle of the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle(u64);

/// Memory that a command allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allocated {
    /// The handle that commands know it by.
    pub(crate) handle: Handle,
    /// The process that allocated it; it has exited.
    pub(crate) pid: u32,
    /// Where it is mapped in the kernel.
    pub(crate) addr: u64,
    /// Bytes.
    pub(crate) size: u64,
}

impl std::fmt::Display for Handle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

impl Answer {
    /// Parses the lines of the shell: its pid, then the module's answer.
    pub(super) fn parse(lines: &[String]) -> Result<Self> {
        let (pid, rest) = lines.split_first().context("the shell printed nothing")?;
        Ok(Self { pid: pid.parse().with_context(|| format!("invalid pid {pid}"))?, text: rest.join(" ") })
    }

    /// A number of the answer, decimal or with `0x`.
    ///
    /// # Errors
    ///
    /// The answer has no number of this name.
    pub(crate) fn number(&self, name: &str) -> Result<u64> {
        let value = self.text.split(' ').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let number = value.and_then(|value| {
            value
                .strip_prefix("0x")
                .map_or_else(|| value.parse().ok(), |digits| u64::from_str_radix(digits, 16).ok())
        });
        number.with_context(|| format!("the test module's answer has no {name}: {}", self.text))
    }

    /// The handle of the allocated memory.
    ///
    /// # Errors
    ///
    /// The answer has none.
    pub(crate) fn handle(&self) -> Result<Handle> {
        self.number("handle").map(Handle)
    }
}

impl Lab {
    /// Loads the module with parameters such as `ranges=2`. Its provider binds to the card before this returns.
    pub(crate) fn load_module(&mut self, parameters: &str) -> Result<()> {
        let file = kmodule::file_name();
        self.guest.check(&format!("insmod /lib/modules/{file} {parameters}")).map(drop)
    }

    /// Unloads the module. This fails while any memory is allocated.
    pub(crate) fn unload_module(&mut self) -> Result<()> {
        self.guest.check(&format!("rmmod {}", kmodule::NAME)).map(drop)
    }

    /// Binds the card to the module's provider again.
    pub(crate) fn bind_card(&mut self) -> Result<()> {
        let command = format!("echo {} > /sys/bus/pci/drivers/{}/bind", self.card, kmodule::NAME);
        self.guest.check(&command).map(drop)
    }

    /// Unbinds the card from the module's provider.
    pub(crate) fn unbind_card(&mut self) -> Result<()> {
        let command = format!("echo {} > /sys/bus/pci/drivers/{}/unbind", self.card, kmodule::NAME);
        self.guest.check(&command).map(drop)
    }

    /// Runs a command of the module in a process of its own.
    ///
    /// # Errors
    ///
    /// The module refuses it.
    pub(crate) fn command(&mut self, command: &str) -> Result<Answer> {
        let lines = self
            .guest
            .check(&script(command))
            .with_context(|| format!("the test module refuses `{command}`"))?;
        Answer::parse(&lines)
    }

    /// Runs a command that the module has to refuse; returns the shell's error.
    ///
    /// # Errors
    ///
    /// The module does not refuse it.
    pub(crate) fn refused(&mut self, command: &str) -> Result<String> {
        let output = self.guest.run(&script(command))?;
        ensure!(output.code != 0, "the test module does not refuse `{command}`");
        Ok(output.err.join("\n"))
    }

    /// Allocates memory of a device.
    pub(crate) fn allocate(&mut self, device: &str, size: u64) -> Result<Allocated> {
        let answer = self.command(&format!("alloc {device} {size}"))?;
        let handle = answer.handle()?;
        Ok(Allocated {
            handle,
            pid: answer.pid,
            addr: self.command(&format!("show {handle}"))?.number("addr")?,
            size,
        })
    }
}

/// A script that prints the shell's pid and the answer; for a refused command, it prints the error and any
/// usage on stderr.
pub(super) fn script(command: &str) -> String {
    let device = kmodule::NAME;
    format!(
        "exec 3<>/dev/{device}; echo $$; if echo {command} >&3; then cat <&3; else cat <&3 >&2; exit 1; fi"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(lines: &[&str]) -> Result<Answer> {
        Answer::parse(&lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn parses_pid_and_numbers() {
        let answer = answer(&["97", "handle=3 addr=0xffff88800010 size=4096"]).unwrap();
        assert_eq!(answer.pid, 97);
        assert_eq!(answer.handle().unwrap(), Handle(3));
        assert_eq!(answer.number("addr").unwrap(), 0xffff_8880_0010);
        assert_eq!(answer.number("size").unwrap(), 4096);
        let error = answer.number("siz").unwrap_err().to_string();
        assert!(error.contains("has no siz: handle=3"), "{error}");
    }

    #[test]
    fn accepts_an_empty_answer() {
        assert!(answer(&["97"]).unwrap().handle().is_err());
        assert!(answer(&[]).is_err());
        assert!(answer(&["handle=3"]).is_err());
    }
}
