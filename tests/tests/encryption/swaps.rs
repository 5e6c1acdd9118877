//! What is exchanged, set back or changed is found and named, and nothing is restored from it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::backup::Backup;
use strimzi_backup_tests::client::ReadRecord;
use strimzi_backup_tests::kafka::KafkaBroker;
use strimzi_backup_tests::restore::Restore;
use strimzi_backup_tests::scenario::{Scenario, shared_broker, tree};
use strimzi_backup_tests::sealing::Sealing;
use strimzi_backup_tests::streamer::{Job, PATIENCE};
use strimzi_backup_tests::wait::wait_until;

use super::{encrypted, ended, files, records, refine, verified};

/// Documents of a kind that are tried, spread over all of them, the newest among them.
const TRIED: usize = 8;

/// A refined backup with several of each kind of document, and a restore of it that is done.
fn scene(name: &str) -> Result<(Scenario, PathBuf)> {
    let (scenario, key) = encrypted(name)?;
    scenario.client.create_topic(name, 1, &[])?;
    for round in 0..2_u64 {
        scenario.client.produce(name, &records(round * 40..(round + 1) * 40))?;
        refine(&scenario.job)?;
        let mut streamer = scenario.job.stream(&[])?;
        streamer.ready()?;
        ended(&scenario.job, &["snapshot", "--id", &format!("daily-{round}")], 0)?;
        streamer.stop()?;
    }
    for number in 0..2 {
        restore(&scenario, &format!("{name}-{number}"), &format!("again-{name}-{number}"))?.done()?;
    }
    scenario.job.verify()?;
    Ok((scenario, key))
}

/// A restore of the scenario's topic under another name.
fn restore(scenario: &Scenario, id: &str, target: &str) -> Result<Restore> {
    let bootstrap = shared_broker()?.bootstrap();
    let topic = scenario.job.document()["topics"]["include"][0].as_str().context("a pattern")?;
    let topic = topic.trim_end_matches(".*").to_owned();
    Ok(Restore::new(scenario.dir(), id, &scenario.job, &bootstrap).mapped(&topic, target))
}

/// Some of the files of a folder, in order.
fn some(folder: &Path) -> Result<Vec<PathBuf>> {
    let all = files(folder)?;
    ensure!(all.len() > 1, "{} has too few objects to exchange: {all:?}", folder.display());
    let step = all.len().div_ceil(TRIED);
    let spread = all.iter().rev().step_by(step).rev();
    Ok(spread.cloned().collect())
}

/// Puts other bytes in the place of an object for as long as `check` runs.
fn replaced(path: &Path, bytes: &[u8], check: impl FnOnce() -> Result<()>) -> Result<()> {
    let original = std::fs::read(path)?;
    std::fs::write(path, bytes)?;
    let checked = check().with_context(|| format!("{} was replaced", path.display()));
    std::fs::write(path, original)?;
    checked
}

/// The objects that findings of a report name.
fn found(report: &Value) -> BTreeSet<String> {
    let findings = report["findings"].as_array().into_iter().flatten();
    findings.filter_map(|finding| finding["object"].as_str().map(str::to_owned)).collect()
}

/// The key of an object below the prefix.
fn object(scenario: &Scenario, path: &Path) -> Result<String> {
    Ok(path.strip_prefix(scenario.job.backup_dir())?.display().to_string())
}

#[test]
fn a35_and_a59_each_document_replaced_by_another_of_its_kind_is_named_and_a_checkpoint_is_done_without() -> Result<()> {
    let (scenario, _) = scene("swapped")?;
    let dir = scenario.job.backup_dir();
    let before = tree(&dir)?;
    let listed = || -> Result<BTreeSet<String>> {
        let (out, _) = ended(&scenario.job, &["segments", "--output", "json"], 0)?;
        let entries: Vec<Value> = serde_json::from_str(&out)?;
        Ok(entries.iter().map(Value::to_string).collect())
    };
    let segments = listed()?;
    for folder in ["manifests/0000", "checkpoints/0000", "snapshots"] {
        let some = some(&dir.join(folder))?;
        let older = some.iter().zip(some.iter().skip(1)).map(|(older, place)| (place, older));
        let newer = some.iter().zip(some.iter().skip(1));
        for (place, other) in older.chain(newer) {
            let key = object(&scenario, place)?;
            replaced(place, &std::fs::read(other)?, || {
                let report = verified(&scenario.job, "1", 4)?;
                ensure!(found(&report).contains(&key), "{key} is not named: {report}");
                // The log says without any of them which segments there are.
                ensure!(!folder.starts_with("checkpoints") || listed()? == segments, "other segments without {key}");
                Ok(())
            })?;
        }
    }
    // What restores keep, who lists them reads.
    for name in ["plan.json", "report.json"] {
        let [first, second] = [0, 1].map(|number| dir.join(format!("restores/swapped-{number}/{name}")));
        replaced(&first, &std::fs::read(&second)?, || {
            let (out, _) = ended(&scenario.job, &["restores"], 4)?;
            ensure!(out.contains(&format!("restores/swapped-0/{name} is damaged")), "{out}");
            let (code, _, err) = restore(&scenario, "swapped-0", "again-swapped-0")?.run(&[])?;
            ensure!(code == 4 && err.contains(&format!("restores/swapped-0/{name}")), "ended with {code}: {err}");
            Ok(())
        })?;
    }
    // What a restore up to a snapshot goes by.
    let [first, second] = [0, 1].map(|number| dir.join(format!("snapshots/daily-{number}.json")));
    replaced(&first, &std::fs::read(&second)?, || {
        let at_snapshot = restore(&scenario, "at-daily", "at-daily")?.set("backupId", json!("daily-0"));
        let (code, _, err) = at_snapshot.run(&[])?;
        ensure!(code == 4 && err.contains("snapshots/daily-0.json"), "ended with {code}: {err}");
        ensure!(scenario.client.partition_count("at-daily")? == 0, "nothing is restored from it");
        Ok(())
    })?;
    ensure!(tree(&dir)? == before);
    scenario.job.verify()
}

