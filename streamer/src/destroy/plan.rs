//! Which objects are the backup's, and in which order they go. Pure.

use object_store::ObjectMeta;
use object_store::path::Path;
use strimzi_backup_format::layout;

/// What goes together. Killed anywhere, what is left says at the next start as much as it has to: plans of restores go before
/// their reports, so that none seems to be under way; manifests go after what they name, the keys that open them after these, and
/// `backup.json`, which is none of these, after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// What restores were to write.
    Plans,
    /// What they wrote.
    Reports,
    /// Snapshots.
    Snapshots,
    /// Records of many topics.
    Intake,
    /// Records of one topic.
    Topics,
    /// What is kept of old records of one compacted topic.
    Base,
    /// Offsets of consumer groups.
    Groups,
    /// Bucket manifests.
    Buckets,
    /// Checkpoints.
    Checkpoints,
    /// What shows that the store refuses to overwrite.
    Probe,
    /// The log.
    Manifests,
    /// What opens everything, where it is encrypted.
    Keys,
}

impl Stage {
    /// All of them, in their order.
    pub const ALL: [Self; 12] = [
        Self::Plans,
        Self::Reports,
        Self::Snapshots,
        Self::Intake,
        Self::Topics,
        Self::Base,
        Self::Groups,
        Self::Buckets,
        Self::Checkpoints,
        Self::Probe,
        Self::Manifests,
        Self::Keys,
    ];

    /// The first part of their keys.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Plans | Self::Reports => "restores",
            Self::Snapshots => "snapshots",
            Self::Intake => "intake",
            Self::Topics => "topics",
            Self::Base => "base",
            Self::Groups => "groups",
            Self::Buckets => "buckets",
            Self::Checkpoints => "checkpoints",
            Self::Probe => "probe",
            Self::Manifests => "manifests",
            Self::Keys => "keys",
        }
    }

    /// Whether an object of the folder goes now.
    fn takes(self, key: &str) -> bool {
        let is_plan = key.ends_with("/plan.json");
        layout::is_known(key)
            && match self {
                Self::Plans => is_plan,
                Self::Reports => !is_plan,
                _ => true,
            }
    }
}

/// An object of the backup, as the store lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its key below the prefix.
    pub key: String,
    /// Its place in the store.
    pub location: Path,
    /// Its size.
    pub bytes: u64,
}

impl Found {
    /// What is listed under a prefix; `None` where it does not lie there.
    pub fn below(prefix: &Path, meta: &ObjectMeta) -> Option<Self> {
        let key = layout::key_at(&meta.location, prefix)?.to_owned();
        Some(Self { key, location: meta.location.clone(), bytes: meta.size })
    }

    /// Whether it goes in that stage.
    pub fn goes_in(&self, stage: Stage) -> bool {
        stage.takes(&self.key)
    }
}

#[cfg(test)]
mod tests {
    use strimzi_backup_format::bucket::Bucket;
    use strimzi_backup_format::ids::{
        Epoch, RestoreId, Sequence, Shard, SnapshotId, TimestampMs, TopicDigest, TopicName,
    };
    use strimzi_backup_format::layout::{Origin, SegmentName, SegmentPlace, TopicDir};

    use super::*;

    #[test]
    fn each_object_goes_in_one_stage_and_what_is_foreign_in_none() {
        let (restore, snapshot) = (RestoreId::new("r").expect("legal"), SnapshotId::new("s").expect("legal"));
        let stages = |key: &str| -> Vec<Stage> {
            let of_folder = Stage::ALL.into_iter().filter(|stage| key.split('/').next() == Some(stage.folder()));
            of_folder.filter(|stage| stage.takes(key)).collect()
        };
        for (key, stage) in [
            (layout::restore_plan(&restore), Stage::Plans),
            (layout::restore_report(&restore), Stage::Reports),
            (layout::snapshot(&snapshot), Stage::Snapshots),
            (layout::probe(), Stage::Probe),
            (layout::manifest(Shard::ONLY, Sequence::FIRST), Stage::Manifests),
            (layout::key_wrap(1, 0), Stage::Keys),
        ] {
            assert_eq!(stages(key.as_str()), [stage], "{key}");
        }
        let (topic, bucket) = (TopicName::new("orders").expect("legal"), Bucket::of(TimestampMs::new(0)));
        for (place, origin, stage) in [
            (SegmentPlace::Intake(bucket), Origin::Cut, Stage::Intake),
            (SegmentPlace::Topic(topic.clone().into(), bucket), Origin::Refined, Stage::Topics),
            (SegmentPlace::Base(topic.into(), bucket), Origin::Refined, Stage::Base),
            (SegmentPlace::Topic(TopicDir::Digest(TopicDigest::new([7; 16])), bucket), Origin::Cut, Stage::Topics),
            (SegmentPlace::Groups(bucket), Origin::Cut, Stage::Groups),
        ] {
            let (shard, epoch, sequence) = (Shard::ONLY, Epoch::new(1), Sequence::FIRST);
            let name = SegmentName { shard, epoch, sequence, number: 0, origin };
            let key = layout::segment(&place, name);
            assert_eq!(stages(key.as_str()), [stage], "{key}");
        }
        for key in ["backup.json", "restores/r/notes.txt", "manifests/0000/notes", "keys/notes.txt", "notes.txt"] {
            assert_eq!(stages(key), [], "{key}");
        }
        let last = [Stage::Manifests, Stage::Keys];
        assert!(
            Stage::ALL.ends_with(&last),
            "what they name goes first, and what they cannot be read without after them"
        );
    }
}
