//! Writing a log: claim, then one manifest after the other, each created once at the next free slot.
//!
//! A step never decides by the store's answer alone: [`create_once`] reads back what stands there. Retrying, backing
//! off and stopping are the caller's: this module has no clock, and each step here is one attempt.

use bytes::Bytes;

use super::invariants::Violation;
use super::reader::Log;
use super::{
    Claim, Frontier, Gap, GroupImage, Hole, Manifest, PartitionPosition, Refined, Retired, Segment, TopicEvent,
};
use crate::bucket::Bucket;
use crate::checkpoint::{Block, Checkpoint, MANIFESTS_PER_BLOCK, RUNS_PER_BLOCK, begins, intake_bytes};
use crate::checksum::Sha256;
use crate::document::{self, FORMAT_VERSION, Kind};
use crate::identity::Identity;
use crate::ids::{Epoch, Nonce, Sequence, Shard, TimestampMs};
use crate::layout::{self, ObjectKey};
use crate::seal::{self, Sealed};
use crate::state::State;
use crate::store::Store;
use crate::store::create_once::{CreateError, Outcome, create_once};

/// How often a slot must hold what may not stand there before that counts as damage: what flipped in transit does not
/// come three times.
const READS: u32 = 3;

/// What one attempt to commit came to, where it is not "committed".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not committed yet, or not known: call again with the same manifest.
    #[error("create {object}")]
    NotYet {
        /// The manifest.
        object: String,
        /// What the store said.
        source: CreateError,
    },
    /// Another writer claimed the log: stop for good.
    #[error("fenced: {object} was created by epoch {theirs}, and this writer has epoch {ours}")]
    Fenced {
        /// The manifest that stands there.
        object: String,
        /// Its epoch.
        theirs: Epoch,
        /// Ours.
        ours: Epoch,
    },
    /// Something stands there that no rightful writer can have put there.
    #[error("{object} stands where this writer's next manifest belongs: {why}")]
    Corrupt {
        /// The object.
        object: String,
        /// Why it cannot be.
        why: String,
    },
    /// The manifest contradicts the log: a bug of the writer, found before anything was written.
    #[error(
        "a fault of this program: its next manifest would break the log. It was not written, and the backup is as it was"
    )]
    Violation(#[from] Violation),
    /// The document could not be encoded, or is larger than any reader takes.
    #[error("encode a document of the log")]
    Encode(#[from] document::Error),
}

impl Error {
    /// Whether the same attempt may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::NotYet { .. })
    }
}

/// What a writer wants to add.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// Segments, all of them complete in the store (P2).
    pub segments: Vec<Segment>,
    /// What consumer groups have committed, complete in the store as well.
    pub group_image: Option<GroupImage>,
    /// Gaps found.
    pub gaps: Vec<Gap>,
    /// Offsets skipped without a record, outside of runs.
    pub holes: Vec<Hole>,
    /// Topic events.
    pub topics: Vec<TopicEvent>,
    /// New positions.
    pub positions: Vec<PartitionPosition>,
    /// Intake segments that topic segments, complete in the store, take the place of.
    pub refined: Option<Refined>,
    /// What is not kept any longer.
    pub retired: Option<Retired>,
    /// Up to when everything is captured.
    pub frontier: Frontier,
}

/// A manifest ready to be created: its bytes do not change from attempt to attempt.
#[derive(Clone, Debug)]
pub struct Prepared {
    manifest: Manifest,
    bytes: Bytes,
}

impl Prepared {
    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

/// The one writer of a shard's log.
#[derive(Debug)]
pub struct LogWriter {
    store: Store,
    shard: Shard,
    epoch: Epoch,
    state: State,
    sealed: Option<Sealed>,
    blocks: Vec<Block>,
    /// The segments since the newest checkpoint: the block that the next one will list.
    open_block: Vec<Segment>,
    open_runs: usize,
}

/// Has `backup.json` there: this one, or the one that stood there. Whose it is, says [`super::reader::open`], which
/// everybody calls next.
///
/// # Errors
/// [`Error::NotYet`].
pub async fn create_identity(store: &Store, identity: &Identity) -> Result<(), Error> {
    let object = layout::identity();
    let bytes = Bytes::from(document::to_json(identity)?);
    match create_once(store.inner.as_ref(), &object.below(&store.prefix), &bytes).await {
        Ok(Outcome::Created | Outcome::Occupied(_)) => Ok(()),
        Err(source) => Err(Error::NotYet { object: object.to_string(), source }),
    }
}

/// Creates an object unless something stands there. What stands there and is not legible is read again before it is
/// believed.
async fn create(
    store: &Store,
    key: &ObjectKey,
    body: &Bytes,
    is_legible: impl Fn(&Bytes) -> bool,
) -> Result<Outcome, Error> {
    let path = key.below(&store.prefix);
    let mut read = 1;
    loop {
        match create_once(store.inner.as_ref(), &path, body).await {
            Ok(Outcome::Occupied(theirs)) if read < READS && !is_legible(&theirs) => read += 1,
            Ok(outcome) => return Ok(outcome),
            Err(source) => return Err(Error::NotYet { object: key.to_string(), source }),
        }
    }
}

/// Creates a document whose digest is in its name: one attempt. Where it stands already, that is as good.
///
/// # Errors
/// [`Error::NotYet`] where it was not written; [`Error::Corrupt`] where other bytes bear its name.
pub(crate) async fn create_derived(store: &Store, key: &ObjectKey, bytes: &Bytes) -> Result<(), Error> {
    match create(store, key, bytes, |theirs| theirs == bytes).await? {
        Outcome::Occupied(theirs) if theirs != *bytes => {
            Err(Error::Corrupt { object: key.to_string(), why: "other bytes bear the name of these".to_owned() })
        }
        Outcome::Created | Outcome::Occupied(_) => Ok(()),
    }
}

fn lowest_timestamp(segments: &[Segment]) -> Option<TimestampMs> {
    segments.iter().flat_map(|segment| &segment.runs).map(|run| run.min_timestamp).min()
}

impl LogWriter {
    /// Prepares to take over `log`: the writer's epoch is the next. Nothing is written before [`LogWriter::commit`]
    /// creates what [`LogWriter::prepare_claim`] gives.
    pub fn new(store: Store, shard: Shard, log: Log) -> Self {
        let Log { state, sealed, blocks, tail, .. } = log;
        let open_block: Vec<Segment> = tail.iter().flat_map(Manifest::named_segments).cloned().collect();
        let open_runs = open_block.iter().map(|segment| segment.runs.len()).sum();
        Self { store, shard, epoch: state.epoch().next(), state, sealed, blocks, open_block, open_runs }
    }

