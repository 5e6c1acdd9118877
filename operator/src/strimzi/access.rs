//! The `KafkaUser` that somebody has to create, as YAML. Pure.
//!
//! Its ACLs are what docs/operations.md says that the streamer or a restore needs; a test compares them.

use serde_json::{Map, Value, json};

use super::kafka::Kafka;
use super::{Authentication, names};

/// What a client does, and so what it has to be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It reads records, and the offsets of consumer groups.
    Backup,
    /// It creates topics and writes records.
    Restore {
        /// It commits offsets of consumer groups.
        groups: bool,
        /// It deletes topics that are there (`existingTopicPolicy: overwrite`).
        overwrite: bool,
    },
}

impl Purpose {
    /// The name of a user for it, where the user has chosen none.
    pub fn user_name(self) -> &'static str {
        match self {
            Self::Backup => "kafka-backup",
            Self::Restore { .. } => "kafka-restore",
        }
    }
}

/// The user to create, in the API version that is served. It has no ACLs where the cluster would not carry them out:
/// Strimzi refuses them there.
pub fn kafka_user(
    kafka: &Kafka,
    api_version: &str,
    (namespace, name): (&str, &str),
    authentication: Authentication,
    purpose: Purpose,
) -> String {
    let mut spec = Map::from_iter([("authentication".to_owned(), json!({"type": authentication.as_str()}))]);
    if kafka.takes_acls() {
        spec.insert("authorization".to_owned(), json!({"type": "simple", "acls": acls(purpose)}));
    }
    let cluster = &kafka.metadata.name;
    let metadata = json!({"name": name, "namespace": namespace, "labels": {names::CLUSTER_LABEL: cluster}});
    let user = json!({
        "apiVersion": format!("{}/{api_version}", names::GROUP),
        "kind": "KafkaUser",
        "metadata": metadata,
        "spec": spec,
    });
    serde_norway::to_string(&user).unwrap_or_else(|_| user.to_string())
}

/// What has to be there beside for a user to come to life; empty, or in parentheses.
pub fn note(kafka: &Kafka) -> &'static str {
    if kafka.spec.entity_operator.user_operator.is_none() {
        " (the cluster has no spec.entityOperator.userOperator, which would carry it out)"
    } else {
        ""
    }
}

/// The rights for a purpose, as `spec.authorization.acls` has them.
pub fn acls(purpose: Purpose) -> Vec<Value> {
    match purpose {
        // Covers __consumer_offsets.
        Purpose::Backup => vec![acl("topic", Some(("*", "literal")), &["Read", "Describe", "DescribeConfigs"])],
        Purpose::Restore { groups, overwrite } => restore_acls(groups, overwrite),
    }
}

fn restore_acls(groups: bool, overwrite: bool) -> Vec<Value> {
    let own = Some(("strimzi-backup-restore-", "prefix"));
    let all = Some(("*", "literal"));
    let mut acls = vec![
        acl("transactionalId", own, &["Describe", "Write"]),
        acl("group", own, &["Describe", "Read", "Delete"]),
        acl("cluster", None, &["DescribeConfigs"]),
    ];
    if groups {
        acls.push(acl("group", all, &["Describe", "Read"]));
    }
    let mut topics = vec!["Create", "Describe", "DescribeConfigs", "AlterConfigs", "Read", "Write"];
    if overwrite {
        topics.push("Delete");
    }
    acls.push(acl("topic", all, &topics));
    acls
}

fn acl(kind: &str, name: Option<(&str, &str)>, operations: &[&str]) -> Value {
    let resource = match name {
        Some((name, pattern)) => json!({"type": kind, "name": name, "patternType": pattern}),
        None => json!({"type": kind}),
    };
    json!({"resource": resource, "operations": operations})
}
