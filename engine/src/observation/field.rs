//! The allow-list: every field that a dissector may fill.

use super::Grammar;

macro_rules! protocols {
    ($($variant:ident $name:literal $what:literal;)*) => {
        /// A protocol that is told apart by content.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Protocol { $(#[doc = $what] $variant,)* }

        impl Protocol {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Name in observations, rules and the lake.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it is, with its standard.
            pub const fn about(self) -> &'static str {
                match self { $(Self::$variant => $what,)* }
            }
        }
    };
}

protocols! {
    Link "link" "Frames as such: addresses, tags";
    Arp "arp" "ARP (RFC 826)";
    Nd "nd" "IPv6 neighbour discovery (RFC 4861)";
    Dhcp "dhcp" "DHCPv4 (RFC 2131, 2132)";
    Dhcp6 "dhcp6" "DHCPv6 (RFC 8415)";
    Dns "dns" "DNS (RFC 1035)";
    Mdns "mdns" "Multicast DNS and DNS-SD (RFC 6762, 6763)";
    Llmnr "llmnr" "LLMNR (RFC 4795)";
    Netbios "netbios" "NetBIOS names and datagrams (RFC 1002)";
    Ssdp "ssdp" "SSDP and UPnP descriptions (UPnP Device Architecture 2.0)";
    Wsd "wsd" "WS-Discovery (OASIS WS-Discovery 1.1)";
    Lldp "lldp" "LLDP and LLDP-MED (IEEE 802.1AB, ANSI/TIA-1057)";
    Cdp "cdp" "Cisco Discovery Protocol";
    Stp "stp" "Spanning tree (IEEE 802.1D)";
    Http "http" "HTTP/1 (RFC 9112)";
    Tls "tls" "TLS hellos and certificates (RFC 8446, 5246)";
    Ssh "ssh" "SSH identification (RFC 4253)";
    Smb "smb" "SMB negotiation and NTLM (MS-SMB2, MS-NLMP)";
    Snmp "snmp" "SNMP v1 to v3 (RFC 1157, 3416, 3414)";
    Sip "sip" "SIP (RFC 3261)";
    Rtsp "rtsp" "RTSP (RFC 2326)";
    Ipp "ipp" "IPP (RFC 8011)";
    Pjl "pjl" "PJL over raw printing";
    Zpl "zpl" "ZPL label printing";
    Bacnet "bacnet" "BACnet/IP (ASHRAE 135 annex J)";
    Modbus "modbus" "Modbus/TCP";
    Enip "enip" "EtherNet/IP (CIP volume 2)";
    S7 "s7" "S7 communication over ISO on TCP (RFC 1006)";
    OpcUa "opcua" "OPC UA over TCP (IEC 62541-6)";
    Dnp3 "dnp3" "DNP3 (IEEE 1815)";
    Mqtt "mqtt" "MQTT 3.1, 3.1.1, 5";
    Coap "coap" "CoAP (RFC 7252)";
    Skinny "skinny" "Skinny client control (SCCP)";
    Ntp "ntp" "NTP (RFC 5905)";
    Syslog "syslog" "Syslog (RFC 3164, 5424)";
    Ftp "ftp" "FTP (RFC 959)";
    Telnet "telnet" "Telnet (RFC 854)";
    Smtp "smtp" "SMTP (RFC 5321)";
    Rdp "rdp" "RDP connection requests (MS-RDPBCGR)";
    Ldap "ldap" "LDAP (RFC 4511)";
    Kerberos "kerberos" "Kerberos (RFC 4120)";
    Sql "sql" "SQL Server pre-login (MS-TDS)";
    Dicom "dicom" "DICOM upper layer, DIMSE and device attributes (PS3.7, PS3.8)";
    Hl7 "hl7" "HL7 v2 over MLLP";
    Poct "poct1a" "POCT1-A (CLSI)";
    Astm "astm" "ASTM E1381/E1394 (CLSI LIS1, LIS2)";
    Intellivue "intellivue" "Philips IntelliVue data export";
}

