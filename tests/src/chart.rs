//! The Helm chart, and what is made of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::kubernetes::Kubectl;
use crate::parts;
use crate::process::run;
use crate::run_dir::RunDir;

/// The name of the release in what is rendered; so it is the name of all objects.
pub const RELEASE: &str = "strimzi-backup-operator";

/// The namespace that deploy/install.yaml installs into.
pub const NAMESPACE: &str = "strimzi-backup";

/// The namespace as an object. What runs in it fits the strictest of Kubernetes' Pod Security Standards, and has to.
const NAMESPACE_OBJECT: &str = "---
apiVersion: v1
kind: Namespace
metadata:
  name: strimzi-backup
  labels:
    pod-security.kubernetes.io/enforce: restricted
";

/// What writes anew what is rendered.
pub const ANEW: &str = "make generate";

/// Values that have the alerts rendered.
const ALERTS: &str = "metrics: {prometheusRule: {enabled: true}}";

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Where the chart is.
pub fn dir() -> PathBuf {
    root().join("charts/strimzi-backup-operator")
}

/// The files of documented combinations of values, in the order of their names.
///
/// # Errors
/// Where they cannot be listed.
pub fn combinations() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir().join("ci")).context("list combinations of values")? {
        found.push(entry?.path());
    }
    found.sort();
    Ok(found)
}

/// What `helm lint --strict` says of the chart with these values.
///
/// # Errors
/// Where there is a fault.
pub fn lint(values: &str) -> Result<String> {
    helm(&["lint", "--strict"], values)
}

/// What helm installs into a namespace with these values, but for the definitions.
///
/// # Errors
/// Where the values are refused, in helm's words.
pub fn render(namespace: &str, values: &str) -> Result<String> {
    helm(&["template", RELEASE, "--namespace", namespace], values)
}

/// Has helm do something with a release on a cluster, as whoever the command line belongs to.
///
/// # Errors
/// Where helm fails, in its words.
pub fn release(kubectl: &Kubectl, arguments: &[&str]) -> Result<String> {
    let (mut command, _home) = command(arguments)?;
    command.arg("--kubeconfig").arg(kubectl.kubeconfig());
    run(&format!("helm {}", arguments.join(" ")), &mut command)
}

fn helm(arguments: &[&str], values: &str) -> Result<String> {
    let (mut command, home) = command(arguments)?;
    let file = home.path().join("values.yaml");
    std::fs::write(&file, values).context("write values")?;
    command.arg(dir()).arg("--values").arg(&file);
    run(&format!("helm {}", arguments.join(" ")), &mut command)
}

/// helm, with what it keeps in a directory that goes with the test.
fn command(arguments: &[&str]) -> Result<(Command, RunDir)> {
    let home = RunDir::new("helm")?;
    let mut command = Command::new(parts::part("helm")?.join("helm"));
    for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(variable, home.path());
    }
    command.args(arguments);
    Ok((command, home))
}

/// What deploy/install.yaml has to be.
///
/// # Errors
/// As [`render`].
pub fn install() -> Result<String> {
    let rendered = helm(&["template", RELEASE, "--namespace", NAMESPACE, "--include-crds"], "")?;
    Ok(format!("{}{NAMESPACE_OBJECT}{}", head()?, without_sources(&rendered)))
}

/// What the operator may do in a namespace that it looks after, as the rules of a Role: those of deploy/install.yaml.
///
/// # Errors
/// Where the file has no ClusterRole.
pub fn operator_rules() -> Result<Value> {
    let text = std::fs::read_to_string(root().join("deploy/install.yaml")).context("read deploy/install.yaml")?;
    for document in serde_norway::Deserializer::from_str(&text) {
        let object = Value::deserialize(document).context("decode deploy/install.yaml")?;
        if object["kind"] == "ClusterRole" {
            return Ok(object["rules"].clone());
        }
    }
    bail!("deploy/install.yaml has no ClusterRole")
}

/// An API group, a resource with its part, a verb.
pub type Right = (String, String, String);

/// All that the rules of a Role grant.
pub fn rights(rules: &Value) -> BTreeSet<Right> {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|text| Some(text.as_str()?.to_owned())).collect()
    };
    let mut found = BTreeSet::new();
    for rule in rules.as_array().into_iter().flatten() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                found.extend(texts(&rule["verbs"]).into_iter().map(|verb| (group.clone(), resource.clone(), verb)));
            }
        }
    }
    found
}

/// What deploy/prometheus/rules.yaml has to be.
///
/// # Errors
/// As [`render`].
pub fn rules() -> Result<String> {
    let one = ["template", RELEASE, "--namespace", NAMESPACE, "--show-only", "templates/prometheusrule.yaml"];
    Ok(format!("{}{}", head()?, without_sources(&helm(&one, ALERTS)?)))
}

/// The file of the bundle for the Operator Lifecycle Manager that holds this object.
///
/// # Errors
/// Where it cannot be encoded.
pub fn bundled(object: &Value) -> Result<String> {
    let text = serde_norway::to_string(object).context("encode an object of the bundle")?;
    Ok(format!("# Made of charts/strimzi-backup-operator by `{ANEW}`.\n{text}"))
}

/// Where the bundle holds the definition of this name.
pub fn bundled_definition(name: &str) -> String {
    format!("bundle/manifests/{name}.crd.yaml")
}

/// The first lines of what is rendered: the digest of what it was made of, so that whoever has no helm sees that it has to
/// be made anew.
///
/// # Errors
/// Where the chart cannot be read.
pub fn head() -> Result<String> {
    Ok(format!("# Made of charts/strimzi-backup-operator by `{ANEW}`.\n# SHA-256 of its files: {}\n", digest()?))
}

/// The SHA-256 of all files of the chart, with their paths; combinations of values are none of it.
fn digest() -> Result<String> {
    let (mut files, mut folders) = (Vec::new(), vec![dir()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true if entry.file_name() != "ci" => folders.push(entry.path()),
                true => {}
                false => files.push(entry.path()),
            }
        }
    }
    files.sort();
    let mut digest = Sha256::new();
    for file in files {
        let content = std::fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        let name = file.strip_prefix(dir())?.to_string_lossy().into_owned();
        for part in [name.as_bytes(), &content] {
            digest.update(u64::try_from(part.len())?.to_le_bytes());
            digest.update(part);
        }
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Which template an object is of is of no interest to who applies it; nor are documents without an object.
fn without_sources(rendered: &str) -> String {
    let lines: String = rendered.split_inclusive('\n').filter(|line| !line.starts_with("# Source: ")).collect();
    lines.replace("---\n---\n", "---\n")
}
