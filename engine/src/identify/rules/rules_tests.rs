//! Rules load when they do what they say, and match as fast as they must.

use super::*;

/// Facts of a device, by field.
struct Known(&'static [(Field, &'static str)]);

impl Facts for Known {
    fn any(&self, field: Field, test: &mut dyn FnMut(&str) -> bool) -> bool {
        self.0.iter().filter(|(of, _)| *of == field).any(|(_, value)| test(value))
    }
}

fn load(text: &str) -> Result<Rules, RulesError> {
    Rules::load(&[("test.toml", &format!("version = 1\n{text}"))])
}

fn claims(rules: &Rules, field: Field, value: &str, facts: &dyn Facts) -> Vec<(String, String)> {
    let matches = rules.matches(field, value, facts, None);
    let of = |claim: &Claim| (claim.attribute.name().to_owned(), claim.value.to_string());
    matches.iter().flat_map(|(_, claims)| claims.iter().map(of)).collect()
}

const CT: &str = r#"
[[rule]]
id = "ct"
field = "dicom.modality"
equals = ["CT"]
claims = { category = "ct" }
weight = 0.9
learnt_from = ["Scanner"]
vectors = ["CT"]
refuses = ["MR"]
"#;

#[test]
fn what_the_engine_has_loads() {
    let rules = Rules::embedded().unwrap_or_else(|error| panic!("{error}"));
    assert!(rules.len() > 600, "{}", rules.len());
}

#[test]
fn a_rule_claims_what_it_says_with_its_weight() {
    let rules = load(CT).expect("rules");
    let matches = rules.matches(Field::DicomModality, "ct", &(), None);
    let [(number, claims)] = matches.as_slice() else { panic!("{matches:?}") };
    assert_eq!(rules.rule(*number).id(), "ct");
    assert_eq!(*claims, [Claim { attribute: Attribute::Category, value: "ct".into(), weight: 0.9 }]);
    assert!(rules.matches(Field::DicomModality, "MR", &(), None).is_empty());
    assert!(rules.matches(Field::DicomModel, "CT", &(), None).is_empty());
    assert!(rules.matches(Field::DicomModality, "CT", &(), Some("Scanner")).is_empty());
    assert_eq!(rules.matches(Field::DicomModality, "CT", &(), Some("Other")).len(), 1);
}

#[test]
fn groups_words_and_the_value_itself_are_put_into_claims() {
    let rules = load(
        r#"
[sets]
text = ["snmp.sys_descr", "http.server"]
[[rule]]
id = "switch"
fields = "text"
pattern = '^Vendorware (\S+) version ([0-9.]+)(?: by (\w+))?'
claims = { model = "V-$1", software_version = "$2", manufacturer = "$3", category = "network_switch" }
weights = { model = 0.8, software_version = 0.9, manufacturer = 0.5, category = 0.7 }
vectors = [{ value = "vendorware X1 version 2.3 by Ven", model = "V-X1", software_version = "2.3", manufacturer = "Ven" }]
refuses = ["Vendorware"]
[[rule]]
id = "words"
field = "http.server"
words = ["Plum 360", "Plum"]
unless = ["brandy"]
claims = { model = "$1", hostname = "$0" }
weight = 0.5
vectors = [{ value = "plum-360 x", model = "Plum 360" }, { value = "a plum", model = "Plum" }]
refuses = ["plum brandy", "plumage"]
"#,
    )
    .expect("rules");
    let of = |list: &[(&str, &str)]| list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>();
    let found = claims(&rules, Field::SnmpSysDescr, "Vendorware X1 version 2.3", &());
    assert_eq!(found, of(&[("category", "network_switch"), ("model", "V-X1"), ("software_version", "2.3")]));
    let found = claims(&rules, Field::HttpServer, "ICU_Plum_360", &());
    assert_eq!(found, of(&[("hostname", "ICU_Plum_360"), ("model", "Plum 360")]));
    assert!(claims(&rules, Field::HttpServer, "plum brandy", &()).is_empty());
}

