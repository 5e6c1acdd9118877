//! Committed offsets of consumer groups: captured from a real broker, read as of any moment.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_format::ids::TimestampMs;
use strimzi_backup_tests::client::GroupProtocol;
use strimzi_backup_tests::kafka::KafkaBroker;
use strimzi_backup_tests::scenario::{Scenario, moment, numbered};
use strimzi_backup_tests::streamer::PATIENCE;
use strimzi_backup_tests::wait;

/// By group, topic and partition.
type Offsets = BTreeMap<(String, String, i64), i64>;

fn groups(scenario: &Scenario, arguments: &[&str]) -> Result<Offsets> {
    let arguments: Vec<&str> = ["groups", "--output", "json"].into_iter().chain(arguments.iter().copied()).collect();
    let (code, out, err) = scenario.job.run(&arguments)?;
    ensure!(code == 0, "{arguments:?} ended with {code}\n{err}");
    let found: Value = serde_json::from_str(&out)?;
    let mut offsets = Offsets::new();
    for group in found["groups"].as_array().context("groups")? {
        let id = group["group"].as_str().context("an id")?;
        for one in group["offsets"].as_array().context("offsets")? {
            let topic = one["topic"].as_str().context("a topic")?.to_owned();
            let place = (id.to_owned(), topic, one["partition"].as_i64().context("a partition")?);
            offsets.insert(place, one["offset"].as_i64().context("an offset")?);
        }
    }
    Ok(offsets)
}

fn offsets(found: &[(&str, &str, i64, i64)]) -> Offsets {
    let offset = |(group, topic, partition, offset): &(&str, &str, i64, i64)| {
        (((*group).to_owned(), (*topic).to_owned(), *partition), *offset)
    };
    found.iter().map(offset).collect()
}

/// Streams until the backup holds what groups had committed at an instant.
fn covered_to(scenario: &Scenario, instant: &str) -> Result<()> {
    let wanted = TimestampMs::from_rfc3339(instant)?.get();
    wait::wait_until("the backup to cover groups", PATIENCE, || {
        scenario.job.catch_up()?;
        Ok(scenario.job.inspect()?["groups"]["until"].as_i64().is_some_and(|until| until >= wanted))
    })
}

#[test]
fn a73_offsets_of_groups_are_told_as_of_any_moment_across_starts_deletions_and_both_protocols() -> Result<()> {
    let broker = KafkaBroker::start()?;
    let scenario = Scenario::on(&broker, "orders")?;
    let client = &scenario.client;
    client.create_topic("orders", 1, &[])?;
    client.produce("orders", &numbered(0..100))?;
    client.commit_offsets("old", &[("orders", 0, 5)])?;
    scenario.job.catch_up()?;
    let first = moment()?;
    covered_to(&scenario, &first)?;
    client.member("classic", GroupProtocol::Classic, "orders")?.read(30)?;
    client.member("modern", GroupProtocol::Consumer, "orders")?.read(40)?;
    let second = moment()?;
    covered_to(&scenario, &second)?;
    client.commit_offsets("classic", &[("orders", 0, 60)])?;
    client.delete_group("old")?;
    let third = moment()?;
    covered_to(&scenario, &third)?;
    let all = |at: &str| groups(&scenario, &["--at", at]);
    ensure!(all(&first)? == offsets(&[("old", "orders", 0, 5)]), "first: {:?}", all(&first)?);
    let expected = [("classic", "orders", 0, 30), ("modern", "orders", 0, 40), ("old", "orders", 0, 5)];
    ensure!(all(&second)? == offsets(&expected), "second: {:?}", all(&second)?);
    let expected = [("classic", "orders", 0, 60), ("modern", "orders", 0, 40)];
    ensure!(all(&third)? == offsets(&expected), "third: {:?}", all(&third)?);
    ensure!(groups(&scenario, &[])? == offsets(&expected), "the end");
    ensure!(groups(&scenario, &["--group", "modern"])? == offsets(&[("modern", "orders", 0, 40)]), "one group");
    scenario.job.verify()?;
    no_moment_outside(&scenario, &third)
}

/// A moment that is not covered is told with the nearest that is.
fn no_moment_outside(scenario: &Scenario, last: &str) -> Result<()> {
    let later = TimestampMs::from_rfc3339(last)?.plus_millis(3_600_000).to_rfc3339();
    let (code, _, err) = scenario.job.run(&["groups", "--at", &later])?;
    ensure!(code == 1 && err.contains("held until"), "{code}\n{err}");
    let (code, _, err) = scenario.job.run(&["groups", "--at", "2020-01-01T00:00:00Z"])?;
    ensure!(code == 1 && err.contains("held from"), "{code}\n{err}");
    Ok(())
}

#[test]
fn groups_are_chosen_by_their_ids_and_not_read_at_all_where_none_is() -> Result<()> {
    let broker = KafkaBroker::start()?;
    let scenario = Scenario::on(&broker, "orders")?;
    scenario.client.create_topic("orders", 1, &[])?;
    scenario.client.produce("orders", &numbered(0..10))?;
    for group in ["orders-billing", "orders-test", "other"] {
        scenario.client.commit_offsets(group, &[("orders", 0, 3)])?;
    }
    let chosen = json!({"include": ["orders-.*"], "exclude": [".*-test"]});
    let mut some = Scenario::on(&broker, "orders")?;
    some.job = some.job.set("/consumerGroups", chosen);
    some.job.catch_up()?;
    covered_to(&some, &moment()?)?;
    ensure!(groups(&some, &[])? == offsets(&[("orders-billing", "orders", 0, 3)]));
    some.job.verify()?;
    let mut none = scenario;
    none.job = none.job.set("/consumerGroups", json!({"include": []}));
    none.job.catch_up()?;
    ensure!(none.job.inspect()?["groups"]["state"] == "NotSelected");
    let (code, _, err) = none.job.run(&["groups"])?;
    ensure!(code == 1 && err.contains("its job selects none"), "{code}\n{err}");
    Ok(())
}
