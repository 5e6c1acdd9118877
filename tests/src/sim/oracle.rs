//! The oracle: reads the backup as a restore would and holds it against everything Kafka ever held.
//!
//! It checks the log link by link (I3), every offset between first capture and position (I1, P5), every record byte for
//! byte (P6), every gap for what it claims, and `recoverable.until` of every single manifest (P10). Whatever stands in the
//! store is whole, also where no manifest names it (A02). A snapshot that is kept brings all that it did when it was taken and Kafka
//! held then. Of an encrypted backup it reads what its keys open, and what lies in the store shows nothing (A33).

mod closed;
mod honesty;
mod snapshots;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use parking_lot::Mutex;
use strimzi_backup_format::checksum::Sha256;
use strimzi_backup_format::ids::{PartitionKey, Sequence, Shard, TimestampMs};
use strimzi_backup_format::job::TopicSelection;
use strimzi_backup_format::layout::{self, ObjectKey};
use strimzi_backup_format::manifest::{GapReason, Manifest, Segment, TopicEventKind, reader};
use strimzi_backup_format::offset_range::OffsetRange;
use strimzi_backup_format::record::Record;
use strimzi_backup_format::segment::decode::SegmentReader;
use strimzi_backup_format::state::{Life as HeldLife, State};
use strimzi_backup_format::store::Store;
use strimzi_backup_streamer::prune::report::Report;

use super::broker::compacts;
use super::cluster::{Cluster, Fate, Life, Log};
use super::keys::Keys;
use honesty::{check_honesty, check_unknown};
use snapshots::{Promise, check_forever};
use upkeep::{Left, check_base, check_filing, check_retired, drop_one, refine, take_one};

/// What accounts for a range of offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tile {
    Run,
    Hole,
    Gap(GapReason),
}

/// What the writer of each epoch selects, and since when.
pub type Selections = Arc<Mutex<BTreeMap<u64, (TimestampMs, TopicSelection)>>>;

type Tiles = BTreeMap<PartitionKey, Vec<(OffsetRange, Tile)>>;
type Records = BTreeMap<PartitionKey, BTreeMap<i64, Record>>;

/// What the oracle has seen so far of one backup.
#[derive(Debug)]
pub struct Oracle {
    /// The store as it is.
    raw: Arc<dyn ObjectStore>,
    /// Who has the master keys; `None` where nothing is encrypted.
    keys: Option<Keys>,
    /// The store as who has the keys sees it.
    store: Store,
    cluster: Arc<Mutex<Cluster>>,
    /// The log folded by the oracle itself, from its first link.
    state: Option<State>,
    /// The live ones, in the order of the log.
    segments: Vec<Segment>,
    tiles: Tiles,
    records: Records,
    /// The partitions whose beginning was retired.
    shortened: BTreeSet<PartitionKey>,
    /// Those of which the newest record of each key is left.
    aged: BTreeSet<PartitionKey>,
    /// What is in their bases.
    bases: Records,
    /// Every segment with records of compacted topics that was ever named.
    compacted: Vec<Segment>,
    /// The snapshots that were taken and not pruned.
    snapshots: Vec<Promise>,
    /// Which manifests said from when on instants are kept, oldest first.
    retirements: Vec<(Sequence, TimestampMs)>,
    /// A planted bug: one record of the bases is not there.
    pub misses_a_key: bool,
    /// A planted bug: of what is refined one run is not there.
    pub drops_a_run: bool,
    /// The runs that are not there for that.
    dropped: Vec<(PartitionKey, OffsetRange)>,
    /// The rows of the segments that were read already.
    read: BTreeMap<ObjectKey, Vec<(PartitionKey, Record)>>,
    /// What each writer selects; written by the writers.
    pub selections: Selections,
    /// The rows committed in each epoch.
    pub rows_by_epoch: BTreeMap<u64, u64>,
    /// The kinds of topic events and of gaps in the log.
    pub seen: BTreeSet<String>,
    /// What stood in the store at the last check; nothing of it may change or go (P3).
    objects: BTreeMap<String, Sha256>,
}

