//! The objects of a KafkaBackup.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, Job, JobSpec, JobTemplateSpec};
use k8s_openapi::api::core::v1::{ConfigMap, EnvVar, EnvVarSource, ObjectFieldSelector, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{DynamicObject, ObjectMeta};

use super::names::{self, CONFIG_DIR, JOB_FILE, PRUNE_FILE, Part};
use super::pod::{self, Mount, Work};
use super::{Access, Parts, Settings, StoreKeys, Subject};
use crate::api::{Encryption, KafkaBackupSpec, Storage, VerificationSchedule};

/// Snapshots, prunes and verifications that were made, and those that were not, as far back as their Jobs are kept.
const HISTORY: i32 = 10;

/// How long the Job of a snapshot that was triggered is kept once it has ended, in seconds: no schedule counts them.
const TRIGGERED_KEPT: i32 = 30 * 24 * 3600;

/// How long a snapshot waits for a commit beyond the heartbeat, which comes at the latest.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(120);

/// A backup that was found to be in order: nobody looks at the resource itself any more.
#[derive(Clone, Debug)]
pub struct ValidBackup<'a> {
    /// Whose objects they are.
    pub subject: Subject<'a>,
    /// What is asked for.
    pub spec: &'a KafkaBackupSpec,
    /// Cluster and secrets.
    pub parts: Parts<'a>,
    /// The job document, YAML.
    pub document: String,
    /// The heartbeat of the streamer.
    pub heartbeat: Duration,
    /// What prunes have of their own; what snapshots have where `None`.
    pub pruner: Option<Pruner<'a>>,
}

/// Credentials that only prunes have, and what is made of them.
#[derive(Clone, Debug)]
pub struct Pruner<'a> {
    /// Where the backup is kept, with these credentials.
    pub storage: Storage,
    /// Their keys.
    pub keys: &'a StoreKeys,
    /// The job document with them, YAML.
    pub document: String,
}

/// All objects of a backup.
#[derive(Clone, Debug, PartialEq)]
pub struct BackupObjects {
    /// Who the pods are, and what they may do.
    pub access: Access,
    /// The job document, and that of prunes where it is another.
    pub config_map: ConfigMap,
    /// Copies of Secrets from other namespaces.
    pub secrets: Vec<Secret>,
    /// Whom the streamer talks to, and whom snapshots, prunes and verifications do.
    pub network_policies: Vec<NetworkPolicy>,
    /// Has the streamer scraped, where somebody can.
    pub pod_monitor: DynamicObject,
    /// Lets drains through.
    pub pod_disruption_budget: PodDisruptionBudget,
    /// The streamer.
    pub deployment: Deployment,
    /// The schedule of snapshots, if there is one.
    pub cron_job: Option<CronJob>,
    /// The schedule of prunes, if there is one.
    pub prune: Option<CronJob>,
    /// The schedule of verifications, if there is one.
    pub verify: Option<CronJob>,
}

/// When work is done.
#[derive(Clone, Copy)]
struct Times<'a> {
    cron: &'a str,
    timezone: &'a str,
    suspend: bool,
}

/// When snapshots are made, and prunes.
fn schedule<'a>(valid: &ValidBackup<'a>) -> Option<Times<'a>> {
    let schedule = valid.spec.schedule.as_ref()?;
    // Without a streamer no commit comes that could be named, and nothing is retired.
    let suspend = schedule.suspend || valid.spec.suspend;
    Some(Times { cron: &schedule.cron, timezone: &schedule.timezone, suspend })
}

impl VerificationSchedule {
    fn times(&self) -> Times<'_> {
        Times { cron: &self.cron, timezone: &self.timezone, suspend: self.suspend }
    }
}

