//! Restores that are killed, stopped, or started twice: they go on where they were, and nothing is there twice.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use strimzi_backup_tests::client::{ReadRecord, Record};
use strimzi_backup_tests::restore::{Restore, same_but_offsets};
use strimzi_backup_tests::scenario::{Scenario, noise, shared_broker};
use strimzi_backup_tests::sealing::Sealing;
use strimzi_backup_tests::streamer::PATIENCE;
use strimzi_backup_tests::wait::{wait_for, wait_until};

use super::{begun, overrides};

/// Set to repeat the moments of a run.
const SEED_VARIABLE: &str = "STRIMZI_BACKUP_SEED";

/// How often to kill; `make soak` sets more.
const KILLS_VARIABLE: &str = "STRIMZI_BACKUP_KILLS";
const KILLS: usize = 100;

/// The same where the backup is encrypted: what is killed is the same program.
const KILLS_SEALED: usize = 15;

/// A restore is killed within this time, in milliseconds: half of them after their start, whatever they are at, and half after
/// the first commit of that start.
const KILLED_WITHIN: std::ops::Range<u64> = 0..1000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// How often to kill, where nothing else was asked for.
fn kills(usual: usize) -> Result<usize> {
    Ok(number(KILLS_VARIABLE).map_or(Ok(usual), usize::try_from)?)
}

/// What the topics have set on themselves. All of it is set otherwise while they are restored; no record that is here goes by it.
const PLAIN_SETTINGS: [(&str, &str); 2] = [("retention.bytes", "1000000000"), ("retention.ms", "864000000")];
const TRANSACTIONS_SETTINGS: [(&str, &str); 2] =
    [("cleanup.policy", "compact"), ("message.timestamp.type", "LogAppendTime")];

/// Plain records of three partitions, and transactions of which every third was aborted.
fn fill(scenario: &Scenario, plain: &str, transactions: &str) -> Result<()> {
    scenario.client.create_topic(plain, 3, &PLAIN_SETTINGS)?;
    scenario.client.create_topic(transactions, 2, &TRANSACTIONS_SETTINGS)?;
    let record = |number: u64| {
        let size = usize::try_from(number % 900).unwrap_or(0);
        let partition = i32::try_from(number % 3).unwrap_or(0);
        Record::new(format!("{number}"), noise(number, size)).partition(partition).header("n", None)
    };
    scenario.client.produce(plain, &(0..6_000).map(record).collect::<Vec<_>>())?;
    let producer = scenario.client.transactional_producer(transactions)?;
    for number in 0..60 {
        producer.begin()?;
        for record in 0..20 {
            producer.send(transactions, &Record::new(format!("{number}-{record}"), noise(number, 300)))?;
        }
        if number % 3 == 0 { producer.abort()? } else { producer.commit()? }
    }
    Ok(())
}

/// Insists that exactly these settings are set on a topic itself.
fn is_set(scenario: &Scenario, topic: &str, settings: [(&str, &str); 2]) -> Result<()> {
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let found = overrides(&scenario.job, topic)?;
    ensure!(found == BTreeMap::from(settings), "{topic} has {found:?}");
    Ok(())
}

/// Restores of two topics whose names begin with `name`, until so many of them were killed.
fn killed_at_random_moments(name: &str, sealing: Sealing, kills: usize) -> Result<()> {
    let mut scenario = Scenario::shared(name)?.sealed(sealing)?;
    scenario.job = scenario.job.set("/backup/topicSegmentBytes", json!("64Ki"));
    let topics = ["plain", "tx"].map(|kind| format!("{name}-{kind}"));
    fill(&scenario, &topics[0], &topics[1])?;
    scenario.job.catch_up()?;
    let source = [scenario.client.read_all(&topics[0])?, scenario.client.read_all(&topics[1])?];
    let seed = number(SEED_VARIABLE).unwrap_or(u64::from(SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos()));
    println!("the moments of this run: {SEED_VARIABLE}={seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    let (mut killed, mut restores, mut killed_with) = (0, 0, BTreeSet::new());
    while killed < kills {
        restores += 1;
        let restore = Numbered { scenario: &scenario, name, topics: &topics, number: restores };
        killed += restore.killed_again_and_again(kills - killed, &mut dice, &mut killed_with)?;
        for (topic, source) in topics.iter().zip(&source) {
            let target = scenario.client.read_all(&format!("{topic}-{restores}"))?;
            same_but_offsets(source, &target).with_context(|| format!("{topic}, restore {restores}"))?;
        }
        is_set(&scenario, &format!("{}-{restores}", topics[0]), PLAIN_SETTINGS)?;
        is_set(&scenario, &format!("{}-{restores}", topics[1]), TRANSACTIONS_SETTINGS)?;
    }
    let records: usize = source.iter().map(Vec::len).sum();
    println!("{records} records equal in each of {restores} restores after {killed} kills");
    ensure!(killed_with.len() > kills / 10, "kills hit {} states of progress only", killed_with.len());
    sealing.check(&scenario.job.backup_dir())
}

#[test]
fn a67_a_hundred_kills_at_random_moments_lose_nothing_and_double_nothing() -> Result<()> {
    killed_at_random_moments("a67", Sealing::Open, kills(KILLS)?)
}

#[test]
fn a67_kills_at_random_moments_of_restores_of_an_encrypted_backup_lose_nothing_and_double_nothing() -> Result<()> {
    killed_at_random_moments("sealed-a67", Sealing::Key, kills(KILLS_SEALED)?)
}

/// How many offsets of a topic are committed; 0 where it is not there. Leaders of a topic that was created this moment may not
/// know yet that they are.
fn committed(scenario: &Scenario, topic: &str) -> Result<i64> {
    let ends = || -> Result<i64> {
        let partitions = i32::try_from(scenario.client.partition_count(topic)?)?;
        (0..partitions).map(|partition| Ok(scenario.client.watermarks(topic, partition)?.1)).sum()
    };
    wait_for(&format!("the ends of {topic}"), PATIENCE, || Ok(ends().ok()))
}

/// One of several restores of the same topics.
struct Numbered<'a> {
    scenario: &'a Scenario,
    name: &'a str,
    topics: &'a [String; 2],
    number: usize,
}

