//! The one HTTP client: it talks to the agent's Unix socket, and for sinks to programs of others, so
//! that deadlines and limits are set in one place.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Certificate, Identity, Method, Url};
use tokio::time::timeout;

/// The longest that connecting may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// The longest that connecting to another machine may take.
const FAR_CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// The longest that a whole answer may take; a reload may take a few seconds.
const ANSWER_DEADLINE: Duration = Duration::from_secs(15);
/// The longest that what was pushed may take to be answered.
const PUSH_DEADLINE: Duration = Duration::from_secs(30);
/// The largest answer that is read, bytes; a table of 30 000 processes is smaller.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// So much is read of the answer to a push: its reasons.
const PUSH_ANSWER_BYTES_MAX: usize = 64 << 10;

/// The longest that an answer without an end may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// So much is shown of the reason of a refusal, characters.
const ERROR_CHARS_MAX: usize = 1_000;

/// A client of one agent's Unix socket.
pub struct LocalClient {
    http: reqwest::Client,
}

impl LocalClient {
    /// Speaks to this socket. Nothing is sent yet.
    pub fn new(socket: &Path) -> anyhow::Result<Self> {
        Self::with_deadline(socket, ANSWER_DEADLINE)
    }

    /// The same for what may take longer.
    pub fn with_deadline(socket: &Path, deadline: Duration) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .unix_socket(socket)
            .no_proxy()
            .connect_timeout(CONNECT_DEADLINE)
            .timeout(deadline)
            .build()
            .context("cannot make an HTTP client")?;
        Ok(Self { http })
    }

    /// The same for an answer that goes on for as long as it likes, but is never silent for long.
    pub fn without_deadline(socket: &Path) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .unix_socket(socket)
            .no_proxy()
            .connect_timeout(CONNECT_DEADLINE)
            .build()
            .context("cannot make an HTTP client")?;
        Ok(Self { http })
    }

    /// Asks for an answer and gives its bytes as they come.
    pub async fn follow(
        &self,
        path: &str,
        mut take: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        followed(self.http.get(format!("http://localhost{path}")), &mut take).await
    }

    /// Sends a request, with JSON in it or without a body: the code and the body of the answer.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        json: Option<Vec<u8>>,
    ) -> anyhow::Result<(u16, Vec<u8>)> {
        let method = Method::from_bytes(method.as_bytes()).context("no such method")?;
        asked(self.http.request(method, format!("http://localhost{path}")), json).await
    }
}

async fn asked(
    mut request: reqwest::RequestBuilder,
    json: Option<Vec<u8>>,
) -> anyhow::Result<(u16, Vec<u8>)> {
    if let Some(json) = json {
        request = request.header("content-type", "application/json").body(json);
    }
    let mut answer = request.send().await?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.context("the answer broke off")? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            bail!("the answer is larger than {} MiB", ANSWER_BYTES_MAX >> 20);
        }
        body.extend_from_slice(&chunk);
    }
    Ok((answer.status().as_u16(), body))
}

async fn followed(
    request: reqwest::RequestBuilder,
    take: &mut impl FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let silent = || format!("nothing came for {} s", SILENCE_MAX.as_secs());
    let mut answer = timeout(SILENCE_MAX, request.send()).await.with_context(silent)??;
    if !answer.status().is_success() {
        let text = timeout(SILENCE_MAX, answer.text()).await.with_context(silent)?.unwrap_or_default();
        bail!("refused: {}", text.chars().take(ERROR_CHARS_MAX).collect::<String>());
    }
    while let Some(chunk) =
        timeout(SILENCE_MAX, answer.chunk()).await.with_context(silent)?.context("the answer broke off")?
    {
        take(&chunk)?;
    }
    Ok(())
}

/// A client of a hub elsewhere. Redirections are not followed: the token stays where it was meant for.
pub struct HubClient {
    http: reqwest::Client,
    origin: String,
    token: Option<Credential>,
}

impl HubClient {
    /// Speaks to the hub at this address, as the holder of this API token. With a CA (PEM) that one is
    /// trusted and no other.
    pub fn new(url: &str, token: Option<String>, ca: Option<&[u8]>) -> anyhow::Result<Self> {
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(FAR_CONNECT_DEADLINE)
            .user_agent(concat!("fieldpost/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = ca {
            builder = builder.tls_certs_only(Certificate::from_pem_bundle(pem).context("no certificates")?);
        }
        let http = builder.build().context("cannot make an HTTP client")?;
        let origin = url.trim_end_matches('/').to_owned();
        Ok(Self { http, origin, token: token.map(Credential::Bearer) })
    }

    /// Sends a request, with JSON in it or without a body: the code and the body of the answer.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        json: Option<Vec<u8>>,
        deadline: Duration,
    ) -> anyhow::Result<(u16, Vec<u8>)> {
        let method = Method::from_bytes(method.as_bytes()).context("no such method")?;
        let request = self.http.request(method, format!("{}{path}", self.origin)).timeout(deadline);
        asked(with_credential(request, self.token.as_ref()), json).await
    }

