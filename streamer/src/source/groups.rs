//! Consumer groups: which of their commits are kept, what is known of all of them, and when an image of that is due. Pure,
//! but for [`load()`].
//!
//! `__consumer_offsets` is read like any other topic, and told apart here: its records become rows of `groups/`, never records
//! of a segment. How groups stand never holds anything else up.

mod load;

use strimzi_backup_format::bucket::Bucket;
use strimzi_backup_format::groups::file::{MAX_RAW_BYTES, MAX_ROWS};
use strimzi_backup_format::groups::{OffsetRow, Table};
use strimzi_backup_format::ids::TimestampMs;
use strimzi_backup_format::job::GroupSelection;
use strimzi_backup_format::manifest::GroupStanding;
use strimzi_backup_format::state::State;

use super::{Described, Refusal};
pub use load::load;

/// The consumer groups of a job.
#[derive(Debug, Default)]
pub struct Groups {
    /// Absent where the job selects none.
    selection: Option<GroupSelection>,
    /// What was committed and not deleted, by the position of the last cut; absent where it is not known any more.
    table: Option<Table>,
    /// Whether the topic is seen.
    standing: Option<GroupStanding>,
    /// The hour that the newest image is of.
    imaged: Option<Bucket>,
    /// Whether everything that groups have committed by now is known: an image before would lack some.
    is_complete: bool,
}

/// What is known of all groups by the positions of a cut.
#[derive(Debug)]
pub struct Image {
    /// A row for each group and partition.
    pub rows: Vec<OffsetRow>,
    /// The highest timestamp in the log up to there.
    pub newest: Option<TimestampMs>,
    /// Records up to there that could not be read.
    pub unreadable: u64,
}

impl Groups {
    /// Goes on from what the log says. `table` is what it holds of groups; `None` where that cannot be read any more.
    pub fn new(selection: Option<GroupSelection>, mut table: Option<Table>, state: &State) -> Self {
        if let (Some(table), Some(chosen)) = (&mut table, &selection) {
            // What becomes of others is not followed any more.
            table.retain(|group| chosen.selects(group));
        }
        let imaged = state.group_images.last().map(|image| Bucket::of(image.observed_at));
        Self { selection, table, standing: state.frontier.groups, imaged, is_complete: false }
    }

    /// Whether the job selects any.
    pub fn are_selected(&self) -> bool {
        self.selection.is_some()
    }

    /// How they stand, for the log; nothing before the broker was asked.
    pub fn standing(&self) -> Option<GroupStanding> {
        self.selection.as_ref()?;
        let seen = self.standing?;
        Some(if self.table.is_none() { GroupStanding::Damaged } else { seen })
    }

    /// Takes in what the broker says of `__consumer_offsets`, and whether it is known to exist: then one broker that does not
    /// know it proves nothing. Whether its records may be read, its partitions tell.
    pub fn observe(&mut self, told: Option<&Result<Described, Refusal>>, is_known: bool) {
        let before = self.standing;
        self.standing = match told {
            Some(Ok(_)) => Some(GroupStanding::Followed),
            Some(Err(Refusal::Unknown)) if !is_known => Some(GroupStanding::Absent),
            Some(Err(Refusal::Unknown)) => before,
            Some(Err(Refusal::Denied)) => Some(GroupStanding::Denied),
            Some(Err(Refusal::Unavailable | Refusal::NoId)) | None => before,
        };
        if self.standing == Some(GroupStanding::Denied) && before != self.standing {
            tracing::warn!(
                "consumer groups are not backed up: the user may not see __consumer_offsets; it needs Describe and Read of it"
            );
        }
    }

    /// Keeps the rows of selected groups, and takes them in. Rows that cannot be told whose they are, are kept.
    pub fn take(&mut self, rows: &mut Vec<OffsetRow>) {
        let selection = self.selection.as_ref();
        let selected =
            |row: &OffsetRow| selection.is_some_and(|chosen| row.group.as_ref().is_none_or(|id| chosen.selects(id)));
        rows.retain(selected);
        if let Some(table) = &mut self.table {
            rows.iter().for_each(|row| table.take(row.clone()));
        }
    }

    /// Notes up to when everything that was committed is known by the last cut.
    pub fn known_until(&mut self, until: Option<TimestampMs>) {
        self.is_complete = until.is_some() && self.standing == Some(GroupStanding::Followed);
    }

    /// Whether a cut made at `bucket` is to bring an image: the first of its hour.
    pub fn image_is_due(&self, bucket: Bucket) -> bool {
        self.are_selected()
            && self.table.is_some()
            && self.is_complete
            && self.imaged.is_none_or(|imaged| imaged < bucket)
    }