    /// Where it writes: what else belongs into the backup is written there too, sealed where the log is.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What the log says now.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The epoch of this writer.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The manifest that claims the log.
    ///
    /// # Errors
    /// As [`LogWriter::prepare`].
    pub fn prepare_claim(&self, claim: Claim, nonce: Nonce, now: TimestampMs) -> Result<Prepared, Error> {
        let draft = Draft { frontier: self.state.frontier.clone(), ..Draft::default() };
        self.prepare_with(draft, Some(claim), nonce, now)
    }

    /// The next manifest, checked against the log.
    ///
    /// # Errors
    /// [`Error::Violation`] where the draft does not follow from the log; [`Error::Encode`] where the manifest is too large.
    pub fn prepare(&self, draft: Draft, nonce: Nonce, observed_at: TimestampMs) -> Result<Prepared, Error> {
        self.prepare_with(draft, None, nonce, observed_at)
    }

    fn prepare_with(
        &self,
        draft: Draft,
        claim: Option<Claim>,
        nonce: Nonce,
        observed_at: TimestampMs,
    ) -> Result<Prepared, Error> {
        let Draft { segments, group_image, gaps, holes, topics, positions, refined, retired, frontier } = draft;
        let retired = retired.map(|retired| self.bounded(retired, &segments));
        let manifest = Manifest {
            format_version: FORMAT_VERSION,
            kind: Kind::Manifest,
            backup: self.state.backup,
            shard: self.shard,
            sequence: self.state.next_sequence(),
            epoch: self.epoch,
            nonce,
            previous: self.state.next_previous(),
            observed_at,
            claim,
            segments,
            group_image,
            gaps,
            holes,
            topics,
            positions,
            refined,
            retired,
            frontier,
        };
        super::invariants::check(&self.state, &manifest)?;
        let bytes = document::pack(&manifest)?;
        Ok(Prepared { manifest, bytes })
    }

    /// What is to be retired, with bounds that hold for what is not sealed too, and for `added`.
    fn bounded(&self, mut retired: Retired, added: &[Segment]) -> Retired {
        let listed = self.blocks.iter().filter_map(|block| block.min_timestamp);
        let lowest = listed.chain(lowest_timestamp(&self.open_block)).chain(lowest_timestamp(added)).min();
        for start in &mut retired.starts {
            start.lowest_timestamp = lowest.map_or(start.lowest_timestamp, |lowest| lowest.min(start.lowest_timestamp));
        }
        retired
    }

    /// One attempt to create a prepared manifest. On success the state has moved on.
    ///
    /// Not cancel safe in one way only: a dropped call may or may not have created the manifest; calling again with
    /// the same `prepared` finds out.
    ///
    /// # Errors
    /// [`Error::NotYet`]: call again. All others: stop.
    pub async fn commit(&mut self, prepared: &Prepared) -> Result<(), Error> {
        let key = layout::manifest(self.shard, prepared.manifest.sequence);
        let is_manifest = |theirs: &Bytes| document::unpack::<Manifest>(theirs).is_ok();
        match create(&self.store, &key, &prepared.bytes, is_manifest).await? {
            Outcome::Created => self.advance(prepared),
            Outcome::Occupied(theirs) => Err(self.occupied(key.to_string(), &theirs)),
        }
    }

    fn advance(&mut self, prepared: &Prepared) -> Result<(), Error> {
        self.state.fold(&prepared.manifest, Sha256::of(&prepared.bytes))?;
        self.open_runs += prepared.manifest.named_segments().map(|segment| segment.runs.len()).sum::<usize>();
        self.open_block.extend(prepared.manifest.named_segments().cloned());
        Ok(())
    }

