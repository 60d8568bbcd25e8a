//! SNMP messages made by hand → what is said of the agent; no community in it.

use super::{super::probe, *};

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut octets = vec![tag];
    if content.len() < 0x80 {
        octets.push(content.len() as u8);
    } else {
        octets.extend([0x82, (content.len() >> 8) as u8, content.len() as u8]);
    }
    octets.extend_from_slice(content);
    octets
}

fn binding(name: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[element(OID, name), element(tag, value)].concat())
}

fn pdu(tag: u8, bindings: &[Vec<u8>]) -> Vec<u8> {
    let numbers = element(INTEGER, &[1]).repeat(3);
    element(tag, &[numbers, element(SEQUENCE, &bindings.concat())].concat())
}

fn message_2(version: u8, pdu: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[&element(INTEGER, &[version])[..], &element(OCTETS, b"hush-hush"), pdu].concat())
}

fn answer() -> Vec<u8> {
    message_2(
        1,
        &pdu(
            RESPONSE,
            &[
                binding(&[0x2b, 6, 1, 2, 1, 1, 1, 0], OCTETS, b"Pump Gateway 4\r\nbuild 7"),
                binding(&[0x2b, 6, 1, 2, 1, 1, 2, 0], OID, &[0x2b, 6, 1, 4, 1, 9, 1]),
                binding(&[0x2b, 6, 1, 2, 1, 1, 4, 0], OCTETS, b"Jo Doe 555"),
                binding(&[0x2b, 6, 1, 2, 1, 1, 5, 0], OCTETS, b"gw-4.ward"),
                binding(&[0x2b, 6, 1, 2, 1, 1, 6, 0], OCTETS, b"Ward 3"),
                binding(&[0x2b, 6, 1, 2, 1, 47, 1, 1, 1, 1, 11, 1], OCTETS, b"SN-77"),
                binding(&[0x2b, 6, 1, 2, 1, 47, 1, 1, 1, 1, 13, 1], OCTETS, b"PG4"),
                binding(&[0x2b, 6, 1, 2, 1, 47, 1, 1, 1, 1, 13, 5], OCTETS, b"Fan"),
                binding(&[0x2b, 6, 1, 2, 1, 33, 1, 1, 3, 0], OCTETS, b"2.1"),
            ],
        ),
    )
}

#[test]
fn an_answer_says_what_its_bindings_name() {
    let expect = [
        (0, Field::SnmpVersion, "2c"),
        (0, Field::Serves, "snmp"),
        (1, Field::Uses, "snmp"),
        (0, Field::SnmpSysDescr, "Pump Gateway 4"),
        (0, Field::SnmpSysObjectId, "1.3.6.1.4.1.9.1"),
        (0, Field::SnmpSysName, "gw-4.ward"),
        (0, Field::SnmpSysLocation, "Ward 3"),
        (0, Field::SnmpSerial, "SN-77"),
        (0, Field::SnmpModel, "PG4"),
        (0, Field::SnmpSoftware, "2.1"),
    ];
    probe::says(read, 0, [161, 50000], &answer(), &expect);
}

#[test]
fn a_question_says_nothing() {
    let question = message_2(0, &pdu(0xa0, &[binding(&[0x2b, 6, 1, 2, 1, 1, 5, 0], 5, b"")]));
    assert_eq!(probe::datagram(read, 1, [161, 50000], &question, true), Some(Vec::new()));
    let cldap = element(SEQUENCE, &[element(INTEGER, &[1]), element(0x63, b"abc")].concat());
    assert_eq!(probe::datagram(read, 1, [389, 50000], &cldap, true), None);
    assert_eq!(probe::datagram(read, 1, [161, 50000], b"", true), None);
}

#[test]
fn a_trap_is_about_the_agent_that_it_names() {
    let fields = |agent: &[u8]| {
        [
            element(OID, &[0x2b, 6, 1, 4, 1, 0x82, 0x3e, 3]),
            element(IP_ADDRESS, agent),
            element(INTEGER, &[6]),
            element(INTEGER, &[1]),
            element(TIME_TICKS, &[1]),
            element(SEQUENCE, &[]),
        ]
        .concat()
    };
    let trap = |agent: &[u8]| message_2(0, &element(TRAP_1, &fields(agent)));
    for (agent, about) in [([10, 0, 0, 1], 0), ([0; 4], 0), ([192, 0, 2, 9], 9)] {
        let expect = [(0, Field::SnmpVersion, "1"), (about, Field::SnmpEnterprise, "318")];
        probe::says(read, 0, [50000, 162], &trap(&agent), &expect);
    }
}

fn message_3_of(flags: u8, scoped: &[u8]) -> Vec<u8> {
    let header =
        [element(INTEGER, &[9]), element(INTEGER, &[5, 0xdc]), element(OCTETS, &[flags]), element(INTEGER, &[3])].concat();
    let engine = [0x80, 0, 0, 9, 3, 1, 2, 3, 4, 5, 6];
    let usm = [element(OCTETS, &engine), element(INTEGER, &[0]), element(INTEGER, &[0]), element(OCTETS, b"jdoe")].concat();
    let security = element(OCTETS, &element(SEQUENCE, &usm));
    element(SEQUENCE, &[&element(INTEGER, &[3])[..], &element(SEQUENCE, &header), &security, scoped].concat())
}

#[test]
fn version_3_gives_the_engine_of_whoever_is_authoritative() {
    let engine =
        [(0, Field::SnmpVersion, "3"), (0, Field::SnmpEngineId, "8000000903010203040506"), (0, Field::SnmpEnterprise, "9")];
    let serves = [(0, Field::Serves, "snmp"), (1, Field::Uses, "snmp")];
    let report = element(SEQUENCE, &[element(OCTETS, b"e"), element(OCTETS, b"ctx"), pdu(REPORT, &[])].concat());
    probe::says(read, 0, [161, 50000], &message_3_of(0, &report), &[engine, [serves[0], serves[1], serves[1]]].concat()[..5]);
    let sealed = element(OCTETS, b"xxxxxxxx");
    probe::says(read, 0, [161, 50000], &message_3_of(3, &sealed), &[&engine[..], &serves].concat());
    probe::says(read, 0, [50000, 162], &message_3_of(3, &sealed), &engine);
    assert_eq!(probe::datagram(read, 1, [161, 50000], &message_3_of(7, &sealed), true), Some(Vec::new()));
}

#[test]
fn who_may_ask_and_who_is_responsible_stays_inside() {
    let all = [answer(), message_3_of(0, &element(SEQUENCE, &[element(OCTETS, b"e"), element(OCTETS, b"ctx")].concat()))];
    for octets in all {
        for (_, _, text) in probe::datagram(read, 0, [161, 50000], &octets, true).expect("known") {
            assert!(["hush", "Doe", "jdoe", "ctx"].iter().all(|secret| !text.contains(secret)), "{text}");
        }
    }
}
