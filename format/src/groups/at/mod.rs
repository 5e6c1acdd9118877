//! What groups had committed at a moment: the newest image before it, and what was committed since.
//!
//! Requests: the image, and the segments from it to the moment, at most those of an hour and a bit; and the blocks of the
//! log that list them.

use futures::{StreamExt as _, TryStreamExt as _};

use super::{GroupOffsets, OffsetRow, Table, file};
use crate::checksum::Sha256;
use crate::ids::{Offset, PartitionKey, Sequence, TimestampMs, TopicName};
use crate::layout::ObjectKey;
use crate::manifest::reader::{self, Log};
use crate::manifest::{Frontier, GroupImage, GroupStanding};
use crate::slice::Ends;
use crate::state::{GroupImageAt, State};
use crate::store::{self, ErrorKind, Store, StoreError};

/// What groups may be behind records at the end of the log, or at a snapshot, without a word: commits in transactions may be
/// open for as long as Kafka's default lets them.
const BEHIND_MILLIS: i64 = 60_000;

/// How many files are fetched at once.
const AT_ONCE: usize = 4;

/// A moment in the history of groups. With both limits, whichever comes first for a commit.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The newest manifest that counts.
    pub last: Sequence,
    /// What that manifest says is captured.
    pub frontier: &'a Frontier,
    /// Where each partition of `__consumer_offsets` ends, exclusive; to the end of the log where absent.
    pub ends: Option<&'a Ends>,
    /// The last instant that counts, inclusive, by the clock of the broker that appended the commit; absent: all.
    pub until: Option<TimestampMs>,
}

/// What groups had committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// By group and partition.
    pub offsets: GroupOffsets,
    /// Why that is not all, where it is not.
    pub incomplete: Option<Incomplete>,
    /// Records up to then that could not be read when they were captured: what they say is not in the offsets.
    pub unreadable: u64,
}

/// Why the offsets of groups at a moment are not held, or not all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incomplete {
    /// The job selects no group.
    #[error("the backup does not cover consumer groups: its job selects none (consumerGroups)")]
    NotSelected,
    /// The streamer may not see `__consumer_offsets`.
    #[error(
        "the backup does not cover consumer groups: its user may not see the topic __consumer_offsets (Describe, Read)"
    )]
    Denied,
    /// The first copy lasts.
    #[error("the offsets of consumer groups are not held yet: their first copy is not complete")]
    FirstCopy,
    /// The moment is before the first copy was complete.
    #[error("the offsets of consumer groups are held from {} on", from.to_rfc3339())]
    Before {
        /// The first moment.
        from: TimestampMs,
    },
    /// The moment is after what is captured of groups.
    #[error("the offsets of consumer groups are held until {} only", until.to_rfc3339())]
    After {
        /// The last moment.
        until: TimestampMs,
    },
    /// They were not captured any more at the end of the log.
    #[error("the offsets of consumer groups are not captured any more: __consumer_offsets is out of reach or refused")]
    Interrupted,
}

/// A file with offsets of groups cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log.
    #[error(transparent)]
    Log(#[from] reader::Error),
    /// The store did not give the file; trying again may help.
    #[error(transparent)]
    Store(StoreError),
    /// It is gone, not what was written, or of a newer release.
    #[error(
        "{object}, which holds offsets of consumer groups, cannot be read: bring it back where it is missing or damaged, or go on \
         without consumer groups; `strimzi-backup verify --level 2` names all that cannot be read"
    )]
    Damaged {
        /// The file.
        object: ObjectKey,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Log(error) => error.is_retryable(),
            Self::Store(error) => error.is_retryable(),
            Self::Damaged { .. } => false,
        }
    }

    /// Whether what lies there is not what was written, or a newer release wrote it.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Log(error) => error.is_damage(),
            Self::Store(error) => !error.is_retryable(),
            Self::Damaged { .. } => true,
        }
    }
}

/// What groups had committed at a moment, as far as it is held.
///
/// # Errors
/// [`Error`], which names the file.
pub async fn at(store: &Store, log: &Log, moment: Moment<'_>) -> Result<Found, Error> {
    let table = table(store, log, moment).await?;
    let (offsets, unreadable) = (table.offsets(), table.unreadable());
    Ok(Found { offsets, incomplete: incomplete(&log.state, moment), unreadable })
}

