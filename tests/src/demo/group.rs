//! A consumer group of the demo: it reads orders while the streamer is killed, and goes on at the restored topic exactly where it
//! stood at the moment.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::restored;
use super::shop::Topics;
use super::step;
use crate::client::{GroupMember, GroupProtocol, KafkaClient, ReadRecord};
use crate::streamer::Job;

/// What it reads at a time.
const BATCH: usize = 200;

/// Its id, without prefix.
const NAME: &str = "fulfilment";

/// The group and its one member.
pub(super) struct Group {
    member: GroupMember,
}

/// Its id on the broker.
pub(super) fn id(topics: &Topics) -> String {
    topics.name(NAME)
}

impl Group {
    /// Joins, and reads the first orders.
    pub(super) fn join(client: &KafkaClient, topics: &Topics) -> Result<Self> {
        let member = client.member(&id(topics), GroupProtocol::Classic, &topics.name("orders"))?;
        let group = Self { member };
        group.read_on()?;
        Ok(group)
    }

    /// Reads some more orders and commits.
    pub(super) fn read_on(&self) -> Result<()> {
        self.member.read(BATCH).map(drop)
    }
}

/// Insists that the restored group goes on at exactly the record that it would have read next at the moment.
pub(super) fn compare(job: &Job, client: &KafkaClient, topics: &Topics, at: &str, wanted: &[ReadRecord]) -> Result<()> {
    let orders = topics.name("orders");
    let then = committed(job, &id(topics), at)?;
    let restored = client.read_all(&restored::name(&orders))?;
    for (partition, offset) in &then {
        let target = client.committed_offset(&restored::name(&id(topics)), &restored::name(&orders), *partition)?;
        let target = target.with_context(|| format!("no offset for partition {partition}"))?;
        let (before, after) = (next(wanted, *partition, *offset), next(&restored, *partition, target));
        ensure!(before == after, "partition {partition}: {offset} became {target}, and another record comes next");
    }
    ensure!(!then.is_empty(), "the group had committed nothing");
    let what = format!(
        "{NAME} goes on in {} partitions of orders at exactly the record that it would have read next",
        then.len()
    );
    println!();
    step("group", &what);
    Ok(())
}

/// What a group had committed at a moment, by partition, as the backup tells.
fn committed(job: &Job, group: &str, at: &str) -> Result<BTreeMap<i32, i64>> {
    let (code, out, err) = job.run(&["groups", "--group", group, "--at", at, "--output", "json"])?;
    ensure!(code == 0, "groups ended with {code}\n{err}");
    let found: Value = serde_json::from_str(&out)?;
    let offsets = found["groups"][0]["offsets"].as_array().cloned().unwrap_or_default();
    let pair = |one: &Value| Some((i32::try_from(one["partition"].as_i64()?).ok()?, one["offset"].as_i64()?));
    offsets.iter().map(|one| pair(one).context("partition and offset")).collect()
}

fn next(records: &[ReadRecord], partition: i32, offset: i64) -> Option<&Option<Vec<u8>>> {
    let following = records.iter().filter(|record| record.partition == partition && record.offset >= offset);
    following.min_by_key(|record| record.offset).map(|record| &record.value)
}
