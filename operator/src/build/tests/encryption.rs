use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Value, json};

use super::*;

fn encryption(block: Value) -> Encryption {
    serde_json::from_value(block).unwrap()
}

/// A key that was changed once.
fn files() -> Encryption {
    let key = |name: &str| json!({"name": name, "key": "aes"});
    encryption(json!({"enabled": true, "keySecret": key("sealing-2026"), "previousKeySecrets": [key("sealing-2025")]}))
}

/// A key of Vault, which is asked by whoever `auth` names.
fn vault(auth: Value) -> Encryption {
    let ca = json!({"name": "vault-ca", "key": "ca.crt"});
    let mut transit = json!({"address": "https://vault.vault.svc:8200", "key": "kafka", "caSecret": ca});
    transit.as_object_mut().unwrap().extend(auth.as_object().unwrap().clone());
    encryption(json!({"enabled": true, "transit": transit}))
}

fn sealed(by: Encryption) -> BackupObjects {
    built(|backup| backup.spec.backup.as_mut().unwrap().encryption = Some(by))
}

/// The pods of everything that works for a backup.
fn pods(objects: &BackupObjects) -> Vec<PodSpec> {
    let schedules = [&objects.cron_job, &objects.prune, &objects.verify].map(|schedule| {
        let job = schedule.as_ref().unwrap().spec.as_ref().unwrap().job_template.spec.as_ref().unwrap();
        job.template.spec.clone().unwrap()
    });
    let streamer = objects.deployment.spec.as_ref().unwrap().template.spec.clone().unwrap();
    [streamer].into_iter().chain(schedules).collect()
}

/// The volume of the keys.
fn keys(pod: &PodSpec) -> Option<&Volume> {
    pod.volumes.iter().flatten().find(|volume| volume.name == "encryption")
}

/// Whether the container sees the keys, and may not write there.
fn sees_keys(pod: &PodSpec) -> bool {
    let mut mounts = pod.containers[0].volume_mounts.iter().flatten();
    mounts.any(|mount| mount.mount_path == names::ENCRYPTION_DIR && mount.read_only == Some(true))
}

