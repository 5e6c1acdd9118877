//! A stand-in for the agent of EKS Pod Identity, which gives a pod keys for the token in its file: it answers as AWS documents it.
//!
//! A real one gives keys for hours, and clients ask anew in their last five minutes: no test waits that long.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde_json::json;
use strimzi_backup_format::ids::TimestampMs;

/// How long keys last that are given. So near to their end clients ask anew at once, but not more often than they need.
const LIFE: Duration = Duration::from_secs(60);

/// A client that says nothing holds no other one up for longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is given, and for what.
#[derive(Debug)]
struct Grant {
    token: String,
    access_key: String,
    secret_key: String,
    /// How often it was given.
    given: usize,
}

/// A running stand-in; its threads end with the process.
#[derive(Debug)]
pub struct PodIdentity {
    address: String,
    grants: Arc<Mutex<Vec<Grant>>>,
}

impl PodIdentity {
    /// Starts one that knows no token yet.
    ///
    /// # Errors
    /// Where it cannot listen.
    pub fn start() -> Result<PodIdentity> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listen")?;
        let address = listener.local_addr()?.to_string();
        let grants = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&grants);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A connection that breaks is the client's to notice.
                drop(answer(client, &shared));
            }
        });
        Ok(PodIdentity { address, grants })
    }

    /// Where keys are asked for.
    pub fn uri(&self) -> String {
        format!("http://{}/v1/credentials", self.address)
    }

    /// Gives this pair of keys for a token, which is good beside those of before.
    ///
    /// # Panics
    /// Where an answer panicked.
    pub fn grant(&self, token: &str, access_key: &str, secret_key: &str) {
        let [token, access_key, secret_key] = [token, access_key, secret_key].map(str::to_owned);
        self.grants.lock().expect("no answer panics").push(Grant { token, access_key, secret_key, given: 0 });
    }

    /// How often the newest keys were given.
    ///
    /// # Panics
    /// Where an answer panicked.
    pub fn given(&self) -> usize {
        self.grants.lock().expect("no answer panics").last().map_or(0, |grant| grant.given)
    }
}

fn answer(mut client: TcpStream, grants: &Mutex<Vec<Grant>>) -> Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    let mut received = Vec::new();
    while !received.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        received.extend(byte);
    }
    let head = String::from_utf8_lossy(&received).into_owned();
    let token = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization").then_some(value)
    });
    let (status, body) = {
        let mut grants = grants.lock().expect("no answer panics");
        match grants.iter_mut().find(|grant| Some(grant.token.as_str()) == token) {
            Some(grant) => {
                grant.given += 1;
                ("200 OK", keys(grant))
            }
            None => ("400 Bad Request", "the token is not known".to_owned()),
        }
    };
    let length = body.len();
    write!(client, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")?;
    Ok(())
}

fn keys(grant: &Grant) -> String {
    let end = SystemTime::now() + LIFE;
    let millis = end.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let end = TimestampMs::new(i64::try_from(millis).unwrap_or(i64::MAX)).to_rfc3339();
    let Grant { access_key, secret_key, .. } = grant;
    // The S3 server has keys of its own alone, and refuses tokens of sessions.
    json!({"AccessKeyId": access_key, "SecretAccessKey": secret_key, "Token": "", "Expiration": end}).to_string()
}
