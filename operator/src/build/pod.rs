//! The pods: without rights, without a writable disk, secrets as files.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, HTTPGetAction, KeyToPath,
    PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ProjectedVolumeSource, ResourceRequirements, SeccompProfile,
    SecretProjection, SecretVolumeSource, SecurityContext, Toleration, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;

use super::names::{
    self, CONFIG_DIR, ENCRYPTION_DIR, HTTP_PORT, KAFKA_CA_DIR, KAFKA_USER_DIR, Part, STORAGE_CA_DIR, STORAGE_DIR,
};
use super::{Image, Subject};
use crate::api::{ContainerTemplate, Encryption, PodTemplate};

/// What a container writes there is in the status of its pod when it has ended; Kubernetes takes 4 KiB.
pub(super) const TERMINATION_LOG: &str = "/dev/termination-log";

/// Exit codes after which another start ends alike: document or target are at fault (2), or the backup is (4).
const FINAL: [i32; 2] = [2, 4];

/// What Kubernetes taints a node with that is lost, as the node tells itself and as nobody hears of it any longer.
const LOST: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// How long the streamer stays on a node that is lost, in seconds. Kubernetes has waited by then already, and would wait
/// for 300 more. Long enough that a node that restarts its kubelet keeps its pods.
const LOST_FOR: i64 = 5;

/// Files are readable by whatever user the container runs as; only it sees them.
const FILE_MODE: i32 = 0o444;

/// A directory of files in a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The name of the volume.
    pub volume: &'static str,
    /// Where it is in the container.
    pub path: &'static str,
    /// What it shows.
    pub shown: Shown,
}

/// What a directory shows of Secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Every key of one, so that keys that come later are files too.
    All(String),
    /// These keys of one.
    Keys(String, Vec<String>),
    /// Of each of several one key, in a folder named after the Secret.
    Several(Vec<(String, String)>),
}

impl Mount {
    /// The certificates of the cluster's CAs.
    pub fn kafka_ca(secret: String) -> Self {
        Self { volume: "kafka-ca", path: KAFKA_CA_DIR, shown: Shown::All(secret) }
    }

    /// The client's secrets.
    pub fn kafka_user(secret: String, keys: Vec<String>) -> Self {
        Self { volume: "kafka-user", path: KAFKA_USER_DIR, shown: Shown::Keys(secret, keys) }
    }

    /// The credentials of the store.
    pub fn storage(secret: String, keys: Vec<String>) -> Self {
        Self { volume: "storage", path: STORAGE_DIR, shown: Shown::Keys(secret, keys) }
    }

    /// The CA of the store.
    pub fn storage_ca(secret: String, key: String) -> Self {
        Self { volume: "storage-ca", path: STORAGE_CA_DIR, shown: Shown::Keys(secret, vec![key]) }
    }

    /// What a backup is sealed with, and what Vault is asked with; `None` where that is no file.
    pub fn encryption(encryption: &Encryption) -> Option<Self> {
        let mut files: Vec<(String, String)> = Vec::new();
        for file in encryption.files() {
            let file = (file.secret.to_owned(), file.key.to_owned());
            // Kubernetes refuses a path that is named twice.
            if !files.contains(&file) {
                files.push(file);
            }
        }
        (!files.is_empty()).then_some(Self { volume: "encryption", path: ENCRYPTION_DIR, shown: Shown::Several(files) })
    }

    fn volume(&self) -> Volume {
        let name = self.volume.to_owned();
        match &self.shown {
            Shown::All(secret) => Volume { name, secret: Some(of_secret(secret, None)), ..Volume::default() },
            Shown::Keys(secret, keys) => {
                let items = keys.iter().map(|key| item(key, key.clone())).collect();
                Volume { name, secret: Some(of_secret(secret, Some(items))), ..Volume::default() }
            }
            Shown::Several(files) => Volume { name, projected: Some(of_several(files)), ..Volume::default() },
        }
    }
}

