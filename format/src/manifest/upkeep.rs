//! What keeps a log of years small: intake segments written anew by topic, and records that nobody may ask for any more.
//!
//! Neither adds a record. Both only say which of the segments that the log has named are still live; the objects of the
//! others are deleted later, by somebody else ([`crate::retention`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Segment;
use crate::ids::{Lineage, Offset, PartitionId, PartitionKey, Sequence, TimestampMs, TopicName};
use crate::state::Totals;

/// Intake segments were written anew as topic segments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Refined {
    /// Every intake segment that manifests up to and with this one have added is replaced.
    pub through: Sequence,
    /// What takes their place: each of their records, once, under the same offset.
    pub segments: Vec<Segment>,
    /// What is replaced, in sums: those intake segments that no earlier manifest has replaced.
    pub replaced: Totals,
}

/// Instants, and with them records, that are not kept any longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retired {
    /// No instant before this one can be restored from now on.
    pub before: TimestampMs,
    /// The partitions that begin later from now on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub starts: Vec<PartitionStart>,
    /// What is kept of what compacted topics held before these starts: of each key the newest record. It takes the place of an
    /// earlier base of the same partitions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub base: Vec<Segment>,
    /// Images of consumer groups that manifests before this one have added are not needed any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_images_before: Option<Sequence>,
    /// The segments and images of which nothing is left, in sums.
    pub freed: Totals,
}

impl Retired {
    /// Of each partition that it leaves a base of, which one, and how many records are in it.
    pub fn bases(&self) -> BTreeMap<PartitionKey, (Sequence, u64)> {
        let mut bases = BTreeMap::new();
        for segment in &self.base {
            let Some(base) = segment.base() else { continue };
            for run in &segment.runs {
                let (_, rows) = bases.entry(run.key()).or_insert((base, 0_u64));
                *rows = rows.saturating_add(run.rows);
            }
        }
        bases
    }
}

/// Where a partition begins from now on: what it held before is retired, but for what is in a base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PartitionStart {
    /// The topic.
    pub topic: TopicName,
    /// Which life of the topic.
    pub lineage: Lineage,
    /// The partition.
    pub partition: PartitionId,
    /// The first offset that is still accounted for.
    pub first_offset: Offset,
    /// Records that were held before it, those of an earlier base among them.
    pub rows: u64,
    /// No record that is still held, in a base or after it, has a lower timestamp.
    pub lowest_timestamp: TimestampMs,
}

of_a_partition!(PartitionStart);
