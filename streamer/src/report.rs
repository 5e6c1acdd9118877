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
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

pub use backup::{Hindered, Patience, Protected, Starting, Streaming, Trouble};
pub use restore::Restoring;

use kubernetes::Writer;

use crate::clock::{Backoff, SystemClock};

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

/// The text names no resource of the kind that is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {kind}/NAMESPACE/NAME")]
pub struct NoResource {
    kind: &'static str,
    text: String,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Backup => "kafkabackup",
            Self::Restore => "kafkarestore",
        }
    }
}

impl Resource {
    /// The KafkaBackup that a text names.
    ///
    /// # Errors
    /// Where it names none.
    pub fn backup(text: &str) -> Result<Self, NoResource> {
        Self::parse(Kind::Backup, text)
    }

    /// The KafkaRestore that a text names.
    ///
    /// # Errors
    /// Where it names none.
    pub fn restore(text: &str) -> Result<Self, NoResource> {
        Self::parse(Kind::Restore, text)
    }

    fn parse(kind: Kind, text: &str) -> Result<Self, NoResource> {
        match *text.split('/').collect::<Vec<_>>() {
            [word, namespace, name] if word == kind.word() && !namespace.is_empty() && !name.is_empty() => {
                Ok(Self { kind, namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(NoResource { kind: kind.word(), text: text.to_owned() }),
        }
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

    /// What follows the name of the pod's field manager: parts of different names do not take each other's fields away.
    const PART: &'static str = "";

    /// What of it matters.
    fn matter(&self) -> Self::Matter;
}

/// Tells without end how things stand; `look` gives `None` while nothing is known.
pub async fn tell<S: Standing>(resource: Resource, mut look: impl FnMut() -> Option<S> + Send) {
    let mut writer = Writer::new(resource);
    let (mut told, mut backoff): (Option<(S::Matter, Instant)>, _) = (None, Backoff::new());
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(standing) = look() else { continue };
        let matter = standing.matter();
        let is_new = told.as_ref().is_none_or(|(known, at)| *known != matter || at.elapsed() >= EVERY);
        if !is_new {
            continue;
        }
        if writer.write(&standing).await {
            (told, backoff) = (Some((matter, Instant::now())), Backoff::new());
        } else {
            // A thousand pods must not hold down an API server that comes back.
            tokio::time::sleep(backoff.next(&SystemClock)).await;
        }
    }
}

/// Tells once how something ended, or gives it up after a while: something else says it too, such as the exit code.
pub async fn tell_last<S: Standing>(resource: Resource, standing: &S) {
    let mut writer = Writer::new(resource);
    let telling = async {
        let backoff = Backoff::new();
        while !writer.write(standing).await {
            tokio::time::sleep(backoff.next(&SystemClock)).await;
        }
    };
    if tokio::time::timeout(EVERY, telling).await.is_err() {
        tracing::warn!("how it ended could not be told to Kubernetes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_named_by_kind_namespace_and_name() {
        assert_eq!(Resource::backup("kafkabackup/kafka/daily").expect("one").to_string(), "kafkabackup/kafka/daily");
        assert_eq!(Resource::restore("kafkarestore/dr/again").expect("one").to_string(), "kafkarestore/dr/again");
        for text in ["", "daily", "kafkabackup/daily", "kafkabackup//daily", "kafkarestore/a/b", "kafkabackup/a/b/c"] {
            let fault = Resource::backup(text).expect_err(text).to_string();
            assert!(fault.contains("kafkabackup/NAMESPACE/NAME"), "{fault}");
        }
    }
}