    /// Asks for an answer and gives its bytes as they come.
    pub async fn follow(
        &self,
        path: &str,
        mut take: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let request = self.http.get(format!("{}{path}", self.origin));
        followed(with_credential(request, self.token.as_ref()), &mut take).await
    }
}

/// What is wrong with an address to push to, if anything: it must be https, or http on loopback, and
/// hold no password, for addresses are shown.
pub fn fault_of_url(url: &str) -> Option<String> {
    let parsed = match Url::parse(url) {
        Ok(parsed) => parsed,
        Err(error) => return Some(format!("{url:?} is no URL: {error}")),
    };
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Some("a user or password in the URL would be shown; give them by basic_auth".to_owned());
    }
    let host = parsed.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let address = host.parse::<std::net::IpAddr>();
    let is_loopback = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    match parsed.scheme() {
        "https" => None,
        "http" if is_loopback => None,
        "http" => Some(format!("{host} is not this machine: write https, plain HTTP is for loopback only")),
        scheme => Some(format!("{scheme} is not spoken; write https")),
    }
}

/// A client that posts to one address. Redirections are not followed: credentials stay where they
/// were meant for.
pub struct PushClient {
    http: reqwest::Client,
    url: Url,
}

/// By what a push proves who sends it. It has no text form, so that it does not end up in a log.
#[derive(Clone)]
pub enum Credential {
    /// A bearer token.
    Bearer(String),
    /// A user and a password.
    Basic(String, String),
    /// What stands in the header, by the word before it.
    Other(String, String),
}

/// An answer to a push.
#[derive(Debug, Clone)]
pub struct PushAnswer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap<HeaderValue>,
    /// The beginning of its body.
    pub body: Vec<u8>,
}

impl PushClient {
    /// Posts to this address. With a CA (PEM) that one is trusted and no other; without, those of the
    /// system.
    pub fn new(url: &str, ca: Option<&[u8]>) -> anyhow::Result<Self> {
        let url = Url::parse(url).with_context(|| format!("{url:?} is no URL"))?;
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(FAR_CONNECT_DEADLINE)
            .timeout(PUSH_DEADLINE)
            .user_agent(concat!("fieldpost/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = ca {
            builder = builder.tls_certs_only(Certificate::from_pem_bundle(pem).context("no certificates")?);
        }
        Ok(Self { http: builder.build().context("cannot make an HTTP client")?, url })
    }

    /// Posts a body. Answers of any status are answers.
    pub async fn post(
        &self,
        headers: HeaderMap<HeaderValue>,
        credential: Option<&Credential>,
        body: Bytes,
    ) -> anyhow::Result<PushAnswer> {
        let request = self.http.post(self.url.clone()).headers(headers).body(body);
        let mut answer = with_credential(request, credential).send().await?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.context("the answer broke off")? {
            let room = PUSH_ANSWER_BYTES_MAX - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if body.len() == PUSH_ANSWER_BYTES_MAX {
                break;
            }
        }
        Ok(PushAnswer { status: answer.status().as_u16(), headers: answer.headers().clone(), body })
    }
}

/// Whom a client trusts, and as whom it comes.
#[derive(Default)]
pub struct ClientTls {
    /// Certificates (PEM) that are trusted, and no others; none: those of the system.
    pub ca: Option<Vec<u8>>,
    /// The client's own certificate and key (PEM).
    pub identity: Option<Vec<u8>>,
    /// The name that the server's certificate has to have, where it is not that of its address.
    pub server_name: Option<String>,
    /// Is any certificate good enough?
    pub trusts_all: bool,
}

/// A client that gets pages of measurements. Redirections are not followed.
pub struct PageClient {
    http: reqwest::Client,
    server_name: Option<String>,
}

/// Finds the addresses of one host, whatever it is called in the address: a certificate is checked
/// against the name that stands there.
struct AddressesOf(String);

impl Resolve for AddressesOf {
    fn resolve(&self, _: Name) -> Resolving {
        let host = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?.collect::<Vec<_>>();
            Ok::<Addrs, _>(Box::new(found.into_iter()))
        })
    }
}