#[test]
fn every_pod_of_a_sealed_backup_has_its_keys_as_files() {
    let objects = sealed(files());
    let pods = pods(&objects);
    insta::assert_yaml_snapshot!(keys(&pods[0]), @r"
    name: encryption
    projected:
      defaultMode: 292
      sources:
        - secret:
            items:
              - key: aes
                path: sealing-2026/aes
            name: sealing-2026
        - secret:
            items:
              - key: aes
                path: sealing-2025/aes
            name: sealing-2025
    ");
    assert_eq!(pods.len(), 4);
    for pod in &pods {
        assert!(keys(pod) == keys(&pods[0]) && sees_keys(pod), "{pod:?}");
    }
    let documents = objects.config_map.data.unwrap();
    for document in [names::JOB_FILE, names::PRUNE_FILE] {
        let text = &documents[document];
        let raw: RawJob = serde_norway::from_str(text).unwrap();
        let resolved = job::resolve(raw).expect("the program takes the document").storage.encryption;
        let path = |secret: &str| format!("/etc/strimzi-backup/encryption/{secret}/aes").into();
        let wanted = job::KeySource::Files { current: path("sealing-2026"), previous: vec![path("sealing-2025")] };
        assert_eq!(resolved, Some(job::Encryption { provider: wanted }), "{document}");
    }
}

#[test]
fn a_backup_that_is_not_sealed_has_no_keys_anywhere() {
    let mut off = files();
    off.enabled = false;
    for objects in [built(|_| {}), sealed(off)] {
        assert!(pods(&objects).iter().all(|pod| keys(pod).is_none() && !sees_keys(pod)));
        assert!(!objects.config_map.data.unwrap()["job.yaml"].contains("encryption"));
    }
}

#[test]
fn a_streamer_starts_anew_when_it_is_given_another_secret_of_keys() {
    let digest = |objects: &BackupObjects| {
        let template = objects.deployment.spec.as_ref().unwrap().template.clone();
        template.metadata.unwrap().annotations.unwrap()[names::CONFIG_DIGEST].clone()
    };
    let first = digest(&sealed(files()));
    let mut rotated = files();
    rotated.key_secret.as_mut().unwrap().name = "sealing-2027".to_owned();
    assert_ne!(first, digest(&sealed(rotated)));
    let mut forgotten = files();
    forgotten.previous_key_secrets = None;
    assert_ne!(first, digest(&sealed(forgotten)));
}

#[test]
fn a_key_that_is_named_twice_is_one_file() {
    let mut twice = files();
    twice.previous_key_secrets = Some(vec![twice.key_secret.clone().unwrap()]);
    let pods = pods(&sealed(twice));
    let sources = keys(&pods[0]).unwrap().projected.as_ref().unwrap().sources.as_ref().unwrap();
    assert_eq!(sources.len(), 1);
}

#[test]
fn pods_ask_vault_with_a_token_of_a_secret_or_with_that_of_their_service_account() {
    let by_token = sealed(vault(json!({"tokenSecret": {"name": "vault-token", "key": "token"}})));
    let shown = |objects: &BackupObjects| {
        pods(objects).iter().map(|pod| pod.automount_service_account_token.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(shown(&by_token), [true, false, false, false], "the streamer alone tells how it stands");
    let auth = |objects: &BackupObjects| {
        let text = &objects.config_map.data.as_ref().unwrap()["job.yaml"];
        let resolved = job::resolve(serde_norway::from_str(text).unwrap()).expect("the streamer takes the document");
        match resolved.storage.encryption.unwrap().provider {
            job::KeySource::Transit(transit) => {
                assert_eq!(transit.ca_file.unwrap().to_str(), Some("/etc/strimzi-backup/encryption/vault-ca/ca.crt"));
                transit.auth
            }
            job::KeySource::Files { .. } => panic!("it is Vault's"),
        }
    };
    let file = "/etc/strimzi-backup/encryption/vault-token/token".into();
    assert_eq!(auth(&by_token), job::TransitAuth::Token { file });

    let by_account = sealed(vault(json!({"kubernetes": {"role": "backup", "mount": "cluster-b"}})));
    assert_eq!(shown(&by_account), [true; 4]);
    let token_file = "/var/run/secrets/kubernetes.io/serviceaccount/token".into();
    let wanted = job::TransitAuth::Kubernetes { role: "backup".to_owned(), mount: "cluster-b".to_owned(), token_file };
    assert_eq!(auth(&by_account), wanted);
}

#[test]
fn vault_is_reached_wherever_it_is() {
    let egress = |address: &str| {
        let mut by = vault(json!({"kubernetes": {"role": "backup"}}));
        by.transit.as_mut().unwrap().address = address.to_owned();
        let policies = sealed(by).network_policies;
        policies.into_iter().map(|policy| policy.spec.unwrap().egress.unwrap()).collect::<Vec<_>>()
    };
    let inside = egress("https://vault.vault.svc:8200");
    assert_eq!(inside.len(), 4);
    for rules in inside {
        assert!(rules.iter().any(|rule| rule.ports.is_none() && rule.to.is_some()), "{rules:?}");
    }
    for rules in egress("https://vault.example.org:8200/") {
        let ports = rules.iter().flat_map(|rule| rule.ports.iter().flatten());
        let mut numbers = ports.filter_map(|port| port.port.clone());
        let vault = k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(8200);
        assert!(numbers.any(|number| number == vault), "{rules:?}");
    }
}

#[test]
fn a_restore_has_the_keys_of_its_backup() {
    let backup: KafkaBackup = serde_norway::from_str(BACKUP).unwrap();
    let resource: KafkaRestore = serde_norway::from_str(RESTORE).unwrap();
    let by = vault(json!({"kubernetes": {"role": "backup"}}));
    let (kafka, foreign) = (discovered("kafka"), BTreeMap::new());
    let source = Source { storage: backup.spec.storage.clone(), encryption: Some(by) };
    let raw = restore_document("r", &resource.spec, &source, &kafka, None);
    let document = serde_norway::to_string(&raw).unwrap();
    let now = TimestampMs::from_rfc3339("2026-02-14T00:00:00.000Z").unwrap();
    assert!(job::resolve_restore(raw, now).expect("the restore takes the document").storage.encryption.is_some());
    let owner = resource.controller_owner_ref(&()).unwrap();
    let valid = ValidRestore {
        subject: subject("KafkaRestore", Part::Restore, owner, None),
        spec: &KafkaRestoreSpec { dry_run: true, ..resource.spec.clone() },
        source: &source,
        parts: Parts { kafka: &kafka, keys: None, foreign: &foreign },
        document,
    };
    let restoring = restore(&valid, &settings()).job.spec.unwrap().template.spec.unwrap();

    assert!(keys(&restoring).is_some() && sees_keys(&restoring), "{restoring:?}");
    assert_eq!(restoring.automount_service_account_token, Some(true), "Vault asks who it is");
}

#[test]
fn the_end_of_a_backup_needs_none_of_its_keys() {
    let mut backup: KafkaBackup = serde_norway::from_str(BACKUP).unwrap();
    backup.spec.backup.as_mut().unwrap().encryption = Some(vault(json!({"kubernetes": {"role": "backup"}})));
    assert!(backup.spec.encryption().is_some());
    let raw = destroy_document("kafka.daily-backup", &backup.spec, None);
    let document = serde_norway::to_string(&raw).unwrap();
    assert!(job::resolve(raw).expect("the command takes the document").storage.encryption.is_none());
    let valid = ValidDestroy {
        subject: subject("KafkaBackup", Part::Streamer, backup.controller_owner_ref(&()).unwrap(), None),
        storage: backup.spec.storage.clone(),
        keys: None,
        backup: "0d0c4b0e-7c43-4be0-8fd5-1ba7e0b4b6a5",
        document,
    };
    let destroying = destroy(&valid, &settings()).job.spec.unwrap().template.spec.unwrap();
    assert!(keys(&destroying).is_none() && !sees_keys(&destroying), "{destroying:?}");
    assert_eq!(destroying.automount_service_account_token, Some(false), "nobody asks who it is");
}
