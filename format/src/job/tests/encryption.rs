use std::path::PathBuf;

use super::super::*;
use super::{MINIMAL, job};
use crate::ids::TimestampMs;

const NOW: TimestampMs = TimestampMs::new(1_770_966_000_000);

/// The minimal job document with that block.
fn with(block: &str) -> String {
    format!("{MINIMAL}backup:\n  encryption: {block}\n")
}

fn encryption(block: &str) -> Option<Encryption> {
    job(&with(block)).storage.encryption
}

fn faults(text: &str) -> Vec<String> {
    let faults = text.parse::<Job>().expect_err("the document has faults");
    faults.faults().iter().map(ToString::to_string).collect()
}

fn fault(block: &str) -> String {
    faults(&with(block)).join("\n")
}

fn transit(more: &str) -> Transit {
    let block = format!("{{enabled: true, transit: {{address: 'https://vault:8200', key: kafka, {more}}}}}");
    match encryption(&block).expect("it is enabled").provider {
        KeySource::Transit(transit) => transit,
        KeySource::Files { .. } => panic!("it has no files"),
    }
}

#[test]
fn nothing_is_sealed_unless_that_is_enabled() {
    assert_eq!(job(MINIMAL).storage.encryption, None);
    assert_eq!(encryption("{enabled: false}"), None);
    let kept = "{enabled: false, keyFile: /k/key, transit: {address: nowhere}}";
    assert_eq!(encryption(kept), None, "a text that somebody keeps");
}

#[test]
fn a_block_that_does_not_say_whether_it_is_enabled_is_no_silent_no() {
    for block in ["", "{}", "null", "{keyFile: /k/key}"] {
        assert_eq!(fault(block), "backup.encryption.enabled: is missing and has no default", "{block}");
    }
    for value in ["'yes'", "1"] {
        assert!(fault(&format!("{{enabled: {value}}}")).contains("backup.encryption.enabled"), "{value}");
    }
}

#[test]
fn keys_come_from_files_that_are_named_as_they_are() {
    let files = |block: &str| match encryption(block).expect("it is enabled").provider {
        KeySource::Files { current, previous } => (current, previous),
        KeySource::Transit(transit) => panic!("{transit:?}"),
    };
    let path = |text: &str| PathBuf::from(text);
    assert_eq!(files("{enabled: true, keyFile: /k/key}"), (path("/k/key"), vec![]));
    let rotated = "{enabled: true, keyFile: keys/new, previousKeyFiles: [/k/old, keys/older]}";
    assert_eq!(files(rotated), (path("keys/new"), vec![path("/k/old"), path("keys/older")]));
}