/// Builds them.
pub fn backup(valid: &ValidBackup<'_>, settings: &Settings) -> BackupObjects {
    let subject = &valid.subject;
    let mut config_map = super::config_map(subject, JOB_FILE, valid.document.clone(), valid.parts.kafka);
    // What only prunes read starts no streamer anew.
    let digest = super::digest(&config_map);
    if let Some(pruner) = &valid.pruner {
        config_map.data.get_or_insert_default().insert(PRUNE_FILE.to_owned(), pruner.document.clone());
    }
    let (kafka, secrets) = super::kafka_mounts(subject, &valid.parts);
    let mounts: Vec<Mount> = kafka.into_iter().chain(storage_mounts(valid)).collect();
    BackupObjects {
        access: super::access::access(subject),
        network_policies: match settings.network_policies {
            true => policies(valid),
            false => Vec::new(),
        },
        pod_monitor: super::monitor::pod_monitor(subject, Part::Streamer),
        pod_disruption_budget: budget(subject),
        deployment: deployment(valid, settings, digest, &mounts),
        cron_job: schedule(valid).map(|times| cron_job(valid, Part::Snapshot, times, snapshot(valid, settings))),
        prune: schedule(valid)
            .filter(|_| valid.spec.prunes())
            .map(|times| cron_job(valid, Part::Prune, times, prune(valid, settings))),
        verify: valid.spec.verification.as_ref().map(|verification| {
            cron_job(valid, Part::Verify, verification.times(), verify(valid, settings, verification.level))
        }),
        config_map,
        secrets,
    }
}

/// One snapshot now, as the schedule would make it. `name` becomes its id.
pub fn snapshot_job(valid: &ValidBackup<'_>, settings: &Settings, name: &str) -> Job {
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..valid.subject.metadata(Part::Snapshot) };
    let spec = JobSpec { ttl_seconds_after_finished: Some(TRIGGERED_KEPT), ..snapshot(valid, settings) };
    Job { metadata, spec: Some(spec), status: None }
}

fn policies(valid: &ValidBackup<'_>) -> Vec<NetworkPolicy> {
    let (storage, encryption) = (&valid.spec.storage, valid.spec.encryption());
    let policy = |part, servers, storage| super::network::policy(&valid.subject, part, servers, storage, encryption);
    let servers = Some(valid.parts.kafka.bootstrap_servers.as_str());
    let mut policies = vec![policy(Part::Streamer, servers, storage), policy(Part::Snapshot, None, storage)];
    if valid.spec.prunes() {
        let storage = valid.pruner.as_ref().map_or(storage, |pruner| &pruner.storage);
        policies.push(policy(Part::Prune, None, storage));
    }
    if valid.spec.verification.is_some() {
        policies.push(policy(Part::Verify, None, storage));
    }
    policies
}

fn deployment(valid: &ValidBackup<'_>, settings: &Settings, digest: String, mounts: &[Mount]) -> Deployment {
    let subject = &valid.subject;
    let work = Work {
        part: Part::Streamer,
        arguments: vec![
            "stream".to_owned(),
            "--config".to_owned(),
            format!("{CONFIG_DIR}/{JOB_FILE}"),
            "--report-to".to_owned(),
            subject.resource(),
        ],
        config_map: names::object(subject.name, Part::Streamer),
        annotations: BTreeMap::from([(names::CONFIG_DIGEST.to_owned(), digest)]),
        mounts,
        env: Vec::new(),
        restart: "Always",
        probed: true,
        reports: true,
        shows_token: shows_token(valid),
        resources: valid.spec.resources.as_ref(),
    };
    Deployment {
        metadata: subject.metadata(Part::Streamer),
        spec: Some(DeploymentSpec {
            replicas: Some(i32::from(!valid.spec.suspend)),
            // Two writers would only fence each other.
            strategy: Some(DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None }),
            selector: LabelSelector {
                match_labels: Some(subject.selector(Part::Streamer)),
                ..LabelSelector::default()
            },
            revision_history_limit: Some(2),
            template: pod::template(subject, &settings.image, work),
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

/// One pod, and it may always be evicted: the next one goes on where the log ends.
fn budget(subject: &Subject<'_>) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: subject.metadata(Part::Streamer),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(subject.selector(Part::Streamer)),
                ..LabelSelector::default()
            }),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}

/// Has the work of a part done at its times.
fn cron_job(valid: &ValidBackup<'_>, part: Part, times: Times<'_>, work: JobSpec) -> CronJob {
    CronJob {
        metadata: valid.subject.metadata(part),
        spec: Some(CronJobSpec {
            schedule: times.cron.to_owned(),
            time_zone: Some(times.timezone.to_owned()),
            suspend: Some(times.suspend),
            concurrency_policy: Some("Forbid".to_owned()),
            starting_deadline_seconds: Some(600),
            successful_jobs_history_limit: Some(HISTORY),
            failed_jobs_history_limit: Some(HISTORY),
            job_template: JobTemplateSpec {
                metadata: Some(ObjectMeta { labels: Some(valid.subject.labels(part)), ..ObjectMeta::default() }),
                spec: Some(work),
            },
        }),
        status: None,
    }
}

fn snapshot(valid: &ValidBackup<'_>, settings: &Settings) -> JobSpec {
    let mounts = storage_mounts(valid);
    let timeout = (valid.heartbeat + SNAPSHOT_PATIENCE).as_secs();
    let of_job = |name: &str, label: &str| EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: format!("metadata.labels['batch.kubernetes.io/{label}']"),
                api_version: None,
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    };
    let arguments = ["snapshot", "--config", &format!("{CONFIG_DIR}/{JOB_FILE}"), "--timeout", &format!("{timeout}s")];
    // The next pod of a Job whose pod was killed asks for the same snapshot.
    let id = ["--id", "$(SNAPSHOT_ID)", "--request", "$(JOB_UID)", "--summary-file", pod::TERMINATION_LOG];
    let arguments = arguments.into_iter().chain(id).map(str::to_owned).collect();
    let env = vec![of_job("SNAPSHOT_ID", "job-name"), of_job("JOB_UID", "controller-uid")];
    job(valid, settings, Work { env, ..on_store(valid, Part::Snapshot, arguments, &mounts) })
}

