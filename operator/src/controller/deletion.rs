//! The end of a KafkaBackup. With `deletionPolicy: Delete` its stored backup goes first; nothing holds it up for long.
//!
//! ```text
//! streamer and schedules end ─▶ no pod of the streamer is left ─▶ Job `<name>-destroy` succeeds ─▶ the finalizer goes
//!             └─ too late, forbidden, given up, a fault of the resource: left in the store, which is told ─▶ the finalizer goes
//! ```
//!
//! Owns: the finalizer, and when which of it is done. Does not own: what the Job looks like (`crate::build`), or what it deletes:
//! `strimzi-backup destroy` deletes the backup alone whose id the streamer of this resource has told.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Resource as _, ResourceExt as _};
use serde_json::json;
use strimzi_backup_format::job;

use super::apply::{Applier, is_owned};
use super::backup::{KIND, identity, ours, subject};
use super::conditions::{self, READY, Verdict};
use super::dereference::deleter;
use super::error::Error;
use super::tell::{self, Told};
use super::{Context, observe};
use crate::api::{CLEANUP, DeletionPolicy, KafkaBackup, KafkaBackupStatus, Outcome, Storage, StorageType};
use crate::build::names::{self, Part};
use crate::build::{self, StoreKeys, ValidDestroy};

/// How often it is looked how far it is, beside what watches tell.
const LOOK: Duration = Duration::from_secs(2);

/// The schedules that write to the store.
const SCHEDULES: [Part; 2] = [Part::Snapshot, Part::Prune];

/// Kubernetes' own finalizer of who is deleted after what belongs to it: while it stands, whatever belongs to it is collected, a
/// new Job too.
const FOREGROUND: &str = "foregroundDeletion";

/// The condition's reason while it is under way.
const DELETING: &str = "BackupDeleting";
/// The event's reason once the stored backup is gone.
const DELETED: &str = "BackupDeleted";
/// The event's reason where it stays.
const LEFT: &str = "BackupLeft";

/// How far the end of a resource is.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// The stored backup is gone.
    Deleted,
    /// Something has to end first.
    Waits(String),
    /// The stored backup stays, for this reason.
    Left(String),
}

/// Holds a resource that is not being deleted, or lets go of it, as its policy says.
///
/// # Errors
/// [`Error::Api`].
pub async fn hold(backup: &KafkaBackup, applier: &Applier) -> Result<(), Error> {
    match (backup.spec.deletion_policy, is_held(&backup.metadata)) {
        (DeletionPolicy::Delete, false) => {
            let held = backup.finalizers().iter().cloned().chain([CLEANUP.to_owned()]).collect();
            set_finalizers(&backup.metadata, applier, held).await
        }
        (DeletionPolicy::Retain, true) => release(&backup.metadata, applier).await,
        _ => Ok(()),
    }
}

/// Does the next that has to be done for a resource that is being deleted.
///
/// # Errors
/// [`Error::Api`], where the finalizer cannot be taken away. Nothing else is one: what fails is tried again, for as long as the
/// resource may be held.
pub async fn reconcile(backup: &KafkaBackup, context: &Arc<Context>) -> Result<Action, Error> {
    if !is_held(&backup.metadata) {
        return Ok(Action::await_change());
    }
    let applier = context.applier(backup);
    if backup.spec.deletion_policy == DeletionPolicy::Delete {
        let told = match Box::pin(step(backup, context, &applier)).await {
            Ok(Step::Waits(why)) => {
                tell_waiting(backup, &applier, &why).await;
                return Ok(Action::requeue(LOOK));
            }
            Ok(Step::Deleted) => Told::new(false, DELETED, deleted(backup)),
            Ok(Step::Left(why)) => Told::new(true, LEFT, left(backup, &why)),
            // A namespace that is about to go takes nothing new, and the operator's rights there may be gone already.
            Err(error) if error.is_retryable() && !error.is_forbidden() => {
                tracing::warn!(
                    backup = backup.name_any(),
                    error = error.told(),
                    "the stored backup is not deleted yet"
                );
                return Ok(Action::requeue(LOOK));
            }
            Err(error) => Told::new(true, LEFT, left(backup, &error.told())),
        };
        // It comes here again where the finalizer could not be taken away, or the watch still shows it.
        if context.ends.replace(backup.uid().unwrap_or_default(), told.clone()).as_ref() != Some(&told) {
            tracing::info!(reason = told.reason, "{}", told.note);
            tell::publish(&context.recorder, &backup.object_ref(&()), vec![told]).await;
        }
    }
    release(&backup.metadata, &applier).await?;
    Ok(Action::await_change())
}

