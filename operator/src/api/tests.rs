use super::*;

/// The resources as a user's guide would show them, every field in use.
pub(crate) const BACKUP: &str = include_str!("testdata/kafka-backup.yaml");
pub(crate) const RESTORE: &str = include_str!("testdata/kafka-restore.yaml");

#[test]
fn a_backup_with_every_field_is_read() {
    let backup: KafkaBackup = serde_norway::from_str(BACKUP).unwrap();
    assert_eq!(backup.spec.storage.r#type, StorageType::S3);
    assert_eq!(backup.spec.storage.secrets().credentials.unwrap().key.as_deref(), Some("aws-credentials"));
    assert_eq!(backup.spec.schedule.as_ref().unwrap().timezone, "UTC");
    assert_eq!(backup.spec.deletion_policy, DeletionPolicy::Delete);
    let retention = backup.spec.retention.as_ref().unwrap();
    assert!(retention.prune_on_schedule && retention.max_age.as_deref() == Some("30d"));
    assert_eq!(backup.spec.verification.as_ref().unwrap().level, 3);
    // What serde writes it reads again: nothing is lost by an update.
    let json = serde_json::to_value(&backup).unwrap();
    assert_eq!(serde_json::from_value::<KafkaBackup>(json).unwrap(), backup);
}

#[test]
fn a_restore_with_every_field_is_read() {
    let restore: KafkaRestore = serde_norway::from_str(RESTORE).unwrap();
    let backup = restore.spec.backup_ref.as_ref().unwrap();
    assert_eq!(backup.backup_id.as_deref(), Some("backup-20260213-020000"));
    assert_eq!(restore.spec.restore.as_ref().unwrap().topic_creation, Some(TopicCreation::Auto));
    let json = serde_json::to_value(&restore).unwrap();
    assert_eq!(serde_json::from_value::<KafkaRestore>(json).unwrap(), restore);
}

#[test]
fn the_short_forms_of_the_workflow_are_read() {
    let backup = "
        apiVersion: kafkabackup.com/v1alpha1
        kind: KafkaBackup
        metadata: {name: daily-backup, namespace: kafka}
        spec:
          strimziClusterRef: {name: production-cluster}
          topics: {include: ['.*'], exclude: ['__.*']}
          storage:
            type: s3
            s3: {bucket: my-kafka-backups, region: eu-west-1, credentialsSecret: {name: aws-creds}}
          schedule: {cron: '0 2 * * *'}
          retention: {maxAge: 30d}
          verification: {cron: '@weekly'}";
    let backup: KafkaBackup = serde_norway::from_str(backup).unwrap();
    assert_eq!(backup.spec.deletion_policy, DeletionPolicy::Retain, "nothing is deleted unless that is asked for");
    assert_eq!(backup.spec.schedule.unwrap().timezone, "UTC");
    assert_eq!(backup.spec.storage.s3.unwrap().prefix, "");
    let verification = backup.spec.verification.unwrap();
    assert_eq!((verification.level, verification.timezone.as_str(), verification.suspend), (2, "UTC", false));
    assert!(!backup.spec.retention.unwrap().prune_on_schedule, "nothing is deleted unless that is asked for");
    let restore = "
        apiVersion: kafkabackup.com/v1alpha1
        kind: KafkaRestore
        metadata: {name: pitr-restore, namespace: kafka}
        spec:
          strimziClusterRef: {name: dr-cluster}
          backupRef: {name: daily-backup}
          pointInTime: {timestamp: '2026-02-13T01:30:00.000Z'}
          restore: {topicCreation: auto, existingTopicPolicy: fail}";
    let restore: KafkaRestore = serde_norway::from_str(restore).unwrap();
    assert_eq!(restore.spec.restore.unwrap().existing_topic_policy, Some(ExistingTopicPolicy::Fail));
}