impl Oracle {
    /// An oracle of the backup in `store`, which has no faults.
    pub fn new(raw: Arc<dyn ObjectStore>, cluster: Arc<Mutex<Cluster>>, keys: Option<Keys>) -> Self {
        Self {
            store: Store::memory().with_inner(Arc::clone(&raw)),
            raw,
            keys,
            cluster,
            state: None,
            segments: Vec::new(),
            tiles: Tiles::new(),
            records: Records::new(),
            shortened: BTreeSet::new(),
            aged: BTreeSet::new(),
            bases: Records::new(),
            compacted: Vec::new(),
            snapshots: Vec::new(),
            retirements: Vec::new(),
            misses_a_key: false,
            drops_a_run: false,
            dropped: Vec::new(),
            read: BTreeMap::new(),
            selections: Selections::default(),
            rows_by_epoch: BTreeMap::new(),
            seen: BTreeSet::new(),
            objects: BTreeMap::new(),
        }
    }

    /// The state as it was folded by the last check.
    pub fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// The records that a partition's segments hold, as the last check read them, all of them and by another way than a
    /// restore's.
    pub fn captured(&self, key: &PartitionKey) -> Option<&BTreeMap<i64, Record>> {
        self.records.get(key)
    }

    /// Reads the log on from where the last look ended, and checks each link.
    pub async fn follow(&mut self) -> Result<()> {
        self.unlock().await?;
        if self.state.is_none() {
            let Some(log) = reader::open(&self.store, Shard::ONLY).await? else { return Ok(()) };
            self.state = Some(State::empty(log.state.backup, Shard::ONLY, log.state.identity));
        }
        loop {
            let Some(state) = &self.state else { return Ok(()) };
            let next = state.next_sequence();
            let Some((manifest, digest)) = reader::manifest(&self.store, Shard::ONLY, next).await? else {
                return Ok(());
            };
            self.take(&manifest, digest).with_context(|| format!("manifest {next}"))?;
        }
    }

    fn take(&mut self, manifest: &Manifest, digest: Sha256) -> Result<()> {
        let Some(state) = &mut self.state else { return Ok(()) };
        let (epoch, head) = (manifest.epoch, state.head);
        ensure!(manifest.sequence == head.map_or(Sequence::FIRST, |head| head.sequence.next()), "sequence");
        ensure!(manifest.previous == head.map_or(state.identity, |head| head.sha256), "the hash chain is broken");
        let before = state.epoch();
        ensure!(epoch >= before, "epoch {epoch} follows {before}");
        ensure!((epoch > before) == manifest.claim.is_some(), "epoch {epoch} follows {before} without a claim");
        state.fold(manifest, digest)?;
        tracing::debug!(%epoch, sequence = %manifest.sequence, at = %manifest.observed_at, gaps = ?manifest.gaps,
            topics = ?manifest.topics, positions = ?manifest.positions, "manifest");
        self.seen.extend(manifest.topics.iter().map(|event| format!("{:?}", event.event)));
        self.seen.extend(manifest.gaps.iter().map(|gap| format!("{:?}", gap.reason)));
        for segment in &manifest.segments {
            *self.rows_by_epoch.entry(epoch.get()).or_default() += segment.rows;
            for run in &segment.runs {
                self.tiles.entry(run.key()).or_default().push((run.range, Tile::Run));
            }
        }
        for gap in &manifest.gaps {
            self.tiles.entry(gap.key()).or_default().push((gap.range, Tile::Gap(gap.reason)));
        }
        for hole in &manifest.holes {
            self.tiles.entry(hole.key()).or_default().push((hole.range, Tile::Hole));
        }
        self.segments.extend(manifest.segments.iter().cloned());
        let compacted = |segment: &&Segment| segment.runs.iter().any(|run| compacts(&run.topic));
        self.compacted.extend(manifest.segments.iter().filter(compacted).cloned());
        if let Some(refined) = &manifest.refined {
            self.seen.insert("Refined".to_owned());
            refine(&mut self.segments, &mut self.tiles, refined)?;
            self.dropped.extend(self.drops_a_run.then(|| drop_one(&mut self.tiles, refined)).flatten());
        }
        if let Some(retired) = &manifest.retired {
            self.seen.extend((!retired.starts.is_empty()).then(|| "Retired".to_owned()));
            self.retirements.push((manifest.sequence, retired.before));
            check_forever(&self.snapshots, retired.before)?;
            for start in &retired.starts {
                let held = self.records.get(&start.key());
                let left = check_retired(state, &self.cluster.lock(), start, retired.before, held)
                    .with_context(|| format!("{} retired below {}", start.key(), start.first_offset))?;
                match left {
                    Left::Newest => self.aged.insert(start.key()),
                    Left::Nothing => self.aged.remove(&start.key()),
                };
                let tiles = self.tiles.entry(start.key()).or_default();
                tiles.retain(|(range, _)| start.first_offset < range.next_offset());
                self.shortened.insert(start.key());
            }
            self.seen.extend((!retired.base.is_empty()).then(|| "Base".to_owned()));
            self.segments.extend(retired.base.iter().cloned());
            self.segments.retain(|segment| state.live_runs(segment).next().is_some());
        }
        let cluster = self.cluster.lock();
        check_honesty(state, &cluster).context("recoverable.until is not honest")?;
        let selection = self.selections.lock().get(&epoch.get()).filter(|_| manifest.claim.is_none()).cloned();
        selection.map_or(Ok(()), |(since, selection)| check_unknown(state, &cluster, since, &selection))
    }