impl Numbered<'_> {
    /// Starts it and kills it until it comes to its end; does not kill it any more after `most` times. Gives the kills, and notes what
    /// was committed at the target when it was killed.
    fn killed_again_and_again(
        &self,
        most: usize,
        dice: &mut StdRng,
        killed_with: &mut BTreeSet<(usize, i64)>,
    ) -> Result<usize> {
        let Self { scenario, name, topics, number } = self;
        let mut restore =
            Restore::new(scenario.dir(), &format!("{name}-{number}"), &scenario.job, &shared_broker()?.bootstrap())
                .set("throttle", json!("512Ki"))
                .set("parallelism", json!(dice.random_range(1..5)));
        for topic in *topics {
            restore = restore.mapped(topic, &format!("{topic}-{number}"));
        }
        // The documents of earlier restores of the same topics are theirs; only the source topics are backed up.
        restore = restore.set("topics", json!({"include": topics}));
        let target = format!("{}-{number}", topics[0]);
        let mut kills = 0;
        loop {
            let mut process = restore.start()?;
            if kills < most {
                if dice.random() {
                    let before = committed(scenario, &target)?;
                    wait_until("a commit, or the end", PATIENCE, || {
                        Ok(!process.is_running() || committed(scenario, &target)? > before)
                    })?;
                }
                // The random moment itself.
                thread::sleep(Duration::from_millis(dice.random_range(KILLED_WITHIN)));
                if process.is_running() {
                    process.kill_9()?;
                    kills += 1;
                    killed_with.insert((*number, committed(scenario, &target)?));
                    continue;
                }
            }
            let status = process.wait(PATIENCE)?;
            ensure!(status.success(), "the restore ended with {status}\n{}", process.tail());
            return Ok(kills);
        }
    }
}

/// Values in the order in which they were written, of each partition.
fn values(records: &[ReadRecord]) -> Vec<(i32, Option<Vec<u8>>)> {
    records.iter().map(|record| (record.partition, record.value.clone())).collect()
}

/// A restore that is stopped, goes on, and is started once more when it is done.
fn stopped_and_done(name: &str, sealing: Sealing) -> Result<()> {
    let scenario = Scenario::shared(name)?.sealed(sealing)?;
    let [plain, transactions] = ["plain", "tx"].map(|kind| format!("{name}-{kind}"));
    fill(&scenario, &plain, &transactions)?;
    scenario.job.catch_up()?;
    let [restored, restored_transactions] = ["restored", "tx-restored"].map(|kind| format!("{name}-{kind}"));
    let restore = Restore::new(scenario.dir(), name, &scenario.job, &shared_broker()?.bootstrap())
        .set("throttle", json!("512Ki"))
        .mapped(&plain, &restored)
        .mapped(&transactions, &restored_transactions);
    let mut process = restore.start()?;
    begun(&scenario.client, &restored)?;
    process.sigterm()?;
    let status = process.wait(PATIENCE)?;
    ensure!(status.code() == Some(1), "stopped: {status}\n{}", process.tail());
    // While records are missing, none that are there may go by their age.
    assert_eq!(overrides(&scenario.job, &restored)?["retention.ms"], "-1");
    assert_eq!(overrides(&scenario.job, &restored_transactions)?["cleanup.policy"], "delete");
    let faster = restore.set("throttle", json!("1Ti"));
    let report = faster.done()?;
    let (source, target) = (scenario.client.read_all(&plain)?, scenario.client.read_all(&restored)?);
    same_but_offsets(&source, &target)?;
    assert_eq!(values(&source), values(&target));
    is_set(&scenario, &restored, PLAIN_SETTINGS)?;
    is_set(&scenario, &restored_transactions, TRANSACTIONS_SETTINGS)?;
    // Once more: nothing is written, and the same report is shown.
    assert_eq!(faster.done()?, report);
    assert_eq!(scenario.client.read_all(&restored)?, target);
    sealing.check(&scenario.job.backup_dir())
}

#[test]
fn a67_a_restore_that_is_stopped_goes_on_and_one_that_is_done_is_not_repeated() -> Result<()> {
    stopped_and_done("stop", Sealing::Open)
}

#[test]
fn a67_a_restore_of_an_encrypted_backup_that_is_stopped_goes_on_and_one_that_is_done_is_not_repeated() -> Result<()> {
    stopped_and_done("sealed-stop", Sealing::Key)
}

#[test]
fn a_second_start_of_the_same_restore_fences_the_first() -> Result<()> {
    let scenario = Scenario::shared("fence")?;
    fill(&scenario, "fence-plain", "fence-tx")?;
    scenario.job.catch_up()?;
    let restore = Restore::new(scenario.dir(), "fence", &scenario.job, &shared_broker()?.bootstrap())
        .set("throttle", json!("512Ki"))
        .mapped("fence-plain", "fence-restored")
        .mapped("fence-tx", "fence-tx-restored");
    let mut first = restore.start()?;
    begun(&scenario.client, "fence-restored")?;
    restore.clone().set("throttle", json!("1Ti")).done()?;
    let status = first.wait(PATIENCE)?;
    ensure!(status.code() == Some(3), "the first one ended with {status}\n{}", first.tail());
    same_but_offsets(&scenario.client.read_all("fence-plain")?, &scenario.client.read_all("fence-restored")?)?;
    Ok(())
}
