//! Carries out a KafkaBackup: dereference, validate, build, apply, status.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Resource as _, ResourceExt as _};
use serde_json::json;
use strimzi_backup_format::job;

use super::apply::Applier;
use super::conditions::{self, READY, Verdict};
use super::dereference::{Dereferenced, dereference, prune_keys, request};
use super::error::Error;
use super::tell::{self, Told};
use super::upkeep::{self, Since};
use super::{Context, deletion, observe, schedule};
use crate::api::{KafkaBackup, KafkaBackupStatus, Reported, TRIGGER, TRIGGER_NOW};
use crate::build::names::{self, Part};
use crate::build::{self, Pruner, StoreKeys, Subject, ValidBackup};
use crate::metrics::{BackupLabels, Figures};
use crate::strimzi::Purpose;

/// The kind, as errors and labels have it.
pub const KIND: &str = "KafkaBackup";

/// Makes the world as the resource says.
///
/// # Errors
/// Those of [`Error`] that trying again may mend. The others are in the status.
pub async fn reconcile(backup: &KafkaBackup, context: &Arc<Context>) -> Result<Action, Error> {
    let applier = context.applier(backup);
    let labels = BackupLabels { namespace: backup.namespace().unwrap_or_default(), name: backup.name_any() };
    if super::is_paused(backup) {
        // How it stands is not looked at, and what was told of it before must wake nobody.
        context.metrics.stands(&labels, &Figures::default());
        let old = backup.status.clone().unwrap_or_default();
        let conditions = super::paused(&old.conditions, backup.metadata.generation);
        write(&applier, context, backup, KafkaBackupStatus { conditions, ..ours(old) }).await?;
        return Ok(Action::await_change());
    }
    let done = Box::pin(carry_out(backup, context, &applier)).await;
    let (status, figures) = Box::pin(status(backup, &applier, &done)).await?;
    context.metrics.stands(&labels, &figures);
    write(&applier, context, backup, status).await?;
    match done {
        Err(error) if error.is_retryable() => Err(error),
        done => Ok(Action::requeue(super::again(&done))),
    }
}

async fn carry_out(backup: &KafkaBackup, context: &Arc<Context>, applier: &Applier) -> Result<Dereferenced, Error> {
    // Before anything writes that would have to be deleted.
    deletion::hold(backup, applier).await?;
    if backup.spec.suspend {
        // Whatever became of the cluster.
        stand_still(backup, applier).await?;
    }
    let namespace = backup.namespace().unwrap_or_default();
    let spec = &backup.spec;
    let request = request(&namespace, &spec.strimzi_cluster_ref, spec.authentication.as_ref(), Purpose::Backup);
    let found = dereference(&context.client, &namespace, &request, &spec.storage, spec.encryption()).await?;
    context.tell_expiries(backup, &found);
    let prune_keys = prune_keys(&context.client, &namespace, spec).await?;
    let valid = validate(backup, &found, prune_keys.as_ref())?;
    let objects = build::backup(&valid, &context.settings);
    applier.apply_access(&objects.access).await?;
    applier.apply(&objects.config_map).await?;
    for secret in &objects.secrets {
        applier.apply(secret).await?;
    }
    for policy in &objects.network_policies {
        applier.apply(policy).await?;
    }
    if context.scrapes() {
        applier.apply_pod_monitor(&objects.pod_monitor).await?;
    }
    applier.apply(&objects.pod_disruption_budget).await?;
    applier.apply(&objects.deployment).await?;
    for cron_job in objects.cron_job.iter().chain(&objects.prune).chain(&objects.verify) {
        applier.apply(cron_job).await?;
    }
    remove_orphans(backup, applier, &objects).await?;
    if backup.annotations().get(TRIGGER).is_some_and(|value| value == TRIGGER_NOW) {
        trigger(backup, applier, &valid, context).await?;
    }
    Ok(found)
}

