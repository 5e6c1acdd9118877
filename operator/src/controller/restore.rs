//! Carries out a KafkaRestore: dereference, validate, build, apply, status. One Job, made once.

use std::pin::pin;
use std::sync::Arc;

use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{LogParams, Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Resource as _, ResourceExt as _};
use serde_json::json;
use strimzi_backup_format::ids::TimestampMs;
use strimzi_backup_format::job;

use super::apply::{Applier, is_owned};
use super::conditions::{self, READY, Verdict};
use super::dereference::{Dereferenced, dereference, purpose, request, source};
use super::error::Error;
use super::observe::restore::Plan;
use super::tell::{self, Told};
use super::{Context, observe};
use crate::api::{KafkaRestore, KafkaRestoreStatus, Outcome, RestorePod};
use crate::build::names::{self, Part};
use crate::build::{self, Source, Subject, ValidRestore};

/// The kind, as errors and labels have it.
pub const KIND: &str = "KafkaRestore";

/// Makes the world as the resource says.
///
/// # Errors
/// Those of [`Error`] that trying again may mend. The others are in the status.
pub async fn reconcile(restore: &KafkaRestore, context: &Arc<Context>) -> Result<Action, Error> {
    let applier = context.applier(restore);
    let old = restore.status.clone().unwrap_or_default();
    // Records are restored once: a Job that somebody tidied up is not made again.
    if old.restore.as_ref().is_some_and(|restore| restore.status == Outcome::Completed) {
        return Ok(Action::await_change());
    }
    if super::is_paused(restore) {
        let conditions = super::paused(&old.conditions, restore.metadata.generation);
        write(&applier, context, restore, KafkaRestoreStatus { conditions, ..ours(old) }).await?;
        return Ok(Action::await_change());
    }
    let done = carry_out(restore, context, &applier).await;
    let status = status(restore, &applier, &done).await?;
    write(&applier, context, restore, status).await?;
    match done {
        Err(error) if error.is_retryable() => Err(error),
        done => Ok(Action::requeue(super::again(&done))),
    }
}

async fn carry_out(restore: &KafkaRestore, context: &Arc<Context>, applier: &Applier) -> Result<Dereferenced, Error> {
    let namespace = restore.namespace().unwrap_or_default();
    let spec = &restore.spec;
    if spec.suspend {
        // Whatever became of the cluster and of the KafkaBackup.
        suspend(restore, applier).await?;
    }
    let source = source(&context.client, &namespace, spec).await?;
    let request = request(&namespace, &spec.strimzi_cluster_ref, spec.authentication.as_ref(), purpose(spec));
    let encryption = source.encryption.as_ref();
    let found = dereference(&context.client, &namespace, &request, &source.storage, encryption).await?;
    context.tell_expiries(restore, &found);
    let objects = build::restore(&validate(restore, &source, &found, Timestamp::now())?, &context.settings);
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
    // The pods of a Job cannot change, and need not: they read documents and secrets when they start.
    if !applier.create(&objects.job).await? {
        suspend(restore, applier).await?;
    }
    Ok(found)
}

/// Lets the Job stand still, or go on, where there is one.
async fn suspend(restore: &KafkaRestore, applier: &Applier) -> Result<(), Error> {
    let name = names::object(&restore.name_any(), Part::Restore);
    let failed = |source| Error::api(format!("suspend Job {name:?}"), source);
    let Some(present) = applier.api::<Job>().get_opt(&name).await.map_err(failed)? else { return Ok(()) };
    if !is_of(&present, restore) {
        return Err(Error::JobOfAnother { name });
    }
    let is = present.spec.and_then(|spec| spec.suspend).unwrap_or(false);
    if is == restore.spec.suspend {
        return Ok(());
    }
    let patch = Patch::Merge(json!({"spec": {"suspend": restore.spec.suspend}}));
    applier.api::<Job>().patch(&name, &PatchParams::default(), &patch).await.map(drop).map_err(failed)
}

/// Whether a Job is this resource's.
fn is_of(job: &Job, restore: &KafkaRestore) -> bool {
    is_owned(job, &restore.uid().unwrap_or_default())
}

/// The restore's id in the store and at the target. Another resource of the same name is another restore.
fn id(restore: &KafkaRestore) -> String {
    let uid = restore.uid().unwrap_or_default();
    let start = uid.split('-').next().unwrap_or_default();
    format!("{}.{}.{start}", restore.namespace().unwrap_or_default(), restore.name_any())
}

