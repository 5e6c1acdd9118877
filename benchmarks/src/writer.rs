//! A writer of a log in virtual time: it claims, and commits one manifest after the other.

use anyhow::{Context as _, Result};
use strimzi_backup_format::bucket::Bucket;
use strimzi_backup_format::identity::Identity;
use strimzi_backup_format::ids::{
    BackupId, ClusterId, Lineage, Nonce, Offset, PartitionId, PartitionKey, Shard, TimestampMs, TopicName,
};
use strimzi_backup_format::manifest::log::{self, Draft, LogWriter};
use strimzi_backup_format::manifest::{Claim, Frontier, LastRecord, PartitionPosition, Run, Segment, reader};
use strimzi_backup_format::seal;
use strimzi_backup_format::store::Store;

/// The one writer of a backup.
#[derive(Debug)]
pub struct VirtualWriter {
    log: LogWriter,
    commits: u128,
}

impl VirtualWriter {
    /// Claims an empty store for a backup of this name.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn claim(store: &Store, name: &str, at: TimestampMs) -> Result<Self> {
        let backup = BackupId::new(uuid::Uuid::from_u128(1));
        let identity = Identity::new(backup, name, ClusterId::new("cluster"), at);
        log::create_identity(store, &identity).await?;
        let empty = reader::open(store, Shard::ONLY).await?.context("a log")?;
        let mut writer = LogWriter::new(store.clone(), Shard::ONLY, empty);
        let claim = Claim { writer: "bench".to_owned(), software: "0".to_owned() };
        let claim = writer.prepare_claim(claim, nonce(0), at)?;
        writer.commit(&claim).await?;
        Ok(Self { log: writer, commits: 0 })
    }

    /// What was written so far.
    pub fn log(&self) -> &LogWriter {
        &self.log
    }

    /// Commits a manifest, and writes a checkpoint where one is due.
    ///
    /// # Errors
    /// Where the store fails, or the draft does not follow from the log.
    pub async fn commit(&mut self, draft: Draft, at: TimestampMs) -> Result<()> {
        self.commits += 1;
        let prepared = self.log.prepare(draft, nonce(self.commits), at)?;
        self.log.commit(&prepared).await?;
        if self.log.checkpoint_is_due() { self.checkpoint().await } else { Ok(()) }
    }

    /// Commits segments, of each partition at most one run, after which everything is captured that was there at `at`; none where
    /// nothing came.
    ///
    /// # Errors
    /// As [`VirtualWriter::commit`].
    pub async fn add(&mut self, segments: Vec<Segment>, at: TimestampMs) -> Result<()> {
        let positions = segments.iter().flat_map(|segment| &segment.runs).map(position).collect();
        let frontier = Frontier { until: Some(at), ..Frontier::default() };
        self.commit(Draft { segments, positions, frontier, ..Draft::default() }, at).await
    }

    /// Has everything that was committed in the blocks of a checkpoint.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn checkpoint(&mut self) -> Result<()> {
        Ok(self.log.checkpoint().await?)
    }

    /// Seals what was committed of the hours before `before`; the next checkpoint lists it.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn seal(&mut self, before: Bucket) -> Result<()> {
        self.checkpoint().await?;
        while let Some(order) = self.log.to_seal(before) {
            let done = seal::seal(order).await?;
            self.log.sealed(done);
        }
        Ok(())
    }
}

/// A partition in the first life of its topic.
///
/// # Errors
/// Where no topic has such a name.
pub fn key(topic: &str, partition: i32) -> Result<PartitionKey> {
    let topic = TopicName::new(topic)?;
    Ok(PartitionKey { topic, lineage: Lineage::FIRST, partition: PartitionId::new(partition) })
}

fn nonce(number: u128) -> Nonce {
    Nonce::new(uuid::Uuid::from_u128(number))
}

/// The position behind a run.
fn position(run: &Run) -> PartitionPosition {
    let next = run.range.next_offset();
    PartitionPosition {
        topic: run.topic.clone(),
        lineage: run.lineage,
        partition: run.partition,
        next_offset: next,
        last_record: Some(LastRecord { offset: Offset::new(next.get() - 1), leader_epoch: run.leader_epoch }),
        highest_timestamp: Some(run.max_timestamp),
        filed: None,
    }
}
