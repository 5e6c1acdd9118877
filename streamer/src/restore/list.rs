//! `restores`: which restores were made of a backup, and how they ended. Reads the store alone.

use std::fmt;

use bytesize::ByteSize;
use futures::TryStreamExt as _;
use serde::Serialize;
use strimzi_backup_format::ids::{ClusterId, RestoreId, TimestampMs};
use strimzi_backup_format::layout;
use strimzi_backup_format::store::Store;

use super::documents::{self, DocumentError};

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
/// [`DocumentError`].
pub async fn restores(store: &Store) -> Result<Restores, DocumentError> {
    let folder = layout::restores();
    let failed = |source| DocumentError::Store { object: folder.to_string(), source: Box::new(source) };
    let found: Vec<_> = store.inner.list(Some(&folder.below(&store.prefix))).try_collect().await.map_err(failed)?;
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
    listed.sort_by(|a, b| a.planned_at.cmp(&b.planned_at).then_with(|| a.restore.cmp(&b.restore)));
    Ok(Restores(listed))
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
