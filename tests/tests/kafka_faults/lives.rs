//! Topics that come, go, come back and grow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use serde_json::json;
use strimzi_backup_format::manifest::TopicEventKind;
use strimzi_backup_tests::backup::{Backup, same};
use strimzi_backup_tests::client::Record;
use strimzi_backup_tests::front::{Front, Verdict};
use strimzi_backup_tests::s3::S3Server;
use strimzi_backup_tests::scenario::{Scenario, bulky, numbered, wait_backup};

#[test]
fn a41_a_deleted_topic_keeps_what_was_captured_and_the_log_says_that_it_went() -> Result<()> {
    let topic = "a41";
    let scenario = Scenario::shared(topic)?;
    let client = &scenario.client;
    client.create_topic(topic, 2, &[])?;
    let mut streamer = scenario.job.stream(&[])?;
    streamer.ready()?;
    client.produce(topic, &numbered(0..100))?;
    let read = client.read_all(topic)?;
    scenario.wait_rows(topic, 0, 100)?;
    client.delete_topic(topic)?;
    scenario.wait_backup("the end of the topic in the log", |backup| {
        Ok(backup.topic(topic)?.newest().1.is_some_and(|life| life.deleted.is_some()))
    })?;
    let held = scenario.backup()?;
    same(&held.records(topic, 0)?, &read, topic)?;
    ensure!(held.gaps(topic).is_empty(), "everything had been captured");
    // A deleted topic holds nothing up.
    let before = held.until();
    scenario.wait_backup("time goes on", |backup| Ok(backup.until() > before))?;
    streamer.stop()
}

#[test]
fn a41_what_a_deleted_topic_still_held_is_a_gap() -> Result<()> {
    let topic = "a41g";
    let scenario = Scenario::shared(topic)?;
    let client = &scenario.client;
    client.create_topic(topic, 1, &[])?;
    client.produce(topic, &bulky(0..1000))?;
    let read = client.read_all(topic)?;
    let server = S3Server::start()?;
    let full = Arc::new(AtomicBool::new(true));
    let judge = Arc::clone(&full);
    let front = Front::start(&server.address(), move |head| {
        let refused = head.path.contains(".parquet") && judge.load(Ordering::Relaxed);
        if refused { Verdict::Refuse(507, "QuotaExceeded") } else { Verdict::Forward }
    })?;
    let job = scenario.job.clone().into_s3(&server, "a41").set("/storage/s3/endpoint", json!(front.endpoint()));
    let mut streamer = job.set("/backup/memoryBudget", json!("64Mi")).stream(&[])?;
    streamer.wait_metric("strimzi_backup_buffered_bytes", |bytes| bytes > 47e6)?;
    // What was fetched is held; the rest goes with the topic.
    client.delete_topic(topic)?;
    full.store(false, Ordering::Relaxed);
    let root = server.dir_of("a41");
    wait_backup(&root, "the gap", |backup| Ok(!backup.gaps(topic).is_empty()))?;
    streamer.wait_metric("strimzi_backup_lost_offsets_total{kind=\"TopicDeleted\"}", |lost| lost > 0.0)?;
    streamer.stop()?;
    let backup = Backup::open(&root)?;
    ensure!(backup.topic(topic)?.newest().1.is_some_and(|life| life.deleted.is_some()), "the log says that it went");
    let held = backup.records(topic, 0)?;
    let from = i64::try_from(held.len())?;
    ensure!(
        from > 100 && backup.gaps(topic) == [(0, 0, from, 1000, "TopicDeleted")],
        "{from}: {:?}",
        backup.gaps(topic)
    );
    same(&held, &read[..held.len()], topic).map(drop)
}

