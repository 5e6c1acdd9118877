use std::time::Duration;

use super::super::*;
use crate::ids::{GroupId, TimestampMs, TopicName};

const MINIMAL: &str = r#"
cluster: {bootstrapServers: "127.0.0.1:9092"}
storage: {type: filesystem, filesystem: {path: /var/lib/backup}}
restore: {id: orders-dr-1}
"#;

/// 2026-02-13T07:00:00Z.
const NOW: TimestampMs = TimestampMs::new(1_770_966_000_000);

fn restore(text: &str) -> RestoreJob {
    RestoreJob::parse(text, NOW).expect("a document without faults")
}

/// The minimal document with more in its `restore` block.
fn with(more: &str) -> String {
    MINIMAL.replace("orders-dr-1}", &format!("orders-dr-1, {more}}}"))
}

fn faults(text: &str) -> String {
    let faults = RestoreJob::parse(text, NOW).expect_err("the document has faults");
    faults.faults().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).expect("legal")
}

#[test]
fn the_minimal_restore_document_gets_every_default() {
    insta::assert_debug_snapshot!(restore(MINIMAL).restore);
}

#[test]
fn the_example_restore_document_means_what_it_says_and_reads_back() {
    let text = include_str!("../../../../examples/restore.yaml");
    insta::assert_debug_snapshot!(restore(text));
    let raw: RawRestoreJob = serde_norway::from_str(text).expect("yaml");
    let json = serde_json::to_string(&raw).expect("json");
    assert_eq!(serde_norway::from_str::<RawRestoreJob>(&json).expect("json reads back"), raw);
    restore(&json);
}

#[test]
fn what_should_be_a_block_of_a_restore_is_told_without_words_of_the_program() {
    let document = |restore: &str| MINIMAL.replace("{id: orders-dr-1}", restore);
    let blocks = ["pointInTime: all", "topicMapping: [all]", "consumerGroups: all", "consumerGroups: {mapping: [all]}"];
    for text in [vec!["all".to_owned(), document("all")], blocks.map(with).to_vec()].concat() {
        let message = faults(&text);
        assert!(message.contains("expected a block of fields") && !message.contains("Raw"), "{text}: {message}");
    }
}

#[test]
fn all_faults_of_a_restore_document_are_reported_at_once() {
    insta::assert_snapshot!(faults(
        r#"
cluster: {bootstrapServers: "SSL://broker:9093"}
storage: {type: s3, s3: {endpoint: "minio:9000"}}
restore:
  id: "a b"
  backupId: ../backup
  pointInTime: {timestamp: "2026-02-13T01:30:00", offsetFromEnd: 2}
  startTimestamp: "2026-02-13T08:00:00.000Z"
  topics: {include: [], exclude: ["["]}
  topicMapping:
    - {sourceTopic: orders, targetTopic: "orders/restored", partitions: 0}
    - {sourceTopic: orders, targetTopic: all}
    - {sourceTopic: payments, targetTopic: all, partitions: many}
    - {targetTopic: lost}
    - {sourceTopic: ".."}
  topicCreation: automatic
  existingTopicPolicy: merge
  onGap: skip
  consumerGroups:
    include: []
    exclude: ["", "("]
    mapping:
      - {sourceGroup: a, targetGroup: c}
      - {sourceGroup: b, targetGroup: c}
      - {sourceGroup: a, targetGroup: strimzi-backup-restore-x}
      - {targetGroup: ""}
  parallelism: 65
  throttle: 1Ki
"#
    ));
}

#[test]
fn a_restore_document_names_itself_and_missing_blocks() {
    let error = RestoreJob::parse("{}", NOW).expect_err("empty");
    let paths: Vec<&str> = error.faults().iter().map(|fault| fault.path.as_str()).collect();
    assert_eq!(paths, ["cluster", "storage", "restore"]);
    assert!(error.to_string().starts_with("restore document has 3 fault(s): cluster: is missing"), "{error}");
    assert!(faults(&MINIMAL.replace("{id: orders-dr-1}", "{}")).starts_with("restore.id: is missing"));
}

