//! What topics there are and which life each of their partitions is in, ahead of the log by what is not committed yet.
//!
//! Pure: looks at the broker go in, topic events for the log come out, and [`Catalog::wanted`] says what must be read.

use std::collections::{BTreeMap, BTreeSet};

use strimzi_backup_format::ids::{Lineage, PartitionId, PartitionKey, TopicId, TopicName};
use strimzi_backup_format::manifest::{TopicDescription, TopicEvent, TopicEventKind};
use strimzi_backup_format::state::State;

use super::{Described, Refusal, TopicConfig};

/// Where a partition that was never captured begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// It was there before the backup, or is read anew: at the log's start, whatever went before is no loss of ours.
    LogStart,
    /// Its topic was not to be seen at an earlier look. Where its log starts at 0, it is new; otherwise it was there all
    /// along and hidden from us, and begins at the log's start.
    Appeared,
    /// It came into being while we watched: at offset 0, and what is gone by now is a gap.
    Zero,
}

/// Topics, their lives, and the events that the log has yet to hear of.
#[derive(Debug, Default)]
pub struct Catalog {
    topics: BTreeMap<TopicName, Entry>,
    begins: BTreeMap<PartitionKey, Begin>,
    events: Vec<TopicEvent>,
    /// Whether one look at the whole cluster has succeeded: what appears afterwards is new.
    watched: bool,
}

#[derive(Debug)]
struct Entry {
    id: TopicId,
    lives: i32,
    current: BTreeMap<PartitionId, Lineage>,
    description: TopicDescription,
    selected: bool,
    deleted: bool,
}

impl Catalog {
    /// As the log has it. `inherits` says of which partitions without a position the log claims that they are captured up
    /// to some instant: they appeared after it.
    pub fn from_state(state: &State, inherits: impl Fn(&PartitionKey) -> bool) -> Self {
        let topics = state.topics.iter().filter_map(|(name, topic)| {
            let (_, life) = topic.newest();
            let life = life?;
            let entry = Entry {
                id: life.topic_id.clone(),
                lives: topic.next_lineage().get(),
                current: topic.current.clone(),
                description: topic.description.clone(),
                selected: topic.is_selected(),
                deleted: life.deleted.is_some(),
            };
            Some((name.clone(), entry))
        });
        Self { topics: topics.collect(), begins: begins(state, inherits), ..Self::default() }
    }

    /// The topics that are selected and, as far as is known, exist.
    pub fn live(&self) -> impl Iterator<Item = &TopicName> {
        self.topics.iter().filter(|(_, entry)| entry.selected && !entry.deleted).map(|(name, _)| name)
    }

    /// The id a topic has in its present life.
    pub fn id(&self, topic: &TopicName) -> Option<&TopicId> {
        self.topics.get(topic).map(|entry| &entry.id)
    }

    /// What a topic is like.
    pub fn description(&self, topic: &TopicName) -> Option<&TopicDescription> {
        self.topics.get(topic).map(|entry| &entry.description)
    }

    /// Every partition that must be read now.
    pub fn wanted(&self) -> BTreeSet<PartitionKey> {
        let live = self.topics.iter().filter(|(_, entry)| entry.selected && !entry.deleted);
        live.flat_map(|(topic, entry)| {
            entry.current.iter().map(|(partition, lineage)| PartitionKey {
                topic: topic.clone(),
                lineage: *lineage,
                partition: *partition,
            })
        })
        .collect()
    }

    /// Where a partition begins that was never captured.
    pub fn begin(&self, key: &PartitionKey) -> Begin {
        self.begins.get(key).copied().unwrap_or(Begin::LogStart)
    }

    /// Whether the topic of `key` went with everything in it, as opposed to being excluded.
    pub fn is_gone(&self, key: &PartitionKey) -> bool {
        self.topics.get(&key.topic).is_none_or(|entry| {
            entry.deleted || entry.current.get(&key.partition).is_some_and(|current| *current != key.lineage)
        })
    }

