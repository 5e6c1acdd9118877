//! What is in a backup, read with the format's own reader: the side of a comparison that is not Kafka.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use object_store::ObjectStore;
use object_store::ObjectStoreExt as _;
use object_store::local::LocalFileSystem;
use strimzi_backup_format::coverage;
use strimzi_backup_format::crypt::wraps::KeyWrap;
use strimzi_backup_format::crypt::{FileKeys, FileOpener, KeyRing, SecretKey, wraps};
use strimzi_backup_format::groups;
use strimzi_backup_format::ids::{Lineage, Shard, TimestampMs};
use strimzi_backup_format::job::{Filesystem, Location, Storage};
use strimzi_backup_format::layout::ObjectKey;
use strimzi_backup_format::manifest::Segment;
use strimzi_backup_format::manifest::reader::{self, Log};
use strimzi_backup_format::record::TimestampType;
use strimzi_backup_format::segment::decode::SegmentReader;
use strimzi_backup_format::segment::wrapped_key::key_metadata;
use strimzi_backup_format::state::TopicState;
use strimzi_backup_format::store::{self, Kind, PART_BYTES, Store};

use crate::client::{Header, KafkaClient, ReadRecord};
use crate::scenario::tree;
use crate::streamer::Job;

/// A backup opened for reading.
#[derive(Debug)]
pub struct Backup {
    store: Store,
    /// Its log.
    pub log: Log,
}

impl Backup {
    /// Every Parquet file below a directory, each of which can be read.
    ///
    /// # Errors
    /// Where one cannot.
    pub fn whole_files(&self, root: &Path) -> Result<Vec<String>> {
        let files = tree(root)?.into_keys().map(|path| path.display().to_string());
        let files: Vec<String> = files.filter(|file| file.ends_with(".parquet")).collect();
        for file in &files {
            let (bytes, opener) = (std::fs::read(root.join(file))?.into(), self.opener(file)?);
            let read = if file.starts_with("groups/") {
                groups::file::decode(bytes, opener.as_ref()).map(drop)
            } else {
                SegmentReader::open(bytes, opener.as_ref()).map(drop)
            };
            read.with_context(|| format!("{file} is not whole"))?;
        }
        Ok(files)
    }

