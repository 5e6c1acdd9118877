//! What a failing store does to a writer, fault by fault, and that each fault was really met.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use object_store::ObjectStoreExt as _;
use strimzi_backup_format::ids::PartitionKey;
use strimzi_backup_format::store::faulty::{Call, Decision, Fault, Op};
use strimzi_backup_streamer::source::TopicPartition;

use super::sim::broker::topic_partition;
use super::sim::keys::of_seed;
use super::sim::simulate;
use super::sim::weather::{Kill, Weather};
use super::sim::world::{PARTS, WHOLE, World};
use super::{encrypted, stop, world};

/// Streams for a while with one writer, and then with as many as it takes.
async fn stream(new: fn() -> World, part_bytes: usize, kill: Option<Kill>) -> Result<World> {
    let mut world = new();
    world.part_bytes = part_bytes;
    world.start("a", kill)?;
    for _ in 0..3 {
        world.pass(1_100).await;
        world.produce(5);
    }
    world.pass(8_000).await;
    stop(&mut world, 0);
    world.pass(2_000).await;
    world.reap().await?;
    world.settle().await?;
    world.oracle.check_closed().await?;
    Ok(world)
}

/// Kills the writer at this one of its calls. What it was uploading may be seen only if that call made it whole.
async fn stream_killed_at(new: fn() -> World, part_bytes: usize, call: &Call, after: bool) -> Result<()> {
    let world = stream(new, part_bytes, Some(Kill { at_call: call.number, after })).await?;
    let calls = world.writers[0].control.calls();
    let is_same = |made: &Call| (made.op, of_seed(made.path.as_ref())) == (call.op, of_seed(call.path.as_ref()));
    ensure!(calls.get(usize::try_from(call.number)?).is_some_and(is_same), "it made other calls before");
    if call.op.writes() && call.path.as_ref().ends_with(".parquet") {
        let visible = world.around.store.head(&call.path).await.is_ok();
        ensure!(visible == (after && matches!(call.op, Op::Put | Op::Complete)), "visible: {visible}");
    }
    Ok(())
}

/// Kills the writer of such a world at each of its calls, before and after its effect. Gives the calls.
fn killed_at_each_call(new: fn() -> World, part_bytes: usize) -> Result<Vec<Call>> {
    let calls = simulate(|| async { Ok(stream(new, part_bytes, None).await?.writers[0].control.calls()) })?;
    ensure!(calls.len() > 60, "only {} calls", calls.len());
    let uploads: &[Op] = if part_bytes == PARTS { &[Op::MultipartStart, Op::Part, Op::Complete] } else { &[Op::Put] };
    for op in uploads {
        ensure!(calls.iter().filter(|call| call.op == *op).count() > 1, "no {op:?} with parts of {part_bytes}");
    }
    for call in &calls {
        for after in [false, true] {
            let killed = simulate(|| stream_killed_at(new, part_bytes, call, after));
            killed.with_context(|| format!("{call:?}, {after}"))?;
        }
    }
    Ok(calls)
}

#[test]
fn a01_and_a02_killed_at_each_store_call_before_and_after_its_effect() -> Result<()> {
    [PARTS, WHOLE].into_iter().try_for_each(|part_bytes| killed_at_each_call(world, part_bytes).map(drop))
}

#[test]
fn a01_and_a33_killed_at_each_store_call_of_an_encrypted_backup() -> Result<()> {
    let calls = killed_at_each_call(encrypted, WHOLE)?;
    let makes_key = |call: &&Call| call.op == Op::Create && call.path.as_ref().starts_with("keys/");
    ensure!(calls.iter().filter(makes_key).count() == 1, "it makes one key");
    Ok(())
}

/// Streams on through scripted answers, each of which must be given; the writer must not even notice. Gives back its calls
/// from the first of them on.
fn survives(part_bytes: usize, script: &[(Op, Decision)]) -> Result<Vec<Call>> {
    simulate(|| async {
        let mut world = world();
        world.part_bytes = part_bytes;
        world.start("a", None)?;
        world.pass(3_000).await;
        let control = world.writers[0].control.clone();
        let before = control.calls().len();
        control.script(script.iter().cloned());
        for _ in 0..2 * script.len() {
            world.produce(3);
            world.pass(3_000).await;
        }
        world.pass(60_000).await;
        world.reap().await?;
        ensure!(world.writers[0].is_running(), "it ended: {:?}", world.writers[0].ending);
        ensure!(control.unused().is_empty(), "nothing asked for {:?}", control.unused());
        stop(&mut world, 0);
        world.settle().await?;
        Ok(control.calls().split_off(before))
    })
}