/// Lets go of a resource that is being deleted and has a form that this release does not know: nothing can be done for it.
///
/// # Errors
/// [`Error::Api`].
pub async fn release_unread(metadata: &ObjectMeta, context: &Context) -> Result<(), Error> {
    if metadata.deletion_timestamp.is_none() || !is_held(metadata) {
        return Ok(());
    }
    tracing::warn!(backup = metadata.name, "it is deleted without being read: its stored backup stays");
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    release(metadata, &Applier::new(context.client.clone(), namespace)).await
}

async fn step(backup: &KafkaBackup, context: &Context, applier: &Applier) -> Result<Step, Error> {
    let Some(id) = id(backup) else { return Ok(Step::Left("no streamer has told which backup it writes".to_owned())) };
    if super::is_paused(backup) {
        return Ok(Step::Left("its reconciliation is paused".to_owned()));
    }
    if is_over(backup, context.deletion_timeout, Timestamp::now()) {
        let pods = super::list::<Pod>(applier, &selector(backup, Part::Destroy)).await.unwrap_or_default();
        let said = observe::trouble(&pods).map(|(_, message)| format!("; {message}")).unwrap_or_default();
        return Ok(Step::Left(format!("it was not deleted within {} s{said}", context.deletion_timeout.as_secs())));
    }
    if backup.finalizers().iter().any(|finalizer| finalizer == FOREGROUND) {
        return Ok(Step::Waits("what belongs to it is deleted first".to_owned()));
    }
    if streams(backup, applier).await? {
        return Ok(Step::Waits("its streamer has to end".to_owned()));
    }
    destroy(backup, id, context, applier).await
}

/// Ends who writes to the store, and says whether the streamer still runs.
async fn streams(backup: &KafkaBackup, applier: &Applier) -> Result<bool, Error> {
    let (name, uid) = (backup.name_any(), backup.uid().unwrap_or_default());
    applier.stop(&names::object(&name, Part::Streamer), &uid).await?;
    for part in SCHEDULES {
        applier.remove::<CronJob>(&names::object(&name, part), &uid).await?;
    }
    let pods = super::list::<Pod>(applier, &selector(backup, Part::Streamer)).await?;
    Ok(pods.iter().any(runs))
}

/// Whether a pod has not ended.
fn runs(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed"))
}

/// Has the Job that deletes the stored backup, and says how far it is.
async fn destroy(backup: &KafkaBackup, id: &str, context: &Context, applier: &Applier) -> Result<Step, Error> {
    let namespace = backup.namespace().unwrap_or_default();
    let (storage, keys) = deleter(&context.client, &namespace, &backup.spec).await?;
    let objects = build::destroy(&validate(backup, id, storage, keys)?, &context.settings);
    applier.apply(&objects.service_account).await?;
    applier.apply(&objects.config_map).await?;
    for policy in &objects.network_policies {
        applier.apply(policy).await?;
    }
    applier.create(&objects.job).await?;
    let name = objects.job.name_any();
    let job = applier.api::<Job>().get_opt(&name).await;
    let job = job.map_err(|source| Error::api(format!("read Job {name:?}"), source))?;
    let pods = super::list::<Pod>(applier, &selector(backup, Part::Destroy)).await?;
    Ok(judge(job.as_ref(), &backup.uid().unwrap_or_default(), &pods))
}

/// How far the Job is that belongs to the owner `uid`; `pods` are its own. One of an earlier resource says nothing.
fn judge(job: Option<&Job>, uid: &str, pods: &[Pod]) -> Step {
    let is_ours = |job: &&Job| is_owned(*job, uid);
    let said = observe::trouble(pods).map(|(_, message)| message);
    match job.filter(is_ours).map(observe::outcome) {
        Some(Outcome::Completed) => Step::Deleted,
        Some(Outcome::Failed) => Step::Left(said.unwrap_or_else(|| "its Job failed, and the pod is gone".to_owned())),
        _ => Step::Waits(said.unwrap_or_else(|| "the stored backup is being deleted".to_owned())),
    }
}

