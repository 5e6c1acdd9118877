//! A front before an S3 server that answers, stalls or breaks single requests, which a proxy of bytes cannot.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The server gets it.
    Forward,
    /// The client gets this status with an S3 error code, and the server nothing.
    Refuse(u16, &'static str),
    /// The server gets this many bytes of the request; then nothing moves until the client goes.
    Stall(usize),
    /// The server gets this many bytes of the request, and then both connections break.
    BreakRequest(usize),
    /// The server gets the whole request and the client this many bytes of the answer, and then both connections break.
    BreakAnswer(usize),
}

/// What a request begins with.
#[derive(Debug)]
pub struct Head {
    /// `PUT`, `GET` and so on.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The head in lower case.
    pub text: String,
    /// How long the request is, its body included.
    pub bytes: usize,
}

impl Head {
    /// The head of a request that begins with these bytes and whose head ends at `end`.
    fn parse(received: &[u8], end: usize) -> Head {
        let text = String::from_utf8_lossy(&received[..end]).into_owned();
        let mut words = text.split_whitespace().map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let text = text.to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
        Head { method, path, bytes: end + END_OF_HEAD.len() + length.unwrap_or(0), text }
    }
}

const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// A running front; its threads end with the process.
#[derive(Debug)]
pub struct Front {
    address: String,
}

impl Front {
    /// Starts a front before `upstream` (`127.0.0.1:<port>`) that asks `judge` about every request.
    ///
    /// # Errors
    /// Where it cannot listen.
    pub fn start(upstream: &str, judge: impl Fn(&Head) -> Verdict + Send + Sync + 'static) -> Result<Front> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listen")?;
        let address = listener.local_addr()?.to_string();
        let (upstream, judge) = (upstream.to_owned(), Arc::new(judge));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (upstream, judge) = (upstream.clone(), Arc::clone(&judge));
                // A connection that breaks is the client's to notice.
                thread::spawn(move || drop(serve(client, &upstream, judge.as_ref())));
            }
        });
        Ok(Front { address })
    }

    /// `http://127.0.0.1:<port>`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// One request for each connection: the head is read, judged, and the rest goes through as it is.
fn serve(mut client: TcpStream, upstream: &str, judge: &impl Fn(&Head) -> Verdict) -> Result<()> {
    let mut received = Vec::new();
    let end = loop {
        let mut chunk = [0; 4096];
        let read = client.read(&mut chunk)?;
        if read == 0 {
            return Ok(());
        }
        received.extend_from_slice(&chunk[..read]);
        if let Some(end) = received.windows(END_OF_HEAD.len()).position(|window| window == END_OF_HEAD) {
            break end;
        }
    };
    match judge(&Head::parse(&received, end)) {
        Verdict::Forward => forward(client, upstream, &received),
        Verdict::Refuse(status, code) => refuse(client, status, code),
        Verdict::Stall(bytes) => {
            // Held, so that the server waits for the rest.
            let _server = send(&client, upstream, &received, bytes)?;
            std::io::copy(&mut client, &mut std::io::sink())?;
            Ok(())
        }
        Verdict::BreakRequest(bytes) => send(&client, upstream, &received, bytes).map(drop),
        Verdict::BreakAnswer(bytes) => {
            let mut answer = Vec::new();
            server_of(&client, upstream, &received)?.read_to_end(&mut answer)?;
            client.write_all(&answer[..answer.len().min(bytes)])?;
            Ok(client.shutdown(Shutdown::Both)?)
        }
    }
}

fn refuse(mut client: TcpStream, status: u16, code: &str) -> Result<()> {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{code}</Message></Error>");
    write!(
        client,
        "HTTP/1.1 {status} {code}\r\nConnection: close\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    // The body that still comes is read away: closing with it unread would break the connection instead.
    client.shutdown(Shutdown::Write)?;
    std::io::copy(&mut client, &mut std::io::sink())?;
    Ok(())
}

fn forward(mut client: TcpStream, upstream: &str, received: &[u8]) -> Result<()> {
    std::io::copy(&mut server_of(&client, upstream, received)?, &mut client)?;
    client.shutdown(Shutdown::Both)?;
    Ok(())
}

/// A connection to the server on which the whole request goes out as it comes in.
fn server_of(client: &TcpStream, upstream: &str, received: &[u8]) -> Result<TcpStream> {
    let server = send(client, upstream, received, received.len())?;
    let (mut body, mut server_body) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || std::io::copy(&mut body, &mut server_body));
    Ok(server)
}

/// A connection to the server on which this many bytes of the request have gone out.
fn send(client: &TcpStream, upstream: &str, received: &[u8], bytes: usize) -> Result<TcpStream> {
    let mut server = TcpStream::connect(upstream)?;
    let line = received.windows(2).position(|window| window == b"\r\n").context("a request line")? + 2;
    let first = &received[..received.len().min(bytes)];
    if let Some(rest) = first.get(line..) {
        server.write_all(&first[..line])?;
        // No signature covers this header; with it the answer ends where the connection does.
        server.write_all(b"Connection: close\r\n")?;
        server.write_all(rest)?;
    } else {
        server.write_all(first)?;
    }
    let rest = u64::try_from(bytes - first.len())?;
    std::io::copy(&mut client.take(rest), &mut server)?;
    Ok(server)
}
