//! Functions: their parameters by name, and their return types.

use p2p_trace_model::text::Text;

use super::wire::{Kind, u32_at};
use super::{Btf, Shape};

/// A kernel function's prototype.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Func {
    /// The parameters, in order, without the `...` of a variadic function.
    pub params: Vec<Param>,
    /// The return type; `None` for `void`.
    pub returns: Option<Shape>,
}

/// A parameter of a kernel function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// The name; empty if the compiler recorded none.
    pub name: Text,
    /// The type, without typedefs and qualifiers.
    pub shape: Shape,
    /// Size in bytes.
    pub size: Option<u32>,
    /// For a pointer to a named struct or union, the name of that.
    pub points_to: Option<Text>,
}

impl Func {
    /// Position of the parameter with this name, from 0.
    pub(crate) fn param_index(&self, name: &str) -> Option<usize> {
        self.params.iter().position(|param| param.name == name)
    }

    /// Number of parameters. A fentry program must not access an argument past it; in fexit the return value follows the parameters.
    pub(crate) const fn param_count(&self) -> usize {
        self.params.len()
    }
}

impl Btf {
    /// Id of the function with this name, as [`Btf::func`] finds it.
    pub(crate) fn func_id(&self, name: &str) -> Option<u32> {
        let func = self.named(name).find(|ty| ty.kind() == Kind::FUNC)?;
        Some(func.id)
    }

    /// The function with this name. If static functions share the name, the first one, which is also the one that an attach uses.
    pub(crate) fn func(&self, name: &str) -> Option<Func> {
        let func = self.named(name).find(|ty| ty.kind() == Kind::FUNC)?;
        let proto = self.index.get(&self.data, func.size_or_id).filter(|ty| ty.kind() == Kind::FUNC_PROTO)?;
        let params = proto
            .tail
            .chunks_exact(8)
            .filter_map(|record| Some((u32_at(record, 0)?, u32_at(record, 4)?)))
            .filter(|&(_, type_id)| type_id != 0)
            .map(|(name_off, type_id)| Param {
                name: self.text(name_off).into(),
                shape: self.shape(type_id),
                size: self.size_of(type_id),
                points_to: self.pointee(type_id).map(Text::from),
            })
            .collect();
        Some(Func { params, returns: (proto.size_or_id != 0).then(|| self.shape(proto.size_or_id)) })
    }

    /// The name of the struct or union that a pointer type points to.
    fn pointee(&self, type_id: u32) -> Option<String> {
        let pointer = self.resolve(type_id).filter(|ty| ty.kind() == Kind::PTR)?;
        let target = self.resolve(pointer.size_or_id)?;
        let named = target.kind().is_composite() || target.kind() == Kind::FWD;
        (named && target.name_off != 0).then(|| self.text(target.name_off))
    }
}
