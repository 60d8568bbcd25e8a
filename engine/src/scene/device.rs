//! The hospital's inventory: a table of invented devices → labelled devices with addresses.
//!
//! Makers, models and address prefixes are invented; every address is private. What a device is called here is the truth that
//! identification can be measured against.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::frame::Tag;
use crate::flow::Mac;

/// How many ports of the mirrored switch the devices are spread over.
pub const BRIDGE_PORTS: usize = 8;

/// Link address of the router's virtual interface in every VLAN.
pub(super) const ROUTER: &str = "core-router";

/// One labelled device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SceneDevice {
    /// Unique name, also its host name where it has one.
    pub name: &'static str,
    /// Category of the device taxonomy.
    pub category: &'static str,
    /// Invented maker.
    pub manufacturer: &'static str,
    /// Invented model.
    pub model: &'static str,
    /// MAC address.
    pub mac: Mac,
    /// Addresses: IPv4, IPv6 link-local, IPv6 unique-local. Empty for devices that only speak on the link layer.
    pub ips: Vec<IpAddr>,
    /// VLAN identifier; `None` for untagged frames.
    pub vlan: Option<u16>,
    /// Service VLAN identifier (802.1ad) around it.
    pub service_vlan: Option<u16>,
    /// Port of the switch by which its frames enter, below [`BRIDGE_PORTS`].
    pub port: usize,
    /// How its network stack behaves.
    pub(super) stack: Stack,
}

/// Families of network stacks, which differ in hop limit, window and TCP options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stack {
    Linux,
    Windows,
    Embedded,
}

impl SceneDevice {
    pub(super) fn v4(&self) -> Ipv4Addr {
        self.ips.iter().find_map(|ip| if let IpAddr::V4(ip) = ip { Some(*ip) } else { None }).unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    pub(super) fn link_local(&self) -> Ipv6Addr {
        Ipv6Addr::from(u128::from(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)) | u128::from(self.eui_64()))
    }

    pub(super) fn v6(&self) -> Ipv6Addr {
        let prefix = Ipv6Addr::new(0xfd20, 0xa05, 0x11, self.vlan.unwrap_or(1), 0, 0, 0, 0);
        Ipv6Addr::from(u128::from(prefix) | u128::from(self.eui_64()))
    }

    fn eui_64(&self) -> u64 {
        let [a, b, c, d, e, f] = self.mac.0;
        u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f])
    }

    pub(super) fn tags(&self) -> Vec<Tag> {
        self.service_vlan.map(Tag::service).into_iter().chain(self.vlan.map(Tag::customer)).collect()
    }

    pub(super) const fn hops(&self) -> u8 {
        match self.stack {
            Stack::Windows => 128,
            Stack::Linux => 64,
            Stack::Embedded => 255,
        }
    }
}

/// Makers: name and the first three octets of their addresses.
const MAKERS: &[(&str, [u8; 3])] = &[
    ("Northlake Infusion", [0x28, 0x6b, 0x41]),
    ("Aurelia Monitoring", [0x3c, 0x51, 0x8f]),
    ("Breathwell", [0x44, 0x9a, 0x27]),
    ("Tallis Imaging", [0x50, 0x8d, 0x1b]),
    ("Corvane Medical", [0x58, 0x2e, 0x63]),
    ("Helix Bench", [0x6c, 0x3a, 0x95]),
    ("Stratus Compute", [0x70, 0x1f, 0x8b]),
    ("Papermill", [0x7c, 0x4d, 0xa3]),
    ("Vantry Voice", [0x84, 0x6e, 0x2d]),
    ("Oculine", [0x90, 0x3b, 0xc7]),
    ("Lattice Networks", [0x94, 0xd5, 0x1e]),
    ("Grovetech Controls", [0x9c, 0x62, 0x7a]),
    ("Meridian Power", [0xa8, 0x4f, 0x35]),
    ("Brightpane", [0xb0, 0x7d, 0x2c]),
    ("Quillon Computers", [0xbc, 0x59, 0xe3]),
];

use Stack::{Embedded, Linux, Windows};

type Row = (&'static str, &'static str, &'static str, &'static str, u16, Stack);

