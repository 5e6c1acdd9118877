//! Damage to the chain and to checkpoints.

use strimzi_backup_format::checkpoint::Checkpoint;
use strimzi_backup_format::checksum::Sha256;
use strimzi_backup_format::ids::{Sequence, Shard};
use strimzi_backup_format::job;
use strimzi_backup_format::layout;
use strimzi_backup_format::manifest::reader;
use strimzi_backup_format::store;

use super::super::chain::Chain;
use super::fixture::{Backup, Sealing, id};
use super::*;

/// A break at `sequence`: it is named, what is before is counted as right, what is after as not trusted.
async fn assert_breaks_at(backup: &Backup, sequence: u64, kind: FindingKind, words: &str) {
    for level in LEVELS {
        let report = verify(&backup.store, level).await;
        assert_eq!(report.outcome().expect_err("broken").exit_code(), exit::DAMAGED);
        let first = &report.findings[0];
        assert_eq!((first.kind, &first.object), (kind, &Backup::manifest_key(sequence)), "{report}");
        assert!(first.problem.contains(words), "{report}");
        assert_eq!(report.finding_count, 1, "{report}");
        assert_eq!(report.counts.manifests, sequence - 1, "{report}");
        assert!(report.counts.untrusted_manifests > 0 || sequence == 6, "{report}");
        assert_eq!(report.orphans, None, "what only later manifests name is no orphan");
    }
}

async fn missing(sealing: Sealing) {
    let backup = Backup::small_as(sealing, 1).await;
    backup.delete(&Backup::manifest_key(3)).await;
    assert_breaks_at(&backup, 3, FindingKind::Missing, "manifest 6 is").await;
}

#[tokio::test]
async fn a58_a_manifest_missing_in_the_middle_is_named() {
    missing(Sealing::Open).await;
}

async fn truncated(sealing: Sealing) {
    let backup = Backup::small_as(sealing, 1).await;
    let whole = backup.stored(&Backup::manifest_key(4)).await;
    for len in [0, 1, 39, 40, whole.len() / 2, whole.len() - 1] {
        backup.damage(&Backup::manifest_key(4), whole[..len].to_vec()).await;
        assert_breaks_at(&backup, 4, FindingKind::Damaged, "damaged document").await;
    }
}

#[tokio::test]
async fn a58_a_truncated_manifest_is_named() {
    truncated(Sealing::Open).await;
}

/// What is told of a manifest in the place of another one: where it is sealed, its contents are not even read.
fn misplaced(sealing: Sealing, words: &str) -> (FindingKind, &str) {
    match sealing {
        Sealing::Open => (FindingKind::Contradiction, words),
        Sealing::Key => (FindingKind::Damaged, "its seal does not open"),
    }
}

async fn twice(sealing: Sealing) {
    let backup = Backup::small_as(sealing, 1).await;
    let third = backup.stored(&Backup::manifest_key(3)).await;
    backup.damage(&Backup::manifest_key(4), third.to_vec()).await;
    let (kind, words) = misplaced(sealing, "it says it is number 3");
    assert_breaks_at(&backup, 4, kind, words).await;
}

#[tokio::test]
async fn a58_a_manifest_that_stands_twice_is_named() {
    twice(Sealing::Open).await;
}

async fn foreign(sealing: Sealing) {
    let (backup, other) = (Backup::small_as(sealing, 1).await, Backup::small_as(sealing, 2).await);
    let foreign = other.stored(&Backup::manifest_key(5)).await;
    backup.damage(&Backup::manifest_key(5), foreign.to_vec()).await;
    let (kind, words) = misplaced(sealing, "belongs to backup");
    assert_breaks_at(&backup, 5, kind, words).await;
}

#[tokio::test]
async fn a58_a_manifest_of_another_backup_is_named() {
    foreign(Sealing::Open).await;
}

async fn wrong_link(sealing: Sealing) {
    let backup = Backup::small_as(sealing, 1).await;
    // A rewritten manifest holds by itself; the one after it carries the digest of what stood there.
    backup.rewrite_manifest(3, |manifest| manifest.observed_at = manifest.observed_at.plus_millis(1)).await;
    let report = verify(&backup.store, Level::Chain).await;
    let found: Vec<_> = report.findings.iter().map(|finding| finding.object.as_str()).collect();
    let checkpoint = &backup.checkpoint_keys().await[0];
    assert_eq!(found, [checkpoint.as_str(), &Backup::manifest_key(4)], "{report}");
    assert!(report.findings[1].problem.contains("the chain breaks here"), "{report}");
}

