use strimzi_backup_format::ids::{Sequence, TopicId};
use strimzi_backup_format::state::{Base, State};

use super::super::conflict::Conflict;
use super::super::sample::{committed, found, gap, key, plan_with, run, settings, state, target, topic, touched};
use super::super::translation::{Place, Translated, Translations};
use super::*;

const RESTORED: &str = "consumerGroups: {restore: true}";

/// Plans a restore of two topics, each with 100 records in every partition.
fn of(state: &State, more: &str, held: &Held) -> (Plan, Vec<Conflict>) {
    let runs = vec![run(&key("orders", 0, 0), 0..100, 20..120), run(&key("orders", 0, 1), 0..100, 20..120)];
    plan_with(state, &settings(more), &[touched(runs)], &target(3), Some(held))
}

fn planned(more: &str, held: &Held) -> (Plan, Vec<Conflict>) {
    of(&state(&[("orders", 2), ("payments", 4)]), more, held)
}

/// What becomes of one offset in `orders`-0.
fn adjusted(state: &State, more: &str, held: &Held) -> Option<Adjustment> {
    let (plan, conflicts) = of(state, &format!("onGap: accept, {RESTORED}, {more}"), held);
    assert_eq!(conflicts, []);
    plan.groups[0].offsets[0].adjustment
}

fn at_offset(offset: i64) -> Held {
    committed(&[("app", "orders", 0, offset)])
}

