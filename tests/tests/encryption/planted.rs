//! Nothing of what was planted in Kafka is in the store, after all that a backup lives through.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use strimzi_backup_tests::client::{GroupProtocol, Record};
use strimzi_backup_tests::kafka::KafkaBroker;
use strimzi_backup_tests::past;
use strimzi_backup_tests::restore::{Restore, same_but_offsets};
use strimzi_backup_tests::scenario::{Scenario, now};
use strimzi_backup_tests::sealing::Sealing;
use strimzi_backup_tests::streamer::{Job, PATIENCE};
use strimzi_backup_tests::wait::wait_until;

use super::seen::Wanted;
use super::{ended, files, records};

const TOPIC: &str = "planted-topic-of-orders";
/// As long as Kafka keeps it: 995 years, in no other number.
const RETENTION_MS: &str = "31415926535897";
const KEY: &str = "planted-key-of-a-record";
const VALUE: &str = "planted-value-of-a-record";
const HEADER: &str = "planted-name-of-a-header";
const HEADER_VALUE: &str = "planted-value-of-a-header";
/// A compacted topic, of which a base is made.
const TABLE: &str = "planted-table-of-accounts";
const TABLE_KEY: &str = "planted-key-of-an-account";
const TABLE_VALUE: &str = "planted-value-of-an-account";
const GROUP: &str = "planted-group-of-billing";
const METADATA: &str = "planted-metadata-of-an-offset";
const MEMBERS: &str = "planted-group-of-members";
const CLIENT: &str = "planted-id-of-a-client";
const RESTORED: &str = "restored-as-planted-orders";
const RESTORED_TABLE: &str = "restored-as-planted-accounts";

/// What a backup in the clear shows.
const SHOWN: [&str; 15] = [
    TOPIC,
    "retention.ms",
    RETENTION_MS,
    KEY,
    VALUE,
    HEADER,
    HEADER_VALUE,
    TABLE,
    TABLE_KEY,
    TABLE_VALUE,
    GROUP,
    METADATA,
    MEMBERS,
    RESTORED,
    RESTORED_TABLE,
];

const DAY: i64 = 86_400_000;
const HOUR: i64 = 3_600_000;

/// So that Kafka compacts nothing itself.
const A_YEAR: &str = "31536000000";

/// Records with everything that must not be seen, and enough noise that they are refined.
fn orders() -> Vec<Record> {
    let named = (0..20).map(|n| {
        Record::new(format!("{KEY}-{n}"), format!("{VALUE}-{n}")).header(HEADER, Some(HEADER_VALUE.as_bytes()))
    });
    named.map(|record| record.partition(0)).chain(records(0..40)).collect()
}

/// The accounts as they were written forty days ago, in three hours.
fn accounts() -> Result<Vec<Record>> {
    let now = now()?;
    let of_hour = |hour: i64| {
        let account = move |n: i64| Record::new(format!("{TABLE_KEY}-{n}"), format!("{TABLE_VALUE}-{hour}-{n}"));
        (0..20).map(move |n| account(n).partition(0).timestamp(now - 40 * DAY - (3 - hour) * HOUR + n))
    };
    Ok((0..3).flat_map(of_hour).collect())
}

