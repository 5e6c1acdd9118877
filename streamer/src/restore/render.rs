//! A plan for people.

use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;
use strimzi_backup_format::ids::TimestampMs;

use super::plan::{Plan, TopicPlan};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "restore     {}, of backup {} into cluster {}", self.restore, self.backup, self.target)?;
        let snapshot = self.snapshot.as_ref().map(|id| format!(", snapshot {id}")).unwrap_or_default();
        let until = self.until.map_or("everything held".to_owned(), TimestampMs::to_rfc3339);
        writeln!(f, "up to       {until}{snapshot} (manifest {})", self.manifest.sequence)?;
        if let Some(start) = self.start {
            writeln!(f, "from        {}", start.to_rfc3339())?;
        }
        let reads = &self.reads;
        let (bytes, raw) = (ByteSize(reads.bytes), ByteSize(reads.raw_bytes));
        writeln!(
            f,
            "reads       at most {} records, about {bytes} in {} segments by {} requests ({raw} raw)",
            reads.records, reads.segments, self.requests
        )?;
        let time = humantime::format_duration(Duration::from_secs(self.estimated_seconds));
        writeln!(f, "takes       about {time}")?;
        self.topics.iter().try_for_each(|topic| topic.fmt(f))?;
        self.groups.iter().try_for_each(|group| group.fmt(f))?;
        for absent in &self.absent {
            writeln!(f, "left out    {absent}")?;
        }
        for gap in &self.gaps {
            writeln!(f, "gap         {}-{} {}: {}", gap.topic, gap.partition, gap.range, gap.reason.as_str())?;
        }
        for one in &self.incomplete {
            writeln!(f, "incomplete  {}-{}: its first copy was not complete", one.topic, one.partition)?;
        }
        self.warnings.iter().try_for_each(|warning| writeln!(f, "note        {warning}"))
    }
}

impl fmt::Display for TopicPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records: u64 = self.partitions.iter().map(|one| one.reads.records).sum();
        let (action, partitions) = (self.action.as_str().to_lowercase(), self.target_partitions);
        writeln!(
            f,
            "topic       {} -> {}: {action}, {partitions} partitions, at most {records} records",
            self.source, self.target
        )
    }
}