/// Judges the resource; pure.
fn validate<'a>(
    backup: &'a KafkaBackup,
    id: &'a str,
    storage: Storage,
    keys: Option<StoreKeys>,
) -> Result<ValidDestroy<'a>, Error> {
    let subject = subject(backup);
    let raw = build::destroy_document(&identity(&subject), &backup.spec, keys.as_ref());
    let document = serde_norway::to_string(&raw)?;
    job::resolve(raw)?;
    Ok(ValidDestroy { subject, storage, keys, backup: id, document })
}

fn selector(backup: &KafkaBackup, part: Part) -> String {
    super::selector(KIND, &backup.name_any(), part)
}

/// The id of the backup that this resource's streamer writes.
fn id(backup: &KafkaBackup) -> Option<&str> {
    backup.status.as_ref()?.streamer.backup_id.as_deref()
}

fn is_held(metadata: &ObjectMeta) -> bool {
    metadata.finalizers.iter().flatten().any(|finalizer| finalizer == CLEANUP)
}

/// Whether it was held for as long as it may be.
fn is_over(backup: &KafkaBackup, timeout: Duration, now: Timestamp) -> bool {
    let Some(since) = &backup.metadata.deletion_timestamp else { return false };
    let held = Duration::try_from(now.duration_since(since.0)).unwrap_or_default();
    held >= timeout
}

/// Takes the finalizer away.
async fn release(metadata: &ObjectMeta, applier: &Applier) -> Result<(), Error> {
    let others = metadata.finalizers.iter().flatten().filter(|finalizer| *finalizer != CLEANUP);
    set_finalizers(metadata, applier, others.cloned().collect()).await
}

async fn set_finalizers(metadata: &ObjectMeta, applier: &Applier, finalizers: Vec<String>) -> Result<(), Error> {
    let name = metadata.name.as_deref().unwrap_or_default();
    // Refused where somebody changed it meanwhile: his finalizers are none of ours to take away.
    let patch = json!({"metadata": {"finalizers": finalizers, "resourceVersion": metadata.resource_version}});
    let patch = Patch::Merge(patch);
    match applier.api::<KafkaBackup>().patch_metadata(name, &PatchParams::default(), &patch).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(source) => Err(Error::api(format!("write the finalizers of KafkaBackup {name:?}"), source)),
    }
}

/// Says in the status what it waits for. A status that cannot be written holds nothing up.
async fn tell_waiting(backup: &KafkaBackup, applier: &Applier, why: &str) {
    let old = ours(backup.status.clone().unwrap_or_default());
    let verdict = Verdict::fails(READY, DELETING, why);
    let mut now = conditions::updated(&old.conditions, &[verdict], backup.metadata.generation, Timestamp::now());
    now.extend(old.conditions.iter().filter(|condition| condition.type_ != READY).cloned());
    if now == old.conditions {
        return;
    }
    let status = KafkaBackupStatus { conditions: now, ..old };
    if let Err(error) = super::patch_status::<KafkaBackup, _>(applier, &backup.name_any(), &status).await {
        tracing::warn!(backup = backup.name_any(), error = error.told(), "its status could not be written");
    }
}

/// Where the backup is kept, for people.
fn place(storage: &Storage) -> String {
    let place = match storage.r#type {
        StorageType::S3 => storage.s3.as_ref().map(|s3| ("s3", &s3.bucket, &s3.prefix)),
        StorageType::Azure => storage.azure.as_ref().map(|azure| ("azure", &azure.container, &azure.prefix)),
        StorageType::Gcs => storage.gcs.as_ref().map(|gcs| ("gs", &gcs.bucket, &gcs.prefix)),
    };
    place.map(|(scheme, bucket, prefix)| format!("{scheme}://{bucket}/{prefix}")).unwrap_or_default()
}

fn deleted(backup: &KafkaBackup) -> String {
    format!("the stored backup {} in {} was deleted", id(backup).unwrap_or_default(), place(&backup.spec.storage))
}

