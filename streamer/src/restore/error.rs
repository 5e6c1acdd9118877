//! Why a restore did not end well, and what stands at the target then.

use strimzi_backup_format::ids::{GroupId, Offset, PartitionKey, RestoreId};
use strimzi_backup_format::segment::slice::SliceError;

use super::conflict::Conflict;
use super::point::PointFault;
use super::progress::ProgressFault;
use crate::error::exit;
use crate::kafka::{BrokerError, ProducerError, TargetError};

/// A restore did not end well.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup cannot be restored as asked. Nothing was written.
    #[error("cannot restore; nothing was written:\n{}", lines(.0))]
    Point(Vec<PointFault>),
    /// The target is not as it must be. Nothing was written.
    #[error("cannot restore; nothing was written:\n{}", lines(.0))]
    Conflicts(Vec<Conflict>),
    /// The user lacks rights that the target tells only now: to topics that were just created, or that were taken away.
    #[error("cannot restore; this start wrote no record, and topics that it created stay, empty:\n{}", lines(.0))]
    Rights(Vec<Conflict>),
    /// Another document was started under this name.
    #[error(
        "restore {id} was begun with another document: {what}; take another restore.id, or the document it was begun with"
    )]
    OtherPlan {
        /// The restore.
        id: RestoreId,
        /// What differs.
        what: &'static str,
    },
    /// Retention has retired records since the restore was planned: more than seven days ago, or in that very moment.
    #[error(
        "records were retired since restore {0} was planned; delete what was restored and start a restore with another id"
    )]
    Retired(RestoreId),
    /// A topic holds other records than when the restore was planned, and no progress is committed.
    #[error(
        "topic {topic} holds other records than when restore {id} was planned, and no progress of it is committed: somebody else \
         wrote, or the progress is gone (offsets.retention.minutes); delete what was restored and start a restore with another id"
    )]
    ProgressGone {
        /// The restore.
        id: RestoreId,
        /// A topic with records.
        topic: String,
    },
    /// The target does not say what a topic holds. The next pass asks again.
    #[error("the target does not describe topic {topic}: {code}")]
    Undescribed {
        /// The topic.
        topic: String,
        /// The broker's code.
        code: BrokerError,
    },
    /// The progress cannot be believed.
    #[error(transparent)]
    Progress(#[from] ProgressFault),
    /// A segment cannot be read. What was committed stays: the same restore goes on there.
    #[error(transparent)]
    Read(#[from] SliceError),
    /// The readers of segments ended before the last record: with the process, or by a fault of this program. What was committed
    /// stays: the same restore goes on there.
    #[error(
        "records stopped coming before the last one; started again under the same id, the restore goes on where it was"
    )]
    CutShort,
    /// The target does not take what is written. What was committed stays: the same restore goes on there.
    #[error(transparent)]
    Write(#[from] ProducerError),
    /// The target does not do what it is asked for with a topic.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Groups whose offsets are to be set have members by now. Every record is restored.
    #[error(
        "all records are restored, and offsets of consumer groups are not: {} have live members; stop them and start the restore \
         again under the same id", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    LiveGroups(Vec<GroupId>),
    /// The target did not tell where records of a partition are. The next pass writes them again.
    #[error("the target did not tell at which offsets it wrote the records of {0}")]
    Untold(PartitionKey),
    /// A record came that no plan names: a fault of this program.
    #[error("a fault of this program: records of {0} came unplanned")]
    Unplanned(PartitionKey),
    /// Records came in another order: a fault of this program.
    #[error("a fault of this program: {key} went back from {next} to {offset}")]
    OutOfOrder {
        /// The partition.
        key: PartitionKey,
        /// The record's offset.
        offset: Offset,
        /// The lowest that it may have.
        next: Offset,
    },
    /// The brokers aborted a transaction that took too long. The next pass goes on where it was.
    #[error("a transaction took longer than the target allows")]
    TookTooLong,
    /// Told to stop. The same restore goes on where it was.
    #[error("stopped; started again under the same id, the restore goes on where it was")]
    Stopped,
}

fn lines<T: std::fmt::Display>(faults: &[T]) -> String {
    faults.iter().map(|fault| format!("  - {fault}")).collect::<Vec<_>>().join("\n")
}

impl RestoreError {
    /// Whether another pass from the last commit on may succeed without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Read(error) => error.is_retryable(),
            Self::Write(error) => {
                error.is_retryable()
                    || matches!(error, ProducerError::Abortable { .. } | ProducerError::Unaccounted { .. })
            }
            Self::TookTooLong | Self::Undescribed { .. } | Self::Untold(_) => true,
            _ => false,
        }
    }

    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Point(_) | Self::Conflicts(_) | Self::Rights(_) | Self::OtherPlan { .. } => exit::USAGE,
            Self::ProgressGone { .. } | Self::Progress(_) | Self::Retired(_) => exit::USAGE,
            Self::Write(ProducerError::Fenced) => exit::FENCED,
            Self::Read(error) if error.is_damage() => exit::DAMAGED,
            _ => exit::FAILED,
        }
    }
}
