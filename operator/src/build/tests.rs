mod encryption;
mod nodes;

use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Volume;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Resource as _;
use strimzi_backup_format::ids::TimestampMs;
use strimzi_backup_format::job::{self, RawJob, RawRestoreJob};

use super::*;
use crate::api::{KafkaRestore, KafkaRestoreSpec, Prices, Retention};
use crate::strimzi::Trust;

const BACKUP: &str = include_str!("../api/testdata/kafka-backup.yaml");
const RESTORE: &str = include_str!("../api/testdata/kafka-restore.yaml");

fn secret(namespace: &str, name: &str) -> SecretRef {
    SecretRef { namespace: namespace.to_owned(), name: name.to_owned() }
}

fn discovered(namespace: &str) -> Discovered {
    Discovered {
        bootstrap_servers: format!("my-kafka-cluster-kafka-bootstrap.{namespace}.svc:9093"),
        tls: Some(Trust {
            secret: secret(namespace, "my-kafka-cluster-cluster-ca-cert"),
            keys: vec!["ca.crt".to_owned()],
            certificates: Vec::new(),
        }),
        authentication: Some(Credentials::Tls {
            secret: secret(namespace, "backup-service-account"),
            certificate_key: "user.crt".to_owned(),
            private_key_key: "user.key".to_owned(),
        }),
        ..Discovered::default()
    }
}

fn settings() -> Settings {
    let image = Image { name: "registry.example/strimzi-backup:1".to_owned(), pull_policy: None };
    Settings { image, network_policies: true }
}

fn subject<'a>(kind: &'static str, part: Part, owner: OwnerReference, template: Option<&'a Template>) -> Subject<'a> {
    let name = if part == Part::Restore { "restore-to-dr" } else { "daily-backup" };
    Subject { kind, name, namespace: "kafka", owner, cluster: "my-kafka-cluster", template, part }
}