/// Name, category, maker, model, VLAN (1: untagged), stack.
const ROWS: &[Row] = &[
    (ROUTER, "router", "Lattice Networks", "LX-9300", 1, Linux),
    ("switch-core", "network_switch", "Lattice Networks", "LS-4800", 1, Embedded),
    ("switch-ward-3", "network_switch", "Lattice Networks", "LS-2400", 1, Embedded),
    ("ap-ward-3", "access_point", "Lattice Networks", "LW-62", 1, Linux),
    ("ups-1", "ups", "Meridian Power", "Sentry 3000", 1, Embedded),
    ("pdu-1", "pdu", "Meridian Power", "Strip 24", 1, Embedded),
    ("dc-1", "domain_controller", "Stratus Compute", "R640v", 10, Windows),
    ("dns-1", "dns_server", "Stratus Compute", "R340", 10, Linux),
    ("dhcp-1", "dhcp_server", "Stratus Compute", "R340", 10, Linux),
    ("ehr-1", "ehr_server", "Stratus Compute", "R940", 10, Windows),
    ("engine-1", "interface_engine", "Stratus Compute", "R640", 10, Linux),
    ("pump-server", "pump_server", "Northlake Infusion", "FlowHub 4", 10, Windows),
    ("monitor-gateway", "monitor_gateway", "Aurelia Monitoring", "Gateway 2", 10, Windows),
    ("nas-1", "nas", "Stratus Compute", "Vault 8", 10, Linux),
    ("log-1", "server", "Stratus Compute", "R340", 10, Linux),
    ("iot-hub-1", "iot_hub", "Grovetech Controls", "Hub 3", 10, Linux),
    ("pump-301", "infusion_pump", "Northlake Infusion", "Rill 7", 20, Embedded),
    ("pump-302", "infusion_pump", "Northlake Infusion", "Rill 7", 20, Embedded),
    ("pump-303", "infusion_pump", "Northlake Infusion", "Rill 7 Syringe", 20, Embedded),
    ("pump-304", "infusion_pump", "Northlake Infusion", "Rill 7", 20, Embedded),
    ("monitor-301", "patient_monitor", "Aurelia Monitoring", "Vista M50", 20, Embedded),
    ("monitor-302", "patient_monitor", "Aurelia Monitoring", "Vista M50", 20, Embedded),
    ("monitor-303", "patient_monitor", "Aurelia Monitoring", "Vista M80", 20, Embedded),
    ("monitor-304", "patient_monitor", "Aurelia Monitoring", "Vista M80", 20, Embedded),
    ("vent-301", "ventilator", "Breathwell", "Aera V2", 20, Embedded),
    ("ecg-301", "ecg", "Corvane Medical", "TraceCart 12", 20, Windows),
    ("nurse-call-3", "nurse_call", "Corvane Medical", "Beckon", 20, Linux),
    ("med-cabinet-3", "medication_cabinet", "Corvane Medical", "DoseVault", 20, Windows),
    ("ct-1", "ct", "Tallis Imaging", "Helica 128", 30, Linux),
    ("mr-1", "mr", "Tallis Imaging", "Magna 3T", 30, Linux),
    ("us-1", "ultrasound", "Tallis Imaging", "Sono E9", 30, Windows),
    ("xray-1", "xray", "Tallis Imaging", "Radia DX", 30, Windows),
    ("pacs-1", "pacs", "Stratus Compute", "Archive 16", 30, Linux),
    ("viewer-1", "dicom_workstation", "Quillon Computers", "ReadStation", 30, Windows),
    ("worklist-1", "worklist_server", "Stratus Compute", "R340", 30, Linux),
    ("lab-chem-1", "lab_analyzer", "Helix Bench", "Chemia 900", 40, Windows),
    ("lab-heme-1", "lab_analyzer", "Helix Bench", "Hema 5", 40, Embedded),
    ("poc-1", "point_of_care_analyzer", "Helix Bench", "Gasline", 40, Embedded),
    ("label-1", "label_printer", "Papermill", "Tagster 4", 40, Embedded),
    ("ws-101", "workstation", "Quillon Computers", "Desk 5", 50, Windows),
    ("ws-102", "workstation", "Quillon Computers", "Desk 5", 50, Windows),
    ("ws-103", "workstation", "Quillon Computers", "Desk 7", 50, Windows),
    ("printer-1", "printer", "Papermill", "Folio 400", 50, Embedded),
    ("printer-2", "printer", "Papermill", "Folio 700", 50, Embedded),
    ("phone-1", "voip_phone", "Vantry Voice", "V20", 60, Linux),
    ("phone-2", "voip_phone", "Vantry Voice", "V20", 60, Linux),
    ("phone-3", "voip_phone", "Vantry Voice", "V40", 60, Linux),
    ("pbx-1", "server", "Vantry Voice", "Exchange 2", 60, Linux),
    ("cam-1", "ip_camera", "Oculine", "Dome 4", 70, Linux),
    ("cam-2", "ip_camera", "Oculine", "Dome 4", 70, Linux),
    ("cam-3", "ip_camera", "Oculine", "Bullet 8", 70, Linux),
    ("nvr-1", "nvr", "Oculine", "Recorder 32", 70, Linux),
    ("bms-1", "bms_controller", "Grovetech Controls", "Trunk 800", 80, Embedded),
    ("bms-2", "bms_controller", "Grovetech Controls", "Trunk 800", 80, Embedded),
    ("hvac-1", "hvac", "Grovetech Controls", "AirPlant", 80, Embedded),
    ("badge-1", "badge_reader", "Grovetech Controls", "Latch 2", 80, Embedded),
    ("thermo-1", "sensor", "Grovetech Controls", "ColdEye", 80, Embedded),
    ("laptop-1", "laptop", "Quillon Computers", "Fold 14", 90, Windows),
    ("laptop-2", "laptop", "Quillon Computers", "Fold 14", 90, Linux),
    ("tv-1", "smart_tv", "Brightpane", "Glow 55", 90, Linux),
    ("clinic-us", "ultrasound", "Tallis Imaging", "Sono E5", 20, Windows),
    ("clinic-ws", "workstation", "Quillon Computers", "Desk 5", 20, Windows),
];

