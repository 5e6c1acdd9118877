//! Which life of a topic a cut belongs to: the look at the topic ids between fetching and encoding.
//!
//! The client goes on silently in a re-created topic. Topic ids are never used twice, so records that were fetched while
//! the id was known, and before the same id is seen again, are of that life. Where another id is seen, the records are
//! dropped and fetched again from the start, in the new life.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use strimzi_backup_format::bucket::Bucket;
use strimzi_backup_format::groups::RowKind;
use strimzi_backup_format::ids::{TimestampMs, TopicName};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{InFlight, Stream, Unsettled, topics_of};
use crate::budget::Charge;
use crate::clock::Clock;
use crate::error::Error;
use crate::pipeline::plan::plan;
use crate::pipeline::produce::{Order, produce};
use crate::source::buffers::PartitionCut;
use crate::source::{Broker, Described, Refusal};

/// How long the broker may take to tell topic ids before the cut is left for the next tick.
const PATIENCE: Duration = Duration::from_secs(5);

/// For how long, beyond the time between two looks at the topics, an id that was seen speaks for what is fetched.
const CONFIRMED_FOR: Duration = Duration::from_secs(10);

/// What to do with the records of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// They are of the life they were fetched for.
    Keep,
    /// They are of another life, or it cannot be told: fetch them again.
    Drop,
}

impl<B: Broker, C: Clock> Stream<B, C> {
    /// Confirms the topic ids of the waiting cut and sends it on its way. Leaves it waiting where the broker does not
    /// answer.
    pub(super) async fn settle(&mut self) -> Result<(), Error> {
        let Some(Unsettled { parts, observed_at, mut charge }) = self.unsettled.take() else { return Ok(()) };
        let topics = topics_of(parts.iter().map(|part| &part.key));
        let asked = Instant::now();
        let answers = match self.describe(&topics).await {
            Ok(answers) => answers,
            Err(()) => {
                self.unsettled = Some(Unsettled { parts, observed_at, charge });
                return Ok(());
            }
        };
        self.confirm(&answers, asked);
        let (kept, dropped): (Vec<PartitionCut>, _) =
            parts.into_iter().partition(|part| self.verdict(part, answers.get(&part.key.topic)) == Verdict::Keep);
        self.refetch(&dropped);
        drop(dropped);
        charge.shrink_to(kept.iter().map(|part| part.charged).sum());
        self.send(kept, observed_at, charge);
        Ok(())
    }

    async fn describe(&self, topics: &[TopicName]) -> Result<BTreeMap<TopicName, Result<Described, Refusal>>, ()> {
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        match tokio::time::timeout(PATIENCE, self.parts.broker.describe(topics)).await {
            Ok(Ok(answers)) => {
                self.parts.metrics.kafka_unreachable.set(0);
                Ok(answers)
            }
            Ok(Err(error)) => {
                self.broker_failed(&crate::error::chain(&error));
                Err(())
            }
            Err(_) => {
                self.broker_failed("topic ids: no answer in time");
                Err(())
            }
        }
    }

    /// Notes which topics were seen under the id we know, in an answer to a question asked at `asked`.
    pub(super) fn confirm(&mut self, answers: &BTreeMap<TopicName, Result<Described, Refusal>>, asked: Instant) {
        for topic in answers.keys() {
            if self.is_same_life(topic, answers) {
                let at = self.confirmed.entry(topic.clone()).or_insert(asked);
                *at = asked.max(*at);
            }
        }
    }

    /// Whether the broker told the topic's id, and it is the one that we know.
    pub(super) fn is_same_life(
        &self,
        topic: &TopicName,
        answers: &BTreeMap<TopicName, Result<Described, Refusal>>,
    ) -> bool {
        answers.get(topic).is_some_and(|told| told.as_ref().is_ok_and(|seen| self.catalog.id(topic) == Some(&seen.id)))
    }

    /// Whether a topic was seen under the id we know so lately that a life between then and now would have been seen too.
    fn is_confirmed(&self, topic: &TopicName) -> bool {
        let for_how_long = self.parts.settings.metadata_interval + CONFIRMED_FOR;
        self.confirmed.get(topic).is_some_and(|at| at.elapsed() < for_how_long)
    }

    fn verdict(&self, part: &PartitionCut, answer: Option<&Result<Described, Refusal>>) -> Verdict {
        match answer {
            _ if !self.catalog.is_current(&part.key) => Verdict::Drop,
            Some(Ok(seen)) if self.catalog.id(&part.key.topic) == Some(&seen.id) => Verdict::Keep,
            // The topic is gone. Seen a moment ago, its last records are of the life we know. After a longer silence it may
            // have been re-created meanwhile, and deleted again.
            Some(Err(Refusal::Unknown)) if self.is_confirmed(&part.key.topic) => Verdict::Keep,
            _ => Verdict::Drop,
        }
    }

    /// Forgets what was fetched of these partitions; the next look at the cluster assigns them again.
    fn refetch(&mut self, dropped: &[PartitionCut]) {
        if dropped.is_empty() {
            return;
        }
        for part in dropped {
            tracing::warn!(partition = %part.key, "topic id not confirmed; fetching again");
        }
        let partitions: Vec<_> = dropped.iter().map(|part| (part.key.topic.clone(), part.key.partition)).collect();
        if let Err(error) = self.parts.broker.unassign(&partitions) {
            tracing::warn!(error = crate::error::chain(&error), "stop fetching");
        }
        for part in dropped {
            let Some(closed) = self.parts.buffers.lock().close(part.slot) else { continue };
            self.parts.budget.release(closed.charged);
            if let Some(end) = closed.high_watermark {
                self.unconfirmed_ends.insert(part.key.clone(), end);
            }
        }
        self.ask_topics();
    }

    /// Encodes and uploads in a task of its own, and queues the commit.
    fn send(&mut self, mut parts: Vec<PartitionCut>, observed_at: TimestampMs, charge: Charge) {
        for part in &parts {
            self.suspects.remove(&part.key);
            self.told_faults.remove(&part.key);
            self.returning.remove(&part.key);
            if let Some(start) = self.ledger.get_mut(&part.key) {
                start.offset = part.next;
                start.last_record = part.last_record;
                start.highest_timestamp = part.highest_timestamp;
                start.filed = part.filed;
            }
        }
        let bucket = Bucket::of(observed_at);
        for part in &mut parts {
            self.parts.groups.take(&mut part.offsets);
        }
        let cut = plan(parts, self.policy, bucket, |topic| self.parts.workshop.store.topic_dir(topic));
        let unreadable = cut.offsets.iter().flat_map(|run| &run.rows).filter(|row| row.kind == RowKind::Raw);
        self.parts.metrics.group_unreadable.inc_by(unreadable.count() as u64);
        let mut draft = self.draft();
        let image = self.parts.groups.image(bucket);
        let moved: BTreeSet<_> = cut.positions.iter().map(|position| position.key()).collect();
        draft.positions.retain(|position| !moved.contains(&position.key()));
        draft.positions.extend(cut.positions);
        draft.holes.extend(cut.holes);
        let sequence = self.sequence_after_flight();
        let order = Order { segments: cut.segments, offsets: cut.offsets, image, bucket };
        let work = produce(Arc::clone(&self.parts.workshop), order, sequence, charge);
        let produced = AbortOnDropHandle::new(tokio::spawn(work));
        self.in_flight.push_back(InFlight { produced, draft, observed_at, cut_at: Instant::now() });
    }
}