/// Ends the streamer, and what the schedule begins, which needs one.
async fn stand_still(backup: &KafkaBackup, applier: &Applier) -> Result<(), Error> {
    let (name, uid) = (backup.name_any(), backup.uid().unwrap_or_default());
    applier.stop(&names::object(&name, Part::Streamer), &uid).await?;
    for part in [Part::Snapshot, Part::Prune] {
        applier.suspend(&names::object(&name, part), &uid).await?;
    }
    Ok(())
}

/// Judges the resource with what was found, and with the keys that only prunes have; pure.
fn validate<'a>(
    backup: &'a KafkaBackup,
    found: &'a Dereferenced,
    prune_keys: Option<&'a StoreKeys>,
) -> Result<ValidBackup<'a>, Error> {
    let subject = subject(backup);
    let identity = identity(&subject);
    let raw = build::job_document(&identity, &backup.spec, &found.kafka, found.keys.as_ref());
    let document = serde_norway::to_string(&raw)?;
    let resolved = job::resolve(raw)?;
    Ok(ValidBackup {
        subject,
        spec: &backup.spec,
        parts: found.parts(),
        document,
        heartbeat: resolved.backup.heartbeat_interval,
        pruner: prune_keys.map(|keys| pruner(&identity, backup, found, keys)).transpose()?.flatten(),
    })
}

/// What its streamer records in the store as whose backup it is.
pub(super) fn identity(subject: &Subject<'_>) -> String {
    format!("{}.{}", subject.namespace, subject.name)
}

/// Whom the objects are made for.
pub(super) fn subject(backup: &KafkaBackup) -> Subject<'_> {
    Subject {
        kind: KIND,
        name: backup.metadata.name.as_deref().unwrap_or_default(),
        namespace: backup.metadata.namespace.as_deref().unwrap_or_default(),
        owner: backup.controller_owner_ref(&()).unwrap_or_default(),
        cluster: &backup.spec.strimzi_cluster_ref.name,
        template: backup.spec.template.as_ref(),
        part: Part::Streamer,
    }
}

/// What prunes have of their own.
fn pruner<'a>(
    identity: &str,
    backup: &KafkaBackup,
    found: &Dereferenced,
    keys: &'a StoreKeys,
) -> Result<Option<Pruner<'a>>, Error> {
    let spec = &backup.spec;
    let Some(secret) = spec.prune_credentials() else { return Ok(None) };
    let raw = build::job_document(identity, spec, &found.kafka, Some(keys));
    let document = serde_norway::to_string(&raw)?;
    Ok(Some(Pruner { storage: spec.storage.with_credentials(secret), keys, document }))
}

/// Removes what earlier forms of the resource asked for and this one does not.
async fn remove_orphans(backup: &KafkaBackup, applier: &Applier, objects: &build::BackupObjects) -> Result<(), Error> {
    let (uid, name) = (backup.uid().unwrap_or_default(), backup.name_any());
    let schedules =
        [(Part::Snapshot, &objects.cron_job), (Part::Prune, &objects.prune), (Part::Verify, &objects.verify)];
    for (part, _) in schedules.into_iter().filter(|(_, schedule)| schedule.is_none()) {
        applier.remove::<CronJob>(&names::object(&name, part), &uid).await?;
    }
    for part in [Part::Streamer, Part::Snapshot, Part::Prune, Part::Verify] {
        let policy = names::object(&name, part);
        if objects.network_policies.iter().all(|object| object.name_any() != policy) {
            applier.remove::<NetworkPolicy>(&policy, &uid).await?;
        }
    }
    for role in ["kafka-ca", "kafka-user"] {
        let copy = names::copy(&name, Part::Streamer, role);
        if objects.secrets.iter().all(|secret| secret.name_any() != copy) {
            applier.remove::<Secret>(&copy, &uid).await?;
        }
    }
    Ok(())
}