    /// Checks everything that is in the backup now.
    pub async fn check(&mut self) -> Result<()> {
        self.check_objects().await?;
        self.follow().await?;
        let Some(log) = reader::open(&self.store, Shard::ONLY).await? else { return Ok(()) };
        ensure!(self.state.as_ref() == Some(&log.state), "the reader's state is not what the log's links come to");
        let listed = log.segments(&self.store, None, None).await?;
        let names = |segments: &[Segment]| {
            let mut names: Vec<_> = segments.iter().map(|segment| segment.object.clone()).collect();
            names.sort();
            names
        };
        ensure!(names(&listed) == names(&self.segments), "the reader lists other segments than the log");
        if log.sealed.is_some_and(|sealed| !sealed.buckets.is_empty()) {
            self.seen.insert("Sealed".to_owned());
        }
        let (count, bytes) =
            (self.segments.len() as u64, self.segments.iter().map(|segment| segment.bytes).sum::<u64>());
        let totals = log.state.totals;
        let rows = self.segments.iter().map(|segment| segment.rows).sum::<u64>();
        ensure!(
            (totals.segments, totals.bytes, totals.rows) == (count, bytes, rows),
            "{totals:?}: {count}, {bytes}, {rows}"
        );
        self.read_segments().await?;
        self.check_bases().await?;
        self.check_snapshots().await?;
        self.read_orphans().await?;
        let cluster = self.cluster.lock();
        let mut keys: Vec<&PartitionKey> = self.tiles.keys().collect();
        keys.extend(log.state.positions.keys());
        keys.sort();
        keys.dedup();
        for key in keys {
            self.check_partition(key, &log.state, &cluster)
                .with_context(|| format!("{key} {:?}", self.tiles.get(key)))?;
        }
        Ok(())
    }

    /// A prune has told this. Whatever is gone must not be needed.
    pub async fn pruned(&mut self, report: &Report) -> Result<()> {
        let objects = listing(&self.raw).await?;
        let named: BTreeSet<&str> = self.segments.iter().map(|segment| segment.object.as_str()).collect();
        let gone: BTreeSet<String> = self.objects.keys().filter(|key| !objects.contains_key(*key)).cloned().collect();
        for key in &gone {
            ensure!(!named.contains(key.as_str()), "{key} was pruned, and the log holds it");
        }
        let count = report.deleted.objects;
        ensure!(gone.len() as u64 == count, "{} objects are gone, and {count} were pruned", gone.len());
        self.seen.extend(gone.iter().any(|key| key.ends_with(".parquet")).then(|| "Pruned".to_owned()));
        self.objects = objects;
        self.check_pruned(&gone, report)
    }

