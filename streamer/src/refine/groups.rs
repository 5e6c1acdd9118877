//! Some runs of a segment, row group after row group.

use strimzi_backup_format::manifest::{Run, Segment};
use strimzi_backup_format::segment::slice::{GroupPages, SliceError, SliceReader, Wanted};
use strimzi_backup_format::store::Store;

/// What is still to be read, each run with something that is known of it.
pub(crate) struct Groups<T> {
    reader: SliceReader,
    runs: std::iter::Peekable<std::vec::IntoIter<(Run, T)>>,
}

impl<T> Groups<T> {
    /// To read all records of `runs`, which are of the segment and in its order.
    pub(crate) async fn open(store: &Store, segment: Segment, runs: Vec<(Run, T)>) -> Result<Self, SliceError> {
        let wanted = runs.iter().map(|(run, _)| Wanted::all(run.clone())).collect();
        let reader = SliceReader::open(store, segment, wanted).await?;
        Ok(Self { reader, runs: runs.into_iter().peekable() })
    }

    /// The runs of the next row group, and its pages, whose wanted rows are theirs.
    pub(crate) async fn next(&mut self) -> Result<Option<(Vec<(Run, T)>, GroupPages)>, SliceError> {
        let Some(pages) = self.reader.next_pages().await? else { return Ok(None) };
        let row_group = self.runs.peek().map(|(run, _)| run.row_group);
        let of_group = std::iter::from_fn(|| self.runs.next_if(|(run, _)| Some(run.row_group) == row_group));
        Ok(Some((of_group.collect(), pages)))
    }
}
