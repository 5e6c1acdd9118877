//! `restores`: which restores were made of a backup, and how they ended. Reads the store alone.

use std::fmt;

use bytesize::ByteSize;
use futures::TryStreamExt as _;
use serde::Serialize;
use strimzi_backup_format::ids::{ClusterId, RestoreId, TimestampMs};
use strimzi_backup_format::layout;
use strimzi_backup_format::manifest::reader;
use strimzi_backup_format::store::{Store, StoreError};

use super::documents::{self, DocumentError};
use crate::error::{Error, chain};

/// A restore that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// Its name.
    pub restore: RestoreId,
    /// When it was planned.
    pub planned_at: TimestampMs,
    /// Into which Kafka cluster.
    pub target: ClusterId,
    /// Its last timestamp; absent: the highest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<TimestampMs>,
    /// How it ended; absent while it has not come to its end: started again, it goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<Done>,
}

/// The end of a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// When.
    pub finished_at: TimestampMs,
    /// Records written.
    pub records: u64,
    /// Their bytes of keys, values and headers.
    pub bytes: u64,
}

/// A restore of which no more is known than its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// Its name.
    pub restore: RestoreId,
    /// Which object cannot be read, why, and what to do.
    pub unreadable: String,
}

/// What is said of one restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Row {
    /// What it kept.
    Listed(Listed),
    /// That what it kept cannot be read.
    Unreadable(Unreadable),
}

/// All restores of a backup: those that cannot be read, then the others, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Restores(pub Vec<Row>);

/// Lists the restores of the backup in `store`. One that cannot be read is part of what is listed.
///
/// # Errors
/// [`Error::NoBackup`] where there is neither a restore nor a backup; [`Error::NoListing`], [`Error::RestoreDocument`] or
/// [`Error::Read`] where the store does not answer.
pub async fn restores(store: &Store) -> Result<Restores, Error> {
    let folder = layout::restores().below(&store.prefix);
    let failed = |error| Error::NoListing(StoreError::new("list", &folder, error));
    let found: Vec<_> = store.inner.list(Some(&folder)).try_collect().await.map_err(failed)?;
    let mut rows: Vec<Row> = Vec::new();
    for meta in found {
        let mut parts = meta.location.as_ref().rsplit('/');
        let (name, id) = (parts.next(), parts.next());
        let Some(id) = id.filter(|_| name == Some("plan.json")).and_then(|id| RestoreId::new(id).ok()) else {
            continue;
        };
        rows.extend(row(store, id).await?);
    }
    if rows.is_empty() && !is_backup(store).await? {
        return Err(Error::NoBackup(store.description.clone()));
    }
    rows.sort_by(|a, b| a.planned_at().cmp(&b.planned_at()).then_with(|| a.restore().cmp(b.restore())));
    Ok(Restores(rows))
}

/// What is said of a restore; nothing where its plan is gone by now.
async fn row(store: &Store, id: RestoreId) -> Result<Option<Row>, DocumentError> {
    match listed(store, &id).await {
        Ok(listed) => Ok(listed.map(Row::Listed)),
        Err(error @ DocumentError::Unreadable { .. }) => {
            Ok(Some(Row::Unreadable(Unreadable { restore: id, unreadable: chain(&error) })))
        }
        Err(error) => Err(error),
    }
}

async fn listed(store: &Store, id: &RestoreId) -> Result<Option<Listed>, DocumentError> {
    let Some(plan) = documents::plan(store, id).await? else { return Ok(None) };
    let report = documents::report(store, id).await?;
    Ok(Some(Listed {
        restore: id.clone(),
        planned_at: plan.created_at,
        target: plan.target,
        until: plan.until,
        done: report.map(|report| Done {
            finished_at: report.finished_at,
            records: report.records,
            bytes: report.bytes,
        }),
    }))
}

/// Whether a backup lies there, damaged or not: its log is not read.
async fn is_backup(store: &Store) -> Result<bool, Error> {
    let key = layout::identity();
    let failed = |source| reader::Error::Store { object: key.to_string(), source };
    Ok(store.find(&key).await.map_err(failed)?.is_some())
}