    /// The partitions of topics that were selected again by the last [`Catalog::select`].
    pub fn returned(&self) -> BTreeSet<PartitionKey> {
        let returned: BTreeSet<&TopicName> = self
            .events
            .iter()
            .filter(|event| event.event == TopicEventKind::Included)
            .map(|event| &event.topic)
            .collect();
        self.wanted().into_iter().filter(|key| returned.contains(&key.topic)).collect()
    }

    /// Whether `key` is the present life of its partition.
    pub fn is_current(&self, key: &PartitionKey) -> bool {
        self.topics.get(&key.topic).is_some_and(|entry| entry.current.get(&key.partition) == Some(&key.lineage))
    }

    /// Takes in which topics are selected. Topics that are no longer selected stop; those selected again go on.
    pub fn select(&mut self, selects: impl Fn(&TopicName) -> bool) {
        for (topic, entry) in &mut self.topics {
            let selected = selects(topic);
            if selected != entry.selected {
                entry.selected = selected;
                let kind = if selected { TopicEventKind::Included } else { TopicEventKind::Excluded };
                self.events.push(entry.event(topic, kind));
            }
        }
    }

    /// Takes in what the broker says of a selected topic.
    pub fn observe(&mut self, topic: &TopicName, seen: &Described, config: &TopicConfig) {
        let description = TopicDescription {
            partitions: seen.partitions,
            replication_factor: seen.replication_factor,
            config: config.own.clone(),
            inherited: config.inherited.clone(),
        };
        match self.topics.get_mut(topic) {
            None => {
                let begin = if self.watched { Begin::Appeared } else { Begin::LogStart };
                let mut entry = Entry {
                    id: seen.id.clone(),
                    lives: 0,
                    current: BTreeMap::new(),
                    description,
                    selected: true,
                    deleted: false,
                };
                entry.live_anew(topic, begin, &mut self.begins);
                self.events.push(entry.event(topic, TopicEventKind::Added));
                self.topics.insert(topic.clone(), entry);
            }
            Some(entry) if entry.id != seen.id => {
                entry.id = seen.id.clone();
                entry.description = description;
                entry.deleted = false;
                entry.live_anew(topic, Begin::Zero, &mut self.begins);
                self.events.push(entry.event(topic, TopicEventKind::Recreated));
            }
            Some(entry) if entry.description != description || entry.deleted => {
                entry.description = description;
                entry.deleted = false;
                entry.grow(topic, &mut self.begins);
                self.events.push(entry.event(topic, TopicEventKind::Changed));
            }
            Some(_) => {}
        }
    }

    /// Whether nothing is left to take in of what the broker says: each topic is known as it is described. One that may
    /// not be seen does not exist for us; one that is listed and for the moment not described may be anything.
    pub fn covers<'a>(
        &self,
        described: impl IntoIterator<Item = (&'a TopicName, &'a Result<Described, Refusal>)>,
    ) -> bool {
        described.into_iter().all(|(topic, told)| match (self.topics.get(topic), told) {
            (Some(entry), Ok(seen)) => {
                !entry.deleted && entry.id == seen.id && entry.description.partitions == seen.partitions
            }
            // What is known of it stands still, and counts as out of reach.
            (Some(_), Err(_)) | (None, Err(Refusal::Denied)) => true,
            // It is asked for although nobody lists it: there is none before the first commit of a group.
            (None, Err(Refusal::Unknown)) if topic.is_consumer_offsets() => true,
            (None, _) => false,
        })
    }

    /// One look at the whole cluster is done.
    pub fn watched(&mut self) {
        self.watched = true;
    }

    /// The broker says that a topic does not exist.
    pub fn deleted(&mut self, topic: &TopicName) {
        if let Some(entry) = self.topics.get_mut(topic).filter(|entry| !entry.deleted) {
            entry.deleted = true;
            self.events.push(entry.event(topic, TopicEventKind::Deleted));
        }
    }

    /// A partition's log was cut back below what was captured: it starts a life of its own, read from its log's start.
    pub fn truncated(&mut self, key: &PartitionKey) -> Option<PartitionKey> {
        let entry = self.topics.get_mut(&key.topic)?;
        let next_life = PartitionKey { lineage: Lineage::new(entry.lives), ..key.clone() };
        entry.lives += 1;
        entry.current.insert(key.partition, next_life.lineage);
        self.begins.insert(next_life.clone(), Begin::LogStart);
        let event = TopicEvent {
            lineage: next_life.lineage,
            partition: Some(key.partition),
            description: None,
            ..entry.event(&key.topic, TopicEventKind::Truncated)
        };
        self.events.push(event);
        Some(next_life)
    }

    /// The events that the log has not heard of; forgotten here, so the caller must commit them.
    pub fn take_events(&mut self) -> Vec<TopicEvent> {
        std::mem::take(&mut self.events)
    }

    /// Whether there are events that the log has not heard of.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }
}

