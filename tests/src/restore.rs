//! The restore under test: its document, its process, and the comparison of what it wrote.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::binary;
use crate::client::ReadRecord;
use crate::process::{self, Process};
use crate::streamer::Job;

/// A restore document in the making, and the commands run with it.
#[derive(Clone, Debug)]
pub struct Restore {
    dir: PathBuf,
    document: Value,
    id: String,
    environment: Vec<(String, String)>,
}

impl Restore {
    /// A restore of everything that `job` backs up, into the cluster at `bootstrap`, with the job's keys; its files lie in `dir`.
    pub fn new(dir: &Path, id: &str, job: &Job, bootstrap: &str) -> Self {
        let mut document = json!({
            "cluster": {"bootstrapServers": bootstrap},
            "storage": job.document()["storage"],
            "restore": {"id": id},
        });
        if let Some(encryption) = job.document()["backup"].get("encryption") {
            document["encryption"] = encryption.clone();
        }
        let environment = job.variables().to_vec();
        Self { dir: dir.to_owned(), document, id: id.to_owned(), environment }
    }

    /// Restores into another cluster: `cluster` of the document.
    #[must_use]
    pub fn cluster(mut self, cluster: Value) -> Self {
        self.document["cluster"] = cluster;
        self
    }

    /// Serves health and metrics, on a free port.
    #[must_use]
    pub fn serving(self) -> Self {
        self.serving_at("127.0.0.1:0")
    }

    /// Serves health and metrics there.
    #[must_use]
    pub fn serving_at(mut self, address: &str) -> Self {
        self.document["http"] = json!({"address": address});
        self
    }

    /// Sets a field below `restore`.
    #[must_use]
    pub fn set(mut self, name: &str, value: Value) -> Self {
        self.document["restore"][name] = value;
        self
    }

    /// Restores `source` under the name `target`.
    #[must_use]
    pub fn mapped(mut self, source: &str, target: &str) -> Self {
        let mapping = &mut self.document["restore"]["topicMapping"];
        if !mapping.is_array() {
            *mapping = json!([]);
        }
        if let Some(list) = mapping.as_array_mut() {
            list.push(json!({"sourceTopic": source, "targetTopic": target}));
        }
        self
    }

    /// Writes the document and gives its path. Commands write it themselves.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self) -> Result<PathBuf> {
        let path = self.dir.join(format!("{}.json", self.id));
        std::fs::write(&path, serde_json::to_vec_pretty(&self.document)?)?;
        Ok(path)
    }

    /// The command line of `restore` with more arguments.
    ///
    /// # Errors
    /// Where the document cannot be written or the binary not be built.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(binary::strimzi_backup()?);
        command.arg("restore").arg("--config").arg(self.write()?).args(arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// Runs it to its end: exit code, standard output, standard error.
    ///
    /// # Errors
    /// Where the process cannot be started.
    pub fn run(&self, arguments: &[&str]) -> Result<(i32, String, String)> {
        process::outcome(&mut self.command(arguments)?)
    }

    /// Restores, insists that it is done, and gives the report.
    ///
    /// # Errors
    /// Where it ends otherwise.
    pub fn done(&self) -> Result<Value> {
        let (code, out, err) = self.run(&["--output", "json"])?;
        ensure!(code == 0, "restore ended with {code}\n{out}\n{err}");
        serde_json::from_str(&out).context("restore prints JSON")
    }

    /// What it would do.
    ///
    /// # Errors
    /// Where it does not end with 0.
    pub fn plan(&self) -> Result<Value> {
        let (code, out, err) = self.run(&["--plan-only", "--output", "json"])?;
        ensure!(code == 0, "restore --plan-only ended with {code}\n{out}\n{err}");
        serde_json::from_str(&out).context("the plan is JSON")
    }

    /// Starts it.
    ///
    /// # Errors
    /// Where the process cannot be started.
    pub fn start(&self) -> Result<Process> {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Process::spawn(&format!("restore-{number}"), &self.command(&[])?, &self.dir)
    }
}

/// Insists that the records of a target topic are those of the source, in their partitions and their order, and gives their
/// number. Offsets are the target's own, and a restored record has the time that its producer gave it.
///
/// # Errors
/// With the first difference.
pub fn same_but_offsets(source: &[ReadRecord], target: &[ReadRecord]) -> Result<usize> {
    for (source, target) in source.iter().zip(target) {
        let moved = ReadRecord { offset: target.offset, timestamp_type: target.timestamp_type, ..source.clone() };
        ensure!(moved == *target, "differs:\nsource {source:?}\ntarget {target:?}");
    }
    ensure!(source.len() == target.len(), "{} records at the source, {} at the target", source.len(), target.len());
    Ok(source.len())
}
