//! How far a restore is, as it is committed to the target together with the records. Pure.
//!
//! The offsets of the restore's own group are keyed by partitions that the target has. Each source partition is at home in
//! one target partition, and everything about it travels in the metadata of that one's offset:
//!
//! ```text
//! 1 <partition>.<lineage>=<next offset>:<records>:<bytes>:<newest> …
//! 1 <partition>.<lineage>=<next offset>:<records>:<bytes>:<newest>:<end at the target>:<translations>
//! ```
//!
//! `newest` is the highest record timestamp, empty while there is no record. The second form is of a partition in which offsets of consumer groups are translated ([`super::translation`]); it has its target
//! partition for itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use strimzi_backup_format::ids::{Lineage, Offset, PartitionId, PartitionKey, TimestampMs, TopicName};

use super::groups;
use super::plan::{Plan, TopicPlan};
use super::translation::{Translated, Translations};
use crate::kafka::{CommittedOffset, GroupOffset};

/// The version of what is written into the metadata.
const VERSION: &str = "1";

/// A partition as the target names it.
pub type TargetPartition = (TopicName, PartitionId);

/// What is restored of one source partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// The first source offset that is not restored.
    pub next: Offset,
    /// Records written.
    pub records: u64,
    /// Their bytes of keys, values and headers.
    pub bytes: u64,
    /// The highest of their timestamps.
    pub newest: Option<TimestampMs>,
}

impl Done {
    /// With one record more.
    pub fn plus(self, offset: Offset, bytes: u64, timestamp: TimestampMs) -> Self {
        Self {
            next: offset.next(),
            records: self.records + 1,
            bytes: self.bytes + bytes,
            newest: self.newest.max(Some(timestamp)),
        }
    }
}

impl Default for Done {
    fn default() -> Self {
        Self { next: Offset::new(0), records: 0, bytes: 0, newest: None }
    }
}

/// What is restored of every source partition.
pub type Progress = BTreeMap<PartitionKey, Done>;

/// What the target says of the progress cannot be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProgressFault {
    /// Something else uses the group.
    #[error("the progress of the restore, kept in group {group} at {}-{}, cannot be read: {metadata:?}", at.0, at.1)]
    Unreadable {
        /// The group.
        group: String,
        /// Where.
        at: TargetPartition,
        /// What is there.
        metadata: String,
    },
    /// Some of it is missing.
    #[error(
        "the target lost the progress of {missing} (offsets expire after offsets.retention.minutes; a deleted topic takes them \
         along): delete what was restored so far and start a restore with another id"
    )]
    Lost {
        /// A partition whose progress is missing.
        missing: PartitionKey,
    },
}

/// The progress before the first record.
pub fn none(plan: &Plan) -> Progress {
    plan.ends().into_keys().map(|key| (key, Done::default())).collect()
}

/// The progress after the last record.
pub fn is_complete(plan: &Plan, progress: &Progress) -> bool {
    plan.ends().iter().all(|(key, end)| progress.get(key).is_some_and(|done| done.next >= *end))
}

/// Where the progress of a source partition is at home.
pub fn home(topic: &TopicPlan, partition: PartitionId) -> TargetPartition {
    let targets = i32::try_from(topic.target_partitions.max(1)).unwrap_or(i32::MAX);
    (topic.target.clone(), PartitionId::new(partition.get() % targets))
}

/// The homes of everything that is restored.
pub fn homes(plan: &Plan) -> BTreeMap<TargetPartition, Vec<PartitionKey>> {
    let mut homes: BTreeMap<TargetPartition, Vec<PartitionKey>> = BTreeMap::new();
    for topic in &plan.topics {
        for key in topic.keys() {
            homes.entry(home(topic, key.partition)).or_default().push(key);
        }
    }
    homes
}

/// What one source partition adds to its home, with its translations where it has some.
pub type Carried<'a> = (&'a PartitionKey, Done, Option<&'a Translated>);