    async fn check_objects(&mut self) -> Result<()> {
        let objects = listing(&self.raw).await?;
        for (key, digest) in &self.objects {
            ensure!(objects.get(key) == Some(digest), "{key} was changed or removed");
        }
        self.objects = objects;
        Ok(())
    }

    /// Reads what is live. A segment with several lives of a topic stays while one of them is kept.
    async fn read_segments(&mut self) -> Result<()> {
        self.records.clear();
        self.bases.clear();
        for segment in &self.segments {
            if !self.read.contains_key(&segment.object) {
                self.read.insert(segment.object.clone(), read(&self.store, segment).await?);
            }
            for (key, record) in &self.read[&segment.object] {
                let held = self.state.as_ref().and_then(|state| state.position(key));
                let is_dropped = || self.dropped.iter().any(|(of, range)| of == key && range.contains(record.offset));
                let records = match segment.base() {
                    Some(base) if held.and_then(|held| held.base).is_some_and(|held| held.sequence == base) => {
                        &mut self.bases
                    }
                    None if is_dropped() => continue,
                    None if Some(record.offset) >= held.map(|held| held.first_offset) => &mut self.records,
                    _ => continue,
                };
                let offset = record.offset.get();
                let twice = records.entry(key.clone()).or_default().insert(offset, record.clone());
                ensure!(twice.is_none(), "{key} holds offset {offset} twice");
            }
        }
        Ok(())
    }

    /// Holds what is left of compacted partitions against everything that was ever captured of them.
    async fn check_bases(&mut self) -> Result<()> {
        let Some(before) = self.state.as_ref().and_then(|state| state.retired).map(|retired| retired.before) else {
            return Ok(());
        };
        if self.misses_a_key {
            let aged = self.bases.iter_mut().filter(|(key, _)| self.aged.contains(key));
            let _ = aged.map(|(_, base)| base).any(|base| take_one(base, before));
        }
        self.read_compacted().await?;
        for key in &self.aged {
            let (captured, held) = (self.ever_captured(key), self.held(key));
            check_base(&captured, &held, before).with_context(|| format!("the base of {key}"))?;
        }
        Ok(())
    }

    /// Reads everything that was ever named of compacted topics. To be called before any of it is pruned.
    pub async fn read_compacted(&mut self) -> Result<()> {
        for segment in &self.compacted {
            if !self.read.contains_key(&segment.object) {
                self.read.insert(segment.object.clone(), read(&self.store, segment).await?);
            }
        }
        Ok(())
    }

    /// Everything that was ever captured of a compacted partition.
    fn ever_captured(&self, key: &PartitionKey) -> BTreeMap<i64, Record> {
        let rows = self.compacted.iter().flat_map(|segment| &self.read[&segment.object]);
        let of_key = rows.filter(|(of, _)| of == key).map(|(_, record)| (record.offset.get(), record.clone()));
        of_key.collect()
    }

    /// What is held of a partition, that of its base included.
    fn held(&self, key: &PartitionKey) -> BTreeMap<i64, Record> {
        let held = [&self.bases, &self.records].into_iter().filter_map(|records| records.get(key)).flatten();
        held.map(|(offset, record)| (*offset, record.clone())).collect()
    }

