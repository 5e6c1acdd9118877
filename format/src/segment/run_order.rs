//! The order of runs in a segment: within a row group by partition and offset; over the whole segment, the offsets of each
//! partition go up. So a reader of one partition reads forward only, and a row group can move from one segment to another.

use std::collections::HashMap;

use super::Error;
use crate::ids::PartitionKey;
use crate::manifest::Run;
use crate::offset_range::OffsetRange;

/// Checks runs, one after the other.
#[derive(Debug, Default)]
pub(crate) struct RunOrder {
    /// The run before: its row group, its partition, its offsets.
    before: Option<(u32, PartitionKey, OffsetRange)>,
    /// The last run of each partition.
    last: HashMap<PartitionKey, OffsetRange>,
}

impl RunOrder {
    /// Takes the next run in.
    pub(crate) fn follow(&mut self, row_group: u32, run: &Run) -> Result<(), Error> {
        let key = run.key();
        let in_group = self.before.as_ref().filter(|(group, previous, _)| *group == row_group && *previous > key);
        let misplaced = in_group.map(|(_, previous, range)| (previous.clone(), *range));
        let overlapped = self.last.get(&key).filter(|last| last.next_offset() > run.range.base());
        if let Some((previous, previous_range)) = misplaced.or(overlapped.map(|last| (key.clone(), *last))) {
            return Err(Error::Unsorted { previous, previous_range, partition: key, range: run.range });
        }
        self.last.insert(key.clone(), run.range);
        self.before = Some((row_group, key, run.range));
        Ok(())
    }
}