/// Where the partitions begin that the log knows of, and nothing of theirs.
fn begins(state: &State, inherits: impl Fn(&PartitionKey) -> bool) -> BTreeMap<PartitionKey, Begin> {
    let keys = state.topics.iter().flat_map(|(name, topic)| {
        topic.current.iter().filter_map(move |(partition, lineage)| {
            let life = topic.lives.get(usize::try_from(lineage.get()).ok()?)?;
            let key = PartitionKey { topic: name.clone(), lineage: *lineage, partition: *partition };
            Some((key, life.began))
        })
    });
    let unread = keys.filter(|(key, _)| state.position(key).is_none());
    let begin = |(key, began): (PartitionKey, TopicEventKind)| match began {
        TopicEventKind::Recreated => Some((key, Begin::Zero)),
        TopicEventKind::Added if inherits(&key) => Some((key, Begin::Appeared)),
        _ => None,
    };
    unread.filter_map(begin).collect()
}

impl Entry {
    fn event(&self, topic: &TopicName, event: TopicEventKind) -> TopicEvent {
        TopicEvent {
            topic: topic.clone(),
            lineage: Lineage::new(self.lives - 1),
            event,
            topic_id: self.id.clone(),
            partition: None,
            description: Some(self.description.clone()),
        }
    }

    fn live_anew(&mut self, topic: &TopicName, begin: Begin, begins: &mut BTreeMap<PartitionKey, Begin>) {
        let lineage = Lineage::new(self.lives);
        self.lives += 1;
        self.current.clear();
        for partition in self.partitions() {
            self.current.insert(partition, lineage);
            begins.insert(PartitionKey { topic: topic.clone(), lineage, partition }, begin);
        }
    }

    fn grow(&mut self, topic: &TopicName, begins: &mut BTreeMap<PartitionKey, Begin>) {
        let lineage = Lineage::new(self.lives - 1);
        for partition in self.partitions() {
            if let std::collections::btree_map::Entry::Vacant(new) = self.current.entry(partition) {
                new.insert(lineage);
                begins.insert(PartitionKey { topic: topic.clone(), lineage, partition }, Begin::Zero);
            }
        }
    }