fn told(conflicts: &[Conflict]) -> String {
    conflicts.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Three groups: one that is mapped and adjusted, one of which nothing is left, one that reads other topics.
fn eventful() -> (Plan, Vec<Conflict>) {
    let mut held = committed(&[
        ("billing", "orders", 0, 40),
        ("billing", "orders", 1, 120),
        ("billing", "payments", 3, 7),
        ("idle", "payments", 0, 0),
        ("other", "clicks", 0, 5),
        ("strimzi-backup-restore-before", "orders", 0, 3),
    ]);
    let billing = held.offsets.values_mut().next().expect("a group");
    billing.values_mut().next().expect("an offset").metadata = "since noon".to_owned();
    let more = "topicMapping: [{sourceTopic: payments, targetTopic: paid, partitions: 3}], consumerGroups: {restore: true, \
                mapping: [{sourceGroup: billing, targetGroup: billing-dr}]}";
    planned(more, &held)
}

#[test]
fn a_plan_with_groups_as_json_reads_back() {
    let (plan, conflicts) = eventful();
    assert_eq!(conflicts, []);
    insta::assert_json_snapshot!(plan.groups);
    let json = serde_json::to_string(&plan).expect("json");
    assert_eq!(serde_json::from_str::<Plan>(&json).expect("reads back"), plan);
}

#[test]
fn a_plan_with_groups_as_text() {
    insta::assert_snapshot!(eventful().0.to_string());
}

#[test]
fn groups_are_restored_only_where_the_document_asks() {
    let (plan, conflicts) = planned("", &at_offset(40));
    assert_eq!((plan.groups, conflicts), (Vec::new(), Vec::new()));
    let (plan, _) = planned("consumerGroups: {restore: true, include: [b.*]}", &at_offset(40));
    assert_eq!(plan.groups, []);
}

#[test]
fn a73_what_becomes_of_an_offset_follows_from_what_is_restored() {
    let state = state(&[("orders", 2), ("payments", 4)]);
    let of = |offset| adjusted(&state, "", &at_offset(offset));
    assert_eq!([of(0), of(40), of(99), of(100)], [None; 4]);
    assert_eq!(of(101), Some(Adjustment::ClampedToEnd));
    let none = adjusted(&state, "", &committed(&[("app", "orders", 7, 3)]));
    assert_eq!(none, Some(Adjustment::NotRestored));
    let spread = "topicMapping: [{sourceTopic: orders, targetTopic: new, partitions: 3}]";
    assert_eq!(adjusted(&state, spread, &at_offset(40)), Some(Adjustment::Repartitioned));
}

#[test]
fn a73_an_offset_before_what_is_restored_is_clamped_to_its_start() {
    let mut state = state(&[("orders", 2), ("payments", 4)]);
    state.positions.get_mut(&key("orders", 0, 0)).expect("there").first_offset = Offset::new(30);
    let of = |offset| adjusted(&state, "", &at_offset(offset));
    assert_eq!((of(29), of(30)), (Some(Adjustment::ClampedToStart), None));
    let begun = settings(&format!("startTimestamp: '2026-02-13T06:00:00Z', {RESTORED}"));
    let runs = vec![run(&key("orders", 0, 0), 50..100, 70..120)];
    let of = |offset| {
        let mut settings = begun.clone();
        settings.start = Some(super::super::sample::at(60));
        let (plan, _) = plan_with(&state, &settings, &[touched(runs.clone())], &target(3), Some(&at_offset(offset)));
        plan.groups[0].offsets[0].adjustment
    };
    assert_eq!((of(49), of(50)), (Some(Adjustment::ClampedToStart), None));
}

#[test]
fn a73_an_offset_that_only_a_base_reaches_is_not_clamped() {
    let mut state = state(&[("orders", 1)]);
    let held = state.positions.get_mut(&key("orders", 0, 0)).expect("there");
    (held.first_offset, held.base) =
        (Offset::new(60), Some(Base { sequence: Sequence::new(7), added: Sequence::new(9) }));
    let runs = [run(&key("orders", 0, 0), 10..50, 30..70), run(&key("orders", 0, 0), 60..100, 80..120)];
    let of = |offset| {
        let runs = [touched(runs[..1].to_vec()), touched(runs[1..].to_vec())];
        let (plan, _) = plan_with(&state, &settings(RESTORED), &runs, &target(3), Some(&at_offset(offset)));
        plan.groups[0].offsets[0].adjustment
    };
    assert_eq!([9, 10, 55, 60].map(of), [Some(Adjustment::ClampedToStart), None, None, None]);
}

#[test]
fn a73_an_offset_in_a_gap_or_of_another_topic_of_the_name_is_told() {
    let mut state = state(&[("orders", 2), ("payments", 4)]);
    state.gaps = vec![gap(&key("orders", 0, 0), 40..60, Some(300), 400)];
    let of = |held: &Held| adjusted(&state, "", held);
    assert_eq!(
        (of(&at_offset(39)), of(&at_offset(40)), of(&at_offset(59))),
        (None, Some(Adjustment::InGap), Some(Adjustment::InGap))
    );
    assert_eq!(of(&at_offset(60)), None);
    let with_id = |id: TopicId| {
        let mut held = at_offset(7);
        held.offsets
            .values_mut()
            .flat_map(|offsets| offsets.values_mut())
            .for_each(|one| one.topic_id = Some(id.clone()));
        held
    };
    let same = state.topics[&topic("orders")].lives[0].topic_id.clone();
    assert_eq!(of(&with_id(same)), None);
    assert_eq!(of(&with_id(TopicId::new("before"))), Some(Adjustment::OtherLife));
}

#[test]
fn every_conflict_of_groups_is_told_at_once() {
    let mut offsets: Vec<(String, i64)> = (0..257).map(|number| (format!("reader-{number:03}"), number)).collect();
    offsets.push(("z\0z".to_owned(), 3));
    let offsets: Vec<_> = offsets.iter().map(|(group, offset)| (group.as_str(), "orders", 0, *offset)).collect();
    let mut held = committed(&offsets);
    held.incomplete = Some("the offsets of consumer groups are held from 2026-02-13T06:00:00.000Z on".to_owned());
    let mut state = state(&[("orders", 2)]);
    state.positions.get_mut(&key("orders", 0, 0)).expect("there").next_offset = Offset::new(1000);
    let more = "consumerGroups: {restore: true, mapping: [{sourceGroup: reader-001, targetGroup: reader-002}]}";
    insta::assert_snapshot!(told(&of(&state, more, &held).1));
    let (_, conflicts) = plan_with(&state, &settings(RESTORED), &[], &target(3), None);
    insta::assert_snapshot!(told(&conflicts), @"the backup does not hold offsets of consumer groups: choose another moment, or leave consumerGroups out");
}

#[test]
fn offsets_at_the_end_and_beyond_are_translated_once() {
    let groups: Vec<String> = (0..300).map(|number| format!("reader-{number}")).collect();
    let offsets: Vec<_> =
        groups.iter().zip(100..).map(|(group, offset)| (group.as_str(), "orders", 0, offset)).collect();
    let (plan, conflicts) = planned(RESTORED, &committed(&offsets));
    assert_eq!(conflicts, []);
    assert_eq!(wanted(&plan), BTreeMap::from([(key("orders", 0, 0), vec![Offset::new(100)])]));
}

#[test]
fn a73_every_group_goes_on_where_its_offset_is_at_the_target() {
    let (plan, _) = eventful();
    let place = |offset, is_exact| Place { offset: Offset::new(offset), is_exact };
    let translations = Translations::from([
        (key("orders", 0, 0), Translated { found: vec![place(35, false)], end: Some(place(36, true)) }),
        (key("orders", 0, 1), Translated { found: Vec::new(), end: Some(place(90, true)) }),
    ]);
    let reports = translate(&plan, &translations);
    let json = serde_json::to_string(&reports).expect("json");
    assert_eq!(serde_json::from_str::<Vec<GroupReport>>(&json).expect("reads back"), reports);
    insta::assert_json_snapshot!(reports);
    insta::assert_snapshot!(reports.iter().map(ToString::to_string).collect::<String>());
}

#[test]
fn where_nothing_was_written_a_group_goes_on_where_the_target_ended() {
    let mut target = target(3);
    target.topics.insert(topic("orders"), Ok(found(&[9, 11], &[])));
    let held = committed(&[("app", "orders", 0, 0), ("app", "orders", 1, 0)]);
    for (policy, expected) in [("append", [9, 11]), ("overwrite", [0, 0])] {
        let settings = settings(&format!("existingTopicPolicy: {policy}, {RESTORED}"));
        let (plan, _) = plan_with(&state(&[("orders", 2)]), &settings, &[], &target, Some(&held));
        let offsets = translate(&plan, &Translations::new()).remove(0).offsets;
        let offsets: Vec<_> = offsets.iter().filter_map(|one| one.target_offset).map(Offset::get).collect();
        assert_eq!(offsets, expected, "{policy}");
    }
}
