//! What a pod leaves behind of a verification.

use serde_json::Value;

use super::fixture::Backup;
use super::*;

/// The summary of a report, as a program reads it.
fn summary(report: &Report) -> Value {
    let line = report.summary();
    assert!(line.len() <= 2048 && line.ends_with('\n') && line.lines().count() == 1, "{line}");
    serde_json::from_str(&line).expect("json")
}

fn finding(kind: FindingKind, problem: &str) -> Finding {
    Finding { kind, object: "intake/x.parquet".to_owned(), problem: problem.to_owned(), affected: Vec::new() }
}

#[tokio::test]
async fn the_summary_of_a_whole_backup_has_its_sums() {
    let backup = Backup::small().await;
    let report = verify(&backup.store, Level::Records).await;
    let told = summary(&report);
    assert_eq!((&told["level"], &told["findings"], &told["unanswered"]), (&3.into(), &0.into(), &0.into()));
    // 6 manifests, 2 checkpoints, 4 segments.
    assert_eq!((&told["objects"], &told["bytes"]), (&12.into(), &report.counts.bytes.into()));
    assert_eq!(told["records"], backup.rows());
    let until = report.recoverable.expect("known").until.expect("an instant").to_rfc3339();
    assert_eq!(told["recoverableUntil"], until);
    assert!(told["recoverableFrom"].is_string());
    assert_eq!(told["message"], "everything holds");
    assert!(summary(&verify(&backup.store, Level::Digests).await)["records"].is_null(), "none was decoded");
}

#[tokio::test]
async fn a25_the_summary_names_what_is_gone_and_says_what_is_left_to_recover() {
    let backup = Backup::small().await;
    let gone = backup.segment(0).object.to_string();
    backup.delete(&gone).await;
    let told = summary(&verify(&backup.store, Level::Chain).await);
    assert_eq!((&told["findings"], &told["unanswered"]), (&1.into(), &0.into()));
    let message = told["message"].as_str().expect("a text");
    let wanted = format!("1 findings: missing {gone}: its manifest names it, and it is not there (");
    assert!(message.starts_with(&wanted) && message.ends_with(" and 2 more)"), "{message}");
    assert!(told["recoverableFrom"].is_null() && told["recoverableUntil"].is_string(), "{told}");
}

#[test]
fn the_summary_has_as_many_findings_as_there_is_room_for() {
    let mut report = Report::new(Level::Chain, "memory");
    report.find(finding(FindingKind::Unanswered, "timed out"));
    let message = "incomplete, the store did not give 1 objects; verify again: no answer intake/x.parquet: timed out";
    assert_eq!(summary(&report)["message"], message);
    // The worst to write as JSON.
    let long = "\u{1}".repeat(10_000);
    report.find(finding(FindingKind::Damaged, &long));
    let told = summary(&report);
    let message = told["message"].as_str().expect("a text");
    assert!(message.contains("damaged intake/x.parquet: \u{1}"), "{message}");
    (0..5000).for_each(|_| report.find(finding(FindingKind::Missing, "\"it\" is not there")));
    let told = summary(&report);
    assert_eq!(told["findings"], 5001);
    let message = told["message"].as_str().expect("a text");
    assert!(message.starts_with("5001 findings, and the store did not give 1 objects: damaged "), "{message}");
}