    /// What no manifest names may be a segment that was uploaded and not committed, and that is whole, or one of the
    /// objects that no manifest ever names.
    async fn read_orphans(&self) -> Result<()> {
        let named: BTreeSet<&str> = self.segments.iter().map(|segment| segment.object.as_str()).collect();
        for key in self.objects.keys().filter(|key| !named.contains(key.as_str())) {
            let is_apart = ["probe/", "restores/"].iter().any(|folder| key.starts_with(folder));
            if is_apart || key.as_str() == layout::identity().as_str() {
                continue;
            }
            let segment = ObjectKey::try_from(key.clone()).ok().filter(|key| key.segment().is_some());
            let Some(segment) = segment else {
                let derived = layout::checkpoint_sequence(key).or_else(|| layout::bucket_manifest_sequence(key));
                let is_key = self.keys.is_some() && layout::key_wrap_number(key).is_some();
                let known = layout::manifest_sequence(key).or(derived).is_some() || layout::snapshot_id(key).is_some();
                ensure!(known || is_key, "{key} is no object of a backup");
                continue;
            };
            let bytes = self.store.inner.get(&Path::from(key.as_str())).await?.bytes().await?;
            let whole = SegmentReader::open(bytes, self.store.opener(&segment).as_ref());
            let whole = whole.and_then(|reader| reader.rows().try_for_each(|row| row.map(drop)));
            whole.with_context(|| format!("{key} is visible, and not whole"))?;
        }
        Ok(())
    }

    fn check_partition(&self, key: &PartitionKey, state: &State, cluster: &Cluster) -> Result<()> {
        let (held, life) = lives(key, state, cluster)?;
        let position = state.position(key).context("has ranges and no position")?;
        let mut tiles = self.tiles.get(key).cloned().unwrap_or_default();
        tiles.sort_by_key(|(range, _)| *range);
        let (first, end) = (position.first_offset, position.next_offset);
        let mut next = first;
        for (range, tile) in &tiles {
            ensure!(range.base() == next, "{tile:?} {range} where {next} belongs");
            next = range.next_offset();
        }
        ensure!(next == end, "its ranges end at {next}, its position is {end}");
        let is_shortened = self.shortened.contains(key);
        let count = |records: &Records| records.get(key).map_or(0, |records| records.len() as u64);
        let rows = count(&self.records) + count(&self.bases);
        ensure!(position.rows == rows, "{} records are held, its position says {}", rows, position.rows);
        let live = [&self.records, &self.bases].into_iter().filter_map(|records| records.get(key)).flatten();
        let (lowest, bound) = (live.map(|(_, record)| record.timestamp).min(), position.lowest_timestamp);
        let is_bound = |lowest: TimestampMs| bound.is_some_and(|bound| bound <= lowest);
        ensure!(lowest.is_none_or(is_bound), "a record is of {lowest:?}, and none is said to be before {bound:?}");
        check_filing(&self.segments, key)?;
        if held.began == TopicEventKind::Recreated && !is_shortened {
            ensure!(first.get() == 0, "a re-created topic's first offset is {first}");
        }
        let partition = usize::try_from(key.partition.get()).ok().and_then(|number| life.partitions.get(number));
        let partition = partition.context("Kafka never had this partition")?;
        let none = BTreeMap::new();
        let records = self.records.get(key).unwrap_or(&none);
        let verdicts: Vec<Result<()>> =
            partition.logs().map(|log| check_log(log, (first.get(), is_shortened), &tiles, records)).collect();
        if verdicts.iter().any(Result::is_ok) {
            return Ok(());
        }
        let reasons: Vec<String> =
            verdicts.into_iter().filter_map(Result::err).map(|error| error.to_string()).collect();
        bail!("its {} logs, newest first: {}", reasons.len(), reasons.join("; "))
    }
}

/// The rows of a segment, which must be what its manifest says.
async fn read(store: &Store, segment: &Segment) -> Result<Vec<(PartitionKey, Record)>> {
    let key = segment.object.below(&store.prefix);
    let found = store.inner.get(&key).await.with_context(|| format!("segment {}", segment.object))?;
    let bytes = found.bytes().await?;
    ensure!(bytes.len() as u64 == segment.bytes, "{} has another size", segment.object);
    ensure!(Sha256::of(&bytes) == segment.sha256, "{} has another digest", segment.object);
    let reader = SegmentReader::open(bytes, store.opener(&segment.object).as_ref())?;
    ensure!(reader.runs() == segment.runs, "{} has other runs than its manifest says", segment.object);
    let rows: Vec<_> = reader.rows().collect::<Result<_, _>>()?;
    ensure!(rows.len() as u64 == segment.rows, "{} has {} rows", segment.object, rows.len());
    Ok(rows)
}

