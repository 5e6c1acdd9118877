//! Network faults: toxiproxy between a client and a server.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::http::{self, Response};
use crate::parts;
use crate::ports::Port;
use crate::process::Process;
use crate::run_dir::RunDir;

const READY: Duration = Duration::from_secs(20);

/// A running toxiproxy.
#[derive(Debug)]
pub struct Toxiproxy {
    _process: Process,
    port: Port,
    _dir: RunDir,
}

/// Which way the bytes flow that a toxic applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Upstream,
    /// From the server to the client.
    Downstream,
}

/// One proxied address.
#[derive(Debug)]
pub struct Proxy {
    name: String,
    api: String,
    port: Port,
}

impl Toxiproxy {
    /// Starts it without proxies.
    pub fn start() -> Result<Toxiproxy> {
        let dir = RunDir::new("toxiproxy")?;
        let port = Port::reserve()?;
        let mut command = Command::new(parts::part("toxiproxy")?.join("toxiproxy-server"));
        command.args(["-host", "127.0.0.1", "-port", &port.number().to_string()]);
        let mut process = Process::spawn("toxiproxy", &command, dir.path())?;
        let address = port.address();
        process.wait_ready(READY, || http::get(&address, "/version").ok())?;
        Ok(Toxiproxy { _process: process, port, _dir: dir })
    }

    /// Makes a proxy to `upstream` (`127.0.0.1:<port>`) on a free port. For Kafka the broker must advertise the
    /// proxy's address, see [`Toxiproxy::proxy_on`].
    pub fn proxy(&self, name: &str, upstream: &str) -> Result<Proxy> {
        self.proxy_on(Port::reserve()?, name, upstream)
    }

    /// Makes a proxy on a port that was reserved before, because the server behind it had to know it.
    pub fn proxy_on(&self, port: Port, name: &str, upstream: &str) -> Result<Proxy> {
        let body = json!({ "name": name, "listen": port.address(), "upstream": upstream, "enabled": true });
        let proxy = Proxy { name: name.to_owned(), api: self.port.address(), port };
        proxy.call("POST", "/proxies", &body)?;
        Ok(proxy)
    }
}

impl Proxy {
    /// The address that clients connect to.
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// Closes all connections and refuses new ones.
    pub fn disable(&self) -> Result<()> {
        self.call("POST", &format!("/proxies/{}", self.name), &json!({ "enabled": false }))
    }

    /// Accepts connections again.
    pub fn enable(&self) -> Result<()> {
        self.call("POST", &format!("/proxies/{}", self.name), &json!({ "enabled": true }))
    }

    /// Adds a toxic of type `kind` under the name `name`, e.g. `latency` with `{"latency": 100, "jitter": 10}`,
    /// `bandwidth` with `{"rate": <KB/s>}`, `timeout` with `{"timeout": 0}` (swallows all data), `reset_peer` with
    /// `{"timeout": 0}`, `limit_data` with `{"bytes": n}`, `slicer`, `slow_close`.
    pub fn add_toxic(&self, name: &str, kind: &str, direction: Direction, attributes: &Value) -> Result<()> {
        let stream = match direction {
            Direction::Upstream => "upstream",
            Direction::Downstream => "downstream",
        };
        let body = json!({ "name": name, "type": kind, "stream": stream, "toxicity": 1.0, "attributes": attributes });
        self.call("POST", &format!("/proxies/{}/toxics", self.name), &body)
    }

    /// Removes the toxic named `name`.
    pub fn remove_toxic(&self, name: &str) -> Result<()> {
        self.call("DELETE", &format!("/proxies/{}/toxics/{name}", self.name), &Value::Null)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Result<()> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let headers = [("Content-Type", "application/json")];
        let Response { status, body } = http::request(&self.api, method, path, &headers, &body)?;
        ensure!((200..300).contains(&status), "toxiproxy {method} {path}: {status} {body}");
        Ok(())
    }
}
