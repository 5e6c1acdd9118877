//! The cases of the acceptance list that concern the streamer and its store, one by one, in virtual time.

#![allow(unreachable_pub, dead_code)]

#[path = "../src/sim/mod.rs"]
mod sim;
#[path = "sim_cases/store.rs"]
mod store;
#[path = "sim_cases/writers.rs"]
mod writers;

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures::TryStreamExt as _;
use object_store::ObjectStoreExt as _;
use sim::simulate;
use sim::world::{MAX_AGE, WHOLE, World};
use sim::writer::Ending;
use strimzi_backup_format::ids::TopicName;
use strimzi_backup_format::manifest::{GapReason, TopicEventKind};
use strimzi_backup_format::store::faulty::{Decision, Fault, Op};
use strimzi_backup_streamer::metrics::KindLabel;
use strimzi_backup_streamer::source::Refusal;
use strimzi_backup_streamer::stream::Until;

/// A world with two topics and some records.
fn world() -> World {
    world_of(7)
}

/// The same with an encrypted backup.
fn encrypted() -> World {
    world_of(8)
}

fn world_of(seed: u64) -> World {
    let mut world = World::new(seed, None);
    let now = world.now().plus_millis(-3_600_000);
    world.around.cluster.lock().create("orders", 2, now);
    world.around.cluster.lock().create("payments", 1, now);
    world.produce(20);
    world
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).expect("legal")
}

/// Ends the writer of that number in order, if it has not ended.
fn stop(world: &mut World, number: usize) {
    let writer = &mut world.writers[number];
    writer.stopped = true;
    writer.stop.cancel();
}

fn is_fenced(world: &World, number: usize) -> bool {
    matches!(&world.writers[number].ending, Some(Ending::Returned(Err((3, _)))))
}

/// How many rows are committed, and the newest epoch.
async fn progress(world: &mut World) -> Result<(u64, u64)> {
    world.oracle.follow().await?;
    Ok((world.oracle.rows_by_epoch.values().sum(), world.state()?.epoch().get()))
}

#[test]
fn a06_the_higher_epoch_wins_and_the_loser_stands_by() -> Result<()> {
    simulate(|| async {
        let mut world = world();
        world.start("a", None)?;
        world.pass(5_000).await;
        world.start("b", None)?;
        world.pass(20_000).await;
        world.reap().await?;
        ensure!(is_fenced(&world, 0), "a ended with {:?}", world.writers[0].ending);
        world.start("a", None)?;
        for _ in 0..60 {
            world.produce(2);
            world.pass(2_000).await;
        }
        world.oracle.follow().await?;
        ensure!(world.state()?.epoch().get() == 2, "a fought back while b was alive");
        stop(&mut world, 2);
        world.pass(1_000).await;
        world.reap().await?;
        let ending = &world.writers[2].ending;
        ensure!(matches!(ending, Some(Ending::Returned(Ok(())))), "a stood by, was told to stop, and: {ending:?}");
        world.settle().await
    })
}

#[test]
fn a06_a_standby_outlives_store_errors_that_are_far_apart() -> Result<()> {
    simulate(|| async {
        let mut world = world();
        world.start("a", None)?;
        world.pass(5_000).await;
        world.start("b", None)?;
        world.pass(20_000).await;
        world.reap().await?;
        world.start("a", None)?;
        for _ in 0..14 {
            world.writers[2].control.script([(Op::Get, Decision::FailBefore(Fault::Unavailable))]);
            world.produce(2);
            world.pass(40_000).await;
        }
        world.reap().await?;
        ensure!(world.writers[2].is_running(), "it ended: {:?}", world.writers[2].ending);
        stop(&mut world, 2);
        world.pass(1_000).await;
        world.settle().await
    })
}

#[test]
fn a07_a_writer_that_was_frozen_for_an_hour_fences_itself() -> Result<()> {
    simulate(|| async {
        for frozen_at in (0..3_000).step_by(250) {
            let mut world = world();
            world.start("a", None)?;
            world.pass(3_000 + frozen_at).await;
            world.produce(10);
            world.writers[0].freezer.set(true);
            world.start("b", None)?;
            for _ in 0..6 {
                world.pass(600_000).await;
                world.produce(3);
            }
            world.writers[0].freezer.set(false);
            world.pass(20_000).await;
            world.reap().await?;
            ensure!(is_fenced(&world, 0), "frozen at {frozen_at}: {:?}", world.writers[0].ending);
            world.settle().await?;
        }
        Ok(())
    })
}

