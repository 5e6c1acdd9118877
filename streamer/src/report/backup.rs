//! What a streamer tells: what is protected, as the manifests have it. Pure.

use serde::Serialize;
use strimzi_backup_format::coverage::{self, GroupCondition};
use strimzi_backup_format::ids::{BackupId, TimestampMs};
use strimzi_backup_format::job::Anchor;
use strimzi_backup_format::manifest::Gap;
use strimzi_backup_format::state::{Head, State, Totals};

use super::Standing;
use crate::retire::Held;

/// What is protected since the last commit: what of [`coverage::Coverage`] fits into a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protected {
    backup: BackupId,
    head: Option<Head>,
    from: Option<TimestampMs>,
    /// The last one.
    pub until: Option<TimestampMs>,
    oldest: Option<TimestampMs>,
    newest: Option<TimestampMs>,
    gaps: Gaps,
    groups: coverage::GroupCoverage,
    totals: Totals,
    topics: usize,
    partitions: usize,
}

/// Offsets that could not be captured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Gaps {
    count: usize,
    lost_offsets: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    newest: Option<String>,
}

impl Protected {
    /// What a state of the log protects.
    pub fn of(state: &State) -> Self {
        let (oldest, newest) = coverage::timestamps(state);
        Self {
            backup: state.backup,
            head: state.head,
            from: state.recoverable_from(),
            until: coverage::recoverable_until(state),
            oldest,
            newest,
            gaps: Gaps::of(&state.gaps),
            groups: coverage::groups(state),
            totals: state.totals,
            topics: coverage::record_topics(state).count(),
            partitions: state.positions.keys().filter(|key| !key.topic.is_consumer_offsets()).count(),
        }
    }
}

impl Gaps {
    fn of(gaps: &[Gap]) -> Self {
        Self {
            count: gaps.len(),
            lost_offsets: gaps.iter().map(|gap| gap.range.span()).sum(),
            newest: gaps.last().map(|gap| {
                let Gap { topic, partition, range, reason, observed_at, .. } = gap;
                format!("{topic}-{partition} {range}: {reason:?}, found {}", observed_at.to_rfc3339())
            }),
        }
    }
}

/// What keeps a streamer from going on; it tries without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Trouble {
    /// The store takes nothing.
    StoreFailing,
    /// No broker answers.
    KafkaUnreachable,
    /// Who has the master key of an encrypted backup does not answer.
    EncryptionKeyUnavailable,
}

/// What lasts less long is nothing to tell: stores fail now and then, and brokers restart.
const LASTING_MILLIS: u64 = 15_000;

/// Tells what lasts from what passes.
#[derive(Debug, Default)]
pub struct Patience {
    since: Option<(Trouble, TimestampMs)>,
}

impl Patience {
    /// The trouble at the instant `now`, if it has lasted.
    pub fn judge(&mut self, trouble: Option<Trouble>, now: TimestampMs) -> Option<Trouble> {
        let known = self.since.filter(|(known, _)| Some(*known) == trouble);
        self.since = trouble.map(|trouble| known.unwrap_or((trouble, now)));
        let (trouble, since) = self.since?;
        (now.millis_since(since) >= LASTING_MILLIS).then_some(trouble)
    }
}

/// What does not go on, if anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hindered {
    /// Streaming, for so long that it is worth telling.
    pub trouble: Option<Trouble>,
    /// Retention.
    pub retention: Option<Held>,
}

