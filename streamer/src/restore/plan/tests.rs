use strimzi_backup_format::job::Until;
use strimzi_backup_format::manifest::Run;
use strimzi_backup_format::state::State;

use super::super::conflict::Records;
use super::super::sample::{
    at, copying, found, gap, key, moved, now, plan, run, settings, state, target, topic, topic_state, touched,
};
use super::*;
use crate::kafka::{Code, TargetError};

fn one(topics: &[(&str, i32)], more: &str, target: &Target) -> (Plan, Vec<Conflict>) {
    plan(&state(topics), &settings(more), &[], target)
}

fn with(brokers: usize, topics: &[(&str, TargetTopic)]) -> Target {
    let topics = topics.iter().map(|(name, found)| (topic(name), Ok(found.clone()))).collect();
    Target { topics, ..target(brokers) }
}

fn told<T: ToString>(all: &[T]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A backup whose topic has these settings.
fn configured(config: &[(&str, &str)]) -> State {
    let mut state = state(&[("orders", 1)]);
    state.topics.get_mut(&topic("orders")).expect("there").description.config = texts(config);
    state
}

fn texts(settings: &[(&str, &str)]) -> BTreeMap<String, String> {
    settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A segment with one run of `orders`-0.
fn orders(offsets: std::ops::Range<i64>, seconds: std::ops::Range<i64>) -> Vec<Touched> {
    vec![touched(vec![run(&key("orders", 0, 0), offsets, seconds)])]
}

/// Three topics: one is created under its name with a mapping of partitions, one is deleted first, one is added to.
fn eventful() -> (Plan, Vec<Conflict>) {
    let mut state = state(&[("audit", 1), ("orders", 2), ("payments", 4), ("refunds", 1)]);
    let config = [("retention.ms", "604800000"), ("min.insync.replicas", "2"), ("cleanup.policy", "delete")];
    state.topics.get_mut(&topic("orders")).expect("there").description.config = texts(&config);
    state.topics.get_mut(&topic("refunds")).expect("there").lives[0].deleted = Some(at(400));
    state.gaps = vec![gap(&key("orders", 0, 1), 40..60, Some(300), 400)];
    state.frontier.behind = vec![copying(&key("payments", 0, 3))];
    let mut settings = settings(
        "topicMapping: [{sourceTopic: payments, targetTopic: payments.v2, partitions: 3}], onGap: accept, \
         existingTopicPolicy: overwrite, throttle: 64Ki",
    );
    settings.stop.until = Some(Until::At(at(500)));
    settings.start = Some(at(90));
    let runs = vec![run(&key("orders", 0, 0), 0..40, 20..60), run(&key("orders", 0, 1), 0..20, 80..100)];
    let more = vec![run(&key("payments", 0, 2), 7..47, 400..700)];
    let target = with(1, &[("audit", found(&[20], &[])), ("unrelated", found(&[5], &[]))]);
    plan(&state, &settings, &[touched(runs), touched(more)], &target)
}

#[test]
fn a_whole_plan_as_json_reads_back() {
    let (plan, conflicts) = eventful();
    assert_eq!(conflicts, []);
    insta::assert_json_snapshot!(plan);
    let json = serde_json::to_string(&plan).expect("json");
    assert_eq!(serde_json::from_str::<Plan>(&json).expect("reads back"), plan);
    let unknown = json.replacen("\"end\":", "\"beyond\":1,\"end\":", 1);
    assert!(serde_json::from_str::<Plan>(&unknown).is_err(), "an unknown field of a partition is refused");
}

#[test]
fn a_whole_plan_as_text() {
    insta::assert_snapshot!(eventful().0.to_string());
}

/// Each topic has its own trouble.
#[test]
fn a68_every_conflict_is_told_at_once() {
    let names = ["denied", "exists", "late", "missing", "mixed", "other", "others", "stamped", "wide"];
    let mut state = state(&names.map(|name| (name, 1)));
    state.topics.insert(topic("many"), topic_state("many", 49));
    let settings = settings(
        "existingTopicPolicy: append, topicCreation: manual, topicMapping: [{sourceTopic: many, targetTopic: few, partitions: 1}, \
         {sourceTopic: mixed, targetTopic: other}]",
    );
    let limits = [("message.timestamp.before.max.ms", "1000"), ("message.timestamp.after.max.ms", "1000")];
    let mut target = with(
        3,
        &[
            ("exists", found(&[0], &[])),
            ("few", found(&[0], &[])),
            ("late", found(&[0], &limits)),
            ("other", found(&[0], &[])),
            ("others", found(&[0], &[])),
            ("stamped", found(&[0], &[("message.timestamp.type", "LogAppendTime")])),
            ("wide", found(&[1, 2, 3], &[])),
        ],
    );
    target.topics.insert(topic("denied"), Err(BrokerError(Code::TOPIC_AUTHORIZATION_FAILED)));
    target.topics.insert(topic("missing"), Err(BrokerError(Code::UNKNOWN_TOPIC_OR_PARTITION)));
    let reads = [touched(vec![run(&key("late", 0, 0), 0..40, 20..20_000)])];
    let (_, mut conflicts) = plan(&state, &settings, &reads, &target);
    conflicts.push(Conflict::Refused(TargetError {
        doing: "create topic",
        name: "orders".to_owned(),
        code: Code::POLICY_VIOLATION,
        detail: "at least 3 replicas".to_owned(),
    }));
    insta::assert_snapshot!(told(&conflicts));
}

#[test]
fn a68_an_existing_topic_stops_the_restore_unless_told_what_to_do() {
    let conflicts = |more: &str, ends: &[i64]| one(&[("orders", 2)], more, &with(3, &[("orders", found(ends, &[]))])).1;
    let exists = |partitions, records| {
        let (topic, source_topic) = (topic("orders"), topic("orders"));
        vec![Conflict::Exists { topic, source_topic, partitions, records }]
    };
    assert_eq!(conflicts("", &[0, 0]), exists(2, Records::None));
    assert_eq!(conflicts("", &[3, 4]), exists(2, Records::Offsets(7)));
    assert_eq!(conflicts("topicCreation: manual", &[0, 0]), [], "whoever asks for manual has created it");
    assert_eq!(conflicts("topicCreation: manual", &[0, 1]), exists(2, Records::Offsets(1)));
    assert_eq!(conflicts("existingTopicPolicy: append", &[3, 4]), []);
    assert_eq!(conflicts("existingTopicPolicy: overwrite", &[3, 4, 5]), []);
    let map = "topicMapping: [{sourceTopic: orders, targetTopic: elsewhere}]";
    assert_eq!(conflicts(map, &[3, 4]), [], "another name");
}

#[test]
fn a68_an_existing_topic_must_have_the_partitions_that_are_restored() {
    let conflicts = |more: &str, ends: &[i64]| one(&[("orders", 2)], more, &with(3, &[("orders", found(ends, &[]))])).1;
    let other = |found, wanted| {
        vec![Conflict::Partitions { topic: topic("orders"), source_topic: topic("orders"), found, wanted }]
    };
    assert_eq!(conflicts("existingTopicPolicy: append", &[0]), other(1, 2));
    assert_eq!(conflicts("existingTopicPolicy: append", &[0, 0, 0]), other(3, 2));
    assert_eq!(conflicts("topicCreation: manual", &[0, 0, 0]), other(3, 2));
    let spread = "topicMapping: [{sourceTopic: orders, targetTopic: orders, partitions: 3}]";
    assert_eq!(conflicts(&format!("existingTopicPolicy: append, {spread}"), &[0, 0, 0]), []);
    assert_eq!(conflicts(&format!("existingTopicPolicy: append, {spread}"), &[0, 0]), other(2, 3));
}

#[test]
fn what_happens_to_a_topic_follows_from_what_is_there_and_what_is_asked() {
    let there = with(3, &[("orders", found(&[3, 4], &[]))]);
    let planned = |more: &str, target: &Target| {
        let mut topic = one(&[("orders", 2)], more, target).0.topics.remove(0);
        let ends = std::mem::take(&mut topic.existing_ends).into_iter().map(Offset::get).collect::<Vec<_>>();
        (topic.action, topic.existing.is_some(), ends, topic.settings.is_empty(), topic.lifted.is_empty())
    };
    assert_eq!(planned("", &target(3)), (Action::Create, false, vec![], true, false));
    assert_eq!(planned("topicCreation: manual", &target(3)), (Action::Append, false, vec![], true, true));
    assert_eq!(planned("existingTopicPolicy: append", &there), (Action::Append, true, vec![3, 4], true, true));
    assert_eq!(planned("existingTopicPolicy: overwrite", &there), (Action::Recreate, true, vec![3, 4], true, false));
}

#[test]
fn partitions_stay_unless_another_number_is_asked_for() {
    let planned = |partitions: u32| {
        let more = format!("topicMapping: [{{sourceTopic: orders, targetTopic: new, partitions: {partitions}}}]");
        let (plan, conflicts) = one(&[("orders", 2)], &more, &target(3));
        assert_eq!(conflicts, []);
        (plan.topics[0].target_partitions, plan.topics[0].respread(), plan.warnings)
    };
    let spread = |to| vec![Warning::Spread { topic: topic("new"), from: 2, to }];
    assert_eq!(planned(2), (2, None, vec![]));
    assert_eq!(planned(1), (1, Some(1), spread(1)));
    assert_eq!(planned(6), (6, Some(6), spread(6)));
    let (plan, _) = one(&[("orders", 2)], "", &target(3));
    assert_eq!((plan.topics[0].target_partitions, plan.topics[0].respread()), (2, None));
}

/// The backup may hold partitions that the description does not count, and count some that it holds nothing of.
#[test]
fn a43_a_topic_has_as_many_partitions_as_are_held_or_described() {
    let mut state = state(&[("orders", 2)]);
    state.topics.get_mut(&topic("orders")).expect("there").description.partitions = 5;
    let planned = |state: &State| plan(state, &settings(""), &[], &target(3)).0.topics.remove(0);
    assert_eq!((planned(&state).source_partitions, planned(&state).partitions.len()), (5, 2));
    // One that was added after the moment is made only for what is restored of it.
    state.topics.get_mut(&topic("orders")).expect("there").description.partitions = 1;
    assert_eq!((planned(&state).source_partitions, planned(&state).target_partitions), (1, 1));
    let late = [touched(vec![run(&key("orders", 0, 1), 0..10, 20..30)])];
    let (plan, _) = plan(&state, &settings(""), &late, &target(3));
    assert_eq!((plan.topics[0].source_partitions, plan.topics[0].target_partitions), (2, 2));
}

#[test]
fn replicas_are_as_many_as_there_were_and_no_more_than_brokers() {
    let planned = |brokers| {
        let (plan, _) = one(&[("orders", 1)], "", &target(brokers));
        (plan.topics[0].replication_factor, plan.warnings)
    };
    let fewer = |replicas| vec![Warning::Replicas { topic: topic("orders"), replicas }];
    assert_eq!(planned(5), (3, vec![]));
    assert_eq!(planned(3), (3, vec![]));
    assert_eq!(planned(2), (2, fewer(2)));
    assert_eq!(planned(0), (1, fewer(1)), "brokers that are not told");
}

#[test]
fn replicas_in_sync_are_no_more_than_replicas() {
    let planned = |wanted: &str, brokers| {
        let state = configured(&[("min.insync.replicas", wanted)]);
        plan(&state, &settings(""), &[], &target(brokers)).0.topics[0].settings["min.insync.replicas"].clone()
    };
    assert_eq!([planned("2", 3), planned("2", 2), planned("2", 1), planned("3", 2)], ["2", "2", "1", "2"]);
    assert_eq!(planned("two", 1), "two", "what is no number is for the broker to refuse");
}

#[test]
fn settings_are_lifted_where_they_are_not_lifted_already() {
    let planned = |config: &[(&str, &str)]| {
        let topic = plan(&configured(config), &settings(""), &[], &target(3)).0.topics.remove(0);
        assert_eq!(topic.settings, texts(config), "they are set in the end");
        topic.lifted
    };
    let any_time = i64::MAX.to_string();
    let all = [
        ("cleanup.policy", "delete"),
        ("retention.ms", "-1"),
        ("retention.bytes", "-1"),
        ("message.timestamp.type", "CreateTime"),
        ("message.timestamp.before.max.ms", &any_time),
        ("message.timestamp.after.max.ms", &any_time),
    ];
    assert_eq!(planned(&[]), texts(&all));
    assert_eq!(planned(&all), BTreeMap::new());
    let kept = [("retention.ms", "1000"), ("cleanup.policy", "compact"), ("message.timestamp.type", "LogAppendTime")];
    assert_eq!(planned(&kept), texts(&all));
    assert_eq!(planned(&[all[0], all[1], ("compression.type", "zstd")]), texts(&all[2..]));
}

#[test]
fn two_topics_are_not_mixed_in_one() {
    let more = "topicMapping: [{sourceTopic: a, targetTopic: b}]";
    let (_, conflicts) = one(&[("a", 1), ("b", 1), ("c", 1)], more, &target(3));
    assert_eq!(conflicts, [Conflict::SharedTarget { topic: topic("b"), first: topic("a"), second: topic("b") }]);
    let (_, conflicts) = one(&[("a", 1), ("b", 1)], &format!("topics: {{exclude: [b]}}, {more}"), &target(3));
    assert_eq!(conflicts, [], "one that is not restored");
    let swap = "topicMapping: [{sourceTopic: a, targetTopic: b}, {sourceTopic: b, targetTopic: a}]";
    assert_eq!(one(&[("a", 1), ("b", 1)], swap, &target(3)).1, []);
}

#[test]
fn so_many_sources_fit_into_one_partition_and_one_more_does_not() {
    let conflicts = |sources, targets: u32| {
        let more = format!("topicMapping: [{{sourceTopic: orders, targetTopic: new, partitions: {targets}}}]");
        one(&[("orders", sources)], &more, &target(3)).1
    };
    let too_many = |sources, targets| vec![Conflict::TooManySources { topic: topic("new"), sources, targets }];
    assert_eq!([conflicts(38, 1), conflicts(76, 2), conflicts(1000, 1000)], [const { Vec::new() }; 3]);
    assert_eq!(conflicts(39, 1), too_many(39, 1));
    assert_eq!(conflicts(77, 2), too_many(77, 2));
}

/// Appends records with these lowest and highest timestamps to a topic with these settings.
fn appended(lowest: TimestampMs, highest: TimestampMs, limits: &[(&str, &str)]) -> (Vec<Warning>, Vec<Conflict>) {
    let mut run = run(&key("orders", 0, 0), 0..10, 0..0);
    (run.min_timestamp, run.max_timestamp) = (lowest, highest);
    let target = with(3, &[("orders", found(&[0], limits))]);
    let policy = settings("existingTopicPolicy: append");
    let (plan, conflicts) = plan(&state(&[("orders", 1)]), &policy, &[touched(vec![run])], &target);
    (plan.warnings, conflicts)
}

#[test]
fn a52_timestamps_that_the_target_refuses_are_conflicts_to_the_millisecond() {
    let limits = [("message.timestamp.before.max.ms", "5000"), ("message.timestamp.after.max.ms", "3000")];
    let refused = |lowest, highest| {
        let (_, conflicts) = appended(lowest, highest, &limits);
        let setting = |conflict| match conflict {
            Conflict::Timestamps { setting, .. } => setting,
            other => panic!("{other}"),
        };
        conflicts.into_iter().map(setting).collect::<Vec<_>>()
    };
    let (oldest, newest) = (moved(now(), -5000), moved(now(), 3000));
    assert_eq!(refused(oldest, newest), [""; 0]);
    assert_eq!(refused(moved(oldest, -1), newest), ["message.timestamp.before.max.ms"]);
    assert_eq!(refused(oldest, moved(newest, 1)), ["message.timestamp.after.max.ms"]);
    let extremes = (TimestampMs::new(i64::MIN), TimestampMs::new(i64::MAX));
    assert_eq!(refused(extremes.0, extremes.1), [limits[0].0, limits[1].0]);
    assert_eq!(refused(TimestampMs::new(-1), newest), [""; 0], "a record without a timestamp is always taken");
}

/// Appends two runs to a topic that takes timestamps of the last 5 s: one that begins without a timestamp and ends at `highest`,
/// and one that begins at `lowest`. Says whether it is refused, and whether a warning tells that it may be.
fn beside_none(highest: TimestampMs, lowest: TimestampMs) -> (bool, bool) {
    let mut runs = vec![run(&key("orders", 0, 0), 0..10, 0..0), run(&key("orders", 0, 1), 0..10, 0..0)];
    (runs[0].min_timestamp, runs[0].max_timestamp) = (TimestampMs::new(-1), highest);
    (runs[1].min_timestamp, runs[1].max_timestamp) = (lowest, now());
    let target = with(3, &[("orders", found(&[0, 0], &[("message.timestamp.before.max.ms", "5000")]))]);
    let policy = settings("existingTopicPolicy: append");
    let (plan, conflicts) = plan(&state(&[("orders", 2)]), &policy, &[touched(runs)], &target);
    let hidden = Warning::HiddenTimestamps { topic: topic("orders"), before_max_ms: 5000 };
    let is_too_old =
        |conflict: &Conflict| matches!(conflict, Conflict::Timestamps { lowest: told, .. } if told.get() != -1);
    assert!(conflicts.iter().all(is_too_old), "{conflicts:?}");
    (!conflicts.is_empty(), plan.warnings.contains(&hidden))
}

#[test]
fn a52_a_record_without_a_timestamp_hides_no_older_one_of_another_run() {
    let (taken, none) = (moved(now(), -5000), TimestampMs::new(-1));
    let refused = moved(taken, -1);
    assert_eq!(beside_none(now(), taken), (false, true), "what lies between −1 and the highest nobody knows");
    assert_eq!(beside_none(now(), refused), (true, false));
    assert_eq!(beside_none(refused, taken), (true, false), "the highest is too old already");
    assert_eq!(beside_none(none, taken), (false, false), "a run without any timestamp hides nothing");
    assert_eq!(beside_none(none, refused), (true, false));
    let forever = [("message.timestamp.before.max.ms", "9223372036854775807"), ("retention.ms", "-1")];
    assert_eq!(appended(none, now(), &forever), (vec![], vec![]), "a target that refuses nothing");
}

#[test]
fn a52_a_target_without_limits_takes_every_timestamp() {
    let (oldest, newest) = (TimestampMs::new(0), TimestampMs::new(i64::MAX));
    assert_eq!(appended(oldest, newest, &[]).1, []);
    let dates_anew = [("message.timestamp.type", "LogAppendTime")];
    assert_eq!(appended(oldest, newest, &dates_anew).1, [Conflict::DatesAnew { topic: topic("orders") }]);
    assert_eq!(appended(oldest, newest, &[("message.timestamp.type", "CreateTime")]).1, []);
}

/// A run is read whole; what a restore leaves out of it is no reason to refuse it.
#[test]
fn a52_only_timestamps_that_are_restored_count() {
    let limits = [("message.timestamp.before.max.ms", "9900000"), ("message.timestamp.after.max.ms", "0")];
    let target = with(3, &[("orders", found(&[0], &limits))]);
    let mut settings = settings("existingTopicPolicy: append");
    let planned =
        |settings: &RestoreSettings| plan(&state(&[("orders", 1)]), settings, &orders(0..10, 20..20_000), &target);
    assert_eq!(planned(&settings).1.len(), 2);
    settings.start = Some(at(100));
    settings.stop.until = Some(Until::At(at(1000)));
    let (plan, conflicts) = planned(&settings);
    assert_eq!(conflicts, []);
    let one = &plan.topics[0].partitions[0];
    assert_eq!((one.min_timestamp, one.max_timestamp), (Some(at(100)), Some(at(1000))));
}

#[test]
fn records_older_than_the_retention_are_told_where_it_holds_at_once_and_at_the_end() {
    let oldest = moved(now(), -5000);
    let warning = |retention_ms, at_once| {
        vec![Warning::Retention { topic: topic("orders"), retention_ms, is_default: false, oldest, at_once }]
    };
    let at_once = |retention: &str| appended(oldest, now(), &[("retention.ms", retention)]).0;
    assert_eq!([at_once("5000"), at_once("-1")], [vec![], vec![]]);
    assert_eq!(at_once("4999"), warning(4999, true));
    let at_the_end = |config: &[(&str, &str)]| {
        let mut run = run(&key("orders", 0, 0), 0..10, 0..0);
        (run.min_timestamp, run.max_timestamp) = (oldest, now());
        plan(&configured(config), &settings(""), &[touched(vec![run])], &target(3)).0.warnings
    };
    assert_eq!([at_the_end(&[("retention.ms", "5000")]), at_the_end(&[("retention.ms", "-1")])], [vec![], vec![]]);
    assert_eq!(at_the_end(&[("retention.ms", "4999")]), warning(4999, false));
    assert_eq!(at_the_end(&[]), [], "not as old as Kafka's default");
    let both = [("cleanup.policy", "compact,delete"), ("retention.ms", "4999")];
    assert_eq!(at_the_end(&both), warning(4999, false));
    let compacted = [("cleanup.policy", "compact"), ("retention.ms", "4999")];
    assert_eq!(at_the_end(&compacted), [], "compaction does not look at the age");
    assert_eq!(appended(oldest, now(), &compacted).0, []);
}

#[test]
fn what_is_deleted_is_told() {
    let warnings = |ends: &[i64]| {
        one(&[("orders", 1)], "existingTopicPolicy: overwrite", &with(3, &[("orders", found(ends, &[]))])).0.warnings
    };
    assert_eq!(warnings(&[0, 0]), []);
    assert_eq!(warnings(&[3, 4]), [Warning::Deletes { topic: topic("orders"), offsets: 7 }]);
}

#[test]
fn warnings_read_well() {
    let topic = topic("orders");
    let oldest = at(0);
    let warnings = [
        Warning::Retention { topic: topic.clone(), retention_ms: 1000, is_default: false, oldest, at_once: true },
        Warning::Retention { topic: topic.clone(), retention_ms: 1000, is_default: true, oldest, at_once: false },
        Warning::HiddenTimestamps { topic: topic.clone(), before_max_ms: 5000 },
        Warning::Spread { topic: topic.clone(), from: 4, to: 3 },
        Warning::Replicas { topic: topic.clone(), replicas: 1 },
        Warning::RaisesLimit { topic: topic.clone(), bytes: 2_000_068, instead_of: Some(1_048_588) },
        Warning::Deletes { topic, offsets: 7 },
    ];
    insta::assert_snapshot!(told(&warnings));
}

#[test]
fn a_topic_that_the_target_does_not_describe_is_a_conflict_whoever_creates_topics() {
    let code = BrokerError(Code::TIMED_OUT);
    let target = Target { topics: [(topic("orders"), Err(code))].into(), ..target(3) };
    for more in ["topicCreation: auto", "topicCreation: manual"] {
        let (_, conflicts) = one(&[("orders", 1)], more, &target);
        assert_eq!(conflicts, [Conflict::Undescribed { topic: topic("orders"), code }], "{more}");
    }
}

#[test]
fn a_topic_that_is_not_there_is_missing_where_somebody_else_creates_topics() {
    let unknown = Err(BrokerError(Code::UNKNOWN_TOPIC_OR_PARTITION));
    let target = Target { topics: [(topic("orders"), unknown)].into(), ..target(3) };
    assert_eq!(one(&[("orders", 2)], "", &target).1, []);
    let (_, conflicts) = one(&[("orders", 2)], "topicCreation: manual", &target);
    assert_eq!(conflicts, [Conflict::Missing { topic: topic("orders"), partitions: 2 }]);
}

/// A partition that goes over row groups has several runs in a segment.
#[test]
fn reads_are_summed_by_partition_and_in_all() {
    let (zero, one) = (key("orders", 0, 0), key("orders", 0, 1));
    let next_group = |run: Run| Run { row_group: 1, ..run };
    let first = vec![run(&zero, 0..40, 20..30), next_group(run(&zero, 40..60, 30..35)), run(&one, 0..40, 25..26)];
    let second = vec![run(&zero, 60..70, 10..50)];
    let (plan, _) = plan(&state(&[("orders", 2)]), &settings(""), &[touched(first), touched(second)], &target(3));
    let reads = |segments, runs, records, bytes, raw_bytes| Reads {
        segments,
        runs,
        records,
        bytes,
        raw_bytes,
        largest_record: 100,
    };
    let found: Vec<_> =
        plan.topics[0].partitions.iter().map(|one| (one.reads, one.min_timestamp, one.max_timestamp)).collect();
    let expected = [
        (reads(2, 3, 70, 16_000, 48_000), Some(at(10)), Some(at(50))),
        (reads(1, 1, 40, 4000, 12_000), Some(at(25)), Some(at(26))),
    ];
    assert_eq!(found, expected);
    assert_eq!(plan.reads, reads(2, 4, 110, 20_000, 60_000));
}

#[test]
fn the_time_is_estimated_from_what_is_written_and_the_throttle() {
    let reads: Vec<Touched> = orders(0..10, 0..10)
        .into_iter()
        .map(|mut touched| {
            touched.segment.raw_bytes = 250 << 20;
            touched
        })
        .collect();
    let planned = |more: &str| plan(&state(&[("orders", 1)]), &settings(more), &reads, &target(3)).0.estimated_seconds;
    assert_eq!([planned(""), planned("throttle: 10Mi"), planned("throttle: 1Ti")], [3, 25, 3]);
    assert_eq!(one(&[("orders", 1)], "", &target(3)).0.estimated_seconds, 1);
}
