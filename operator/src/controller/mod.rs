//! The loop that makes the world as the resources say.
//!
//! ```text
//! watch ─▶ reconcile: dereference ─▶ validate ─▶ build ─▶ apply ─▶ status ─▶ events
//!          (reads)       (pure)      (pure)    (writes)   (folded from Deployment, Jobs, pods)
//! ```
//!
//! Owns: when what is done, and what is told of it. Does not own: what the objects look like (`crate::build`), how a cluster is
//! found (`crate::strimzi`). No records pass here, and nothing is kept that a restart would miss: pods go on without it, and what
//! was told (`memory`) is in the statuses.

pub mod apply;
pub mod backup;
pub mod conditions;
pub mod deletion;
pub mod dereference;
pub mod error;
mod memory;
pub mod observe;
pub mod restore;
pub mod schedule;
pub mod tell;
pub mod upkeep;
mod watch;

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, ObjectMeta, Patch};
use kube::runtime::events::{Recorder, Reporter};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::Notify;

pub use error::Error;
pub use watch::{Scope, run};

use crate::api::{KafkaBackupStatus, KafkaRestoreStatus, PAUSE};
use crate::build::Settings;
use crate::build::names::{self, FIELD_MANAGER, Part};
use crate::metrics::{CertificateLabels, Metrics};
use apply::Applier;
use conditions::{PAUSED, RECONCILED, Verdict};
use dereference::Dereferenced;
use memory::Memory;
use tell::Told;

/// How often a resource in order is looked at though nothing is known to have changed.
const RESYNC: Duration = Duration::from_secs(300);

/// How often one is looked at whose cluster or user is in another namespace. Where namespaces are named, what is watched in each
/// wakes the resources of that namespace alone.
const ELSEWHERE: Duration = Duration::from_secs(60);

/// How often one is looked at that waits for somebody to mend something.
const FAULTY: Duration = Duration::from_secs(30);

/// The longest pause after failures of the API server; they begin at a second and double.
const PAUSE_AT_MOST: Duration = Duration::from_secs(300);

/// What all reconciliations share.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What is the same for all resources.
    pub settings: Settings,
    /// Publishes events.
    pub recorder: Recorder,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// How long a resource that is being deleted is held at most.
    pub deletion_timeout: Duration,
    /// Whether the Prometheus Operator's resources are served.
    scrapes: AtomicBool,
    /// A watch was interrupted: its resource may not be served any more.
    interrupted: Notify,
    /// How often each resource has failed in a row; a restart forgets it.
    failures: Mutex<HashMap<String, u32>>,
    /// What was told of backups.
    backups: Memory<KafkaBackupStatus>,
    /// What was told of restores.
    restores: Memory<KafkaRestoreStatus>,
    /// What was told of the ends of backups that are deleted.
    ends: Memory<Told>,
}

impl Context {
    /// What all reconciliations share. `instance` names this process in events; a resource that is being deleted is held for
    /// `deletion_timeout` at most.
    pub fn new(
        client: Client,
        settings: Settings,
        metrics: Arc<Metrics>,
        instance: String,
        deletion_timeout: Duration,
    ) -> Self {
        let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance: Some(instance) };
        let recorder = Recorder::new(client.clone(), reporter);
        Self {
            client,
            settings,
            recorder,
            metrics,
            deletion_timeout,
            scrapes: AtomicBool::new(false),
            interrupted: Notify::new(),
            failures: Mutex::default(),
            backups: Memory::default(),
            restores: Memory::default(),
            ends: Memory::default(),
        }
    }

    fn applier(&self, resource: &impl ResourceExt) -> Applier {
        Applier::new(self.client.clone(), &resource.namespace().unwrap_or_default())
    }

    /// Whether PodMonitors are made.
    fn scrapes(&self) -> bool {
        self.scrapes.load(Ordering::Relaxed)
    }

    /// Tells when the certificates end that a resource uses.
    fn tell_expiries<K>(&self, resource: &K, found: &Dereferenced)
    where
        K: Resource<DynamicType = ()>,
    {
        for expiry in &found.kafka.expiries {
            let labels = CertificateLabels {
                kind: K::kind(&()).into_owned(),
                namespace: resource.namespace().unwrap_or_default(),
                name: resource.name_any(),
                certificate: expiry.certificate,
            };
            self.metrics.expires(labels, expiry.at.as_duration().as_secs_f64());
        }
    }

    /// Counts a failure of a resource and says how long to wait.
    fn failed(&self, resource: String) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(resource).or_default();
        *count = count.saturating_add(1);
        pause(*count)
    }

    fn succeeded(&self, resource: &str) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(resource);
    }
}

/// The pause after so many failures in a row.
fn pause(failures: u32) -> Duration {
    let seconds = 1_u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX);
    Duration::from_secs(seconds).min(PAUSE_AT_MOST)
}

/// When a resource is looked at again.
fn again(done: &Result<Dereferenced, Error>) -> Duration {
    match done {
        Ok(found) if found.is_elsewhere => ELSEWHERE,
        Ok(_) => RESYNC,
        Err(_) => FAULTY,
    }
}

/// Whether somebody asked that nothing be changed.
fn is_paused(resource: &impl ResourceExt) -> bool {
    resource.annotations().get(PAUSE).is_some_and(|value| value == "true")
}

/// The conditions of a resource that is paused: those it had, and that it is.
fn paused(old: &[Condition], generation: Option<i64>) -> Vec<Condition> {
    let message = format!("annotation {PAUSE} is true: changes are not carried out");
    let verdict = Verdict::holds(PAUSED, "PauseAnnotation", message);
    let kept = old.iter().filter(|condition| condition.type_ != PAUSED).cloned();
    kept.chain(conditions::updated(old, &[verdict], generation, Timestamp::now())).collect()
}

