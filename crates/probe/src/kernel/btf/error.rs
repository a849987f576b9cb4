//! What can go wrong with BTF, and with a question put to it.

use std::{io, path::PathBuf};

use p2p_trace_model::text::Text;

/// BTF that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BtfError {
    /// The file could not be read.
    #[error("cannot read BTF from {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is something else: what, and what to do.
    #[error("{what}")]
    Foreign {
        /// In a sentence.
        what: Text,
    },
    /// Neither raw BTF nor an ELF file.
    #[error("not BTF: the file starts neither with the BTF magic number nor as an ELF file")]
    NotBtf,
    /// An ELF file without BTF, or one that is damaged.
    #[error("the ELF file has no readable .BTF section; give a vmlinux built with CONFIG_DEBUG_INFO_BTF")]
    NoElfSection,
    /// BTF of a big-endian machine.
    #[error("big-endian BTF is not supported")]
    BigEndian,
    /// A version of the format that does not exist yet.
    #[error("BTF version {version} is not supported (known: 1)")]
    Version {
        /// The version in the header.
        version: u8,
    },
    /// A part lies outside the file.
    #[error("BTF is truncated or damaged: its {what} does not fit")]
    Truncated {
        /// Which part.
        what: &'static str,
    },
    /// A kind of type this parser does not know, and the file does not describe its size.
    #[error("BTF type {id} has the unknown kind {kind}, and the file does not tell its size")]
    UnknownKind {
        /// The kind's number.
        kind: u8,
        /// The type's id.
        id: u32,
    },
}

/// Why BTF does not answer a question about a type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum LookupError {
    /// No struct, union or typedef of one has this name.
    #[error("this kernel has no struct {name}")]
    NoType {
        /// The name asked for.
        name: Text,
    },
    /// The struct has no such member.
    #[error("struct {name} has no member {member} on this kernel")]
    NoMember {
        /// The struct asked for.
        name: Text,
        /// The component of the path that was not found.
        member: Text,
    },
    /// The path goes on behind something that has no members, such as a pointer.
    #[error("{member} in struct {name} is not a struct or union: the path cannot go on behind it")]
    NotComposite {
        /// The struct asked for.
        name: Text,
        /// The component of the path that has no members.
        member: Text,
    },
    /// Several types of this name answer differently.
    #[error("this kernel has several structs {name} that disagree about {path}")]
    Ambiguous {
        /// The struct asked for.
        name: Text,
        /// The path asked for.
        path: Text,
    },
    /// Nesting or typedef chains without end: no compiler writes such BTF.
    #[error("the description of struct {name} is damaged: it nests without end")]
    Endless {
        /// The struct asked for.
        name: Text,
    },
}
