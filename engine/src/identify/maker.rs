//! A maker's registered name → the name that people write: no legal form, no capitals throughout, one name for one maker.

/// Legal forms, without dots.
const LEGAL: &[&str] = &[
    "inc",
    "incorporated",
    "ltd",
    "ltda",
    "limited",
    "llc",
    "lllp",
    "lp",
    "llp",
    "gmbh",
    "mbh",
    "ag",
    "kg",
    "kgaa",
    "ohg",
    "co",
    "company",
    "comp",
    "corp",
    "corporation",
    "corporate",
    "plc",
    "sa",
    "sas",
    "sasu",
    "sarl",
    "srl",
    "spa",
    "sl",
    "slu",
    "sau",
    "bv",
    "nv",
    "ab",
    "as",
    "a/s",
    "oy",
    "oyj",
    "aps",
    "asa",
    "kk",
    "pte",
    "pty",
    "pvt",
    "sdn",
    "bhd",
    "kft",
    "zrt",
    "doo",
    "dd",
    "sro",
    "zoo",
    "se",
    "ulc",
    "ind",
    "mfg",
    "&",
    "and",
    "s",
    "p",
    "a",
    "r",
    "l",
    "o",
    "v",
    "b",
    "z",
    "sp",
    "e",
    "u",
];

/// Words that stay small inside a name that was all capitals.
const SMALL: &[&str] = &["and", "of", "for", "the", "de", "by", "la", "et", "und", "y"];

/// Words of four letters and fewer that are words and no abbreviations.
const SHORT_WORDS: &[&str] = &[
    "tech", "data", "link", "labs", "wave", "net", "fire", "star", "blue", "bio", "med", "new", "net", "one", "home", "life",
    "care", "time", "info", "soft", "core", "chip", "east", "west", "hong", "kong", "sun", "lab", "smart", "tele", "auto", "air",
    "eye",
];