#[test]
fn a42_a_topic_re_created_while_streaming_is_a_new_life_from_offset_0() -> Result<()> {
    let topic = "a42r";
    let scenario = Scenario::shared(topic)?;
    let client = &scenario.client;
    client.create_topic(topic, 1, &[])?;
    let mut streamer = scenario.job.stream(&[])?;
    streamer.ready()?;
    let mut lives = Vec::new();
    // The second life is longer than the first, so that the client would go on in it without an error.
    for (life, count) in [(0, 40), (1, 120), (2, 60)] {
        if life > 0 {
            client.delete_topic(topic)?;
            client.create_topic(topic, 1, &[])?;
        }
        client.produce(topic, &numbered(life * 1000..life * 1000 + count))?;
        lives.push(client.read_all(topic)?);
        scenario.wait_rows(topic, i32::try_from(life)?, u64::try_from(count)?)?;
    }
    streamer.stop()?;
    let backup = scenario.backup()?;
    for (life, read) in (0..).zip(&lives) {
        same(&backup.records(topic, life)?, read, topic)?;
    }
    let began: Vec<TopicEventKind> = backup.topic(topic)?.lives.iter().map(|life| life.began).collect();
    ensure!(began == [TopicEventKind::Added, TopicEventKind::Recreated, TopicEventKind::Recreated], "{began:?}");
    ensure!(backup.gaps(topic).is_empty(), "{:?}", backup.gaps(topic));
    Ok(())
}

#[test]
fn a42_a_topic_re_created_while_the_streamer_was_stopped_is_a_new_life_too() -> Result<()> {
    let topic = "a42s";
    let scenario = Scenario::shared(topic)?;
    let client = &scenario.client;
    client.create_topic(topic, 2, &[])?;
    client.produce(topic, &numbered(0..50))?;
    let old = client.read_all(topic)?;
    scenario.job.catch_up()?;
    client.delete_topic(topic)?;
    client.create_topic(topic, 1, &[])?;
    client.produce(topic, &numbered(500..600))?;
    let new = client.read_all(topic)?;
    scenario.job.catch_up()?;
    let backup = scenario.backup()?;
    same(&backup.records(topic, 0)?, &old, topic)?;
    same(&backup.records(topic, 1)?, &new, topic)?;
    let topic_state = backup.topic(topic)?;
    ensure!(topic_state.lives[0].topic_id != topic_state.lives[1].topic_id, "each life has its id");
    Ok(())
}

#[test]
fn a43_new_partitions_are_read_from_offset_0() -> Result<()> {
    let topic = "a43";
    let scenario = Scenario::shared(topic)?;
    let client = &scenario.client;
    client.create_topic(topic, 1, &[])?;
    client.produce(topic, &numbered(0..10))?;
    let mut streamer = scenario.job.stream(&[])?;
    streamer.ready()?;
    client.create_partitions(topic, 4)?;
    let records: Vec<Record> =
        (0..40).map(|number: i32| Record::value(format!("{number}")).partition(number % 4)).collect();
    client.produce(topic, &records)?;
    scenario.wait_rows(topic, 0, 50)?;
    streamer.stop()?;
    let backup = scenario.backup()?;
    backup.equals_topic(client, topic)?;
    ensure!(backup.topic(topic)?.description.partitions == 4, "the log knows four partitions");
    ensure!(backup.gaps(topic).is_empty(), "{:?}", backup.gaps(topic));
    Ok(())
}

#[test]
fn a43_topics_that_appear_and_change_enter_the_log() -> Result<()> {
    let scenario = Scenario::shared("a43n")?;
    let client = &scenario.client;
    let mut streamer = scenario.job.stream(&[])?;
    // A pattern that matches nothing yet is a warning, not a fault.
    streamer.wait_log("no topic matches")?;
    streamer.ready()?;
    client.create_topic("a43n-late", 1, &[])?;
    client.produce("a43n-late", &numbered(0..10))?;
    scenario.wait_rows("a43n-late", 0, 10)?;
    client.alter_topic_config("a43n-late", "retention.ms", "12345678")?;
    scenario.wait_backup("the changed configuration in the log", |backup| {
        let config = &backup.topic("a43n-late")?.description.config;
        Ok(config.get("retention.ms").is_some_and(|value| value == "12345678"))
    })?;
    streamer.stop()?;
    scenario.backup()?.equals_topic(client, "a43n-late")?;
    Ok(())
}