    /// Opens the backup in a directory. A store of another kind whose server keeps plain files is opened by its folder.
    ///
    /// # Errors
    /// Where there is none, or it cannot be read.
    pub fn open(dir: &Path) -> Result<Self> {
        let inner: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(dir)?);
        let store = Store {
            inner,
            prefix: object_store::path::Path::default(),
            description: dir.display().to_string(),
            kind: Kind::Filesystem(dir.to_owned()),
            anchor: None,
            keys: None,
            part_bytes: PART_BYTES,
        };
        let log = block_on(reader::open(&store, Shard::ONLY))?.context("there is a backup")?;
        Ok(Self { store, log })
    }

    /// Opens the encrypted backup in a directory by the master key in a file.
    ///
    /// # Errors
    /// Where there is none, the key is another, or it cannot be read.
    pub fn open_with_key(dir: &Path, key: &Path) -> Result<Self> {
        let (plain, wraps) = wrapped_keys(dir)?;
        let backup = wraps.first().context("a wrapped key")?.backup;
        let ring = block_on(wraps::unlock(backup, &wraps, &FileKeys::read(key, &[])?))?;
        let store = store::sealed(&plain, Arc::new(ring));
        let log = block_on(reader::open(&store, Shard::ONLY))?.context("there is a backup")?;
        Ok(Self { store, log })
    }

    /// The backup keys of the encrypted backup in a directory, which the master key in a file opens.
    ///
    /// # Errors
    /// As [`Backup::open_with_key`].
    pub fn backup_keys(dir: &Path, key: &Path) -> Result<Vec<SecretKey>> {
        let (_, wraps) = wrapped_keys(dir)?;
        let backup = wraps.first().context("a wrapped key")?.backup;
        let opened = block_on(wraps::open_each(backup, &wraps, &FileKeys::read(key, &[])?))?;
        Ok(opened.into_values().map(|opened| opened.key).collect())
    }

    /// Opens the backup in a directory as commands with `job` do: with its current master key in a file, where it names one.
    ///
    /// # Errors
    /// As [`Backup::open`] and [`Backup::open_with_key`].
    pub fn of_job(dir: &Path, job: &Job) -> Result<Self> {
        match job.document()["backup"]["encryption"]["keyFile"].as_str() {
            Some(key) => Self::open_with_key(dir, Path::new(key)),
            None => Self::open(dir),
        }
    }

    /// Every record of a topic in one of its lives, in order of partition and offset.
    ///
    /// # Errors
    /// Where a segment cannot be read, or holds a record twice.
    pub fn records(&self, topic: &str, lineage: i32) -> Result<Vec<ReadRecord>> {
        let mut records = Vec::new();
        for segment in block_on(self.log.segments(&self.store, None, None))? {
            let key = segment.object.below(&self.store.prefix);
            let bytes = block_on(async { self.store.inner.get(&key).await?.bytes().await })?;
            let reader = SegmentReader::open(bytes, self.store.opener(&segment.object).as_ref())?;
            let wanted = |run: &&strimzi_backup_format::manifest::Run| {
                run.topic.as_str() == topic && run.lineage == Lineage::new(lineage)
            };
            for run in segment.runs.iter().filter(wanted) {
                for row in reader.records(run)? {
                    records.push(read_record(row?));
                }
            }
        }
        records.sort_by_key(|record| (record.partition, record.offset));
        let twice =
            records.windows(2).find(|pair| (pair[0].partition, pair[0].offset) == (pair[1].partition, pair[1].offset));
        ensure!(twice.is_none(), "{topic} holds a record twice: {twice:?}");
        Ok(records)
    }

    /// What opens a file; `None` where the backup is not encrypted.
    ///
    /// # Errors
    /// Where it is no key of a backup's object.
    pub fn opener(&self, object: &str) -> Result<Option<FileOpener>> {
        Ok(self.store.opener(&ObjectKey::try_from(object.to_owned())?))
    }

    /// Its keys; `None` where it is not encrypted.
    pub fn keys(&self) -> Option<Arc<KeyRing>> {
        self.store.keys.clone()
    }

    /// The data key of each file that the log names, with the object. None where the backup is not encrypted.
    ///
    /// # Errors
    /// Where a file cannot be read or opened.
    pub fn data_keys(&self) -> Result<Vec<(String, SecretKey)>> {
        let mut keys = Vec::new();
        for object in self.files()? {
            let Some(opener) = self.opener(&object)? else { continue };
            let path = opener.object.below(&self.store.prefix);
            let bytes = block_on(async { self.store.inner.get(&path).await?.bytes().await })?;
            keys.push((object, opener.open(&key_metadata(&bytes)?)?));
        }
        Ok(keys)
    }

    /// The timestamps of every record of a segment.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn timestamps(&self, object: &str) -> Result<Vec<TimestampMs>> {
        let object = ObjectKey::try_from(object.to_owned())?;
        let key = object.below(&self.store.prefix);
        let bytes = block_on(async { self.store.inner.get(&key).await?.bytes().await })?;
        let rows = SegmentReader::open(bytes, self.store.opener(&object).as_ref())?.rows();
        rows.map(|row| Ok(row?.1.timestamp)).collect()
    }

    /// Every live segment.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub fn segments(&self) -> Result<Vec<Segment>> {
        Ok(block_on(self.log.segments(&self.store, None, None))?)
    }

    /// The keys of all live segments, below the prefix.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub fn objects(&self) -> Result<Vec<String>> {
        Ok(self.segments()?.iter().map(|segment| segment.object.to_string()).collect())
    }

    /// The keys of all files that the log names, those with offsets of consumer groups too.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub fn files(&self) -> Result<Vec<String>> {
        let mut files = self.objects()?;
        if let Some(head) = self.log.state.head {
            let of_groups = block_on(self.log.group_segments(&self.store, None, head.sequence, None))?;
            files.extend(of_groups.iter().map(|segment| segment.object.to_string()));
        }
        files.extend(self.log.state.group_images.iter().map(|image| image.image.object.to_string()));
        Ok(files)
    }

    /// How many records of a life of a topic the log tells of.
    pub fn rows(&self, topic: &str, lineage: i32) -> u64 {
        let positions = self.log.state.positions.iter();
        let of_topic = positions.filter(|(key, _)| key.topic.as_str() == topic && key.lineage.get() == lineage);
        of_topic.map(|(_, position)| position.rows).sum()
    }

    /// The first offset of a partition that is not accounted for yet.
    pub fn position(&self, topic: &str, lineage: i32, partition: i32) -> Option<i64> {
        let mut positions = self.log.state.positions.iter();
        let found = positions.find(|(key, _)| {
            (key.topic.as_str(), key.lineage.get(), key.partition.get()) == (topic, lineage, partition)
        });
        found.map(|(_, position)| position.next_offset.get())
    }

    /// The gaps of a topic: life, partition, first offset lost, first offset after, reason.
    pub fn gaps(&self, topic: &str) -> Vec<(i32, i32, i64, i64, &'static str)> {
        let gaps = self.log.state.gaps.iter().filter(|gap| gap.topic.as_str() == topic);
        gaps.map(|gap| {
            let (base, end) = (gap.range.base().get(), gap.range.next_offset().get());
            (gap.lineage.get(), gap.partition.get(), base, end, gap.reason.as_str())
        })
        .collect()
    }

    /// Why partitions of a topic are behind.
    pub fn behind(&self, topic: &str) -> Vec<&'static str> {
        let behind = self.log.state.frontier.behind.iter().filter(|behind| behind.topic.as_str() == topic);
        behind.map(|behind| behind.reason.as_str()).collect()
    }

    /// What the log knows of a topic.
    ///
    /// # Errors
    /// Where it knows nothing.
    pub fn topic(&self, name: &str) -> Result<&TopicState> {
        let mut topics = self.log.state.topics.iter();
        let found = topics.find(|(topic, _)| topic.as_str() == name);
        Ok(found.with_context(|| format!("the log does not know {name}"))?.1)
    }

    /// The instant up to which everything is captured, in milliseconds.
    pub fn until(&self) -> Option<i64> {
        coverage::recoverable_until(&self.log.state).map(|until| until.get())
    }

    /// Insists that the backup of a topic's first life equals what a consumer reads of it now.
    ///
    /// # Errors
    /// With the first difference.
    pub fn equals_topic(&self, client: &KafkaClient, topic: &str) -> Result<usize> {
        same(&self.records(topic, 0)?, &client.read_all(topic)?, topic)
    }
}