fn item(key: &str, path: String) -> KeyToPath {
    KeyToPath { key: key.to_owned(), path, mode: None }
}

fn of_secret(secret: &str, items: Option<Vec<KeyToPath>>) -> SecretVolumeSource {
    SecretVolumeSource { secret_name: Some(secret.to_owned()), items, default_mode: Some(FILE_MODE), optional: None }
}

fn of_several(files: &[(String, String)]) -> ProjectedVolumeSource {
    let source = |(secret, key): &(String, String)| VolumeProjection {
        secret: Some(SecretProjection {
            name: secret.clone(),
            items: Some(vec![item(key, format!("{secret}/{key}"))]),
            optional: None,
        }),
        ..VolumeProjection::default()
    };
    ProjectedVolumeSource { default_mode: Some(FILE_MODE), sources: Some(files.iter().map(source).collect()) }
}

/// What a pod is for.
#[derive(Clone, Debug)]
pub(super) struct Work<'a> {
    /// The part of the resource.
    pub(super) part: Part,
    /// What follows the program.
    pub(super) arguments: Vec<String>,
    /// The ConfigMap with its documents.
    pub(super) config_map: String,
    /// Its annotations beside those of the template.
    pub(super) annotations: BTreeMap<String, String>,
    /// The secrets.
    pub(super) mounts: &'a [Mount],
    /// Variables beside those of the template, which come first and may be used in `arguments`.
    pub(super) env: Vec<EnvVar>,
    /// `Always` or `Never`.
    pub(super) restart: &'static str,
    /// Whether health is asked for; a pod that ends by itself is not.
    pub(super) probed: bool,
    /// Whether it tells the API server how it stands, for which it has a token.
    pub(super) reports: bool,
    /// Whether it shows Vault the token of its service account.
    pub(super) shows_token: bool,
    /// What it may use.
    pub(super) resources: Option<&'a ResourceRequirements>,
}

/// Has a Job given up at once where another start would end alike.
pub(super) fn fails_for_good() -> PodFailurePolicy {
    let on_exit_codes = PodFailurePolicyOnExitCodesRequirement {
        operator: "In".to_owned(),
        values: FINAL.to_vec(),
        container_name: None,
    };
    PodFailurePolicy {
        rules: vec![PodFailurePolicyRule {
            action: "FailJob".to_owned(),
            on_exit_codes: Some(on_exit_codes),
            on_pod_conditions: None,
        }],
    }
}

/// The pod of a part of a resource.
pub(super) fn template(subject: &Subject<'_>, image: &Image, work: Work<'_>) -> PodTemplateSpec {
    let pod = subject.template.and_then(|template| template.pod.clone()).unwrap_or_default();
    let given = pod.metadata.clone().unwrap_or_default();
    let mut labels = given.labels.unwrap_or_default();
    labels.extend(subject.labels(work.part));
    let mut annotations = given.annotations.unwrap_or_default();
    annotations.extend(work.annotations.clone());
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(spec(subject, image, work, pod)),
    }
}

fn spec(subject: &Subject<'_>, image: &Image, work: Work<'_>, pod: PodTemplate) -> PodSpec {
    let container = subject.template.and_then(|template| template.container.clone()).unwrap_or_default();
    let config = Volume {
        name: "config".to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: work.config_map.clone(),
            default_mode: Some(FILE_MODE),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    };
    PodSpec {
        service_account_name: Some(subject.service_account()),
        automount_service_account_token: Some(work.reports || work.shows_token),
        enable_service_links: Some(false),
        restart_policy: Some(work.restart.to_owned()),
        termination_grace_period_seconds: Some(pod.termination_grace_period_seconds.unwrap_or(30)),
        security_context: Some(pod_security(pod.security_context)),
        affinity: pod.affinity,
        tolerations: match work.part {
            Part::Streamer => Some(moves_soon(pod.tolerations.unwrap_or_default())),
            _ => pod.tolerations,
        },
        topology_spread_constraints: pod.topology_spread_constraints,
        image_pull_secrets: pod.image_pull_secrets,
        priority_class_name: pod.priority_class_name,
        scheduler_name: pod.scheduler_name,
        volumes: Some(std::iter::once(config).chain(work.mounts.iter().map(Mount::volume)).collect()),
        containers: vec![self::container(image, work, container)],
        ..PodSpec::default()
    }
}

