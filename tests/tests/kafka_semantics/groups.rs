//! What a restore relies on when it sets offsets of consumer groups.

use anyhow::{Context, Result, ensure};
use strimzi_backup_format::ids::{GroupId, LeaderEpoch, Offset, PartitionId, TimestampMs};
use strimzi_backup_format::record::{RecordRef, TimestampType};
use strimzi_backup_streamer::kafka::{
    Code, Group, GroupOffset, Kafka, Operation, ProducerTuning, TargetError, TransactionalProducer,
};
use strimzi_backup_tests::client::GroupProtocol;
use strimzi_backup_tests::wait;
use tokio_util::sync::CancellationToken;

use super::{SOON, block_on, broker, cluster, connect, name, numbered};

fn group(id: &str) -> Result<GroupId> {
    Ok(GroupId::new(id)?)
}

fn offset(topic: &str, offset: i64) -> Result<GroupOffset> {
    let (topic, partition) = (name(topic)?, PartitionId::new(0));
    Ok(GroupOffset { topic, partition, offset: Offset::new(offset), metadata: Some("kept".to_owned()) })
}

fn set(kafka: &Kafka, id: &str, offsets: &[GroupOffset]) -> Result<Result<(), TargetError>> {
    Ok(block_on(kafka.set_group_offsets(&group(id)?, offsets))??)
}

/// What the target says of a group; `None` if there is none.
fn described(kafka: &Kafka, id: &str) -> Result<Option<Group>> {
    let id = group(id)?;
    let answer = block_on(kafka.describe_groups(std::slice::from_ref(&id)))??.remove(&id).context("an answer")?;
    match answer {
        Ok(found) if found.state == "Dead" => Ok(None),
        Ok(found) => Ok(Some(found)),
        Err(error) if error.code() == Code::GROUP_ID_NOT_FOUND => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[test]
fn a73_offsets_are_set_for_groups_without_members_whether_they_exist_or_not() -> Result<()> {
    let broker = broker()?;
    let client = broker.client();
    client.create_topic("set", 2, &[])?;
    client.commit_offsets("set-there", &[("set", 0, 5), ("set", 1, 7)])?;
    let kafka = connect(&broker.bootstrap())?;
    assert_eq!(described(&kafka, "set-new")?, None);
    let there = described(&kafka, "set-there")?.context("a group")?;
    assert_eq!((there.members, there.state.as_str()), (0, "Empty"));
    ensure!(!there.rights.forbid(Operation::Read) && !there.rights.forbid(Operation::Describe));
    for id in ["set-new", "set-there"] {
        // Beyond the end of the log too, and again.
        for wanted in [5_000_000_123, 2, 2] {
            assert_eq!(set(&kafka, id, &[offset("set", wanted)?])?, Ok(()));
            assert_eq!(client.committed_offset(id, "set", 0)?, Some(wanted));
        }
    }
    let held = block_on(kafka.group_offsets(&group("set-there")?))??;
    let held: Vec<(i32, i64)> = held.iter().map(|((_, partition), offset)| (partition.get(), offset.get())).collect();
    assert_eq!(held, [(0, 2), (1, 7)], "what is not named stays");
    assert_eq!(block_on(kafka.group_offsets(&group("set-never")?))??.len(), 0);
    let unknown = set(&kafka, "set-new", &[offset("set-nowhere", 1)?])?.err().context("a refusal")?;
    assert_eq!(unknown.code, Code::UNKNOWN_TOPIC_OR_PARTITION);
    ensure!(unknown.to_string().contains("set-new") && unknown.to_string().contains("set-nowhere-0"), "{unknown}");
    ensure!(block_on(kafka.set_group_offsets(&group("set-new")?, &[offset("set", -1)?]))?.is_err(), "below 0");
    Ok(())
}

#[test]
fn a73_a_group_with_live_members_is_described_and_refused_as_such_in_both_protocols() -> Result<()> {
    let broker = broker()?;
    let client = broker.client();
    client.create_topic("live", 1, &[])?;
    client.produce("live", &numbered(0..10, 0))?;
    let kafka = connect(&broker.bootstrap())?;
    for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        let id = format!("live-{protocol:?}");
        let member = client.member(&id, protocol, "live")?;
        member.read(1)?;
        let found = described(&kafka, &id)?.context("a group")?;
        assert_eq!(found.members, 1, "{id}: {found:?}");
        let refusal = set(&kafka, &id, &[offset("live", 3)?])?.err().context("a refusal")?;
        ensure!(refusal.has_members(), "{id}: {refusal}");
        assert_eq!(client.committed_offset(&id, "live", 0)?, Some(1));
        drop(member);
        wait::wait_until("the member to be gone", SOON, || {
            Ok(described(&kafka, &id)?.is_none_or(|found| found.members == 0))
        })?;
        assert_eq!(set(&kafka, &id, &[offset("live", 3)?])?, Ok(()), "{id}");
        let first = client.member(&id, protocol, "live")?.read(1)?;
        assert_eq!(first[0].offset, 3, "{id}");
    }
    Ok(())
}

#[test]
fn a73_where_records_are_is_told_before_their_transaction_is_committed() -> Result<()> {
    let broker = broker()?;
    let client = broker.client();
    client.create_topic("account", 1, &[("retention.ms", "-1")])?;
    let topic = name("account")?;
    let (cluster, tuning) = (cluster(&broker.bootstrap()), ProducerTuning::default());
    let unready = TransactionalProducer::connect(&cluster, "account", &tuning, CancellationToken::new())?;
    let mut producer = unready.init(SOON)?;
    let record = RecordRef {
        offset: Offset::new(0),
        timestamp: TimestampMs::new(1_720_000_000_000),
        timestamp_type: TimestampType::CreateTime,
        leader_epoch: LeaderEpoch::UNKNOWN,
        key: None,
        value: Some(b"v"),
        headers: &[],
    };
    let place = (topic.clone(), PartitionId::new(0));
    // A marker lies between the transactions.
    for first in [0, 4, 8] {
        producer.begin()?;
        for _ in 0..3 {
            producer.send(&topic, place.1, &record)?;
        }
        let told = producer.settle()?;
        let written = told.get(&place).context("an account")?;
        ensure!(written.is_contiguous(), "{written:?}");
        assert_eq!(written.offsets, Some((Offset::new(first), Offset::new(first + 2))));
        assert_eq!(producer.commit()?, told);
    }
    Ok(())
}
