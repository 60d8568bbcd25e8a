//! Path templates: request targets in; the words of them that are technical out.
//!
//! A path may name a patient anywhere, so a word leaves only as the allow-list spells it: nothing of the target is copied
//! (PRIVACY-2).

/// Segments that a template keeps.
const SEGMENTS_MAX: usize = 6;
/// Stands for a segment that is not on the allow-list.
const OTHER: &str = "*";

/// Technical words, in small letters, and the blanks between them.
const WORDS: &str = "\
    _api _config account actuator admin api apis app aspnet_client assets auth autodiscover axis-cgi bulkdata cgi cgi-bin \
    classes client cloud common config console control css current dcm4chee-arc desc desc.xml description description.xml \
    device device.xml device_description.xml device_service devicedesc.xml devicedescription.xml devices devmgmt dicom-web \
    dicomweb discovery docs download dws ecp event event_service eventmgmt events ews explorer export favicon.ico fhir \
    firmware fonts frames gatedesc.xml generate_204 graphql guacamole health healthz home hp html images img imaging \
    index.asp index.cgi index.htm index.html index.jsp index.php info instances interop ipp isapi js jmx json jsonrpc live \
    login login.asp login.cgi login.htm login.html login.php logon lws management manager mapi media_service metadata \
    metrics mobile ncsi.txt network oauth oauth2 odata onvif orthanc owa pacs phpmyadmin ping port1 print \
    printer printers ptz_service public qido qido-rs query r4 r4b r5 redfish register rendered remote report resources \
    rest restapi robots.txt rootdesc.xml rpc rs rss sap scripts sdk series server server-status service services session \
    sessions setup settings snapshot.jpg soap ssdp static stats status status.html stow stow-rs stu3 studies style swagger \
    system systems thumbnail token ui update updates upload upnp users v1 v1.0 v1.1 v2 v2.0 v3 v4 v5 version vmware wado \
    wado-rs wado-uri wadors wadouri web webaccess webapps webdav webservices webui websocket wpad.dat ws wsman wsdl xml \
    xmlrpc";

/// Names of FHIR resource types (HL7 FHIR R4) that tell what a server holds.
const FHIR: &str = "\
    AllergyIntolerance Appointment AuditEvent Binary Bundle CapabilityStatement CarePlan CareTeam CodeSystem Communication \
    Composition Condition Consent Coverage Device DeviceMetric DeviceRequest DiagnosticReport DocumentReference Encounter \
    Endpoint EpisodeOfCare Flag Goal Group HealthcareService ImagingStudy Immunization Library List Location Media \
    Medication MedicationAdministration MedicationDispense MedicationRequest MedicationStatement MessageHeader \
    NutritionOrder Observation OperationOutcome Organization Patient Practitioner PractitionerRole Procedure Provenance \
    Questionnaire QuestionnaireResponse RelatedPerson Schedule ServiceRequest Slot Specimen StructureDefinition \
    Subscription Task ValueSet";

/// The template of an origin-form target (RFC 9112 section 3.2.1): `/fhir/Patient/*`. `None` when it is of another form.
pub fn template(target: &[u8]) -> Option<String> {
    let path = target.split(|octet| matches!(octet, b'?' | b'#' | b';')).next()?.strip_prefix(b"/")?;
    let mut template = String::new();
    for segment in path.split(|octet| *octet == b'/').filter(|segment| !segment.is_empty()).take(SEGMENTS_MAX) {
        template.push('/');
        template.push_str(word(segment));
    }
    if template.is_empty() {
        template.push('/');
    }
    Some(template)
}

/// The allow-list's spelling of a segment.
fn word(segment: &[u8]) -> &'static str {
    let fhir = FHIR.split(' ').find(|name| name.as_bytes() == segment);
    fhir.or_else(|| WORDS.split(' ').find(|word| word.as_bytes().eq_ignore_ascii_case(segment))).unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::Grammar;

    #[test]
    fn templates_keep_technical_words_alone() {
        let check = |target: &str, expect: &str| assert_eq!(template(target.as_bytes()).as_deref(), Some(expect), "{target}");
        check("/", "/");
        check("/?patient=MUSTERMANN", "/");
        check("/fhir/Patient/4711/$everything", "/fhir/Patient/*/*");
        check("/FHIR/MUSTERMANN", "/fhir/*");
        check("/dicom-web/studies/1.2.3/series/4.5.6/instances/7.8.9/frames/1", "/dicom-web/studies/*/series/*/instances");
        check("/onvif/device_service", "/onvif/device_service");
        check("//index.html;jsessionid=MUSTERMANN", "/index.html");
        check("/wado#MUSTERMANN", "/wado");
        check("/fhir%2FMUSTERMANN", "/*");
        for other in ["*", "http://proxy.example/x", "host:443", ""] {
            assert_eq!(template(other.as_bytes()), None);
        }
    }

    #[test]
    fn every_word_can_leave() {
        for word in WORDS.split(' ').chain(FHIR.split(' ')) {
            assert_eq!(template(format!("/{word}").as_bytes()), Some(format!("/{word}")));
            assert_eq!(Grammar::Token.check(word.as_bytes()), Some(word));
        }
        assert_eq!(Grammar::Token.check(b"/fhir/*"), Some("/fhir/*"));
    }
}