/// What is to be committed for one home.
pub fn offset<'a>(home: &TargetPartition, sources: impl IntoIterator<Item = Carried<'a>>) -> GroupOffset {
    let mut metadata = VERSION.to_owned();
    let (mut count, mut records, mut next) = (0, 0, Offset::new(0));
    for (key, done, translated) in sources {
        (count, records, next) = (count + 1, records + done.records, done.next);
        // Writing into a text cannot fail.
        let _ = write!(metadata, " {}.{}={}:{}:{}:", key.partition, key.lineage, done.next, done.records, done.bytes);
        if let Some(newest) = done.newest {
            let _ = write!(metadata, "{}", newest.get());
        }
        if let Some(translated) = translated {
            metadata.push(':');
            translated.encode(&mut metadata);
        }
    }
    let all = Offset::new(i64::try_from(records).unwrap_or(i64::MAX));
    let offset = if count == 1 { next } else { all };
    GroupOffset { topic: home.0.clone(), partition: home.1, offset, metadata: Some(metadata) }
}

/// The progress that was committed, and the translations with it; `None` where nothing was.
///
/// # Errors
/// [`ProgressFault`] where it is not whole.
pub fn read(
    plan: &Plan,
    group: &str,
    committed: &BTreeMap<TargetPartition, Option<CommittedOffset>>,
) -> Result<Option<(Progress, Translations)>, ProgressFault> {
    if committed.values().all(Option::is_none) {
        return Ok(None);
    }
    let (mut progress, mut translations) = (Progress::new(), Translations::new());
    let wanted = groups::wanted(plan);
    for (home, sources) in homes(plan) {
        let metadata = committed.get(&home).and_then(|found| found.as_ref()?.metadata.as_deref());
        let Some(metadata) = metadata else {
            // Every home has a source.
            let Some(missing) = sources.into_iter().next() else { continue };
            return Err(ProgressFault::Lost { missing });
        };
        let unreadable =
            || ProgressFault::Unreadable { group: group.to_owned(), at: home.clone(), metadata: metadata.to_owned() };
        let found = parse(metadata).ok_or_else(unreadable)?;
        for key in sources {
            let (done, translated) = found.get(&(key.partition, key.lineage)).ok_or_else(unreadable)?;
            match (translated, wanted.get(&key)) {
                (None, None) => {}
                (Some(translated), Some(wanted)) if translated.found.len() <= wanted.len() => {
                    translations.insert(key.clone(), translated.clone());
                }
                _ => return Err(unreadable()),
            }
            progress.insert(key, *done);
        }
    }
    Ok(Some((progress, translations)))
}

type Parsed = BTreeMap<(PartitionId, Lineage), (Done, Option<Translated>)>;

