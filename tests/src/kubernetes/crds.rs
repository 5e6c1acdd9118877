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
    let anything = || json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let versions = versions.iter().map(|version| (*version, anything()));
    kubectl.apply("default", &definition(group, (kind, plural), versions).to_string())?;
    kubectl.wait_served(&format!("{plural}.{group}"))
}

/// The definition of a kind with these versions, of which the first is stored, and the schema of each.
pub(super) fn definition<'a>(
    group: &str,
    (kind, plural): (&str, &str),
    versions: impl Iterator<Item = (&'a str, Value)>,
) -> Value {
    let served = versions.enumerate().map(|(at, (version, schema))| {
        json!({
            "name": version,
            "served": true,
            "storage": at == 0,
            "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": schema},
        })
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural},
            "versions": served.collect::<Value>(),
        },
    })
}
