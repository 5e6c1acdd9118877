//! The definitions of our own resources: that an API server takes them, and that every rule in them refuses.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_operator::api;
use strimzi_backup_tests::kubernetes::Kubectl;

use crate::plane;

/// A backup with what is required.
pub(crate) fn backup(name: &str) -> Value {
    json!({
        "apiVersion": "kafkabackup.com/v1alpha1",
        "kind": "KafkaBackup",
        "metadata": {"name": name},
        "spec": {
            "strimziClusterRef": {"name": "shop"},
            "storage": {"type": "s3", "s3": {"bucket": "backups", "region": "eu-west-1"}},
        },
    })
}

/// A restore with what is required.
pub(crate) fn restore(name: &str) -> Value {
    json!({
        "apiVersion": "kafkabackup.com/v1alpha1",
        "kind": "KafkaRestore",
        "metadata": {"name": name},
        "spec": {"strimziClusterRef": {"name": "shop"}, "backupRef": {"name": "daily"}},
    })
}

/// The same object with a field of its spec set.
pub(crate) fn with(mut object: Value, field: &str, value: Value) -> Value {
    let mut at = &mut object["spec"];
    for name in field.split('.') {
        at = &mut at[name];
    }
    *at = value;
    object
}

/// The same object without a field of its spec.
fn without(mut object: Value, field: &str) -> Value {
    if let Some(spec) = object["spec"].as_object_mut() {
        spec.remove(field);
    }
    object
}

/// A backup that is sealed with a key of that Secret.
pub(crate) fn sealed(object: Value, secret: &str) -> Value {
    let key = json!({"name": secret, "key": "aes"});
    with(object, "backup.encryption", json!({"enabled": true, "keySecret": key}))
}

/// The messages of all rules in all definitions.
fn messages() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for definition in api::crds() {
        collect(&serde_json::to_value(&definition)?, &mut found);
    }
    Ok(found)
}