    /// Another body stands in our slot: a higher epoch fences us, anything else cannot be.
    fn occupied(&self, object: String, theirs: &Bytes) -> Error {
        match document::unpack::<Manifest>(theirs) {
            Ok(theirs) if theirs.backup == self.state.backup && theirs.epoch > self.epoch => {
                Error::Fenced { object, theirs: theirs.epoch, ours: self.epoch }
            }
            // Not claimed yet: the writer before was still committing, or another one claims at the same moment and drew
            // the same epoch. Who comes second must read again and claim higher.
            Ok(theirs) if theirs.backup == self.state.backup && self.state.epoch() < self.epoch => {
                Error::Fenced { object, theirs: theirs.epoch, ours: self.epoch }
            }
            Ok(theirs) => {
                let why = format!("it has epoch {} of backup {}, ours is {}", theirs.epoch, theirs.backup, self.epoch);
                Error::Corrupt { object, why }
            }
            Err(error) => Error::Corrupt { object, why: error.to_string() },
        }
    }

    /// Whether enough was committed since the newest checkpoint for another.
    pub fn checkpoint_is_due(&self) -> bool {
        let begins = begins(self.sealed.as_ref(), &self.blocks).get();
        let next = self.state.next_sequence().get();
        next.saturating_sub(begins) >= MANIFESTS_PER_BLOCK || self.open_runs >= RUNS_PER_BLOCK
    }

    /// One attempt to write a checkpoint of the present state, unless nothing was committed since the last. The log is right without it, so a failure costs
    /// nothing but the time that the next start takes.
    ///
    /// # Errors
    /// [`Error::NotYet`] where it was not written; [`Error::Corrupt`] where other bytes bear its name; [`Error::Encode`] where it
    /// is too large.
    pub async fn checkpoint(&mut self) -> Result<(), Error> {
        let begins = begins(self.sealed.as_ref(), &self.blocks);
        let Some(head) = self.state.head.filter(|head| begins <= head.sequence) else { return Ok(()) };
        let checkpoint = Checkpoint {
            format_version: FORMAT_VERSION,
            kind: Kind::Checkpoint,
            state: self.state.clone(),
            sealed: self.sealed.clone(),
            blocks: self.blocks.clone(),
            segments: std::mem::take(&mut self.open_block),
        };
        let packed = document::pack(&checkpoint);
        self.open_block = checkpoint.segments;
        let bytes = packed?;
        let digest = Sha256::of(&bytes);
        let key = layout::checkpoint(self.shard, head.sequence, &digest);
        create_derived(&self.store, &key, &bytes).await?;
        self.blocks.push(Block::new(key, digest, begins, head.sequence, &self.open_block));
        self.open_block.clear();
        self.open_runs = 0;
        Ok(())
    }

    /// Whether segments were committed since the newest checkpoint.
    pub fn has_open_block(&self) -> bool {
        !self.open_block.is_empty()
    }

    /// Whether anything was committed since the newest checkpoint.
    pub fn has_news(&self) -> bool {
        begins(self.sealed.as_ref(), &self.blocks) < self.state.next_sequence()
    }

    /// Bytes of the intake segments that are not refined yet.
    pub fn intake_bytes(&self) -> u64 {
        let listed: u64 = self.blocks_to_refine().map(|block| block.intake_bytes).sum();
        listed + intake_bytes(&self.open_block)
    }

    /// The blocks after the last refined manifest, oldest first. What was committed since the newest checkpoint is in none.
    pub fn blocks_to_refine(&self) -> impl Iterator<Item = &Block> {
        let through = self.state.refined.map(|refined| refined.through);
        self.blocks.iter().filter(move |block| Some(block.to) > through)
    }

    /// What may be sealed of the hours before `before`; `None` where all is. What was committed since the newest checkpoint is
    /// not.
    pub fn to_seal(&self, before: Bucket) -> Option<seal::Order> {
        let (sealed, store) = (self.sealed.clone(), self.store.clone());
        seal::Order::new(store, self.state.clone(), sealed, &self.blocks, before)
    }

    /// What is sealed, as the next checkpoint will have it.
    pub fn sealed_buckets(&self) -> Option<&Sealed> {
        self.sealed.as_ref()
    }

    /// Forgets bucket manifests that list nothing any more.
    pub fn emptied(&mut self, buckets: &[ObjectKey]) {
        if let Some(sealed) = &mut self.sealed {
            sealed.buckets.retain(|bucket| !buckets.contains(&bucket.object));
        }
    }

    /// Takes what was sealed for the next checkpoint.
    pub fn sealed(&mut self, done: seal::Done) {
        let later = self.blocks.iter().filter(|block| block.to > done.sealed.through).cloned();
        self.blocks = done.left.into_iter().chain(later).collect();
        self.sealed = Some(done.sealed);
    }

    /// The sequence that the next manifest will have: part of the names of its segments.
    pub fn next_sequence(&self) -> Sequence {
        self.state.next_sequence()
    }
}

#[cfg(test)]
mod tests;
