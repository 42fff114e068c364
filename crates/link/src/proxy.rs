//! An HTTP proxy between an agent and its hub, asked with CONNECT: what many houses have instead
//! of a way out.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use http::Uri;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::address::{AddressError, bracketed, host_of, shortened};
use crate::error::LinkError;
use crate::socket;

/// The longest answer of a proxy that is read.
const ANSWER_BYTES_MAX: usize = 8 << 10;
const WHILE: &str = "asking the proxy";

/// A proxy: `http://HOST:PORT`, or with `USER@` or `USER:PASSWORD@` before the host.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    host: String,
    port: u16,
    /// User, or user and password with a colon between them (RFC 7617).
    credentials: Option<String>,
}

impl FromStr for Proxy {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        // The text may hold a password, so only what is behind it is named.
        let named = text.rsplit_once('@').map_or(text, |(_, behind)| behind);
        let bad = || AddressError::NotAProxy(shortened(named));
        let uri: Uri = text.trim().parse().map_err(|_| bad())?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(bad)?;
        let port = authority.port_u16().filter(|port| *port != 0).ok_or_else(bad)?;
        let credentials = authority.as_str().rsplit_once('@').map(|(credentials, _)| credentials.to_owned());
        Ok(Self { host: host_of(authority.host()).ok_or_else(bad)?, port, credentials })
    }
}

impl fmt::Display for Proxy {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", bracketed(&self.host, self.port))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

impl Proxy {
    /// Does it say a password?
    pub fn has_password(&self) -> bool {
        self.credentials.as_ref().is_some_and(|credentials| credentials.contains(':'))
    }

    /// The same with the password of its user, which is nobody where none is named.
    pub fn with_password(mut self, password: &str) -> Self {
        let user = self.credentials.as_deref().and_then(|credentials| credentials.split(':').next());
        self.credentials = Some(format!("{}:{password}", user.unwrap_or_default()));
        self
    }

    /// Connects to a host through the proxy.
    pub(crate) async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, LinkError> {
        let mut stream = socket::connect(&self.host, self.port).await?;
        let target = bracketed(host, port);
        let mut question = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        if let Some(credentials) = &self.credentials {
            let credentials = BASE64.encode(credentials.as_bytes());
            question.push_str(&format!("Proxy-Authorization: Basic {credentials}\r\n"));
        }
        question.push_str("\r\n");
        let broken = |source| LinkError::broken(source, WHILE);
        stream.write_all(question.as_bytes()).await.map_err(broken)?;
        let status = answer(&mut stream).await?;
        if (200..300).contains(&status) {
            Ok(stream)
        } else {
            Err(LinkError::Proxy { proxy: self.to_string(), target, status })
        }
    }
}

/// Reads an answer's head and nothing behind it; gives the status, 0 if it has none.
async fn answer(stream: &mut TcpStream) -> Result<u16, LinkError> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == ANSWER_BYTES_MAX {
            return Err(LinkError::TooLong(ANSWER_BYTES_MAX));
        }
        head.push(stream.read_u8().await.map_err(|source| LinkError::broken(source, WHILE))?);
    }
    let head = String::from_utf8_lossy(&head);
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
    Ok(status.and_then(|status| status.trim().parse().ok()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_sent_and_never_shown() {
        let proxy: Proxy = "http://ann:s3cret@proxy.example:3128".parse().unwrap();
        assert_eq!(proxy.credentials.as_deref(), Some("ann:s3cret"));
        assert!(proxy.has_password());
        assert_eq!(proxy.to_string(), "http://proxy.example:3128");
        assert_eq!(format!("{proxy:?}"), "Proxy(http://proxy.example:3128)");
        let error = "ftp://ann:s3cret@proxy.example".parse::<Proxy>().unwrap_err().to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }

    #[test]
    fn what_is_no_proxy_is_refused() {
        for text in ["", "proxy:3128", "http://proxy", "http://:3128", "https://proxy:3128", "http://a b:1"] {
            assert!(text.parse::<Proxy>().is_err(), "{text}");
        }
    }
}
