//! Devices: what the inventory says of each, how sure it is, and from what.

use std::{collections::BTreeMap, fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    flow::{Mac, UnixNanos},
    observation::Field,
};

mod category;

pub use category::{Category, Sector};

/// Number of a device: made of the site and the first identity it was known by, so that a replay gives the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeviceId(pub u64);

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "d{:016x}", self.0)
    }
}

impl FromStr for DeviceId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix('d').filter(|digits| digits.len() == 16);
        digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).map(Self).ok_or("expected d and 16 hexadecimal digits")
    }
}

macro_rules! attributes {
    ($($variant:ident $name:literal $what:literal;)*) => {
        /// What is claimed of a device.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Attribute { $(#[doc = $what] $variant,)* }

        impl Attribute {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];
            /// How many.
            pub const COUNT: usize = Self::ALL.len();

            /// Name in rules, listings and the lake.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The attribute of that name.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|attribute| attribute.name() == name)
            }
        }
    };
}

attributes! {
    Category "category" "What it is: a value of the taxonomy.";
    Manufacturer "manufacturer" "Who made it.";
    Model "model" "Model.";
    Serial "serial" "Serial number.";
    SoftwareVersion "software_version" "Version of its software or firmware.";
    Os "os" "Operating system.";
    Hostname "hostname" "Host name.";
    Role "role" "What it does for others.";
    Location "location" "Where it says that it is.";
    Udi "udi" "Unique device identifier.";
    AeTitle "ae_title" "DICOM application entity title.";
}

/// What a rule makes of one observation.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// Of which attribute.
    pub attribute: Attribute,
    /// Its value; of the category, a name of the taxonomy.
    pub value: Box<str>,
    /// How likely the claim is right when nothing else is known, 0 to 1.
    pub weight: f32,
}

/// What is held of one attribute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// The value that is best supported.
    pub value: Box<str>,
    /// How sure, 0 to 1.
    pub confidence: f32,
    /// Set by hand: what is observed does not change it.
    pub set_by_hand: bool,
    /// Other values that something supports, with their confidence, best first.
    pub conflicts: Vec<(Box<str>, f32)>,
}

/// One thing that was observed of a device, and what it supports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Hash of device, field and value: one number for one thing, however often it is seen.
    pub evidence_id: u64,
    /// What was observed.
    #[serde(with = "by_name")]
    pub field: Field,
    /// What it said.
    pub value: Box<str>,
    /// The other end, if the observation has one.
    pub peer: Option<IpAddr>,
    /// First time.
    pub first_seen: UnixNanos,
    /// Newest time.
    pub last_seen: UnixNanos,
    /// How often it was said (repetitions within half a minute count once).
    pub count: u32,
    /// The flow that it was first seen in; `None` until that flow's row is written.
    pub flow_id: Option<u64>,
    /// Rules that it met, and what they make of it.
    pub supports: Vec<Support>,
}

/// A claim as evidence keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Support {
    /// Id of the rule.
    pub rule: Box<str>,
    /// Of which attribute.
    pub attribute: Attribute,
    /// Which value.
    pub value: Box<str>,
    /// How likely it is right by itself.
    pub weight: f32,
}

/// Where in its life a device is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifecycle {
    /// Met on the wire, and nobody has said anything of it.
    #[default]
    Seen,
    /// Being taken into service.
    Onboarding,
    /// In service.
    InService,
    /// Under maintenance.
    Maintenance,
    /// Kept apart.
    Quarantined,
    /// Out of service for good.
    Retired,
}

impl Lifecycle {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Seen, Self::Onboarding, Self::InService, Self::Maintenance, Self::Quarantined, Self::Retired];

    /// Name in listings and the lake.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Onboarding => "onboarding",
            Self::InService => "in_service",
            Self::Maintenance => "maintenance",
            Self::Quarantined => "quarantined",
            Self::Retired => "retired",
        }
    }

    /// The state of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether a device may go from this state to `next`. Whoever is retired comes back by onboarding alone, and nobody goes back to `seen`.
    pub const fn may_become(self, next: Self) -> bool {
        use Lifecycle::{InService, Maintenance, Onboarding, Quarantined, Retired, Seen};
        matches!(
            (self, next),
            (Seen, Onboarding | InService | Quarantined | Retired)
                | (Onboarding, InService | Quarantined | Retired)
                | (InService, Maintenance | Quarantined | Retired)
                | (Maintenance, InService | Quarantined | Retired)
                | (Quarantined, Onboarding | InService | Maintenance | Retired)
                | (Retired, Onboarding)
        )
    }
}

