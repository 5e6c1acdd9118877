//! The objects of a KafkaRestore.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::DynamicObject;

use super::names::{self, CONFIG_DIR, Part, RESTORE_FILE};
use super::pod::{self, Mount, Work};
use super::{Access, Parts, Settings, Source, Subject};
use crate::api::{Encryption, KafkaRestoreSpec};

/// Pauses between starts double up to six minutes: about two hours.
const STARTS: i32 = 24;

/// A restore that was found to be in order: nobody looks at the resource itself any more.
#[derive(Clone, Debug)]
pub struct ValidRestore<'a> {
    /// Whose objects they are.
    pub subject: Subject<'a>,
    /// What is asked for.
    pub spec: &'a KafkaRestoreSpec,
    /// Where the backup is, and how it is sealed.
    pub source: &'a Source,
    /// Cluster and secrets.
    pub parts: Parts<'a>,
    /// The restore document, YAML.
    pub document: String,
}

/// All objects of a restore.
#[derive(Clone, Debug, PartialEq)]
pub struct RestoreObjects {
    /// Who the pod is, and what it may do.
    pub access: Access,
    /// The restore document.
    pub config_map: ConfigMap,
    /// Copies of Secrets from other namespaces.
    pub secrets: Vec<Secret>,
    /// Whom it talks to.
    pub network_policies: Vec<NetworkPolicy>,
    /// Has it scraped, where somebody can.
    pub pod_monitor: DynamicObject,
    /// The restore.
    pub job: Job,
}

/// Builds them.
pub fn restore(valid: &ValidRestore<'_>, settings: &Settings) -> RestoreObjects {
    let subject = &valid.subject;
    let (kafka, secrets) = super::kafka_mounts(subject, &valid.parts);
    let Source { storage, encryption } = valid.source;
    let storage_mounts = super::storage_mounts(storage, valid.parts.keys, encryption.as_ref());
    let mounts: Vec<Mount> = kafka.into_iter().chain(storage_mounts).collect();
    let servers = Some(valid.parts.kafka.bootstrap_servers.as_str());
    let policy = super::network::policy(subject, Part::Restore, servers, storage, encryption.as_ref());
    RestoreObjects {
        access: super::access::access(subject),
        config_map: super::config_map(subject, RESTORE_FILE, valid.document.clone(), valid.parts.kafka),
        secrets,
        network_policies: settings.network_policies.then_some(policy).into_iter().collect(),
        pod_monitor: super::monitor::pod_monitor(subject, Part::Restore),
        job: job(valid, settings, &mounts),
    }
}

fn job(valid: &ValidRestore<'_>, settings: &Settings, mounts: &[Mount]) -> Job {
    let mut arguments = vec!["restore".to_owned(), "--config".to_owned(), format!("{CONFIG_DIR}/{RESTORE_FILE}")];
    if valid.spec.dry_run {
        arguments.push("--plan-only".to_owned());
    } else {
        arguments.extend(["--report-to".to_owned(), valid.subject.resource()]);
    }
    let work = Work {
        part: Part::Restore,
        arguments,
        config_map: names::object(valid.subject.name, Part::Restore),
        annotations: BTreeMap::new(),
        mounts,
        env: Vec::new(),
        restart: "Never",
        // Ready and alive are those who write records; how it ended says the exit code. Who only plans serves nothing, and would
        // be killed for that.
        probed: !valid.spec.dry_run,
        reports: !valid.spec.dry_run,
        shows_token: valid.source.encryption.as_ref().is_some_and(Encryption::shows_token),
        resources: valid.spec.resources.as_ref(),
    };
    Job {
        metadata: valid.subject.metadata(Part::Restore),
        spec: Some(JobSpec {
            backoff_limit: Some(STARTS),
            suspend: Some(valid.spec.suspend),
            pod_failure_policy: Some(pod::fails_for_good()),
            template: pod::template(&valid.subject, &settings.image, work),
            ..JobSpec::default()
        }),
        status: None,
    }
}