#[test]
fn unknown_fields_of_a_restore_document_are_refused_by_name_and_place() {
    for (text, words) in [
        (with("consumerGroups: {groups: [a]}"), ["restore.consumerGroups", "`groups`", "line 4"]),
        (with("pointInTime: {time: 1}"), ["restore.pointInTime", "`time`", "line 4"]),
        (with("topicMapping: [{source: a}]"), ["restore.topicMapping[0]", "`source`", "line 4"]),
        (with("backupRef: {backupId: a}"), ["restore", "`backupRef`", "line 4"]),
        (format!("{MINIMAL}backup: {{}}"), ["unknown field", "`backup`", "line 5"]),
    ] {
        let message = faults(&text);
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
}

#[test]
fn a_restore_stops_at_a_snapshot_at_an_instant_at_both_or_at_the_newest() {
    let stop = |more: &str| restore(&with(more)).restore.stop;
    let snapshot = || Some("before-upgrade".parse().expect("legal"));
    let at = Some(Until::At(TimestampMs::new(1_770_946_200_001)));
    assert_eq!(restore(MINIMAL).restore.stop, Stop::default());
    assert_eq!(stop("backupId: before-upgrade"), Stop { snapshot: snapshot(), until: None });
    let instant = "pointInTime: {timestamp: '2026-02-13T02:30:00.001+01:00'}";
    assert_eq!(stop(instant), Stop { snapshot: None, until: at });
    assert_eq!(stop(&format!("backupId: before-upgrade, {instant}")), Stop { snapshot: snapshot(), until: at });
    let two_hours = Some(Until::FromEnd(Duration::from_secs(7200)));
    assert_eq!(stop("pointInTime: {offsetFromEnd: 2h}"), Stop { snapshot: None, until: two_hours });
}

#[test]
fn a75_times_without_a_zone_or_finer_than_a_millisecond_or_ambiguous_are_refused_with_the_way_out() {
    for (time, words) in [
        ("2026-02-13T01:30:00", "with a zone"),
        ("2026-02-13 01:30", "with a zone"),
        ("2026-02-13", "with a zone"),
        ("1770946200000", "with a zone"),
        ("2026-02-13T01:30:00 CET", "with a zone"),
        ("2026-02-13T01:30:00-00:00", "write Z for UTC"),
        ("2026-02-13T01:30:00.0005Z", "finer"),
        ("2026-02-13T01:30:00.000000001Z", "finer"),
        ("2025-12-31T23:59:60Z", "leap second"),
        ("2026-02-29T01:30:00Z", "out of range"),
        ("yesterday", "with a zone"),
    ] {
        for field in ["pointInTime: {timestamp: '?'}", "startTimestamp: '?'"] {
            let message = faults(&with(&field.replace('?', time)));
            let path =
                if field.starts_with('p') { "restore.pointInTime.timestamp: " } else { "restore.startTimestamp: " };
            assert!(message.starts_with(path) && message.contains(words), "{message}");
            assert!(message.contains(&format!("{time:?}")), "{message}");
        }
    }
}

#[test]
fn a75_times_in_the_future_are_refused_and_the_present_is_not() {
    for future in ["2026-02-13T07:00:00.001Z", "2026-02-13T07:30:00-01:00", "9999-12-31T00:00:00Z"] {
        for field in ["pointInTime: {timestamp: '?'}", "startTimestamp: '?'"] {
            let message = faults(&with(&field.replace('?', future)));
            assert!(message.contains("is in the future; it is 2026-02-13T07:00:00.000Z now"), "{message}");
        }
    }
    restore(&with("pointInTime: {timestamp: '2026-02-13T08:00:00+01:00'}, startTimestamp: '2026-02-13T07:00:00Z'"));
}

#[test]
fn a_slice_that_is_inside_out_is_refused_and_one_of_a_millisecond_is_not() {
    let slice = |from: &str, to: &str| with(&format!("startTimestamp: '{from}', pointInTime: {{timestamp: '{to}'}}"));
    let message = faults(&slice("2026-02-13T01:30:00.001Z", "2026-02-13T01:30:00.000Z"));
    assert!(message.starts_with("restore.startTimestamp: 2026-02-13T01:30:00.001Z is after"), "{message}");
    let one = restore(&slice("2026-02-13T01:30:00.000Z", "2026-02-13T02:30:00.000+01:00")).restore;
    assert_eq!(one.start.map(Until::At), one.stop.until);
}

#[test]
fn a_point_in_time_is_exactly_one_of_its_fields() {
    let both = "pointInTime: {timestamp: '2026-02-13T01:30:00Z', offsetFromEnd: 2h}";
    assert!(faults(&with(both)).contains("is set beside timestamp; keep one of them"));
    assert!(faults(&with("pointInTime: {}")).contains("restore.pointInTime: is empty"));
    for bad in ["2", "0s", "1us", "1ms 1us", "-1h", "soon"] {
        let message = faults(&with(&format!("pointInTime: {{offsetFromEnd: {bad}}}")));
        assert!(message.starts_with("restore.pointInTime.offsetFromEnd: "), "{bad}: {message}");
    }
}

#[test]
fn a_topic_goes_where_its_mapping_says_or_under_its_own_name() {
    let mapping = "topicMapping: [{sourceTopic: a, targetTopic: b, partitions: 12}, {sourceTopic: b, targetTopic: a}]";
    let settings = restore(&with(mapping)).restore;
    let target = |name: &str| {
        let target = settings.target(&topic(name));
        (target.topic.to_string(), target.partitions.map(std::num::NonZeroU32::get))
    };
    assert_eq!(target("a"), ("b".to_owned(), Some(12)));
    assert_eq!(target("b"), ("a".to_owned(), None), "names may be exchanged");
    assert_eq!(target("c"), ("c".to_owned(), None));
}

#[test]
fn a_mapping_of_a_topic_that_is_not_restored_is_refused() {
    let mapping = "topicMapping: [{sourceTopic: payments, targetTopic: paid}]";
    let message = faults(&with(&format!("topics: {{include: [orders]}}, {mapping}")));
    assert!(message.starts_with("restore.topicMapping[0].sourceTopic: \"payments\" is not chosen"), "{message}");
    let message = faults(&with("topicMapping: [{sourceTopic: __transaction_state, targetTopic: copy}]"));
    assert!(message.contains("\"__transaction_state\" is not chosen"), "{message}");
    let bad = faults(&with(&format!("topics: {{include: ['(']}}, {mapping}")));
    assert!(bad.starts_with("restore.topics.include[0]") && !bad.contains("not chosen"), "one fault at a time: {bad}");
}

#[test]
fn a53_a_restore_takes_whole_names_and_internal_topics_only_by_name() {
    let selects = |more: &str, name: &str| restore(&with(more)).restore.topics.selects(&topic(name));
    assert!(selects("topics: {include: [orders]}", "orders") && !selects("topics: {include: [orders]}", "orders2"));
    assert!(!selects("topics: {}", "__transaction_state") && selects("topics: {}", "orders"));
    assert!(selects("topics: {include: [__transaction_state]}", "__transaction_state"));
}

fn group(id: &str) -> GroupId {
    GroupId::new(id).expect("legal")
}

#[test]
fn offsets_of_groups_are_restored_only_where_that_is_asked_for() {
    for more in ["", "consumerGroups: {}", "consumerGroups: {restore: false, include: [a]}"] {
        assert!(restore(&with(&format!("parallelism: 4, {more}"))).restore.groups.is_none(), "{more}");
    }
    let message = faults(&with("consumerGroups: {mapping: [{sourceGroup: a, targetGroup: b}]}"));
    assert!(message.starts_with("restore.consumerGroups.mapping: is set while restore is not"), "{message}");
}

#[test]
fn a_restore_takes_whole_group_ids_and_never_the_groups_of_restores() {
    let selects = |more: &str, id: &str| {
        let groups = restore(&with(&format!("consumerGroups: {{restore: true, {more}}}"))).restore.groups;
        groups.expect("asked for").selection.selects(&group(id))
    };
    assert!(selects("", "billing") && selects("", "__odd"), "no group is internal");
    assert!(selects("include: [billing]", "billing") && !selects("include: [billing]", "billing-2"));
    assert!(!selects("exclude: ['b.*']", "billing") && selects("include: ['__a|b']", "b"));
    assert!(!selects("", "strimzi-backup-restore-orders-dr-1"));
    assert!(!selects("include: [strimzi-backup-restore-x]", "strimzi-backup-restore-x"));
}

#[test]
fn a_group_goes_where_its_mapping_says_or_keeps_its_id() {
    let mapping = "mapping: [{sourceGroup: a, targetGroup: b}, {sourceGroup: b, targetGroup: a}]";
    let groups = restore(&with(&format!("consumerGroups: {{restore: true, {mapping}}}"))).restore.groups;
    let target = |id: &str| groups.as_ref().expect("asked for").target(&group(id)).to_string();
    assert_eq!([target("a"), target("b"), target("c")], ["b", "a", "c"], "ids may be exchanged");
}

#[test]
fn a_mapping_of_a_group_that_is_not_restored_is_refused() {
    let mapping = "mapping: [{sourceGroup: payments, targetGroup: paid}]";
    let message = faults(&with(&format!("consumerGroups: {{restore: true, exclude: [pay.*], {mapping}}}")));
    let wanted = "restore.consumerGroups.mapping[0].sourceGroup: \"payments\" is not chosen by restore.consumerGroups";
    assert!(message.starts_with(wanted), "{message}");
}

#[test]
fn a_throttle_is_a_size() {
    let throttle = |text: &str| restore(&with(&format!("throttle: {text}"))).restore.throttle_bytes.map(u64::from);
    assert_eq!(
        (throttle("50MiB"), throttle("50Mi"), throttle("52428800")),
        (Some(50 << 20), Some(50 << 20), Some(50 << 20))
    );
    assert!(faults(&with("throttle: 50MB/s")).contains("is no size"));
}