/// A device as the inventory holds it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// Its number.
    pub device_id: DeviceId,
    /// Its MACs, oldest first; none for a host that is known behind a router alone.
    pub macs: Vec<Mac>,
    /// The IP addresses it has now, newest first.
    pub ips: Vec<IpAddr>,
    /// Every host name that it gave, newest first.
    pub hostnames: Vec<Box<str>>,
    /// Outermost VLAN of its newest frame.
    pub vlan: Option<u16>,
    /// Its MAC is locally administered (randomised, or of a virtual machine): it may be another tomorrow.
    pub transient: bool,
    /// Its frames come through a router: `macs` is empty.
    pub routed: bool,
    /// First frame.
    pub first_seen: UnixNanos,
    /// Newest frame.
    pub last_seen: UnixNanos,
    /// What is known, by attribute.
    pub attributes: BTreeMap<Attribute, Known>,
    /// What it does for others, and for whom it does what: names of protocols and roles.
    pub roles: Vec<Box<str>>,
    /// Its state.
    pub lifecycle: Lifecycle,
    /// Who answers for it; by hand.
    pub owner: Option<Box<str>>,
    /// Where it is; by hand.
    pub place: Option<Box<str>>,
    /// Words by hand.
    pub tags: Vec<Box<str>>,
    /// It was found to be the same as that one, which has all it had.
    pub merged_into: Option<DeviceId>,
}

impl Device {
    /// What is known of an attribute.
    pub fn known(&self, attribute: Attribute) -> Option<&Known> {
        self.attributes.get(&attribute)
    }

    /// Value of an attribute.
    pub fn value(&self, attribute: Attribute) -> Option<&str> {
        self.known(attribute).map(|known| &*known.value)
    }

    /// Its category; `unknown` where it is not decided.
    pub fn category(&self) -> Category {
        self.value(Attribute::Category).and_then(Category::named).unwrap_or(Category::Unknown)
    }
}

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Of which device.
    pub device_id: DeviceId,
    /// When.
    pub at: UnixNanos,
    /// What: `created`, `merged`, `split`, `lifecycle`, `owner`, `place`, `tags`, `mac`, `ip`, `vlan`, `hostnames`, or an attribute's name.
    pub what: Box<str>,
    /// Before; `None`: there was nothing.
    pub before: Option<Box<str>>,
    /// After; `None`: there is nothing now.
    pub after: Option<Box<str>>,
    /// Confidence behind `after`, where it is a claim.
    pub confidence: Option<f32>,
    /// What it rests on: numbers of evidence.
    pub evidence: Vec<u64>,
    /// Who: `engine`, or the user who set it.
    pub by: Box<str>,
}

/// Fields are stored by name: their order in code may change.
mod by_name {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::Field;

    pub fn serialize<S: Serializer>(field: &Field, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(field.name())
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Field, D::Error> {
        let name = Box::<str>::deserialize(from)?;
        Field::named(&name).ok_or_else(|| D::Error::custom(format!("no field is called `{name}`")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        let id = DeviceId(0x0123_4567_89ab_cdef);
        assert_eq!(id.to_string(), "d0123456789abcdef");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("d012".parse::<DeviceId>().is_err() && "0123456789abcdef0".parse::<DeviceId>().is_err());
    }

    #[test]
    fn nobody_goes_back_to_seen_and_the_retired_come_back_by_onboarding() {
        for from in Lifecycle::ALL {
            assert!(!from.may_become(Lifecycle::Seen) && !from.may_become(from));
            assert_eq!(Lifecycle::Retired.may_become(from), from == Lifecycle::Onboarding);
            assert_eq!(Lifecycle::named(from.name()), Some(from));
        }
    }
}
