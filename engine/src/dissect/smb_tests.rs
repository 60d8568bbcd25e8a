//! Negotiations made by hand → what is said of both ends; no user in it.

use super::*;
use crate::dissect::talk::{expect, hides, talk};

const PORTS: [u16; 2] = [50000, 445];

fn session(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u32).to_be_bytes()[..], message].concat()
}

fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn smb2(command: u16, is_answer: bool, body: &[u8]) -> Vec<u8> {
    let mut message = SMB2.to_vec();
    message.resize(64, 0);
    message[12..14].copy_from_slice(&command.to_le_bytes());
    message[16] = is_answer.into();
    message.extend_from_slice(body);
    session(&message)
}

fn smb1(command: u8, is_answer: bool, is_unicode: bool, words: &[u8], octets: &[u8]) -> Vec<u8> {
    let mut message = SMB1.to_vec();
    message.resize(32, 0);
    message[4] = command;
    message[9] = if is_answer { 0x80 } else { 0 };
    message[11] = if is_unicode { 0x80 } else { 0 };
    message.push((words.len() / 2) as u8);
    message.extend_from_slice(words);
    message.extend_from_slice(&(octets.len() as u16).to_le_bytes());
    message.extend_from_slice(octets);
    session(&message)
}

/// A challenge of a server with those attributes.
fn challenge(attributes: &[(u16, &str)]) -> Vec<u8> {
    let mut list = Vec::new();
    for (kind, value) in attributes {
        let value = wide(value);
        list.extend_from_slice(&kind.to_le_bytes());
        list.extend_from_slice(&(value.len() as u16).to_le_bytes());
        list.extend_from_slice(&value);
    }
    list.extend_from_slice(&[0; 4]);
    let mut message = b"NTLMSSP\0\x02\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    message.extend_from_slice(&0x0200_0001u32.to_le_bytes());
    message.extend_from_slice(&[0; 16]);
    message.extend_from_slice(&(list.len() as u16).to_le_bytes());
    message.extend_from_slice(&[0, 0, 56, 0, 0, 0]);
    message.extend_from_slice(&[10, 0, 0x63, 0x45, 0, 0, 0, 15]);
    message.extend_from_slice(&list);
    message
}

/// An answer of that user at that workstation.
fn answer(user: &str, workstation: &str, is_unicode: bool) -> Vec<u8> {
    let octets = |text: &str| if is_unicode { wide(text) } else { text.as_bytes().to_vec() };
    let (user, workstation) = (octets(user), octets(workstation));
    let mut message = b"NTLMSSP\0\x03\0\0\0".to_vec();
    let mut at = 72;
    for part in [0, 0, user.len(), user.len(), workstation.len(), 0] {
        message.extend_from_slice(&(part as u16).to_le_bytes());
        message.extend_from_slice(&[0, 0]);
        message.extend_from_slice(&(at as u32).to_le_bytes());
        at += part;
    }
    message.extend_from_slice(&u32::from(is_unicode).to_le_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&user);
    message.extend_from_slice(&user);
    message.extend_from_slice(&workstation);
    message
}

#[test]
fn smb2_tells_dialects_and_machines() {
    let mut ask = vec![36, 0, 3, 0];
    ask.extend_from_slice(&[0; 32]);
    ask.extend_from_slice(&[0x02, 0x02, 0x02, 0x03, 0x11, 0x03]);
    let told = challenge(&[(2, "CLINIC"), (1, "PACS01"), (4, "clinic.example"), (3, "pacs01.clinic.example"), (7, "x")]);
    let said = talk(
        PORTS,
        &[
            (0, &smb2(0, false, &ask)),
            (1, &smb2(0, true, &[65, 0, 1, 0, 0x02, 0x03, 0, 0])),
            (0, &smb2(1, false, b"NTLMSSP\0\x01\0\0\0")),
            (1, &smb2(1, true, &told)),
            (0, &smb2(1, false, &answer("MUSTERMANN", "WS-7", true))),
            (1, &smb2(1, true, b"")),
            (0, &smb2(3, false, &wide("\\\\pacs01\\MUSTERMANN"))),
            (0, &smb2(1, false, &answer("MUSTERMANN", "MUSTERMANN", true))),
        ],
    );
    expect(
        &said,
        &[
            (0, Field::SmbDialect, "3.1.1"),
            (0, Field::NtlmHost, "WS-7"),
            (0, Field::Uses, "smb"),
            (1, Field::SmbDialect, "3.0.2"),
            (1, Field::NtlmHost, "PACS01"),
            (1, Field::NtlmDomain, "CLINIC"),
            (1, Field::NtlmDnsHost, "pacs01.clinic.example"),
            (1, Field::NtlmVersion, "10.0.17763"),
            (1, Field::Serves, "smb"),
        ],
    );
    hides(&said, &["MUSTERMANN"]);
}