#[test]
fn a35_a_document_of_another_backup_or_in_the_clear_or_with_another_byte_is_named() -> Result<()> {
    let (scenario, _) = scene("foreign")?;
    let (other, _) = scene("stranger")?;
    let open = Scenario::shared("naked")?;
    open.client.create_topic("naked", 1, &[])?;
    open.client.produce("naked", &records(0..5))?;
    open.job.catch_up()?;
    let manifest = "manifests/0000/00000000000000000002.json.zst";
    let place = scenario.job.backup_dir().join(manifest);
    let mut changed = Vec::new();
    // The same key sealed it, for another backup; or nobody did.
    for stranger in [&other, &open] {
        changed.push(std::fs::read(stranger.job.backup_dir().join(manifest))?);
    }
    let whole = std::fs::read(&place)?;
    for at in (0..whole.len()).step_by(whole.len().div_ceil(6)) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        changed.push(bytes);
    }
    changed.push(whole[..whole.len() - 1].to_vec());
    for bytes in changed {
        replaced(&place, &bytes, || {
            let report = verified(&scenario.job, "1", 4)?;
            ensure!(found(&report).contains(manifest), "{report}");
            Ok(())
        })?;
    }
    // Of the newest nobody else has the digest.
    let newest = some(&scenario.job.backup_dir().join("manifests/0000"))?.pop().context("a manifest")?;
    let mut bytes = std::fs::read(&newest)?;
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    replaced(&newest, &bytes, || {
        ended(&scenario.job, &["stream", "--until-caught-up"], 4)?;
        let (code, _, err) = restore(&scenario, "from-newest", "never")?.run(&[])?;
        ensure!(code == 4 && err.contains("manifests/0000/"), "ended with {code}: {err}");
        ensure!(scenario.client.partition_count("never")? == 0, "nothing is restored from it");
        Ok(())
    })
}

/// All of a backup but what says that its store can be written to.
fn backup_of(job: &Job) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut objects = tree(&job.backup_dir())?;
    objects.retain(|path, _| !path.starts_with("probe"));
    Ok(objects)
}

#[test]
fn a35_an_identity_of_another_backup_or_of_one_in_the_clear_opens_nothing_and_nothing_is_written() -> Result<()> {
    let named = |name: &str, sealing: Sealing| -> Result<Scenario> {
        let scenario = Scenario::shared(name)?.sealed(sealing)?;
        scenario.client.create_topic(name, 1, &[])?;
        scenario.client.produce(name, &records(0..5))?;
        scenario.job.catch_up()?;
        Ok(scenario)
    };
    let scenario = named("renamed", Sealing::Key)?;
    // Under the same master key.
    let (other, open) = (named("other-identity", Sealing::Key)?, named("open-identity", Sealing::Open)?);
    let identity = |scenario: &Scenario| scenario.job.backup_dir().join("backup.json");
    let keyless = scenario.job.clone().set("/backup/encryption", json!({"enabled": false}));
    let before = backup_of(&scenario.job)?;
    replaced(&identity(&scenario), &std::fs::read(identity(&other))?, || {
        for command in [&["stream", "--until-caught-up"][..], &["inspect"], &["verify"], &["segments"], &["prune"]] {
            let (_, err) = ended(&scenario.job, command, 4)?;
            ensure!(err.contains("keys/0000-0000.json is of backup"), "{command:?}: {err}");
        }
        Ok(())
    })?;
    replaced(&identity(&scenario), &std::fs::read(identity(&open))?, || {
        let (_, err) = ended(&scenario.job, &["stream", "--until-caught-up"], 2)?;
        ensure!(err.contains("is not encrypted"), "{err}");
        for command in [&["stream", "--until-caught-up"][..], &["inspect"], &["segments"], &["prune"]] {
            let (_, err) = ended(&keyless, command, 4)?;
            ensure!(err.contains("read without a key"), "{command:?}: {err}");
        }
        let report = verified(&keyless, "1", 4)?;
        ensure!(found(&report).iter().any(|object| object.starts_with("manifests/0000/")), "{report}");
        Ok(())
    })?;
    ensure!(backup_of(&scenario.job)? == before, "something was written");
    scenario.job.verify()
}