fn collect(value: &Value, found: &mut BTreeSet<String>) {
    let rules = value.get("x-kubernetes-validations").and_then(Value::as_array);
    found.extend(rules.into_iter().flatten().filter_map(|rule| rule["message"].as_str().map(str::to_owned)));
    match value {
        Value::Object(fields) => fields.values().for_each(|value| collect(value, found)),
        Value::Array(items) => items.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

/// Objects that one rule each refuses when they are created.
fn refused_at_once() -> Vec<Value> {
    let azure = json!({"container": "c", "storageAccount": "a"});
    let compressed = |kind: &str, level: u32| json!({"compression": kind, "compressionLevel": level});
    let long = "a".repeat(43);
    vec![
        backup(&long),
        with(backup("b"), "retention", json!({"maxAge": "30d", "pruneOnSchedule": true})),
        with(backup("b"), "retention", json!({"storageCredentials": {"name": "deleter"}})),
        with(backup("b"), "backup", compressed("snappy", 3)),
        with(backup("b"), "backup", compressed("gzip", 12)),
        with(backup("b"), "schedule", json!({"cron": "0 2 * * *", "timezone": "Local"})),
        with(backup("b"), "verification", json!({"cron": "@weekly", "timezone": "Local"})),
        with(backup("b"), "storage", json!({"type": "s3"})),
        with(backup("b"), "storage", json!({"type": "s3", "azure": azure})),
        with(backup("b"), "storage.azure", azure),
        with(backup("b"), "template.pod.metadata.labels", json!({"strimzi.io/kind": "Kafka"})),
        restore(&long),
        without(restore("r"), "backupRef"),
        with(restore("r"), "storage", backup("b")["spec"]["storage"].clone()),
        with(restore("r"), "pointInTime", json!({})),
        with(restore("r"), "pointInTime", json!({"timestamp": "2026-02-13T01:30:00.000Z", "offsetFromEnd": "2h"})),
        with(restore("r"), "pointInTime.timestamp", json!("2026-02-13T01:30:00")),
        with(restore("r"), "pointInTime.timestamp", json!("2026-02-13T01:30:00.0001Z")),
        with(restore("r"), "pointInTime.timestamp", json!("2026-02-13T01:30:00-00:00")),
        with(restore("r"), "restore.startTimestamp", json!("yesterday")),
        with(restore("r"), "encryption", json!({"enabled": true, "keySecret": {"name": "k", "key": "aes"}})),
    ]
    .into_iter()
    .chain(refused_encryption().into_iter().map(|block| with(backup("b"), "backup.encryption", block)))
    .collect()
}

/// With which keys no backup can be sealed.
fn refused_encryption() -> Vec<Value> {
    let key = json!({"name": "k", "key": "aes"});
    let transit = |auth: Value| {
        let mut transit = json!({"address": "https://vault:8200", "key": "kafka"});
        for (field, value) in auth.as_object().into_iter().flatten() {
            transit[field] = value.clone();
        }
        transit
    };
    let by_token = transit(json!({"tokenSecret": key}));
    let twice = transit(json!({"tokenSecret": key, "kubernetes": {"role": "backup"}}));
    vec![
        json!({"enabled": true}),
        json!({"enabled": true, "keySecret": key, "transit": by_token}),
        json!({"enabled": true, "previousKeySecrets": [key], "transit": by_token}),
        json!({"enabled": true, "transit": transit(json!({}))}),
        json!({"enabled": true, "transit": twice}),
    ]
}

/// Objects, and what they may not become.
fn refused_as_a_change() -> Vec<(Value, Value)> {
    let store = |kind: &str, block: Value| with(backup(kind), "storage", json!({"type": kind, kind: block}));
    let azure = |container: &str| store("azure", json!({"container": container, "storageAccount": "a"}));
    let gcs = |bucket: &str| store("gcs", json!({"bucket": bucket}));
    let changes = |object: Value, fields: &[(&str, Value)]| -> Vec<(Value, Value)> {
        fields.iter().map(|(field, value)| (object.clone(), with(object.clone(), field, value.clone()))).collect()
    };
    let of_backup = [
        ("strimziClusterRef.name", json!("other")),
        ("strimziClusterRef.namespace", json!("other")),
        ("storage.s3.bucket", json!("other")),
        ("storage.s3.prefix", json!("other/")),
        ("storage.s3.region", json!("us-east-1")),
        ("storage.s3.endpoint", json!("https://s3.example.org")),
        ("storage", json!({"type": "gcs", "gcs": {"bucket": "backups"}})),
    ];
    let of_restore = [
        ("strimziClusterRef.name", json!("other")),
        ("backupRef.backupId", json!("other")),
        ("pointInTime", json!({"offsetFromEnd": "2h"})),
        ("topics", json!({"include": ["orders"]})),
        ("restore", json!({"existingTopicPolicy": "append"})),
        ("resources", json!({"limits": {"memory": "1Gi"}})),
    ];
    let mut all = changes(backup("changed"), &of_backup);
    all.extend(changes(restore("changed"), &of_restore));
    all.extend([(azure("one"), azure("two")), (gcs("one"), gcs("two"))]);
    // Neither is an open backup closed later, nor a closed one opened.
    let (open, closed) = (backup("open"), backup("closed"));
    let off = with(closed.clone(), "backup.encryption", json!({"enabled": false}));
    all.push((open.clone(), sealed(open, "k")));
    all.extend([(sealed(closed.clone(), "k"), off), (sealed(closed.clone(), "k"), closed)]);
    let stored = with(without(restore("stored"), "backupRef"), "storage", backup("b")["spec"]["storage"].clone());
    let by = |secret: &str| json!({"enabled": true, "keySecret": {"name": secret, "key": "aes"}});
    all.push((with(stored.clone(), "encryption", by("one")), with(stored, "encryption", by("two"))));
    all
}

/// The message of the rule that refuses it.
fn refused(kubectl: &Kubectl, namespace: &str, object: &Value, messages: &BTreeSet<String>) -> Result<Vec<String>> {
    let refusal = kubectl.refusal(namespace, &object.to_string())?;
    let named: Vec<String> = messages.iter().filter(|message| refusal.contains(*message)).cloned().collect();
    ensure!(!named.is_empty(), "no rule of ours refuses {object}, but: {refusal}");
    Ok(named)
}

#[test]
fn every_rule_of_our_definitions_refuses_and_says_why() -> Result<()> {
    let plane = plane()?;
    let (kubectl, namespace, messages) = (plane.kubectl(), plane.namespace("rules")?, messages()?);
    let mut seen = BTreeSet::new();
    for object in refused_at_once() {
        seen.extend(refused(kubectl, &namespace, &object, &messages)?);
    }
    for (before, after) in refused_as_a_change() {
        kubectl.apply(&namespace, &before.to_string())?;
        seen.extend(refused(kubectl, &namespace, &after, &messages)?);
    }
    let untried: Vec<&String> = messages.difference(&seen).collect();
    ensure!(untried.is_empty(), "no object is refused by: {untried:#?}");
    Ok(())
}

#[test]
fn what_may_change_is_taken_and_defaults_are_filled_in() -> Result<()> {
    let plane = plane()?;
    let (kubectl, namespace) = (plane.kubectl(), plane.namespace("changes")?);
    kubectl.apply(&namespace, &backup("b").to_string())?;
    let kept = kubectl.get(&namespace, "kafkabackup/b")?.context("the backup")?;
    assert_eq!(kept["spec"]["suspend"], false);
    assert_eq!(kept["spec"]["deletionPolicy"], "Retain");
    assert_eq!(kept["spec"]["storage"]["s3"]["prefix"], "");
    for (field, value) in [
        ("suspend", json!(true)),
        ("deletionPolicy", json!("Delete")),
        ("storage.s3.credentialsSecret", json!({"name": "renewed"})),
        ("strimziClusterRef.listenerName", json!("tls")),
        ("schedule", json!({"cron": "@daily"})),
        ("retention", json!({"maxAge": "30d", "maxBackups": 30, "acknowledgeShrinkTo": "7d", "gracePeriod": "0s"})),
    ] {
        kubectl.apply(&namespace, &with(backup("b"), field, value).to_string())?;
    }
    let kept = kubectl.get(&namespace, "kafkabackup/b")?.context("the backup")?;
    assert_eq!(kept["spec"]["retention"]["pruneOnSchedule"], false);
    let pruned = with(backup("b"), "schedule", json!({"cron": "@daily"}));
    let retention = json!({"maxBackups": 30, "pruneOnSchedule": true, "storageCredentials": {"name": "deleter"}});
    kubectl.apply(&namespace, &with(pruned, "retention", retention).to_string())?;
    let verified = |level: u32| with(backup("b"), "verification", json!({"cron": "@weekly", "level": level}));
    kubectl.apply(&namespace, &verified(3).to_string())?;
    let refusal = kubectl.refusal(&namespace, &verified(4).to_string())?;
    ensure!(refusal.contains("spec.verification.level"), "{refusal}");
    kubectl.apply(&namespace, &restore("r").to_string())?;
    kubectl.apply(&namespace, &with(restore("r"), "suspend", json!(true)).to_string())?;
    // The short names, and the columns that answer the first question.
    let listed = kubectl.run(&["get", "--namespace", &namespace, "kb,kr"])?;
    assert!(listed.contains("kafkabackup.kafkabackup.com/b") && listed.contains("CLUSTER"), "{listed}");
    Ok(())
}

#[test]
fn keys_of_a_sealed_backup_may_change_and_whether_it_is_sealed_has_to_be_said() -> Result<()> {
    let plane = plane()?;
    let (kubectl, namespace) = (plane.kubectl(), plane.namespace("keys")?);
    for secret in ["first", "second"] {
        kubectl.apply(&namespace, &sealed(backup("b"), secret).to_string())?;
    }
    let by_account =
        json!({"address": "https://vault.vault.svc:8200", "key": "kafka", "kubernetes": {"role": "backup"}});
    let transit = with(backup("b"), "backup.encryption", json!({"enabled": true, "transit": by_account}));
    kubectl.apply(&namespace, &transit.to_string())?;
    // What is kept for later means nothing.
    let key = json!({"name": "k", "key": "aes"});
    let kept = json!({"enabled": false, "keySecret": key, "transit": by_account});
    kubectl.apply(&namespace, &with(backup("open"), "backup.encryption", kept).to_string())?;
    kubectl.apply(&namespace, &backup("open").to_string())?;

    let unsaid = with(backup("unsaid"), "backup.encryption", json!({"keySecret": key}));
    let refusal = kubectl.refusal(&namespace, &unsaid.to_string())?;
    ensure!(refusal.contains("spec.backup.encryption.enabled"), "{refusal}");
    for address in ["vault:8200", "https://me:hunter2@vault", "ftp://vault"] {
        let mut transit = by_account.clone();
        transit["address"] = json!(address);
        let object = with(backup("c"), "backup.encryption", json!({"enabled": true, "transit": transit}));
        let refusal = kubectl.refusal(&namespace, &object.to_string())?;
        ensure!(refusal.contains("spec.backup.encryption.transit.address"), "{refusal}");
    }
    Ok(())
}

#[test]
fn a_snapshot_that_failed_is_not_shown_as_the_last_that_was_made() -> Result<()> {
    let plane = plane()?;
    let (kubectl, namespace) = (plane.kubectl(), plane.namespace("columns")?);
    kubectl.apply(&namespace, &backup("b").to_string())?;
    let snapshot = |status: &str, day: u32| {
        let then = format!("2026-02-{day}T02:00:09Z");
        json!({"id": status, "status": status, "completionTime": then})
    };
    // What stands below the heading of the column.
    let shown = |history: &[Value]| {
        let status = json!({"lastBackup": history[0], "backupHistory": history});
        kubectl.set_status(&namespace, "kafkabackup/b", &status)?;
        let table = kubectl.run(&["get", "--namespace", &namespace, "kafkabackup/b"])?;
        let (header, row) = table.split_once('\n').context("two lines")?;
        let column = header.find("SNAPSHOT").context("the column")?..header.find("AGE").context("the next one")?;
        anyhow::Ok(row.get(column).unwrap_or_default().trim().to_owned())
    };
    assert_eq!(shown(&[snapshot("Failed", 14)])?, "");
    ensure!(!shown(&[snapshot("Failed", 14), snapshot("Completed", 13)])?.is_empty(), "one was made");
    Ok(())
}