/// What is left, how it is deleted by hand, and why it was left.
fn left(backup: &KafkaBackup, why: &str) -> String {
    let place = place(&backup.spec.storage);
    match id(backup) {
        Some(id) => format!(
            "the stored backup {id} is left in {place}. With a job.yaml that has this storage, this deletes it: strimzi-backup \
             destroy --config job.yaml --backup {id}. Why it is left: {why}"
        ),
        None => format!(
            "what is stored in {place} is left. With a job.yaml that has this storage, `strimzi-backup inspect --config \
             job.yaml` tells the id of a backup, and strimzi-backup destroy --config job.yaml --backup ID deletes it. Why it is \
             left: {why}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKUP: &str = include_str!("../api/testdata/kafka-backup.yaml");
    const ID: &str = "0d0c4b0e-7c43-4be0-8fd5-1ba7e0b4b6a5";

    fn backup(id: Option<&str>) -> KafkaBackup {
        let mut backup: KafkaBackup = serde_norway::from_str(BACKUP).unwrap();
        let mut status = KafkaBackupStatus::default();
        status.streamer.backup_id = id.map(str::to_owned);
        backup.status = Some(status);
        backup
    }

    #[test]
    fn a77_a_resource_is_held_up_no_longer_than_the_limit() {
        let mut backup = backup(Some(ID));
        let (at, limit) = (|second| Timestamp::from_second(second).unwrap(), Duration::from_secs(300));
        assert!(!is_over(&backup, limit, at(10_000)), "it is not being deleted");
        backup.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(1_000)));
        assert!(!is_over(&backup, limit, at(1_299)) && is_over(&backup, limit, at(1_300)));
        assert!(!is_over(&backup, limit, at(900)), "a clock that is behind");
    }

    #[test]
    fn a77_what_is_left_is_told_with_the_command_that_deletes_it() {
        let told = left(&backup(Some(ID)), "time was up");
        assert!(told.contains("s3://my-kafka-backups/strimzi/my-kafka-cluster/"), "{told}");
        assert!(told.contains(&format!("strimzi-backup destroy --config job.yaml --backup {ID}")), "{told}");
        assert!(told.ends_with("time was up"), "{told}");
        assert!(left(&backup(None), "").contains("inspect"), "nobody knows the id");
    }

    #[test]
    fn only_the_job_of_the_resource_itself_says_that_the_backup_is_gone() {
        let job = |uid: &str, kind: &str| {
            let owner =
                json!({"apiVersion": "kafkabackup.com/v1alpha1", "kind": "KafkaBackup", "name": "b", "uid": uid});
            let status = json!({"conditions": [{"type": kind, "status": "True"}]});
            let job = json!({"metadata": {"name": "b-destroy", "ownerReferences": [owner]}, "status": status});
            serde_json::from_value::<Job>(job).unwrap()
        };
        assert_eq!(judge(Some(&job("one", "Complete")), "one", &[]), Step::Deleted);
        assert!(matches!(judge(Some(&job("other", "Complete")), "one", &[]), Step::Waits(_)));
        assert!(matches!(judge(Some(&job("one", "Failed")), "one", &[]), Step::Left(_)));
        assert!(matches!(judge(None, "one", &[]), Step::Waits(_)));
    }

    #[test]
    fn a_backup_is_deleted_by_its_id_whatever_became_of_its_cluster() {
        let backup = backup(Some(ID));
        let keys = Some(StoreKeys::S3File("deleter".to_owned()));
        let valid = validate(&backup, ID, backup.spec.storage.clone(), keys).unwrap();
        assert_eq!((valid.backup, valid.subject.name), (ID, "daily-backup"));
        let mut faulty = backup.clone();
        faulty.spec.storage.s3.as_mut().unwrap().prefix = "a//b".to_owned();
        let fault = validate(&faulty, ID, faulty.spec.storage.clone(), None);
        assert!(fault.is_err_and(|error| !error.is_retryable()));
    }

    #[test]
    fn pods_that_have_ended_do_not_count() {
        let pod = |phase: &str| serde_json::from_value::<Pod>(json!({"status": {"phase": phase}})).unwrap();
        assert!(runs(&pod("Running")) && runs(&pod("Pending")) && runs(&Pod::default()));
        assert!(!runs(&pod("Succeeded")) && !runs(&pod("Failed")));
    }
}
