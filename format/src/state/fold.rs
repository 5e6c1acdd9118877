//! Taking manifests in, one after the other.

use std::collections::BTreeMap;

use super::{
    Base, CLAIMS_KEPT, ClaimRecord, DESCRIPTIONS_KEPT, Earlier, GroupImageAt, Head, Interval, Life, Position,
    Refinement, Retirement, State, TopicState,
};
use crate::checksum::Sha256;
use crate::ids::{Offset, PartitionId, PartitionKey, TimestampMs};
use crate::manifest::invariants::{self, Violation};
use crate::manifest::{Manifest, PartitionPosition, Retired, TopicDescription, TopicEvent, TopicEventKind};

impl State {
    /// Checks `manifest` against this state and takes it in. `digest` is that of its stored bytes.
    ///
    /// # Errors
    /// [`Violation`]; the state is then unchanged.
    pub fn fold(&mut self, manifest: &Manifest, digest: Sha256) -> Result<(), Violation> {
        invariants::check(self, manifest)?;
        for event in &manifest.topics {
            self.fold_topic(event, manifest.observed_at);
        }
        self.totals = invariants::totals(self, manifest).unwrap_or(self.totals);
        let bases = invariants::bases(manifest);
        let mut seen = BTreeMap::new();
        for segment in &manifest.segments {
            for run in &segment.runs {
                let (lowest, rows) = seen.entry(run.key()).or_insert((run.min_timestamp, 0_u64));
                *lowest = run.min_timestamp.min(*lowest);
                *rows = rows.saturating_add(run.rows);
            }
        }
        for position in &manifest.positions {
            let key = position.key();
            let base = bases.get(&key).copied().unwrap_or(position.next_offset);
            let seen = seen.remove(&key);
            self.fold_position(key, position, base, seen);
        }
        self.gaps.extend(manifest.gaps.iter().cloned());
        if let Some(refined) = &manifest.refined {
            self.refined = Some(Refinement { through: refined.through, observed_at: manifest.observed_at });
        }
        if let Some(retired) = &manifest.retired {
            self.fold_retired(retired, manifest);
        }
        self.fold_head(manifest, digest);
        Ok(())
    }

    fn fold_retired(&mut self, retired: &Retired, manifest: &Manifest) {
        let Manifest { sequence: added, observed_at, .. } = *manifest;
        let Retired { before, starts, group_images_before, .. } = retired;
        let mut bases = retired.bases();
        for start in starts {
            let Some(held) = self.positions.get_mut(&start.key()) else { continue };
            let base = bases.remove(&start.key());
            held.first_offset = start.first_offset;
            held.base = base.map(|(sequence, _)| Base { sequence, added });
            held.rows = held.rows.saturating_sub(start.rows).saturating_add(base.map_or(0, |(_, rows)| rows));
            held.lowest_timestamp = held.lowest_timestamp.map(|_| start.lowest_timestamp).filter(|_| held.rows > 0);
        }
        if let Some(first) = *group_images_before {
            self.group_images.retain(|image| image.sequence >= first);
        }
        let positions = &self.positions;
        self.gaps
            .retain(|gap| positions.get(&gap.key()).is_none_or(|held| held.first_offset < gap.range.next_offset()));
        self.retired = Some(Retirement { before: *before, observed_at });
    }

    fn fold_head(&mut self, manifest: &Manifest, digest: Sha256) {
        let Manifest { sequence, epoch, observed_at, .. } = *manifest;
        if let Some(claim) = &manifest.claim {
            self.claims.push(ClaimRecord { epoch, writer: claim.writer.clone(), observed_at });
            let surplus = self.claims.len().saturating_sub(CLAIMS_KEPT);
            self.claims.drain(..surplus);
        }
        self.frontier = manifest.frontier.clone();
        if let Some(image) = manifest.group_image.clone() {
            self.group_images.push(GroupImageAt { sequence, observed_at, until: self.frontier.groups_until(), image });
        }
        let mut of_records = self.frontier.behind.iter().filter(|behind| !behind.topic.is_consumer_offsets());
        let first_copies = of_records.any(|behind| behind.until.is_none());
        if self.complete_since.is_none() && !first_copies {
            self.complete_since = self.frontier.until;
        }
        self.head = Some(Head { sequence, sha256: digest, epoch, observed_at });
    }

    fn fold_position(
        &mut self,
        key: PartitionKey,
        new: &PartitionPosition,
        base: Offset,
        seen: Option<(TimestampMs, u64)>,
    ) {
        let held = self.positions.entry(key).or_insert(Position {
            first_offset: base,
            base: None,
            next_offset: base,
            last_record: None,
            highest_timestamp: None,
            filed: None,
            lowest_timestamp: None,
            rows: 0,
        });
        held.next_offset = new.next_offset;
        held.last_record = new.last_record;
        held.highest_timestamp = new.highest_timestamp;
        held.filed = new.filed;
        if let Some((low, rows)) = seen {
            held.lowest_timestamp = Some(held.lowest_timestamp.map_or(low, |held| held.min(low)));
            held.rows = held.rows.saturating_add(rows);
        }
    }

    fn fold_topic(&mut self, event: &TopicEvent, at: TimestampMs) {
        let topic = self.topics.entry(event.topic.clone()).or_insert_with(|| TopicState {
            lives: Vec::new(),
            current: BTreeMap::new(),
            description: TopicDescription {
                partitions: 0,
                replication_factor: 0,
                config: BTreeMap::new(),
                inherited: BTreeMap::new(),
            },
            earlier: Vec::new(),
            selected: vec![Interval { from: at, until: None }],
        });
        match event.event {
            TopicEventKind::Added | TopicEventKind::Recreated => {
                topic.current.clear();
                topic.lives.push(Life {
                    topic_id: event.topic_id.clone(),
                    began: event.event,
                    since: at,
                    deleted: None,
                });
            }
            TopicEventKind::Truncated => {
                let life = Life { topic_id: event.topic_id.clone(), began: event.event, since: at, deleted: None };
                topic.lives.push(life);
                if let Some(partition) = event.partition {
                    topic.current.insert(partition, event.lineage);
                }
            }
            TopicEventKind::Deleted => {
                for life in topic.lives.iter_mut().filter(|life| life.topic_id == event.topic_id) {
                    life.deleted = Some(at);
                }
            }
            TopicEventKind::Excluded => {
                if let Some(interval) = topic.selected.last_mut() {
                    interval.until = Some(at);
                }
            }
            TopicEventKind::Included => topic.selected.push(Interval { from: at, until: None }),
            // A topic that was taken for deleted and is there again under its id was never gone.
            TopicEventKind::Changed => {
                for life in topic.lives.iter_mut().filter(|life| life.topic_id == event.topic_id) {
                    life.deleted = None;
                }
            }
        }
        if let Some(description) = &event.description {
            let before = std::mem::replace(&mut topic.description, description.clone());
            if before != topic.description && before.partitions > 0 {
                topic.earlier.push(Earlier { until: at, description: before });
                let surplus = topic.earlier.len().saturating_sub(DESCRIPTIONS_KEPT);
                topic.earlier.drain(..surplus);
            }
            for number in 0..i32::try_from(description.partitions).unwrap_or(i32::MAX) {
                topic.current.entry(PartitionId::new(number)).or_insert(event.lineage);
            }
        }
    }
}
