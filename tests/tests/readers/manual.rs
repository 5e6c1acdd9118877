//! The examples of `--help` do what they say.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use strimzi_backup_tests::binary;
use strimzi_backup_tests::process::run;
use strimzi_backup_tests::restore::Restore;
use strimzi_backup_tests::scenario::{Scenario, numbered, shared_broker};

/// The command lines below `Examples:`, those over several lines in one.
fn examples(help: &str) -> Vec<String> {
    let shown = help.split("Examples:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or_default();
    let joined = shown.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim).filter(|line| line.starts_with("strimzi-backup "));
    lines.map(str::to_owned).collect()
}

/// Runs a line in a shell that finds the program, in a folder that has the job document.
fn shell(line: &str, folder: &Path) -> Result<String> {
    let programs = binary::strimzi_backup()?.parent().context("a folder of the program")?.display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap_or_default());
    run(line, Command::new("sh").args(["-c", line]).env("PATH", path).current_dir(folder))
}

#[test]
fn every_example_of_the_help_runs() -> Result<()> {
    let scenario = Scenario::shared("manual")?;
    scenario.client.create_topic("orders", 1, &[])?;
    scenario.client.produce("orders", &numbered(0..10))?;
    let job = scenario.job.clone().set("/topics/include", json!(["orders"]));
    std::fs::copy(job.write()?, scenario.dir().join("job.yaml"))?;
    let commands = [("stream", 2), ("inspect", 2), ("segments", 2), ("export", 2), ("snapshot", 2), ("verify", 2)];
    for (command, least) in commands {
        let help = shell(&format!("strimzi-backup {command} --help"), scenario.dir())?;
        let lines = examples(&help);
        ensure!(lines.len() == least && help.contains("\nExit codes:\n  0  "), "{command}:\n{help}");
        // A snapshot waits for a commit.
        let writer = if command == "snapshot" { Some(job.stream(&[])?) } else { None };
        for line in lines {
            ensure!(line.starts_with(&format!("strimzi-backup {command} --config job.yaml")), "{line}");
            if line == "strimzi-backup stream --config job.yaml" {
                let mut streamer = job.stream(&[])?;
                streamer.ready()?;
                streamer.stop()?;
            } else {
                shell(&line, scenario.dir())?;
            }
        }
        if let Some(mut writer) = writer {
            writer.ready()?;
            writer.stop()?;
        }
    }
    Ok(())
}

#[test]
fn every_example_of_the_help_of_rekey_runs() -> Result<()> {
    let scenario = Scenario::shared("locked")?;
    let key = scenario.dir().join("key");
    std::fs::write(&key, [7; 32])?;
    let job = scenario.job.clone().set("/backup/encryption", json!({"enabled": true, "keyFile": key}));
    job.catch_up()?;
    std::fs::copy(job.write()?, scenario.dir().join("job.yaml"))?;
    let help = shell("strimzi-backup rekey --help", scenario.dir())?;
    let lines = examples(&help);
    ensure!(lines.len() == 2 && help.contains("\nExit codes:\n  0  "), "{help}");
    for line in lines {
        ensure!(line.starts_with("strimzi-backup rekey --config job.yaml"), "{line}");
        shell(&line, scenario.dir())?;
    }
    Ok(())
}

#[test]
fn every_example_of_the_help_of_restore_runs() -> Result<()> {
    let scenario = Scenario::shared("guide")?;
    scenario.client.create_topic("guide-orders", 1, &[])?;
    scenario.client.produce("guide-orders", &numbered(0..10))?;
    scenario.job.catch_up()?;
    std::fs::copy(scenario.job.write()?, scenario.dir().join("job.yaml"))?;
    let restore = Restore::new(scenario.dir(), "guide", &scenario.job, &shared_broker()?.bootstrap());
    std::fs::copy(restore.mapped("guide-orders", "guided").write()?, scenario.dir().join("restore.yaml"))?;
    for (command, document) in [("restore", "restore.yaml"), ("restores", "job.yaml")] {
        let help = shell(&format!("strimzi-backup {command} --help"), scenario.dir())?;
        let lines = examples(&help);
        ensure!(lines.len() == 2 && help.contains("\nExit codes:\n  0  "), "{command}:\n{help}");
        for line in lines {
            ensure!(line.starts_with(&format!("strimzi-backup {command} --config {document}")), "{line}");
            shell(&line, scenario.dir())?;
        }
    }
    Ok(())
}