/// Makes one snapshot and takes the annotation away. Killed in between, the next start makes another one, which harms
/// nothing; the other way round the wish would be lost.
async fn trigger(
    backup: &KafkaBackup,
    applier: &Applier,
    valid: &ValidBackup<'_>,
    context: &Context,
) -> Result<(), Error> {
    let now = Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
    let name = format!("{}-{now}", backup.name_any());
    applier.create(&build::snapshot_job(valid, &context.settings, &name)).await?;
    let patch = json!({"metadata": {"annotations": {TRIGGER: null}}});
    let removed = applier.api::<KafkaBackup>();
    let removed = removed.patch(&backup.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
    removed.map(drop).map_err(|source| Error::api(format!("remove annotation {TRIGGER}"), source))
}

/// How the backup stands, and what metrics tell of it.
async fn status(
    backup: &KafkaBackup,
    applier: &Applier,
    done: &Result<Dereferenced, Error>,
) -> Result<(KafkaBackupStatus, Figures), Error> {
    let (old, name) = (backup.status.clone().unwrap_or_default(), backup.name_any());
    let streamer = names::object(&name, Part::Streamer);
    let deployment = applier.api::<Deployment>().get_opt(&streamer).await;
    let deployment = deployment.map_err(|source| Error::api(format!("read Deployment {streamer:?}"), source))?;
    let pods = super::list::<Pod>(applier, &super::selector(KIND, &name, Part::Streamer)).await?;
    let jobs = super::list::<Job>(applier, &super::selector(KIND, &name, Part::Snapshot)).await?;
    let streaming = observe::streamer::streaming(deployment.as_ref(), &pods, backup.spec.suspend, &old.streamer);
    let reconciled = super::reconciled(done.as_ref().map(|found| found.kafka.warnings.as_slice()));
    let snapshot_pods = super::list::<Pod>(applier, &super::selector(KIND, &name, Part::Snapshot)).await?;
    let history = observe::snapshots::snapshots(&super::since(backup, jobs), &snapshot_pods, &old.backup_history);
    let prunes = scheduled(backup, applier, Part::Prune, backup.spec.prunes()).await?;
    let verifications = scheduled(backup, applier, Part::Verify, backup.spec.verification.is_some()).await?;
    let Scheduled { jobs: verify_jobs, pods: verify_pods, .. } = &verifications;
    let last_verification = upkeep::last_verification(verify_pods, old.last_verification);
    let (last, before) = (last_verification.as_ref(), old.verification_failure.as_ref());
    let verification_failure = upkeep::verification_failure(verify_jobs, verify_pods, before, last);
    let verified = backup.spec.verification.as_ref().map(|_| upkeep::verified(last, verification_failure.as_ref()));
    let held = backup.spec.retention.as_ref().and_then(|_| observe::streamer::retention_held(&old.streamer));
    let told =
        [observe::streamer::no_gaps(&old.streamer), observe::streamer::groups_covered(&old.streamer), held, verified];
    let now = Timestamp::now();
    let next = backup.spec.schedule.as_ref().filter(|_| !backup.spec.suspend);
    let next = next.and_then(|schedule| schedule::next(schedule, now));
    let ready = ready(&reconciled, &streaming, next);
    let verdicts: Vec<_> =
        [ready, streaming].into_iter().chain(told.into_iter().flatten()).chain([reconciled]).collect();
    let kafka = done.as_ref().ok().map(|found| &found.kafka);
    let status = KafkaBackupStatus {
        conditions: conditions::updated(&old.conditions, &verdicts, backup.metadata.generation, now),
        observed_generation: backup.metadata.generation,
        cluster_id: kafka.and_then(|kafka| kafka.cluster_id.clone()).or(old.cluster_id),
        cluster: kafka.map(|kafka| kafka.cluster.clone()).or(old.cluster),
        last_backup: observe::snapshots::last(&history).or(old.last_backup),
        backup_history: history,
        next_scheduled_backup: next.map(Time),
        prune_failure: upkeep::failure(&prunes.jobs, &prunes.pods, old.prune_failure.as_ref()),
        last_prune: upkeep::last_prune(&prunes.pods, old.last_prune),
        verification_failure,
        last_verification,
        streamer: Reported::default(),
    };
    let since = Since { prunes: prunes.since, verifications: verifications.since };
    let figures = upkeep::figures(&backup.spec, &status, since);
    Ok((status, figures))
}

/// Work that a schedule has done.
#[derive(Default)]
struct Scheduled {
    /// Its Jobs.
    jobs: Vec<Job>,
    /// Their pods.
    pods: Vec<Pod>,
    /// Since when there is the schedule.
    since: Option<Timestamp>,
}

/// What is there of the scheduled work of a part, where it is asked for.
async fn scheduled(
    backup: &KafkaBackup,
    applier: &Applier,
    part: Part,
    is_asked_for: bool,
) -> Result<Scheduled, Error> {
    if !is_asked_for {
        return Ok(Scheduled::default());
    }
    let (selector, name) = (super::selector(KIND, &backup.name_any(), part), names::object(&backup.name_any(), part));
    let schedule = applier.api::<CronJob>().get_opt(&name).await;
    let schedule = schedule.map_err(|source| Error::api(format!("read CronJob {name:?}"), source))?;
    let since = schedule.and_then(|schedule| schedule.metadata.creation_timestamp).map(|time| time.0);
    // Jobs first: what they are said to have come to, their pods have said by then.
    let jobs = super::since(backup, super::list::<Job>(applier, &selector).await?);
    let pods = super::since(backup, super::list::<Pod>(applier, &selector).await?);
    Ok(Scheduled { jobs, pods, since })
}

/// Ready is who streams what the resource says.
fn ready(reconciled: &Verdict, streaming: &Verdict, next: Option<Timestamp>) -> Verdict {
    if !reconciled.holds {
        return reconciled.of(READY);
    }
    match next {
        Some(next) if streaming.holds => {
            let message = format!("the streamer follows the topics; next snapshot scheduled for {next}");
            Verdict::holds(READY, "BackupScheduled", message)
        }
        _ => streaming.of(READY),
    }
}

/// What of a status the operator writes. A field that it wrote although the streamer owns it would stand still.
pub(super) fn ours(status: KafkaBackupStatus) -> KafkaBackupStatus {
    KafkaBackupStatus { streamer: Reported::default(), ..status }
}

/// Writes the status if it says anything new, and tells what changed.
async fn write(
    applier: &Applier,
    context: &Context,
    backup: &KafkaBackup,
    status: KafkaBackupStatus,
) -> Result<(), Error> {
    let old = ours(backup.status.clone().unwrap_or_default());
    if old == status {
        return Ok(());
    }
    super::patch_status::<KafkaBackup, _>(applier, &backup.name_any(), &status).await?;
    let before = context.backups.replace(backup.uid().unwrap_or_default(), status.clone()).unwrap_or(old);
    tell::publish(&context.recorder, &backup.object_ref(&()), changes(&before, &status)).await;
    Ok(())
}

/// What is told of a change.
fn changes(old: &KafkaBackupStatus, new: &KafkaBackupStatus) -> Vec<Told> {
    let mut told = tell::faults(&old.conditions, &new.conditions);
    told.extend(tell::held(&old.conditions, &new.conditions));
    told.extend(tell::snapshots(&old.backup_history, &new.backup_history));
    told.extend(tell::prune(old.last_prune.as_ref(), new.last_prune.as_ref()));
    told.extend(tell::prune_failure(old.prune_failure.as_ref(), new.prune_failure.as_ref()));
    told.extend(tell::findings(old.last_verification.as_ref(), new.last_verification.as_ref()));
    let (before, now) = (old.verification_failure.as_ref(), new.verification_failure.as_ref());
    told.extend(tell::verification_failure(before, now));
    told
}

#[cfg(test)]
mod tests {
    use super::super::memory::Memory;
    use super::*;
    use crate::api::{Backup, Outcome};

    const BACKUP: &str = include_str!("../api/testdata/kafka-backup.yaml");

    fn found() -> Dereferenced {
        let kafka = crate::strimzi::Discovered { bootstrap_servers: "kafka.svc:9092".to_owned(), ..Default::default() };
        Dereferenced { kafka, keys: None, foreign: Default::default(), is_elsewhere: false }
    }

    #[test]
    fn all_faults_of_a_spec_are_told_at_once() {
        let mut backup: KafkaBackup = serde_norway::from_str(BACKUP).unwrap();
        backup.spec.topics.as_mut().unwrap().include = Some(vec!["(".to_owned()]);
        backup.spec.backup.as_mut().unwrap().commit_interval = Some("1h".to_owned());
        let error = validate(&backup, &found(), None).unwrap_err();
        assert_eq!((error.reason(), error.is_retryable()), ("InvalidSpec", false));
        let told = error.told();
        assert!(told.contains("topics.include") && told.contains("commitInterval"), "{told}");
    }

    #[test]
    fn faults_of_the_keys_that_seal_a_backup_are_told_with_the_others() {
        let mut backup: KafkaBackup = serde_norway::from_str(BACKUP).unwrap();
        backup.spec.topics.as_mut().unwrap().include = Some(vec!["(".to_owned()]);
        let transit = json!({"address": "https://vault:8200", "key": "..", "tokenSecret": {"name": "t", "key": "t"}});
        let encryption = json!({"enabled": true, "transit": transit});
        backup.spec.backup.as_mut().unwrap().encryption = Some(serde_json::from_value(encryption).unwrap());
        let told = validate(&backup, &found(), None).unwrap_err().told();
        assert!(told.contains("topics.include") && told.contains("backup.encryption.transit.key"), "{told}");
    }

    #[test]
    fn each_change_is_told_once_though_the_watch_shows_an_earlier_status() {
        let of = |statuses: &[Outcome]| {
            let snapshot = |(number, status): (usize, &Outcome)| Backup {
                id: number.to_string(),
                status: *status,
                start_time: None,
                completion_time: None,
                sums: Default::default(),
            };
            let backup_history = statuses.iter().enumerate().map(snapshot).collect();
            KafkaBackupStatus { backup_history, ..KafkaBackupStatus::default() }
        };
        let (memory, shown) = (Memory::default(), of(&[]));
        let write = |status: KafkaBackupStatus| {
            let before = memory.replace("uid".to_owned(), status.clone()).unwrap_or(shown.clone());
            changes(&before, &status).into_iter().map(|told| told.reason).collect::<Vec<_>>()
        };
        assert_eq!(write(of(&[Outcome::Running])), ["BackupStarted"]);
        assert_eq!(write(of(&[Outcome::Running])), Vec::<String>::new());
        assert_eq!(write(of(&[Outcome::Completed, Outcome::Running])), ["BackupStarted", "BackupCompleted"]);
    }

    #[test]
    fn ready_says_what_stands_in_the_way_first() {
        let streaming = Verdict::holds(conditions::STREAMING, "Streaming", "");
        let refused = Verdict::fails(conditions::RECONCILED, "ClusterNotFound", "no Kafka");
        let next = Some(Timestamp::UNIX_EPOCH);
        assert_eq!(ready(&refused, &streaming, next).reason, "ClusterNotFound");
        let fine = Verdict::holds(conditions::RECONCILED, "Applied", "");
        assert_eq!(ready(&fine, &streaming, next).reason, "BackupScheduled");
        assert_eq!(ready(&fine, &streaming, None), streaming.of(READY));
        let starting = Verdict::fails(conditions::STREAMING, "Starting", "");
        assert_eq!(ready(&fine, &starting, next), starting.of(READY));
    }
}