macro_rules! fields {
    ($($variant:ident $protocol:ident $name:literal $grammar:ident $what:literal;)*) => {
        /// A field that may leave a parser.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Field { $(#[doc = $what] $variant,)* }

        impl Field {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Name in rules, `why` and the lake: the protocol's, a dot, the field's.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The protocol whose parser fills it.
            pub const fn protocol(self) -> Protocol {
                match self { $(Self::$variant => Protocol::$protocol,)* }
            }

            /// The form of its values.
            pub const fn grammar(self) -> Grammar {
                match self { $(Self::$variant => Grammar::$grammar,)* }
            }

            /// What it says.
            pub const fn about(self) -> &'static str {
                match self { $(Self::$variant => $what,)* }
            }

            /// The field of that name.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|field| field.name() == name)
            }
        }
    };
}

fields! {
    Serves Link "link.serves" Word "Name of a protocol whose server it is, seen to answer.";
    Uses Link "link.uses" Word "Name of a protocol whose client it is.";
    Oui Link "link.oui" Label "Organisation that its MAC is registered to (IEEE MA-L, MA-M, MA-S).";
    Stack Link "link.stack" Token "How its TCP opens: initial hop limit, window, MSS, scale and option order of a SYN.";
    ArpAddress Arp "arp.address" Address "IP address it claims.";
    ArpGateway Arp "arp.gateway_asked" Address "Address it asked for most, often its gateway.";
    NdAddress Nd "nd.address" Address "IPv6 address it claims (neighbour advertisement or solicitation).";
    NdRouter Nd "nd.router" Word "It sends router advertisements.";
    DhcpHostname Dhcp "dhcp.hostname" Name "Host name (option 12).";
    DhcpFqdn Dhcp "dhcp.fqdn" Name "Client FQDN (option 81).";
    DhcpDomain Dhcp "dhcp.domain" Name "Domain name it was given (option 15).";
    DhcpVendorClass Dhcp "dhcp.vendor_class" Label "Vendor class identifier (option 60).";
    DhcpUserClass Dhcp "dhcp.user_class" Label "User class (option 77).";
    DhcpClientId Dhcp "dhcp.client_id" Token "Client identifier (option 61) in hexadecimal digits.";
    DhcpParameters Dhcp "dhcp.parameters" Token "Parameter request list (option 55), decimal, in order, joined by commas.";
    DhcpOptions Dhcp "dhcp.options" Token "Option codes of a DISCOVER or REQUEST, decimal, in order, joined by commas.";
    DhcpAddress Dhcp "dhcp.address" Address "Address that was acknowledged to it.";
    DhcpRequested Dhcp "dhcp.requested" Address "Address it asked for (option 50).";
    DhcpRouter Dhcp "dhcp.router" Word "A lease names it as router (option 3).";
    DhcpNameServer Dhcp "dhcp.name_server" Word "A lease names it as DNS server (option 6).";
    DhcpRelayCircuit Dhcp "dhcp.relay_circuit" Label "Circuit that a relay says it is on (option 82.1), when printable.";
    DhcpRelayRemote Dhcp "dhcp.relay_remote" Token "Remote id that a relay gives (option 82.2), hexadecimal.";
    DhcpServer Dhcp "dhcp.server" Word "It answers as DHCP server.";
    DhcpManufacturer Dhcp "dhcp.manufacturer" Label "Manufacturer it writes into vendor options (43, 125, or a URL of option 161).";
    DhcpModel Dhcp "dhcp.model" Label "Model it writes into vendor options.";
    DhcpSerial Dhcp "dhcp.serial" Token "Serial number it writes into vendor options.";
    Dhcp6Duid Dhcp6 "dhcp6.duid" Token "DUID, hexadecimal.";
    Dhcp6VendorClass Dhcp6 "dhcp6.vendor_class" Label "Vendor class data (option 16).";
    Dhcp6Enterprise Dhcp6 "dhcp6.enterprise" Number "Enterprise number of its vendor class (option 16).";
    Dhcp6Fqdn Dhcp6 "dhcp6.fqdn" Name "Client FQDN (option 39).";
    Dhcp6Options Dhcp6 "dhcp6.options" Token "Option request (option 6), decimal, in order.";
    Dhcp6Address Dhcp6 "dhcp6.address" Address "Address that was given to it.";
    Dhcp6Server Dhcp6 "dhcp6.server" Word "It answers as DHCPv6 server.";
    DnsQuery Dns "dns.query" Name "Name it asked for.";
    DnsName Dns "dns.name" Name "Name that an answer gives for its address.";
    DnsServer Dns "dns.server" Word "It answers DNS queries.";
    MdnsHostname Mdns "mdns.hostname" Name "Its own name under .local, without it.";
    MdnsService Mdns "mdns.service" Token "Service type it offers, as `_ipp._tcp`.";
    MdnsQuery Mdns "mdns.query" Token "Service type it looks for.";
    MdnsInstance Mdns "mdns.instance" Label "Instance name of a service it offers.";
    MdnsManufacturer Mdns "mdns.manufacturer" Label "Manufacturer in a TXT record (usb_MFG, manufacturer, mfr, vendor).";
    MdnsModel Mdns "mdns.model" Label "Model in a TXT record (ty, md, model, usb_MDL, am, product).";
    MdnsSerial Mdns "mdns.serial" Token "Serial number in a TXT record (sn, serial, serialNumber).";
    MdnsVersion Mdns "mdns.version" Label "Software version in a TXT record (fv, fw, vs, version, srcvers, os).";
    LlmnrName Llmnr "llmnr.name" Name "Name it answers to.";
    LlmnrQuery Llmnr "llmnr.query" Name "Name it asked for.";
    NetbiosName Netbios "netbios.name" Name "Unique name it registers, defends or sends from.";
    NetbiosGroup Netbios "netbios.group" Name "Group (domain or workgroup).";
    NetbiosService Netbios "netbios.service" Word "What the suffix of its name says: workstation, file_server, domain_master_browser, domain_controllers.";
    SsdpServer Ssdp "ssdp.server" Label "SERVER header.";
    SsdpType Ssdp "ssdp.type" Token "Device or service type it announces (NT, ST).";
    SsdpSearch Ssdp "ssdp.search" Token "Type it looks for.";
    SsdpUserAgent Ssdp "ssdp.user_agent" Label "USER-AGENT header.";
    SsdpManufacturer Ssdp "ssdp.manufacturer" Label "manufacturer of its description.";
    SsdpModel Ssdp "ssdp.model" Label "modelName of its description.";
    SsdpModelNumber Ssdp "ssdp.model_number" Label "modelNumber of its description.";
    SsdpSerial Ssdp "ssdp.serial" Token "serialNumber of its description.";
    SsdpDeviceType Ssdp "ssdp.device_type" Token "deviceType of its description.";
    SsdpFriendlyName Ssdp "ssdp.friendly_name" Label "friendlyName of its description.";
    WsdType Wsd "wsd.type" Token "Type it offers (d:Types).";
    WsdScope Wsd "wsd.scope" Token "Scope it offers (ONVIF hardware, name).";
    LldpChassis Lldp "lldp.chassis" Token "Chassis id (MAC, address or text).";
    LldpPort Lldp "lldp.port" Label "Port id or description.";
    LldpSystemName Lldp "lldp.system_name" Name "System name.";
    LldpSystemDescription Lldp "lldp.system_description" Label "System description.";
    LldpCapability Lldp "lldp.capability" Word "An enabled capability: repeater, bridge, access_point, router, telephone, docsis, station.";
    LldpAddress Lldp "lldp.address" Address "Management address.";
    LldpManufacturer Lldp "lldp.manufacturer" Label "LLDP-MED manufacturer name.";
    LldpModel Lldp "lldp.model" Label "LLDP-MED model name.";
    LldpSerial Lldp "lldp.serial" Token "LLDP-MED serial number.";
    LldpFirmware Lldp "lldp.firmware" Label "LLDP-MED firmware revision.";
    LldpSoftware Lldp "lldp.software" Label "LLDP-MED software revision.";
    LldpHardware Lldp "lldp.hardware" Label "LLDP-MED hardware revision.";
    LldpAsset Lldp "lldp.asset" Label "LLDP-MED asset id.";
    CdpDeviceId Cdp "cdp.device_id" Label "Device id.";
    CdpPlatform Cdp "cdp.platform" Label "Platform.";
    CdpSoftware Cdp "cdp.software" Label "First line of the software version.";
    CdpPort Cdp "cdp.port" Label "Port id.";
    CdpCapability Cdp "cdp.capability" Word "A capability: router, bridge, switch, host, phone, ….";
    CdpAddress Cdp "cdp.address" Address "Address it gives for itself.";
    StpBridge Stp "stp.bridge" Token "Bridge identifier it sends with.";
    HttpHost Http "http.host" Name "Host header: what clients call it.";
    HttpAsked Http "http.asked" Name "Host header: whom it asked.";
    HttpUserAgent Http "http.user_agent" Label "User-Agent header.";
    HttpServer Http "http.server" Label "Server header.";
    HttpPath Http "http.path" Token "Path template it serves: segments off the allow-list are replaced by `*`.";
    HttpRealm Http "http.realm" Label "Realm of an authentication challenge.";
    HttpFhir Http "http.fhir" Label "Software that a FHIR CapabilityStatement names.";
    TlsServerName Tls "tls.server_name" Name "SNI that it asked for.";
    TlsServedName Tls "tls.served_name" Name "SNI that it was asked for.";
    TlsAlpn Tls "tls.alpn" Token "First application protocol it offers.";
    TlsVersion Tls "tls.version" Word "Version that was agreed.";
    TlsJa4 Tls "tls.ja4" Token "JA4 fingerprint of its client hello.";
    TlsOrganization Tls "tls.organization" Label "Organisation of its certificate's subject.";
    TlsCommonName Tls "tls.common_name" Label "Common name of its certificate's subject.";
    TlsIssuer Tls "tls.issuer" Label "Organisation (or common name) of its certificate's issuer.";
    TlsNotAfter Tls "tls.not_after" Number "End of its certificate's validity, seconds since 1970.";
    SshBanner Ssh "ssh.banner" Label "Identification string, without `SSH-2.0-`.";
    SmbDialect Smb "smb.dialect" Word "Dialect that was agreed, or the newest offered.";
    SmbNativeOs Smb "smb.native_os" Label "SMB1 native OS.";
    SmbNativeLanManager Smb "smb.native_lan_manager" Label "SMB1 native LAN manager.";
    NtlmHost Smb "smb.ntlm_host" Name "NetBIOS computer name of an NTLM challenge, or workstation of an answer.";
    NtlmDomain Smb "smb.ntlm_domain" Name "NetBIOS domain name of an NTLM challenge.";
    NtlmDnsHost Smb "smb.ntlm_dns_host" Name "DNS computer name of an NTLM challenge.";
    NtlmVersion Smb "smb.ntlm_version" Token "Version of an NTLM message: major.minor.build.";
    SnmpVersion Snmp "snmp.version" Word "1, 2c or 3.";
    SnmpSysDescr Snmp "snmp.sys_descr" Label "sysDescr, first line.";
    SnmpSysObjectId Snmp "snmp.sys_object_id" Oid "sysObjectID.";
    SnmpSysName Snmp "snmp.sys_name" Name "sysName.";
    SnmpSysLocation Snmp "snmp.sys_location" Label "sysLocation.";
    SnmpEngineId Snmp "snmp.engine_id" Token "Authoritative engine id, hexadecimal.";
    SnmpEnterprise Snmp "snmp.enterprise" Number "Enterprise number of its engine id or trap.";
    SnmpManufacturer Snmp "snmp.manufacturer" Label "entPhysicalMfgName.";
    SnmpModel Snmp "snmp.model" Label "entPhysicalModelName, hrDeviceDescr, or a UPS's identified model.";
    SnmpSerial Snmp "snmp.serial" Token "entPhysicalSerialNum, prtGeneralSerialNumber.";
    SnmpSoftware Snmp "snmp.software" Label "entPhysicalSoftwareRev or FirmwareRev.";
    SipUserAgent Sip "sip.user_agent" Label "User-Agent header.";
    SipServer Sip "sip.server" Label "Server header.";
    RtspServer Rtsp "rtsp.server" Label "Server header.";
    RtspUserAgent Rtsp "rtsp.user_agent" Label "User-Agent header.";
    RtspRealm Rtsp "rtsp.realm" Label "Realm of an authentication challenge.";
    IppMakeAndModel Ipp "ipp.make_and_model" Label "printer-make-and-model.";
    IppDeviceId Ipp "ipp.device_id" Label "printer-device-id (IEEE 1284).";
    IppFirmware Ipp "ipp.firmware" Label "printer-firmware-string-version.";
    IppName Ipp "ipp.name" Label "printer-name or printer-info.";
    IppLocation Ipp "ipp.location" Label "printer-location.";
    PjlId Pjl "pjl.id" Label "Answer to @PJL INFO ID.";
    PjlSerial Pjl "pjl.serial" Token "Serial number in an answer.";
    ZplModel Zpl "zpl.model" Label "Model in an answer to ~HI.";
    ZplVersion Zpl "zpl.version" Token "Firmware version in an answer to ~HI.";
    BacnetInstance Bacnet "bacnet.instance" Number "Device instance (I-Am, I-Have, answers about its device object).";
    BacnetVendorId Bacnet "bacnet.vendor_id" Number "Vendor identifier (I-Am, property 120).";
    BacnetObjectName Bacnet "bacnet.object_name" Label "Object name of its device object.";
    BacnetVendorName Bacnet "bacnet.vendor_name" Label "Vendor name.";
    BacnetModel Bacnet "bacnet.model" Label "Model name.";
    BacnetFirmware Bacnet "bacnet.firmware" Label "Firmware revision.";
    BacnetSoftware Bacnet "bacnet.software" Label "Application software version.";
    BacnetSerial Bacnet "bacnet.serial" Token "Serial number (property 372).";
    BacnetLocation Bacnet "bacnet.location" Label "Location.";
    BacnetDescription Bacnet "bacnet.description" Label "Description of its device object.";
    ModbusVendor Modbus "modbus.vendor" Label "VendorName (device identification 0x00).";
    ModbusProductCode Modbus "modbus.product_code" Label "ProductCode (0x01).";
    ModbusRevision Modbus "modbus.revision" Label "MajorMinorRevision (0x02).";
    ModbusProductName Modbus "modbus.product_name" Label "ProductName (0x04).";
    ModbusModel Modbus "modbus.model" Label "ModelName (0x05).";
    ModbusApplication Modbus "modbus.application" Label "UserApplicationName (0x06).";
    EnipVendorId Enip "enip.vendor_id" Number "Vendor id (ODVA) of its identity.";
    EnipDeviceType Enip "enip.device_type" Number "Device type (CIP device profile).";
    EnipProductCode Enip "enip.product_code" Number "Product code, by vendor.";
    EnipProductName Enip "enip.product_name" Label "Product name.";
    EnipRevision Enip "enip.revision" Token "Major and minor revision, joined by a dot.";
    EnipSerial Enip "enip.serial" Token "Serial number, eight hexadecimal digits.";
    S7Module S7 "s7.module" Label "Order number of its module (system status list 0x11).";
    S7ModuleType S7 "s7.module_type" Label "Type name of its module (system status list 0x1C).";
    S7Name S7 "s7.name" Label "Name of its automation system (system status list 0x1C).";
    S7Serial S7 "s7.serial" Label "Serial number of its module (system status list 0x1C).";
    S7Version S7 "s7.version" Token "Firmware version (system status list 0x11).";
    MqttClientId Mqtt "mqtt.client_id" Token "Client identifier.";
    MqttVersion Mqtt "mqtt.version" Word "3.1, 3.1.1 or 5.";
    SkinnyDevice Skinny "skinny.device" Name "Device name that a phone registers with.";
    NtpStratum Ntp "ntp.stratum" Number "Stratum it answers with.";
    SyslogHostname Syslog "syslog.hostname" Name "HOSTNAME of its messages.";
    SyslogApplication Syslog "syslog.application" Token "APP-NAME or TAG of its messages.";
    FtpBanner Ftp "ftp.banner" Label "Greeting (220).";
    TelnetBanner Telnet "telnet.banner" Label "First line it greets with.";
    SmtpBanner Smtp "smtp.banner" Label "Greeting (220).";
    SqlVersion Sql "sql.version" Token "Server version of a pre-login answer.";
    DicomAeTitle Dicom "dicom.ae_title" Label "Its AE title: calling of a requestor, called of an acceptor.";
    DicomSopClass Dicom "dicom.sop_class" Oid "SOP class it proposed.";
    DicomSopAccepted Dicom "dicom.sop_accepted" Oid "SOP class it accepted.";
    DicomTransferSyntax Dicom "dicom.transfer_syntax" Oid "Transfer syntax it accepted.";
    DicomImplementationUid Dicom "dicom.implementation_uid" Oid "Implementation class UID.";
    DicomImplementationVersion Dicom "dicom.implementation_version" Label "Implementation version name.";
    DicomCommand Dicom "dicom.command" Word "DIMSE request it sent: c_echo, c_store, c_find, c_move, c_get, n_create, ….";
    DicomServed Dicom "dicom.served" Word "DIMSE request it answered.";
    DicomRejected Dicom "dicom.rejected" Number "Reason with which its association was rejected.";
    DicomModality Dicom "dicom.modality" Token "Modality (0008,0060) of what it stored.";
    DicomManufacturer Dicom "dicom.manufacturer" Label "Manufacturer (0008,0070).";
    DicomModel Dicom "dicom.model" Label "Manufacturer's model name (0008,1090).";
    DicomSerial Dicom "dicom.serial" Token "Device serial number (0018,1000).";
    DicomSoftware Dicom "dicom.software" Label "Software versions (0018,1020).";
    DicomStationName Dicom "dicom.station_name" Label "Station name (0008,1010).";
    DicomDepartment Dicom "dicom.department" Label "Institutional department name (0008,1040).";
    DicomDeviceUid Dicom "dicom.device_uid" Oid "Device UID (0018,1002).";
    DicomUdi Dicom "dicom.udi" Label "Unique device identifier (0018,1009 in 0018,100A).";
    DicomStudy Dicom "dicom.study" Hash "Study instance UID, as salted hash.";
    DicomInstance Dicom "dicom.instance" Hash "SOP instance UID, as salted hash.";
    Hl7Application Hl7 "hl7.application" Label "Its application: MSH-3 of a sender, MSH-5 of a receiver.";
    Hl7Facility Hl7 "hl7.facility" Label "Its facility: MSH-4 of a sender, MSH-6 of a receiver.";
    Hl7Message Hl7 "hl7.message" Token "Message type and event it sent (MSH-9), as `ORU_R01`.";
    Hl7Accepted Hl7 "hl7.accepted" Token "Message type and event it took.";
    Hl7Version Hl7 "hl7.version" Token "Version (MSH-12).";
    Hl7Profile Hl7 "hl7.profile" Label "Message profile (MSH-21), such as IHE PCD's.";
    Hl7Equipment Hl7 "hl7.equipment" Label "Equipment instance identifier (OBX-18, PRT-10).";
    Hl7Udi Hl7 "hl7.udi" Label "UDI (OBX-18, PRT-10 or PRT-16).";
    Hl7Eui64 Hl7 "hl7.eui64" Token "EUI-64 of the equipment (OBX-18, type EUI-64).";
    Hl7SoftwareVendor Hl7 "hl7.software_vendor" Label "Software vendor (SFT-1).";
    Hl7SoftwareProduct Hl7 "hl7.software_product" Label "Software product name (SFT-3).";
    Hl7SoftwareVersion Hl7 "hl7.software_version" Label "Certified version (SFT-2).";
    PoctVendor Poct "poct1a.vendor" Label "DEV.vendor_id.";
    PoctModel Poct "poct1a.model" Label "DEV.model_id.";
    PoctSerial Poct "poct1a.serial" Token "DEV.serial_id.";
    PoctSoftware Poct "poct1a.software" Label "DEV.sw_version.";
    PoctDeviceId Poct "poct1a.device_id" Token "DEV.device_id.";
    PoctDeviceName Poct "poct1a.device_name" Label "DEV.device_name.";
    PoctManufacturer Poct "poct1a.manufacturer" Label "DEV.manufacturer_name.";
    AstmSender Astm "astm.sender" Label "Sender name (H-5, first component).";
    AstmVersion Astm "astm.version" Label "Software version of the sender (H-5, second component).";
    AstmSerial Astm "astm.serial" Token "Serial number of the sender (H-5, third component).";
    AstmManufacturer Astm "astm.manufacturer" Label "Manufacturer of the sender, where H-5 or H-12 gives one.";
    IntellivueModel Intellivue "intellivue.model" Label "System model (NOM_ATTR_ID_MODEL): maker and number.";
    IntellivueSerial Intellivue "intellivue.serial" Token "Serial number of the production specification.";
    IntellivueSoftware Intellivue "intellivue.software" Label "Software revision of the production specification.";
    IntellivueBed Intellivue "intellivue.bed" Token "Bed label.";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_begin_with_their_protocol() {
        let names: HashSet<&str> = Field::ALL.iter().map(|field| field.name()).collect();
        assert_eq!(names.len(), Field::ALL.len());
        for field in Field::ALL {
            let (protocol, name) = field.name().split_once('.').expect("a dot");
            assert_eq!(protocol, field.protocol().name(), "{name}");
            assert_eq!(Field::named(field.name()), Some(*field));
            assert!(field.about().ends_with('.'));
        }
    }
}
