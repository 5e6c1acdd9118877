//! The command line of Kubernetes, as one user.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{parts, wait};

/// For a definition to be served.
const SERVED: Duration = Duration::from_secs(30);

/// kubectl with a kubeconfig.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// kubectl as the user of this file.
    ///
    /// # Errors
    /// Where the part is not installed.
    pub fn new(kubeconfig: PathBuf) -> Result<Self> {
        Ok(Self { program: parts::part("kubernetes")?.join("kubectl"), kubeconfig })
    }

    /// The file it was made with.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Runs it to its end and returns its standard output.
    ///
    /// # Errors
    /// Where it ends with another code than 0; with what it wrote to standard error.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        self.run_with(arguments, "")
    }

    /// Applies objects, as YAML documents, on the server's side; returns what it says of each.
    ///
    /// # Errors
    /// Where the API server refuses one, in its words.
    pub fn apply(&self, namespace: &str, yaml: &str) -> Result<String> {
        self.run_with(&["apply", "--server-side", "--namespace", namespace, "--filename", "-"], yaml)
    }

    /// Applies objects that say themselves in which namespace they are.
    ///
    /// # Errors
    /// As [`Kubectl::apply`].
    pub fn apply_anywhere(&self, yaml: &str) -> Result<String> {
        self.run_with(&["apply", "--server-side", "--filename", "-"], yaml)
    }

    /// What the API server says of such objects, without keeping them; fields that it does not know are refused.
    ///
    /// # Errors
    /// Where it refuses one.
    pub fn dry_run(&self, yaml: &str) -> Result<String> {
        self.run_with(&["apply", "--server-side", "--dry-run=server", "--validate=strict", "--filename", "-"], yaml)
    }

    /// Applies a file of YAML documents.
    ///
    /// # Errors
    /// Where there is none, or the API server refuses an object.
    pub fn apply_file(&self, namespace: &str, path: &Path) -> Result<String> {
        let yaml = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        self.apply(namespace, &yaml).with_context(|| format!("apply {}", path.display()))
    }

    /// Why the API server refuses objects.
    ///
    /// # Errors
    /// Where it takes them.
    pub fn refusal(&self, namespace: &str, yaml: &str) -> Result<String> {
        match self.apply(namespace, yaml) {
            Ok(taken) => bail!("it was to be refused, and was taken: {taken}{yaml}"),
            Err(error) => Ok(format!("{error:#}")),
        }
    }

    /// Writes the status of an object, as its controller does.
    ///
    /// # Errors
    /// Where the API server refuses it.
    pub fn set_status(&self, namespace: &str, object: &str, status: &Value) -> Result<()> {
        let patch = json!({"status": status}).to_string();
        let target = ["patch", "--namespace", namespace, object, "--subresource", "status"];
        self.run(&[&target[..], &["--type", "merge", "--patch", &patch]].concat())?;
        Ok(())
    }

    /// Puts a pod on a node, as the scheduler does.
    ///
    /// # Errors
    /// Where the API server refuses it, as when the pod is on another one.
    pub fn bind(&self, namespace: &str, pod: &str, node: &str) -> Result<()> {
        let target = json!({"apiVersion": "v1", "kind": "Node", "name": node});
        let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod}, "target": target});
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/binding");
        self.run_with(&["create", "--raw", &path, "--filename", "-"], &binding.to_string())?;
        Ok(())
    }

    /// An object as it is now; `None` if there is none.
    ///
    /// # Errors
    /// Where the API server does not answer.
    pub fn get(&self, namespace: &str, object: &str) -> Result<Option<Value>> {
        let out = self.run(&["get", "--namespace", namespace, object, "--ignore-not-found", "--output", "json"])?;
        if out.is_empty() {
            return Ok(None);
        }
        serde_json::from_str(&out).with_context(|| format!("decode {object}"))
    }

    /// Waits until a custom resource definition is served.
    ///
    /// # Errors
    /// Where it is not within 30 s.
    pub fn wait_served(&self, definition: &str) -> Result<()> {
        let name = format!("customresourcedefinition/{definition}");
        // `kubectl wait` fails on an object that has no conditions yet.
        wait::wait_until(&format!("{name} to be served"), SERVED, || {
            let found = self.get("default", &name)?.unwrap_or_default();
            let conditions = found["status"]["conditions"].as_array();
            let is_established = |one: &Value| one["type"] == "Established" && one["status"] == "True";
            Ok(conditions.is_some_and(|conditions| conditions.iter().any(is_established)))
        })
    }

    fn run_with(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        // What it learns of the API server lies beside the kubeconfig, not with what a user's kubectl knows.
        command.arg("--cache-dir").arg(self.kubeconfig.with_file_name("kubectl-cache"));
        command.args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("start kubectl")?;
        // Small enough for the pipe. Where kubectl does not read it, it has ended, and says why.
        let written = child.stdin.take().context("standard input")?.write_all(input.as_bytes());
        let output = child.wait_with_output().context("wait for kubectl")?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!("kubectl {}: {}\n{error}", arguments.join(" "), output.status);
        }
        written.context("write to kubectl")?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
