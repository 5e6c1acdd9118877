//! Checkpoints against the log they were folded from.
//!
//! A checkpoint must be the very state that the manifests give at its sequence, and its own block must list exactly the
//! segments that they name since the block before, in order. To hold a block against manifests that have long been let go
//! of, the walk keeps a running sum of the digests of all segments; the sum at the end of a block less the sum at its
//! start is that of the block. Memory: one sum and one block description for each checkpoint.
//!
//! Does not own the walk. Damage here costs a reader time, not data: everything is in the manifests too.

use std::collections::{BTreeMap, BTreeSet};

use strimzi_backup_format::checkpoint::{Block, Checkpoint};
use strimzi_backup_format::checksum::Sha256;
use strimzi_backup_format::document;
use strimzi_backup_format::ids::Sequence;
use strimzi_backup_format::layout::{self, ObjectKey};
use strimzi_backup_format::manifest::Manifest;
use strimzi_backup_format::state::State;
use strimzi_backup_format::store::{Store, StoreError};

use super::fetch::{self, Found};
use super::report::{FindingKind, Report};
use super::sum::Sum;
use crate::error::chain;

/// What is known of the checkpoints while the log is walked.
#[derive(Debug)]
pub(super) struct Checkpoints {
    listed: BTreeMap<Sequence, Vec<ObjectKey>>,
    now: Sum,
    /// The sum at each sequence that a block may begin after.
    at: BTreeMap<Sequence, Sum>,
    good: BTreeMap<ObjectKey, Block>,
    /// Those that were reported, so that all that name them later are not reported for it too.
    bad: BTreeSet<ObjectKey>,
    /// The newest that is right.
    newest: Option<ObjectKey>,
    /// Blocks that are not there, with the checkpoint that names them.
    absent: Vec<(ObjectKey, ObjectKey)>,
}

impl Checkpoints {
    pub(super) fn new(listed: BTreeMap<Sequence, Vec<ObjectKey>>) -> Self {
        let at = BTreeMap::from([(Sequence::new(0), Sum::default())]);
        Self {
            listed,
            now: Sum::default(),
            at,
            good: BTreeMap::new(),
            bad: BTreeSet::new(),
            newest: None,
            absent: Vec::new(),
        }
    }

    /// Takes in the segments of the next manifest.
    pub(super) fn add(&mut self, manifest: &Manifest) {
        manifest.named_segments().for_each(|segment| self.now.append(segment));
        if self.listed.contains_key(&manifest.sequence) {
            self.at.insert(manifest.sequence, self.now);
        }
    }

    /// Checks the checkpoints of the state's head, after [`Checkpoints::add`] of the head's manifest.
    pub(super) async fn check(&mut self, store: &Store, state: &State, report: &mut Report) {
        let Some(head) = state.head else { return };
        for key in self.listed.remove(&head.sequence).unwrap_or_default() {
            report.counts.checkpoints += 1;
            match read(store, &key).await {
                Err(error) => report.find_object(FindingKind::Unanswered, &key, chain(&error)),
                Ok(Found::Missing) => report.find_object(FindingKind::Missing, &key, "it was listed and is not there"),
                Ok(Found::Damaged(error)) => report.find_document(&key, &error),
                Ok(Found::Good(checkpoint, digest)) => match self.judge(&key, &checkpoint, digest, state) {
                    Ok(block) => {
                        self.newest = Some(key.clone());
                        self.good.insert(key, block);
                        continue;
                    }
                    Err(problem) => report.find_object(FindingKind::Contradiction, &key, problem),
                },
            }
            self.bad.insert(key);
        }
    }

    /// What the newest checkpoint names must be there; what older ones named may have been pruned. Those that are left when the
    /// log has ended are of a log that went on.
    pub(super) fn close(&mut self, state: &State, report: &mut Report) {
        let end = state.head.map_or(0, |head| head.sequence.get());
        for (key, block) in std::mem::take(&mut self.absent) {
            if Some(&key) == self.newest.as_ref() {
                report.find_object(FindingKind::Missing, &block, format!("{key} proves that it existed"));
            }
        }
        for key in std::mem::take(&mut self.listed).into_values().flatten() {
            report.counts.checkpoints += 1;
            let problem =
                format!("the log ends at manifest {end} and does not reach that far: newer manifests were lost");
            report.find_object(FindingKind::Contradiction, &key, problem);
        }
    }

    fn judge(
        &mut self,
        key: &ObjectKey,
        checkpoint: &Checkpoint,
        digest: Sha256,
        state: &State,
    ) -> Result<Block, String> {
        let sequence = state.head.map_or(Sequence::new(0), |head| head.sequence);
        if layout::checkpoint(state.shard, sequence, &digest) != *key {
            return Err("its bytes are not those that its name says".to_owned());
        }
        if checkpoint.state != *state {
            return Err(format!("it is not what the manifests up to {sequence} say"));
        }
        let mut start = Sequence::new(0);
        for block in &checkpoint.blocks {
            if block.from <= start || block.to < block.from || block.to >= sequence {
                return Err(format!("its block {} is out of order", block.object));
            }
            start = block.to;
            self.check_block(key, block, checkpoint.sealed.is_some())?;
        }
        let begins = checkpoint.begins();
        let own = || Block::new(key.clone(), digest, begins, sequence, &checkpoint.segments);
        let before = begins.get().checked_sub(1).map(Sequence::new).and_then(|before| self.at.get(&before));
        let (Some(before), Some(after)) = (before, self.at.get(&sequence)) else {
            // The block before is missing, which was reported, or was pruned.
            return Ok(own());
        };
        let mut sum = *before;
        checkpoint.segments.iter().for_each(|segment| sum.append(segment));
        if sum != *after {
            return Err(format!("it does not list the segments of the manifests from {begins} up to {sequence}"));
        }
        Ok(own())
    }

    /// Holds the description of an older block against what was found there.
    fn check_block(&mut self, key: &ObjectKey, block: &Block, is_sealed: bool) -> Result<(), String> {
        match self.good.get(&block.object) {
            Some(good) if good == block => Ok(()),
            // What it lists still is less, once hours of it are sealed.
            Some(good) if is_sealed && (good.sha256, good.from, good.to) == (block.sha256, block.from, block.to) => {
                Ok(())
            }
            Some(_) => Err(format!("it describes the block {} otherwise than that is", block.object)),
            None if self.bad.contains(&block.object) => Ok(()),
            None => {
                self.absent.push((key.clone(), block.object.clone()));
                Ok(())
            }
        }
    }
}

async fn read(store: &Store, key: &ObjectKey) -> Result<Found<Checkpoint>, StoreError> {
    fetch::document(store, key, true, |bytes| document::unpack(bytes)).await
}
