//! Which of the objects in the store may go. Pure.

use std::collections::HashSet;

use object_store::path::Path;
use strimzi_backup_format::checksum::Sha256;
use strimzi_backup_format::ids::{BackupId, Sequence, TimestampMs};
use strimzi_backup_format::layout::{self, ObjectKey};
use strimzi_backup_format::manifest::reader::Log;
use strimzi_backup_format::snapshot::Snapshot;

/// What an object is. Nothing else is ever deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// Records of many topics.
    Intake,
    /// Records of one topic.
    Topic,
    /// Of the old records of a compacted topic the newest of each key.
    Base,
    /// Offsets of consumer groups.
    Groups,
    /// A bucket manifest.
    Bucket,
    /// A checkpoint.
    Checkpoint,
    /// A snapshot.
    Snapshot,
}

impl Kind {
    /// All of them. Documents come after what they list.
    pub const ALL: [Self; 7] =
        [Self::Intake, Self::Topic, Self::Base, Self::Groups, Self::Bucket, Self::Checkpoint, Self::Snapshot];

    /// Where they lie.
    pub fn folder(self) -> ObjectKey {
        match self {
            Self::Intake => layout::intake(),
            Self::Topic => layout::topics(),
            Self::Base => layout::base(),
            Self::Groups => layout::groups(),
            Self::Bucket => layout::buckets(),
            Self::Checkpoint => layout::checkpoints(strimzi_backup_format::ids::Shard::ONLY),
            Self::Snapshot => layout::snapshots(),
        }
    }

    /// For people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intake => "intake segments",
            Self::Topic => "topic segments",
            Self::Base => "base segments",
            Self::Groups => "files with offsets of groups",
            Self::Bucket => "bucket manifests",
            Self::Checkpoint => "checkpoints",
            Self::Snapshot => "snapshots",
        }
    }
}

/// An object as the store lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What it is, by its folder.
    pub kind: Kind,
    /// Its key below the prefix.
    pub key: String,
    /// Its place in the store.
    pub location: Path,
    /// Its size.
    pub bytes: u64,
    /// When it was written, by the store's clock.
    pub modified: TimestampMs,
}

/// What becomes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is needed, or no object of ours.
    Keep,
    /// It is not needed, and too young to go.
    Young,
    /// It goes.
    Delete,
}

/// What is needed: some 16 bytes for each object.
#[derive(Debug)]
pub struct Keep {
    backup: BackupId,
    /// The newest manifest of the older log: what is named after later ones may not be in any log yet.
    head: Sequence,
    /// Snapshots of instants before are not kept, and were not then.
    retired_before: Option<TimestampMs>,
    named: HashSet<u128>,
}

impl Keep {
    /// Nothing yet, with the log as it was a grace period ago.
    pub fn new(then: &Log) -> Self {
        Self {
            backup: then.state.backup,
            head: then.state.head.map_or(Sequence::new(0), |head| head.sequence),
            retired_before: then.state.retired.map(|retired| retired.before),
            named: HashSet::new(),
        }
    }

    /// The backup.
    pub fn backup(&self) -> BackupId {
        self.backup
    }

    /// A log names it.
    pub fn add(&mut self, object: &ObjectKey) {
        self.named.insert(fingerprint(object.as_str()));
    }

    /// What becomes of an object; `snapshot` is its document, where it is one. What was written after `young` stays.
    pub fn judge(&self, object: &Listed, snapshot: Option<&Snapshot>, young: TimestampMs) -> Verdict {
        let may_go = match object.kind {
            Kind::Intake | Kind::Topic | Kind::Base | Kind::Groups => {
                let key = ObjectKey::try_from(object.key.clone()).ok();
                let sequence = key.as_ref().and_then(ObjectKey::segment_sequence);
                sequence.is_some_and(|sequence| sequence <= self.head) && !self.is_named(object)
            }
            Kind::Bucket => {
                let through = layout::bucket_manifest_sequence(&object.key);
                through.is_some_and(|through| through < self.head) && !self.is_named(object)
            }
            Kind::Checkpoint => {
                let sequence = layout::checkpoint_sequence(&object.key);
                sequence.is_some_and(|sequence| sequence < self.head) && !self.is_named(object)
            }
            Kind::Snapshot => {
                snapshot.is_some_and(|snapshot| snapshot.is_retired(self.retired_before) && snapshot.keep.is_none())
            }
        };
        match may_go {
            false => Verdict::Keep,
            true if object.modified > young => Verdict::Young,
            true => Verdict::Delete,
        }
    }

    fn is_named(&self, object: &Listed) -> bool {
        self.named.contains(&fingerprint(&object.key))
    }
}

fn fingerprint(key: &str) -> u128 {
    Sha256::of(key.as_bytes()).half()
}