#[test]
fn a_key_of_vault_gets_every_default() {
    let plain = transit("tokenFile: /t/token");
    insta::assert_debug_snapshot!(plain, @r#"
    Transit {
        address: "https://vault:8200",
        mount: "transit",
        key: "kafka",
        namespace: None,
        ca_file: None,
        auth: Token {
            file: "/t/token",
        },
    }
    "#);
    let whole = "mount: /team-a/transit/, namespace: admin/kafka/, caFile: /t/ca.crt, kubernetes: {role: backup}";
    insta::assert_debug_snapshot!(transit(whole), @r#"
    Transit {
        address: "https://vault:8200",
        mount: "team-a/transit",
        key: "kafka",
        namespace: Some(
            "admin/kafka/",
        ),
        ca_file: Some(
            "/t/ca.crt",
        ),
        auth: Kubernetes {
            role: "backup",
            mount: "kubernetes",
            token_file: "/var/run/secrets/kubernetes.io/serviceaccount/token",
        },
    }
    "#);
    let own = "kubernetes: {role: backup, mount: cluster-b, tokenFile: /t/projected}";
    let wanted = TransitAuth::Kubernetes {
        role: "backup".to_owned(),
        mount: "cluster-b".to_owned(),
        token_file: PathBuf::from("/t/projected"),
    };
    assert_eq!(transit(own).auth, wanted);
}

#[test]
fn each_fault_of_the_keys_is_named_with_its_way_out() {
    let vault = "address: 'https://vault:8200', key: kafka";
    let of_transit = |more: &str| format!("{{enabled: true, transit: {{{more}}}}}");
    for (block, wanted) in [
        ("{enabled: true}".to_owned(), "backup.encryption: is enabled without a key; set keyFile or transit"),
        (
            format!("{{enabled: true, keyFile: /k, transit: {{{vault}, tokenFile: /t}}}}"),
            "backup.encryption.transit: is set beside keyFile; keep one of them",
        ),
        (
            format!("{{enabled: true, previousKeyFiles: [/k], transit: {{{vault}, tokenFile: /t}}}}"),
            "backup.encryption.previousKeyFiles: belongs to keyFile; transit keeps earlier versions of its key itself, so \
             remove it",
        ),
        (
            "{enabled: true, keyFile: ''}".to_owned(),
            "backup.encryption.keyFile: is an empty path; name a file or leave the field out",
        ),
        (
            "{enabled: true, keyFile: /k, previousKeyFiles: [/a, '']}".to_owned(),
            "backup.encryption.previousKeyFiles[1]: is an empty path; name a file or leave the field out",
        ),
        (
            of_transit("address: 'vault:8200', key: kafka, tokenFile: /t"),
            "backup.encryption.transit.address: is no endpoint; write http(s)://host[:port], without query",
        ),
        (
            of_transit(&format!("{vault}, mount: 'a//b', tokenFile: /t")),
            "backup.encryption.transit.mount: \"a//b\" is no mount; write parts of [a-zA-Z0-9._-] separated by single \
             slashes",
        ),
        (
            of_transit("address: 'https://vault:8200', key: a/b, tokenFile: /t"),
            "backup.encryption.transit.key: \"a/b\" is no name of a key; use [a-zA-Z0-9._-]",
        ),
        (
            of_transit(&format!("{vault}, namespace: ' ', tokenFile: /t")),
            "backup.encryption.transit.namespace: is empty",
        ),
        (of_transit(vault), "backup.encryption.transit: does not say who asks; set tokenFile or kubernetes"),
        (
            of_transit(&format!("{vault}, tokenFile: /t, kubernetes: {{role: backup}}")),
            "backup.encryption.transit.kubernetes: is set beside tokenFile; keep one of them",
        ),
        (
            of_transit(&format!("{vault}, kubernetes: {{role: ''}}")),
            "backup.encryption.transit.kubernetes.role: is empty",
        ),
        (
            of_transit(&format!("{vault}, kubernetes: null")),
            "backup.encryption.transit.kubernetes.role: is missing and has no default",
        ),
        (
            of_transit(&format!("{vault}, kubernetes: {{role: backup, mount: '/', tokenFile: ''}}")),
            "backup.encryption.transit.kubernetes.mount: \"/\" is no mount; write parts of [a-zA-Z0-9._-] separated by \
             single slashes\nbackup.encryption.transit.kubernetes.tokenFile: is an empty path; name a file or leave the \
             field out",
        ),
    ] {
        assert_eq!(fault(&block), wanted, "{block}");
    }
}

#[test]
fn faults_of_the_keys_are_told_beside_the_others() {
    let text = with("{enabled: true, transit: {kubernetes: {}}}").replace("/var/lib/backup", "backup");
    let found = faults(&text);
    let paths: Vec<&str> = found.iter().filter_map(|fault| fault.split(": ").next()).collect();
    let transit = "backup.encryption.transit";
    let wanted = ["address", "key", "kubernetes.role"].map(|field| format!("{transit}.{field}"));
    assert_eq!(paths, [&["storage.filesystem.path".to_owned()][..], &wanted[..]].concat());
}

#[test]
fn an_address_holds_no_credentials_and_tells_none() {
    let block = "{enabled: true, transit: {address: 'https://me:hunter2@vault', key: kafka, tokenFile: /t}}";
    let message = fault(block);
    assert!(message.contains("transit.address: has credentials in it") && !message.contains("hunter2"), "{message}");
}

#[test]
fn unknown_fields_of_the_keys_are_refused_by_name_and_place() {
    for (block, words) in [
        ("{enabled: true, keySecret: /k}", ["backup.encryption", "`keySecret`"]),
        ("{enabled: true, transit: {adress: 'https://vault'}}", ["backup.encryption.transit", "`adress`"]),
        ("{enabled: true, transit: {kubernetes: {name: x}}}", ["backup.encryption.transit.kubernetes", "`name`"]),
    ] {
        let message = fault(block);
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
}

#[test]
fn a_restore_document_has_the_same_block_at_its_top() {
    let restore = |block: &str| {
        let text = format!("{MINIMAL}restore: {{id: orders-dr-1}}\nencryption: {block}\n");
        RestoreJob::parse(&text, NOW)
    };
    let of_job = encryption("{enabled: true, keyFile: /k/key}");
    let of_restore = restore("{enabled: true, keyFile: /k/key}").expect("no faults").storage.encryption;
    assert_eq!(of_restore, of_job);
    let open = RestoreJob::parse(&format!("{MINIMAL}restore: {{id: orders-dr-1}}"), NOW).expect("no faults");
    assert_eq!(open.storage.encryption, None);
    let message = restore("{enabled: true}").expect_err("no key").to_string();
    assert!(message.ends_with(": encryption: is enabled without a key; set keyFile or transit"), "{message}");
    let message = restore("").expect_err("an empty block").to_string();
    assert!(message.ends_with(": encryption.enabled: is missing and has no default"), "{message}");
}

#[test]
fn the_encrypted_examples_mean_what_they_say() {
    let files = job(include_str!("../../../../examples/job-encrypted.yaml")).storage.encryption;
    insta::assert_debug_snapshot!(files, @r#"
    Some(
        Encryption {
            provider: Files {
                current: "/etc/encryption/2026/key",
                previous: [
                    "/etc/encryption/2025/key",
                ],
            },
        },
    )
    "#);
    let vault = job(include_str!("../../../../examples/job-encrypted-vault.yaml")).storage.encryption;
    insta::assert_debug_snapshot!(vault, @r#"
    Some(
        Encryption {
            provider: Transit(
                Transit {
                    address: "https://vault.vault.svc:8200",
                    mount: "transit",
                    key: "kafka-backup",
                    namespace: None,
                    ca_file: Some(
                        "/etc/vault/ca.crt",
                    ),
                    auth: Kubernetes {
                        role: "kafka-backup",
                        mount: "kubernetes",
                        token_file: "/var/run/secrets/kubernetes.io/serviceaccount/token",
                    },
                },
            ),
        },
    )
    "#);
}
