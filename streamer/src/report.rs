//! Tells Kubernetes how a backup or a restore stands: the pod writes its part of the `status` of the resource that it
//! works for, by server-side apply under a field manager of its own. The operator owns the rest of the status, conditions
//! before all.
//!
//! ```text
//! manifest log ─▶ State ─▶ Protected (backup.rs, pure) ─┐
//! restore ─────▶ Tally ──▶ Restoring (restore.rs, pure) ─┴─▶ tell: what matters at once, the rest every 30 s ─▶ PATCH
//! ```
//!
//! Nothing waits for Kubernetes: where its API is away, records go on, and it learns later (P10: what it learns is what the
//! manifests say).

mod backup;
mod kubernetes;
mod restore;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

pub use backup::{Patience, Protected, Streaming, Trouble};
pub use restore::Restoring;

use kubernetes::Writer;

/// How often it is looked whether something changed that matters.
const LOOK: Duration = Duration::from_secs(1);

/// How often the rest is told: a thousand backups are 33 requests a second.
const EVERY: Duration = Duration::from_secs(30);

/// The kind of the resource that a pod works for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A KafkaBackup, which a streamer tells of.
    Backup,
    /// A KafkaRestore.
    Restore,
}

/// The resource that a pod works for, written `kafkabackup/<namespace>/<name>` or `kafkarestore/<namespace>/<name>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    kind: Kind,
    namespace: String,
    name: String,
}

/// The text names no resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not kafkabackup/NAMESPACE/NAME or kafkarestore/NAMESPACE/NAME")]
pub struct NoResource(String);

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Backup => "kafkabackup",
            Self::Restore => "kafkarestore",
        }
    }
}

impl FromStr for Resource {
    type Err = NoResource;

    fn from_str(text: &str) -> Result<Self, NoResource> {
        let none = || NoResource(text.to_owned());
        let mut parts = text.split('/');
        let kind = match parts.next() {
            Some("kafkabackup") => Kind::Backup,
            Some("kafkarestore") => Kind::Restore,
            _ => return Err(none()),
        };
        let mut named = || parts.next().filter(|part| !part.is_empty()).map(str::to_owned).ok_or_else(none);
        let (namespace, name) = (named()?, named()?);
        if parts.next().is_some() {
            return Err(none());
        }
        Ok(Self { kind, namespace, name })
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.kind.word(), self.namespace, self.name)
    }
}

/// A part of a status.
pub trait Standing: Serialize + Send + Sync {
    /// What is told at once when it is another.
    type Matter: PartialEq + Send;

    /// What of it matters.
    fn matter(&self) -> Self::Matter;
}

/// Tells without end how things stand; `look` gives `None` while nothing is known.
pub async fn tell<S: Standing>(resource: Resource, mut look: impl FnMut() -> Option<S> + Send) {
    let mut writer = Writer::new(resource);
    let mut told: Option<(S::Matter, Instant)> = None;
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(standing) = look() else { continue };
        let matter = standing.matter();
        let is_new = told.as_ref().is_none_or(|(known, at)| *known != matter || at.elapsed() >= EVERY);
        if is_new && writer.write(&standing).await {
            told = Some((matter, Instant::now()));
        }
    }
}

/// Tells once how something ended, or gives it up after a while: the exit code says it too.
pub async fn tell_last<S: Standing>(resource: Resource, standing: &S) {
    let mut writer = Writer::new(resource);
    let telling = async {
        while !writer.write(standing).await {
            tokio::time::sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(EVERY, telling).await.is_err() {
        tracing::warn!("the end of the restore could not be told to Kubernetes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_named_by_kind_namespace_and_name() {
        for text in ["kafkabackup/kafka/daily", "kafkarestore/dr/again"] {
            assert_eq!(text.parse::<Resource>().expect(text).to_string(), text);
        }
        for text in ["", "daily", "kafkabackup/daily", "kafkabackup//daily", "pod/kafka/daily", "kafkabackup/a/b/c"] {
            let fault = text.parse::<Resource>().expect_err(text).to_string();
            assert!(fault.contains("kafkabackup/NAMESPACE/NAME"), "{fault}");
        }
    }
}
