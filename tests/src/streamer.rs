//! The streamer under test: its job document, its process, and what it left in the store.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::http;
use crate::metrics;
use crate::process::{self, Process};
use crate::s3::S3Server;
use crate::{binary, wait};

/// How long a start, a catch-up or a stop may take on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A job document in the making, and the commands run with it.
#[derive(Clone, Debug)]
pub struct Job {
    dir: PathBuf,
    document: Value,
    environment: Vec<(String, String)>,
    wrapper: Vec<String>,
}

impl Job {
    /// A job that backs up every topic of `bootstrap` into `<dir>/backup`, committing quickly.
    pub fn new(dir: &Path, bootstrap: &str) -> Self {
        let document = json!({
            "cluster": {"bootstrapServers": bootstrap},
            "storage": {"type": "filesystem", "filesystem": {"path": dir.join("backup")}},
            "backup": {"commitInterval": "200ms", "heartbeatInterval": "500ms", "metadataInterval": "500ms"},
            "http": {"address": "127.0.0.1:0"},
        });
        Self { dir: dir.to_owned(), document, environment: Vec::new(), wrapper: Vec::new() }
    }

    /// The same job into a bucket of `server`, under a prefix.
    #[must_use]
    pub fn into_s3(mut self, server: &S3Server, prefix: &str) -> Self {
        self.environment.extend(server.environment());
        self.set("/storage", json!({
            "type": "s3",
            "s3": {
                "bucket": server.bucket(), "region": server.region(), "endpoint": server.endpoint(), "prefix": prefix,
            },
        }))
    }

    /// Sets one place of the document, by JSON pointer; objects on the way are made.
    #[must_use]
    pub fn set(mut self, pointer: &str, value: Value) -> Self {
        let mut place = &mut self.document;
        for name in pointer.split('/').skip(1) {
            if !place.is_object() {
                *place = json!({});
            }
            place = &mut place[name];
        }
        *place = value;
        self
    }

    /// Sets an environment variable of the commands.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The environment variables of the commands.
    pub(crate) fn variables(&self) -> &[(String, String)] {
        &self.environment
    }

    /// Runs the commands as arguments of another one, which must become them (`exec`).
    #[must_use]
    pub fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// The same job on a host of that name: the name of a writer. Needs root, or user namespaces.
    #[must_use]
    pub fn on_host(self, name: &str) -> Self {
        let script = format!("hostname {name} && exec \"$@\"");
        self.under(&[&unshare("--uts")[..], &["sh", "-c", &script, "sh"]].concat())
    }

    /// The folder that a job into a directory writes to.
    pub fn backup_dir(&self) -> PathBuf {
        self.dir.join("backup")
    }

    /// The document.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// Where the cluster that it backs up is reached.
    ///
    /// # Errors
    /// Where the document does not say so.
    pub fn bootstrap(&self) -> Result<&str> {
        self.document["cluster"]["bootstrapServers"].as_str().context("the job has no bootstrap servers")
    }

    /// Writes the document and gives its path. Commands write it themselves.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self) -> Result<PathBuf> {
        let path = self.dir.join("job.json");
        std::fs::write(&path, serde_json::to_vec_pretty(&self.document)?)?;
        Ok(path)
    }

    /// The command line of one of the product's commands with this job.
    ///
    /// # Errors
    /// Where the document cannot be written or the binary not be built.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let binary = binary::strimzi_backup()?;
        let mut command = match self.wrapper.split_first() {
            Some((wrapper, words)) => {
                let mut command = Command::new(wrapper);
                command.args(words).arg(binary);
                command
            }
            None => Command::new(binary),
        };
        command.arg(arguments[0]).arg("--config").arg(self.write()?).args(&arguments[1..]);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// Starts `stream` with more arguments.
    ///
    /// # Errors
    /// Where the process cannot be started.
    pub fn stream(&self, arguments: &[&str]) -> Result<Streamer> {
        let arguments: Vec<&str> = ["stream"].into_iter().chain(arguments.iter().copied()).collect();
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let process = Process::spawn(&format!("streamer-{number}"), &self.command(&arguments)?, &self.dir)?;
        Ok(Streamer { process })
    }

    /// Streams until everything that is in Kafka now is in the store.
    ///
    /// # Errors
    /// Where it does not end with 0.
    pub fn catch_up(&self) -> Result<()> {
        let mut streamer = self.stream(&["--until-caught-up"])?;
        let code = streamer.exit_code()?;
        ensure!(code == 0, "stream --until-caught-up ended with {code}\n{}", streamer.process.tail());
        Ok(())
    }

    /// Runs a command to its end: exit code, standard output, standard error.
    ///
    /// # Errors
    /// Where the process cannot be started.
    pub fn run(&self, arguments: &[&str]) -> Result<(i32, String, String)> {
        process::outcome(&mut self.command(arguments)?)
    }

    /// Runs `verify --level 3` and insists that everything holds.
    ///
    /// # Errors
    /// With the findings.
    pub fn verify(&self) -> Result<()> {
        let (code, out, err) = self.run(&["verify", "--level", "3"])?;
        ensure!(code == 0, "verify ended with {code}\n{out}\n{err}");
        Ok(())
    }

    /// What `inspect` says.
    ///
    /// # Errors
    /// Where it fails.
    pub fn inspect(&self) -> Result<Value> {
        let (code, out, err) = self.run(&["inspect", "--output", "json"])?;
        ensure!(code == 0, "inspect ended with {code}\n{err}");
        serde_json::from_str(&out).context("inspect prints JSON")
    }

    /// What `segments` prints with more arguments.
    ///
    /// # Errors
    /// Where it fails.
    pub fn segments(&self, arguments: &[&str]) -> Result<String> {
        let (code, out, err) = self.run(&[&["segments"], arguments].concat())?;
        ensure!(code == 0, "segments ended with {code}\n{err}");
        Ok(out)
    }
}