#[test]
fn conditions_ask_for_other_facts_and_for_their_absence() {
    let rules = load(
        r#"
[[rule]]
id = "engine"
field = "link.serves"
equals = ["hl7"]
also = [{ field = "hl7.accepted", any = true, at_least = 2 }]
without = [{ field = "link.serves", equals = ["dicom"] }]
claims = { category = "interface_engine" }
weight = 0.6
vectors = ["hl7"]
refuses = ["dicom"]
"#,
    )
    .expect("rules");
    let check = |facts: &'static [(Field, &'static str)], expect: usize| {
        assert_eq!(rules.matches(Field::Serves, "hl7", &Known(facts), None).len(), expect, "{facts:?}");
    };
    check(&[], 0);
    check(&[(Field::Hl7Accepted, "ORU_R01")], 0);
    check(&[(Field::Hl7Accepted, "ORU_R01"), (Field::Hl7Accepted, "ADT_A01")], 1);
    check(&[(Field::Hl7Accepted, "ORU_R01"), (Field::Hl7Accepted, "ADT_A01"), (Field::Serves, "dicom")], 0);
    assert!(rules.rule(0).depends_on_facts());
}

#[test]
fn domains_match_themselves_and_what_is_in_them() {
    let rules = load(
        r#"
[[rule]]
id = "cloud"
field = "dns.query"
suffix = ["cloud.example"]
claims = { category = "smart_plug" }
weight = 0.5
vectors = ["cloud.example", "a.b.cloud.example"]
refuses = ["mycloud.example"]
"#,
    )
    .expect("rules");
    assert_eq!(rules.matches(Field::DnsQuery, "X.Cloud.Example", &(), None).len(), 1);
    assert!(rules.matches(Field::DnsQuery, "example", &(), None).is_empty());
}

#[test]
fn a_rule_that_is_wrong_does_not_load_and_says_why() {
    let check = |change: (&str, &str), expect: &str| {
        let text = CT.replace(change.0, change.1);
        assert_ne!(text, CT, "{change:?} changes nothing");
        let error = load(&text).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("test.toml") && error.contains(expect), "{change:?}: {error}");
    };
    check(("\"ct\"\nfield", "\"Ct\"\nfield"), "kebab-case");
    check(("dicom.modality", "dicom.nothing"), "no field is called");
    check(("category = \"ct\"", "category = \"nothing\""), "no category is called");
    check(("category = \"ct\"", "nothing = \"ct\""), "no attribute is called");
    check(("category = \"ct\"", "model = \"$1\""), "add a group");
    check(("weight = 0.9", "weight = 1.0"), "out of range");
    check(("weight = 0.9", "weight = 0.0"), "out of range");
    check(("weight = 0.9", "weights = { model = 0.9 }"), "not claimed");
    check(("weight = 0.9", ""), "either `weight`");
    check(("vectors = [\"CT\"]", "vectors = []"), "no vector");
    check(("vectors = [\"CT\"]", "vectors = [\"PT\"]"), "does not match");
    check(("vectors = [\"CT\"]", "vectors = [{ value = \"CT\", category = \"mr\" }]"), "gives category");
    check(("refuses = [\"MR\"]", ""), "refuses");
    check(("refuses = [\"MR\"]", "refuses = [\"ct\"]"), "must not");
    check(("equals = [\"CT\"]", "pattern = '('"), "bad pattern");
    check(("equals = [\"CT\"]", "equals = []"), "nothing to look for");
    check(("equals = [\"CT\"]", ""), "0 matchers");
    check(("equals = [\"CT\"]", "equals = [\"CT\"]\nany = true"), "2 matchers");
    check(("equals = [\"CT\"]", "equal = [\"CT\"]"), "unknown field");
    check(("field = \"dicom.modality\"", "field = \"link.serves\""), "at most 0.5");
    check(("field = \"dicom.modality\"", "fields = \"set\""), "no set");
    check(("[[rule]]", "[other]\n[[rule]]"), "unknown field");
    let twice = load(&format!("{CT}{CT}")).err().map(|error| error.to_string()).unwrap_or_default();
    assert_eq!(twice, "test.toml: rule `ct`: the id is taken: choose another");
    assert!(Rules::load(&[("a.toml", "version = 2")]).is_err() && Rules::load(&[("a.toml", "")]).is_err());
}

#[test]
fn hostile_values_match_nothing_and_take_no_time() {
    let rules = Rules::embedded().unwrap_or_else(|error| panic!("{error}"));
    for field in Field::ALL {
        for value in ["", " ", "....", "-", "\u{e9}\u{130}x", &"a".repeat(192), &"1.".repeat(126), &"x".repeat(100_000)] {
            for (number, claims) in rules.matches(*field, value, &(), None) {
                assert!(rules.rule(number).fields().contains(field) && claims.iter().all(|claim| claim.weight < 1.0));
            }
        }
    }
}
