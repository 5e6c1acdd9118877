//! `restores`: which restores were made of a backup, and how they ended. Reads the store alone.

use std::fmt;

use bytesize::ByteSize;
use futures::TryStreamExt as _;
use serde::Serialize;
use strimzi_backup_format::ids::{ClusterId, RestoreId, TimestampMs};
use strimzi_backup_format::layout;
use strimzi_backup_format::manifest::reader;
use strimzi_backup_format::store::{Store, StoreError};

use super::documents;
use crate::error::Error;

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

/// All restores of a backup, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Restores(pub Vec<Listed>);

/// Lists the restores of the backup in `store`.
///
/// # Errors
/// [`Error::NoBackup`] where there is neither a restore nor a backup, [`Error::NoListing`], [`Error::RestoreDocument`],
/// [`Error::Read`].
pub async fn restores(store: &Store) -> Result<Restores, Error> {
    let folder = layout::restores().below(&store.prefix);
    let failed = |error| Error::NoListing(StoreError::new("list", &folder, error));
    let found: Vec<_> = store.inner.list(Some(&folder)).try_collect().await.map_err(failed)?;
    let mut listed = Vec::new();
    for meta in found {
        let mut parts = meta.location.as_ref().rsplit('/');
        let (name, id) = (parts.next(), parts.next());
        let Some(id) = id.filter(|_| name == Some("plan.json")).and_then(|id| RestoreId::new(id).ok()) else {
            continue;
        };
        let Some(plan) = documents::plan(store, &id).await? else { continue };
        let report = documents::report(store, &id).await?;
        listed.push(Listed {
            restore: id,
            planned_at: plan.created_at,
            target: plan.target,
            until: plan.until,
            done: report.map(|report| Done {
                finished_at: report.finished_at,
                records: report.records,
                bytes: report.bytes,
            }),
        });
    }
    if listed.is_empty() && !is_backup(store).await? {
        return Err(Error::NoBackup(store.description.clone()));
    }
    listed.sort_by(|a, b| a.planned_at.cmp(&b.planned_at).then_with(|| a.restore.cmp(&b.restore)));
    Ok(Restores(listed))
}

/// Whether a backup lies there, damaged or not: its log is not read.
async fn is_backup(store: &Store) -> Result<bool, Error> {
    let key = layout::identity();
    let failed = |source| reader::Error::Store { object: key.to_string(), source };
    Ok(store.find(&key).await.map_err(failed)?.is_some())
}

impl Restores {
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
        for Listed { restore, planned_at, target, until, done } in &self.0 {
            let until = until.map_or("everything held".to_owned(), TimestampMs::to_rfc3339);
            write!(f, "{restore}  planned {}, into {target}, up to {until}: ", planned_at.to_rfc3339())?;
            match done {
                Some(Done { finished_at, records, bytes }) => {
                    writeln!(f, "done {}, {records} records, {}", finished_at.to_rfc3339(), ByteSize(*bytes))?;
                }
                None => writeln!(f, "not done; started again with its document, it goes on")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt as _;
    use strimzi_backup_format::sample::{claimed, faulty};
    use strimzi_backup_format::store::faulty::{Decision, Fault, Op};

    use super::*;
    use crate::error::{chain, exit};

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
}
