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
use serde_json::Value;
use strimzi_backup_tests::chart;
use strimzi_backup_tests::kubernetes::{ControlPlane, Kubectl, crds, shared, strimzi};

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
    crds::ours(kubectl)?;
    strimzi::serve(kubectl, &["v1", "v1beta2"])?;
    let kinds = [("PodMonitor", "podmonitors"), ("PrometheusRule", "prometheusrules")];
    kinds.into_iter().try_for_each(|kind| crds::stand_in(kubectl, "monitoring.coreos.com", kind, &["v1"]))
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