/// Has a pod leave a lost node soon, unless the user says himself how long it stays there.
///
/// Its replacement is made as soon as the lost pod is to go, whether or not anybody knows that it has ended: that
/// Deployments recreate pods concerns changes of their template alone. Where both run, the log fences the older one.
fn moves_soon(mut given: Vec<Toleration>) -> Vec<Toleration> {
    for key in LOST {
        if !given.iter().any(|one| bears(one, key)) {
            given.push(Toleration {
                key: Some(key.to_owned()),
                operator: Some("Exists".to_owned()),
                effect: Some("NoExecute".to_owned()),
                toleration_seconds: Some(LOST_FOR),
                ..Toleration::default()
            });
        }
    }
    given
}

/// Whether a toleration is of evictions by that taint: as Kubernetes looks before it adds its own. None stands for all.
fn bears(toleration: &Toleration, key: &str) -> bool {
    let is =
        |given: &Option<String>, word: &str| given.as_deref().is_none_or(|given| given.is_empty() || given == word);
    is(&toleration.key, key) && is(&toleration.effect, "NoExecute")
}

fn container(image: &Image, work: Work<'_>, given: ContainerTemplate) -> Container {
    let mount = |name: &str, path: &str| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    let config = mount("config", CONFIG_DIR);
    let mounts = work.mounts.iter().map(|secret| mount(secret.volume, secret.path));
    let env: Vec<_> = work.env.into_iter().chain(given.env.unwrap_or_default()).collect();
    Container {
        name: work.part.word().to_owned(),
        image: Some(image.name.clone()),
        image_pull_policy: image.pull_policy.clone(),
        command: Some(vec![names::PROGRAM.to_owned()]),
        args: Some(work.arguments),
        env: (!env.is_empty()).then_some(env),
        ports: work.probed.then(|| {
            vec![ContainerPort {
                name: Some(HTTP_PORT.0.to_owned()),
                container_port: HTTP_PORT.1,
                ..ContainerPort::default()
            }]
        }),
        // The log says why it ended; the status of the resource repeats it.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        liveness_probe: work.probed.then(|| probe("/livez", 6)),
        readiness_probe: work.probed.then(|| probe("/readyz", 1)),
        resources: Some(work.resources.cloned().unwrap_or_else(resources)),
        security_context: Some(container_security(given.security_context)),
        volume_mounts: Some(std::iter::once(config).chain(mounts).collect()),
        ..Container::default()
    }
}

fn probe(path: &str, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(HTTP_PORT.0.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(5),
        timeout_seconds: Some(5),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

/// The default budget for records, and what the program needs beside it.
fn resources() -> ResourceRequirements {
    let quantities = |list: &[(&str, &str)]| {
        Some(list.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned()))).collect())
    };
    ResourceRequirements {
        requests: quantities(&[("cpu", "500m"), ("memory", "512Mi")]),
        limits: quantities(&[("memory", "1Gi")]),
        ..ResourceRequirements::default()
    }
}

fn pod_security(given: Option<PodSecurityContext>) -> PodSecurityContext {
    let mut security = given.unwrap_or_default();
    security.run_as_non_root.get_or_insert(true);
    security.seccomp_profile.get_or_insert_with(seccomp);
    security
}

fn container_security(given: Option<SecurityContext>) -> SecurityContext {
    let mut security = given.unwrap_or_default();
    security.allow_privilege_escalation.get_or_insert(false);
    security.read_only_root_filesystem.get_or_insert(true);
    security
        .capabilities
        .get_or_insert_with(|| Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() });
    security
}

fn seccomp() -> SeccompProfile {
    SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }
}
