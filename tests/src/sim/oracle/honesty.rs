//! What the log claims to have captured, held against what was in Kafka at that instant (P10).

use anyhow::{Result, ensure};
use strimzi_backup_format::ids::{Lineage, PartitionId, PartitionKey, TimestampMs};
use strimzi_backup_format::job::TopicSelection;
use strimzi_backup_format::state::State;

use super::super::cluster::{Cluster, Life, Log};
use super::lives;

/// Whether everything that was in Kafka at the instant that the log claims is accounted for.
pub(super) fn check_honesty(state: &State, cluster: &Cluster) -> Result<()> {
    for (name, topic) in state.topics.iter().filter(|(_, topic)| topic.is_live()) {
        for (partition, lineage) in &topic.current {
            let key = PartitionKey { topic: name.clone(), lineage: *lineage, partition: *partition };
            let Some(until) = claimed_until(state, &key) else { continue };
            let (_, life) = lives(&key, state, cluster)?;
            let number = usize::try_from(partition.get()).unwrap_or(usize::MAX);
            let Some(partition) = life.partitions.get(number) else { continue };
            let positions = positions(state, &key, life);
            // What a truncation took before it was read, Kafka itself lost.
            let held = |log| positions.iter().any(|position| is_held(log, until, *position));
            ensure!(
                partition.since(until).any(held),
                "{key} claims to be captured until {until}; its positions are {positions:?}, log {}-{} gone at {:?}, {} \
                 branches; frontier {:?}",
                partition.log.start,
                partition.log.high_watermark(),
                partition.log.gone_at,
                partition.branches.len(),
                state.frontier
            );
        }
    }
    Ok(())
}

/// Where every lineage of a partition stands that is of one life of its topic: what one held of a log that was truncated
/// since is held, also while the next one begins anew.
fn positions(state: &State, key: &PartitionKey, life: &Life) -> Vec<i64> {
    let lives = state.topics.get(&key.topic).map_or(&[][..], |topic| &topic.lives);
    let lineages = (0..).zip(lives).filter(|(_, held)| held.topic_id == life.id);
    let position = |lineage| state.position(&PartitionKey { lineage: Lineage::new(lineage), ..key.clone() });
    lineages.map(|(lineage, _)| position(lineage).map_or(0, |position| position.next_offset.get())).collect()
}

/// Whether what is claimed also holds for the topics, lives and partitions that the log does not know of.
pub(super) fn check_unknown(
    state: &State,
    cluster: &Cluster,
    since: TimestampMs,
    selection: &TopicSelection,
) -> Result<()> {
    for life in cluster.alive().filter(|life| selection.selects(&life.topic)) {
        let topic = state.topics.get(&life.topic);
        let held =
            topic.filter(|topic| topic.is_live() && topic.newest().1.is_some_and(|held| held.topic_id == life.id));
        for (number, partition) in (0..).map(PartitionId::new).zip(&life.partitions) {
            if held.is_some_and(|topic| topic.current.contains_key(&number)) {
                continue;
            }
            let lineage = topic.and_then(|topic| topic.current.get(&number)).copied();
            let key = lineage.map(|lineage| PartitionKey { topic: life.topic.clone(), lineage, partition: number });
            let until = key.map_or(state.frontier.until, |key| claimed_until(state, &key));
            // Who selects it now did not then.
            let Some(until) = until.filter(|until| *until >= since) else { continue };
            ensure!(
                partition.since(until).any(|log| is_held(log, until, 0)),
                "{}-{number} ({:?}) had records at {until}, up to which all is claimed to be captured: {:?}",
                life.topic,
                life.id,
                state.frontier
            );
        }
    }
    Ok(())
}

fn claimed_until(state: &State, key: &PartitionKey) -> Option<TimestampMs> {
    let behind =
        state.frontier.behind.iter().find(|behind| {
            behind.topic == key.topic && behind.lineage == key.lineage && behind.partition == key.partition
        });
    behind.map_or(state.frontier.until, |behind| behind.until)
}

/// Whether what a log held at `until`, and had not lost by then, is below the position.
fn is_held(log: &Log, until: TimestampMs, position: i64) -> bool {
    if log.gone_at.is_some_and(|gone| gone <= until) {
        return true;
    }
    let beyond = usize::try_from(position).unwrap_or(0).min(log.entries.len());
    log.entries[beyond..].iter().all(|entry| entry.appended_at >= until)
}