impl Row {
    fn restore(&self) -> &RestoreId {
        match self {
            Self::Listed(listed) => &listed.restore,
            Self::Unreadable(unreadable) => &unreadable.restore,
        }
    }

    /// When it was planned, where that is known.
    fn planned_at(&self) -> Option<TimestampMs> {
        match self {
            Self::Listed(listed) => Some(listed.planned_at),
            Self::Unreadable(_) => None,
        }
    }
}

impl Restores {
    /// Whether all of them could be read.
    ///
    /// # Errors
    /// [`Error::UnreadableRestores`].
    pub fn outcome(&self) -> Result<(), Error> {
        match self.0.iter().filter(|row| matches!(row, Row::Unreadable(_))).count() {
            0 => Ok(()),
            unreadable => Err(Error::UnreadableRestores(unreadable)),
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> String {
        // Text keys and finite numbers only, which is all that serde_json asks for.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

impl fmt::Display for Restores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return writeln!(f, "no restore was begun");
        }
        self.0.iter().try_for_each(|row| write!(f, "{row}"))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed(listed) => write!(f, "{listed}"),
            Self::Unreadable(Unreadable { restore, unreadable }) => writeln!(f, "{restore}  {unreadable}"),
        }
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { restore, planned_at, target, until, done } = self;
        let until = until.map_or("everything held".to_owned(), TimestampMs::to_rfc3339);
        write!(f, "{restore}  planned {}, into {target}, up to {until}: ", planned_at.to_rfc3339())?;
        match done {
            Some(Done { finished_at, records, bytes }) => {
                writeln!(f, "done {}, {records} records, {}", finished_at.to_rfc3339(), ByteSize(*bytes))
            }
            None => writeln!(f, "not done; started again with its document, it goes on"),
        }
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt as _;
    use strimzi_backup_format::ids::BackupId;
    use strimzi_backup_format::layout::ObjectKey;
    use strimzi_backup_format::sample::{backup, claimed, faulty, ring};
    use strimzi_backup_format::store;
    use strimzi_backup_format::store::faulty::{Decision, Fault, Op};

    use super::super::plan::Plan;
    use super::super::progress::Progress;
    use super::super::report::Report;
    use super::super::sample;
    use super::*;
    use crate::clock::SystemClock;
    use crate::error::exit;

    #[tokio::test]
    async fn an_empty_prefix_is_told_as_that_and_a_store_that_is_away_as_that() {
        let (store, control) = faulty();
        let error = restores(&store).await.expect_err("nothing is there");
        assert!(matches!(error, Error::NoBackup(_)) && error.exit_code() == exit::FAILED, "{error}");
        drop(claimed(&store).await);
        assert_eq!(restores(&store).await.expect("a backup").to_string(), "no restore was begun\n");
        let plan = layout::restore_plan(&RestoreId::new("orders-dr-1").expect("legal"));
        store.inner.put(&plan.below(&store.prefix), "a plan".into()).await.expect("put");
        for failing in [Op::List, Op::Get] {
            control.set_plan(move |call| match call.op == failing {
                true => Decision::FailBefore(Fault::Unavailable),
                false => Decision::Pass,
            });
            let error = restores(&store).await.expect_err("away").of_store(&store);
            let told = chain(&error);
            assert!(matches!(error, Error::NoStore { .. }) && error.exit_code() == exit::FAILED, "{told}");
            assert!(told.contains("check its name") && !told.contains("the restore goes on"), "{told}");
        }
    }

    #[tokio::test]
    async fn restores_that_cannot_be_read_are_rows_of_their_own_beside_the_others() {
        let (store, _) = faulty();
        let id = |name: &str| RestoreId::new(name).expect("legal");
        let (plan, _) = sample::plan(&sample::state(&[("orders", 1)]), &sample::settings(""), &[], &sample::target(1));
        documents::keep(&store, &layout::restore_plan(&id("good")), &plan, &SystemClock).await.expect("kept");
        assert!(restores(&store).await.expect("listed").outcome().is_ok());
        for (name, stored) in [("damaged", "no plan"), ("newer", r#"{"formatVersion":2,"kind":"restorePlan"}"#)] {
            let key = layout::restore_plan(&id(name)).below(&store.prefix);
            store.inner.put(&key, stored.into()).await.expect("put");
        }
        let found = restores(&store).await.expect("listed");
        let text = found.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].starts_with("damaged  restores/damaged/plan.json is damaged; take another restore.id"),
            "{text}"
        );
        assert!(lines[1].starts_with("newer  restores/newer/plan.json was written by a newer release"), "{text}");
        assert!(lines[2].starts_with("good  planned ") && lines[2].ends_with("it goes on"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&found.to_json()).expect("json");
        assert_eq!((&json[0]["restore"], &json[2]["restore"]), (&"damaged".into(), &"good".into()));
        assert!(json[0]["unreadable"].as_str().is_some_and(|told| told.contains("plan.json is damaged")), "{json}");
        assert!(json[2]["plannedAt"] != serde_json::Value::Null && json[2].get("unreadable").is_none(), "{json}");
        let error = found.outcome().expect_err("two are not read");
        assert_eq!(error.exit_code(), exit::DAMAGED);
        assert!(error.to_string().contains("2 restore(s)"), "{error}");
    }

    /// Keeps plan and report of a restore; gives their keys.
    async fn kept(store: &Store, name: &str) -> [ObjectKey; 2] {
        let restore = RestoreId::new(name).expect("legal");
        let places = [layout::restore_plan(&restore), layout::restore_report(&restore)];
        let (plan, _) = sample::plan(&sample::state(&[("orders", 1)]), &sample::settings(""), &[], &sample::target(1));
        let plan = Plan { restore, ..plan };
        documents::keep(store, &places[0], &plan, &SystemClock).await.expect("kept");
        let report = Report::of(&plan, &Progress::new(), Vec::new(), std::iter::empty(), sample::at(1));
        documents::keep(store, &places[1], &report, &SystemClock).await.expect("kept");
        places
    }

    #[tokio::test]
    async fn a35_each_document_of_a_restore_in_the_place_of_another_in_the_clear_or_with_another_byte_is_named() {
        let below = Store::memory();
        let (above, another) = (store::sealed(&below, ring(backup())), Store::memory());
        let places = [kept(&above, "first").await, kept(&above, "second").await].concat();
        let theirs = BackupId::new(uuid::Uuid::from_u128(7));
        kept(&store::sealed(&another, ring(theirs)), "first").await;
        let bytes = async |store: &Store, place: &ObjectKey| {
            let found = store.find(place).await.expect("found").expect("there");
            found.bytes().await.expect("bytes").to_vec()
        };
        let mut forged = Vec::new();
        for place in &places {
            let stored = bytes(&below, place).await;
            for other in places.iter().filter(|other| *other != place) {
                forged.push((place, bytes(&below, other).await, format!("replaced by {other}")));
            }
            for at in (0..stored.len()).step_by(7).chain([stored.len() - 1]) {
                let mut changed = stored.clone();
                changed[at] ^= 1;
                forged.push((place, changed, format!("byte {at}")));
            }
            forged.push((place, stored[..stored.len() - 1].to_vec(), "cut short".to_owned()));
            forged.push((place, bytes(&above, place).await, "in the clear".to_owned()));
        }
        for place in &places[..2] {
            forged.push((place, bytes(&another, place).await, "of another backup".to_owned()));
        }
        assert!(restores(&above).await.expect("listed").outcome().is_ok());
        for (place, wrong, how) in forged {
            let path = place.below(&below.prefix);
            let stored = bytes(&below, place).await;
            below.inner.put(&path, wrong.into()).await.expect("put");
            let found = restores(&above).await.expect("listed");
            let unreadable = found.0.iter().filter(|row| matches!(row, Row::Unreadable(_))).count();
            assert!(unreadable == 1 && found.to_string().contains(place.as_str()), "{place}, {how}: {found}");
            assert_eq!(found.outcome().expect_err("it was read").exit_code(), exit::DAMAGED, "{place}, {how}");
            below.inner.put(&path, stored.into()).await.expect("put");
        }
        assert!(restores(&above).await.expect("listed").outcome().is_ok());
    }
}
