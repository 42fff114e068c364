//! Measures links on loopback: `links many N` for what N idle ones weigh and how soon they stand,
//! `links fresh MBIT_S` for how long a small answer takes beside one that fills the line,
//! `links speed` for how fast one answer goes.

// A program for people at a terminal.
#![allow(clippy::print_stdout)]

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fieldpost_bed::{Dialled, now_ms};
use fieldpost_link::{
    Accepted, Authority, Client, Handler, HubFace, HubUrl, Incoming, KeyRequest, ServerTls, accept, empty,
    handler, tune, upgrade,
};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const PIECE: &[u8] = &[7; 8192];
/// Small answers that are timed.
const N_ASKED: usize = 100;
/// Delay of the line in `fresh`, one way.
const LATENCY: Duration = Duration::from_millis(10);

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[1..] {
        ["many", n_links] => many(n_links.parse()?).await,
        ["fresh", mbit_s] => fresh(mbit_s.parse()?).await,
        ["speed"] => speed().await,
        // What `many` starts.
        ["agents", address, n_links, certificate, key] => {
            agents(address.parse()?, n_links.parse()?, certificate, key).await
        }
        _ => Err("usage: links many N | links fresh MBIT_S | links speed".into()),
    }
}

async fn many(n_links: usize) -> Outcome<()> {
    let authority = Authority::create("hub", now_ms())?;
    let (address, mut links) = hub(&authority).await?;
    let before = resident_kib("self")?;
    let mut child = std::process::Command::new(std::env::current_exe()?)
        .args(["agents", &address.to_string(), &n_links.to_string()])
        .args([authority.certificate_pem(), &authority.key_pem()])
        .spawn()?;
    let mut clients = Vec::new();
    let mut first = None;
    while clients.len() < n_links {
        clients.push(links.recv().await.ok_or("the hub ended")?);
        first.get_or_insert_with(Instant::now);
    }
    let took = first.map(|first: Instant| first.elapsed()).unwrap_or_default();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let hub_kib = (resident_kib("self")? - before) / n_links as f64;
    let agent_kib = resident_kib(&child.id().to_string())? / n_links as f64;
    println!(
        "{n_links} links within {took:.2?} of the first; hub {hub_kib:.0} KiB each, agents {agent_kib:.0}"
    );
    child.kill()?;
    child.wait()?;
    Ok(())
}

async fn fresh(mbit_s: f64) -> Outcome<()> {
    let (client, _link) = one(Some(mbit_s)).await?;
    let mut backlog = client.request(Request::get("/endless").body(empty())?).await?.into_body();
    let n_bytes = Arc::new(AtomicU64::new(0));
    let (counter, begun) = (Arc::clone(&n_bytes), Instant::now());
    let reader = tokio::spawn(async move {
        while let Ok(Some(bytes)) = backlog.chunk().await {
            counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut delays = Vec::new();
    for _ in 0..N_ASKED {
        let asked = Instant::now();
        client.request(Request::get("/small").body(empty())?).await?.into_body().collect(100).await?;
        delays.push(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    delays.sort();
    let (half, most) = (delays[N_ASKED / 2], delays[N_ASKED * 99 / 100]);
    let filled = n_bytes.load(Ordering::Relaxed) as f64 * 8.0 / 1e6 / begun.elapsed().as_secs_f64();
    println!("{mbit_s} Mbit/s, {LATENCY:?} each way, {filled:.1} of it filled:");
    println!("  a small answer takes {half:.0?} (p50), {most:.0?} (p99)");
    reader.abort();
    Ok(())
}

async fn speed() -> Outcome<()> {
    let (client, _link) = one(None).await?;
    let mut body = client.request(Request::get("/endless").body(empty())?).await?.into_body();
    let (begun, mut n_bytes) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(3) {
        n_bytes += body.chunk().await?.map_or(0, |bytes| bytes.len());
    }
    println!("{:.0} MB/s", n_bytes as f64 / begun.elapsed().as_secs_f64() / 1e6);
    Ok(())
}

/// One link, perhaps through a slow line.
async fn one(mbit_s: Option<f64>) -> Outcome<(Client, Dialled)> {
    let authority = Authority::create("hub", now_ms())?;
    let (address, mut links) = hub(&authority).await?;
    let address = match mbit_s {
        Some(mbit_s) => slow_line(address, mbit_s * 1e6 / 8.0).await?,
        None => address,
    };
    let link = dial(address, &authority, "agent")?;
    Ok((links.recv().await.ok_or("the hub ended")?, link))
}

async fn agents(address: SocketAddr, n_links: usize, certificate: &str, key: &str) -> Outcome<()> {
    let authority = Authority::load(certificate, key)?;
    let all = (0..n_links).map(|n| dial(address, &authority, &format!("agent-{n}")));
    let _links = all.collect::<Outcome<Vec<_>>>()?;
    std::future::pending().await
}

fn dial(address: SocketAddr, authority: &Authority, agent_id: &str) -> Outcome<Dialled> {
    let request = KeyRequest::new(agent_id)?;
    let issued = authority.issue_agent(&request.request, agent_id, now_ms())?;
    let ca = authority.certificate_pem().to_owned();
    let identity = request.accept(issued.chain, ca, agent_id, &authority.pin())?;
    let url: HubUrl = format!("http://{address}").parse()?;
    Ok(fieldpost_bed::dial(vec![url], agent_id, identity, answers()))
}

/// `/small`, and everything else without end.
fn answers() -> Handler {
    handler(service_fn(|request: Request<Incoming>| async move {
        let body = if request.uri().path() == "/small" {
            Full::from("small").boxed_unsync()
        } else {
            let piece = || Ok::<_, Infallible>(hyper::body::Frame::data(Bytes::from_static(PIECE)));
            StreamBody::new(futures_util::stream::repeat_with(piece)).boxed_unsync()
        };
        Ok::<_, Infallible>(Response::new(body))
    }))
}

async fn hub(authority: &Authority) -> Outcome<(SocketAddr, mpsc::Receiver<Client>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let tls = ServerTls::hub(&authority.issue_hub("hub", now_ms())?)?;
    let (sender, links) = mpsc::channel(1000);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, tls.clone(), sender.clone()));
        }
    });
    Ok((address, links))
}