    /// The image for a cut made at `bucket`, where one is due.
    pub fn image(&mut self, bucket: Bucket) -> Option<Image> {
        if !self.image_is_due(bucket) {
            return None;
        }
        self.imaged = Some(bucket);
        let table = self.table.as_mut()?;
        let (rows, newest, unreadable) = (table.image(), table.newest(), table.unreadable());
        table.restart(&rows);
        let bytes: usize = rows.iter().map(OffsetRow::raw_bytes).sum();
        if rows.len() as u64 > MAX_ROWS || bytes as u64 > MAX_RAW_BYTES {
            tracing::warn!(
                offsets = rows.len(),
                bytes,
                "too much for an image of groups; moments are read from earlier ones"
            );
            return None;
        }
        Some(Image { rows, newest, unreadable })
    }
}

#[cfg(test)]
mod tests {
    use strimzi_backup_format::groups::{CommittedOffset, RowKind};
    use strimzi_backup_format::ids::{GroupId, LeaderEpoch, Lineage, Offset, PartitionId, TopicId, TopicName};
    use strimzi_backup_format::job::Job;
    use strimzi_backup_format::sample::{at, empty_state};

    use super::*;

    fn groups(more: &str) -> Groups {
        let document = "cluster: {bootstrapServers: 'a:1'}\nstorage: {type: filesystem, filesystem: {path: /b}}";
        let job: Job = format!("{document}\n{more}").parse().expect("a job");
        Groups::new(job.consumer_groups, Some(Table::default()), &empty_state())
    }

    fn row(group: Option<&str>, offset: i64) -> OffsetRow {
        let committed = CommittedOffset {
            offset: Offset::new(offset),
            leader_epoch: LeaderEpoch::UNKNOWN,
            metadata: String::new(),
            committed_at: at(offset),
            topic_id: None,
        };
        OffsetRow {
            kind: if group.is_some() { RowKind::Commit } else { RowKind::Raw },
            group: group.map(|id| GroupId::new(id).expect("an id")),
            topic: group.map(|_| TopicName::new("orders").expect("a name")),
            partition: group.map(|_| PartitionId::new(0)),
            committed: group.map(|_| committed),
            timestamp: at(offset),
            lineage: Lineage::FIRST,
            log_partition: PartitionId::new(7),
            log_offset: Offset::new(offset),
            raw_key: None,
            raw_value: None,
        }
    }

    fn seen() -> Result<Described, Refusal> {
        Ok(Described { id: TopicId::new("id"), partitions: 50, replication_factor: 1 })
    }

    #[test]
    fn rows_of_chosen_groups_and_unreadable_ones_are_kept() {
        let mut groups = groups("consumerGroups: {include: ['orders.*']}");
        let mut rows = vec![row(Some("orders-1"), 1), row(Some("other"), 2), row(None, 3)];
        groups.take(&mut rows);
        assert_eq!(rows, [row(Some("orders-1"), 1), row(None, 3)]);
    }

    #[test]
    fn an_image_is_due_once_an_hour_from_when_everything_is_known() {
        let mut groups = groups("");
        let (first, second) = (Bucket::of(at(10)), Bucket::of(at(3700)));
        assert!(!groups.image_is_due(first), "not seen yet");
        groups.observe(Some(&seen()), false);
        groups.take(&mut vec![row(Some("a"), 1), row(Some("a"), 2), row(Some("b"), 5)]);
        groups.known_until(None);
        assert!(groups.image(first).is_none(), "the first copy is not complete");
        groups.known_until(Some(at(9)));
        let image = groups.image(first).expect("due");
        assert_eq!((image.rows.len(), image.newest), (2, Some(at(5))));
        assert!(image.rows.iter().all(|row| row.kind == RowKind::Image));
        assert!(!groups.image_is_due(first) && groups.image_is_due(second));
        groups.known_until(None);
        assert!(!groups.image_is_due(second), "behind again");
    }

    #[test]
    fn how_groups_stand_follows_the_broker_and_what_is_held() {
        let mut groups = groups("");
        assert_eq!(groups.standing(), None, "nobody was asked");
        for (told, is_known, standing) in [
            (Err(Refusal::Denied), false, GroupStanding::Denied),
            (Err(Refusal::Unavailable), false, GroupStanding::Denied),
            (seen(), true, GroupStanding::Followed),
            (Err(Refusal::Unavailable), true, GroupStanding::Followed),
            (Err(Refusal::Unknown), true, GroupStanding::Followed),
            (Err(Refusal::Unknown), false, GroupStanding::Absent),
        ] {
            groups.observe(Some(&told), is_known);
            assert_eq!(groups.standing(), Some(standing), "{told:?}");
        }
        let damaged = Groups { table: None, ..groups };
        assert_eq!(damaged.standing(), Some(GroupStanding::Damaged));
        assert_eq!(Groups::default().standing(), None, "none selected");
    }
}
