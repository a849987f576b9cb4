//! JSON forms of the values in a record.

use std::{borrow::Cow, str::FromStr};

use p2p_trace_common::{Hook, Kind, Ring};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{DeviceAddress, Id, Method, Reason};
use crate::{names::by_name, text::Text};

/// The attach method of a hook in the JSON schema.
#[derive(JsonSchema)]
#[schemars(rename = "Method", rename_all = "lowercase")]
pub enum MethodName {
    /// fentry or fexit.
    Fentry,
    /// kprobe or kretprobe.
    Kprobe,
}

by_name!(hook, Hook, Hook::name, Hook::from_name);
by_name!(kind, Kind, Kind::name, Kind::from_name);
by_name!(ring, Ring, ring_name, |name| Ring::ALL.into_iter().find(|ring| ring_name(*ring) == name));
by_name!(reason, Reason, Reason::name, |name| {
    Reason::ALL.into_iter().find(|reason| reason.name() == name)
});
by_name!(sure_method, Method, Method::name, method_from_name);

/// The name of a ring used in every output.
#[must_use]
pub const fn ring_name(ring: Ring) -> &'static str {
    match ring {
        Ring::Hot => "hot",
        Ring::Rare => "rare",
    }
}

fn method_from_name(name: &str) -> Option<Method> {
    [Method::Fentry, Method::Kprobe].into_iter().find(|method| method.name() == name)
}

/// For an optional [`Method`].
pub mod method {
    #![expect(missing_docs, clippy::missing_errors_doc, reason = "serde defines their behavior")]

    use super::*;

    pub fn serialize<S: Serializer>(value: &Option<Method>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(Method::name).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Method>, D::Error> {
        let name = Option::<Cow<'_, str>>::deserialize(deserializer)?;
        let Some(name) = name else { return Ok(None) };
        let method = method_from_name(&name);
        method.map(Some).ok_or_else(|| D::Error::custom(format_args!("`{name}` is not known")))
    }
}

/// For an optional [`Hook`].
pub mod some_hook {
    #![expect(missing_docs, clippy::missing_errors_doc, reason = "serde defines their behavior")]

    use super::{Cow, Deserialize as _, Deserializer, Hook, Serialize as _, Serializer};

    pub fn serialize<S: Serializer>(value: &Option<Hook>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(Hook::name).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Hook>, D::Error> {
        let name = Option::<Cow<'_, str>>::deserialize(deserializer)?;
        // A hook of a later version is read as `None`.
        Ok(name.and_then(|name| Hook::from_name(&name)))
    }
}

/// Serializes values as they are displayed.
pub mod device {
    #![expect(missing_docs, clippy::missing_errors_doc, reason = "serde defines their behavior")]

    use super::*;

    pub fn serialize<S: Serializer>(value: &DeviceAddress, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DeviceAddress, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// For a device in JSON output: see [`Bdf`].
pub mod handle {
    #![expect(missing_docs, clippy::missing_errors_doc, reason = "serde defines their behavior")]

    pub use super::device::deserialize;
    use super::{DeviceAddress, Serializer};

    pub fn serialize<S: Serializer>(value: &DeviceAddress, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("pci/{value}"))
    }
}

/// Serializes the random number of a run as 16 hexadecimal digits.
pub mod run {
    #![expect(missing_docs, clippy::missing_errors_doc, reason = "serde defines their behavior")]

    use super::*;

    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{value:016x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

/// Implements serialization by `Display` and deserialization by `FromStr`.
macro_rules! by_text {
    ($(#[$doc:meta])* $name:ident($type:ty), $description:literal, $pattern:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name(pub $type);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<str>::deserialize(deserializer)?;
                <$type>::from_str(&text).map(Self).map_err(D::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "description": $description, "type": "string", "pattern": $pattern })
            }
        }
    };
}

/// A PCI function in JSON output: its devlink handle, such as `pci/0000:03:00.0`.
///
/// The plain address looks like a time of day to readers that guess types. Reading accepts both forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bdf(pub DeviceAddress);

impl Serialize for Bdf {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        handle::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Bdf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        handle::deserialize(deserializer).map(Self)
    }
}

impl JsonSchema for Bdf {
    fn schema_name() -> Cow<'static, str> {
        "Device".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A PCI function as its devlink handle: `pci/`, then domain, bus, device, function.",
            "type": "string",
            "pattern": "^pci/[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\\.[0-7]$",
        })
    }
}

by_text!(
    /// The id of a record.
    RecordId(Id),
    "Run, CPU and sequence number: unique over all runs.",
    "^[0-9a-f]{16}:[0-9]+:[0-9]+$"
);

/// The text is not a record id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a record id; write it as RUN:CPU:SEQ")]
pub struct NotAnId(Text);

impl FromStr for Id {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let parse = || {
            let mut parts = text.split(':');
            let run = u64::from_str_radix(parts.next()?, 16).ok()?;
            let id = Self { run, cpu: parts.next()?.parse().ok()?, seq: parts.next()?.parse().ok()? };
            parts.next().is_none().then_some(id)
        };
        parse().ok_or_else(|| NotAnId(text.into()))
    }
}
