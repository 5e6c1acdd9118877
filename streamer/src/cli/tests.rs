use clap::CommandFactory as _;

use super::*;

#[test]
fn help_reads_as_it_was_agreed() {
    let mut command = Arguments::command().term_width(100);
    command.build();
    let mut text = command.render_long_help().to_string();
    for name in [
        "stream", "inspect", "segments", "groups", "snapshot", "restore", "restores", "prune", "destroy", "salvage",
        "verify",
    ] {
        let subcommand = command.find_subcommand_mut(name).expect("a command of that name");
        text.push_str(&format!("\n--- {name} ---\n{}", subcommand.clone().term_width(100).render_long_help()));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn the_timeout_of_a_snapshot_is_the_documented_default() {
    let arguments = Arguments::try_parse_from(["strimzi-backup", "snapshot", "--config", "x"]).expect("usable");
    let Command::Snapshot { id: None, timeout, .. } = arguments.command else { panic!("{arguments:?}") };
    assert_eq!(timeout, snapshot::TIMEOUT);
}

#[test]
fn usage_faults_name_what_is_wrong() {
    let error = Arguments::try_parse_from(["strimzi-backup", "segments", "--config", "x", "--from", "yesterday"]);
    let text = error.expect_err("no time").to_string();
    assert!(text.contains("yesterday") && text.contains("--from"), "{text}");
    let error = Arguments::try_parse_from(["strimzi-backup", "snapshot", "--config", "x", "--id", "a/b"]);
    let text = error.expect_err("no id").to_string();
    assert!(text.contains("illegal snapshot id \"a/b\"") && text.contains("--id"), "{text}");
    let error = Arguments::try_parse_from(["strimzi-backup", "verify", "--config", "x", "--level", "4"]);
    assert!(error.expect_err("no level").to_string().contains("1, 2 and 3"));
    let error = Arguments::try_parse_from(["strimzi-backup", "destroy", "--config", "x"]);
    assert!(error.expect_err("no backup").to_string().contains("--backup <UUID>"));
}