/// How registered names begin, in lower case, and the maker's name. Longer beginnings come first.
const MAKERS: &[(&str, &str)] = &[
    ("abb", "ABB"),
    ("abbott", "Abbott"),
    ("aerohive", "Extreme Networks"),
    ("agfa", "Agfa"),
    ("amazon", "Amazon"),
    ("american power conversion", "APC"),
    ("apc", "APC"),
    ("apple", "Apple"),
    ("arista", "Arista"),
    ("aruba", "Aruba"),
    ("asus", "ASUS"),
    ("avaya", "Avaya"),
    ("axis communications", "Axis"),
    ("b braun", "B. Braun"),
    ("b. braun", "B. Braun"),
    ("baxter", "Baxter"),
    ("beckman coulter", "Beckman Coulter"),
    ("becton dickinson", "BD"),
    ("becton, dickinson", "BD"),
    ("belkin", "Belkin"),
    ("bosch", "Bosch"),
    ("brother", "Brother"),
    ("canon", "Canon"),
    ("carefusion", "BD"),
    ("check point", "Check Point"),
    ("cisco meraki", "Cisco Meraki"),
    ("cisco-linksys", "Linksys"),
    ("cisco", "Cisco"),
    ("d-link", "D-Link"),
    ("dell", "Dell"),
    ("digital data communications asia", "Edimax"),
    ("draeger", "Dräger"),
    ("drager", "Dräger"),
    ("dräger", "Dräger"),
    ("eaton", "Eaton"),
    ("edimax", "Edimax"),
    ("eq-3", "eQ-3"),
    ("espressif", "Espressif"),
    ("extreme networks", "Extreme Networks"),
    ("fortinet", "Fortinet"),
    ("fresenius", "Fresenius"),
    ("fuji xerox", "Fuji Xerox"),
    ("fujifilm", "Fujifilm"),
    ("fujitsu", "Fujitsu"),
    ("ge healthcare", "GE HealthCare"),
    ("ge medical", "GE HealthCare"),
    ("google", "Google"),
    ("hamilton medical", "Hamilton Medical"),
    ("hangzhou hikvision", "Hikvision"),
    ("hikvision", "Hikvision"),
    ("hanwha", "Hanwha"),
    ("hewlett packard enterprise", "Hewlett Packard Enterprise"),
    ("hewlett packard", "HP"),
    ("hewlett-packard", "HP"),
    ("hp inc", "HP"),
    ("hologic", "Hologic"),
    ("honeywell", "Honeywell"),
    ("hospira", "ICU Medical"),
    ("icu medical", "ICU Medical"),
    ("huawei", "Huawei"),
    ("igel", "IGEL"),
    ("intel corp", "Intel"),
    ("international business machines", "IBM"),
    ("ibm", "IBM"),
    ("johnson controls", "Johnson Controls"),
    ("juniper", "Juniper"),
    ("konica minolta", "Konica Minolta"),
    ("kyocera", "Kyocera"),
    ("lenovo", "Lenovo"),
    ("lexmark", "Lexmark"),
    ("lg electronics", "LG"),
    ("mikrotik", "MikroTik"),
    ("routerboard", "MikroTik"),
    ("microsoft", "Microsoft"),
    ("mindray", "Mindray"),
    ("shenzhen mindray", "Mindray"),
    ("motorola solutions", "Motorola Solutions"),
    ("motorola mobility", "Motorola"),
    ("nihon kohden", "Nihon Kohden"),
    ("nintendo", "Nintendo"),
    ("omnicell", "Omnicell"),
    ("palo alto networks", "Palo Alto Networks"),
    ("panasonic", "Panasonic"),
    ("pelco", "Pelco"),
    ("philips lighting", "Philips Lighting"),
    ("signify", "Signify"),
    ("philips", "Philips"),
    ("koninklijke philips", "Philips"),
    ("polycom", "Poly"),
    ("poly", "Poly"),
    ("qnap", "QNAP"),
    ("raritan", "Raritan"),
    ("raspberry pi", "Raspberry Pi"),
    ("resmed", "ResMed"),
    ("ricoh", "Ricoh"),
    ("roche", "Roche"),
    ("ruckus", "Ruckus"),
    ("samsung electronics", "Samsung"),
    ("samsung", "Samsung"),
    ("schneider electric", "Schneider Electric"),
    ("seiko epson", "Epson"),
    ("epson", "Epson"),
    ("siemens healthineers", "Siemens Healthineers"),
    ("siemens healthcare", "Siemens Healthineers"),
    ("siemens medical", "Siemens Healthineers"),
    ("siemens", "Siemens"),
    ("sonos", "Sonos"),
    ("sony interactive", "Sony Interactive Entertainment"),
    ("sony computer entertainment", "Sony Interactive Entertainment"),
    ("sony", "Sony"),
    ("synology", "Synology"),
    ("sysmex", "Sysmex"),
    ("telecor", "Telecor"),
    ("tp-link", "TP-Link"),
    ("ubiquiti", "Ubiquiti"),
    ("vertiv", "Vertiv"),
    ("liebert", "Vertiv"),
    ("vmware", "VMware"),
    ("welch allyn", "Welch Allyn"),
    ("xerox", "Xerox"),
    ("xiaomi", "Xiaomi"),
    ("beijing xiaomi", "Xiaomi"),
    ("yealink", "Yealink"),
    ("zebra", "Zebra"),
    ("zhejiang dahua", "Dahua"),
    ("dahua", "Dahua"),
    ("zoll", "ZOLL"),
    ("zte", "ZTE"),
    ("zyxel", "Zyxel"),
];

