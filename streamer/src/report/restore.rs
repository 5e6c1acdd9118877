//! What a restore tells: how far it is, and what it was. Pure.

use serde::Serialize;
use strimzi_backup_format::ids::TimestampMs;

use super::Standing;
use crate::restore::Report;
use crate::restore::tally::{Phase, Tally};

/// The part of a KafkaRestore's status that its pod writes: fields of `restore`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Restoring {
    restore: Fields,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    phase: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    planned_records: Option<u64>,
    restored_records: u64,
    #[serde(flatten)]
    whole: Option<Whole>,
}

/// What is known at the end only.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Whole {
    restored_bytes: u64,
    restored_topics: usize,
    restored_partitions: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    actual_point_in_time: Option<String>,
}

impl Restoring {
    /// How far a restore is that has planned; `None` before that.
    pub fn of(tally: &Tally) -> Option<Self> {
        let phase = tally.phase();
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        (phase != Phase::Planning).then(|| Self {
            restore: Fields {
                phase: phase.as_str(),
                planned_records: Some(count(tally.planned_records.get())),
                restored_records: count(tally.restored_records.get()),
                whole: None,
            },
        })
    }

    /// What a restore that came to its end has written.
    pub fn done(report: &Report) -> Self {
        let partitions = report.topics.iter().map(|topic| topic.partitions.len()).sum();
        Self {
            restore: Fields {
                phase: "Done",
                planned_records: None,
                restored_records: report.records,
                whole: Some(Whole {
                    restored_bytes: report.bytes,
                    restored_topics: report.topics.len(),
                    restored_partitions: partitions,
                    actual_point_in_time: report.newest.map(TimestampMs::to_rfc3339),
                }),
            },
        }
    }
}

impl Standing for Restoring {
    type Matter = &'static str;

    fn matter(&self) -> &'static str {
        self.restore.phase
    }
}