/// Exchanges two objects.
fn exchange(one: &Path, other: &Path) -> Result<()> {
    let bytes = [std::fs::read(one)?, std::fs::read(other)?];
    std::fs::write(one, &bytes[1])?;
    Ok(std::fs::write(other, &bytes[0])?)
}

/// How many records of a topic are at the target; insists that they are the first of the source.
fn prefix(source: &[ReadRecord], target: &[ReadRecord]) -> Result<usize> {
    for (source, target) in source.iter().zip(target) {
        let same = (&source.key, &source.value, &source.headers, source.partition)
            == (&target.key, &target.value, &target.headers, target.partition);
        ensure!(same, "a record that is not the source's: {target:?}");
    }
    ensure!(target.len() <= source.len());
    Ok(target.len())
}

#[test]
fn a35_each_segment_that_is_exchanged_with_another_is_named_and_nothing_is_restored_from_it() -> Result<()> {
    let (scenario, key) = scene("exchanged")?;
    let topic = "exchanged";
    let dir = scenario.job.backup_dir();
    let mut live: Vec<String> = Backup::open_with_key(&dir, &key)?.objects()?;
    live.sort();
    ensure!(live.len() > 1, "{live:?}");
    let source = scenario.client.read_all(topic)?;
    for (number, pair) in live.windows(2).enumerate() {
        let [one, other] = [dir.join(&pair[0]), dir.join(&pair[1])];
        exchange(&one, &other)?;
        for level in ["2", "3"] {
            let report = verified(&scenario.job, level, 4)?;
            let named = found(&report);
            ensure!(pair.iter().all(|object| named.contains(object)), "{pair:?}: {report}");
        }
        // Without any digest, too: each is bound to its key in the store.
        let (out, _) = ended(&scenario.job, &["salvage", "--output", "json"], 0)?;
        let salvage: Value = serde_json::from_str(&out)?;
        let unreadable = salvage["unreadable"].as_array().into_iter().flatten();
        let unreadable: BTreeSet<&str> = unreadable.filter_map(|one| one["object"].as_str()).collect();
        ensure!(pair.iter().all(|object| unreadable.contains(object.as_str())), "{pair:?}: {salvage}");
        let target = format!("from-{topic}-{number}");
        let (code, _, err) = restore(&scenario, &target, &target)?.run(&[])?;
        ensure!(code == 4 && pair.iter().any(|object| err.contains(object)), "ended with {code}: {err}");
        if scenario.client.partition_count(&target)? > 0 {
            let restored = prefix(&source, &scenario.client.read_all(&target)?)?;
            ensure!(restored < source.len(), "all of it");
        }
        let (_, err) = ended(&scenario.job, &["export", "--topic", topic], 4)?;
        ensure!(pair.iter().any(|object| err.contains(object)), "{err}");
        exchange(&one, &other)?;
    }
    scenario.job.verify()
}

#[test]
fn a35_files_of_consumer_groups_that_are_exchanged_are_named_and_no_offset_is_told_from_them() -> Result<()> {
    let broker = KafkaBroker::start()?;
    let scenario = Scenario::on(&broker, "billed")?.sealed(Sealing::Key)?;
    let (job, dir) = (&scenario.job, scenario.job.backup_dir());
    scenario.client.create_topic("billed", 1, &[])?;
    scenario.client.produce("billed", &records(0..5))?;
    // An image of the first offset, and the others in files behind it.
    for offset in 1..=3 {
        scenario.client.commit_offsets("billing", &[("billed", 0, offset)])?;
        wait_until("the offset to be covered", PATIENCE, || {
            job.catch_up()?;
            let (code, out, _) = job.run(&["groups", "--group", "billing"])?;
            Ok(code == 0 && out.contains(&format!("billed-0: {offset}")))
        })?;
    }
    let backup = scenario.backup()?;
    let image = backup.log.state.group_images.last().context("an image")?.image.object.to_string();
    let mut files = backup.files()?;
    files.retain(|object| object.starts_with("groups/") && *object != image);
    ensure!(files.len() > 1, "{files:?}");
    files.insert(0, image.clone());
    for (number, one) in files.iter().enumerate() {
        for other in &files[number + 1..] {
            exchange(&dir.join(one), &dir.join(other))?;
            for level in ["2", "3"] {
                let named = found(&verified(job, level, 4)?);
                ensure!([one, other].iter().all(|object| named.contains(*object)), "{one}, {other}: {named:?}");
            }
            // Files behind an image may be of an hour whose end is another image.
            if *one == image {
                let (out, err) = ended(job, &["groups"], 4)?;
                ensure!(err.contains(&image) && !out.contains("billed-0"), "{out}{err}");
            }
            exchange(&dir.join(one), &dir.join(other))?;
        }
    }
    job.verify()
}