#[test]
fn smb1_tells_native_systems_and_no_user() {
    let mut words = [0; 26];
    words[14] = 3;
    words[16] = 2;
    let ask = [&b"pwdPW"[..], b"MUSTERMANN\0MUSTERMANN\0Unix\0Samba\0"].concat();
    let token = [&b"tok"[..], &wide("Windows 5.1\0Windows 2000 LAN Manager\0CLINIC\0")].concat();
    let said = talk(
        [50000, 139],
        &[
            (0, b"\x81\x00\x00\x44\x20FDEBENFDCACACACACACACACACACACACA\0\x20FDEBENFDCACACACACACACACACACACACA\0"),
            (1, b"\x82\0\0\0"),
            (0, &smb1(0x72, false, false, b"", b"\x02PC NETWORK PROGRAM 1.0\0\x02NT LM 0.12\0")),
            (1, &smb1(0x72, true, false, &[1, 0], b"")),
            (0, &smb1(0x73, false, false, &words, &ask)),
            (1, &smb1(0x73, true, true, &[0xff, 0, 0, 0, 0, 0, 3, 0], &token)),
            (0, &smb1(0x75, false, false, b"", b"\\\\x\\MUSTERMANN\0")),
        ],
    );
    expect(
        &said,
        &[
            (0, Field::SmbDialect, "1.0"),
            (0, Field::SmbNativeOs, "Unix"),
            (0, Field::SmbNativeLanManager, "Samba"),
            (0, Field::Uses, "smb"),
            (1, Field::SmbDialect, "1.0"),
            (1, Field::SmbNativeOs, "Windows 5.1"),
            (1, Field::SmbNativeLanManager, "Windows 2000 LAN Manager"),
            (1, Field::Serves, "smb"),
        ],
    );
    hides(&said, &["MUSTERMANN", "CLINIC"]);
}

#[test]
fn unicode_names_of_users_are_passed_over() {
    let mut words = [0; 26];
    words[14] = 24;
    // Behind 24 octets of password comes one for the even place.
    let ask = [vec![0; 25], wide("MUSTERMANN\0CLINIC\0Windows 4.0\0Windows 4.0 LM\0")].concat();
    let said =
        talk(PORTS, &[(0, &smb1(0x73, false, true, &words, &ask)), (0, &smb2(1, false, &answer("MUSTERMANN", "WS-8", false)))]);
    expect(
        &said,
        &[
            (0, Field::SmbNativeOs, "Windows 4.0"),
            (0, Field::SmbNativeLanManager, "Windows 4.0 LM"),
            (0, Field::NtlmHost, "WS-8"),
        ],
    );
}

#[test]
fn long_messages_are_left_out() {
    let mut long = vec![0, 0, 0x40, 0];
    long.resize(4 + 0x4000, b'x');
    let said = talk(
        PORTS,
        &[(1, &smb2(0, true, &[65, 0, 1, 0, 0x10, 0x02])), (1, &long), (1, &smb2(1, true, &challenge(&[(1, "PACS01")])))],
    );
    assert!(said.contains(&(1, Field::NtlmHost, "PACS01".to_owned())), "{said:?}");
}

#[test]
fn other_octets_are_not_smb() {
    for other in [&b"\0\0\0\x20SMBx"[..], b"\0\x01\0\0\xffSMB", b"\x81\0\0\x44", b"\xffSMB"] {
        expect(&talk([50000, 4450], &[(0, other)]), &[]);
    }
}
