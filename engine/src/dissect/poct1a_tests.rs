//! POCT1-A conversations made by hand → what is said of the analyser; no result in it.

use super::super::trace::Talk;

const SECRET: &str = "Zq9Secret";
const HELLO: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>
<!DOCTYPE HEL.R01 SYSTEM \"x.dtd\">
<HEL.R01>
  <HDR><HDR.message_type V=\"HEL.R01\"/><HDR.control_id V=\"10001\"/></HDR>
  <DEV>
    <DEV.device_id V=\"0000-77\"/>
    <DEV.vendor_id V='Aurora'/>
    <DEV.model_id V=\"Meter &amp; Strip 5\" />
    <DEV.serial_id SN=\"x\" V=\"SN-5>1\"></DEV.serial_id>
    <DEV.serial_id V=\"SN-5\"/>
    <DEV.manufacturer_name V=\"Aurora GmbH\"/>
    <DEV.sw_version V=\"1.4\"/>
    <DEV.device_name V=\"Meter ward 5\"/>
    <!-- <DEV.serial_id V=\"Zq9Secret\"/> --><![CDATA[<DEV.serial_id V=\"Zq9Secret\"/>]]>
  </DEV>
</HEL.R01>";

fn results() -> String {
    format!(
        "<OBS.R01><HDR><HDR.control_id V=\"2\"/></HDR><PT><PT.patient_id V=\"{SECRET}\"/><DEV.serial_id V=\"{SECRET}\"/></PT>\
         <OBS.value>{SECRET}</OBS.value><NTE V=\"{}\"/></OBS.R01>",
        SECRET.repeat(3000)
    )
}

const EXPECTED: [&str; 9] = [
    "1 poct1a.device_id 0000-77",
    "1 poct1a.vendor Aurora",
    "1 poct1a.model Meter & Strip 5",
    "1 poct1a.serial SN-5",
    "1 poct1a.manufacturer Aurora GmbH",
    "1 poct1a.software 1.4",
    "1 poct1a.device_name Meter ward 5",
    "0 link.serves poct1a",
    "1 link.uses poct1a",
];
const ANSWER: &[u8] = b"<ACK.R01><HDR><HDR.control_id V=\"1\"/></HDR><ACK><ACK.type_cd V=\"AA\"/></ACK></ACK.R01>";

#[test]
fn a_hello_is_said_however_it_is_split_and_nothing_else_is() {
    let whole = [HELLO, &results(), HELLO].concat();
    for piece in 1..HELLO.len() {
        let mut talk = Talk::tcp();
        talk.says_in(1, HELLO.as_bytes(), piece).says_in(1, results().as_bytes(), 1400).says_in(0, ANSWER, piece);
        assert_eq!(talk.said_once(), EXPECTED, "pieces of {piece}");
    }
    let mut talk = Talk::tcp();
    talk.says(1, HELLO.as_bytes()).says_cut(1, whole.as_bytes(), 900).says(1, whole.as_bytes());
    assert_eq!(talk.said_once(), EXPECTED[..7]);
}

#[test]
fn what_ends_early_says_nothing_wrong() {
    for end in 0..HELLO.len() {
        let mut talk = Talk::tcp();
        talk.says(1, &HELLO.as_bytes()[..end]);
        assert!(talk.said().iter().all(|said| EXPECTED.contains(&said.as_str())), "{:?}", talk.said());
    }
}

#[test]
fn other_documents_are_not_poct1a() {
    for other in
        ["<html><HDR/></html>", "<HEL.X01><HDR></HDR><DEV.vendor_id V=\"A\"/></HEL.X01>", "<ABC.R01><HDR>", "HEL.R01 <HDR>"]
    {
        let mut talk = Talk::tcp();
        talk.says(1, other.repeat(20).as_bytes());
        assert_eq!(talk.said(), Vec::<String>::new());
    }
}
