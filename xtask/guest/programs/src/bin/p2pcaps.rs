//! Runs a command as an ordinary user with only the named capabilities.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Error, Result, bail};
use clap::Parser;
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, configure_capability_in_ambient_set,
    set_capabilities, set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use rustix::thread::{Gid, Uid};

/// Run a command as another user with only the named capabilities.
#[derive(Debug, Parser)]
struct Options {
    /// User and group id
    #[arg(long, default_value_t = 65534)]
    user: u32,
    /// Capabilities to keep: bpf, perfmon, `sys_admin`, syslog
    #[arg(long, value_delimiter = ',')]
    keep: Vec<String>,
    /// Command and its arguments
    #[arg(required = true, trailing_var_arg = true)]
    command: Vec<String>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let mut kept = CapabilitySet::empty();
    for name in &options.keep {
        kept |= capability(name)?;
    }
    // Before Linux 5.11 BPF maps count against this limit; a service manager would raise it as well.
    setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None })
        .context("cannot raise the limit of locked memory")?;
    become_user(options.user, kept)
        .with_context(|| format!("cannot become user {} with {kept:?}", options.user))?;
    let Some((program, arguments)) = options.command.split_first() else { bail!("no command given") };
    let error = Command::new(program).args(arguments).exec();
    Err(Error::new(error).context(format!("cannot run {program}")))
}

/// The capability with that name.
fn capability(name: &str) -> Result<CapabilitySet> {
    Ok(match name {
        "bpf" => CapabilitySet::BPF,
        "perfmon" => CapabilitySet::PERFMON,
        "sys_admin" => CapabilitySet::SYS_ADMIN,
        "syslog" => CapabilitySet::SYSLOG,
        _ => bail!("unknown capability {name}: use bpf, perfmon, sys_admin or syslog"),
    })
}

/// Changes this (single-threaded) process permanently. The ambient set passes the capabilities through
/// exec(2).
fn become_user(user: u32, kept: CapabilitySet) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    set_keep_capabilities(true)?;
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: kept })?;
    clear_ambient_capability_set()?;
    for one in kept.iter() {
        configure_capability_in_ambient_set(one, true)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_unknown_capabilities() {
        assert_eq!(capability("bpf").unwrap(), CapabilitySet::BPF);
        assert!(capability("BPF ").unwrap_err().to_string().contains("unknown capability"));
    }
}