#[tokio::test]
async fn a58_a_broken_chain_is_named_at_its_first_wrong_link() {
    wrong_link(Sealing::Open).await;
}

async fn exchanged_identity(sealing: Sealing) {
    let (backup, other) = (Backup::small_as(sealing, 1).await, Backup::small_as(sealing, 2).await);
    backup.put("backup.json", other.get("backup.json").await.to_vec()).await;
    let (finding, report) = only_finding(&backup.store, Level::Chain).await;
    assert_eq!(finding.object, "backup.json");
    assert_eq!(report.counts.untrusted_manifests, 6);
    backup.delete("backup.json").await;
    let (finding, _) = only_finding(&backup.store, Level::Chain).await;
    assert_eq!((finding.kind, finding.object.as_str()), (FindingKind::Missing, "backup.json"));
}

#[tokio::test]
async fn a58_an_exchanged_identity_is_named() {
    exchanged_identity(Sealing::Open).await;
}

async fn newest_missing(sealing: Sealing) {
    let backup = Backup::small_as(sealing, 1).await;
    for sequence in [5, 6] {
        backup.delete(&Backup::manifest_key(sequence)).await;
    }
    let (finding, _) = only_finding(&backup.store, Level::Chain).await;
    assert_eq!(finding.object, backup.checkpoint_keys().await[1]);
    assert!(finding.problem.contains("newer manifests were lost"), "{}", finding.problem);
}

#[tokio::test]
async fn a58_the_newest_manifests_missing_are_betrayed_by_their_checkpoint() {
    newest_missing(Sealing::Open).await;
}

/// All that breaks a log, once more.
#[tokio::test(start_paused = true)]
async fn a58_what_breaks_the_log_of_an_encrypted_backup_is_named() {
    missing(Sealing::Key).await;
    truncated(Sealing::Key).await;
    twice(Sealing::Key).await;
    foreign(Sealing::Key).await;
    wrong_link(Sealing::Key).await;
    exchanged_identity(Sealing::Key).await;
    newest_missing(Sealing::Key).await;
}

/// Where the walk ends that saw manifests up to `listed` before it began, whether it takes that for the end of the log, and what it found.
async fn walked(backup: &Backup, listed: u64) -> (u64, bool, Report) {
    let mut report = Report::new(Level::Chain, "memory");
    let chain = Chain::start(&backup.store, Shard::ONLY, listed, &mut report).await;
    let mut chain = chain.expect("a chain");
    while chain.next(&backup.store, &mut report).await.is_some() {}
    (chain.state.head.expect("a manifest").sequence.get(), chain.whole, report)
}

#[tokio::test(start_paused = true)]
async fn a34_what_a_writer_under_a_new_master_key_adds_meanwhile_is_no_damage_and_what_was_there_is() {
    let backup = Backup::small().await;
    // What the layer below gives in the place of a document whose key it does not have.
    backup.put(&Backup::manifest_key(6), b"SBE1\x01\0\0\0".to_vec()).await;
    let (head, is_whole, report) = walked(&backup, 5).await;
    assert_eq!((head, is_whole, report.finding_count), (5, true, 0), "{report}");
    let (head, is_whole, report) = walked(&backup, 6).await;
    assert_eq!((head, is_whole, report.finding_count), (5, false, 1), "{report}");
    assert!(report.findings[0].problem.contains("sealed by backup key 1"), "{report}");
}

/// The reader goes on without the checkpoint, and a verification names it.
async fn assert_ignored_and_reported(backup: &Backup, key: &str, words: &str) {
    let log = reader::open(&backup.store, Shard::ONLY).await.expect("readable").expect("a backup");
    assert_eq!(log.ignored.iter().map(|(object, _)| object.as_str()).collect::<Vec<_>>(), [key]);
    assert_eq!(log.state.head.map(|head| head.sha256), Some(backup.anchor().sha256));
    assert_reported(backup, key, words).await;
}

async fn assert_reported(backup: &Backup, key: &str, words: &str) {
    for level in LEVELS {
        let (finding, report) = only_finding(&backup.store, level).await;
        assert_eq!(finding.object, key, "{report}");
        assert!(finding.problem.contains(words), "{report}");
        assert_eq!(report.counts.manifests, 6, "the log itself is whole");
    }
}

async fn corrupt(sealing: Sealing) {
    let backup = Backup::small_as(sealing, 1).await;
    let newest = backup.checkpoint_keys().await.remove(1);
    backup.flip(&newest, 60).await;
    assert_ignored_and_reported(&backup, &newest, "damaged document").await;
    backup.put(&newest, Vec::new()).await;
    assert_ignored_and_reported(&backup, &newest, "too few").await;
}