/// Builds the backup of the example, changed, as `then` looks at it.
fn with_backup<T>(
    change: impl FnOnce(&mut KafkaBackup),
    kafka: &Discovered,
    foreign: &BTreeMap<SecretRef, BTreeMap<String, ByteString>>,
    then: impl FnOnce(&ValidBackup<'_>) -> T,
) -> T {
    let mut backup: KafkaBackup = serde_norway::from_str(BACKUP).unwrap();
    change(&mut backup);
    let keys = StoreKeys::S3File("aws-credentials".to_owned());
    let raw = job_document("kafka.daily-backup", &backup.spec, kafka, Some(&keys));
    let document = serde_norway::to_string(&raw).unwrap();
    let resolved = job::resolve(raw).expect("the streamer takes the document");
    let prune_keys = StoreKeys::S3File("deleter".to_owned());
    let pruner = |secret| {
        let raw = job_document("kafka.daily-backup", &backup.spec, kafka, Some(&prune_keys));
        let document = serde_norway::to_string(&raw).unwrap();
        Pruner { storage: backup.spec.storage.with_credentials(secret), keys: &prune_keys, document }
    };
    let retention = backup.spec.retention.as_ref();
    let pruner = retention.and_then(|retention| retention.storage_credentials.as_ref()).map(pruner);
    let owner = backup.controller_owner_ref(&()).unwrap();
    then(&ValidBackup {
        subject: subject("KafkaBackup", Part::Streamer, owner, backup.spec.template.as_ref()),
        spec: &backup.spec,
        parts: Parts { kafka, keys: Some(&keys), foreign },
        document,
        heartbeat: resolved.backup.heartbeat_interval,
        pruner,
    })
}

fn built(change: impl FnOnce(&mut KafkaBackup)) -> BackupObjects {
    with_backup(change, &discovered("kafka"), &BTreeMap::new(), |valid| backup(valid, &settings()))
}

#[test]
fn the_objects_of_a_backup_are_as_agreed() {
    let objects = built(|_| {});
    insta::assert_yaml_snapshot!("backup-service-account", objects.access.service_account);
    insta::assert_yaml_snapshot!("backup-role", objects.access.role);
    insta::assert_yaml_snapshot!("backup-role-binding", objects.access.role_binding);
    insta::assert_snapshot!("backup-document", objects.config_map.data.as_ref().unwrap()["job.yaml"]);
    insta::assert_yaml_snapshot!("backup-deployment", objects.deployment);
    insta::assert_yaml_snapshot!("backup-cron-job", objects.cron_job);
    insta::assert_yaml_snapshot!("backup-prune-cron-job", objects.prune);
    insta::assert_yaml_snapshot!("backup-verify-cron-job", objects.verify);
    insta::assert_snapshot!("backup-prune-document", objects.config_map.data.as_ref().unwrap()["prune.yaml"]);
    insta::assert_yaml_snapshot!("backup-network-policies", objects.network_policies);
    insta::assert_yaml_snapshot!("backup-pod-monitor", objects.pod_monitor);
    insta::assert_yaml_snapshot!("backup-pod-disruption-budget", objects.pod_disruption_budget);
    assert_eq!(objects.secrets, []);
}

#[test]
fn what_deletes_a_backup_is_as_agreed() {
    let resource: KafkaBackup = serde_norway::from_str(BACKUP).unwrap();
    let secret = resource.spec.retention.as_ref().unwrap().storage_credentials.as_ref().unwrap();
    let keys = StoreKeys::S3File("deleter".to_owned());
    let raw = destroy_document("kafka.daily-backup", &resource.spec, Some(&keys));
    let document = serde_norway::to_string(&raw).unwrap();
    job::resolve(raw).expect("the command takes the document");
    let owner = resource.controller_owner_ref(&()).unwrap();
    let valid = ValidDestroy {
        subject: subject("KafkaBackup", Part::Streamer, owner, resource.spec.template.as_ref()),
        storage: resource.spec.storage.with_credentials(secret),
        keys: Some(keys),
        backup: "0d0c4b0e-7c43-4be0-8fd5-1ba7e0b4b6a5",
        document,
    };
    let objects = destroy(&valid, &settings());
    insta::assert_snapshot!("destroy-document", objects.config_map.data.as_ref().unwrap()["job.yaml"]);
    insta::assert_yaml_snapshot!("destroy-job", objects.job);
    insta::assert_yaml_snapshot!("destroy-network-policies", objects.network_policies);
    let metadata = [&objects.config_map.metadata, &objects.job.metadata, &objects.service_account.metadata];
    assert!(metadata.iter().all(|metadata| metadata.owner_references.as_ref().unwrap().len() == 1));
    assert_eq!(objects.service_account, built(|_| {}).access.service_account, "it is the streamer's");
    let without = destroy(&valid, &Settings { network_policies: false, ..settings() });
    assert_eq!(without.network_policies, []);
}

#[test]
fn the_objects_of_a_restore_are_as_agreed() {
    let resource: KafkaRestore = serde_norway::from_str(RESTORE).unwrap();
    let source: KafkaBackup = serde_norway::from_str(BACKUP).unwrap();
    let (kafka, foreign) = (discovered("kafka"), BTreeMap::new());
    let keys = StoreKeys::S3File("aws-credentials".to_owned());
    let source = Source { storage: source.spec.storage, encryption: None };
    let raw = restore_document("kafka.restore-to-dr.9d2b6c1a", &resource.spec, &source, &kafka, Some(&keys));
    let document = serde_norway::to_string(&raw).unwrap();
    let now = TimestampMs::from_rfc3339("2026-02-14T00:00:00.000Z").unwrap();
    job::resolve_restore(raw, now).expect("the restore takes the document");
    let owner = resource.controller_owner_ref(&()).unwrap();
    let valid = ValidRestore {
        subject: subject("KafkaRestore", Part::Restore, owner, resource.spec.template.as_ref()),
        spec: &resource.spec,
        source: &source,
        parts: Parts { kafka: &kafka, keys: Some(&keys), foreign: &foreign },
        document,
    };
    let objects = restore(&valid, &settings());
    insta::assert_snapshot!("restore-document", objects.config_map.data.as_ref().unwrap()["restore.yaml"]);
    insta::assert_yaml_snapshot!("restore-job", objects.job);
    insta::assert_yaml_snapshot!("restore-network-policies", objects.network_policies);
    let dry = KafkaRestoreSpec { dry_run: true, ..resource.spec.clone() };
    let pod = restore(&ValidRestore { spec: &dry, ..valid }, &settings()).job.spec.unwrap().template.spec.unwrap();
    let container = &pod.containers[0];
    assert_eq!(container.args.as_ref().unwrap().last().unwrap(), "--plan-only");
    assert_eq!((&container.liveness_probe, &container.readiness_probe), (&None, &None), "nothing would answer");
}

#[test]
fn a24_a_restore_holds_the_log_against_what_the_streamer_told_last() {
    let resource: KafkaRestore = serde_norway::from_str(RESTORE).unwrap();
    let (id, sha256) = ("0d0c4b0e-7c43-4be0-8fd5-1ba7e0b4b6a5", "ab".repeat(32));
    let anchor = |sequence: u64| serde_json::json!({"backup": id, "sequence": sequence, "sha256": sha256});
    let held = |own: Option<u64>, told: Option<u64>| {
        let mut backup: serde_json::Value = serde_norway::from_str(BACKUP).unwrap();
        if let Some(sequence) = own {
            backup["spec"]["storage"]["anchor"] = anchor(sequence);
        }
        if let Some(sequence) = told {
            backup["status"] = serde_json::json!({"anchor": anchor(sequence)});
        }
        let source = Source::of(serde_json::from_value(backup).unwrap());
        let raw = restore_document("r", &resource.spec, &source, &discovered("kafka"), None);
        let now = TimestampMs::from_rfc3339("2026-02-14T00:00:00.000Z").unwrap();
        let document = job::resolve_restore(raw, now).expect("the restore takes the document");
        document.storage.anchor.map(|anchor| anchor.sequence.get())
    };
    assert_eq!(held(None, None), None, "no streamer has told yet");
    assert_eq!(held(None, Some(1234)), Some(1234));
    assert_eq!(held(Some(7), Some(1234)), Some(7), "what the resource says itself goes before");
}

#[test]
fn documents_are_read_back_as_they_were_written() {
    let objects = built(|_| {});
    let text = &objects.config_map.data.as_ref().unwrap()["job.yaml"];
    let raw: RawJob = serde_norway::from_str(text).unwrap();
    assert_eq!(serde_norway::to_string(&raw).unwrap(), *text);
    assert!(serde_norway::from_str::<RawRestoreJob>(text).is_err(), "one is not the other");
}

#[test]
fn a_triggered_snapshot_is_that_of_the_schedule() {
    with_backup(
        |_| {},
        &discovered("kafka"),
        &BTreeMap::new(),
        |valid| {
            let job: Job = snapshot_job(valid, &settings(), "backup-20260213-020000");
            let cron_job = backup(valid, &settings()).cron_job.unwrap();
            let mut spec = job.spec.unwrap();
            let kept = spec.ttl_seconds_after_finished.take();
            assert_eq!(kept, Some(2_592_000), "no schedule tidies it up");
            assert_eq!(Some(spec), cron_job.spec.unwrap().job_template.spec);
            assert_eq!(job.metadata.name.as_deref(), Some("backup-20260213-020000"));
        },
    );
}

#[test]
fn secrets_of_another_namespace_are_copied_without_strimzis_labels() {
    let kafka = discovered("strimzi");
    let held = |key: &str| BTreeMap::from([(key.to_owned(), ByteString(b"pem".to_vec()))]);
    let foreign = BTreeMap::from([
        (secret("strimzi", "my-kafka-cluster-cluster-ca-cert"), held("ca.crt")),
        (secret("strimzi", "backup-service-account"), held("user.key")),
    ]);
    let objects = with_backup(|_| {}, &kafka, &foreign, |valid| backup(valid, &settings()));
    let names: Vec<_> = objects.secrets.iter().map(|secret| secret.metadata.name.as_deref().unwrap()).collect();
    assert_eq!(names, ["daily-backup-streamer-kafka-ca", "daily-backup-streamer-kafka-user"]);
    for secret in &objects.secrets {
        assert_eq!(secret.metadata.namespace.as_deref(), Some("kafka"));
        assert!(secret.metadata.labels.iter().flatten().all(|(label, _)| !label.starts_with("strimzi.io/")));
        assert_eq!(secret.metadata.owner_references.as_ref().unwrap().len(), 1);
    }
    let volumes = objects.deployment.spec.unwrap().template.spec.unwrap().volumes.unwrap();
    let mounted = volumes.iter().filter_map(|volume| volume.secret.as_ref()?.secret_name.as_deref());
    assert_eq!(mounted.collect::<Vec<_>>(), [names[0], names[1], "backup-s3-credentials"]);
}

#[test]
fn a_suspended_backup_has_no_streamer_and_makes_no_snapshots() {
    let objects = built(|backup| backup.spec.suspend = true);
    assert_eq!(objects.deployment.spec.unwrap().replicas, Some(0));
    assert_eq!(objects.cron_job.unwrap().spec.unwrap().suspend, Some(true));
    assert_eq!(objects.prune.unwrap().spec.unwrap().suspend, Some(true));
    assert_eq!(objects.verify.unwrap().spec.unwrap().suspend, Some(false), "what is stored can be harmed all the same");
}

#[test]
fn a_verification_sees_what_a_snapshot_sees_and_is_there_only_where_it_is_asked_for() {
    let objects = built(|_| {});
    assert_eq!(volumes(objects.verify), volumes(objects.cron_job));
    let objects = built(|backup| backup.spec.verification.as_mut().unwrap().suspend = true);
    assert_eq!(objects.verify.unwrap().spec.unwrap().suspend, Some(true));
    let objects = built(|backup| {
        backup.spec.verification = None;
        backup.spec.schedule = None;
    });
    assert_eq!((objects.verify, objects.cron_job, objects.network_policies.len()), (None, None, 3));
    let objects = built(|backup| backup.spec.schedule = None);
    assert!(objects.verify.is_some(), "it needs no schedule of snapshots");
}

/// The volumes of the pods of a schedule.
fn volumes(cron_job: Option<CronJob>) -> Vec<Volume> {
    let job = cron_job.unwrap().spec.unwrap().job_template.spec.unwrap();
    job.template.spec.unwrap().volumes.unwrap()
}

#[test]
fn a_prune_without_credentials_of_its_own_has_those_of_a_snapshot() {
    let objects = built(|backup| backup.spec.retention.as_mut().unwrap().storage_credentials = None);
    assert!(!objects.config_map.data.unwrap().contains_key(names::PRUNE_FILE));
    let spec = objects.prune.clone().unwrap().spec.unwrap().job_template.spec.unwrap().template.spec.unwrap();
    let arguments = spec.containers[0].args.as_ref().unwrap();
    assert_eq!(arguments[2], "/etc/strimzi-backup/config/job.yaml");
    assert_eq!(volumes(objects.prune), volumes(objects.cron_job));
}

#[test]
fn nothing_is_pruned_unless_the_schedule_is_to() {
    let retention = |prune_on_schedule| Retention { max_backups: Some(3), prune_on_schedule, ..Retention::default() };
    let objects = built(|backup| backup.spec.retention = Some(retention(false)));
    assert_eq!((objects.prune, objects.network_policies.len()), (None, 3));
    assert!(objects.config_map.data.unwrap()["job.yaml"].contains("maxBackups: '3'"), "the streamer retires");
    let objects = built(|backup| backup.spec.retention = Some(retention(true)));
    assert!(objects.prune.is_some() && objects.network_policies.len() == 4);
    let objects = built(|backup| {
        backup.spec.retention = Some(retention(true));
        backup.spec.schedule = None;
    });
    assert_eq!(objects.prune, None, "there is no schedule");
}

#[test]
fn credentials_that_may_delete_are_in_no_pod_but_those_of_prunes() {
    let objects = built(|_| {});
    let streamer = objects.deployment.spec.unwrap().template.spec.unwrap().volumes.unwrap();
    let secret = |volume: &Volume| volume.secret.as_ref().and_then(|secret| secret.secret_name.clone());
    let secrets = |volumes: Vec<Volume>| volumes.iter().filter_map(secret).collect::<Vec<_>>();
    assert!(!secrets(streamer).contains(&"backup-s3-deleter".to_owned()));
    assert_eq!(secrets(volumes(objects.cron_job)), ["backup-s3-credentials"]);
    assert_eq!(secrets(volumes(objects.prune)), ["backup-s3-deleter"]);
}

#[test]
fn a_prune_by_key_where_the_rest_is_by_identity_asks_for_no_token() {
    let objects = built(|backup| backup.spec.storage.s3.as_mut().unwrap().credentials_secret = None);
    let blocks = |policy: &NetworkPolicy| {
        let egress = policy.spec.as_ref().unwrap().egress.as_ref().unwrap();
        egress.iter().flat_map(|rule| rule.to.iter().flatten()).filter(|peer| peer.ip_block.is_some()).count()
    };
    assert_eq!(objects.network_policies.iter().map(blocks).collect::<Vec<_>>(), [1, 1, 0, 1]);
}

#[test]
fn pods_start_anew_when_their_document_changes_and_only_then() {
    let digest = |objects: &BackupObjects| {
        let template = objects.deployment.spec.as_ref().unwrap().template.clone();
        template.metadata.unwrap().annotations.unwrap()[names::CONFIG_DIGEST].clone()
    };
    let first = digest(&built(|_| {}));
    assert_eq!(first, digest(&built(|backup| backup.spec.schedule = None)));
    let without = |backup: &mut KafkaBackup| backup.spec.retention.as_mut().unwrap().storage_credentials = None;
    assert_eq!(first, digest(&built(without)), "only prunes read that");
    assert_ne!(first, digest(&built(|backup| backup.spec.retention = None)));
    assert_ne!(first, digest(&built(|backup| backup.spec.topics = None)));
}

#[test]
fn our_labels_go_before_those_of_the_template() {
    let objects = built(|backup| {
        let pod = backup.spec.template.as_mut().unwrap().pod.as_mut().unwrap();
        let labels = pod.metadata.as_mut().unwrap().labels.as_mut().unwrap();
        labels.insert(names::COMPONENT.to_owned(), "mine".to_owned());
    });
    let spec = objects.deployment.spec.unwrap();
    let labels = spec.template.metadata.unwrap().labels.unwrap();
    for (label, value) in spec.selector.match_labels.unwrap() {
        assert_eq!(labels[&label], value);
    }
}

#[test]
fn a_store_inside_the_cluster_is_reached_on_every_port() {
    let objects = built(|backup| {
        backup.spec.storage.s3.as_mut().unwrap().endpoint = Some("http://minio.storage.svc:80".to_owned());
    });
    let egress = objects.network_policies[0].spec.clone().unwrap().egress.unwrap();
    assert!(egress.iter().any(|rule| rule.ports.is_none() && rule.to.is_some()), "{egress:?}");
}

/// Nobody can look into a pod without a shell: what the runbook has people run has to be there, under these names.
#[test]
fn the_commands_of_the_runbook_fit_what_is_made() {
    let runbook = include_str!("../../../docs/runbook.md");
    let objects = built(|_| {});
    let named = |metadata: &ObjectMeta| metadata.name.clone().unwrap().replace("daily-backup", "$NAME");
    let streamer = named(&objects.deployment.metadata);
    let template = objects.deployment.spec.as_ref().unwrap().template.clone();
    let container = &template.spec.as_ref().unwrap().containers[0];
    let (program, arguments) = (&container.command.as_ref().unwrap()[0], container.args.as_ref().unwrap());
    // The document that the streamer itself reads.
    let config = arguments.iter().skip_while(|argument| *argument != "--config").nth(1).unwrap();
    let port = container.ports.as_ref().unwrap()[0].container_port;
    let schedule =
        |schedule: &Option<CronJob>| format!("--from=cronjob/{}", named(&schedule.as_ref().unwrap().metadata));
    let commands = [
        format!("exec deployment/{streamer} -- {program} inspect --config {config}"),
        format!("logs deployment/{streamer}"),
        format!("port-forward deployment/{streamer} {port}:{port}"),
        format!("get configmap {} -o jsonpath='{{.data.job\\.yaml}}'", named(&objects.config_map.metadata)),
        schedule(&objects.verify),
        schedule(&objects.prune),
    ];
    for command in commands {
        assert!(runbook.contains(&command), "{command}");
    }
    assert!(config.ends_with("/job.yaml") && objects.config_map.data.as_ref().unwrap().contains_key("job.yaml"));
    let labels = template.metadata.unwrap().labels.unwrap();
    for label in ["app.kubernetes.io/name=strimzi-backup", "app.kubernetes.io/instance=$NAME"] {
        let (key, value) = label.split_once('=').unwrap();
        assert!(runbook.contains(label) && labels[key].replace("daily-backup", "$NAME") == value, "{label}");
    }
}

#[test]
fn the_price_list_of_a_resource_is_that_of_its_document() {
    let mut backup: KafkaBackup = serde_norway::from_str(BACKUP).unwrap();
    let text = |price: &str| Some(price.to_owned());
    backup.spec.prices = Some(Prices { put: text("0.0065"), received: text("0.02"), ..Prices::default() });
    let document = job_document("kafka.daily-backup", &backup.spec, &discovered("kafka"), None);
    let found = job::resolve(document).expect("the streamer takes the document").prices;
    assert_eq!(found, job::Prices { put: 0.0065, received: 0.02, ..job::Prices::default() });
}
