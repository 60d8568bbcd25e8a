//! The taxonomy: every category a device may have.

use serde::{Deserialize, Serialize};

/// Which part of a hospital a category belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sector {
    /// Touches patients or their data.
    Clinical,
    /// Computers and what joins them.
    It,
    /// Building controls and things.
    Building,
    /// Not known.
    Unknown,
}

macro_rules! categories {
    ($($variant:ident $name:literal $sector:ident;)*) => {
        /// What a device is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Category { $(#[doc = concat!("`", $name, "`")] $variant,)* }

        impl Category {
            /// All of them, `unknown` last.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Name in listings, rules and the lake.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Where it belongs.
            pub const fn sector(self) -> Sector {
                match self { $(Self::$variant => Sector::$sector,)* }
            }

            /// The category of that name.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|category| category.name() == name)
            }
        }
    };
}

categories! {
    InfusionPump "infusion_pump" Clinical;
    PumpServer "pump_server" Clinical;
    PatientMonitor "patient_monitor" Clinical;
    MonitorGateway "monitor_gateway" Clinical;
    Ventilator "ventilator" Clinical;
    AnesthesiaMachine "anesthesia_machine" Clinical;
    Ecg "ecg" Clinical;
    Defibrillator "defibrillator" Clinical;
    DialysisMachine "dialysis_machine" Clinical;
    Ct "ct" Clinical;
    Mr "mr" Clinical;
    Ultrasound "ultrasound" Clinical;
    Xray "xray" Clinical;
    Mammography "mammography" Clinical;
    NuclearMedicine "nuclear_medicine" Clinical;
    Angiography "angiography" Clinical;
    Endoscopy "endoscopy" Clinical;
    Radiotherapy "radiotherapy" Clinical;
    DicomWorkstation "dicom_workstation" Clinical;
    DicomPrinter "dicom_printer" Clinical;
    Pacs "pacs" Clinical;
    WorklistServer "worklist_server" Clinical;
    LabAnalyzer "lab_analyzer" Clinical;
    PointOfCareAnalyzer "point_of_care_analyzer" Clinical;
    MedicationCabinet "medication_cabinet" Clinical;
    NurseCall "nurse_call" Clinical;
    InterfaceEngine "interface_engine" Clinical;
    EhrServer "ehr_server" Clinical;
    HealthScale "health_scale" Clinical;
    ClinicalGateway "clinical_gateway" Clinical;
    Workstation "workstation" It;
    Laptop "laptop" It;
    Server "server" It;
    ThinClient "thin_client" It;
    Tablet "tablet" It;
    Smartphone "smartphone" It;
    Printer "printer" It;
    LabelPrinter "label_printer" It;
    BarcodeScanner "barcode_scanner" It;
    VoipPhone "voip_phone" It;
    IpCamera "ip_camera" It;
    Nvr "nvr" It;
    Nas "nas" It;
    NetworkSwitch "network_switch" It;
    Router "router" It;
    Firewall "firewall" It;
    AccessPoint "access_point" It;
    WirelessController "wireless_controller" It;
    Ups "ups" It;
    Pdu "pdu" It;
    BadgeReader "badge_reader" It;
    SmartTv "smart_tv" It;
    Hypervisor "hypervisor" It;
    DomainController "domain_controller" It;
    DnsServer "dns_server" It;
    DhcpServer "dhcp_server" It;
    BmsController "bms_controller" Building;
    Hvac "hvac" Building;
    Lighting "lighting" Building;
    Thermostat "thermostat" Building;
    Plc "plc" Building;
    Elevator "elevator" Building;
    IotHub "iot_hub" Building;
    SmartPlug "smart_plug" Building;
    SmartSwitch "smart_switch" Building;
    Sensor "sensor" Building;
    SmartAppliance "smart_appliance" Building;
    SmartLock "smart_lock" Building;
    GameConsole "game_console" Building;
    Wearable "wearable" Building;
    Unknown "unknown" Unknown;
}

impl Category {
    /// A patient's life may hang on it: one unauthenticated word never makes one.
    pub const fn is_life_sustaining(self) -> bool {
        matches!(
            self,
            Self::Ventilator
                | Self::AnesthesiaMachine
                | Self::InfusionPump
                | Self::Defibrillator
                | Self::DialysisMachine
                | Self::PatientMonitor
        )
    }

    /// It handles data of patients by its nature.
    pub const fn handles_patient_data(self) -> bool {
        matches!(self.sector(), Sector::Clinical) && !matches!(self, Self::NurseCall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for category in Category::ALL {
            assert_eq!(Category::named(category.name()), Some(*category));
        }
        assert_eq!(Category::ALL.last(), Some(&Category::Unknown));
        assert!(Category::Ventilator.is_life_sustaining() && !Category::Printer.handles_patient_data());
    }
}
