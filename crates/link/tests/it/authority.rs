//! What the authority signs, for whom and for how long.

use fieldpost_link::{Authority, AuthorityError, Identity, IdentityError, KeyRequest, PeerCertificate, Role};

use crate::bed::{DAY_MS, HUB_ID, NOW_MS, identity};

const HOUR_MS: i64 = 3_600_000;

fn authority() -> Authority {
    Authority::create(HUB_ID, NOW_MS).unwrap()
}

#[test]
fn a_stored_authority_is_the_same_again() {
    let first = authority();
    let again = Authority::load(first.certificate_pem(), &first.key_pem()).unwrap();
    assert_eq!(again.pin(), first.pin());
    assert_eq!(again.issue_hub(HUB_ID, NOW_MS).unwrap().ca_pin().unwrap(), first.pin());
    assert_eq!(Authority::pin_of(first.certificate_pem()).unwrap(), first.pin());
    assert!(!format!("{first:?}").contains("PRIVATE"));
}

#[test]
fn an_authority_stored_in_pieces_is_refused() {
    let (one, other) = (authority(), authority());
    let mixed = Authority::load(one.certificate_pem(), &other.key_pem());
    assert!(matches!(mixed, Err(AuthorityError::Stored(IdentityError::Mismatch))));
    assert!(Authority::load("", &one.key_pem()).is_err());
    assert!(Authority::load(one.certificate_pem(), "").is_err());
    assert!(Authority::load(&one.certificate_pem()[..200], &one.key_pem()).is_err());
}

#[test]
fn an_agents_certificate_lasts_thirty_days_and_begins_an_hour_ago() {
    let certificate = identity(&authority(), "a1", NOW_MS).certificate().unwrap();
    assert_eq!((certificate.role, certificate.id.as_str()), (Role::Agent, "a1"));
    assert_eq!(certificate.not_before_ms, NOW_MS - HOUR_MS);
    assert_eq!(certificate.not_after_ms, NOW_MS + 30 * DAY_MS);
    assert!(!certificate.needs_renewal(NOW_MS + 14 * DAY_MS));
    assert!(certificate.needs_renewal(NOW_MS + 15 * DAY_MS));
    assert!(!certificate.is_expired(NOW_MS + 30 * DAY_MS));
    assert!(certificate.is_expired(NOW_MS + 30 * DAY_MS + 1));
}

#[test]
fn a_hubs_certificate_never_ends() {
    let certificate = authority().issue_hub(HUB_ID, NOW_MS).unwrap().certificate().unwrap();
    assert_eq!((certificate.role, certificate.id.as_str()), (Role::Hub, HUB_ID));
    assert!(!certificate.is_expired(NOW_MS + 3000 * 365 * DAY_MS));
}

#[test]
fn the_oddest_clock_makes_a_certificate() {
    for now_ms in [i64::MIN, -1, 0, 4_102_444_800_000, i64::MAX] {
        let authority = Authority::create(HUB_ID, now_ms).unwrap();
        assert!(authority.issue_hub(HUB_ID, now_ms).unwrap().certificate().is_ok());
        assert!(identity(&authority, "a1", now_ms).certificate().is_ok());
    }
}

#[test]
fn every_certificate_has_a_serial_number_of_its_own() {
    let authority = authority();
    let request = KeyRequest::new("a1").unwrap().request;
    let serial = || authority.issue_agent(&request, "a1", NOW_MS).unwrap().certificate.serial;
    let (one, other) = (serial(), serial());
    assert_ne!(one, other);
    assert_eq!(one.len(), 32);
}

#[test]
fn the_name_in_the_certificate_is_the_hubs_to_give() {
    let request = KeyRequest::new("asked-for").unwrap();
    let issued = authority().issue_agent(&request.request, "given", NOW_MS).unwrap();
    assert_eq!(issued.certificate.id, "given");
}

#[test]
fn requests_that_are_none_are_refused() {
    let authority = authority();
    let request = KeyRequest::new("a1").unwrap().request;
    let cut = &request[..request.len() / 2];
    for bad in ["", "x", cut, &"x".repeat(20_000), authority.certificate_pem()] {
        let refused = authority.issue_agent(bad, "a1", NOW_MS);
        assert!(matches!(refused, Err(AuthorityError::BadRequest)), "{bad}");
    }
    assert!(authority.issue_agent(&request, "no/id", NOW_MS).is_err());
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let other = rcgen::CertificateParams::default().serialize_request(&p384).unwrap().pem().unwrap();
    assert!(matches!(authority.issue_agent(&other, "a1", NOW_MS), Err(AuthorityError::BadKey)));
}

#[test]
fn certificates_of_other_houses_name_nobody() {
    let key = rcgen::KeyPair::generate().unwrap();
    let foreign = rcgen::CertificateParams::new(vec!["hub.example".to_owned()]).unwrap();
    let foreign = foreign.self_signed(&key).unwrap();
    assert!(matches!(PeerCertificate::from_der(foreign.der()), Err(IdentityError::Nameless)));
    let mut two = rcgen::CertificateParams::default();
    let name = |text: &str| rcgen::SanType::URI(text.try_into().unwrap());
    two.subject_alt_names = vec![name("fieldpost://agent/a1"), name("fieldpost://hub/h1")];
    let two = two.self_signed(&key).unwrap();
    assert!(matches!(PeerCertificate::from_der(two.der()), Err(IdentityError::Nameless)));
}

#[test]
fn a_self_signed_identity_is_its_own_authority() {
    let own = Identity::self_signed("a1", NOW_MS).unwrap();
    assert_eq!(own.ca_pin().unwrap(), own.certificate().unwrap().key_pin);
    let mixed = Identity { key: KeyRequest::new("a1").unwrap().key, ..own };
    assert!(matches!(mixed.certificate(), Err(IdentityError::Mismatch)));
}