fn prune(valid: &ValidBackup<'_>, settings: &Settings) -> JobSpec {
    let (file, mounts) = match &valid.pruner {
        Some(pruner) => {
            (PRUNE_FILE, super::storage_mounts(&pruner.storage, Some(pruner.keys), valid.spec.encryption()))
        }
        None => (JOB_FILE, storage_mounts(valid)),
    };
    let arguments = ["prune", "--config", &format!("{CONFIG_DIR}/{file}"), "--summary-file", pod::TERMINATION_LOG];
    job(valid, settings, on_store(valid, Part::Prune, arguments.map(str::to_owned).into(), &mounts))
}

/// Segments are as large as what the streamer may use lets them be, and are held whole: so verifications may use as much.
fn verify(valid: &ValidBackup<'_>, settings: &Settings, level: i32) -> JobSpec {
    let mounts = storage_mounts(valid);
    let (config, level) = (format!("{CONFIG_DIR}/{JOB_FILE}"), level.to_string());
    let arguments = ["verify", "--config", &config, "--level", &level, "--summary-file", pod::TERMINATION_LOG];
    let work = on_store(valid, Part::Verify, arguments.map(str::to_owned).into(), &mounts);
    let work = Work { resources: valid.spec.resources.as_ref(), ..work };
    JobSpec { pod_failure_policy: Some(pod::fails_for_good()), ..job(valid, settings, work) }
}

/// Work that needs neither brokers nor the API server: the store says all, with the keys of what is sealed.
fn on_store<'a>(valid: &ValidBackup<'_>, part: Part, arguments: Vec<String>, mounts: &'a [Mount]) -> Work<'a> {
    Work {
        part,
        arguments,
        config_map: names::object(valid.subject.name, Part::Streamer),
        annotations: BTreeMap::new(),
        mounts,
        env: Vec::new(),
        restart: "Never",
        probed: false,
        reports: false,
        shows_token: shows_token(valid),
        resources: None,
    }
}

/// The secrets of the store that the job document names, and of what the backup is sealed with.
fn storage_mounts(valid: &ValidBackup<'_>) -> Vec<Mount> {
    super::storage_mounts(&valid.spec.storage, valid.parts.keys, valid.spec.encryption())
}

/// Whether its pods show Vault the token of their service account.
fn shows_token(valid: &ValidBackup<'_>) -> bool {
    valid.spec.encryption().is_some_and(Encryption::shows_token)
}

/// Has work done by a pod, and by a few more where one fails.
fn job(valid: &ValidBackup<'_>, settings: &Settings, work: Work<'_>) -> JobSpec {
    JobSpec {
        backoff_limit: Some(2),
        template: pod::template(&valid.subject, &settings.image, work),
        ..JobSpec::default()
    }
}
