//! How far the broker is ahead of what is read, and how close retention is behind it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use strimzi_backup_format::ids::{Offset, TimestampMs};
use tokio::time::Instant;

use super::discover::patient;
use super::{Answer, Stream, WATERMARK_SPACING};
use crate::clock::Clock;
use crate::source::{Broker, Refusal, TopicPartition};

/// How long the broker may take to tell watermarks while everything else waits to end.
const LAST_PATIENCE: Duration = Duration::from_secs(3);

/// The high watermarks of the partitions that were read when they were asked for.
#[derive(Debug)]
pub(super) struct Watermarks {
    asked_at: TimestampMs,
    slots: Vec<(u32, TopicPartition)>,
    told: Result<BTreeMap<TopicPartition, Result<Offset, Refusal>>, String>,
}

async fn watermarks<B: Broker>(broker: &B, asked_at: TimestampMs, slots: Vec<(u32, TopicPartition)>) -> Watermarks {
    let partitions: Vec<TopicPartition> = slots.iter().map(|(_, partition)| partition.clone()).collect();
    let told = patient(broker.high_watermarks(&partitions)).await;
    Watermarks { asked_at, slots, told }
}

impl<B: Broker, C: Clock> Stream<B, C> {
    /// Asks for the high watermarks of everything that is read, at most as often as its number allows.
    pub(super) fn ask_watermarks(&mut self) {
        if self.asking_watermarks || Instant::now() < self.next_watermarks {
            return;
        }
        let slots = self.assigned();
        if slots.is_empty() {
            return;
        }
        self.asking_watermarks = true;
        let spacing = WATERMARK_SPACING.saturating_mul(u32::try_from(slots.len()).unwrap_or(u32::MAX));
        self.next_watermarks = Instant::now() + spacing;
        let broker = Arc::clone(&self.parts.broker);
        let asked_at = self.parts.clock.now();
        self.asking.spawn(async move { Answer::Watermarks(watermarks(broker.as_ref(), asked_at, slots).await) });
    }

    /// Looks how close retention is to what is not read yet, while a store that fails holds everything else up: that is when
    /// retention overtakes.
    pub(super) async fn watch_retention(&mut self) {
        let (broker, asked_at, slots) = (Arc::clone(&self.parts.broker), self.parts.clock.now(), self.assigned());
        if slots.is_empty() {
            return;
        }
        let ends = tokio::time::timeout(LAST_PATIENCE, watermarks(broker.as_ref(), asked_at, slots)).await;
        if let Ok(ends) = ends {
            self.take_watermarks(ends);
        }
        let starts = tokio::time::timeout(LAST_PATIENCE, broker.log_starts(&self.lagging())).await;
        if let Ok(Ok(starts)) = starts {
            self.watch_headroom(&starts);
        }
    }

    fn assigned(&self) -> Vec<(u32, TopicPartition)> {
        let buffers = self.parts.buffers.lock();
        buffers.assigned().map(|(slot, key)| (slot, (key.topic.clone(), key.partition))).collect()
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

    pub(super) fn take_watermarks(&mut self, Watermarks { asked_at, slots, told }: Watermarks) {
        let told = match told {
            Ok(told) => told,
            Err(error) => return self.broker_failed(&error),
        };
        self.parts.metrics.kafka_unreachable.set(0);
        let mut buffers = self.parts.buffers.lock();
        for (slot, partition) in slots {
            let high_watermark = told.get(&partition).and_then(|answer| answer.ok());
            buffers.sighted(slot, asked_at, high_watermark);
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
