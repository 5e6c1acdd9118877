//! No command prints a key, however it ends and whatever is logged, but the one that is asked for keys.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::backup::Backup;
use strimzi_backup_tests::http;
use strimzi_backup_tests::kafka::KafkaBroker;
use strimzi_backup_tests::restore::Restore;
use strimzi_backup_tests::scenario::{Scenario, flip};
use strimzi_backup_tests::streamer::{Job, PATIENCE};
use strimzi_backup_tests::wait::wait_until;

use super::seen::Wanted;
use super::{ended, files, key, records, with};

const TOPIC: &str = "keys-shown";
const GROUP: &str = "keys-shown-group";

/// The numbers of the master key and of another one. Records are of lower ones, and begin as keys of theirs would.
const MASTER: u64 = 1001;
const ANOTHER: u64 = 1007;

/// All that the program itself and its Parquet library can log.
const LOGGED: &str =
    "info,strimzi_backup=trace,strimzi_backup_streamer=trace,strimzi_backup_format=trace,parquet=trace";

/// What commands have printed, each with what it is.
type Printed = Vec<(String, String)>;

/// What a command prints, which must end with a code.
fn run(job: &Job, arguments: &[&str], code: i32, printed: &mut Printed) -> Result<()> {
    let (out, err) = ended(job, arguments, code)?;
    printed.extend([(format!("output of {arguments:?}"), out), (format!("log of {arguments:?}"), err)]);
    Ok(())
}

/// What a restore prints.
fn restore(scenario: &Scenario, job: &Job, arguments: &[&str], code: i32, printed: &mut Printed) -> Result<()> {
    let restore = Restore::new(scenario.dir(), "shown", job, job.bootstrap()?);
    let (ended, out, err) = restore.mapped(TOPIC, "not-shown").run(arguments)?;
    ensure!(ended == code, "restore {arguments:?} ended with {ended}, not {code}\n{out}\n{err}");
    printed.extend([(format!("output of restore {arguments:?}"), out), (format!("log of restore {arguments:?}"), err)]);
    Ok(())
}

/// What a streamer serves and logs, with a snapshot while it runs.
fn streamed(job: &Job, printed: &mut Printed) -> Result<()> {
    let mut streamer = job.stream(&[])?;
    streamer.ready()?;
    run(job, &["snapshot", "--id", "daily", "--output", "json"], 0, printed)?;
    wait_until("the groups to be covered", PATIENCE, || {
        let (code, out, _) = job.run(&["groups", "--group", GROUP])?;
        Ok(code == 0 && out.contains(&format!("{TOPIC}-0: 5")))
    })?;
    let address = streamer.http()?;
    for path in ["/metrics", "/readyz", "/livez"] {
        printed.push((path.to_owned(), http::get(&address, path)?.body));
    }
    streamer.process.sigterm()?;
    ensure!(streamer.exit_code()? == 0, "{}", streamer.process.tail());
    let (out, err) = (streamer.process.stdout(), streamer.process.stderr());
    ensure!(err.contains("TRACE") || err.contains("DEBUG"), "nothing but what is always logged:\n{err}");
    printed.extend([("output of stream".to_owned(), out), ("log of stream".to_owned(), err)]);
    Ok(())
}

/// Every command that reads or writes a backup, in both forms.
fn all_commands(scenario: &Scenario, job: &Job, printed: &mut Printed) -> Result<()> {
    let summary = scenario.dir().join("summary.json");
    let file = summary.display().to_string();
    for output in ["text", "json"] {
        for command in ["inspect", "segments", "groups", "restores", "salvage", "rekey", "verify", "prune"] {
            run(job, &[command, "--output", output], 0, printed)?;
        }
        run(job, &["prune", "--dry-run", "--output", output], 0, printed)?;
        restore(scenario, job, &["--plan-only", "--output", output], 0, printed)?;
    }
    run(job, &["verify", "--level", "3", "--summary-file", &file], 0, printed)?;
    printed.push(("the summary of verify".to_owned(), std::fs::read_to_string(&summary)?));
    run(job, &["export", "--topic", TOPIC], 0, printed)?;
    restore(scenario, job, &["--output", "json"], 0, printed)?;
    run(job, &["restores", "--output", "json"], 0, printed)
}

