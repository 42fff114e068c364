//! How hosts and hubs come to know each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use fieldpost_link::{
    Adoption, Authority, Identity, Invitation, Invited, JoinAnswer, JoinRequest, JoinString, KeyRequest,
    LinkError, Pin, Refusal, RefusalCode, Summons, Token, adopt_agent, join_hub,
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::bed::{Agent, DAY_MS, Enrol, HUB_ID, Hub, ListeningAgent, NOW_MS, echo, everybody, face, soon};

/// Answers `/join` for one token, as often as it is asked.
fn joining(authority: Authority, token: Token) -> (Enrol, Arc<AtomicUsize>) {
    let n_joined = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&n_joined);
    let enrol: Enrol = Arc::new(move |path: String, body: Bytes| {
        assert_eq!(path, "/join");
        let request: JoinRequest = serde_json::from_slice(&body)
            .map_err(|_| Refusal::new(RefusalCode::Other, "this is no request to join"))?;
        if request.token != token {
            return Err(Refusal::new(RefusalCode::BadToken, "the token is used, expired or mistyped"));
        }
        let issued = authority
            .issue_agent(&request.request, &request.agent_id, NOW_MS)
            .map_err(|error| Refusal::new(RefusalCode::Other, error.to_string()))?;
        counter.fetch_add(1, Ordering::Relaxed);
        let answer = JoinAnswer {
            chain: issued.chain,
            ca: authority.certificate_pem().to_owned(),
            hub_id: HUB_ID.to_owned(),
            details: json!({ "name": request.name }),
        };
        Ok(serde_json::to_value(answer).unwrap())
    });
    (enrol, n_joined)
}

struct Joining {
    hub: Hub,
    word: JoinString,
    n_joined: Arc<AtomicUsize>,
}

async fn open(outer_tls: bool) -> Joining {
    let authority = Authority::create(HUB_ID, NOW_MS).unwrap();
    let same = Authority::load(authority.certificate_pem(), &authority.key_pem()).unwrap();
    let token = Token::random().unwrap();
    let (enrol, n_joined) = joining(same, token.clone());
    let hub = Hub::new(authority, face(everybody()), outer_tls, enrol).await;
    let scheme = if outer_tls { "https" } else { "http" };
    let urls = vec![format!("{scheme}://localhost:{}", hub.address.port()).parse().unwrap()];
    let word = JoinString { urls, pin: hub.authority.pin(), token };
    Joining { hub, word, n_joined }
}

fn request(key: &KeyRequest, token: &Token) -> JoinRequest {
    JoinRequest {
        token: token.clone(),
        request: key.request.clone(),
        agent_id: "a1".to_owned(),
        name: "web1".to_owned(),
        details: Value::Null,
    }
}

/// A request that no hub will ever read.
pub fn nobodys_request(token: &Token) -> JoinRequest {
    request(&KeyRequest::new("a1").unwrap(), token)
}

#[tokio::test]
async fn a_host_joins_by_a_word_and_then_comes_in() {
    for outer_tls in [false, true] {
        let mut joining = open(outer_tls).await;
        let word: JoinString = joining.word.to_word().unwrap().parse().unwrap();
        let key = KeyRequest::new("a1").unwrap();
        let (answer, url) = soon(join_hub(&word, &request(&key, &word.token))).await.unwrap();
        assert_eq!(answer.details["name"], "web1");
        let identity = key.accept(answer.chain, answer.ca, "a1", &word.pin).unwrap();
        assert_eq!(identity.certificate().unwrap().not_after_ms, NOW_MS + 30 * DAY_MS);
        let _agent = Agent::dialling(url, identity, echo());
        assert_eq!(joining.hub.link().await.peer.id, "a1");
    }
}

