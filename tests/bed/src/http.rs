//! A tiny blocking HTTP/1.1 client: one request, one connection, over TCP or a Unix socket.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};

/// The longest that a server may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// An answer, whole.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header names in lower case, and their values.
    pub headers: Vec<(String, String)>,
    /// The body, without its chunks' frames.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header; the name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Does it say where it ends, so that another may follow on the same connection?
    fn is_framed(&self) -> bool {
        matches!(self.status, 204 | 304)
            || self.header("content-length").is_some()
            || self.header("transfer-encoding") == Some("chunked")
    }

    /// The body as text.
    pub fn text(&self) -> anyhow::Result<&str> {
        std::str::from_utf8(&self.body).context("the body is not UTF-8")
    }

    /// The body as text, if the status is 200.
    pub fn ok(&self) -> anyhow::Result<&str> {
        ensure!(self.status == 200, "status {}: {}", self.status, String::from_utf8_lossy(&self.body));
        self.text()
    }
}

/// A connection over TCP that serves one request after another.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects; requests go out at once, not gathered.
    pub fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// GET with more headers. An answer must say how long it is.
    pub fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> anyhow::Result<Response> {
        self.send("GET", path, headers, &[])
    }

    /// POST of a body.
    pub fn post(&mut self, path: &str, body: &[u8]) -> anyhow::Result<Response> {
        self.send("POST", path, &[], body)
    }

    /// POST of a body with more headers.
    pub fn post_with(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> anyhow::Result<Response> {
        self.send("POST", path, headers, body)
    }

    fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> anyhow::Result<Response> {
        let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length =
            if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{length}{more}\r\n");
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let response = read_response(&mut self.stream)?;
        ensure!(response.is_framed(), "the answer does not say how long it is");
        Ok(response)
    }
}

/// GET over TCP.
pub fn get(address: SocketAddr, path: &str) -> anyhow::Result<Response> {
    get_with(address, path, &[])
}

/// GET over TCP with more headers.
pub fn get_with(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> anyhow::Result<Response> {
    let stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
    stream.set_read_timeout(Some(SILENCE))?;
    exchange(stream, path, headers)
}

/// GET over a Unix socket.
pub fn unix_get(socket: &Path, path: &str) -> anyhow::Result<Response> {
    let stream =
        UnixStream::connect(socket).with_context(|| format!("cannot connect to {}", socket.display()))?;
    stream.set_read_timeout(Some(SILENCE))?;
    exchange(stream, path, &[])
}

/// A request with a JSON body over a Unix socket.
pub fn unix_send(socket: &Path, method: &str, path: &str, json: &str) -> anyhow::Result<Response> {
    let mut stream =
        UnixStream::connect(socket).with_context(|| format!("cannot connect to {}", socket.display()))?;
    stream.set_read_timeout(Some(SILENCE))?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{json}",
        json.len()
    );
    stream.write_all(request.as_bytes())?;
    read_response(&mut BufReader::new(stream))
}

fn exchange(mut stream: impl Read + Write, path: &str, headers: &[(&str, &str)]) -> anyhow::Result<Response> {
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n");
    stream.write_all(request.as_bytes())?;
    read_response(&mut BufReader::new(stream))
}

fn read_response(reader: &mut BufReader<impl Read>) -> anyhow::Result<Response> {
    let first = line(reader)?;
    let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.with_context(|| format!("no status line: {first:?}"))?;
    let mut headers = Vec::new();
    loop {
        let header = line(reader)?;
        let Some((name, value)) = header.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut response = Response { status, headers, body: Vec::new() };
    if response.header("transfer-encoding") == Some("chunked") {
        read_chunks(reader, &mut response.body)?;
    } else if let Some(length) = response.header("content-length") {
        response.body.resize(length.parse().context("content-length is no number")?, 0);
        reader.read_exact(&mut response.body).context("the body is shorter than its content-length")?;
    } else if !matches!(status, 204 | 304) {
        reader.read_to_end(&mut response.body)?;
    }
    Ok(response)
}

fn read_chunks(reader: &mut BufReader<impl Read>, body: &mut Vec<u8>) -> anyhow::Result<()> {
    loop {
        let size = line(reader)?;
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)?;
        let start = body.len();
        body.resize(start + size, 0);
        reader.read_exact(&mut body[start..])?;
        line(reader)?;
        if size == 0 {
            return Ok(());
        }
    }
}

fn line(reader: &mut BufReader<impl Read>) -> anyhow::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    line.truncate(line.trim_end().len());
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(answer: &str) -> anyhow::Result<Response> {
        read_response(&mut BufReader::new(answer.as_bytes()))
    }

    #[test]
    fn chunks_are_joined() {
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        assert_eq!(read(answer).unwrap().ok().unwrap(), "abcde");
    }

    #[test]
    fn length_rules_the_body() {
        let answer = read("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nnoX").unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (404, b"no".as_slice()));
    }

    #[test]
    fn short_body_is_an_error() {
        assert!(read("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nno").is_err());
    }
}