fn parse(metadata: &str) -> Option<Parsed> {
    let mut parts = metadata.split(' ');
    if parts.next() != Some(VERSION) {
        return None;
    }
    let entry = |part: &str| {
        let (source, done) = part.split_once('=')?;
        let (partition, lineage) = source.split_once('.')?;
        let (next, records, bytes, newest, translated) = match *done.split(':').collect::<Vec<_>>() {
            [next, records, bytes, newest] => (next, records, bytes, newest, None),
            [next, records, bytes, newest, end, found] => {
                (next, records, bytes, newest, Some(Translated::decode(end, found)?))
            }
            _ => return None,
        };
        let next = Offset::new(next.parse().ok().filter(|next: &i64| *next >= 0)?);
        let newest = match newest {
            "" => None,
            newest => Some(TimestampMs::new(newest.parse().ok()?)),
        };
        let done = Done { next, records: records.parse().ok()?, bytes: bytes.parse().ok()?, newest };
        let source = (PartitionId::new(partition.parse().ok()?), Lineage::new(lineage.parse().ok()?));
        Some((source, (done, translated)))
    };
    parts.map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample::{self, key, plan, settings, state, target, topic};
    use super::super::translation::Place;
    use super::*;

    const GROUP: &str = "strimzi-backup-restore-orders-dr-1";

    /// A plan for `orders`, of so many partitions, into `new`, of so many.
    fn planned(sources: i32, targets: u32) -> Plan {
        let more = format!("topicMapping: [{{sourceTopic: orders, targetTopic: new, partitions: {targets}}}]");
        plan(&state(&[("orders", sources)]), &settings(&more), &[], &target(3)).0
    }

    fn at_home(partition: i32) -> TargetPartition {
        (topic("new"), PartitionId::new(partition))
    }

    /// Some progress that differs from partition to partition.
    fn some(plan: &Plan) -> Progress {
        let done = |number: i64| Done {
            next: Offset::new(10 + number),
            records: 2 + number.unsigned_abs(),
            bytes: 1000 + number.unsigned_abs(),
            newest: Some(TimestampMs::new(7 - number)),
        };
        plan.ends().into_keys().zip(0..).map(|(key, number)| (key, done(number))).collect()
    }

    fn carried(home: &TargetPartition, sources: &[PartitionKey], progress: &Progress) -> GroupOffset {
        offset(home, sources.iter().map(|key| (key, progress[key], None)))
    }

    /// As the target tells it again.
    fn committed(plan: &Plan, progress: &Progress) -> BTreeMap<TargetPartition, Option<CommittedOffset>> {
        let told = homes(plan).into_iter().map(|(home, sources)| {
            let GroupOffset { topic, partition, offset, metadata } = carried(&home, &sources, progress);
            ((topic, partition), Some(CommittedOffset { offset, metadata }))
        });
        told.collect()
    }

    fn metadata(text: &str) -> Option<CommittedOffset> {
        Some(CommittedOffset { offset: Offset::new(0), metadata: Some(text.to_owned()) })
    }

    #[test]
    fn a67_progress_comes_back_as_it_was_committed() {
        for (sources, targets) in [(1, 1), (3, 3), (2, 5), (5, 2), (38, 1)] {
            let plan = planned(sources, targets);
            for progress in [none(&plan), some(&plan)] {
                let read = read(&plan, GROUP, &committed(&plan, &progress)).expect("readable");
                assert_eq!(read, Some((progress, Translations::new())), "{sources} into {targets}");
            }
        }
    }

    #[test]
    fn a_partition_of_its_own_carries_its_source_offset_and_a_shared_one_the_number_of_records() {
        let plan = planned(3, 3);
        let own = carried(&at_home(1), &[key("orders", 0, 1)], &some(&plan));
        assert_eq!((own.offset, own.metadata.as_deref()), (Offset::new(11), Some("1 1.0=11:3:1001:6")));
        let plan = planned(3, 2);
        let sources = homes(&plan).remove(&at_home(0)).expect("a home");
        assert_eq!(sources, [key("orders", 0, 0), key("orders", 0, 2)]);
        let shared = carried(&at_home(0), &sources, &some(&plan));
        let told = (shared.offset, shared.metadata.as_deref());
        assert_eq!(told, (Offset::new(2 + 4), Some("1 0.0=10:2:1000:7 2.0=12:4:1002:5")));
    }

    #[test]
    fn the_largest_metadata_fits_into_what_brokers_take() {
        let newest = Some(TimestampMs::new(i64::MIN));
        let most = Done { next: Offset::new(i64::MAX), records: u64::MAX / 38, bytes: u64::MAX, newest };
        let sources: Vec<_> = (0..38).map(|number| key("orders", i32::MAX, i32::MAX - number)).collect();
        let progress = sources.iter().map(|key| (key.clone(), most)).collect();
        let metadata = carried(&at_home(0), &sources, &progress).metadata.expect("some");
        assert!(metadata.len() <= 4096, "{} bytes", metadata.len());
    }

    #[test]
    fn nothing_committed_is_no_progress() {
        let plan = planned(2, 2);
        let nothing = homes(&plan).into_keys().map(|home| (home, None)).collect();
        assert_eq!(read(&plan, GROUP, &nothing), Ok(None));
    }

    #[test]
    fn a67_progress_that_is_not_whole_is_never_taken_for_a_beginning() {
        let plan = planned(3, 3);
        let mut told = committed(&plan, &some(&plan));
        told.insert(at_home(1), None);
        let missing = key("orders", 0, 1);
        assert_eq!(read(&plan, GROUP, &told), Err(ProgressFault::Lost { missing: missing.clone() }));
        told.remove(&at_home(1));
        assert_eq!(read(&plan, GROUP, &told), Err(ProgressFault::Lost { missing: missing.clone() }));
        told.insert(at_home(1), Some(CommittedOffset { offset: Offset::new(5), metadata: None }));
        assert_eq!(read(&plan, GROUP, &told), Err(ProgressFault::Lost { missing: missing.clone() }));
        insta::assert_snapshot!(ProgressFault::Lost { missing }, @"the target lost the progress of orders-1 (offsets expire after offsets.retention.minutes; a deleted topic takes them along): delete what was restored so far and start a restore with another id");
    }

    #[test]
    fn a67_metadata_of_another_writer_or_version_is_named_and_never_guessed() {
        let plan = planned(2, 1);
        let whole = "1 0.0=10:2:1000:7 1.0=11:3:1001:6";
        let told = |text: &str| read(&plan, GROUP, &BTreeMap::from([(at_home(0), metadata(text))]));
        assert_eq!(told(whole), Ok(Some((some(&plan), Translations::new()))));
        let others = [
            "consumer-1",
            "",
            "1",
            "2 0.0=10:2:1000:7 1.0=11:3:1001:6",
            "1 0.0=10:2:1000:7",
            "1 0.0=10:2:1000:7 1.1=11:3:1001:6",
            "1 0.0=10:2:1000:7 1.0=11:3:1001:6 ",
            "1 0.0=10:2:1000:7 1.0=-1:3:1001:6",
            "1 0.0=10:2:1000:7 1.0=11:3:1001",
            "1 0.0=10:2:1000:7 1.0=11:3:1001:x",
            "1 0.0=10:2:1000:7 1.0=11:3:1001:6:7",
            "1 0.0=10:2:1000:7 1.0=11:3:1001:6:7:",
            "1 0.0=10:2:1000:7 1=11:3:1001:6",
            "1 0.0=10:2:1000:7 1.0=x:3:1001:6",
        ];
        for text in others {
            let (group, at, metadata) = (GROUP.to_owned(), at_home(0), text.to_owned());
            assert_eq!(told(text), Err(ProgressFault::Unreadable { group, at, metadata }), "{text:?}");
        }
        let error = told("consumer-1").expect_err("unreadable");
        insta::assert_snapshot!(error, @r#"the progress of the restore, kept in group strimzi-backup-restore-orders-dr-1 at new-0, cannot be read: "consumer-1""#);
    }

    #[test]
    fn a73_translations_come_back_with_the_progress_of_their_partition() {
        let offsets = sample::committed(&[("app", "orders", 0, 7), ("late", "orders", 0, 40)]);
        let settings = settings("consumerGroups: {restore: true}");
        let plan = sample::plan_with(&state(&[("orders", 2)]), &settings, &[], &target(3), Some(&offsets)).0;
        let wanted = key("orders", 0, 0);
        let place = |offset| Place { offset: Offset::new(offset), is_exact: true };
        let translated = Translated { found: vec![place(35)], end: Some(place(36)) };
        let committed = homes(&plan).into_iter().map(|(home, sources)| {
            let carried = |key| (key, some(&plan)[key], (*key == wanted).then_some(&translated));
            let offset = offset(&home, sources.iter().map(carried));
            (home, Some(CommittedOffset { offset: offset.offset, metadata: offset.metadata }))
        });
        let mut committed: BTreeMap<_, _> = committed.collect();
        let home = (topic("orders"), PartitionId::new(0));
        let told =
            |committed: &BTreeMap<_, Option<CommittedOffset>>| committed[&home].clone().and_then(|one| one.metadata);
        assert_eq!(told(&committed).as_deref(), Some("1 0.0=10:2:1000:7:10:z"));
        let expected = Translations::from([(wanted, translated)]);
        assert_eq!(read(&plan, GROUP, &committed), Ok(Some((some(&plan), expected))));
        for bad in
            ["1 0.0=10:2:1000:7", "1 0.0=10:2:1000:7:10:z,1,1", "1 0.0=10:2:1000:7:10:Z", "1 0.0=10:2:1000:7:10:z:"]
        {
            committed.insert(home.clone(), metadata(bad));
            assert!(matches!(read(&plan, GROUP, &committed), Err(ProgressFault::Unreadable { .. })), "{bad}");
        }
    }

    #[test]
    fn a_restore_is_complete_when_every_partition_is_at_its_end() {
        let plan = planned(2, 2);
        let mut progress = none(&plan);
        assert!(!is_complete(&plan, &progress));
        for (key, end) in plan.ends() {
            assert!(!is_complete(&plan, &progress));
            progress.insert(key, Done { next: end, ..Done::default() });
        }
        assert!(is_complete(&plan, &progress));
        progress.remove(&key("orders", 0, 1));
        assert!(!is_complete(&plan, &progress));
    }
}
