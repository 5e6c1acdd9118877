//! What deletes a stored backup when its resource is deleted. It is made of the resource alone: the cluster, and what was made
//! for the streamer, may be gone.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::names::{self, CONFIG_DIR, JOB_FILE, Part};
use super::pod::{self, Work};
use super::{Settings, StoreKeys, Subject};
use crate::api::Storage;

/// Pauses between starts double from ten seconds: more of them than the resource is held for.
const STARTS: i32 = 6;

/// A stored backup that may be deleted: nobody looks at the resource itself any more.
#[derive(Clone, Debug)]
pub struct ValidDestroy<'a> {
    /// Whose objects they are.
    pub subject: Subject<'a>,
    /// Where the backup is kept, with the credentials of who may delete there.
    pub storage: Storage,
    /// Their keys.
    pub keys: Option<StoreKeys>,
    /// The id of the backup: no other one is deleted.
    pub backup: &'a str,
    /// The job document, YAML.
    pub document: String,
}

/// What deletes a stored backup.
#[derive(Clone, Debug, PartialEq)]
pub struct DestroyObjects {
    /// Who the pod is: the streamer, whom a cloud may know by its name. It has no right here and no token.
    pub service_account: ServiceAccount,
    /// The job document.
    pub config_map: ConfigMap,
    /// Whom the pod talks to.
    pub network_policies: Vec<NetworkPolicy>,
    /// Deletes it.
    pub job: Job,
}

/// Builds them.
pub fn destroy(valid: &ValidDestroy<'_>, settings: &Settings) -> DestroyObjects {
    let subject = &valid.subject;
    let policy = super::network::policy(subject, Part::Destroy, None, &valid.storage, None);
    DestroyObjects {
        service_account: super::access::service_account(subject),
        config_map: ConfigMap {
            metadata: subject.metadata(Part::Destroy),
            data: Some(BTreeMap::from([(JOB_FILE.to_owned(), valid.document.clone())])),
            ..ConfigMap::default()
        },
        network_policies: settings.network_policies.then_some(policy).into_iter().collect(),
        job: job(valid, settings),
    }
}

fn job(valid: &ValidDestroy<'_>, settings: &Settings) -> Job {
    // What is sealed is deleted and not read: a backup whose keys are gone can go, too, and no pod gets them for nothing.
    let mounts = super::storage_mounts(&valid.storage, valid.keys.as_ref(), None);
    let arguments = ["destroy", "--config", &format!("{CONFIG_DIR}/{JOB_FILE}"), "--backup", valid.backup, "--stopped"];
    let work = Work {
        part: Part::Destroy,
        arguments: arguments.map(str::to_owned).into(),
        config_map: names::object(valid.subject.name, Part::Destroy),
        annotations: BTreeMap::new(),
        mounts: &mounts,
        env: Vec::new(),
        restart: "Never",
        probed: false,
        reports: false,
        shows_token: false,
        resources: None,
    };
    Job {
        metadata: valid.subject.metadata(Part::Destroy),
        spec: Some(JobSpec {
            backoff_limit: Some(STARTS),
            pod_failure_policy: Some(pod::fails_for_good()),
            template: pod::template(&valid.subject, &settings.image, work),
            ..JobSpec::default()
        }),
        status: None,
    }
}
