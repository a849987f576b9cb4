//! JSON representation of values: addresses are here, names are next to their types.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Returns true if the value is false, for `skip_serializing_if`.
pub const fn is_false(value: &bool) -> bool {
    !*value
}

/// An address: a string such as `"0xffff888100000000"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hex(pub u64);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let digits = text.strip_prefix("0x");
        let value = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        value.map(Self).ok_or_else(|| D::Error::custom(format_args!("`{text}` is not an address")))
    }
}

impl JsonSchema for Hex {
    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A 64-bit address, hexadecimal.",
            "type": "string",
            "pattern": "^0x[0-9a-f]{1,16}$",
        })
    }
}

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Defines a module for `#[serde(with)]` that writes a value by its name.
macro_rules! by_name {
    ($(#[$doc:meta])* $module:ident, $type:ty, $name:expr, $find:expr) => {
        $(#[$doc])*
        #[doc = concat!("Writes a `", stringify!($type), "` as its name, for `#[serde(with)]`.")]
        pub mod $module {
            #![expect(missing_docs, clippy::missing_errors_doc, reason = "serde documents them")]

            use super::*;

            pub fn serialize<S: Serializer>(value: &$type, serializer: S) -> Result<S::Ok, S::Error> {
                let name: fn($type) -> &'static str = $name;
                serializer.serialize_str(name(*value))
            }

            pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                let text = Cow::<str>::deserialize(deserializer)?;
                let find: fn(&str) -> Option<$type> = $find;
                find(&text).ok_or_else(|| D::Error::custom(format_args!("`{text}` is not known")))
            }
        }
    };
}

pub(crate) use by_name;

/// The name of a machine, by its number in an ELF file (`e_machine`).
#[must_use]
pub fn elf_machine(number: u16) -> String {
    let name = match number {
        3 => "32-bit x86",
        8 => "MIPS",
        20 => "32-bit PowerPC",
        21 => "64-bit PowerPC",
        22 => "s390x",
        40 => "32-bit Arm",
        183 => "AArch64 (64-bit Arm)",
        243 => "RISC-V",
        258 => "LoongArch",
        other => return format!("ELF machine number {other}"),
    };
    name.to_owned()
}