#[test]
fn a15_every_call_takes_half_a_minute() -> Result<()> {
    simulate(|| async {
        let mut world = world();
        // Each part would be a call of its own.
        world.part_bytes = WHOLE;
        world.start("a", None)?;
        world.pass(10_000).await;
        world.writers[0].control.set_latency(Duration::from_secs(30));
        for _ in 0..60 {
            world.produce(3);
            world.pass(10_000).await;
            world.reap().await?;
        }
        ensure!(world.writers[0].is_running(), "it ended: {:?}", world.writers[0].ending);
        // A cut waits for those before it, each of them for its segment, the look at it, and its manifest.
        world.oracle.follow().await?;
        let frontier = &world.state()?.frontier;
        let lag = world.now().millis_since(frontier.until.context("an instant that all is captured up to")?);
        ensure!(lag < 400_000, "{lag} ms behind: {frontier:?}");
        world.settle().await
    })
}

#[test]
fn a22_a_full_store_pauses_the_writer_and_it_resumes_alone() -> Result<()> {
    simulate(|| async {
        let mut world = world();
        world.budget = 20_000;
        world.start("a", None)?;
        world.pass(10_000).await;
        world.around.weather.lock().full = true;
        for _ in 0..60 {
            world.produce(20);
            world.pass(10_000).await;
            world.reap().await?;
        }
        world.around.weather.lock().full = false;
        world.pass(60_000).await;
        world.oracle.follow().await?;
        ensure!(world.state()?.epoch().get() == 1 && world.writers[0].is_running(), "the writer did not last");
        world.settle().await
    })
}

#[test]
fn a39_what_retention_took_is_a_gap_and_nothing_else_is() -> Result<()> {
    simulate(|| async {
        let mut world = world();
        world.start("a", None)?;
        world.pass(10_000).await;
        world.writers[0].kill().await?;
        world.produce(60);
        for partition in 0..2 {
            let mut cluster = world.around.cluster.lock();
            let orders = cluster.partition_mut(&topic("orders"), partition).context("partition")?;
            let end = orders.log.high_watermark();
            orders.delete_before(end - 3);
        }
        world.settle().await?;
        let gaps = &world.state()?.gaps;
        ensure!(gaps.len() == 2 && gaps.iter().all(|gap| gap.reason == GapReason::RetentionOverrun), "{gaps:?}");
        Ok(())
    })
}

/// A world whose writer ends when it is caught up, while the broker refuses to tell of `payments`.
fn caught_up_without_payments(refusal: Refusal) -> Result<World> {
    let mut world = world();
    world.until = Until::CaughtUp;
    world.around.cluster.lock().refused = Some((topic("payments"), refusal));
    world.start("a", None)?;
    // It may end by itself.
    world.writers[0].stopped = true;
    Ok(world)
}

#[test]
fn a_partition_without_a_leader_is_not_caught_up() -> Result<()> {
    simulate(|| async {
        let mut world = caught_up_without_payments(Refusal::Unavailable)?;
        world.pass(120_000).await;
        world.reap().await?;
        ensure!(world.writers[0].is_running(), "it ended: {:?}", world.writers[0].ending);
        world.around.cluster.lock().refused = None;
        world.pass(120_000).await;
        world.reap().await?;
        let ending = &world.writers[0].ending;
        ensure!(matches!(ending, Some(Ending::Returned(Ok(())))), "{ending:?}");
        world.oracle.follow().await?;
        let held = world.state()?.positions.iter().find(|(key, _)| key.topic == topic("payments"));
        let end =
            world.around.cluster.lock().partition(&topic("payments"), 0).map(|payments| payments.log.high_watermark());
        ensure!(held.map(|(_, position)| position.next_offset.get()) == end, "{held:?}, and the end is {end:?}");
        world.until = Until::Stopped;
        world.settle().await
    })
}

#[test]
fn a_topic_that_is_denied_is_not_caught_up() -> Result<()> {
    simulate(|| async {
        let mut world = caught_up_without_payments(Refusal::Denied)?;
        world.pass(120_000).await;
        world.reap().await?;
        match &world.writers[0].ending {
            Some(Ending::Returned(Err((1, text)))) if text.contains("payments") => Ok(()),
            ending => bail!("{ending:?}"),
        }
    })
}