/// The command that runs another one in a namespace of its own, with the rights of root there.
pub fn unshare(kind: &str) -> Vec<&str> {
    let user: &[&str] = if rustix::process::getuid().is_root() { &[] } else { &["--user", "--map-root-user"] };
    [&["unshare", kind][..], user].concat()
}

/// A running `strimzi-backup stream`.
#[derive(Debug)]
pub struct Streamer {
    /// Its process.
    pub process: Process,
}

impl Streamer {
    /// The lines of its log, as JSON.
    pub fn log(&self) -> Vec<Value> {
        self.process.stderr().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The address of its HTTP server.
    ///
    /// # Errors
    /// Where it does not come up.
    pub fn http(&mut self) -> Result<String> {
        wait::wait_for("the streamer's HTTP address", PATIENCE, || {
            ensure!(self.process.is_running(), "the streamer ended\n{}", self.process.tail());
            Ok(self.log().iter().find_map(|line| Some(line["address"].as_str()?.to_owned())))
        })
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// Where it does not get ready.
    pub fn ready(&mut self) -> Result<()> {
        let address = self.http()?;
        wait::wait_until("the streamer to be ready", PATIENCE, || {
            ensure!(self.process.is_running(), "the streamer ended\n{}", self.process.tail());
            Ok(http::get(&address, "/readyz").is_ok_and(|answer| answer.status == 200))
        })
    }

    /// The value of a metric, with its labels as they are printed; 0 where it is not there yet.
    ///
    /// # Errors
    /// Where the server does not answer.
    pub fn metric(&mut self, name: &str) -> Result<f64> {
        let address = self.http()?;
        metrics::value(&http::get(&address, "/metrics")?.body, name)
    }

    /// Waits until a metric satisfies a condition.
    ///
    /// # Errors
    /// Where it never does.
    pub fn wait_metric(&mut self, name: &str, condition: impl Fn(f64) -> bool) -> Result<()> {
        let mut last = f64::NAN;
        let waited = wait::wait_until(name, PATIENCE, || {
            last = self.metric(name)?;
            Ok(condition(last))
        });
        waited.with_context(|| format!("{name} stayed at {last}\n{}", self.process.tail()))
    }

    /// Waits for a log line with that message.
    ///
    /// # Errors
    /// Where it does not come.
    pub fn wait_log(&mut self, part: &str) -> Result<()> {
        let waited = wait::wait_until(part, PATIENCE, || Ok(self.process.stderr().contains(part)));
        waited.with_context(|| self.process.tail())
    }

    /// Waits for its end and gives the exit code.
    ///
    /// # Errors
    /// Where it does not end, or was killed.
    pub fn exit_code(&mut self) -> Result<i32> {
        let status = self.process.wait(PATIENCE)?;
        match status.code() {
            Some(code) => Ok(code),
            None => bail!("the streamer was killed\n{}", self.process.tail()),
        }
    }

    /// Asks it to stop, and insists on exit code 0.
    ///
    /// # Errors
    /// Where it ends otherwise.
    pub fn stop(mut self) -> Result<()> {
        // Before it listens, nobody may wait for signals yet: one would end the process itself.
        self.http()?;
        self.process.sigterm()?;
        let code = self.exit_code()?;
        ensure!(code == 0, "the streamer ended with {code}\n{}", self.process.tail());
        Ok(())
    }
}
