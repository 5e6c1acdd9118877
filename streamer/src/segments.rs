//! `segments`: which objects hold a slice of the backup, for a query engine or a script.
//!
//! Owns: the slice, and the forms it is printed in (SQL in `duckdb.rs`, with the keys of encrypted files in `with_keys.rs`). Does not own:
//! finding segments ([`Log::segments`]), or where the store is. Reads the log and nothing else, but for the ends of files whose keys are
//! asked for.
//!
//! Invariant: every record of the slice is in one of the objects named, in one of its runs named. Objects may hold others too:
//! a file is never cut to a slice, and rows that are retired stay in it, so the `duckdb` form filters by the columns.

mod duckdb;
mod with_keys;

use serde::Serialize;
use strimzi_backup_format::ids::{Lineage, PartitionId, Shard, TimestampMs, TopicName};
use strimzi_backup_format::job::Location;
use strimzi_backup_format::layout::ObjectKey;
use strimzi_backup_format::manifest::reader::{self, Log};
use strimzi_backup_format::manifest::{Run, Segment};
use strimzi_backup_format::offset_range::OffsetRange;
use strimzi_backup_format::state::State;
use strimzi_backup_format::store::{Kind, Store};

use crate::error::Error;

/// The records that are asked for: those of `topics` with a timestamp in `[from, to)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// The topics; all where empty.
    pub topics: Vec<TopicName>,
    /// The first timestamp; from the start where absent.
    pub from: Option<TimestampMs>,
    /// The first timestamp after; to the end where absent.
    pub to: Option<TimestampMs>,
}

/// How the objects are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One full path per line.
    #[default]
    Paths,
    /// A JSON array of [`Entry`].
    Json,
    /// The same, of an encrypted backup, each with the key of its file. Who asks for it is warned in the log.
    JsonWithKeys,
    /// SQL for DuckDB that reads exactly the slice.
    DuckDb,
}

/// One object and what of the slice is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Its key below the storage prefix.
    pub object: ObjectKey,
    /// Its size.
    pub bytes: u64,
    /// Its live runs that overlap the slice.
    pub runs: Vec<RunEntry>,
    /// Whether it may hold rows of the slice that do not count, in no run named here: they are retired, or a base has them.
    pub holds_retired: bool,
}

/// A run that overlaps the slice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunEntry {
    /// The topic.
    pub topic: TopicName,
    /// Which life of the topic.
    pub lineage: Lineage,
    /// The partition.
    pub partition: PartitionId,
    /// Its offsets.
    #[serde(flatten)]
    pub range: OffsetRange,
    /// Its records.
    pub rows: u64,
    /// The lowest timestamp in it.
    pub min_timestamp: TimestampMs,
    /// The highest timestamp in it.
    pub max_timestamp: TimestampMs,
}

/// Finds the slice and prints its objects; `place` is where the job says that `store` is.
///
/// # Errors
/// [`Error::NoBackup`], [`Error::Usage`] where the slice is inside out or names a topic that the backup does not have, or the form is none
/// for it, [`Error::Read`]; [`Error::Keys`] or [`Error::Segment`] where the key of a file cannot be had.
pub async fn run(store: &Store, place: &Location, slice: &Slice, format: Format) -> Result<String, Error> {
    let log = reader::open(store, Shard::ONLY).await?;
    let log = log.ok_or_else(|| Error::NoBackup(store.description.clone()))?;
    let entries = select(store, &log, slice).await?;
    match (format, &store.keys) {
        (Format::JsonWithKeys, Some(ring)) => with_keys::render(store, ring, entries).await,
        (Format::JsonWithKeys, None) => {
            Err(Error::Usage("the backup is not encrypted: its files open without --with-keys".to_owned()))
        }
        (Format::DuckDb, Some(_)) => Err(Error::Usage(
            "DuckDB opens no file of an encrypted backup; `strimzi-backup export --format parquet` writes a copy that it opens"
                .to_owned(),
        )),
        _ => Ok(render(store, place, slice, &entries, format)),
    }
}

/// The objects of the slice, in the order they were committed.
///
/// # Errors
/// [`Error::Usage`] or [`Error::Read`].
pub async fn select(store: &Store, log: &Log, slice: &Slice) -> Result<Vec<Entry>, Error> {
    check(log, slice)?;
    let segments = log.segments(store, slice.from, slice.to).await?;
    Ok(segments.into_iter().filter_map(|segment| entry(segment, &log.state, slice)).collect())
}

/// Fails where a slice is inside out, or names a topic that the backup does not have.
pub(crate) fn check(log: &Log, slice: &Slice) -> Result<(), Error> {
    if let (Some(from), Some(to)) = (slice.from, slice.to)
        && to <= from
    {
        let (from, to) = (from.to_rfc3339(), to.to_rfc3339());
        return Err(Error::Usage(format!("--to {to} is not after --from {from}; the slice would be empty")));
    }
    match slice.topics.iter().find(|topic| !log.state.topics.contains_key(topic)) {
        Some(topic) => Err(Error::Usage(format!(
            "the backup has no topic {topic}; `strimzi-backup inspect --output json` lists those that it has"
        ))),
        None => Ok(()),
    }
}

