//! Imaging: associations, studies, worklists, the archive.

use super::office::secure_modern;
use crate::scene::{
    payload::dicom::{self, Modality},
    stage::{Family, Id, MILLI, SECOND, Stage},
    talk::{Setting, Side, Talk, Trouble, USUAL},
};

/// Version name in the user information of the archive.
const ARCHIVE_VERSION: &str = "STRATUS_A16_41";

/// A machine, its AE title, port at the archive, images a study, pixels a side.
type Machine = (&'static str, &'static str, u16, u16, u16);

const MACHINES: &[Machine] = &[
    ("ct-1", "NORTH_CT1", 104, 12, 128),
    ("mr-1", "NORTH_MR1", 104, 16, 96),
    ("us-1", "NORTH_US1", 11_112, 4, 120),
    ("xray-1", "NORTH_DX1", 104, 2, 256),
];
const CLINIC: Machine = ("clinic-us", "CLINIC_US", 11_112, 3, 64);

fn modality(stage: &Stage<'_>, id: Id) -> Modality {
    let device = stage.device(id);
    let (sop_class, code) = match device.category {
        "ct" => ("1.2.840.10008.5.1.4.1.1.2", "CT"),
        "mr" => ("1.2.840.10008.5.1.4.1.1.4", "MR"),
        "ultrasound" => ("1.2.840.10008.5.1.4.1.1.6.1", "US"),
        _ => ("1.2.840.10008.5.1.4.1.1.1.1", "DX"),
    };
    Modality { sop_class, code, manufacturer: device.manufacturer, model: device.model }
}

/// The pixels of a checkered phantom, twelve bits in two octets each.
fn phantom(side: u16, image: u16) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(usize::from(side).pow(2) * 2);
    for row in 0..side {
        for column in 0..side {
            pixels.extend(((((row ^ column) * 8) + image) & 0xfff).to_le_bytes());
        }
    }
    pixels
}

fn send_study(stage: &mut Stage<'_>, at: u64, machine: &Machine, trouble: Trouble) {
    let &(name, title, port, images, side) = machine;
    let (id, archive) = (stage.named(name), stage.named("pacs-1"));
    let modality = modality(stage, id);
    let study = format!("2.25.{}", stage.random.next());
    let series = format!("{study}.1");
    let mut talk = Talk::open(stage, at, id, archive, port, USUAL);
    let version = "TALLIS_52";
    talk.exchange(
        &dicom::request("NORTH_PACS", title, modality.sop_class, version),
        4 * MILLI,
        &dicom::accept("NORTH_PACS", title, ARCHIVE_VERSION),
    );
    let [ask, answer] = dicom::echo(1);
    talk.exchange(&ask, MILLI, &answer);
    for image in 1..=images {
        let instance = format!("{series}.{image}");
        let pixels = phantom(side, image);
        let data_set = dicom::image(&modality, title, [&study, &series, &instance], image, side, &pixels);
        let [ask, answer] = dicom::store(&modality, image + 1, &instance, &data_set);
        talk.send_with(Side::Client, &ask, if image == 2 { trouble } else { Trouble::None });
        talk.pause(6 * MILLI);
        talk.send(Side::Server, &answer);
    }
    talk.exchange(&dicom::release(), MILLI, &dicom::released());
    talk.close(Side::Client);
}

/// A machine sends a study; some with trouble on the way.
pub(super) fn study(stage: &mut Stage<'_>, at: u64, turn: u32) {
    let trouble = [Trouble::None, Trouble::OutOfOrder, Trouble::Retransmission, Trouble::ZeroWindow][turn as usize % 4];
    send_study(stage, at, &MACHINES[turn as usize % MACHINES.len()], trouble);
}

/// The remote clinic sends a study; its frames carry two tags.
pub(super) fn clinic_study(stage: &mut Stage<'_>, at: u64, _: u32) {
    send_study(stage, at, &CLINIC, Trouble::OutOfOrder);
    let (scanner, desk) = (stage.named("clinic-us"), stage.named("clinic-ws"));
    secure_modern(stage, at + 4 * SECOND, (desk, scanner, 8443), "clinic-us.north.example", USUAL, [600, 9_000]);
}

/// A machine asks the worklist.
pub(super) fn worklist(stage: &mut Stage<'_>, at: u64, turn: u32) {
    let &(name, title, ..) = &MACHINES[turn as usize % MACHINES.len()];
    let (id, server) = (stage.named(name), stage.named("worklist-1"));
    let modality = modality(stage, id);
    let mut talk = Talk::open(stage, at, id, server, 104, USUAL);
    talk.exchange(
        &dicom::request("NORTH_MWL", title, modality.sop_class, "TALLIS_52"),
        3 * MILLI,
        &dicom::accept("NORTH_MWL", title, "STRATUS_WL_3"),
    );
    let [ask, answer] = dicom::worklist(&modality, title, 1);
    talk.exchange(&ask, 20 * MILLI, &answer);
    talk.exchange(&dicom::release(), MILLI, &dicom::released());
    talk.close(Side::Server);
}

/// The archive does not know a machine.
pub(super) fn refused_association(stage: &mut Stage<'_>, at: u64, _: u32) {
    let (id, archive) = (stage.named("viewer-1"), stage.named("pacs-1"));
    let modality = modality(stage, id);
    let mut talk = Talk::open(stage, at, id, archive, 104, USUAL);
    talk.exchange(&dicom::request("OLD_PACS", "VIEWER1", modality.sop_class, "QREAD_9"), 2 * MILLI, &dicom::reject());
    talk.reset(Side::Server);
}

/// The archive writes to the storage server, over IPv6, with jumbo frames where the scene has them.
pub(super) fn archive(stage: &mut Stage<'_>, at: u64, _: u32) {
    let (archive, storage) = (stage.named("pacs-1"), stage.named("nas-1"));
    let setting = Setting { family: Family::V6, mtu: stage.storage_mtu, ..USUAL };
    secure_modern(stage, at, (archive, storage, 9000), "nas-1.north.example", setting, [900_000, 500]);
}

/// A radiologist reads.
pub(super) fn reading(stage: &mut Stage<'_>, at: u64, _: u32) {
    let (viewer, archive) = (stage.named("viewer-1"), stage.named("pacs-1"));
    secure_modern(stage, at, (viewer, archive, 443), "pacs-1.north.example", USUAL, [1_500, 420_000]);
}