/// Judges the resource with what was found, at the instant `now`; pure.
fn validate<'a>(
    restore: &'a KafkaRestore,
    source: &'a Source,
    found: &'a Dereferenced,
    now: Timestamp,
) -> Result<ValidRestore<'a>, Error> {
    let raw = build::restore_document(&id(restore), &restore.spec, source, &found.kafka, found.keys.as_ref());
    let document = serde_norway::to_string(&raw)?;
    job::resolve_restore(raw, TimestampMs::new(now.as_millisecond()))?;
    Ok(ValidRestore {
        subject: Subject {
            kind: KIND,
            name: restore.metadata.name.as_deref().unwrap_or_default(),
            namespace: restore.metadata.namespace.as_deref().unwrap_or_default(),
            owner: restore.controller_owner_ref(&()).unwrap_or_default(),
            cluster: &restore.spec.strimzi_cluster_ref.name,
            template: restore.spec.template.as_ref(),
            part: Part::Restore,
        },
        spec: &restore.spec,
        source,
        parts: found.parts(),
        document,
    })
}

async fn status(
    restore: &KafkaRestore,
    applier: &Applier,
    done: &Result<Dereferenced, Error>,
) -> Result<KafkaRestoreStatus, Error> {
    let (old, name) = (restore.status.clone().unwrap_or_default(), restore.name_any());
    let job_name = names::object(&name, Part::Restore);
    let job = applier.api::<Job>().get_opt(&job_name).await;
    let job = job.map_err(|source| Error::api(format!("read Job {job_name:?}"), source))?;
    let job = job.filter(|job| is_of(job, restore));
    let pods = super::list::<Pod>(applier, &super::selector(KIND, &name, Part::Restore)).await?;
    let target = restore.spec.point_in_time.as_ref().and_then(|point| point.timestamp.clone());
    let mut progress = observe::restore::progress(&id(restore), job.as_ref(), target);
    if restore.spec.dry_run && progress.status == Outcome::Completed {
        progress.plan = Some(Box::pin(plan(applier, &pods)).await?);
    }
    let reconciled = super::reconciled(done.as_ref().map(|found| found.kafka.warnings.as_slice()));
    let restored = observe::restore::restored(&progress, restore.spec.dry_run, &job_name, &pods);
    let ready = ready(&reconciled, restored, progress.status);
    Ok(KafkaRestoreStatus {
        conditions: conditions::updated(
            &old.conditions,
            &[ready, reconciled],
            restore.metadata.generation,
            Timestamp::now(),
        ),
        observed_generation: restore.metadata.generation,
        restore: Some(progress),
    })
}

/// The plan that a dry run has printed.
async fn plan(applier: &Applier, pods: &[Pod]) -> Result<String, Error> {
    let Some(pod) = observe::succeeded(pods) else {
        return Ok("its pod was gone before the plan was read: make the resource again".to_owned());
    };
    let failed = |source| Error::api("read the plan in the log of the pod", source);
    // However much was logged beside it, no more than a line is held.
    let log = applier.api::<Pod>().log_stream(&pod.name_any(), &LogParams::default()).await.map_err(failed)?;
    let mut lines = pin!(log.lines());
    let mut plan = Plan::default();
    while let Some(line) = lines.try_next().await.map_err(|source| failed(kube::Error::ReadEvents(source)))? {
        if !plan.takes(&line) {
            break;
        }
    }
    Ok(plan.text().unwrap_or_else(|| {
        "its pod logged so much that the plan is gone from its log: make the resource again, with less in RUST_LOG"
            .to_owned()
    }))
}

/// What stands in the way is told until the restore has begun; then how far it is.
fn ready(reconciled: &Verdict, restored: Verdict, status: Outcome) -> Verdict {
    match status {
        Outcome::Pending if !reconciled.holds => reconciled.of(READY),
        _ => restored,
    }
}

/// What of a status the operator writes, and not the pod.
fn ours(mut status: KafkaRestoreStatus) -> KafkaRestoreStatus {
    if let Some(restore) = &mut status.restore {
        restore.pod = RestorePod::default();
    }
    status
}

