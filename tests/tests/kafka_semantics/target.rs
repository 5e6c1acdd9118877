//! What a restore relies on when it makes its target ready.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use strimzi_backup_format::ids::{Offset, PartitionId};
use strimzi_backup_streamer::kafka::{Code, Kafka, NewTopic, TargetTopic};
use strimzi_backup_tests::client::Record;

use super::{SOON, block_on, broker, connect, name};

fn new_topic(topic: &str, partitions: u32, settings: &[(&str, &str)]) -> Result<NewTopic> {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Ok(NewTopic { name: name(topic)?, partitions, replicas: Some(1), settings })
}

/// What the target says of a topic; `None` if it has none of the name.
fn found(kafka: &Kafka, topic: &str) -> Result<Option<TargetTopic>> {
    let topic = name(topic)?;
    let answer = block_on(kafka.target_topics(std::slice::from_ref(&topic)))??.remove(&topic).context("an answer")?;
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_unknown() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[test]
fn topics_are_created_as_asked_and_described_as_they_are() -> Result<()> {
    let broker = broker()?;
    let kafka = connect(&broker.bootstrap())?;
    assert_eq!(block_on(kafka.broker_count())??, 1);
    let topic = new_topic("made", 3, &[("retention.ms", "-1"), ("cleanup.policy", "compact")])?;
    let made = name("made")?;
    let validated = block_on(kafka.validate_topics(std::slice::from_ref(&topic)))??;
    assert_eq!(validated[&made], Ok(()));
    assert_eq!(found(&kafka, "made")?, None, "validating makes nothing");
    let created = block_on(kafka.create_topics(std::slice::from_ref(&topic), SOON))??;
    assert_eq!(created[&made], Ok(()));
    // Every partition can be written at once.
    let records: Vec<Record> = (0..3).map(|partition| Record::new("k", "v").partition(partition)).collect();
    let described = found(&kafka, "made")?.context("a topic")?;
    assert!(described.is_empty() && described.id.is_some());
    assert_eq!(described.partitions.iter().map(|one| one.replicas).collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!(described.settings.overrides, topic.settings);
    let number = |setting: &str| described.settings.number(setting);
    assert_eq!((number("retention.ms"), number("retention.bytes")), (Some(-1), Some(-1)));
    assert_eq!(number("max.message.bytes"), Some(1_048_588));
    assert_eq!(number("message.timestamp.after.max.ms"), Some(3_600_000));
    assert_eq!(number("message.timestamp.before.max.ms"), Some(i64::MAX));
    assert_eq!(described.settings.effective["message.timestamp.type"], "CreateTime");
    assert_eq!(described.settings.effective["cleanup.policy"], "compact");
    broker.client().produce("made", &records)?;
    let described = found(&kafka, "made")?.context("a topic")?;
    let first = described.partitions[0];
    assert_eq!((first.partition, first.start, first.end), (PartitionId::new(0), Offset::new(0), Offset::new(1)));
    assert!(!described.is_empty());
    Ok(())
}

#[test]
fn a_topic_that_cannot_be_created_is_told_with_the_brokers_reason() -> Result<()> {
    let broker = broker()?;
    broker.client().create_topic("stands", 1, &[])?;
    let kafka = connect(&broker.bootstrap())?;
    let three = NewTopic { replicas: Some(3), ..new_topic("three-replicas", 1, &[])? };
    let topics =
        [new_topic("stands", 1, &[])?, new_topic("odd-setting", 1, &[("no.such.setting", "1")])?, three.clone()];
    for answers in [block_on(kafka.validate_topics(&topics))??, block_on(kafka.create_topics(&topics, SOON))??] {
        let code = |topic: &str| -> Result<Code> { Ok(answers[&name(topic)?].clone().err().context("refused")?.code) };
        assert_eq!(code("stands")?, Code::TOPIC_ALREADY_EXISTS);
        assert_eq!(code("odd-setting")?, Code::INVALID_CONFIG);
        assert_eq!(code("three-replicas")?, Code::new(38), "INVALID_REPLICATION_FACTOR");
        let refusal = answers[&name("odd-setting")?].clone().err().context("refused")?.to_string();
        assert!(refusal.contains("odd-setting") && refusal.contains("no.such.setting"), "{refusal}");
    }
    Ok(())
}

#[test]
fn changing_some_settings_keeps_the_others() -> Result<()> {
    let broker = broker()?;
    let settings = [("retention.ms", "1000000"), ("segment.bytes", "2000000"), ("max.message.bytes", "3000000")];
    broker.client().create_topic("altered", 1, &settings)?;
    let kafka = connect(&broker.bootstrap())?;
    let altered = name("altered")?;
    let changes = BTreeMap::from([
        ("retention.ms".to_owned(), None),
        ("max.message.bytes".to_owned(), Some("4000000".to_owned())),
        ("message.timestamp.type".to_owned(), Some("LogAppendTime".to_owned())),
    ]);
    block_on(kafka.alter_topic(&altered, &changes))???;
    let found = found(&kafka, "altered")?.context("a topic")?.settings;
    let expected =
        [("max.message.bytes", "4000000"), ("message.timestamp.type", "LogAppendTime"), ("segment.bytes", "2000000")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(found.overrides, BTreeMap::from(expected));
    assert_eq!(found.number("retention.ms"), Some(604_800_000), "the brokers' default");

    let bad = BTreeMap::from([("retention.ms".to_owned(), Some("soon".to_owned()))]);
    let refused = block_on(kafka.alter_topic(&altered, &bad))??.err().context("a refusal")?;
    assert_eq!(refused.code, Code::INVALID_CONFIG);
    let unknown = block_on(kafka.alter_topic(&name("never-was")?, &changes))??.err().context("a refusal")?;
    assert_eq!(unknown.code, Code::UNKNOWN_TOPIC_OR_PARTITION);
    Ok(())
}

#[test]
fn a_deleted_topic_is_gone_and_can_be_made_anew_at_once() -> Result<()> {
    let broker = broker()?;
    let kafka = connect(&broker.bootstrap())?;
    let topic = new_topic("made-anew", 2, &[])?;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let created = block_on(kafka.create_topics(std::slice::from_ref(&topic), SOON))??;
        assert_eq!(created[&topic.name], Ok(()));
        broker.client().produce("made-anew", &[Record::value("v").partition(1)])?;
        ids.push(found(&kafka, "made-anew")?.context("a topic")?.id);
        block_on(kafka.delete_topic(&topic.name, SOON))???;
        assert_eq!(found(&kafka, "made-anew")?, None);
    }
    ids.dedup();
    assert_eq!(ids.len(), 3);
    block_on(kafka.delete_topic(&topic.name, SOON))???;
    Ok(())
}

#[test]
fn a_group_is_deleted_with_its_offsets_and_may_be_gone_already() -> Result<()> {
    let broker = broker()?;
    let client = broker.client();
    client.create_topic("grouped", 1, &[])?;
    client.commit_offsets("done-with", &[("grouped", 0, 5)])?;
    let kafka = connect(&broker.bootstrap())?;
    for _ in 0..2 {
        block_on(kafka.delete_group("done-with"))???;
        assert_eq!(client.committed_offset("done-with", "grouped", 0)?, None);
    }
    Ok(())
}