/// Whether the objects are as they should be, with what a person should know though it stops nothing.
fn reconciled(done: Result<&[String], &Error>) -> Verdict {
    match done {
        Ok([]) => Verdict::holds(RECONCILED, "Applied", "all objects are as the resource says"),
        Ok(warnings) => Verdict::holds(RECONCILED, "AppliedWithWarnings", warnings.join("; ")),
        Err(error) => Verdict::fails(RECONCILED, error.reason(), error.told()),
    }
}

/// Chooses the objects of a part of a resource.
fn selector(kind: &str, name: &str, part: Part) -> String {
    let labels = names::selector(&kind.to_lowercase(), name, part);
    labels.iter().map(|(label, value)| format!("{label}={value}")).collect::<Vec<_>>().join(",")
}

async fn list<K>(applier: &Applier, selector: &str) -> Result<Vec<K>, Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let listed = applier.api::<K>().list(&ListParams::default().labels(selector)).await;
    let listed = listed.map_err(|source| Error::api(format!("list {} of the resource", K::plural(&())), source))?;
    Ok(listed.items)
}

/// Those of the objects that are not of an earlier resource of the same name: Kubernetes may not have removed them yet, and what
/// became of them says nothing of this one.
fn since<K: ResourceExt>(resource: &impl ResourceExt, objects: Vec<K>) -> Vec<K> {
    let born = |metadata: &ObjectMeta| metadata.creation_timestamp.as_ref().map(|time| time.0);
    objects.into_iter().filter(|object| born(object.meta()) >= born(resource.meta())).collect()
}

/// Writes the status of a resource, whole: what is not in it is not there afterwards.
async fn patch_status<K, S>(applier: &Applier, name: &str, status: &S) -> Result<(), Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    S: Serialize,
{
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": name},
        "status": status,
    });
    match applier.api::<K>().patch_status(name, &apply::parameters(), &Patch::Apply(patch)).await {
        Ok(_) => Ok(()),
        // Deleted meanwhile.
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(()),
        Err(source) => Err(Error::api(format!("write the status of {} {name:?}", K::kind(&())), source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strimzi::Discovered;

    /// Words of Kubernetes and of the streamer, which are read and not told.
    const THEIRS: [&str; 7] = [
        "PodScheduled",
        "FailureTarget",
        "ReplicaFailure",
        "ContainerCreating",
        "OOMKilled",
        "FirstCopy",
        "NotSelected",
    ];

    #[test]
    fn every_reason_is_documented() {
        let document = include_str!("../../../docs/operator.md");
        let sources = [
            include_str!("error.rs"),
            include_str!("observe.rs"),
            include_str!("backup.rs"),
            include_str!("deletion.rs"),
            include_str!("restore.rs"),
            include_str!("upkeep.rs"),
            include_str!("mod.rs"),
            include_str!("conditions.rs"),
            include_str!("../strimzi/error.rs"),
        ];
        for source in sources {
            let code = source.split("#[cfg(test)]").next().unwrap();
            let words = code.split('"').skip(1).step_by(2).filter(|word| is_reason(word) && !THEIRS.contains(word));
            for word in words {
                assert!(document.contains(&format!("`{word}`")), "docs/operator.md does not say what {word} means");
            }
        }
    }

    /// Two words or more that are written together.
    fn is_reason(word: &str) -> bool {
        let capitals = word.chars().filter(char::is_ascii_uppercase).count();
        word.starts_with(|first: char| first.is_ascii_uppercase())
            && capitals >= 2
            && word.chars().filter(char::is_ascii_lowercase).count() > capitals
            && word.chars().all(|letter| letter.is_ascii_alphabetic())
            && !word.starts_with("Kafka")
    }

    #[test]
    fn what_was_made_before_a_resource_is_of_an_earlier_one_of_its_name() {
        let born = |second: i64| {
            let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::from_second(second).unwrap());
            let metadata = ObjectMeta { creation_timestamp: Some(time), ..ObjectMeta::default() };
            k8s_openapi::api::core::v1::Pod { metadata, ..Default::default() }
        };
        let kept = since(&born(20), vec![born(19), born(20), born(21)]);
        assert_eq!(kept, [born(20), born(21)]);
    }

    #[test]
    fn what_no_watch_may_tell_of_is_looked_at_again_sooner() {
        let found = |is_elsewhere| {
            let (kafka, foreign) = (Discovered::default(), Default::default());
            Ok(Dereferenced { kafka, keys: None, foreign, is_elsewhere })
        };
        let looked = [again(&found(false)), again(&found(true))].map(|pause| pause.as_secs());
        assert_eq!(looked, [300, 60]);
        assert_eq!(again(&Err(Error::JobOfAnother { name: "j".to_owned() })), FAULTY);
    }

    #[test]
    fn pauses_double_up_to_a_bound() {
        assert_eq!([1, 2, 3, 9, 10, 400].map(|count| pause(count).as_secs()), [1, 2, 4, 256, 300, 300]);
    }

    #[test]
    fn a_paused_resource_keeps_what_it_said_and_says_that_it_is_paused() {
        let ready = Verdict::holds(conditions::READY, "Streaming", "");
        let old = conditions::updated(&[], &[ready], Some(1), Timestamp::UNIX_EPOCH);
        let once = paused(&old, Some(2));
        assert_eq!(once.iter().map(|condition| condition.type_.as_str()).collect::<Vec<_>>(), ["Ready", PAUSED]);
        assert_eq!(paused(&once, Some(2)), once, "nothing changes while nothing does");
    }
}