/// The store in a directory as who has no key sees it, and the wrapped keys there.
fn wrapped_keys(dir: &Path) -> Result<(Store, Vec<KeyWrap>)> {
    let location = Location::Filesystem(Filesystem { path: dir.to_owned() });
    let plain = store::open(&Storage { location, anchor: None, encryption: None })?;
    let wraps = block_on(wraps::read(&plain))?.wraps;
    Ok((plain, wraps))
}

/// Insists that two lists of records are equal, and gives their length.
///
/// # Errors
/// With the first difference.
pub fn same(held: &[ReadRecord], read: &[ReadRecord], topic: &str) -> Result<usize> {
    for (held, read) in held.iter().zip(read) {
        ensure!(held == read, "{topic} differs:\nbackup {held:?}\nKafka  {read:?}");
    }
    ensure!(held.len() == read.len(), "{topic}: {} records in the backup, {} in Kafka", held.len(), read.len());
    Ok(held.len())
}

fn read_record(row: strimzi_backup_format::segment::decode::Row) -> ReadRecord {
    let (key, record) = row;
    ReadRecord {
        partition: key.partition.get(),
        offset: record.offset.get(),
        timestamp: record.timestamp.get(),
        timestamp_type: match record.timestamp_type {
            TimestampType::CreateTime => "CreateTime",
            TimestampType::LogAppendTime => "LogAppendTime",
            TimestampType::None => "NoTimestampType",
        },
        key: record.key.map(|bytes| bytes.to_vec()),
        value: record.value.map(|bytes| bytes.to_vec()),
        headers: record
            .headers
            .into_iter()
            .map(|header| -> Header { (header.key.to_vec(), header.value.map(|bytes| bytes.to_vec())) })
            .collect(),
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    futures::executor::block_on(future)
}