    fn partitions(&self) -> impl Iterator<Item = PartitionId> + use<> {
        (0..i32::try_from(self.description.partitions).unwrap_or(i32::MAX)).map(PartitionId::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> TopicName {
        TopicName::new(name).expect("legal")
    }

    fn described(id: &str, partitions: u32) -> Described {
        Described { id: TopicId::new(id), partitions, replication_factor: 1 }
    }

    fn key(name: &str, lineage: i32, partition: i32) -> PartitionKey {
        PartitionKey { topic: topic(name), lineage: Lineage::new(lineage), partition: PartitionId::new(partition) }
    }

    fn kinds(catalog: &mut Catalog) -> Vec<TopicEventKind> {
        catalog.take_events().iter().map(|event| event.event).collect()
    }

    #[test]
    fn a43_new_partitions_begin_at_zero() {
        let mut catalog = Catalog::default();
        catalog.observe(&topic("a"), &described("x", 1), &TopicConfig::default());
        catalog.watched();
        assert_eq!(catalog.begin(&key("a", 0, 0)), Begin::LogStart);
        catalog.observe(&topic("a"), &described("x", 3), &TopicConfig::default());
        assert_eq!(catalog.begin(&key("a", 0, 2)), Begin::Zero);
        assert_eq!(catalog.wanted().len(), 3);
        assert_eq!(kinds(&mut catalog), [TopicEventKind::Added, TopicEventKind::Changed]);
        catalog.observe(&topic("a"), &described("x", 3), &TopicConfig::default());
        assert!(!catalog.has_events());
    }

    #[test]
    fn what_appears_later_is_new_or_was_hidden() {
        let mut catalog = Catalog::default();
        catalog.observe(&topic("a"), &described("x", 1), &TopicConfig::default());
        catalog.watched();
        catalog.observe(&topic("b"), &described("y", 1), &TopicConfig::default());
        assert_eq!(catalog.begin(&key("b", 0, 0)), Begin::Appeared);
        catalog.observe(&topic("b"), &described("z", 1), &TopicConfig::default());
        assert_eq!(catalog.begin(&key("b", 1, 0)), Begin::Zero);
    }

    #[test]
    fn a_look_is_complete_only_if_it_brings_nothing_new_and_leaves_nothing_out() {
        let mut catalog = Catalog::default();
        catalog.observe(&topic("a"), &described("x", 1), &TopicConfig::default());
        let covers = |told| catalog.covers([(&topic("a"), &Ok(described("x", 1))), (&topic("b"), &told)]);
        assert!(covers(Err(Refusal::Denied)));
        assert!(!covers(Err(Refusal::Unavailable)) && !covers(Err(Refusal::Unknown)));
        assert!(!covers(Ok(described("y", 1))));
        let covers = |told| catalog.covers([(&topic("a"), &told)]);
        assert!(covers(Ok(described("x", 1))) && covers(Err(Refusal::Unavailable)));
        assert!(!covers(Ok(described("x", 2))) && !covers(Ok(described("y", 1))));
        catalog.deleted(&topic("a"));
        assert!(!catalog.covers([(&topic("a"), &Ok(described("x", 1)))]));
    }

    #[test]
    fn a42_a_re_created_topic_lives_anew_in_every_partition() {
        let mut catalog = Catalog::default();
        catalog.observe(&topic("a"), &described("x", 2), &TopicConfig::default());
        catalog.deleted(&topic("a"));
        assert!(catalog.wanted().is_empty());
        catalog.observe(&topic("a"), &described("y", 1), &TopicConfig::default());
        assert_eq!(catalog.wanted().into_iter().collect::<Vec<_>>(), [key("a", 1, 0)]);
        assert!(catalog.is_gone(&key("a", 0, 0)));
        let kinds = kinds(&mut catalog);
        assert_eq!(kinds, [TopicEventKind::Added, TopicEventKind::Deleted, TopicEventKind::Recreated]);
    }

    #[test]
    fn a44_a_truncated_partition_lives_alone() {
        let mut catalog = Catalog::default();
        catalog.observe(&topic("a"), &described("x", 2), &TopicConfig::default());
        catalog.truncated(&key("a", 0, 1));
        assert_eq!(catalog.wanted().into_iter().collect::<Vec<_>>(), [key("a", 0, 0), key("a", 1, 1)]);
        assert_eq!(catalog.begin(&key("a", 1, 1)), Begin::LogStart);
    }

    #[test]
    fn a55_topics_leave_and_come_back() {
        let mut catalog = Catalog::default();
        catalog.observe(&topic("a"), &described("x", 1), &TopicConfig::default());
        catalog.select(|_| false);
        assert!(catalog.wanted().is_empty());
        assert!(!catalog.is_gone(&key("a", 0, 0)));
        catalog.select(|_| true);
        assert_eq!(catalog.wanted().len(), 1);
        let kinds = kinds(&mut catalog);
        assert_eq!(kinds, [TopicEventKind::Added, TopicEventKind::Excluded, TopicEventKind::Included]);
    }
}