/// Everything that is known at a moment.
///
/// # Errors
/// [`Error`], which names the file.
pub async fn table(store: &Store, log: &Log, moment: Moment<'_>) -> Result<Table, Error> {
    let base = base(&log.state.group_images, moment);
    let mut table = Table::default();
    if let Some(base) = base {
        let GroupImage { object, bytes, sha256, .. } = base.image.clone();
        rows(store, object, bytes, sha256).await?.into_iter().for_each(|row| table.take(row));
        table.rests_on(base.image.newest, base.image.unreadable);
    }
    // Later images cannot hold less: what is in them was committed by then, and what came later is after the moment.
    let last = covering(&log.state.group_images, moment).unwrap_or(moment.last);
    let to = moment.until.and_then(|until| until.get().checked_add(1)).map(TimestampMs::new);
    let segments = log.group_segments(store, base.map(|base| base.sequence), last, to).await?;
    let fetched = futures::stream::iter(segments)
        .map(|segment| async move { rows(store, segment.object, segment.bytes, segment.sha256).await });
    let mut fetched = fetched.buffered(AT_ONCE);
    while let Some(rows) = fetched.try_next().await? {
        rows.into_iter().filter(|row| moment.holds(row)).for_each(|row| table.take(row));
    }
    Ok(table)
}

/// The newest image of which everything counts.
fn base<'a>(images: &'a [GroupImageAt], moment: Moment<'_>) -> Option<&'a GroupImageAt> {
    let before =
        |at: &GroupImageAt| moment.until.is_none_or(|until| at.image.newest.is_none_or(|newest| newest <= until));
    images.iter().rev().find(|at| at.sequence <= moment.last && before(at))
}

/// The manifest by which everything that was committed at the moment is captured, where that is known.
fn covering(images: &[GroupImageAt], moment: Moment<'_>) -> Option<Sequence> {
    let until = moment.until?;
    let found = images.iter().find(|at| at.until.is_some_and(|covered| covered >= until))?;
    Some(found.sequence.min(moment.last))
}

fn incomplete(state: &State, moment: Moment<'_>) -> Option<Incomplete> {
    let Some(first) = state.group_images.first() else {
        return match moment.frontier.groups {
            None => Some(Incomplete::NotSelected),
            Some(GroupStanding::Denied) => Some(Incomplete::Denied),
            // No group had committed anything.
            Some(GroupStanding::Absent) => None,
            Some(GroupStanding::Followed | GroupStanding::Damaged) => Some(Incomplete::FirstCopy),
        };
    };
    if let Some(from) = first.until.filter(|from| moment.until.is_some_and(|until| until < *from)) {
        return Some(Incomplete::Before { from });
    }
    if moment.last < first.sequence {
        return Some(Incomplete::FirstCopy);
    }
    // Without a moment, or at a snapshot, it is that of the records.
    let wanted = match moment.until {
        Some(wanted) if moment.ends.is_none() => Some(wanted),
        _ => moment.frontier.until.map(|until| until.plus_millis(-BEHIND_MILLIS)),
    };
    match (moment.frontier.groups_until(), wanted) {
        (Some(until), Some(wanted)) if until < wanted => Some(Incomplete::After { until }),
        (None, _) if covering(&state.group_images, moment).is_none() => Some(Incomplete::Interrupted),
        _ => None,
    }
}

impl<'a> Moment<'a> {
    /// A moment of the whole log; its end where `until` is absent. `None` where the log is empty.
    pub fn of_log(log: &'a Log, until: Option<TimestampMs>) -> Option<Self> {
        let last = log.state.head?.sequence;
        Some(Self { last, frontier: &log.state.frontier, ends: None, until })
    }

    fn holds(&self, row: &OffsetRow) -> bool {
        let (topic, lineage, partition) = (TopicName::consumer_offsets(), row.lineage, row.log_partition);
        let end = self.ends.map(|ends| ends.get(&PartitionKey { topic, lineage, partition }).copied());
        let in_ends = end.is_none_or(|end| end.is_some_and(|end: Offset| row.log_offset < end));
        in_ends && self.until.is_none_or(|until| row.timestamp <= until)
    }
}

async fn rows(store: &Store, object: ObjectKey, size: u64, sha256: Sha256) -> Result<Vec<OffsetRow>, Error> {
    let read = store::get_checked(store.inner.as_ref(), &object.below(&store.prefix), size, sha256).await;
    let bytes = match read {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {
            return Err(Error::Damaged { object, source: error.into() });
        }
        Err(error) => return Err(Error::Store(error)),
    };
    let opener = store.opener(&object);
    file::decode(bytes, opener.as_ref()).map_err(|error| Error::Damaged { object, source: error.into() })
}

#[cfg(test)]
mod tests;