#[tokio::test]
async fn a59_a_corrupt_checkpoint_is_ignored_and_reported() {
    corrupt(Sealing::Open).await;
}

/// Replaces the newest checkpoint by a changed one under its rightful name.
async fn replace(backup: &Backup, sequence: u64, change: impl FnOnce(&mut Checkpoint)) -> String {
    let newest = backup.checkpoint_keys().await.remove(1);
    let bytes = backup.rewrite(&newest, change).await;
    backup.delete(&newest).await;
    let key = layout::checkpoint(Shard::ONLY, Sequence::new(sequence), &Sha256::of(&bytes)).to_string();
    backup.put(&key, bytes.to_vec()).await;
    key
}

async fn stale(sealing: Sealing) {
    let backup = Backup::small_as(sealing, 1).await;
    let key = replace(&backup, 5, |checkpoint| {
        let head = checkpoint.state.head.as_mut().expect("head");
        head.sha256 = Sha256::of(b"another manifest 5");
    })
    .await;
    assert_ignored_and_reported(&backup, &key, "is not what the manifests up to 5 say").await;
}

#[tokio::test]
async fn a59_a_stale_checkpoint_whose_log_was_exchanged_is_ignored_and_reported() {
    stale(Sealing::Open).await;
}

async fn from_the_future(sealing: Sealing) {
    let backup = Backup::small_as(sealing, 1).await;
    let key = replace(&backup, 99, |checkpoint| {
        checkpoint.state.head.as_mut().expect("head").sequence = Sequence::new(99);
    })
    .await;
    assert_ignored_and_reported(&backup, &key, "ends at manifest 6").await;
}

#[tokio::test]
async fn a59_a_checkpoint_from_the_future_is_ignored_and_reported() {
    from_the_future(Sealing::Open).await;
}

async fn disagrees(sealing: Sealing) {
    let backup = Backup::small_as(sealing, 1).await;
    let key = replace(&backup, 5, |checkpoint| checkpoint.state.totals.rows += 1).await;
    assert_reported(&backup, &key, "is not what the manifests up to 5 say").await;
}

#[tokio::test]
async fn a59_a_checkpoint_that_disagrees_with_the_fold_is_reported() {
    disagrees(Sealing::Open).await;
}

async fn other_segments(sealing: Sealing) {
    let backup = Backup::small_as(sealing, 1).await;
    let key = replace(&backup, 5, |checkpoint| checkpoint.segments.clear()).await;
    assert_misleads(&backup, &key).await;
    let backup = Backup::small_as(sealing, 1).await;
    let key = replace(&backup, 5, |checkpoint| checkpoint.blocks.clear()).await;
    assert_misleads(&backup, &key).await;
    let backup = Backup::small_as(sealing, 1).await;
    let key = replace(&backup, 5, |checkpoint| checkpoint.blocks[0].bytes += 1).await;
    assert_reported(&backup, &key, "describes the block").await;
}

#[tokio::test]
async fn a59_a_checkpoint_that_lists_other_segments_is_reported() {
    other_segments(Sealing::Open).await;
}

/// The checkpoint is reported, and that a reader who follows it finds other segments.
async fn assert_misleads(backup: &Backup, key: &str) {
    let report = verify(&backup.store, Level::Chain).await;
    let [checkpoint, reader] = &report.findings[..] else { panic!("{report}") };
    assert!(checkpoint.object == key && checkpoint.problem.contains("does not list the segments"), "{report}");
    assert!(reader.problem.contains("the documents that list its live segments"), "{report}");
}

async fn missing_checkpoint(sealing: Sealing) {
    let backup = Backup::small_as(sealing, 1).await;
    let keys = backup.checkpoint_keys().await;
    backup.delete(&keys[0]).await;
    let (finding, _) = only_finding(&backup.store, Level::Chain).await;
    assert_eq!((finding.kind, &finding.object), (FindingKind::Missing, &keys[0]));
    assert!(finding.problem.contains(&keys[1]), "{}", finding.problem);
}

#[tokio::test]
async fn a59_a_missing_checkpoint_is_named_by_the_one_that_builds_on_it() {
    missing_checkpoint(Sealing::Open).await;
}

/// All that may be wrong with checkpoints, once more.
#[tokio::test(start_paused = true)]
async fn a59_bad_checkpoints_of_an_encrypted_backup_are_reported_and_the_log_is_read() {
    corrupt(Sealing::Key).await;
    stale(Sealing::Key).await;
    from_the_future(Sealing::Key).await;
    disagrees(Sealing::Key).await;
    other_segments(Sealing::Key).await;
    missing_checkpoint(Sealing::Key).await;
}