impl PageClient {
    /// For any page, or with `server_name` for those of this host only.
    pub fn new(tls: &ClientTls, host: &str) -> anyhow::Result<Self> {
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(FAR_CONNECT_DEADLINE)
            .user_agent(concat!("fieldpost/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = &tls.ca {
            builder = builder.tls_certs_only(Certificate::from_pem_bundle(pem).context("no certificates")?);
        }
        if let Some(pem) = &tls.identity {
            builder = builder.identity(Identity::from_pem(pem).context("no certificate with its key")?);
        }
        if tls.trusts_all {
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        if tls.server_name.is_some() {
            builder = builder.dns_resolver(AddressesOf(host.to_owned()));
        }
        let http = builder.build().context("cannot make an HTTP client")?;
        Ok(Self { http, server_name: tls.server_name.clone() })
    }

    fn request(&self, url: &str) -> anyhow::Result<reqwest::RequestBuilder> {
        let mut url = Url::parse(url).with_context(|| format!("{url:?} is no URL"))?;
        let Some(name) = self.server_name.as_deref().filter(|_| url.scheme() == "https") else {
            return Ok(self.http.get(url));
        };
        let host = url.authority().to_owned();
        url.set_host(Some(name)).with_context(|| format!("{name:?} is no name of a host"))?;
        Ok(self.http.get(url).header("host", host))
    }

    /// A page of this address, of so many bytes at most, if it answers 200 in time.
    pub async fn get(
        &self,
        url: &str,
        headers: HeaderMap<HeaderValue>,
        credential: Option<&Credential>,
        limits: (Duration, usize),
    ) -> anyhow::Result<Vec<u8>> {
        match self.ask(url, headers, credential, limits).await? {
            (200, body) => Ok(body),
            (status, _) => {
                let status = http::StatusCode::from_u16(status).context("no status")?;
                bail!("it answers {status}")
            }
        }
    }

    /// The status and the body, of so many bytes at most, if it answers in time.
    pub async fn ask(
        &self,
        url: &str,
        headers: HeaderMap<HeaderValue>,
        credential: Option<&Credential>,
        (deadline, bytes_max): (Duration, usize),
    ) -> anyhow::Result<(u16, Vec<u8>)> {
        let request = self.request(url)?.headers(headers).timeout(deadline);
        let mut answer = with_credential(request, credential).send().await?;
        let status = answer.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.context("the page broke off")? {
            if body.len() + chunk.len() > bytes_max {
                bail!("the page is larger than {bytes_max} bytes");
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status, body))
    }
}

/// The address of a page, with what stands after its `?`. Fails if these make no address.
pub fn page_url<'a>(
    scheme: &str,
    authority: &str,
    path: &str,
    parameters: impl Iterator<Item = (&'a str, &'a str)>,
) -> anyhow::Result<String> {
    let origin = format!("{scheme}://{authority}");
    let mut url = Url::parse(&origin).with_context(|| format!("{origin:?} is no URL"))?;
    url.set_path(path);
    let mut parameters = parameters.peekable();
    if parameters.peek().is_some() {
        url.query_pairs_mut().extend_pairs(parameters);
    }
    Ok(url.into())
}

fn with_credential(
    request: reqwest::RequestBuilder,
    credential: Option<&Credential>,
) -> reqwest::RequestBuilder {
    match credential {
        Some(Credential::Bearer(token)) => request.bearer_auth(token),
        Some(Credential::Basic(user, password)) => request.basic_auth(user, Some(password)),
        Some(Credential::Other(kind, text)) => request.header("authorization", format!("{kind} {text}")),
        None => request,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_and_passwords_stay_out_of_addresses() {
        for good in ["https://a.example/x", "http://localhost:9090/", "http://127.0.0.2/", "http://[::1]:1/"]
        {
            assert_eq!(fault_of_url(good), None, "{good}");
        }
        for (url, wrong) in [
            ("http://a.example/x", "a.example is not this machine"),
            ("http://192.168.0.1/", "192.168.0.1 is not this machine"),
            ("https://user:secret@a.example/", "a user or password in the URL"),
            ("ftp://a.example/", "ftp is not spoken"),
            ("a.example", "is no URL"),
        ] {
            let fault = fault_of_url(url).unwrap();
            assert!(fault.contains(wrong) && !fault.contains("secret"), "{fault}");
        }
    }
}
