//! LLMNR (RFC 4795): the names that hosts look for on their link, and who answers to them.

use super::{
    Packet, Say, Who,
    dns_name::{Message, TYPE_A, TYPE_AAAA, TYPE_ANY},
};
use crate::observation::{Field, Protocol};

const PORT: u16 = 5355;

/// Reads a datagram. The form is that of DNS, so that one of the ports must be LLMNR's.
pub fn read(packet: &Packet<'_>, say: &mut Say<'_>) -> bool {
    if !packet.is_on(&[PORT]) {
        return false;
    }
    let Some(message) = Message::read(packet.payload) else { return false };
    // A message has one question, asked or answered (§2.1.1).
    let [question] = &message.questions[..] else { return false };
    if message.operation() != 0 {
        return false;
    }
    if message.is_answer() {
        say.serves(say.sender(), Protocol::Llmnr);
        for (_, record) in &message.records {
            if message.address(record).is_some() {
                say.text(Who::Sender, Field::LlmnrName, record.name.text());
            }
        }
    } else if matches!(question.kind, TYPE_A | TYPE_AAAA | TYPE_ANY) {
        say.text(Who::Sender, Field::LlmnrQuery, question.name.text());
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::{
        dns_name::made::{message, question, record},
        trial::Trial,
    };

    #[test]
    fn questions_and_answers_are_told_apart() {
        let query = message(0, [1, 0, 0, 0], &[question("ward-pc", TYPE_A)]);
        Trial::datagram(40000, PORT).says(read, &query, &["02:00:00:00:00:01 10.0.0.1 llmnr.query ward-pc"]);
        let answer = message(0x8000, [1, 1, 0, 0], &[question("ward-pc", TYPE_A), record("ward-pc", TYPE_A, &[10, 0, 0, 1])]);
        let expect = [
            "02:00:00:00:00:01 10.0.0.1 link.serves llmnr",
            "02:00:00:00:00:02 10.0.0.2 link.uses llmnr",
            "02:00:00:00:00:01 10.0.0.1 llmnr.name ward-pc",
        ];
        Trial::datagram(PORT, 40000).says(read, &answer, &expect);
    }

    #[test]
    fn other_messages_are_refused() {
        let query = message(0, [1, 0, 0, 0], &[question("ward-pc", TYPE_A)]);
        Trial::datagram(40000, 53).refuses(read, &query);
        Trial::datagram(40000, PORT).refuses(read, &message(0, [2, 0, 0, 0], &[question("a", TYPE_A), question("b", TYPE_A)]));
        Trial::datagram(40000, PORT).refuses(read, &message(0x2800, [1, 0, 0, 0], &[question("a", TYPE_A)]));
    }
}
