//! What can go wrong with a link, in words that say what to do next.

use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError};

use crate::address::AddressError;
use crate::authority::AuthorityError;
use crate::frames::FrameError;
use crate::handshake::Refusal;
use crate::identity::IdentityError;
use crate::join::WordError;

/// Why there is no link, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nobody answers there.
    #[error("cannot reach {address}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// Something else answers there.
    #[error(
        "{address} answered {status} where a hub opens its link; is it the hub's address, and does the proxy before it pass WebSockets?"
    )]
    NotAHub {
        /// Host and port.
        address: String,
        /// The HTTP status.
        status: u16,
    },
    /// The proxy says no.
    #[error("the proxy {proxy} answered {status} when asked for {target}; it must allow CONNECT to there")]
    Proxy {
        /// The proxy.
        proxy: String,
        /// Host and port of the hub.
        target: String,
        /// The HTTP status; 0 if it did not answer in HTTP.
        status: u16,
    },
    /// The carrier could not be opened.
    #[error("cannot open the carrier: {0}")]
    Carrier(String),
    /// TLS of this side refused the other.
    #[error("the other side was refused: {0}")]
    Unfit(String),
    /// TLS of the other side refused this one.
    #[error("the other side refused: {0}")]
    Alert(String),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// Not the protocol of a link.
    #[error("the other side does not speak the link's protocol; is it a Fieldpost of this age?")]
    NotALink,
    /// Nobody proved who they are.
    #[error("the other side showed no certificate; a host joins with `fieldpost join -` first")]
    NoCertificate,
    /// The name of another authority.
    #[error("the other side asked for another hub's certificate than its own")]
    Name,
    /// Another agent than the one that was dialled.
    #[error("agent `{found}` answers there, not `{wanted}`; correct the address of the agent")]
    OtherAgent {
        /// Who is wanted.
        wanted: String,
        /// Who answers.
        found: String,
    },
    /// Refused in words.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// A message of the introduction or of enrolment that cannot be understood.
    #[error("the other side's {0} cannot be understood")]
    Message(&'static str),
    /// Something took too long.
    #[error("no {what} within {} s", .after.as_secs())]
    TooLate {
        /// What was waited for.
        what: &'static str,
        /// How long.
        after: Duration,
    },
    /// The connection broke.
    #[error("the connection broke while {during}")]
    Broken {
        /// What was going on.
        during: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// Nothing came, not even an answer to our asking after the other side.
    #[error("nothing came from the other side for {} s", .0.as_secs())]
    Silent(Duration),
    /// HTTP on the link failed.
    #[error("the link failed")]
    Http(#[from] hyper::Error),
    /// The link is gone.
    #[error("the link is closed: {0}")]
    Closed(String),
    /// All places are taken.
    #[error("{0} requests are under way on this link; none ended in time")]
    Busy(usize),
    /// An answer that is longer than wanted.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// An answer that says no.
    #[error("the other side answered {status}: {text}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// What it said, shortened.
        text: String,
    },
    /// Key, certificate or authority.
    #[error("the identity of this side cannot be used")]
    Identity(#[from] IdentityError),
    /// Certificates cannot be issued.
    #[error("no certificate can be issued")]
    Authority(#[from] AuthorityError),
    /// The word of an enrolment.
    #[error("the word cannot be used")]
    Word(#[from] WordError),
    /// An address.
    #[error("the address cannot be used")]
    Address(#[from] AddressError),
    /// Frames of the record.
    #[error("the record's frames cannot be read")]
    Frames(#[from] FrameError),
}

impl LinkError {
    /// What an error of TLS means, whichever side it comes from.
    pub(crate) fn from_tls(error: io::Error) -> Self {
        Self::broken(error, "shaking hands")
    }

    /// An error of the stream; those of TLS are hidden inside of it.
    pub(crate) fn broken(source: io::Error, during: &'static str) -> Self {
        let tls = source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::AlertReceived(alert)) => Self::Alert(alert_text(*alert)),
            Some(error) => Self::Unfit(tls_text(error)),
            None => Self::Broken { during, source },
        }
    }
}

fn alert_text(alert: AlertDescription) -> String {
    let text = match alert {
        AlertDescription::UnknownCA => {
            "it does not know the authority of our certificate; this host belongs to another hub, join anew"
        }
        AlertDescription::CertificateUnknown | AlertDescription::BadCertificate => {
            "it does not take our certificate; join anew"
        }
        AlertDescription::AccessDenied => "it has no certificate for us, or no open invitation",
        AlertDescription::ProtocolVersion => "it speaks no TLS 1.3; is it a Fieldpost?",
        AlertDescription::NoApplicationProtocol => {
            "it does not speak the link's protocol; is it a Fieldpost of this age?"
        }
        AlertDescription::DecryptError | AlertDescription::BadRecordMac => {
            "bytes were changed on the way; something between the two meddles"
        }
        other => return format!("TLS alert {other:?}"),
    };
    text.to_owned()
}

fn tls_text(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its certificate is not of our authority".to_owned()
        }
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => other.to_string(),
        rustls::Error::InvalidMessage(_) => "it does not speak TLS".to_owned(),
        rustls::Error::PeerIncompatible(_) => "it speaks no TLS 1.3".to_owned(),
        rustls::Error::DecryptError => {
            "bytes were changed on the way; something between the two meddles".to_owned()
        }
        other => other.to_string(),
    }
}