#[tokio::test]
async fn a_wrong_token_is_refused_in_words() {
    let joining = open(false).await;
    let key = KeyRequest::new("a1").unwrap();
    let other = Token::random().unwrap();
    let error = soon(join_hub(&joining.word, &request(&key, &other))).await.err().unwrap();
    assert_eq!(error.to_string(), "refused: the token is used, expired or mistyped");
    assert_eq!(joining.n_joined.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn the_token_is_never_told_to_another_hub() {
    let mut joining = open(false).await;
    joining.word.pin = Pin::of_key(b"another");
    let key = KeyRequest::new("a1").unwrap();
    let error = soon(join_hub(&joining.word, &request(&key, &joining.word.token))).await.err().unwrap();
    assert!(error.to_string().contains("its pin differs"), "{error}");
    assert_eq!(joining.n_joined.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_hub_that_moved_is_found_at_its_next_address() {
    let mut joining = open(false).await;
    joining.word.urls.insert(0, "http://127.0.0.1:1".parse().unwrap());
    let key = KeyRequest::new("a1").unwrap();
    assert!(soon(join_hub(&joining.word, &request(&key, &joining.word.token))).await.is_ok());
}

#[tokio::test]
async fn a_request_for_somebody_elses_key_is_refused() {
    let joining = open(false).await;
    let key = KeyRequest::new("a1").unwrap();
    let mut forged = request(&key, &joining.word.token);
    forged.request = forged.request.replace('A', "B");
    let error = soon(join_hub(&joining.word, &forged)).await.err().unwrap();
    assert!(error.to_string().contains("no request for a certificate"), "{error}");
}

#[tokio::test]
async fn the_certificate_of_another_key_is_not_taken() {
    let joining = open(false).await;
    let (mine, other) = (KeyRequest::new("a1").unwrap(), KeyRequest::new("a1").unwrap());
    let (answer, _) = soon(join_hub(&joining.word, &request(&other, &joining.word.token))).await.unwrap();
    let pin = joining.word.pin;
    assert!(mine.accept(answer.chain.clone(), answer.ca.clone(), "a1", &pin).is_err());
    assert!(other.clone().accept(answer.chain.clone(), answer.ca.clone(), "a2", &pin).is_err());
    assert!(other.clone().accept(answer.chain.clone(), answer.ca.clone(), "a1", &Pin::of_key(b"x")).is_err());
    assert!(other.accept(answer.chain, answer.ca, "a1", &pin).is_ok());
}

#[tokio::test]
async fn clocks_off_by_years_neither_hinder_joining_nor_linking() {
    for years in [-50, -1, 1, 80] {
        let mut joining = open(false).await;
        let now_ms = NOW_MS + years * 365 * DAY_MS;
        let key = KeyRequest::new("a1").unwrap();
        let (answer, url) = soon(join_hub(&joining.word, &request(&key, &joining.word.token))).await.unwrap();
        let identity = key.accept(answer.chain, answer.ca, "a1", &joining.word.pin).unwrap();
        let _agent = Agent::at(now_ms, url, identity, echo());
        assert_eq!(joining.hub.link().await.peer.id, "a1");
    }
}

/// An agent that was invited, and the hub that comes for it.
struct Inviting {
    agent: ListeningAgent,
    word: Invitation,
    adopted: Arc<Mutex<Option<Identity>>>,
}

async fn invite() -> Inviting {
    let token = Token::random().unwrap();
    let own = Identity::self_signed("a1", NOW_MS).unwrap();
    let adopted = Arc::new(Mutex::new(None));
    let key = KeyRequest::new("a1").unwrap();
    let (stored, wanted) = (Arc::clone(&adopted), token.clone());
    let enrol: Enrol = Arc::new(move |path, body| {
        let bad = || Refusal::new(RefusalCode::BadToken, "there is no such invitation");
        match path.as_str() {
            "/invite" => {
                let summons: Summons = serde_json::from_slice(&body).map_err(|_| bad())?;
                let invited = Invited {
                    request: key.request.clone(),
                    agent_id: "a1".to_owned(),
                    name: "web1".to_owned(),
                    details: Value::Null,
                };
                if summons.token == wanted { Ok(json!(invited)) } else { Err(bad()) }
            }
            "/adopt" => {
                let Adoption { token, answer } = serde_json::from_slice(&body).map_err(|_| bad())?;
                let pin = Authority::pin_of(&answer.ca).unwrap();
                let identity = key.clone().accept(answer.chain, answer.ca, "a1", &pin).map_err(|_| bad())?;
                *stored.lock() = Some(identity);
                if token == wanted { Ok(json!({})) } else { Err(bad()) }
            }
            _ => Err(bad()),
        }
    });
    let pin = own.certificate().unwrap().key_pin;
    let agent = ListeningAgent::open("a1", Arc::clone(&adopted), Some(own), enrol).await;
    let word = Invitation { addresses: vec![agent.address.clone()], pin, token };
    Inviting { agent, word, adopted }
}

fn summons(authority: &Authority, token: &Token) -> Summons {
    Summons {
        token: token.clone(),
        hub_id: HUB_ID.to_owned(),
        ca: authority.certificate_pem().to_owned(),
        details: Value::Null,
    }
}

fn issue(authority: &Authority) -> impl FnOnce(&Invited) -> Result<JoinAnswer, LinkError> {
    |invited| {
        let issued = authority.issue_agent(&invited.request, &invited.agent_id, NOW_MS)?;
        Ok(JoinAnswer {
            chain: issued.chain,
            ca: authority.certificate_pem().to_owned(),
            hub_id: HUB_ID.to_owned(),
            details: Value::Null,
        })
    }
}

#[tokio::test]
async fn an_invited_hub_takes_the_agent_in_and_then_dials_it() {
    let inviting = invite().await;
    let authority = Authority::create(HUB_ID, NOW_MS).unwrap();
    let word: Invitation = inviting.word.to_word().unwrap().parse().unwrap();
    let summons = summons(&authority, &word.token);
    let (invited, address) = soon(adopt_agent(&word, &summons, issue(&authority))).await.unwrap();
    assert_eq!((invited.agent_id.as_str(), invited.name.as_str()), ("a1", "web1"));
    assert!(inviting.adopted.lock().is_some());
    let link = inviting.agent.dialled_by(&authority, &address, "a1").await.unwrap();
    assert_eq!(link.hello.agent_id, "a1");
}

#[tokio::test]
async fn a_hub_without_the_invitation_is_refused() {
    let inviting = invite().await;
    let authority = Authority::create(HUB_ID, NOW_MS).unwrap();
    let other = summons(&authority, &Token::random().unwrap());
    let error = soon(adopt_agent(&inviting.word, &other, issue(&authority))).await.err().unwrap();
    assert!(error.to_string().contains("no such invitation"), "{error}");
    let false_word = Invitation { pin: Pin::of_key(b"another"), ..inviting.word.clone() };
    let right = summons(&authority, &inviting.word.token);
    let error = soon(adopt_agent(&false_word, &right, issue(&authority))).await.err().unwrap();
    assert!(error.to_string().contains("its pin differs"), "{error}");
    assert!(inviting.adopted.lock().is_none());
}
