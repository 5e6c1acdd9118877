//! Custom resource definitions: ours, and stand-ins for those of others.

use anyhow::Result;
use serde_json::{Value, json};

use super::Kubectl;
use crate::chart;

/// Has our own resources served, as the chart defines them.
///
/// # Errors
/// Where the API server refuses them.
pub fn ours(kubectl: &Kubectl) -> Result<()> {
    kubectl.apply_file("default", &chart::dir().join("crds/crds.yaml"))?;
    ["kafkabackups", "kafkarestores"]
        .iter()
        .try_for_each(|name| kubectl.wait_served(&format!("{name}.kafkabackup.com")))
}

/// Has a kind of somebody else's served, in these versions, the first of them stored. Its resources may hold anything.
///
/// # Errors
/// Where the API server refuses it.
pub fn stand_in(kubectl: &Kubectl, group: &str, (kind, plural): (&str, &str), versions: &[&str]) -> Result<()> {
    let name = format!("{plural}.{group}");
    let versions: Vec<Value> = versions.iter().enumerate().map(|(at, version)| served(version, at == 0)).collect();
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural},
            "versions": versions,
        },
    });
    kubectl.apply("default", &definition.to_string())?;
    kubectl.wait_served(&name)
}

fn served(version: &str, stored: bool) -> Value {
    json!({
        "name": version,
        "served": true,
        "storage": stored,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
    })
}