/// What is told where a key is another, is none or is missing, and of an object that was changed.
fn failures(scenario: &Scenario, job: &Job, printed: &mut Printed) -> Result<()> {
    let half = scenario.dir().join("half");
    std::fs::write(&half, &std::fs::read(key(scenario, MASTER)?)?[..16])?;
    let keys = [key(scenario, ANOTHER)?, half, scenario.dir().join("no-key")];
    for path in &keys {
        let wrong = with(job, &[path]);
        for command in [&["stream", "--until-caught-up"][..], &["inspect"], &["verify"], &["rekey"], &["segments"]] {
            run(&wrong, command, 2, printed)?;
        }
        restore(scenario, &wrong, &[], 2, printed)?;
    }
    let keyless = job.clone().set("/backup/encryption", json!({"enabled": false}));
    run(&keyless, &["inspect"], 2, printed)?;
    let dir = job.backup_dir();
    let newest = |folder: &str| files(&dir.join(folder))?.pop().with_context(|| format!("nothing lies below {folder}"));
    // One that is read, wherever it lies: an hour that ends meanwhile is refined.
    let segment = Backup::open_with_key(&dir, &key(scenario, MASTER)?)?.objects()?.pop().context("no segment")?;
    let objects = [(newest("keys")?, "inspect"), (newest("manifests")?, "inspect"), (dir.join(segment), "export")];
    for (path, command) in objects {
        let whole = std::fs::read(&path)?;
        flip(&path)?;
        let arguments: &[&str] = if command == "export" { &["export", "--topic", TOPIC] } else { &[command] };
        run(job, arguments, 4, printed)?;
        std::fs::write(&path, whole)?;
    }
    Ok(())
}

/// Every key of a backup under a name: the master key and another one, the backup keys, and the data key of each file.
fn keys(scenario: &Scenario, master: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let dir = scenario.job.backup_dir();
    let mut keys = vec![("the master key".to_owned(), std::fs::read(master)?)];
    keys.push(("another master key".to_owned(), std::fs::read(key(scenario, ANOTHER)?)?));
    let of_backup = Backup::backup_keys(&dir, master)?;
    keys.extend(of_backup.iter().map(|key| ("a backup key".to_owned(), key.as_bytes().to_vec())));
    let of_files = Backup::open_with_key(&dir, master)?.data_keys()?;
    keys.extend(of_files.iter().map(|(object, key)| (format!("the data key of {object}"), key.as_bytes().to_vec())));
    Ok(keys)
}

#[test]
fn a33_no_key_is_in_what_any_command_prints_logs_or_serves_but_where_keys_are_asked_for() -> Result<()> {
    let broker = KafkaBroker::start()?;
    let mut scenario = Scenario::on(&broker, TOPIC)?;
    let master = key(&scenario, MASTER)?;
    scenario.job = with(&scenario.job, &[&master]);
    scenario.client.create_topic(TOPIC, 1, &[])?;
    scenario.client.produce(TOPIC, &records(0..20))?;
    scenario.client.commit_offsets(GROUP, &[(TOPIC, 0, 5)])?;
    let job = scenario.job.clone().environment("RUST_LOG", LOGGED);
    let mut printed = Printed::new();
    job.catch_up()?;
    streamed(&job, &mut printed)?;
    all_commands(&scenario, &job, &mut printed)?;
    failures(&scenario, &job, &mut printed)?;

    let keys = keys(&scenario, &master)?;
    ensure!(keys.len() >= 5, "of the master, the backup, records and groups: {}", keys.len());
    let wanted = Wanted::keys(&keys)?;
    for (what, text) in &printed {
        let seen = wanted.seen_in(text.as_bytes());
        ensure!(seen.is_empty(), "{what} shows {seen:?}");
    }
    let seen = wanted.seen_below(&job.backup_dir())?;
    ensure!(seen.is_empty(), "the store shows {seen:?}");

    // That they would have been seen; and who asks for the keys of files gets no other.
    let (out, err) = ended(&job, &["segments", "--output", "json", "--with-keys"], 0)?;
    let listed: Vec<Value> = serde_json::from_str(&out)?;
    let objects = listed.iter().filter_map(|entry| entry["object"].as_str());
    let of_files: Vec<String> = objects.map(|object| format!("the data key of {object}")).collect();
    let asked: BTreeSet<&str> = of_files.iter().map(String::as_str).collect();
    let seen = wanted.seen_in(out.as_bytes());
    ensure!(!asked.is_empty() && seen == asked, "{seen:?}, not {asked:?}");
    ensure!(wanted.seen_in(err.as_bytes()).is_empty(), "the log shows them, too");
    Ok(())
}
