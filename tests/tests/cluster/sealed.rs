//! A backup that is sealed, from the Secret with its key to records that come back, in pods of a real node.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::client::Record;
use strimzi_backup_tests::restore::same_but_offsets;
use strimzi_backup_tests::scenario::{shows_none_of, tree};
use strimzi_backup_tests::sealing::{Sealing, shown};

use crate::place::{Place, SHOP, object, prepared, resources};

const TOPIC: &str = "planted-topic-of-orders";
const RESTORED: &str = "planted-topic-restored";
const KEY: &str = "planted-key-of-a-record";
const VALUE: &str = "planted-value-of-a-record";
const HEADER: &str = "planted-name-of-a-header";

/// The master key of the backup, and another one, as their Secrets have them.
const MASTERS: [(&str, &str); 2] = [("right", "0f"), ("wrong", "1e")];

fn planted(range: std::ops::Range<usize>) -> Vec<Record> {
    let record =
        |n: usize| Record::new(format!("{KEY}-{n}"), format!("{VALUE}-{n}")).header(HEADER, Some(KEY.as_bytes()));
    range.map(record).collect()
}

fn sealed_by(secret: &str) -> Value {
    json!({"enabled": true, "keySecret": {"name": secret, "key": "aes-256-key"}})
}

/// A KafkaBackup of the topic that is sealed by a key, and would show its records if it were not.
fn backup(place: &Place<'_>, secret: &str) -> Value {
    let mut backup = place.backup("daily");
    backup["spec"]["topics"] = json!({"include": [TOPIC]});
    backup["spec"]["backup"] = json!({"compression": "none", "encryption": sealed_by(secret)});
    backup
}

/// A KafkaRestore of the topic under another name, from where `source` says.
fn restore(name: &str, source: &Value) -> Result<Value> {
    let mut spec = json!({
        "strimziClusterRef": {"name": SHOP},
        "authentication": {"type": "tls", "kafkaUserRef": {"name": "backup"}},
        "topicMapping": [{"sourceTopic": TOPIC, "targetTopic": RESTORED}],
        "restore": {"topicCreation": "auto", "existingTopicPolicy": "fail"},
        "resources": resources(),
    });
    let fields = spec.as_object_mut().context("a spec")?;
    fields.extend(source.as_object().context("a source")?.clone());
    Ok(object("kafkabackup.com/v1alpha1", "KafkaRestore", name, &spec))
}

/// Waits until so many records are protected, as the streamer tells.
fn protected(place: &Place<'_>, records: usize) -> Result<()> {
    place.wait("kafkabackup/daily", |found| {
        let status = &found["status"];
        status["stored"]["records"] == records
            && status["recoverable"]["from"].is_string()
            && status["anchor"]["sha256"].is_string()
    })?;
    Ok(())
}

/// The id of the master key that the backup was founded with.
fn master(place: &Place<'_>) -> Result<String> {
    let identity = std::fs::read_to_string(place.stored("daily").join("backup.json"))?;
    let identity: Value = serde_json::from_str(&identity)?;
    Ok(identity["encryption"]["masterKey"].as_str().context("the id of the master key")?.to_owned())
}

#[test]
fn a34_a_sealed_backup_comes_back_by_its_key_and_who_has_a_wrong_one_is_told_which() -> Result<()> {
    let place = Place::new(prepared()?, "sealed")?;
    for (secret, byte) in MASTERS {
        place.secret(secret, &[("aes-256-key", &byte.repeat(32))])?;
    }
    let client = place.broker.client();
    client.create_topic(TOPIC, 1, &[])?;
    client.produce(TOPIC, &planted(0..300))?;
    place.apply(&backup(&place, "right"))?;
    place.reason("kafkabackup/daily", "Streaming", "Streaming")?;
    protected(&place, 300)?;
    Sealing::Key.check(&place.stored("daily"))?;
    let seen = shown(&place.stored("daily"), &[TOPIC, KEY, VALUE, HEADER])?;
    ensure!(seen.is_empty(), "{seen:?}");

    // Without a word on keys: they are those of the KafkaBackup, and so is what the store has to hold.
    place.apply(&restore("again", &json!({"backupRef": {"name": "daily"}}))?)?;
    place.reason("kafkarestore/again", "Ready", "RestoreCompleted")?;
    assert_eq!(same_but_offsets(&client.read_all(TOPIC)?, &client.read_all(RESTORED)?)?, 300);
    let document = place.wait("configmap/again-restore", |_| true)?["data"]["restore.yaml"].to_string();
    ensure!(document.contains("anchor:"), "{document}");

    let master = master(&place)?;
    let elsewhere = json!({"storage": place.storage("daily"), "encryption": sealed_by("wrong")});
    place.apply(&restore("locked-out", &elsewhere)?)?;
    let message = place.reason("kafkarestore/locked-out", "Ready", "RestoreFailed")?;
    ensure!(message.contains(&format!("which {master} opens")), "{master} is not in: {message}");
    place.apply(&backup(&place, "wrong"))?;
    let message = place.reason("kafkabackup/daily", "Streaming", "ConfigurationRefused")?;
    ensure!(message.contains(&format!("which {master} opens")), "{master} is not in: {message}");
    shows_none_of(&message, &MASTERS.map(|(_, byte)| byte.repeat(32)).each_ref().map(String::as_str))?;

    place.apply(&backup(&place, "right"))?;
    place.reason("kafkabackup/daily", "Streaming", "Streaming")?;
    client.produce(TOPIC, &planted(300..500))?;
    protected(&place, 500)?;
    // One backup key still: who had the wrong master key made none.
    Sealing::Key.check(&place.stored("daily"))?;
    place.end()
}

#[test]
fn a33_a_key_service_that_is_away_is_told_by_the_key_and_its_place_and_nothing_is_written() -> Result<()> {
    let place = Place::new(prepared()?, "keyless")?;
    place.secret("vault-token", &[("token", "planted-token")])?;
    place.broker.client().create_topic(TOPIC, 1, &[])?;
    let address = format!("http://vault.{}.svc:8200", place.namespace);
    let mut backup = backup(&place, "none");
    backup["spec"]["backup"]["encryption"] = json!({"enabled": true, "transit": {
        "address": address,
        "key": "kafka-backup",
        "tokenSecret": {"name": "vault-token", "key": "token"},
    }});
    place.apply(&backup)?;
    let message = place.reason("kafkabackup/daily", "Streaming", "EncryptionKeyUnavailable")?;
    for part in ["the master key transit:transit/kafka-backup", &address, "nothing is written"] {
        ensure!(message.contains(part), "{part} is not in: {message}");
    }
    place.reason("kafkabackup/daily", "Ready", "EncryptionKeyUnavailable")?;
    let found = place.wait("kafkabackup/daily", |found| found["status"]["troubleMessage"].is_string())?;
    let pod = found["status"]["reportedBy"].as_str().context("the pod that tells")?;
    let log = place.run(&["logs", pod])?;
    for told in [&found.to_string(), &log] {
        shows_none_of(told, &["planted-token"])?;
    }
    let written: Vec<_> = tree(&place.stored("daily"))?.into_keys().filter(|path| !path.starts_with("probe")).collect();
    ensure!(written.is_empty(), "{written:?}");
    place.end()
}
