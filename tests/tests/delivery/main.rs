//! What is delivered: the Helm chart, install.yaml, alerts, dashboards and examples, on a real control plane.

mod alerts;
mod bundle;
mod examples;
mod install;
mod rights;
mod roles;
mod values;

use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize as _;
use serde_json::{Value, json};
use strimzi_backup_operator::api;
use strimzi_backup_tests::chart;
use strimzi_backup_tests::kubernetes::{ControlPlane, Kubectl, shared, strimzi};

/// The control plane that the tests share, with our definitions, and stand-ins for those of Strimzi and of the Prometheus
/// operator, which take any field.
fn plane() -> Result<&'static ControlPlane> {
    static PREPARED: OnceLock<Result<(), String>> = OnceLock::new();
    let plane = shared()?;
    let prepared = PREPARED.get_or_init(|| prepare(plane.kubectl()).map_err(|error| format!("{error:#}")));
    prepared.as_ref().map_err(|message| anyhow!("{message}"))?;
    Ok(plane)
}

fn prepare(kubectl: &Kubectl) -> Result<()> {
    for definition in api::crds() {
        kubectl.apply("default", &serde_json::to_string(&definition)?)?;
        kubectl.wait_served(&definition.metadata.name.context("a name")?)?;
    }
    strimzi::serve(kubectl, &["v1", "v1beta2"])?;
    for (kind, plural) in [("PodMonitor", "podmonitors"), ("PrometheusRule", "prometheusrules")] {
        let name = format!("{plural}.monitoring.coreos.com");
        let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": name},
            "spec": {
                "group": "monitoring.coreos.com",
                "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural},
                "versions": [
                    {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}},
                ],
            },
        });
        kubectl.apply("default", &definition.to_string())?;
        kubectl.wait_served(&name)?;
    }
    Ok(())
}

/// The documents of a YAML stream; empty ones are left out.
fn documents(yaml: &str) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    for document in serde_norway::Deserializer::from_str(yaml) {
        let value = Value::deserialize(document)?;
        if !value.is_null() {
            found.push(value);
        }
    }
    Ok(found)
}

/// Compares a file with what it has to be. With `UPDATE_DOCS=1` it is written anew instead.
fn hold(path: &str, wanted: &str) -> Result<()> {
    let file = chart::root().join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        return std::fs::write(&file, wanted).with_context(|| format!("write {path}"));
    }
    let found = std::fs::read_to_string(&file).with_context(|| format!("read {path}"))?;
    ensure!(found == wanted, "{path} is not what the chart renders: `{}`", chart::ANEW);
    Ok(())
}
