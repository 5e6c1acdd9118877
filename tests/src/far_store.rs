//! An S3 server behind a proxy that can cut it off, and what is in it.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use crate::backup::Backup;
use crate::s3::S3Server;
use crate::scenario::wait_backup;
use crate::streamer::Job;
use crate::toxiproxy::{Proxy, Toxiproxy};

/// The prefix of jobs into it.
const PREFIX: &str = "far";

/// An S3 server that jobs reach through [`FarStore::proxy`] only.
#[derive(Debug)]
pub struct FarStore {
    /// What lies between a streamer and the store.
    pub proxy: Proxy,
    _toxiproxy: Toxiproxy,
    server: S3Server,
}

impl FarStore {
    /// Starts an empty store within reach.
    ///
    /// # Errors
    /// Where server or proxy do not start.
    pub fn start() -> Result<Self> {
        let server = S3Server::start()?;
        let toxiproxy = Toxiproxy::start()?;
        let proxy = toxiproxy.proxy("s3", &server.address())?;
        Ok(Self { proxy, _toxiproxy: toxiproxy, server })
    }

    /// The same job into this store.
    pub fn job(&self, job: &Job) -> Job {
        let endpoint = json!(format!("http://{}", self.proxy.address()));
        job.clone().into_s3(&self.server, PREFIX).set("/storage/s3/endpoint", endpoint)
    }

    /// The directory of the backup, for who looks past the proxy.
    pub fn dir(&self) -> PathBuf {
        self.server.dir_of(PREFIX)
    }

    /// What is in the store now.
    ///
    /// # Errors
    /// Where there is no backup.
    pub fn backup(&self) -> Result<Backup> {
        Backup::open(&self.dir())
    }

    /// Waits until the backup satisfies a condition. There may be none yet.
    ///
    /// # Errors
    /// Where it never does.
    pub fn wait_backup(&self, what: &str, condition: impl Fn(&Backup) -> Result<bool>) -> Result<()> {
        wait_backup(&self.dir(), what, condition)
    }

    /// Waits until a topic's first life has as many records in the backup.
    ///
    /// # Errors
    /// Where it never has.
    pub fn wait_rows(&self, topic: &str, rows: u64) -> Result<()> {
        self.wait_backup(&format!("{rows} records of {topic}"), |backup| Ok(backup.rows(topic, 0) >= rows))
    }
}
