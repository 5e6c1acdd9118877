//! The operator under test: a process outside of the control plane that it works on.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::Kubectl;
use crate::ports::Port;
use crate::process::Process;
use crate::run_dir::RunDir;
use crate::{binary, http};

const READY: Duration = Duration::from_secs(30);

/// Insists that the operator that has logged this was never refused anything for want of a right. That in a namespace that is
/// deleted nobody may create anything is none, nor is what an API server answers that has just been started and has read no
/// roles yet.
///
/// # Errors
/// With the log.
pub fn has_its_rights(log: &str) -> Result<()> {
    const OTHERWISE: [&str; 2] = ["because it is being terminated", "the Kubernetes API does not answer"];
    let lacks = |line: &str| line.contains("forbidden") && !OTHERWISE.iter().any(|reason| line.contains(reason));
    ensure!(!log.lines().any(lacks), "the operator lacks a right\n{log}");
    Ok(())
}

/// A running operator that looks after one namespace.
#[derive(Debug)]
pub struct Operator {
    // Before the directory: it is killed before its output goes.
    process: Process,
    port: Port,
    _dir: RunDir,
}

impl Operator {
    /// Starts it with the rights of whoever the command line belongs to, and waits until it is ready. Its Lease is in the
    /// namespace that it looks after.
    ///
    /// # Errors
    /// Where it cannot be built, ends, or is not ready in time.
    pub fn start(kubectl: &Kubectl, namespace: &str) -> Result<Self> {
        Self::start_from(kubectl, namespace, namespace)
    }

    /// The same from a namespace of its own.
    ///
    /// # Errors
    /// As [`Operator::start`].
    pub fn start_from(kubectl: &Kubectl, home: &str, namespace: &str) -> Result<Self> {
        Self::start_with(kubectl, home, namespace, &[])
    }

    /// The same with more variables.
    ///
    /// # Errors
    /// As [`Operator::start`].
    pub fn start_with(kubectl: &Kubectl, home: &str, namespace: &str, variables: &[(&str, &str)]) -> Result<Self> {
        let (dir, port) = (RunDir::new("operator")?, Port::reserve()?);
        let mut command = Command::new(binary::strimzi_backup_operator()?);
        command
            .arg("run")
            .env("KUBECONFIG", kubectl.kubeconfig())
            .env("STRIMZI_BACKUP_NAMESPACE", namespace)
            .env("OPERATOR_NAMESPACE", home)
            .env("STRIMZI_BACKUP_IMAGE", "example.org/strimzi-backup:test")
            .env("STRIMZI_BACKUP_HTTP_ADDRESS", port.address())
            // No two have the same, as no two pods have.
            .env("POD_NAME", format!("operator-{}", port.number()))
            .envs(variables.iter().copied());
        let mut process = Process::spawn("operator", &command, dir.path())?;
        process.wait_ready(READY, || {
            let answer = http::get(&port.address(), "/readyz").ok()?;
            (answer.status == 200).then_some(())
        })?;
        Ok(Self { process, port, _dir: dir })
    }

    /// `127.0.0.1:<port>` of its health and metrics.
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Whether it runs. It ends by itself where it has lost its Lease.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// All that it logged so far.
    pub fn log(&self) -> String {
        format!("{}{}", self.process.stdout(), self.process.stderr())
    }

    /// The last lines of its output, for messages.
    pub fn tail(&self) -> String {
        self.process.tail()
    }

    /// Kills it, as the loss of its node does. Its Lease stays, and runs out.
    ///
    /// # Errors
    /// Where it cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill_9()
    }

    /// Asks it to end, and waits for that.
    ///
    /// # Errors
    /// Where it ends with another code than 0, or not in time.
    pub fn stop(mut self) -> Result<()> {
        let status = self.process.stop(READY)?;
        ensure!(status.success(), "the operator ended with {status}\n{}", self.tail());
        Ok(())
    }
}
