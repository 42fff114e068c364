//! The link: the one connection between an agent and a hub, whoever dialled it. Carrier, identity,
//! TLS, introduction, HTTP/2 either way, enrolment, and the coding of the record's frames.
//! Asynchronous; the home of rustls, rcgen, hyper and tungstenite.
//!
//! ```text
//! agent dials:  TCP -> (outer TLS) -> WebSocket -> mutual TLS 1.3 -> introduction -> HTTP/2
//! hub dials:    TCP ---------------------------->  mutual TLS 1.3 -> introduction -> HTTP/2
//! ```
//!
//! In both the agent is the HTTP/2 server and the hub the HTTP/2 client. The inner TLS rests on the
//! hub's own authority alone, so that whoever ends the outer TLS sees nothing and takes over nothing.

mod accept;
mod address;
mod authority;
mod backoff;
mod body;
mod carrier;
mod dialler;
mod enrol;
mod error;
mod frames;
mod handler;
mod handshake;
mod heard;
mod identity;
mod join;
mod listener;
mod live;
mod metered;
mod peer;
mod pin;
mod proxy;
mod reader;
mod session;
mod severable;
mod socket;
mod tls;
mod token;
mod verify;
mod websocket;
mod wire;

pub use accept::{Accepted, Admit, HubFace, JoinCall, Link, accept, connect_agent};
pub use address::{AddressError, AgentAddress, HubUrl};
pub use authority::{AGENT_CERTIFICATE_DAYS, Authority, AuthorityError, Issued};
pub use backoff::{PAUSE_MAX, backoff, chance};
pub use body::{Body, BodyError, Received, empty, full};
pub use carrier::dial_hub;
pub use dialler::{Dialler, DiallerStats, LinkState, MakeHandler};
pub use enrol::{
    Adoption, Answering, Call, Invited, JoinAnswer, JoinRequest, Summons, adopt_agent, join_hub, serve_call,
};
pub use error::LinkError;
pub use frames::{Decoder, FRAME_BYTES_MAX, FrameError, encode};
pub use handler::{Answer, Handler, handler};
pub use handshake::{Hello, PROTOCOL, Protocols, Refusal, RefusalCode, Welcome};
pub use hyper::body::Incoming;
pub use identity::{Identity, IdentityError, KeyRequest};
pub use join::{Invitation, JoinString, WordError};
pub use listener::{Listening, listen};
pub use live::{LiveReader, LiveSeries, LiveTick, LiveValue};
pub use metered::Traffic;
pub use peer::{PeerCertificate, Role};
pub use pin::Pin;
pub use proxy::Proxy;
pub use reader::FrameReader;
pub use session::{Client, Settings, serve};
pub use socket::tune;
pub use tls::{ClientTls, ServerTls, outer_server};
pub use token::Token;
/// Makes the TLS of a listener out of its TCP.
pub use tokio_rustls::TlsAcceptor as OuterTls;
pub use websocket::{Upgrade, upgrade};
pub use wire::{Acknowledgement, ItemMark, RecordHead, RefusedItem, SeqSpan};

use std::sync::Arc;

use fieldpost_model::TimeMs;
use tokio::io::{AsyncRead, AsyncWrite};

/// What tells the time, in milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> TimeMs + Send + Sync>;

/// Whatever carries bytes both ways.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A carrier of any kind.
pub type BoxIo = Box<dyn Io>;