fn entry(segment: Segment, state: &State, slice: &Slice) -> Option<Entry> {
    let live = state.live_runs(&segment).filter(|run| slice.overlaps(run)).cloned();
    let runs: Vec<RunEntry> = live.map(RunEntry::from).collect();
    let holds_retired = runs.len() < segment.runs.iter().filter(|run| slice.overlaps(run)).count();
    (!runs.is_empty()).then_some(Entry { object: segment.object, bytes: segment.bytes, runs, holds_retired })
}

impl Slice {
    fn overlaps(&self, run: &Run) -> bool {
        (self.topics.is_empty() || self.topics.contains(&run.topic))
            && self.from.is_none_or(|from| from <= run.max_timestamp)
            && self.to.is_none_or(|to| run.min_timestamp < to)
    }
}

impl From<Run> for RunEntry {
    fn from(run: Run) -> Self {
        let Run { topic, lineage, partition, range, rows, min_timestamp, max_timestamp, .. } = run;
        Self { topic, lineage, partition, range, rows, min_timestamp, max_timestamp }
    }
}

/// Prints entries.
fn render(store: &Store, place: &Location, slice: &Slice, entries: &[Entry], format: Format) -> String {
    match format {
        Format::Paths => entries.iter().map(|entry| location(store, &entry.object) + "\n").collect(),
        Format::Json | Format::JsonWithKeys => {
            // These structures have text keys and finite numbers only, which is all that serde_json asks for.
            serde_json::to_string_pretty(entries).unwrap_or_default() + "\n"
        }
        Format::DuckDb => duckdb::Script { store, place, slice, entries }.to_string(),
    }
}

/// The full path of an object, as query engines take it.
pub fn location(store: &Store, object: &ObjectKey) -> String {
    match &store.kind {
        Kind::Filesystem(root) => root.join(object.as_str()).display().to_string(),
        // DuckDB and the Azure tools want the account's host, which `azure://<account>/<container>` abbreviates.
        Kind::Azure => {
            let place = store.description.strip_prefix("azure://").unwrap_or(&store.description);
            let (account, rest) = place.split_once('/').unwrap_or((place, ""));
            format!("az://{account}.blob.core.windows.net/{}/{object}", rest.trim_end_matches('/'))
        }
        Kind::S3 | Kind::Gcs | Kind::Memory => format!("{}/{object}", store.description.trim_end_matches('/')),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use strimzi_backup_format::ids::Offset;
    use strimzi_backup_format::sample::{self, at};
    use strimzi_backup_format::state::{Position, Retirement};

    use super::*;

    fn key(text: &str) -> ObjectKey {
        ObjectKey::try_from(text.to_owned()).expect("a segment's key")
    }

    fn entries() -> Vec<Entry> {
        let keys = [
            "intake/2026-02-13/07/0000-0000000003-00000000000000000042-0000.parquet",
            "topics/topic=orders/date=2026-02-13/hour=07/0000-0000000003-00000000000000000042-0001.parquet",
        ];
        keys.map(|object| Entry { object: key(object), bytes: 9, runs: Vec::new(), holds_retired: false }).to_vec()
    }

    fn store(kind: Kind, description: &str) -> Store {
        Store { kind, description: description.to_owned(), ..Store::memory() }
    }

    #[test]
    fn paths_are_those_of_the_store() {
        let object = &entries()[0].object;
        for (kind, description, start) in [
            (Kind::Filesystem(PathBuf::from("/backup/a")), "file:///backup/a", "/backup/a"),
            (Kind::S3, "s3://b/p", "s3://b/p"),
            (Kind::Gcs, "gs://b", "gs://b"),
            (Kind::Azure, "azure://acc/cont/p", "az://acc.blob.core.windows.net/cont/p"),
        ] {
            assert_eq!(location(&store(kind, description), object), format!("{start}/{object}"));
        }
    }

    #[test]
    fn a_file_says_whether_it_has_retired_rows_of_the_slice() {
        let (orders, payments) = (sample::key("orders", 0, 0), sample::key("payments", 0, 0));
        let mut state = sample::empty_state();
        state.retired = Some(Retirement { before: at(10), observed_at: at(30) });
        let position = Position {
            first_offset: Offset::new(10),
            base: None,
            next_offset: Offset::new(20),
            last_record: None,
            highest_timestamp: Some(at(10)),
            filed: None,
            lowest_timestamp: Some(at(10)),
            rows: 10,
        };
        state.positions.insert(orders.clone(), position);
        let [retired, live] = [0..10, 10..20].map(|offsets| sample::run(&orders, offsets, 10));
        let other = sample::run(&payments, 0..10, 10);
        let found = |runs: &[&Run], topics: &[&str]| {
            let segment = sample::segment(runs.iter().copied().cloned().collect());
            let slice = Slice { topics: topics.iter().map(|name| sample::topic(name)).collect(), ..Slice::default() };
            entry(segment, &state, &slice).map(|entry| (entry.runs, entry.holds_retired))
        };
        let named = |runs: &[&Run]| runs.iter().copied().cloned().map(RunEntry::from).collect::<Vec<_>>();
        assert_eq!(found(&[&retired, &live, &other], &[]), Some((named(&[&live, &other]), true)));
        assert_eq!(found(&[&live, &other], &[]), Some((named(&[&live, &other]), false)));
        assert_eq!(found(&[&retired, &other], &["payments"]), Some((named(&[&other]), false)), "of another topic");
        assert_eq!(found(&[&retired, &other], &["orders"]), None);
    }
}