/// Every object of a store with the digest of its bytes.
pub async fn listing(store: &Arc<dyn ObjectStore>) -> Result<BTreeMap<String, Sha256>> {
    let mut objects = BTreeMap::new();
    for meta in store.list(None).try_collect::<Vec<_>>().await? {
        let bytes = store.get(&meta.location).await?.bytes().await?;
        objects.insert(meta.location.to_string(), Sha256::of(&bytes));
    }
    Ok(objects)
}

fn lives<'a>(key: &PartitionKey, state: &'a State, cluster: &'a Cluster) -> Result<(&'a HeldLife, &'a Life)> {
    let topic = state.topics.get(&key.topic).context("no such topic in the log")?;
    let number = usize::try_from(key.lineage.get()).unwrap_or(usize::MAX);
    let held = topic.lives.get(number).context("no such lineage in the log")?;
    let life = cluster.by_id(&held.topic_id).context("Kafka never had a topic of that id")?;
    ensure!(life.topic == key.topic, "the topic id is another topic's");
    Ok((held, life))
}

/// Whether the tiles and records of a lineage are those of one log.
fn check_log(
    log: &Log,
    (first, is_shortened): (i64, bool),
    tiles: &[(OffsetRange, Tile)],
    records: &BTreeMap<i64, Record>,
) -> Result<()> {
    // Where a topic was deleted before its first record was read, its start may have been told of the life after.
    let from_the_start = first <= log.start || log.gone_at.is_some() || is_shortened;
    ensure!(from_the_start, "captured from {first}, and {} can still be read", log.start);
    for (range, tile) in tiles {
        for offset in range.base().get()..range.next_offset().get() {
            let found = records.get(&offset);
            match tile {
                Tile::Gap(reason) => {
                    ensure!(found.is_none(), "{offset} is in a gap and captured");
                    check_lost(log, offset, *reason)?;
                }
                Tile::Run | Tile::Hole => check_offset(log, offset, found)?,
            }
        }
    }
    let covered =
        |offset: i64| tiles.iter().any(|(range, _)| range.base().get() <= offset && offset < range.next_offset().get());
    ensure!(records.keys().all(|offset| covered(*offset)), "a record lies outside of all runs");
    Ok(())
}

fn check_offset(log: &Log, offset: i64, found: Option<&Record>) -> Result<()> {
    let Some(entry) = log.at(offset) else {
        bail!("{offset} is captured, and the log ends at {}", log.high_watermark())
    };
    ensure!(entry.fate != Fate::Open, "{offset} is accounted for, and its transaction is open");
    match (found, &entry.record) {
        (Some(found), Some(record)) => {
            ensure!(entry.fate == Fate::Committed, "{offset} was aborted, and is captured");
            ensure!(*found == **record, "{offset} differs: held {found:?}, Kafka had {record:?}");
        }
        (Some(_), None) => bail!("{offset} is a marker, and is captured"),
        (None, _) => ensure!(entry.readable().is_none(), "{offset} is not captured, and is a record in Kafka"),
    }
    Ok(())
}

fn check_lost(log: &Log, offset: i64, reason: GapReason) -> Result<()> {
    // A topic's end is asked for by its name: the last answer may already be about the life after.
    let guessed = reason == GapReason::TopicDeleted;
    ensure!(guessed || offset < log.high_watermark(), "{offset} is in a gap, and never existed");
    let gone = log.gone_at.is_some() || offset < log.start;
    ensure!(gone, "{offset} is in a gap ({}), and can still be read", reason.as_str());
    if reason == GapReason::TopicDeleted {
        ensure!(log.gone_at.is_some(), "{offset} is lost with its topic, and that exists");
    }
    Ok(())
}
