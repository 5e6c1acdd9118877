//! `export`: a copy of a slice in the clear, for who has no key, or no reader of encrypted Parquet: JSON lines, or one Parquet file.
//!
//! ```text
//! slice ─▶ log ─▶ segments ─▶ restore::source (fetch, open, check, decode; in order) ─▶ lines, parquet ─▶ standard output, or a file
//! ```
//! Owns: which records, their order of calls. Does not own: reading them ([`crate::restore::source`], by which restores read).
//!
//! Invariants: exactly the records of the slice that count, of each partition in the order of their offsets; what is not what was
//! written ends it with an error, and no file appears; memory is that of some row groups, whatever the slice.

mod lines;
mod parquet;
mod sink;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use strimzi_backup_format::ids::{PartitionKey, Shard};
use strimzi_backup_format::manifest::reader::{self, Log};
use strimzi_backup_format::segment::decode::Row;
use strimzi_backup_format::segment::encode::{Codec, EncodeOptions};
use strimzi_backup_format::slice::{self, Touched};
use strimzi_backup_format::store::Store;

use self::lines::Lines;
use self::parquet::Table;
use self::sink::Sink;
use crate::error::Error;
use crate::pipeline::produce::{Pool, run_on};
use crate::restore::source::Source;
use crate::segments::{self, Slice};

/// Segments that are read at once: enough that one is fetched while another is written.
const PARALLELISM: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

/// How the codec of a copy is set: as that of segments is by default.
const CODEC: Codec = Codec::Zstd(1);

/// In which form records are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    #[default]
    Lines,
    /// One Parquet file with the columns of a segment.
    Parquet,
}

/// What is to be copied.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which records; at least one topic.
    pub slice: Slice,
    /// In which form.
    pub format: Format,
    /// The file, which must not be there; standard output where absent, which takes lines alone.
    pub output: Option<PathBuf>,
}

/// What was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Records.
    pub records: u64,
}

/// Copies a slice.
///
/// Killed at any point, it leaves at most a file whose name begins with `.strimzi-backup-export-` beside the one that was asked for.
///
/// # Errors
/// [`Error::Usage`] where the slice is inside out or names a topic that the backup does not have, or the file is there already;
/// [`Error::NoBackup`], [`Error::Read`]; [`Error::Restore`] where records cannot be read; [`Error::Io`] where the copy cannot be written.
pub async fn run(store: &Store, request: Request) -> Result<Exported, Error> {
    let Request { slice, format, output } = request;
    if format == Format::Parquet && output.is_none() {
        return Err(Error::Usage("--format parquet needs a file: name one with --output".to_owned()));
    }
    let log = reader::open(store, Shard::ONLY).await?;
    let log = log.ok_or_else(|| Error::NoBackup(store.description.clone()))?;
    segments::check(&log, &slice)?;
    let options = EncodeOptions::new(log.identity.backup, CODEC)?;
    let touched = find(store, &log, &slice).await?;
    let sink = Sink::open(output)?;
    let source = Source::open(store, touched, PARALLELISM.get(), &Arc::default());
    let written = run_on(Pool::Blocking, move || match format {
        Format::Lines => write(source, Lines::new(sink)),
        Format::Parquet => write(source, Table::new(sink, options)?),
    });
    written.await
}

/// The segments in which records of the slice may be, with what is wanted of each.
async fn find(store: &Store, log: &Log, slice: &Slice) -> Result<Vec<Touched>, Error> {
    let selected = |key: &PartitionKey| slice.topics.is_empty() || slice.topics.contains(&key.topic);
    // The last timestamp that belongs to it, where the first one is named that does not.
    let until = slice.to.map(|to| to.plus_millis(-1));
    let wanted = slice::Slice { selected: &selected, ends: None, from: slice.from, until };
    Ok(wanted.find(store, log).await?)
}

/// A form that records are written in.
trait Form: Sized {
    /// Takes records in, which follow those before.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Encode`].
    fn take(&mut self, rows: Vec<Row>) -> Result<(), Error>;

    /// Writes what is left, and lets the copy appear.
    ///
    /// # Errors
    /// As [`Form::take`].
    fn finish(self) -> Result<(), Error>;
}

/// Writes all records of a source. Blocks.
fn write(mut source: Source, mut form: impl Form) -> Result<Exported, Error> {
    let mut records = 0;
    while let Some(rows) = source.next_chunk()? {
        records += rows.len() as u64;
        match form.take(rows) {
            Err(error) if is_left(&error) => return Ok(Exported { records }),
            taken => taken?,
        }
    }
    match form.finish() {
        Err(error) if !is_left(&error) => Err(error),
        _ => Ok(Exported { records }),
    }
}

/// Whether the reader of standard output, such as `head`, has all it wanted. A file has none that could go away.
fn is_left(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::BrokenPipe)
}
