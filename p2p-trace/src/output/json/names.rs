//! How single values are written: names, addresses, ids.

use std::{borrow::Cow, fmt, str::FromStr};

use p2p_trace_common::{Hook, Kind, Ring};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    account::ring_name,
    event::{DeviceAddress, Id, Method},
    rules::{Answer, Rule, Severity},
    source::Reason,
};

/// For `skip_serializing_if`.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(crate) const fn is_false(value: &bool) -> bool {
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
        value
            .map(Self)
            .ok_or_else(|| D::Error::custom(format_args!("`{text}` is not an address")))
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

/// What stands for a method in the schema.
#[derive(JsonSchema)]
#[schemars(rename = "Method", rename_all = "lowercase")]
pub enum MethodName {
    /// fentry or fexit.
    Fentry,
    /// kprobe or kretprobe.
    Kprobe,
}

/// What stands for a severity in the schema.
#[derive(JsonSchema)]
#[schemars(rename = "Severity", rename_all = "lowercase")]
pub enum SeverityName {
    /// Nothing breaks by it alone.
    Medium,
    /// A hang, a leak, or corrupted accounting.
    High,
    /// Memory safety.
    Critical,
}

/// What stands for the answer of a rule in the schema.
#[derive(JsonSchema)]
#[schemars(rename = "Answer", rename_all = "snake_case")]
pub enum AnswerName {
    /// Everything that it needs was seen, and nothing violates it.
    Holds,
    /// There is at least one finding. A stall that has ended stays one.
    Violated,
    /// Nothing was found, and something can have been missed.
    Inconclusive,
    /// A hook that it needs was not asked for, or does not exist on this kernel.
    NotChecked,
}

/// Defines a module for `#[serde(with)]` that writes a value by its name.
macro_rules! by_name {
    ($(#[$doc:meta])* $module:ident, $type:ty, $name:expr, $find:expr) => {
        $(#[$doc])*
        pub(crate) mod $module {
            use super::*;

            pub(crate) fn serialize<S: Serializer>(value: &$type, serializer: S) -> Result<S::Ok, S::Error> {
                let name: fn($type) -> &'static str = $name;
                serializer.serialize_str(name(*value))
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                let text = Cow::<str>::deserialize(deserializer)?;
                let find: fn(&str) -> Option<$type> = $find;
                find(&text).ok_or_else(|| D::Error::custom(format_args!("`{text}` is not known")))
            }
        }
    };
}

by_name!(hook, Hook, Hook::name, Hook::from_name);
by_name!(kind, Kind, Kind::name, Kind::from_name);
by_name!(ring, Ring, ring_name, |name| Ring::ALL
    .into_iter()
    .find(|ring| ring_name(*ring) == name));
by_name!(reason, Reason, Reason::name, |name| {
    Reason::ALL.into_iter().find(|reason| reason.name() == name)
});
by_name!(rule, Rule, Rule::name, Rule::from_name);
by_name!(severity, Severity, Severity::name, Severity::from_name);
by_name!(answer, Answer, answer_name, |name| {
    use Answer::{Holds, Inconclusive, NotChecked, Violated};
    [Holds, NotChecked, Inconclusive, Violated]
        .into_iter()
        .find(|answer| answer_name(*answer) == name)
});
by_name!(sure_method, Method, Method::name, method_from_name);

/// One word, for scripts.
const fn answer_name(answer: Answer) -> &'static str {
    match answer {
        Answer::NotChecked => "not_checked",
        other => other.name(),
    }
}

fn method_from_name(name: &str) -> Option<Method> {
    [Method::Fentry, Method::Kprobe]
        .into_iter()
        .find(|method| method.name() == name)
}

/// For an optional [`Method`].
pub(crate) mod method {
    use super::*;

    #[expect(
        clippy::ref_option,
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes references"
    )]
    pub(crate) fn serialize<S: Serializer>(value: &Option<Method>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(Method::name).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Method>, D::Error> {
        let name = Option::<Cow<'_, str>>::deserialize(deserializer)?;
        let Some(name) = name else { return Ok(None) };
        let method = method_from_name(&name);
        method
            .map(Some)
            .ok_or_else(|| D::Error::custom(format_args!("`{name}` is not known")))
    }
}

/// For what is written as it is displayed.
pub(crate) mod device {
    use super::*;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    pub(crate) fn serialize<S: Serializer>(value: &DeviceAddress, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DeviceAddress, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// For the random number of a run: 16 hexadecimal digits.
pub(crate) mod run {
    use super::*;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    pub(crate) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{value:016x}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

/// Defines a value that is written as it is displayed and read as it is parsed.
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

by_text!(
    /// A PCI address.
    Bdf(DeviceAddress),
    "A PCI address: domain, bus, device, function.",
    "^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\\.[0-7]$"
);
by_text!(
    /// The id of a record.
    RecordId(Id),
    "Run, CPU and sequence number: unique over all runs.",
    "^[0-9a-f]{16}:[0-9]+:[0-9]+$"
);

/// The text is not the id of a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a record's id; it is written RUN:CPU:SEQ")]
pub struct NotAnId(String);

impl FromStr for Id {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let parse = || {
            let mut parts = text.split(':');
            let run = u64::from_str_radix(parts.next()?, 16).ok()?;
            let id = Self {
                run,
                cpu: parts.next()?.parse().ok()?,
                seq: parts.next()?.parse().ok()?,
            };
            parts.next().is_none().then_some(id)
        };
        parse().ok_or_else(|| NotAnId(text.to_owned()))
    }
}

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
