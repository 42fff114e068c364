//! Where hubs and agents are found: `https://hub.example:7700` and `web1.example:7702`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;
use serde::{Deserialize, Serialize};

/// Where the link's WebSocket is, below the hub's own path.
const LINK_PATH: &str = "/link";
/// The longest host name (RFC 1035), or anything that may stand for one.
const HOST_CHARS_MAX: usize = 253;

/// Why an address is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not an address of a hub.
    #[error("`{0}` is no address of a hub; write it as https://HOST or https://HOST:PORT")]
    NotAHub(String),
    /// Plain HTTP over a network.
    #[error("`{0}` is plain HTTP, which is allowed on this host only; write https://")]
    Plain(String),
    /// Not an address of a proxy.
    #[error("`{0}` is no address of a proxy; write it as http://HOST:PORT or http://USER@HOST:PORT")]
    NotAProxy(String),
    /// Not an address of an agent.
    #[error("`{0}` is no address of an agent; write it as HOST:PORT")]
    NotAnAgent(String),
}

/// Address of a hub.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HubUrl {
    host: String,
    port: u16,
    tls: bool,
    path: String,
}

impl HubUrl {
    /// Host name or IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// TLS around everything? Without it only on this host.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// What the WebSocket is asked for with.
    pub(crate) fn link_uri(&self) -> String {
        let scheme = if self.tls { "wss" } else { "ws" };
        format!("{scheme}://{}{}{LINK_PATH}", bracketed(&self.host, self.port), self.path)
    }
}

impl FromStr for HubUrl {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let bad = || AddressError::NotAHub(shortened(text));
        let uri: Uri = text.trim().parse().map_err(|_| bad())?;
        let tls = match uri.scheme_str() {
            Some("https" | "wss") => true,
            Some("http" | "ws") => false,
            _ => return Err(bad()),
        };
        let authority = uri.authority().ok_or_else(bad)?;
        let host = host_of(authority.host()).ok_or_else(bad)?;
        if uri.query().is_some() || authority.as_str().contains('@') {
            return Err(bad());
        }
        if !tls && !is_this_host(&host) {
            return Err(AddressError::Plain(shortened(text)));
        }
        let port = match authority.port_u16() {
            Some(0) => return Err(bad()),
            Some(port) => port,
            // There is a port, but it is no number of one.
            None if authority.as_str() != authority.host() => return Err(bad()),
            None => {
                if tls {
                    443
                } else {
                    80
                }
            }
        };
        Ok(Self { host, port, tls, path: uri.path().trim_end_matches('/').to_owned() })
    }
}

impl TryFrom<String> for HubUrl {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<HubUrl> for String {
    fn from(url: HubUrl) -> Self {
        url.to_string()
    }
}

impl fmt::Display for HubUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", bracketed(&self.host, self.port), self.path)
    }
}

/// Address of an agent that waits to be dialled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AgentAddress {
    host: String,
    port: u16,
}

impl AgentAddress {
    /// Host name or IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for AgentAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let bad = || AddressError::NotAnAgent(shortened(text));
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(bad)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(bad)?;
        // An IPv6 address stands in brackets, or nobody knows where it ends.
        if host.contains(':') && !host.starts_with('[') {
            return Err(bad());
        }
        Ok(Self { host: host_of(host).ok_or_else(bad)?, port })
    }
}

impl fmt::Display for AgentAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bracketed(&self.host, self.port))
    }
}

pub(crate) fn host_of(text: &str) -> Option<String> {
    if let Some(inside) = text.strip_prefix('[') {
        let address: std::net::Ipv6Addr = inside.strip_suffix(']')?.parse().ok()?;
        return Some(address.to_string());
    }
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let whole = !text.is_empty() && text.len() <= HOST_CHARS_MAX && text.bytes().all(good);
    whole.then(|| text.to_ascii_lowercase())
}

/// A name is believed to be this host's only if nobody can make it mean another one.
fn is_this_host(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

pub(crate) fn bracketed(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// As much of it as belongs into a message.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(HOST_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn link(text: &str) -> String {
        text.parse::<HubUrl>().map(|url| url.link_uri()).unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn the_link_is_below_the_hub() {
        assert_eq!(link("https://Hub.example"), "wss://hub.example:443/link");
        assert_eq!(link("https://hub.example:7700/"), "wss://hub.example:7700/link");
        assert_eq!(link("wss://hub.example/mon/"), "wss://hub.example:443/mon/link");
        assert_eq!(link("https://[::1]:7700"), "wss://[::1]:7700/link");
        assert_eq!(link("http://127.0.0.1:7700"), "ws://127.0.0.1:7700/link");
        assert_eq!(link("http://localhost"), "ws://localhost:80/link");
    }

    #[test]
    fn plain_http_stays_on_this_host() {
        for url in ["http://hub.example", "ws://10.0.0.1:7700", "http://localhost.example"] {
            assert!(link(url).contains("this host only"), "{url}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for url in [
            "",
            "hub.example",
            "ftp://x",
            "https://",
            "https://a@b",
            "https://a?x=1",
            "https://a:0",
            "https://a:99999",
        ] {
            assert!(url.parse::<HubUrl>().is_err(), "{url}");
        }
        for address in ["", "web1", "web1:0", ":7702", "::1:7702", "a b:1", "web1:x"] {
            assert!(address.parse::<AgentAddress>().is_err(), "{address}");
        }
    }

    proptest! {
        #[test]
        fn addresses_are_read_as_they_are_written(host in "[a-z0-9.-]{1,30}", port in 1_u16.., text in "\\PC{0,60}") {
            let url: Result<HubUrl, _> = format!("https://{host}:{port}").parse();
            if let Ok(url) = url {
                prop_assert_eq!(url.to_string().parse(), Ok(url));
            }
            let address: AgentAddress = format!("{host}:{port}").parse().unwrap();
            prop_assert_eq!(address.to_string().parse(), Ok(address));
            let _ = text.parse::<HubUrl>();
            let _ = text.parse::<AgentAddress>();
        }
    }
}
