//! Destroy deletes the backup that was named, all of it, and nothing else.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::python::run_python;
use strimzi_backup_tests::s3::S3Server;
use strimzi_backup_tests::scenario::{Scenario, numbered, tree, wait_backup};
use strimzi_backup_tests::sealing::Sealing;
use strimzi_backup_tests::streamer::Job;

use crate::prune::HOLD;

/// The UUID of the backup in a directory.
fn id(dir: &Path) -> Result<String> {
    let identity: Value = serde_json::from_slice(&std::fs::read(dir.join("backup.json"))?)?;
    Ok(identity["backup"].as_str().context("the id of a backup")?.to_owned())
}

/// Streams a topic of that name into a bucket of `server`, and returns the job and the folder of its objects.
fn stored(scenario: &Scenario, server: &S3Server, name: &str) -> Result<(Job, std::path::PathBuf)> {
    let job = scenario.job.clone().into_s3(server, name);
    scenario.client.create_topic(name, 2, &[])?;
    scenario.client.produce(name, &numbered(0..40))?;
    job.catch_up()?;
    Ok((job, server.dir_of(name)))
}

/// A backup that is destroyed while another one is beside it.
fn destroyed(name: &str, sealing: Sealing) -> Result<()> {
    let server = S3Server::start()?;
    let scenario = Scenario::shared(name)?.sealed(sealing)?;
    let (job, dir) = stored(&scenario, &server, name)?;
    let (beside, other) = stored(&scenario, &server, &format!("{name}-not"))?;
    let (backup, kept) = (id(&dir)?, tree(&other)?);

    let mut streamer = job.stream(&[])?;
    streamer.ready()?;
    let (code, _, err) = job.run(&["destroy", "--backup", &backup])?;
    ensure!(code == 1 && err.contains("a streamer lives"), "ended with {code}: {err}");
    streamer.stop()?;
    job.verify().context("nothing was deleted")?;

    let files = tree(&dir)?;
    let (code, _, err) = job.run(&["destroy", "--backup", &id(&other)?, "--stopped"])?;
    ensure!(code == 4 && err.contains(&backup), "ended with {code}: {err}");
    ensure!(tree(&dir)? == files, "it was another backup");

    std::fs::write(dir.join("notes.txt"), "not ours")?;
    let (code, out, err) = job.run(&["destroy", "--backup", &backup, "--output", "json"])?;
    ensure!(code == 0, "ended with {code}: {out}\n{err}");
    let report: Value = serde_json::from_str(&out)?;
    ensure!(report["gone"] == json!(true) && report["firstForeign"] == json!(["notes.txt"]), "{report}");
    ensure!(report["deleted"]["objects"] == json!(files.len()), "{report}\n{files:?}");
    ensure!(tree(&dir)?.len() == 1 && tree(&other)? == kept, "all of it, and nothing else");
    beside.verify()?;

    let (code, out, err) = job.run(&["destroy", "--backup", &backup])?;
    ensure!(code == 0 && out.contains("there is no backup.json"), "ended with {code}: {out}\n{err}");
    // The place is free for another one.
    job.catch_up()?;
    ensure!(id(&dir)? != backup);
    job.verify()
}

#[test]
fn the_backup_that_was_named_goes_whole_and_nothing_else_does() -> Result<()> {
    destroyed("destroyed", Sealing::Open)
}

#[test]
fn a_backup_that_is_encrypted_goes_whole_with_its_keys_and_nothing_else_does() -> Result<()> {
    destroyed("sealed-destroyed", Sealing::Key)
}

#[test]
fn a26_what_the_store_protects_is_named_and_the_backup_stays_one_until_it_goes() -> Result<()> {
    let server = S3Server::start()?;
    let scenario = Scenario::shared("protected")?;
    let (job, dir) = stored(&scenario, &server, "protected")?;
    let backup = id(&dir)?;
    let bucket = server.root_dir().join(server.bucket()).display().to_string();
    let held = tree(&dir.join("manifests"))?.into_keys().next().context("a manifest")?;
    let held = dir.join("manifests").join(held);
    let hold = |hold: &str| run_python(HOLD, &[&bucket, &held.display().to_string(), hold]);
    hold("1")?;
    let (code, out, err) = job.run(&["destroy", "--backup", &backup, "--stopped"])?;
    ensure!(code == 1 && err.contains("refuses to delete 1 objects"), "ended with {code}: {out}\n{err}");
    ensure!(err.contains("it protects them") && err.contains("manifests/0000/"), "{err}");
    ensure!(held.exists() && tree(&dir)?.len() == 2 && dir.join("backup.json").exists(), "{:?}", tree(&dir)?.keys());
    hold("0")?;
    let (code, out, err) = job.run(&["destroy", "--backup", &backup, "--stopped"])?;
    ensure!(code == 0 && tree(&dir)?.is_empty(), "ended with {code}: {out}\n{err}");
    Ok(())
}

#[test]
fn killed_in_the_midst_it_goes_on_in_a_directory() -> Result<()> {
    let scenario = Scenario::shared("unmade")?;
    scenario.client.create_topic("unmade", 1, &[])?;
    scenario.client.produce("unmade", &numbered(0..40))?;
    let dir = scenario.job.backup_dir();
    let streamer = scenario.job.stream(&[])?;
    wait_backup(&dir, "some manifests", |backup| {
        Ok(backup.log.state.head.is_some_and(|head| head.sequence.get() > 20))
    })?;
    streamer.stop()?;
    let backup = id(&dir)?;
    // As it leaves things when it is killed: what goes first is gone, and half of the log.
    for folder in ["intake", "topics", "groups", "buckets", "checkpoints"] {
        let folder = dir.join(folder);
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
    }
    for manifest in tree(&dir.join("manifests/0000"))?.into_keys().take(10) {
        std::fs::remove_file(dir.join("manifests/0000").join(manifest))?;
    }
    let (code, _, _) = scenario.job.run(&["inspect"])?;
    ensure!(code == 4, "no reader takes it for a backup: {code}");
    let (code, out, err) = scenario.job.run(&["destroy", "--backup", &backup])?;
    ensure!(code == 0 && tree(&dir)?.is_empty(), "ended with {code}: {out}\n{err}");
    Ok(())
}