/// The name that people write for a registered one.
pub fn short(name: &str) -> String {
    let name = name.trim();
    let lower = name.to_ascii_lowercase();
    let begins = |start: &&(&str, &str)| {
        lower.strip_prefix(start.0).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()) || start.0.contains(' '))
    };
    if let Some((_, maker)) = MAKERS.iter().filter(begins).max_by_key(|(start, _)| start.len()) {
        return (*maker).into();
    }
    let plain = name.find('(').filter(|at| *at > 2).map_or(name, |at| name.get(..at).unwrap_or(name));
    let plain = plain.split_once(", a ").map_or(plain, |(before, _)| before);
    let mut words: Vec<&str> = plain.split([' ', ',', '\t', '\u{a0}']).filter(|word| !word.is_empty()).collect();
    while words.len() > 1 && words.last().is_some_and(|word| is_legal(word)) {
        words.pop();
    }
    let is_shouted = !name.chars().any(|c| c.is_ascii_lowercase()) && name.len() > 4;
    let spoken = words.iter().enumerate().map(|(at, word)| if is_shouted { speak(word, at == 0) } else { (*word).to_owned() });
    spoken.collect::<Vec<_>>().join(" ")
}

/// Whether the word is a legal form, or several glued by dots.
fn is_legal(word: &str) -> bool {
    let plain = word.to_ascii_lowercase().replace('.', "");
    let known = |part: &str| LEGAL.contains(&part);
    known(&plain) || word.split('.').filter(|part| !part.is_empty()).all(|part| known(&part.to_ascii_lowercase()))
}

/// A word of capitals as it is written among others; abbreviations stay.
fn speak(word: &str, is_first: bool) -> String {
    let lower = word.to_ascii_lowercase();
    if SMALL.contains(&lower.as_str()) && !is_first {
        return lower;
    }
    let has_vowel = lower.chars().any(|c| "aeiouy".contains(c));
    let is_word = has_vowel && (word.len() > 4 || SHORT_WORDS.contains(&lower.as_str()));
    if !is_word || word.chars().any(|c| c.is_ascii_digit()) {
        return word.to_owned();
    }
    let mut spoken = String::with_capacity(word.len());
    for c in word.chars() {
        let is_start = spoken.chars().next_back().is_none_or(|before| !before.is_alphanumeric() && before != '\'');
        spoken.push(if is_start { c } else { c.to_ascii_lowercase() });
    }
    spoken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_legal_form_and_their_capitals() {
        for (name, expect) in [
            ("HUAWEI TECHNOLOGIES CO.,LTD", "Huawei"),
            ("Cisco Systems, Inc", "Cisco"),
            ("Cisco-Linksys, LLC", "Linksys"),
            ("Hewlett Packard Enterprise", "Hewlett Packard Enterprise"),
            ("Hewlett Packard", "HP"),
            ("Hewlett-Packard Company", "HP"),
            ("Motorola Mobility LLC, a Lenovo Company", "Motorola"),
            ("Hon Hai Precision Ind. Co.,Ltd.", "Hon Hai Precision"),
            ("SENSYS GmbH", "SENSYS"),
            ("VAHLE Automation GmbH", "VAHLE Automation"),
            ("Max Weishaupt SE", "Max Weishaupt"),
            ("ASCS Sp. z o.o.", "ASCS"),
            ("GIGA-BYTE TECHNOLOGY CO.,LTD.", "Giga-Byte Technology"),
            ("TELEDYNE LABS OF THE EAST LLC", "Teledyne Labs of the East"),
            ("NEC Corporation", "NEC"),
            ("Roche Diagnostics GmbH", "Roche"),
            ("Rochester Instruments", "Rochester Instruments"),
            ("Shenzhen Mindray Bio-Medical Electronics Co., Ltd.", "Mindray"),
            ("SunTech Medical, Inc.", "SunTech Medical"),
            ("Nokia Danmark A/S", "Nokia Danmark"),
            ("Private", "Private"),
            ("Dell", "Dell"),
            ("Co.", "Co."),
            ("", ""),
        ] {
            assert_eq!(short(name), expect, "{name}");
        }
    }

    #[test]
    fn a_short_name_is_as_short_as_it_gets() {
        for (_, maker) in MAKERS {
            assert_eq!(short(maker), *maker);
        }
    }
}
