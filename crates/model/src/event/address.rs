//! The address of a PCI function.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::Error as _};

use crate::text::Text;

/// The address of a PCI function, written `0000:01:00.0`: domain, bus, device, function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceAddress {
    /// The domain, also called segment. Above 0xffff for controllers that create their own domains (VMD).
    pub domain: u32,
    /// The bus.
    pub bus: u8,
    /// The device on the bus, 0 to 31.
    pub device: u8,
    /// The function of the device, 0 to 7.
    pub function: u8,
}

impl DeviceAddress {
    /// Builds an address from the kernel's `devfn`, which packs device and function.
    pub const fn from_devfn(domain: u32, bus: u8, devfn: u8) -> Self {
        Self { domain, bus, device: devfn >> 3, function: devfn & 7 }
    }

    /// Device and function as the kernel packs them.
    pub const fn devfn(self) -> u8 {
        self.device << 3 | self.function
    }
}

impl fmt::Display for DeviceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { domain, bus, device, function } = self;
        write!(f, "{domain:04x}:{bus:02x}:{device:02x}.{function:x}")
    }
}

/// The text is not a PCI address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a PCI address: {reason}; write it as 0000:01:00.0 or 01:00.0")]
pub struct AddressError {
    text: Text,
    reason: &'static str,
}

impl FromStr for DeviceAddress {
    type Err = AddressError;

    /// Accepts the devlink handle `pci/0000:01:00.0` too.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        parse(text.strip_prefix("pci/").unwrap_or(text))
            .map_err(|reason| AddressError { text: text.into(), reason })
    }
}

fn parse(text: &str) -> Result<DeviceAddress, &'static str> {
    let (front, function) = text.rsplit_once('.').ok_or("the function (after a dot) is missing")?;
    let (front, device) = front.rsplit_once(':').ok_or("the bus (before a colon) is missing")?;
    let (domain, bus) = front.rsplit_once(':').unwrap_or(("0", front));
    Ok(DeviceAddress {
        domain: number(domain, 8, u32::MAX).ok_or("the domain is not a hexadecimal number")?,
        bus: number(bus, 2, 0xff).ok_or("the bus is not a hexadecimal number up to ff")? as u8,
        device: number(device, 2, 0x1f).ok_or("the device is not a hexadecimal number up to 1f")? as u8,
        function: number(function, 1, 7).ok_or("the function is not a digit up to 7")? as u8,
    })
}

fn number(digits: &str, max_len: usize, max: u32) -> Option<u32> {
    // `from_str_radix` alone would accept a sign.
    let plain = digits.len() <= max_len && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let value = u32::from_str_radix(digits, 16).ok()?;
    (plain && value <= max).then_some(value)
}

impl Serialize for DeviceAddress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DeviceAddress {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for DeviceAddress {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DeviceAddress".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A PCI address",
            "pattern": "^[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\\.[0-7]$",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accepts_every_form() {
        let address = DeviceAddress::from_devfn(0, 1, 0x1a);
        assert_eq!("0000:01:03.2".parse(), Ok(address));
        assert_eq!("01:03.2".parse(), Ok(address));
        assert_eq!("1:3.2".parse(), Ok(address));
        assert_eq!("pci/0000:01:03.2".parse(), Ok(address));
        assert!("pci/pci/0000:01:03.2".parse::<DeviceAddress>().is_err());
        assert_eq!("10000:E1:1f.7".parse::<DeviceAddress>().unwrap().to_string(), "10000:e1:1f.7");
    }

    #[test]
    fn rejects_malformed_addresses_with_a_reason() {
        let error = |text: &str| text.parse::<DeviceAddress>().unwrap_err().to_string();
        insta::assert_snapshot!(
            ["", "01:00", "00.0", "0000:01:20.0", "01:00.8", "0000:101:00.0", "x:01:00.0", "0000:+1:00.0", "1:2:3:4.5"]
                .map(error)
                .join("\n"),
            @r#"
            "" is not a PCI address: the function (after a dot) is missing; write it as 0000:01:00.0 or 01:00.0
            "01:00" is not a PCI address: the function (after a dot) is missing; write it as 0000:01:00.0 or 01:00.0
            "00.0" is not a PCI address: the bus (before a colon) is missing; write it as 0000:01:00.0 or 01:00.0
            "0000:01:20.0" is not a PCI address: the device is not a hexadecimal number up to 1f; write it as 0000:01:00.0 or 01:00.0
            "01:00.8" is not a PCI address: the function is not a digit up to 7; write it as 0000:01:00.0 or 01:00.0
            "0000:101:00.0" is not a PCI address: the bus is not a hexadecimal number up to ff; write it as 0000:01:00.0 or 01:00.0
            "x:01:00.0" is not a PCI address: the domain is not a hexadecimal number; write it as 0000:01:00.0 or 01:00.0
            "0000:+1:00.0" is not a PCI address: the bus is not a hexadecimal number up to ff; write it as 0000:01:00.0 or 01:00.0
            "1:2:3:4.5" is not a PCI address: the domain is not a hexadecimal number; write it as 0000:01:00.0 or 01:00.0
            "#
        );
    }

    proptest! {
        #[test]
        fn address_round_trips_through_text(domain in any::<u32>(), bus in any::<u8>(), devfn in any::<u8>()) {
            let address = DeviceAddress::from_devfn(domain, bus, devfn);
            prop_assert_eq!(address.devfn(), devfn);
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }

        #[test]
        fn parses_any_text_without_panic(text in "\\PC{0,20}") {
            let _address = text.parse::<DeviceAddress>();
        }
    }
}
