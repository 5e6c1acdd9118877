//! An Azure Blob server: Azurite with its well-known development account.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::http;
use crate::parts;
use crate::ports::Port;
use crate::process::Process;
use crate::run_dir::RunDir;

const ACCOUNT: &str = "devstoreaccount1";
/// The documented key of the development account of every Azurite; no secret.
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const READY: Duration = Duration::from_secs(30);
/// Azurite accepts any version with --skipApiVersionCheck; the signature covers it.
const VERSION: &str = "2021-08-06";

/// A running, or stopped, Azurite with the container `backup`.
#[derive(Debug)]
pub struct AzureServer {
    process: Option<Process>,
    port: Port,
    dir: RunDir,
}

impl AzureServer {
    /// Starts an empty server and makes the container [`AzureServer::container`].
    pub fn start() -> Result<AzureServer> {
        let mut server = AzureServer { process: None, port: Port::reserve()?, dir: RunDir::new("azure")? };
        server.restart()?;
        server.create_container(server.container())?;
        Ok(server)
    }

    /// The blob endpoint, with the account in the path: `http://127.0.0.1:<port>/devstoreaccount1`.
    pub fn endpoint(&self) -> String {
        format!("http://{}/{ACCOUNT}", self.port.address())
    }

    /// `127.0.0.1:<port>`, for a proxy in front.
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// The container that exists from the start.
    pub fn container(&self) -> &'static str {
        "backup"
    }

    /// The account name.
    pub fn account(&self) -> &'static str {
        ACCOUNT
    }

    /// The account key, base64.
    pub fn key(&self) -> &'static str {
        KEY
    }

    /// The process, to freeze it or read its output; `None` while stopped.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// Makes a container.
    pub fn create_container(&self, name: &str) -> Result<()> {
        let date = "Thu, 01 Jan 2026 00:00:00 GMT";
        let headers = format!("x-ms-date:{date}\nx-ms-version:{VERSION}");
        // The account appears twice: as the owner and as the first element of the path.
        let resource = format!("/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container");
        let to_sign = format!("PUT\n\n\n\n\n\n\n\n\n\n\n\n{headers}\n{resource}");
        let signature = STANDARD.encode(hmac_sha256(&STANDARD.decode(KEY)?, to_sign.as_bytes()));
        let authorization = format!("SharedKey {ACCOUNT}:{signature}");
        let headers = [("x-ms-date", date), ("x-ms-version", VERSION), ("Authorization", authorization.as_str())];
        let path = format!("/{ACCOUNT}/{name}?restype=container");
        let response = http::request(&self.port.address(), "PUT", &path, &headers, "")?;
        ensure!(response.status == 201, "make the container {name}: {response:?}");
        Ok(())
    }

    /// Ends the server and waits for it.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.stop(READY)?;
        }
        Ok(())
    }

    /// Kills the server.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.kill_9())
    }

    /// Starts the server again, on the same port and data; kills it first when it runs.
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        let main = parts::part("azurite")?.join("node_modules/azurite/dist/src/blob/main.js");
        let mut command = Command::new("node");
        command
            .arg(main)
            .args(["--blobHost", "127.0.0.1", "--blobPort", &self.port.number().to_string()])
            .args(["--silent", "--skipApiVersionCheck", "--disableTelemetry", "--location"])
            .arg(self.dir.path().join("data"))
            .current_dir(self.dir.path());
        std::fs::create_dir_all(self.dir.path().join("data")).context("make a data directory")?;
        let mut process = Process::spawn("azurite", &command, self.dir.path())?;
        process.wait_ready(READY, || self.port.is_open().then_some(()))?;
        self.process = Some(process);
        Ok(())
    }
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 64;
    let mut block = [0_u8; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_gives_the_vector_of_rfc_4231() {
        let digest = hmac_sha256(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(STANDARD.encode(digest), "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=");
    }
}
