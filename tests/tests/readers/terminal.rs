//! What a person sees on a terminal: lines to read and a bar that moves, where others get JSON and nothing.

use std::process::Command;

use anyhow::{Result, ensure};
use strimzi_backup_tests::scenario::{Scenario, numbered};
use strimzi_backup_tests::streamer::Job;

/// Runs a command on a terminal of its own: exit code, and everything that was shown.
fn on_terminal(job: &Job, arguments: &[&str]) -> Result<(i32, String)> {
    let command = job.command(arguments)?;
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words.map(|word| format!("'{}'", word.to_string_lossy())).collect();
    let line = format!("stty rows 40 cols 120; exec {}", words.join(" "));
    let output = Command::new("script").args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").output()?;
    Ok((output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned()))
}

#[test]
fn a_terminal_shows_lines_to_read_and_a_bar_and_others_get_json_and_none() -> Result<()> {
    let topic = "terminal";
    let scenario = Scenario::shared(topic)?;
    scenario.client.create_topic(topic, 1, &[])?;
    scenario.client.produce(topic, &numbered(0..100))?;
    let (code, shown) = on_terminal(&scenario.job, &["stream", "--until-caught-up"])?;
    ensure!(code == 0, "{code}\n{shown}");
    ensure!(shown.contains("INFO") && shown.contains("claimed the manifest log"), "lines to read\n{shown}");
    ensure!(!shown.lines().any(|line| line.starts_with('{')), "no JSON on a terminal\n{shown}");
    let (code, shown) = on_terminal(&scenario.job, &["verify"])?;
    ensure!(code == 0, "{code}\n{shown}");
    let bar = |text: &str| text.split(['\r', '\n']).any(|line| line.contains("verify ") && line.contains(" of "));
    ensure!(bar(&shown), "a bar\n{shown:?}");
    let (_, out, err) = scenario.job.run(&["verify"])?;
    ensure!(!bar(&out) && !bar(&err), "no bar where nobody looks\n{err}");
    let mut streamer = scenario.job.stream(&["--until-caught-up"])?;
    ensure!(streamer.exit_code()? == 0, "{}", streamer.process.tail());
    let log = streamer.process.stderr();
    ensure!(!log.is_empty() && log.lines().all(|line| line.starts_with('{')), "JSON elsewhere\n{log}");
    Ok(())
}
