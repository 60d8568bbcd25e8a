//! Tests of the DHCPv4 reader.

use super::*;
use crate::dissect::trial::Trial;

const ASKS: Trial = Trial { ips: Some(["0.0.0.0", "255.255.255.255"]), ports: [68, PORT_SERVER], ethertype: 0 };
const ANSWERS: Trial = Trial::datagram(PORT_SERVER, 68);
const CLIENT: &str = "02:00:00:00:00:07 -";
const LEASED: &str = "02:00:00:00:00:07 10.0.0.7";

fn dhcp(operation: u8, yours: [u8; 4], options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut octets = vec![operation, 1, 6, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0];
    octets.extend(yours);
    octets.extend([0; 8]);
    octets.extend([2, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    octets.extend([0; 192]);
    octets.extend(COOKIE);
    octets.extend(written(options));
    octets
}

fn written(options: &[(u8, &[u8])]) -> Vec<u8> {
    let each = options.iter().flat_map(|(code, value)| [&[*code, value.len() as u8], *value].concat());
    each.chain([END]).collect()
}

/// A cut message lacks options, so that the list of their codes, which comes last, is not compared.
fn check(trial: Trial, octets: &[u8], expect: &[String]) {
    let (known, said) = trial.hear(read, octets, true);
    assert!(known);
    assert_eq!(said, expect);
    for end in 0..octets.len() {
        let (_, part) = trial.hear(read, &octets[..end], false);
        let lie = part.iter().find(|line| !line.contains("dhcp.options") && !said.contains(line));
        assert_eq!(lie, None, "cut at {end}");
    }
}

#[test]
fn a_request_tells_what_its_client_says_of_itself() {
    let octets = dhcp(
        BOOT_REQUEST,
        [0; 4],
        &[
            (MESSAGE_TYPE, &[REQUEST]),
            (CLIENT_ID, &[1, 2, 0, 0, 0, 0, 7]),
            (REQUESTED, &[10, 0, 0, 7]),
            (HOSTNAME, b"pump-7"),
            (FQDN, b"\x04\0\0\x06pump-7\x06clinic\0"),
            (VENDOR_CLASS, b"Maker Pump 9"),
            (USER_CLASS, b"\x04icu9"),
            (PARAMETERS, &[1, 3, 6, 15]),
            (RELAY, b"\x01\x04ge-1\x02\x02\x00\x07"),
        ],
    );
    let expect = [
        "dhcp.client_id 01020000000007",
        "dhcp.requested 10.0.0.7",
        "dhcp.hostname pump-7",
        "dhcp.fqdn pump-7.clinic",
        "dhcp.vendor_class Maker Pump 9",
        "dhcp.user_class icu9",
        "dhcp.parameters 1,3,6,15",
        "dhcp.options 53,61,50,12,81,60,77,55,82",
        "dhcp.relay_circuit ge-1",
        "dhcp.relay_remote 0007",
    ];
    check(ASKS, &octets, &expect.map(|line| format!("{CLIENT} {line}")));
}

#[test]
fn an_answer_binds_and_names_routers_and_servers() {
    let options: [(u8, &[u8]); 5] = [
        (MESSAGE_TYPE, &[ACK]),
        (SERVER, &[10, 0, 0, 1]),
        (ROUTER, &[10, 0, 0, 254]),
        (NAME_SERVER, &[10, 0, 0, 53, 10, 0, 0, 54]),
        (DOMAIN, b"clinic.example\0"),
    ];
    let (known, said) = ANSWERS.hear(read, &dhcp(BOOT_REPLY, [10, 0, 0, 7], &options), true);
    assert!(known);
    let expect = [
        format!("{LEASED} dhcp.address 10.0.0.7"),
        format!("{LEASED} dhcp.domain clinic.example"),
        "- 10.0.0.254 dhcp.router yes".to_owned(),
        "- 10.0.0.53 dhcp.name_server yes".to_owned(),
        "- 10.0.0.54 dhcp.name_server yes".to_owned(),
        "02:00:00:00:00:01 10.0.0.1 dhcp.server yes".to_owned(),
        "02:00:00:00:00:01 10.0.0.1 link.serves dhcp".to_owned(),
        "02:00:00:00:00:02 10.0.0.2 link.uses dhcp".to_owned(),
    ];
    assert_eq!(said, expect);
}

#[test]
fn an_answer_to_inform_binds_the_address_that_the_client_has() {
    let mut octets = dhcp(BOOT_REPLY, [0; 4], &[(MESSAGE_TYPE, &[ACK]), (SERVER, &[10, 0, 0, 9])]);
    octets[12..16].copy_from_slice(&[10, 0, 0, 7]);
    let (_, said) = ANSWERS.hear(read, &octets, true);
    assert_eq!(said, [format!("{LEASED} dhcp.address 10.0.0.7"), "- 10.0.0.9 dhcp.server yes".to_owned()]);
}

#[test]
fn a_relay_that_passes_an_answer_on_is_no_server() {
    let mut octets = dhcp(BOOT_REPLY, [10, 0, 0, 7], &[(MESSAGE_TYPE, &[OFFER])]);
    octets[24..28].copy_from_slice(&[10, 0, 0, 1]);
    assert_eq!(ANSWERS.hear(read, &octets, true), (true, Vec::new()));
}

#[test]
fn options_go_on_in_the_places_that_they_overload() {
    let mut octets = dhcp(BOOT_REQUEST, [0; 4], &[(MESSAGE_TYPE, &[DISCOVER]), (OVERLOAD, &[3])]);
    let (name, file) = (written(&[(VENDOR_CLASS, b"Maker")]), written(&[(HOSTNAME, b"pump-7")]));
    octets[44..44 + name.len()].copy_from_slice(&name);
    octets[108..108 + file.len()].copy_from_slice(&file);
    let expect = ["dhcp.hostname pump-7", "dhcp.vendor_class Maker", "dhcp.options 53,52,12,60"];
    check(ASKS, &octets, &expect.map(|line| format!("{CLIENT} {line}")));
}

#[test]
fn vendor_options_tell_make_model_and_serial() {
    let octets = dhcp(
        BOOT_REQUEST,
        [0; 4],
        &[
            (VENDOR_SPECIFIC, b"\x02\x04EMTA\x04\x04S123\x09\x02M9\x0a\x05Maker"),
            (VENDOR_OPTIONS, b"\0\0\x0d\xe9\x0e\x01\x06001122\x02\x01S\x03\x01P"),
            (VENDOR_CLASSES, b"\0\0\0\x09\x06\x05Phone"),
            (USAGE_URL, b"https://maker.example/pump"),
        ],
    );
    let expect = [
        "dhcp.serial S123",
        "dhcp.model M9",
        "dhcp.manufacturer Maker",
        "dhcp.serial S",
        "dhcp.model P",
        "dhcp.vendor_class Phone",
        "dhcp.manufacturer maker.example",
    ];
    check(ASKS, &octets, &expect.map(|line| format!("{CLIENT} {line}")));
}

#[test]
fn long_lists_end_at_a_whole_number() {
    let text = numbers((100..=255).chain(100..=255));
    assert_eq!(text.len(), 95);
    assert!(text.starts_with("100,101,") && text.ends_with(",123"));
}

#[test]
fn other_datagrams_are_refused() {
    let octets = dhcp(BOOT_REQUEST, [0; 4], &[(MESSAGE_TYPE, &[DISCOVER])]);
    let with = |at: usize, octet: u8| {
        let mut octets = octets.clone();
        octets[at] = octet;
        octets
    };
    ASKS.refuses(read, &with(0, 3));
    ASKS.refuses(read, &with(2, 17));
    ASKS.refuses(read, &with(236, 0));
    ASKS.refuses(read, &with(242, 99));
    ASKS.refuses(read, &octets[..239]);
}