/// The calls of that operation, each with those after it about the same object. That intake is read when it is refined, is left
/// out.
fn calls_of(calls: &[Call], op: Op) -> impl Iterator<Item = (&Call, Vec<Op>)> {
    calls.iter().enumerate().filter(move |(_, call)| call.op == op).map(|(place, call)| {
        let refining = |later: &Call| later.op == Op::Get && later.path.as_ref().starts_with("intake/");
        let later = calls[place + 1..].iter().filter(move |later| later.path == call.path && !refining(later));
        (call, later.map(|later| later.op).collect())
    })
}

const LIES: [Fault; 4] = [Fault::Timeout, Fault::Unavailable, Fault::AlreadyExists, Fault::Precondition];

#[test]
fn a03_a_create_that_landed_and_lost_its_answer_is_our_own_commit() -> Result<()> {
    let calls = survives(PARTS, &LIES.map(|fault| (Op::Create, Decision::FailAfter(fault))))?;
    for (create, later) in calls_of(&calls, Op::Create).take(LIES.len()) {
        ensure!(later.first() == Some(&Op::Get), "it is not read back: {create:?}, {later:?}");
        ensure!(!later.contains(&Op::Create), "it is committed twice: {create:?}, {later:?}");
    }
    Ok(())
}

#[test]
fn a04_a_409_that_wrote_nothing_is_put_again() -> Result<()> {
    let calls = survives(PARTS, &LIES.map(|fault| (Op::Create, Decision::FailBefore(fault))))?;
    for (create, later) in calls_of(&calls, Op::Create).take(LIES.len()) {
        ensure!(later.starts_with(&[Op::Get, Op::Create]), "it is not put again: {create:?}, {later:?}");
    }
    Ok(())
}

#[test]
fn a13_slow_down_of_every_second_call_for_half_an_hour() -> Result<()> {
    simulate(|| async {
        let mut world = world();
        world.budget = 20_000;
        world.part_bytes = WHOLE;
        world.start("a", None)?;
        world.pass(10_000).await;
        world.around.weather.lock().faults = 50;
        for _ in 0..180 {
            world.produce(10);
            world.pass(10_000).await;
            world.reap().await?;
        }
        *world.around.weather.lock() = Weather::default();
        world.pass(30_000).await;
        world.oracle.follow().await?;
        ensure!(world.state()?.epoch().get() == 1 && world.writers[0].is_running(), "the writer did not last");
        world.settle().await
    })
}

/// Where the logs of all partitions end.
fn ends(world: &World) -> BTreeMap<TopicPartition, i64> {
    let cluster = world.around.cluster.lock();
    let partitions =
        cluster.alive().flat_map(|life| life.partitions.iter().enumerate().map(|each| (&life.topic, each)));
    partitions.map(|(topic, (number, held))| (topic_partition(topic, number), held.log.high_watermark())).collect()
}

/// How many offsets before these ends are not committed.
async fn backlog(world: &mut World, ends: &BTreeMap<TopicPartition, i64>) -> Result<i64> {
    world.oracle.follow().await?;
    let state = world.state()?;
    let missing = ends.iter().map(|((topic, partition), end)| {
        let lineage = state.topics.get(topic).and_then(|topic| topic.current.get(partition)).copied();
        let key = lineage.map(|lineage| PartitionKey { topic: topic.clone(), lineage, partition: *partition });
        let held = key.and_then(|key| state.position(&key)).map_or(0, |position| position.next_offset.get());
        (end - held).max(0)
    });
    Ok(missing.sum())
}