#[test]
fn a42_a_topic_re_created_while_nobody_looked_is_a_new_lineage() -> Result<()> {
    simulate(|| async {
        for between in [0, 200, 3_000] {
            let mut world = world();
            world.start("a", None)?;
            world.pass(10_000).await;
            let now = world.now();
            world.around.cluster.lock().delete(&topic("orders"), now);
            world.pass(between).await;
            let now = world.now();
            world.around.cluster.lock().create("orders", 2, now);
            world.produce(80);
            world.pass(10_000).await;
            world.settle().await?;
            let lives = &world.state()?.topics[&topic("orders")].lives;
            ensure!(lives.len() == 2 && lives[1].began == TopicEventKind::Recreated, "{lives:?}");
        }
        Ok(())
    })
}

#[test]
fn a44_a_truncated_log_is_found_and_both_histories_are_kept() -> Result<()> {
    simulate(|| async {
        for grows_by in [0, 2, 60] {
            let mut world = world();
            world.start("a", None)?;
            world.pass(10_000).await;
            let now = world.now();
            for partition in 0..2 {
                let mut cluster = world.around.cluster.lock();
                let orders = cluster.partition_mut(&topic("orders"), partition).context("partition")?;
                orders.truncate(orders.log.high_watermark() - 2, now);
            }
            world.produce(grows_by);
            world.pass(10_000).await;
            world.produce(30);
            world.settle().await?;
            let truncated = world.state()?.topics[&topic("orders")].lives.iter();
            ensure!(truncated.filter(|life| life.began == TopicEventKind::Truncated).count() == 2);
        }
        Ok(())
    })
}

#[test]
fn a55_what_an_excluded_topic_lost_meanwhile_is_a_gap_that_says_so() -> Result<()> {
    simulate(|| async {
        let mut world = world();
        world.start("a", None)?;
        world.pass(10_000).await;
        stop(&mut world, 0);
        world.pass(3_000).await;
        world.excluded = vec!["payments".to_owned()];
        world.start("a", None)?;
        world.produce(60);
        world.pass(10_000).await;
        stop(&mut world, 1);
        let end = {
            let mut cluster = world.around.cluster.lock();
            let payments = cluster.partition_mut(&topic("payments"), 0).context("partition")?;
            let end = payments.log.high_watermark();
            payments.delete_before(end - 1);
            end
        };
        world.settle().await?;
        let gaps = &world.state()?.gaps;
        ensure!(gaps.len() == 1 && gaps[0].reason == GapReason::Excluded, "{gaps:?}");
        ensure!(gaps[0].range.next_offset().get() == end - 1);
        Ok(())
    })
}

/// A checkpoint that is cut, and one beyond the end of the log.
fn bad_checkpoints(new: fn() -> World) -> Result<()> {
    simulate(|| async move {
        let mut world = new();
        world.start("a", None)?;
        for _ in 0..300 {
            world.produce(1);
            world.pass(1_000).await;
        }
        world.writers[0].kill().await?;
        let folder = object_store::path::Path::from("checkpoints/0000");
        let found: Vec<_> = world.around.store.list(Some(&folder)).try_collect().await?;
        let standing = found.first().context("no checkpoint was written")?.location.clone();
        let bytes = world.around.store.get(&standing).await?.bytes().await?;
        let future = folder.clone().join("00000000000000009999-ba7816bf.json.zst");
        world.around.store.put(&future, bytes.clone().into()).await?;
        world.around.store.put(&standing, bytes.slice(..bytes.len() / 2).into()).await?;
        world.settle().await
    })
}

#[test]
fn a59_checkpoints_that_are_damaged_or_from_the_future_are_ignored() -> Result<()> {
    bad_checkpoints(world)
}

#[test]
fn a59_checkpoints_of_an_encrypted_backup_that_are_damaged_or_from_the_future_are_ignored() -> Result<()> {
    bad_checkpoints(encrypted)
}

#[test]
fn a_look_for_what_is_not_kept_that_fails_is_told_until_one_succeeds() -> Result<()> {
    // It is looked once an hour.
    const LOOK: u64 = 3_700_000;
    simulate(|| async {
        let mut world = world();
        world.retention.max_age = Some(MAX_AGE);
        world.start("a", None)?;
        world.pass(60_000).await;
        let held =
            |world: &World| world.writers[0].metrics.retention_held.get_or_create(&KindLabel::new("Failed")).get();
        ensure!(held(&world) == 0, "it fails at once");
        // What a snapshot that cannot be read needs is not known.
        let snapshot = object_store::path::Path::from("snapshots/harmed.json");
        world.around.store.put(&snapshot, "{".into()).await?;
        world.pass(LOOK).await;
        ensure!(held(&world) == 1, "no look has failed");
        world.around.store.delete(&snapshot).await?;
        world.pass(LOOK).await;
        ensure!(held(&world) == 0, "it is told still");
        world.settle().await
    })
}