async fn serve(stream: TcpStream, tls: ServerTls, sender: mpsc::Sender<Client>) {
    drop(tune(&stream));
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (tls, sender) = (tls.clone(), sender.clone());
        async move {
            let (response, promised) = upgrade(&mut request);
            tokio::spawn(async move {
                let face = HubFace::new("hub", "links", Arc::new(now_ms), Arc::new(|_, _| Ok(())));
                let carrier = promised.ok_or("no WebSocket")?.carrier().await?;
                if let Accepted::Link(link) = accept(carrier, &tls, &face).await? {
                    sender.send(link.client).await?;
                }
                Outcome::Ok(())
            });
            Ok::<_, Infallible>(response.map(Full::<Bytes>::from))
        }
    });
    let http = hyper::server::conn::http1::Builder::new();
    drop(http.serve_connection(TokioIo::new(stream), service).with_upgrades().await);
}

/// A line to the hub of so many bytes a second, with room for ten packets beyond what is on its way.
async fn slow_line(to: SocketAddr, bytes_s: f64) -> Outcome<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let Ok(far) = TcpStream::connect(to).await else { return };
            // Small buffers of the proxy's own, so that the line is what delays.
            for stream in [&near, &far] {
                let socket = socket2::SockRef::from(stream);
                drop(socket.set_tcp_nodelay(true));
                drop(socket.set_recv_buffer_size(16 << 10));
                drop(socket.set_send_buffer_size(16 << 10));
            }
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tokio::spawn(crawl(near_in, far_out, bytes_s));
            tokio::spawn(crawl(far_in, near_out, bytes_s));
        }
    });
    Ok(address)
}

async fn crawl(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    bytes_s: f64,
) {
    let on_the_way = (bytes_s * LATENCY.as_secs_f64() / 1500.0) as usize;
    let (sender, mut line) = mpsc::channel::<(Instant, Vec<u8>)>(on_the_way + 10);
    tokio::spawn(async move {
        while let Some((due, bytes)) = line.recv().await {
            tokio::time::sleep_until(due.into()).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut free = Instant::now();
    let mut bytes = [0; 1500];
    while let Ok(n_bytes @ 1..) = from.read(&mut bytes).await {
        free = free.max(Instant::now()) + Duration::from_secs_f64(n_bytes as f64 / bytes_s);
        if sender.send((free + LATENCY, bytes[..n_bytes].to_vec())).await.is_err() {
            return;
        }
    }
}

fn resident_kib(process: &str) -> Outcome<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim_end_matches("kB").trim().parse()?)
}
