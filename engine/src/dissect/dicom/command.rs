//! DIMSE messages of one direction (PS3.7 §9.3, annex E) → requests, answers, and what the stored objects say of their maker.
//!
//! A message is a command set and, if that says so, a data set, each in fragments. Only the data sets of C-STORE are read:
//! work lists, procedure steps and the answers to queries are about patients, and about other machines than the one that
//! sends them. The device attributes of stored objects are said of the end that asked for the association: an archive that
//! hands objects out within one (C-GET) is not what made them. One that forwards objects says the attributes of others all
//! the same; identification weighs that.

use super::dataset::{Elements, Syntax, Tag, UDI};
use crate::{
    dissect::{Say, Who},
    observation::{Field, Grammar},
};

const COMMAND_FIELD: Tag = 0x0000_0100;
const DATA_SET_TYPE: Tag = 0x0000_0800;
const STATUS: Tag = 0x0000_0900;
const AFFECTED_INSTANCE: Tag = 0x0000_1000;
/// Of a command set, in ascending order.
const COMMAND_TAGS: &[Tag] = &[COMMAND_FIELD, DATA_SET_TYPE, STATUS, AFFECTED_INSTANCE];

const INSTANCE: Tag = 0x0008_0018;
const STUDY: Tag = 0x0020_000d;
/// What a data set may say of a device, in ascending order; UIDs leave as hashes.
const DEVICE_FIELDS: &[(Tag, Field)] = &[
    (0x0008_0060, Field::DicomModality),
    (0x0008_0070, Field::DicomManufacturer),
    (0x0008_1010, Field::DicomStationName),
    (0x0008_1040, Field::DicomDepartment),
    (0x0008_1090, Field::DicomModel),
    (0x0018_1000, Field::DicomSerial),
    (0x0018_1002, Field::DicomDeviceUid),
    (UDI, Field::DicomUdi),
    (0x0018_1020, Field::DicomSoftware),
];
/// [`INSTANCE`], those of [`DEVICE_FIELDS`], [`STUDY`].
const DATA_TAGS: &[Tag] = &[
    INSTANCE,
    0x0008_0060,
    0x0008_0070,
    0x0008_1010,
    0x0008_1040,
    0x0008_1090,
    0x0018_1000,
    0x0018_1002,
    UDI,
    0x0018_1020,
    STUDY,
];

const STORE: u16 = 0x0001;
const ANSWER: u16 = 0x8000;
const NO_DATA_SET: u16 = 0x0101;
/// More answers follow (PS3.7 annex C).
const PENDING: [u16; 2] = [0xff00, 0xff01];
/// SOP class not supported; unrecognised operation.
const UNSERVED: [u16; 2] = [0x0122, 0x0211];

/// The name of a request (PS3.7 table E.1-1).
const fn name_of(command: u16) -> Option<&'static str> {
    Some(match command {
        STORE => "c_store",
        0x0010 => "c_get",
        0x0020 => "c_find",
        0x0021 => "c_move",
        0x0030 => "c_echo",
        0x0100 => "n_event_report",
        0x0110 => "n_get",
        0x0120 => "n_set",
        0x0130 => "n_action",
        0x0140 => "n_create",
        0x0150 => "n_delete",
        0x0fff => "c_cancel",
        _ => return None,
    })
}

/// What a command set has said so far.
#[derive(Default)]
struct Command {
    field: Option<u16>,
    has_data_set: bool,
    instance_said: bool,
}

impl Command {
    fn take(&mut self, from: usize, tag: Tag, value: &[u8], say: &mut Say<'_>) {
        let number = value.first_chunk().map(|octets| u16::from_le_bytes(*octets));
        match (tag, number) {
            (COMMAND_FIELD, Some(field)) => {
                self.field = Some(field);
                if let Some(name) = name_of(field) {
                    say.word(Who::End(from), Field::DicomCommand, name);
                }
            }
            (DATA_SET_TYPE, Some(kind)) => self.has_data_set = kind != NO_DATA_SET,
            (STATUS, Some(status)) => {
                let served = self.field.filter(|field| field & ANSWER != 0).and_then(|field| name_of(field & !ANSWER));
                if let Some(name) = served.filter(|_| !PENDING.contains(&status) && !UNSERVED.contains(&status)) {
                    say.word(Who::End(from), Field::DicomServed, name);
                }
            }
            (AFFECTED_INSTANCE, _) if self.field == Some(STORE) => {
                self.instance_said = say_hashed(from, Field::DicomInstance, value, say);
            }
            _ => {}
        }
    }
}

/// Messages of one direction.
#[derive(Default)]
pub struct Messages {
    command: Command,
    set: Option<Elements>,
    /// The set that is being read is a command set; `None` between sets.
    in_command: Option<bool>,
}

impl Messages {
    /// A fragment begins: `is_command` and the syntax are its presentation-data-value's.
    pub fn begin(&mut self, is_command: bool, syntax: Syntax) {
        if self.in_command == Some(is_command) {
            return;
        }
        self.in_command = Some(is_command);
        self.set = if is_command {
            self.command = Command::default();
            Some(Elements::new(Syntax::Implicit, COMMAND_TAGS))
        } else if self.command.field == Some(STORE) && self.command.has_data_set {
            Some(Elements::new(syntax, DATA_TAGS))
        } else {
            Some(Elements::unwanted())
        };
    }

    /// Octets of the fragment. `is_maker`: that end may have made what it stores.
    pub fn feed(&mut self, from: usize, is_maker: bool, octets: &[u8], say: &mut Say<'_>) {
        let Self { command, set: Some(set), in_command: Some(in_command) } = self else { return };
        if *in_command {
            set.feed(octets, &mut |tag, value| command.take(from, tag, value, say));
        } else {
            let instance_said = command.instance_said;
            set.feed(octets, &mut |tag, value| {
                match tag {
                    INSTANCE => !instance_said && say_hashed(from, Field::DicomInstance, value, say),
                    STUDY => say_hashed(from, Field::DicomStudy, value, say),
                    _ => is_maker && say_device(from, tag, value, say),
                };
            });
        }
    }

    /// Octets of the fragment are lost.
    pub fn gap(&mut self, octets: u32) {
        if let Some(set) = &mut self.set {
            set.gap(octets);
        }
    }

    /// It is not known where in a message the direction is.
    pub fn lose(&mut self) {
        *self = Self::default();
    }

    /// The last fragment of the set is read.
    pub fn end(&mut self) {
        if self.in_command == Some(false) {
            self.command = Command::default();
        }
        self.set = None;
        self.in_command = None;
    }
}

fn say_device(from: usize, tag: Tag, value: &[u8], say: &mut Say<'_>) -> bool {
    // The first of several values.
    let value = value.split(|octet| *octet == b'\\').next().unwrap_or(value);
    let field = DEVICE_FIELDS.iter().find(|(device_tag, _)| *device_tag == tag);
    field.is_some_and(|(_, field)| say.text(Who::End(from), *field, value))
}

fn say_hashed(from: usize, field: Field, uid: &[u8], say: &mut Say<'_>) -> bool {
    let uid = Grammar::Oid.check(uid);
    if let Some(uid) = uid {
        say.hashed(Who::End(from), field, uid.as_bytes());
    }
    uid.is_some()
}
