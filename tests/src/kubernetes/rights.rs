//! What the operator may do, as docs/operator.md has it.

use serde_json::{Value, json};

/// A row of a Role: a group, resources of it, what may be done to them.
pub type Right<'a> = (&'a str, &'a [&'a str], &'a [&'a str]);

const ALL: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];

/// All that the operator does in a namespace that it looks after; the Lease is there too.
pub const RIGHTS: &[Right<'_>] = &[
    ("kafkabackup.com", &["kafkabackups", "kafkarestores"], &["get", "list", "watch", "patch"]),
    ("kafkabackup.com", &["kafkabackups/status", "kafkarestores/status"], &["patch"]),
    ("kafka.strimzi.io", &["kafkas"], &["get", "list", "watch"]),
    ("kafka.strimzi.io", &["kafkausers"], &["get"]),
    ("kafka.strimzi.io", &["kafkanodepools"], &["list"]),
    ("", &["configmaps", "serviceaccounts"], &["create", "patch"]),
    ("", &["secrets"], ALL),
    ("", &["pods"], &["list"]),
    ("", &["pods/log"], &["get"]),
    ("apps", &["deployments"], ALL),
    ("batch", &["cronjobs", "jobs"], ALL),
    ("networking.k8s.io", &["networkpolicies"], &["get", "create", "patch", "delete"]),
    ("policy", &["poddisruptionbudgets"], &["create", "patch"]),
    ("coordination.k8s.io", &["leases"], &["get", "create", "update", "patch"]),
    ("events.k8s.io", &["events"], &["create", "patch"]),
];

/// The rules of a Role.
pub fn rules(rights: &[Right<'_>]) -> Value {
    let rule =
        |(group, resources, verbs): &Right<'_>| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    rights.iter().map(rule).collect()
}
