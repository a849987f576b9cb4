//! Errors of parsing BTF, and of lookups in it.

use std::{io, path::PathBuf};

use p2p_trace_model::text::Text;

/// BTF that cannot be read or parsed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BtfError {
    /// The file could not be read.
    #[error("cannot read BTF from {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is of another kind; the text says which, and what to do.
    #[error("{message}")]
    Foreign {
        /// The kind of file and the remedy, as a sentence.
        message: Text,
    },
    /// Neither raw BTF nor an ELF file.
    #[error("not BTF: the file starts neither with the BTF magic number nor as an ELF file")]
    NotBtf,
    /// An ELF file without BTF, or one that is damaged.
    #[error("the ELF file has no readable .BTF section; pass a vmlinux built with CONFIG_DEBUG_INFO_BTF")]
    NoElfSection,
    /// BTF of a big-endian machine.
    #[error("big-endian BTF is not supported")]
    BigEndian,
    /// An unknown version of the format.
    #[error("BTF version {version} is not supported (known: 1)")]
    Version {
        /// The version in the header.
        version: u8,
    },
    /// A section lies outside the file.
    #[error("BTF is truncated or damaged: its {part} does not fit")]
    Truncated {
        /// The section.
        part: &'static str,
    },
    /// An unknown kind of type, whose size the file does not describe.
    #[error("BTF type {id} has the unknown kind {kind}, and the file does not describe its size")]
    UnknownKind {
        /// The kind's number.
        kind: u8,
        /// The type's id.
        id: u32,
    },
}

/// Why a lookup of a type failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum LookupError {
    /// No struct, union, or typedef of one, has this name.
    #[error("this kernel has no struct {name}")]
    NoType {
        /// The name that was looked up.
        name: Text,
    },
    /// The struct has no such member.
    #[error("struct {name} has no member {member} on this kernel")]
    NoMember {
        /// The struct that was looked up.
        name: Text,
        /// The component of the path that was not found.
        member: Text,
    },
    /// The path continues after a member that has no members itself, such as a pointer.
    #[error("{member} in struct {name} is not a struct or union, so the path cannot continue after it")]
    NotComposite {
        /// The struct that was looked up.
        name: Text,
        /// The component of the path that has no members.
        member: Text,
    },
    /// Several types of this name give different results.
    #[error("this kernel has several structs named {name} that disagree about {path}")]
    Ambiguous {
        /// The struct that was looked up.
        name: Text,
        /// The path that was looked up.
        path: Text,
    },
    /// Unbounded nesting or typedef chains; no compiler writes such BTF.
    #[error("the description of struct {name} is damaged: its nesting never ends")]
    Endless {
        /// The struct that was looked up.
        name: Text,
    },
}