/// Service VLAN of the remote clinic, whose frames are double-tagged.
const CLINIC_SERVICE_VLAN: u16 = 300;

/// All devices, in the table's order.
pub(super) fn inventory() -> Vec<SceneDevice> {
    ROWS.iter().enumerate().map(|(index, row)| device(index, row)).collect()
}

fn device(index: usize, &(name, category, manufacturer, model, vlan, stack): &Row) -> SceneDevice {
    let [a, b, c] = MAKERS.iter().find(|maker| maker.0 == manufacturer).map_or([0x02, 0, 0], |maker| maker.1);
    let is_clinic = name.starts_with("clinic-");
    let mut device = SceneDevice {
        name,
        category,
        manufacturer,
        model,
        mac: Mac([a, b, c, 0x10 + vlan as u8, index as u8, (index as u8).wrapping_mul(37)]),
        ips: Vec::new(),
        vlan: (vlan != 1).then_some(vlan),
        service_vlan: is_clinic.then_some(CLINIC_SERVICE_VLAN),
        port: if is_clinic { BRIDGE_PORTS - 1 } else { usize::from(vlan / 10) % (BRIDGE_PORTS - 1) },
        stack,
    };
    let site = if is_clinic { 30 } else { 20 };
    let host = if name == ROUTER { 1 } else { 10 + index as u8 };
    device.ips.push(IpAddr::V4(Ipv4Addr::new(10, site, vlan as u8, host)));
    device.ips.push(IpAddr::V6(device.link_local()));
    device.ips.push(IpAddr::V6(device.v6()));
    device
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn addresses_and_names_are_unique_and_makers_are_known() {
        let devices = inventory();
        assert_eq!(devices.len(), ROWS.len());
        assert_eq!(devices.iter().map(|d| d.mac).collect::<HashSet<_>>().len(), devices.len());
        assert_eq!(devices.iter().map(|d| d.name).collect::<HashSet<_>>().len(), devices.len());
        assert_eq!(devices.iter().flat_map(|d| &d.ips).collect::<HashSet<_>>().len(), 3 * devices.len());
        assert!(devices.iter().all(|d| d.mac.0[0] & 3 == 0 && d.port < BRIDGE_PORTS));
        assert_eq!((0..BRIDGE_PORTS).filter(|port| devices.iter().any(|d| d.port == *port)).count(), BRIDGE_PORTS);
    }
}