/// The part of a KafkaBackup's status that its streamer writes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Streaming {
    backup_id: BackupId,
    /// The newest manifest. A log that has gone on since holds it still.
    #[serde(skip_serializing_if = "Option::is_none")]
    anchor: Option<Anchor>,
    recoverable: Window,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_timestamp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    newest_timestamp: Option<String>,
    gaps: Gaps,
    consumer_groups: Groups,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<Trouble>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retention_held: Option<RetentionHeld>,
    stored: Stored,
    reported_at: String,
    reported_by: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Window {
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

/// Why nothing is retired although something is older than what is kept, or may be.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct RetentionHeld {
    reason: &'static str,
    message: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Groups {
    state: GroupCondition,
    #[serde(flatten)]
    window: Window,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Stored {
    records: u64,
    bytes: u64,
    segments: u64,
    topics: usize,
    partitions: usize,
}

impl Window {
    fn new(from: Option<TimestampMs>, until: Option<TimestampMs>) -> Self {
        Self { from: from.map(TimestampMs::to_rfc3339), until: until.map(TimestampMs::to_rfc3339) }
    }
}

impl Streaming {
    /// What the pod `writer` tells at the instant `now`.
    pub fn of(protected: &Protected, hindered: Hindered, now: TimestampMs, writer: &str) -> Self {
        let Hindered { trouble, retention } = hindered;
        let Protected { backup, head, from, until, oldest, newest, gaps, groups, totals, topics, partitions } =
            protected;
        let anchor = |head: Head| Anchor { backup: *backup, sequence: head.sequence, sha256: head.sha256 };
        Self {
            backup_id: *backup,
            anchor: head.map(anchor),
            recoverable: Window::new(*from, *until),
            lag_seconds: until.map(|until| now.millis_since(until) / 1000),
            oldest_timestamp: oldest.map(TimestampMs::to_rfc3339),
            newest_timestamp: newest.map(TimestampMs::to_rfc3339),
            gaps: gaps.clone(),
            consumer_groups: Groups { state: groups.state, window: Window::new(groups.from, groups.until) },
            trouble,
            retention_held: retention.map(|held| RetentionHeld { reason: held.reason(), message: held.to_string() }),
            stored: Stored {
                records: totals.rows,
                bytes: totals.bytes,
                segments: totals.segments,
                topics: *topics,
                partitions: *partitions,
            },
            reported_at: now.to_rfc3339(),
            reported_by: writer.to_owned(),
        }
    }
}

/// What a streamer tells before it has claimed the log, when it knows nothing of what is protected: what the one before has told of
/// that stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Starting {
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<Trouble>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble_message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reported_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reported_by: Option<String>,
}

impl Starting {
    /// What keeps the pod `writer` from its claim at the instant `now`, and in which words. What is no longer so is told as the
    /// default.
    pub fn hindered(trouble: Trouble, why: Option<String>, now: TimestampMs, writer: &str) -> Self {
        let (reported_at, reported_by) = (Some(now.to_rfc3339()), Some(writer.to_owned()));
        Self { trouble: Some(trouble), trouble_message: why, reported_at, reported_by }
    }
}

impl Standing for Starting {
    type Matter = Option<Trouble>;

    const PART: &'static str = "-start";

    fn matter(&self) -> Self::Matter {
        self.trouble
    }
}

impl Standing for Streaming {
    /// That there is something to restore from, gaps, how groups stand, trouble, what holds retention, and who says so.
    type Matter = (bool, usize, GroupCondition, Option<Trouble>, Option<&'static str>, String);

    fn matter(&self) -> Self::Matter {
        let (is_recoverable, groups) = (self.recoverable.from.is_some(), self.consumer_groups.state);
        let held = self.retention_held.as_ref().map(|held| held.reason);
        (is_recoverable, self.gaps.count, groups, self.trouble, held, self.reported_by.clone())
    }
}

#[cfg(test)]
mod tests {
    use strimzi_backup_format::checksum::Sha256;
    use strimzi_backup_format::ids::{Epoch, Lineage, Offset, PartitionId, Sequence, Shard, TopicName};
    use strimzi_backup_format::manifest::GapReason;
    use strimzi_backup_format::offset_range::OffsetRange;

    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    fn state() -> State {
        let mut state = State::empty(BackupId::new(SystemClock.uuid()), Shard::ONLY, Sha256::of(b""));
        state.complete_since = Some(TimestampMs::new(60_000));
        state.frontier.until = Some(TimestampMs::new(120_000));
        state
    }

    fn gap() -> Gap {
        Gap {
            topic: TopicName::new("orders").expect("a name"),
            lineage: Lineage::new(0),
            partition: PartitionId::new(3),
            range: OffsetRange::new(Offset::new(10), Offset::new(17)).expect("a range"),
            reason: GapReason::RetentionOverrun,
            after: None,
            observed_at: TimestampMs::new(90_000),
        }
    }

    #[test]
    fn a_streamer_tells_the_window_and_what_is_missing() {
        let mut state = state();
        state.backup = BackupId::new(uuid::Uuid::from_u128(42));
        state.gaps.push(gap());
        let sha256 = Sha256::of(b"");
        let (sequence, epoch, observed_at) = (Sequence::new(9), Epoch::new(2), TimestampMs::new(120_000));
        state.head = Some(Head { sequence, sha256, epoch, observed_at });
        let told =
            Streaming::of(&Protected::of(&state), Hindered::default(), TimestampMs::new(125_400), "daily-streamer-x");
        insta::assert_json_snapshot!(told, @r#"
        {
          "backupId": "00000000-0000-0000-0000-00000000002a",
          "anchor": {
            "backup": "00000000-0000-0000-0000-00000000002a",
            "sequence": 9,
            "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
          },
          "recoverable": {
            "from": "1970-01-01T00:01:00.000Z",
            "until": "1970-01-01T00:02:00.000Z"
          },
          "lagSeconds": 5,
          "gaps": {
            "count": 1,
            "lostOffsets": 7,
            "newest": "orders-3 [10, 17): RetentionOverrun, found 1970-01-01T00:01:30.000Z"
          },
          "consumerGroups": {
            "state": "NotSelected"
          },
          "stored": {
            "records": 0,
            "bytes": 0,
            "segments": 0,
            "topics": 0,
            "partitions": 0
          },
          "reportedAt": "1970-01-01T00:02:05.400Z",
          "reportedBy": "daily-streamer-x"
        }
        "#);
    }

    #[test]
    fn what_holds_retention_is_told_in_its_words_as_soon_as_it_does_and_no_longer() {
        let protected = Protected::of(&state());
        let told = |retention: Option<Held>| {
            Streaming::of(&protected, Hindered { trouble: None, retention }, TimestampMs::new(130_000), "x")
        };
        let (failed, nothing) = (told(Some(Held::Failed("read snapshots/a.json".to_owned()))), told(None));
        assert!(failed.matter() != nothing.matter());
        let held = serde_json::to_value(&failed).expect("JSON")["retentionHeld"].clone();
        assert_eq!(held["reason"], "Failed");
        assert!(held["message"].as_str().is_some_and(|words| words.contains("read snapshots/a.json")), "{held}");
        assert!(serde_json::to_value(&nothing).expect("JSON").get("retentionHeld").is_none());
    }

    #[test]
    fn a33_what_keeps_a_streamer_from_its_claim_is_told_without_a_word_on_what_is_protected() {
        let why = "the master key transit:transit/kafka-backup cannot be used now: Vault is sealed (503)".to_owned();
        let (trouble, now) = (Trouble::EncryptionKeyUnavailable, TimestampMs::new(1_500));
        let told = Starting::hindered(trouble, Some(why), now, "daily-streamer-x");
        insta::assert_json_snapshot!(told, @r#"
        {
          "trouble": "EncryptionKeyUnavailable",
          "troubleMessage": "the master key transit:transit/kafka-backup cannot be used now: Vault is sealed (503)",
          "reportedAt": "1970-01-01T00:00:01.500Z",
          "reportedBy": "daily-streamer-x"
        }
        "#);
        assert_eq!(serde_json::to_value(Starting::default()).expect("JSON"), serde_json::json!({}));
        assert!(Starting::PART != Streaming::PART && told.matter() != Starting::default().matter());
    }

    #[test]
    fn a28_trouble_is_told_once_it_lasts_and_no_longer_than_it_does() {
        let (mut patience, at) = (Patience::default(), TimestampMs::new);
        let failing = Some(Trouble::StoreFailing);
        assert_eq!(patience.judge(failing, at(0)), None);
        assert_eq!(patience.judge(None, at(14_000)), None);
        assert_eq!(patience.judge(failing, at(15_000)), None, "it began anew");
        assert_eq!(patience.judge(failing, at(30_000)), failing);
        assert_eq!(patience.judge(Some(Trouble::KafkaUnreachable), at(31_000)), None, "another one");
        assert_eq!(patience.judge(None, at(32_000)), None);
    }

    #[test]
    fn what_matters_is_a_window_a_gap_and_how_groups_stand_and_not_the_time() {
        let mut state = state();
        let matter = |state: &State, now| {
            Streaming::of(&Protected::of(state), Hindered::default(), TimestampMs::new(now), "x").matter()
        };
        let first = matter(&state, 130_000);
        state.frontier.until = Some(TimestampMs::new(190_000));
        assert!(matter(&state, 195_000) == first);
        state.gaps.push(gap());
        assert!(matter(&state, 195_000) != first);
    }
}
