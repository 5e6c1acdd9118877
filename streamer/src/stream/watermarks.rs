//! How far the broker is ahead of what is read, and how close retention is behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use strimzi_backup_format::ids::{Offset, TimestampMs, TopicName};
use tokio::time::Instant;

use super::discover::{Scope, describe_all, patient};
use super::{Answer, Stream, WATERMARK_SPACING};
use crate::clock::Clock;
use crate::source::{Broker, Described, Refusal, TopicPartition};

/// How long the broker may take to tell watermarks while everything else waits to end.
const LAST_PATIENCE: Duration = Duration::from_secs(3);

/// A question for the high watermarks of everything that is read.
#[derive(Debug)]
pub(super) struct Question {
    asked_at: TimestampMs,
    asked: Instant,
    /// How far each slot was filled.
    slots: Vec<(u32, TopicPartition, Offset)>,
    known: BTreeSet<TopicName>,
    scope: Scope,
}

/// The answer.
#[derive(Debug)]
pub(super) struct Watermarks {
    question: Question,
    told: Result<Told, String>,
}

#[derive(Debug)]
struct Told {
    high_watermarks: BTreeMap<TopicPartition, Result<Offset, Refusal>>,
    described: BTreeMap<TopicName, Result<Described, Refusal>>,
}

impl Question {
    /// Topic ids are asked for after the watermarks. Ids are never used twice: seen under the same id before and after, a
    /// topic was of that life in between. And topics and partitions that nobody knows yet have no watermark to be asked for.
    async fn ask<B: Broker>(self, broker: &B) -> Watermarks {
        let partitions: Vec<TopicPartition> = self.slots.iter().map(|(_, partition, _)| partition.clone()).collect();
        let told = patient(async {
            let high_watermarks = broker.high_watermarks(&partitions).await?;
            let described = describe_all(broker, self.known.clone(), &self.scope).await?;
            Ok(Told { high_watermarks, described })
        });
        let told = told.await;
        Watermarks { question: self, told }
    }
}

impl<B: Broker, C: Clock> Stream<B, C> {
    /// Asks for the high watermarks of everything that is read, at most as often as its number allows.
    pub(super) fn ask_watermarks(&mut self) {
        if self.asking_watermarks || Instant::now() < self.next_watermarks {
            return;
        }
        let Some(question) = self.question() else { return };
        self.asking_watermarks = true;
        let spacing = WATERMARK_SPACING.saturating_mul(u32::try_from(question.slots.len()).unwrap_or(u32::MAX));
        self.next_watermarks = Instant::now() + spacing;
        let broker = Arc::clone(&self.parts.broker);
        self.asking.spawn(async move { Answer::Watermarks(question.ask(broker.as_ref()).await) });
    }

    fn question(&self) -> Option<Question> {
        let slots: Vec<_> = {
            let buffers = self.parts.buffers.lock();
            let filled = buffers.positions();
            filled.map(|(slot, key, position)| (slot, (key.topic.clone(), key.partition), position)).collect()
        };
        let (asked_at, asked) = (self.parts.clock.now(), Instant::now());
        let known = self.catalog.live().cloned().collect();
        let scope = Scope::of(&self.parts);
        (!slots.is_empty()).then_some(Question { asked_at, asked, slots, known, scope })
    }

    /// Looks how close retention is to what is not read yet, while a store that fails holds everything else up: that is when
    /// retention overtakes.
    pub(super) async fn watch_retention(&mut self) {
        let broker = Arc::clone(&self.parts.broker);
        let Some(question) = self.question() else { return };
        if let Ok(ends) = tokio::time::timeout(LAST_PATIENCE, question.ask(broker.as_ref())).await {
            self.take_watermarks(ends);
        }
        let starts = tokio::time::timeout(LAST_PATIENCE, broker.log_starts(&self.lagging())).await;
        if let Ok(Ok(starts)) = starts {
            self.watch_headroom(&starts);
        }
    }

    pub(super) fn lagging(&self) -> Vec<TopicPartition> {
        let lagging = self.parts.buffers.lock().lagging();
        lagging.into_iter().map(|(_, key)| (key.topic, key.partition)).collect()
    }

    /// A last look at the watermarks, so that the log ends with what it really holds up to.
    pub(super) async fn sight_once_more(&mut self) {
        self.asking_watermarks = false;
        self.next_watermarks = Instant::now();
        self.ask_watermarks();
        if let Ok(Some(Ok(Answer::Watermarks(watermarks)))) =
            tokio::time::timeout(LAST_PATIENCE, self.asking.join_next()).await
        {
            self.take_watermarks(watermarks);
        }
    }

    pub(super) fn take_watermarks(&mut self, Watermarks { question, told }: Watermarks) {
        let Told { high_watermarks, described } = match told {
            Ok(told) => told,
            Err(error) => return self.broker_failed(&error),
        };
        self.parts.metrics.kafka_unreachable.set(0);
        self.confirm(&described, question.asked);
        {
            let mut buffers = self.parts.buffers.lock();
            for (slot, partition, position) in question.slots {
                let told = high_watermarks.get(&partition).and_then(|answer| answer.ok());
                let told = told.filter(|_| self.is_same_life(&partition.0, &described));
                buffers.sighted(slot, question.asked_at, position, told);
            }
        }
        if self.catalog.covers(&described) {
            self.watched_at = self.watched_at.max(Some(question.asked_at));
        } else {
            self.ask_topics();
        }
    }

    /// Warns of partitions that retention is about to overtake: the last moment to do something about a gap.
    pub(super) fn watch_headroom(&self, log_starts: &BTreeMap<TopicPartition, Result<Offset, Refusal>>) {
        let mut buffers = self.parts.buffers.lock();
        let mut low = 0;
        for (slot, key) in buffers.lagging() {
            let log_start = log_starts.get(&(key.topic.clone(), key.partition)).copied().and_then(Result::ok);
            if log_start.is_some_and(|log_start| buffers.headroom_is_low(slot, log_start)) {
                tracing::warn!(partition = %key, "HeadroomLow: retention is about to delete what is not read yet");
                low += 1;
            }
        }
        self.parts.metrics.headroom_low.set(low);
    }
}
