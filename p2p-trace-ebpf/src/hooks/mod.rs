//! The hooks' bodies, one file per group.

pub(crate) mod alloc;
pub(crate) mod armed;
pub(crate) mod map;
pub(crate) mod mmap;
pub(crate) mod resource;
pub(crate) mod sgl;
pub(crate) mod snapshot;
pub(crate) mod teardown;
pub(crate) mod unbind;