#[test]
fn a13_what_piled_up_in_half_an_hour_is_captured_three_times_as_fast_as_it_came() -> Result<()> {
    const PER_SECOND: usize = 12;
    simulate(|| async {
        let mut world = world();
        (world.budget, world.part_bytes) = (20_000, WHOLE);
        world.start("a", None)?;
        world.pass(10_000).await;
        *world.around.weather.lock() = Weather { faults: 50, latency: 400, ..Weather::default() };
        for second in 0..1_800 {
            // It ends in ten minutes without any answer.
            world.around.weather.lock().outage = second >= 1_200;
            world.produce(PER_SECOND);
            world.pass(1_000).await;
            world.reap().await?;
        }
        *world.around.weather.lock() = Weather { latency: 400, ..Weather::default() };
        let ends = ends(&world);
        let piled_up = backlog(&mut world, &ends).await?;
        ensure!(piled_up > 600 * i64::try_from(PER_SECOND)?, "only {piled_up} piled up");
        let mut seconds = 0;
        while backlog(&mut world, &ends).await? > 0 {
            ensure!(
                seconds * 3 * i64::try_from(PER_SECOND)? < piled_up,
                "after {seconds} s records of {piled_up} are missing"
            );
            world.produce(PER_SECOND);
            world.pass(1_000).await;
            world.reap().await?;
            seconds += 1;
        }
        ensure!(world.state()?.epoch().get() == 1 && world.writers[0].is_running(), "the writer did not last");
        world.settle().await
    })
}

/// Whether what became of a write whose connection broke is found out: a create is read back, an upload made again and
/// then confirmed.
fn is_found_out(op: Op, later: &[Op]) -> bool {
    match op {
        Op::Create => later.first() == Some(&Op::Get),
        Op::Put => later == [Op::Put, Op::Head],
        _ => later.iter().filter(|op| **op == Op::Complete).count() == 1 && later.last() == Some(&Op::Head),
    }
}

#[test]
fn a16_a_connection_reset_at_any_byte_of_a_request_or_before_its_answer_is_found_out() -> Result<()> {
    let writes =
        [(WHOLE, Op::Create), (WHOLE, Op::Put), (PARTS, Op::MultipartStart), (PARTS, Op::Part), (PARTS, Op::Complete)];
    for (part_bytes, op) in writes {
        // Beyond its body, the request arrived and the answer is lost.
        for byte in [0, 1].into_iter().chain((100..1_000).step_by(150)).chain([6_000]) {
            let broken = Decision::BreakBody(byte);
            let calls = survives(part_bytes, &[(op, broken.clone())]).with_context(|| format!("{op:?} {broken:?}"))?;
            let (call, later) = calls_of(&calls, op).next().context("no such call")?;
            ensure!(is_found_out(op, &later), "{broken:?} of {call:?} is followed by {later:?}");
        }
    }
    Ok(())
}

#[test]
fn a16_and_a21_broken_and_wrong_bodies_at_any_byte_are_read_again() -> Result<()> {
    for byte in (0..700).step_by(23) {
        for spoilt in [Decision::BreakBody(byte), Decision::FlipBit(byte), Decision::Truncate(byte)] {
            simulate(|| async {
                let mut world = world();
                world.start("a", None)?;
                world.pass(5_000).await;
                world.writers[0].kill().await?;
                world.start("a", None)?;
                let [first, second] = [(); 2].map(|()| (Op::Get, Decision::Pass));
                world.writers[1].control.script([first, second, (Op::Get, spoilt.clone())]);
                world.pass(30_000).await;
                world.reap().await?;
                ensure!(world.writers[1].is_running(), "it ended: {:?}", world.writers[1].ending);
                world.settle().await
            })
            .with_context(|| format!("{spoilt:?}"))?;
        }
    }
    Ok(())
}

#[test]
fn a20_a_segment_that_is_not_there_after_its_upload_is_uploaded_again() -> Result<()> {
    for (part_bytes, upload) in [(WHOLE, Op::Put), (PARTS, Op::Complete)] {
        let script = [(); 3].map(|()| (Op::Head, Decision::Stale));
        let calls = survives(part_bytes, &script)?;
        for (head, later) in calls_of(&calls, Op::Head).take(script.len()) {
            ensure!(head.path.as_ref().ends_with(".parquet"), "{head:?}");
            ensure!(later.contains(&upload) && later.last() == Some(&Op::Head), "{head:?} is followed by {later:?}");
        }
    }
    Ok(())
}