#[tokio::test]
async fn a12_a_newer_format_is_refused_and_not_called_damage() {
    let backup = Backup::small().await;
    let newer = |json: String| json.replacen("\"formatVersion\":1", "\"formatVersion\":2", 1);
    backup.rewrite_json(4, newer).await;
    let report = verify(&backup.store, Level::Records).await;
    assert_eq!(report.findings[0].kind, FindingKind::NewerFormat, "{report}");
    let error = report.outcome().expect_err("refused");
    assert_eq!(error.exit_code(), exit::DAMAGED);
    let text = crate::error::chain(&error);
    assert!(text.contains("newer") && !text.contains("findings"), "{text}");
}

/// Documents as who has the keys, where there are some, can write them.
async fn hostile(sealing: Sealing) {
    for (from, to) in [
        ("\"object\":\"topics/", "\"object\":\"../../topics/"),
        ("\"object\":\"topics/", "\"object\":\"/topics/"),
        ("\"topic\":\"orders\"", "\"topic\":\"../orders\""),
        ("\"nextOffset\":60", "\"nextOffset\":9223372036854775807"),
        ("\"nextOffset\":60", "\"nextOffset\":1e300"),
        ("\"baseOffset\":40", "\"baseOffset\":-9223372036854775808"),
        ("\"rows\":20", "\"rows\":9223372036854775807"),
        ("\"rowGroup\":0", "\"rowGroup\":4294967296"),
        ("\"shard\":0", "\"shard\":65536"),
        ("\"formatVersion\":1", "\"surprise\":[[[[]]]],\"formatVersion\":1"),
    ] {
        let backup = Backup::small_as(sealing, 1).await;
        let key = Backup::manifest_key(3);
        backup
            .rewrite_json(3, |json| {
                let changed = json.replacen(from, to, 1);
                assert_ne!(json, changed, "{from}");
                changed
            })
            .await;
        let report = verify(&backup.store, Level::Records).await;
        assert_eq!(report.findings[0].object, key, "{to}: {report}");
        assert_eq!(report.counts.manifests, 2, "{to}: {report}");
    }
}

#[tokio::test]
async fn a60_hostile_documents_are_refused() {
    hostile(Sealing::Open).await;
}

async fn partitions_beyond_any_cluster(sealing: Sealing) {
    let backup = Backup::small_as(sealing, 1).await;
    backup.rewrite_json(2, |json| json.replacen("\"partitions\":2", "\"partitions\":2147483647", 1)).await;
    assert_breaks_at(&backup, 2, FindingKind::Contradiction, "2147483647 partitions").await;
}

#[tokio::test]
async fn a60_partitions_beyond_any_cluster_are_refused_before_they_fill_the_memory() {
    partitions_beyond_any_cluster(Sealing::Open).await;
}

async fn too_big(sealing: Sealing) {
    let folder = tempfile::tempdir().expect("folder");
    let location = job::Location::Filesystem(job::Filesystem { path: folder.path().to_owned() });
    let store = store::open_to_write(&job::Storage { location, anchor: None, encryption: None }).expect("opened");
    let backup = Backup::small_in(sealing.over(&store, id(1)), 1).await;
    // A file of holes: nothing is stored, and reading it would fill the memory.
    let file = std::fs::File::options().write(true).open(folder.path().join(Backup::manifest_key(4)));
    file.expect("open").set_len(1 << 42).expect("grown");
    assert_breaks_at(&backup, 4, FindingKind::Damaged, "no document has more").await;
}

#[tokio::test]
async fn a60_an_object_too_big_to_be_a_document_is_named_and_not_read() {
    too_big(Sealing::Open).await;
}

async fn rows_beyond_all_sums(sealing: Sealing) {
    let backup = Backup::small_as(sealing, 1).await;
    backup.rewrite_json(3, |json| json.replacen("\"rows\":20", "\"rows\":18446744073709551615", 1)).await;
    assert_breaks_at(&backup, 3, FindingKind::Contradiction, "contradicts").await;
}

#[tokio::test]
async fn a60_rows_beyond_all_sums_are_refused() {
    rows_beyond_all_sums(Sealing::Open).await;
}

/// The same under a seal that opens: it vouches for who wrote, and not for what.
#[tokio::test(start_paused = true)]
async fn a60_hostile_documents_of_an_encrypted_backup_are_refused() {
    hostile(Sealing::Key).await;
    partitions_beyond_any_cluster(Sealing::Key).await;
    too_big(Sealing::Key).await;
    rows_beyond_all_sums(Sealing::Key).await;
}
