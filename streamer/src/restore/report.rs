//! What a restore did, as it is stored and shown at its end.

use std::fmt;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use strimzi_backup_format::document::{Document, FORMAT_VERSION, Kind};
use strimzi_backup_format::ids::{BackupId, ClusterId, Lineage, PartitionId, RestoreId, TimestampMs, TopicName};

use super::conflict::Warning;
use super::groups::GroupReport;
use super::plan::{Plan, TopicPlan};
use super::progress::{Progress, TargetPartition};

/// A restore that came to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Report {
    /// Always 1 today.
    pub format_version: u32,
    /// Always `restoreReport`.
    pub kind: Kind,
    /// The backup that was read.
    pub backup: BackupId,
    /// The restore's name.
    pub restore: RestoreId,
    /// The Kafka cluster that was written to.
    pub target: ClusterId,
    /// When it was planned.
    pub planned_at: TimestampMs,
    /// When it came to its end.
    pub finished_at: TimestampMs,
    /// The last timestamp that belongs to it, inclusive; absent: the highest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<TimestampMs>,
    /// The highest timestamp of a record that was written; absent where none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<TimestampMs>,
    /// Records written, over all its starts.
    pub records: u64,
    /// Their bytes of keys, values and headers.
    pub bytes: u64,
    /// What was written of each topic.
    pub topics: Vec<TopicReport>,
    /// The offsets that consumer groups got.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupReport>,
    /// Offsets that others took in partitions of the target meanwhile, as far as the last pass over the
    /// records has seen.
    pub foreign_writes: Vec<ForeignWrites>,
    /// What was known before it began.
    pub warnings: Vec<Warning>,
}

impl Document for Report {
    const KIND: Kind = Kind::RestoreReport;
}

/// What was written of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopicReport {
    /// Its name in the backup.
    pub source: TopicName,
    /// Its name at the target.
    pub target: TopicName,
    /// Its partitions in the backup.
    pub partitions: Vec<PartitionReport>,
}

/// What was written of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PartitionReport {
    /// Its number in the backup.
    pub partition: PartitionId,
    /// Which life of the topic.
    pub lineage: Lineage,
    /// Records written.
    pub records: u64,
    /// Their bytes of keys, values and headers.
    pub bytes: u64,
}

/// Offsets that others took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForeignWrites {
    /// The topic at the target.
    pub topic: TopicName,
    /// The partition at the target.
    pub partition: PartitionId,
    /// How many offsets.
    pub offsets: u64,
}

impl Report {
    /// The report of a restore that has written all of `plan`.
    pub fn of<'a>(
        plan: &Plan,
        progress: &Progress,
        groups: Vec<GroupReport>,
        foreign: impl IntoIterator<Item = (&'a TargetPartition, &'a u64)>,
        finished_at: TimestampMs,
    ) -> Self {
        let topics: Vec<TopicReport> = plan.topics.iter().map(|topic| topic_report(topic, progress)).collect();
        let all = || topics.iter().flat_map(|topic| &topic.partitions);
        Self {
            format_version: FORMAT_VERSION,
            kind: Kind::RestoreReport,
            backup: plan.backup,
            restore: plan.restore.clone(),
            target: plan.target.clone(),
            planned_at: plan.created_at,
            finished_at,
            until: plan.until,
            newest: progress.values().filter_map(|done| done.newest).max(),
            records: all().map(|one| one.records).sum(),
            bytes: all().map(|one| one.bytes).sum(),
            groups,
            foreign_writes: foreign
                .into_iter()
                .map(|((topic, partition), offsets)| ForeignWrites {
                    topic: topic.clone(),
                    partition: *partition,
                    offsets: *offsets,
                })
                .collect(),
            warnings: plan.warnings.clone(),
            topics,
        }
    }
}

fn topic_report(topic: &TopicPlan, progress: &Progress) -> TopicReport {
    let partitions = topic.keys().map(|key| {
        let done = progress.get(&key).copied().unwrap_or_default();
        PartitionReport { partition: key.partition, lineage: key.lineage, records: done.records, bytes: done.bytes }
    });
    TopicReport { source: topic.source.clone(), target: topic.target.clone(), partitions: partitions.collect() }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { restore, target, records, bytes, .. } = self;
        writeln!(f, "restore     {restore}, into cluster {target}: done")?;
        writeln!(f, "up to       {}", self.until.map_or("everything held".to_owned(), TimestampMs::to_rfc3339))?;
        if let Some(newest) = self.newest {
            writeln!(f, "newest      {}", newest.to_rfc3339())?;
        }
        writeln!(f, "planned     {}, finished {}", self.planned_at.to_rfc3339(), self.finished_at.to_rfc3339())?;
        writeln!(f, "written     {records} records, {} of keys, values and headers", ByteSize(*bytes))?;
        for topic in &self.topics {
            let records: u64 = topic.partitions.iter().map(|one| one.records).sum();
            writeln!(
                f,
                "  {} -> {}: {records} records, {} partitions",
                topic.source,
                topic.target,
                topic.partitions.len()
            )?;
        }
        self.groups.iter().try_for_each(|group| group.fmt(f))?;
        for foreign in &self.foreign_writes {
            let ForeignWrites { topic, partition, offsets } = foreign;
            writeln!(f, "attention   somebody else wrote {offsets} offsets into {topic}-{partition} meanwhile")?;
        }
        self.warnings.iter().try_for_each(|warning| writeln!(f, "note        {warning}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::progress::Done;
    use super::super::sample::{at, key, now, plan, settings, state, target, topic, touched};
    use super::*;
    use strimzi_backup_format::ids::Offset;

    fn report() -> Report {
        let more = "topicMapping: [{sourceTopic: orders, targetTopic: new, partitions: 3}]";
        let (plan, _) =
            plan(&state(&[("orders", 2), ("payments", 1)]), &settings(more), &[touched(Vec::new())], &target(1));
        let done = |records, bytes| Done { next: Offset::new(100), records, bytes, newest: Some(at(bytes as i64)) };
        let progress = Progress::from([
            (key("orders", 0, 0), done(40, 4000)),
            (key("orders", 0, 1), done(2, 200)),
            (key("payments", 0, 0), done(100, 7)),
        ]);
        let foreign = [((topic("new"), PartitionId::new(2)), 5)];
        Report::of(
            &plan,
            &progress,
            Vec::new(),
            foreign.iter().map(|(partition, offsets)| (partition, offsets)),
            at(20_000),
        )
    }

    #[test]
    fn a_report_sums_what_was_written_over_all_starts() {
        let report = report();
        assert_eq!((report.records, report.bytes, report.newest), (142, 4207, Some(at(4000))));
        assert_eq!((report.planned_at, report.finished_at, report.until), (now(), at(20_000), None));
        let json = serde_json::to_string(&report).expect("json");
        assert_eq!(serde_json::from_str::<Report>(&json).expect("reads back"), report);
    }

    #[test]
    fn a_report_reads_well() {
        insta::assert_snapshot!(report());
    }
}