/// A scenario whose backup has everything: it was begun forty days ago, is refined and sealed, has retired what a base stands for, has
/// offsets of groups and a snapshot, and was restored.
fn lived(broker: &KafkaBroker, sealing: Sealing, compression: &str) -> Result<Scenario> {
    let mut scenario = Scenario::on(broker, "planted")?.sealed(sealing)?;
    scenario.job = scenario.job.set("/backup/compression", json!(compression));
    let client = &scenario.client;
    client.create_topic(TOPIC, 1, &[("retention.ms", RETENTION_MS)])?;
    let whole = [("cleanup.policy", "compact"), ("segment.ms", A_YEAR), ("min.compaction.lag.ms", A_YEAR)];
    client.create_topic(TABLE, 1, &whole)?;
    client.produce(TABLE, &accounts()?)?;
    wait_until("a window", PATIENCE, || {
        scenario.job.catch_up()?;
        Ok(scenario.backup()?.log.state.complete_since.is_some())
    })?;
    past::move_back_of(&scenario.job, 40 * DAY)?;
    client.produce(TOPIC, &orders())?;
    client.commit_with_metadata(GROUP, (TOPIC, 0, 7), METADATA)?;
    client.clone().property("client.id", CLIENT).member(MEMBERS, GroupProtocol::Classic, TOPIC)?.read(30)?;
    // All of it comes to intake before any is refined: a rest may be too little.
    scenario.job.catch_up()?;
    let keeping = scenario.job.clone().set("/retention", json!({"maxAge": "30d", "gracePeriod": "0s"}));
    kept_up(&scenario, &keeping.set("/backup/refineBytes", json!("64Ki")))?;
    snapshot_and_groups(&scenario.job)?;
    let restore = Restore::new(scenario.dir(), "drill", &scenario.job, &broker.bootstrap());
    restore.mapped(TOPIC, RESTORED).mapped(TABLE, RESTORED_TABLE).done()?;
    same_but_offsets(&client.read_all(TOPIC)?, &client.read_all(RESTORED)?)?;
    ended(&scenario.job, &["verify", "--level", "3"], 0)?;
    Ok(scenario)
}

/// Streams until all is refined, the hours of then are listed and a base stands for them.
fn kept_up(scenario: &Scenario, job: &Job) -> Result<()> {
    let mut streamer = job.stream(&[])?;
    streamer.ready()?;
    let done = scenario.wait_backup("a base, and nothing in intake", |backup| {
        let (objects, state) = (backup.objects()?, &backup.log.state);
        let is_listed = backup.log.tail.iter().all(|manifest| manifest.retired.is_none());
        let is_based = objects.iter().any(|object| object.starts_with("base/"));
        let is_refined = objects.iter().all(|object| !object.starts_with("intake/"));
        Ok(state.retired.is_some() && is_listed && is_based && is_refined && backup.rows(TOPIC, 0) == 60)
    });
    done.with_context(|| streamer.process.tail())?;
    streamer.stop()
}

/// Streams until the offsets of both groups are held; a snapshot is taken meanwhile.
fn snapshot_and_groups(job: &Job) -> Result<()> {
    let mut streamer = job.stream(&[])?;
    streamer.ready()?;
    ended(job, &["snapshot", "--id", "before-upgrade"], 0)?;
    for (group, offset) in [(GROUP, 7), (MEMBERS, 30)] {
        wait_until("the groups to be covered", PATIENCE, || {
            let (code, out, _) = job.run(&["groups", "--group", group])?;
            Ok(code == 0 && out.contains(&format!("{TOPIC}-0: {offset}")))
        })?;
    }
    streamer.stop()
}

#[test]
fn a33_nothing_of_a_record_and_nothing_about_it_is_in_the_store() -> Result<()> {
    let broker = KafkaBroker::start()?;
    // Pages as they are: nothing is hidden by being small.
    let scenario = lived(&broker, Sealing::Key, "none")?;
    let dir = scenario.job.backup_dir();
    let stored = files(&dir)?;
    let folders = "backup.json manifests checkpoints buckets snapshots restores intake topics base groups keys";
    for folder in folders.split(' ') {
        let is_there = |path: &std::path::PathBuf| path.starts_with(dir.join(folder));
        ensure!(stored.iter().any(is_there), "there is no {folder}, and so nothing was tried");
    }
    let wanted = Wanted::texts(&[&SHOWN[..], &[CLIENT]].concat())?;
    let seen = wanted.seen_below(&dir)?;
    ensure!(seen.is_empty(), "{seen:?}");
    Sealing::Key.check(&dir)
}

/// That it would have been seen, also in what is compressed.
#[test]
fn what_was_planted_is_seen_in_a_backup_in_the_clear() -> Result<()> {
    let broker = KafkaBroker::start()?;
    let scenario = lived(&broker, Sealing::Open, "zstd")?;
    let wanted = Wanted::texts(&SHOWN)?;
    let seen: BTreeSet<&str> = wanted.seen_below(&scenario.job.backup_dir())?.into_keys().collect();
    ensure!(
        seen == BTreeSet::from(SHOWN),
        "not looked for as it should be: {:?}",
        BTreeSet::from(SHOWN).difference(&seen)
    );
    Ok(())
}
