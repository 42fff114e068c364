//! A WebSocket as a plain carrier of bytes: binary messages out, their contents in; pings are
//! answered, a close is an end. What is cut into which messages means nothing.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Sink, Stream};
use http::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::{Method, Request, Response, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::error::LinkError;

/// The longest message that is written: two records of TLS.
const WRITE_BYTES_MAX: usize = 32 << 10;
/// The longest message that is taken.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Kept for each link, so it is small: the default is 128 KiB.
const READ_BUFFER_BYTES: usize = 4 << 10;
/// Messages, and pongs between them, that wait for the socket. Nothing is gathered on purpose:
/// the socket's own buffer does that.
const WRITE_BUFFER_BYTES_MAX: usize = 4 * MESSAGE_BYTES_MAX;

/// Buffers of every WebSocket here.
pub(crate) fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
}

/// The bytes inside of a WebSocket.
pub(crate) struct Carrier<S> {
    socket: WebSocketStream<S>,
    /// What is left of the message that came last.
    unread: Bytes,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Carrier<S> {
    pub(crate) fn new(socket: WebSocketStream<S>) -> Self {
        Self { socket, unread: Bytes::new() }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Carrier<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.unread = bytes,
                // Pings are answered by the socket itself.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Ok(Message::Text(_))) => return Poll::Ready(Err(text_refused())),
                Some(Err(error)) => return Poll::Ready(Err(into_io(error))),
            }
        }
        let n_bytes = self.unread.len().min(out.remaining());
        out.put_slice(&self.unread[..n_bytes]);
        self.unread.advance(n_bytes);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Carrier<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(into_io)?;
        let message = gathered(slices);
        let n_bytes = message.len();
        if n_bytes > 0 {
            Pin::new(&mut self.socket).start_send(Message::Binary(message)).map_err(into_io)?;
        }
        Poll::Ready(Ok(n_bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(into_io)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.socket).poll_close(cx)) {
            // The other side was quicker.
            Ok(()) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => {}
            Err(error) => return Poll::Ready(Err(into_io(error))),
        }
        Pin::new(self.socket.get_mut()).poll_shutdown(cx)
    }
}

/// As much as fits into one message.
fn gathered(slices: &[IoSlice<'_>]) -> Bytes {
    let n_bytes: usize = slices.iter().map(|slice| slice.len()).sum();
    let mut message = BytesMut::with_capacity(n_bytes.min(WRITE_BYTES_MAX));
    for slice in slices {
        let room = WRITE_BYTES_MAX - message.len();
        message.extend_from_slice(&slice[..slice.len().min(room)]);
    }
    message.freeze()
}

fn text_refused() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a text message where only binary ones are spoken")
}

fn into_io(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed => io::ErrorKind::BrokenPipe.into(),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => io::ErrorKind::UnexpectedEof.into(),
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}

/// A WebSocket that a client asked for and was promised; it opens once the answer is sent.
pub struct Upgrade(OnUpgrade);

impl Upgrade {
    /// Waits until the answer is sent, and gives the bytes inside of the WebSocket. Ends with an
    /// error if the HTTP connection ends first.
    pub async fn carrier(self) -> Result<impl crate::Io + 'static, LinkError> {
        let upgraded: Upgraded = self.0.await?;
        let socket =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config())).await;
        Ok(Carrier::new(socket))
    }
}

/// Answers a request for the link's WebSocket. The HTTP/1 connection must be served with
/// upgrades. Where the request is for something else, the answer says so and there is no upgrade.
pub fn upgrade<B>(request: &mut Request<B>) -> (Response<&'static str>, Option<Upgrade>) {
    match accept_key(request) {
        Ok(key) => {
            let mut response = Response::new("");
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().extend(switching(key));
            (response, Some(Upgrade(hyper::upgrade::on(request))))
        }
        Err(why) => {
            let mut response = Response::new(why);
            *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
            let headers = response.headers_mut();
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            (response, None)
        }
    }
}

fn switching(key: HeaderValue) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, key);
    headers
}

fn accept_key<B>(request: &Request<B>) -> Result<HeaderValue, &'static str> {
    let headers = request.headers();
    let says = |name, word: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    if request.method() != Method::GET || !says(UPGRADE, "websocket") || !says(CONNECTION, "upgrade") {
        return Err("agents open their link here, with a WebSocket\n");
    }
    if !says(SEC_WEBSOCKET_VERSION, "13") {
        return Err("the link wants version 13 of WebSocket\n");
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or("the request for a WebSocket has no key\n")?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(|_| "the key cannot be answered\n")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn pair(pipe_bytes: usize) -> (Carrier<tokio::io::DuplexStream>, Carrier<tokio::io::DuplexStream>) {
        let (one, other) = tokio::io::duplex(pipe_bytes);
        let one = WebSocketStream::from_raw_socket(one, Role::Client, Some(config())).await;
        let other = WebSocketStream::from_raw_socket(other, Role::Server, Some(config())).await;
        (Carrier::new(one), Carrier::new(other))
    }

    #[tokio::test]
    async fn bytes_come_through_in_order_and_end_with_the_close() {
        let (mut one, mut other) = pair(1000).await;
        let sent: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
        let copy = sent.clone();
        let writer = tokio::spawn(async move {
            one.write_all(&copy).await.unwrap();
            one.shutdown().await.unwrap();
        });
        let mut received = Vec::new();
        other.read_to_end(&mut received).await.unwrap();
        writer.await.unwrap();
        assert!(received == sent);
    }

    #[tokio::test]
    async fn a_writer_waits_for_its_reader() {
        let (mut one, _other) = pair(1000).await;
        let patience = std::time::Duration::from_millis(50);
        let mut written = 0;
        while let Ok(Ok(n_bytes)) = tokio::time::timeout(patience, one.write(&[0; 10_000])).await {
            written += n_bytes;
            assert!(written <= WRITE_BUFFER_BYTES_MAX, "buffers without end");
        }
    }

    #[tokio::test]
    async fn a_text_message_is_an_error() {
        let (one, mut other) = pair(1000).await;
        let mut socket = one.socket;
        futures_util::SinkExt::send(&mut socket, Message::text("hello")).await.unwrap();
        assert_eq!(other.read_u8().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn an_end_without_a_close_is_an_error() {
        let (one, mut other) = pair(1000).await;
        drop(one);
        assert_eq!(other.read_u8().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn garbage_and_long_messages_are_errors() {
        for bytes in [&[0xff; 100][..], &[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3, 4]] {
            let (mut one, other) = tokio::io::duplex(1000);
            let socket = WebSocketStream::from_raw_socket(other, Role::Server, Some(config())).await;
            one.write_all(bytes).await.unwrap();
            let error = Carrier::new(socket).read_u8().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn only_a_websocket_is_upgraded() {
        let mut request = Request::get("/link").body(()).unwrap();
        let (response, none) = upgrade(&mut request);
        assert_eq!(response.status(), StatusCode::UPGRADE_REQUIRED);
        assert!(none.is_none());
    }
}