/// Writes the status if it says anything new, and tells what changed.
async fn write(
    applier: &Applier,
    context: &Context,
    restore: &KafkaRestore,
    status: KafkaRestoreStatus,
) -> Result<(), Error> {
    let old = ours(restore.status.clone().unwrap_or_default());
    if old == status {
        return Ok(());
    }
    super::patch_status::<KafkaRestore, _>(applier, &restore.name_any(), &status).await?;
    let before = context.restores.replace(restore.uid().unwrap_or_default(), status.clone()).unwrap_or(old);
    let (told, took) = changes(&before, &status);
    if let Some(took) = took {
        context.metrics.restore_duration.observe(took.as_secs_f64());
    }
    tell::publish(&context.recorder, &restore.object_ref(&()), told).await;
    Ok(())
}

/// What is told of a change, and how long the restore took where it is complete by it.
fn changes(old: &KafkaRestoreStatus, new: &KafkaRestoreStatus) -> (Vec<Told>, Option<SignedDuration>) {
    let mut told = tell::faults(&old.conditions, &new.conditions);
    let Some(progress) = &new.restore else { return (told, None) };
    let before = old.restore.as_ref().map(|restore| restore.status);
    told.extend(tell::restore(&progress.id, before, progress.status));
    (told, observe::restore::took(progress).filter(|_| before != Some(Outcome::Completed)))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::super::memory::Memory;
    use super::*;
    use crate::api::KafkaBackup;

    #[test]
    fn only_the_job_of_the_resource_itself_says_how_far_it_is() {
        let restore: KafkaRestore = serde_norway::from_str(include_str!("../api/testdata/kafka-restore.yaml")).unwrap();
        let job = |owners: serde_json::Value| {
            serde_json::from_value::<Job>(json!({"metadata": {"name": "j", "ownerReferences": owners}})).unwrap()
        };
        let owner = |uid: &str| {
            let version = "kafkabackup.com/v1alpha1";
            json!([{"apiVersion": version, "kind": KIND, "name": "restore-to-dr", "uid": uid}])
        };
        assert!(is_of(&job(owner(&restore.uid().unwrap())), &restore));
        assert!(!is_of(&job(owner("another")), &restore) && !is_of(&job(json!([])), &restore));
    }

    #[test]
    fn a_restore_is_told_once_though_the_watch_shows_an_earlier_status() {
        let told_of = |status, completion: Option<&str>| {
            let mut progress = observe::restore::progress("r", None, None);
            let time = |text: &str| Time(text.parse().unwrap());
            progress.status = status;
            progress.start_time = Some(time("2026-02-13T09:30:00Z"));
            progress.completion_time = completion.map(time);
            KafkaRestoreStatus { restore: Some(progress), ..KafkaRestoreStatus::default() }
        };
        let running = told_of(Outcome::Running, None);
        let complete = told_of(Outcome::Completed, Some("2026-02-13T09:45:00Z"));
        let memory = Memory::default();
        let write = |status: &KafkaRestoreStatus| {
            let before = memory.replace("uid".to_owned(), status.clone()).unwrap_or(running.clone());
            let (told, took) = changes(&before, status);
            (told.into_iter().map(|told| told.reason).collect::<Vec<_>>(), took.map(|took| took.as_secs()))
        };
        assert_eq!(write(&complete), (vec!["RestoreCompleted".to_owned()], Some(900)));
        assert_eq!(write(&complete), (Vec::new(), None), "the watch shows one that runs still");
    }

    #[test]
    fn a75_a_time_that_is_not_yet_is_refused() {
        let restore: KafkaRestore = serde_norway::from_str(include_str!("../api/testdata/kafka-restore.yaml")).unwrap();
        let backup: KafkaBackup = serde_norway::from_str(include_str!("../api/testdata/kafka-backup.yaml")).unwrap();
        let kafka = crate::strimzi::Discovered { bootstrap_servers: "kafka.svc:9092".to_owned(), ..Default::default() };
        let found = Dereferenced { kafka, keys: None, foreign: Default::default(), is_elsewhere: false };
        let source = Source { storage: backup.spec.storage, encryption: None };
        let judge = |now: &str| validate(&restore, &source, &found, now.parse().unwrap()).map(drop);
        let error = judge("2026-02-13T01:29:59Z").unwrap_err();
        assert!(error.told().contains("pointInTime.timestamp"), "{}", error.told());
        judge("2026-02-13T01:30:01Z").unwrap();
        assert_eq!(id(&restore), "kafka.restore-to-dr.9d2b6c1a");
    }
}
