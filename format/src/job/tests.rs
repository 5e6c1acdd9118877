mod encryption;
mod restore;

use super::*;
use crate::ids::TopicName;

const MINIMAL: &str = r#"
cluster: {bootstrapServers: "127.0.0.1:9092"}
storage: {type: filesystem, filesystem: {path: /var/lib/backup}}
"#;

fn job(text: &str) -> Job {
    text.parse().expect("a document without faults")
}

fn faults(text: &str) -> Vec<String> {
    let faults = text.parse::<Job>().expect_err("the document has faults");
    faults.faults().iter().map(|fault| fault.path.clone()).collect()
}

fn selects(include: &[&str], exclude: &[&str], topic: &str) -> bool {
    let topics = RawTopics {
        include: Some(include.iter().map(ToString::to_string).collect()),
        exclude: Some(exclude.iter().map(ToString::to_string).collect()),
    };
    let mut raw: RawJob = serde_norway::from_str(MINIMAL).expect("minimal document");
    raw.topics = Some(topics);
    resolve(raw).expect("good patterns").topics.selects(&TopicName::new(topic).expect("legal name"))
}

#[test]
fn the_minimal_document_gets_every_default() {
    insta::assert_debug_snapshot!(job(MINIMAL));
}

#[test]
fn example_documents_mean_what_they_say() {
    insta::assert_debug_snapshot!("example_filesystem", job(include_str!("../../../examples/job-filesystem.yaml")));
    insta::assert_debug_snapshot!("example_s3", job(include_str!("../../../examples/job-s3.yaml")));
    insta::assert_debug_snapshot!("example_azure", job(include_str!("../../../examples/job-azure.yaml")));
    insta::assert_debug_snapshot!("example_gcs", job(include_str!("../../../examples/job-gcs.yaml")));
}

#[test]
fn json_is_read_as_well_and_what_is_written_reads_back() {
    let raw: RawJob = serde_norway::from_str(include_str!("../../../examples/job-s3.yaml")).expect("yaml");
    let json = serde_json::to_string(&raw).expect("json");
    assert_eq!(serde_norway::from_str::<RawJob>(&json).expect("json reads back"), raw);
    job(&json);
}

#[test]
fn all_faults_are_reported_at_once() {
    let text = r#"
name: "a b"
cluster:
  bootstrapServers: "SSL://broker:9093,broker"
  tls: {certificateFile: /x/tls.crt}
  authentication: {type: scram-sha-512, tokenFile: /x/token}
  properties: {group.id: mine, client.rack: a}
topics: {include: ["orders.("], exclude: ["["]}
storage:
  type: s3
  s3: {endpoint: "minio:9000", prefix: "a//b", accessKeyIdFile: /x/id}
  gcs: {bucket: other}
  anchor: {backup: x, sequence: 0, sha256: y}
backup:
  compression: lz4
  compressionLevel: 3
  segmentSize: huge
  topicSegmentBytes: 1
  commitInterval: 5
  heartbeatInterval: 1h
  memoryBudget: 1Mi
  parallelism: 65
prices: {put: cheap, storage: -0.5}
http: {address: "localhost"}
"#;
    insta::assert_snapshot!(
        text.parse::<Job>()
            .expect_err("faults")
            .faults()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    );
}

#[test]
fn unknown_fields_are_refused_by_name_and_place() {
    let text = "cluster: {bootstrapServers: 'a:1'}\nstorage:\n  type: s3\n  s3: {buckt: b}\n";
    let message = text.parse::<Job>().expect_err("unknown field").to_string();
    assert!(message.contains("storage.s3") && message.contains("`buckt`") && message.contains("line 4"), "{message}");
}

#[test]
fn what_should_be_a_block_is_told_without_words_of_the_program() {
    let blocks = [
        "all",
        "cluster: all",
        "cluster: {tls: all}",
        "cluster: {authentication: all}",
        "topics: all",
        "consumerGroups: all",
        "storage: all",
        "storage: {filesystem: all}",
        "storage: {s3: all}",
        "storage: {azure: all}",
        "storage: {gcs: all}",
        "storage: {anchor: all}",
        "backup: all",
        "retention: all",
        "prices: all",
        "http: all",
    ];
    for text in blocks {
        let message = text.parse::<Job>().expect_err("no block").to_string();
        let wanted = "invalid type: string \"all\", expected a block of fields, `field: value` each";
        assert!(message.contains(wanted) && !message.contains("Raw"), "{text}: {message}");
    }
}

#[test]
fn what_properties_may_be_set_is_said_once() {
    let text = MINIMAL.replace("9092\"", "9092\", properties: {group.id: mine, isolation.level: x, sasl.password: y}");
    let faults = text.parse::<Job>().expect_err("none of them is allowed");
    let told: Vec<String> = faults.faults().iter().map(ToString::to_string).collect();
    assert!(
        told[0].starts_with("cluster.properties.group.id: may not be set here; allowed are api.version"),
        "{told:?}"
    );
    for (fault, name) in told[1..].iter().zip(["isolation.level", "sasl.password"]) {
        let wanted = "may not be set here; what may is said at cluster.properties.group.id";
        assert_eq!(*fault, format!("cluster.properties.{name}: {wanted}"));
    }
    assert_eq!(told.len(), 3);
}

#[test]
fn an_empty_tls_block_switches_tls_on() {
    for block in ["tls:", "tls: {}", "tls: null"] {
        let text = format!(
            "cluster:\n  bootstrapServers: 'a:1'\n  {block}\nstorage: {{type: filesystem, filesystem: {{path: /b}}}}"
        );
        let tls = job(&text).cluster.tls.expect("tls is on");
        assert!(tls.verify_hostname && tls.ca_files.is_empty());
    }
    assert!(job(MINIMAL).cluster.tls.is_none());
}

#[test]
fn missing_blocks_are_named() {
    assert_eq!(faults("{}"), ["cluster", "storage"]);
    assert_eq!(faults(&MINIMAL.replace("type: filesystem", "type: s3")), ["storage.filesystem", "storage.s3"]);
    assert_eq!(faults(&MINIMAL.replace("/var", "var")), ["storage.filesystem.path"]);
    assert_eq!(faults(&format!("{MINIMAL}topics: {{include: []}}")), ["topics.include"]);
}

#[test]
fn mutual_tls_needs_a_certificate_and_its_key() {
    let text = MINIMAL.replace("9092\"", "9092\", authentication: {type: tls}, tls: {}");
    assert_eq!(faults(&text), ["cluster.authentication.type"]);
    job(&text.replace("tls: {}", "tls: {certificateFile: /c, keyFile: /k}"));
}

#[test]
fn sizes_and_durations_carry_their_units() {
    let with = |backup: &str| job(&format!("{MINIMAL}backup: {{{backup}}}")).backup;
    assert_eq!(with("segmentSize: 268435456").segment_bytes, 256 << 20);
    assert_eq!(with("segmentSize: 1Gi").segment_bytes, 1 << 30);
    assert_eq!(with("segmentSize: 500M").segment_bytes, 500_000_000);
    assert_eq!(with("commitInterval: 200ms").commit_interval.as_millis(), 200);
    assert_eq!(with("segmentSize: 2Mi").topic_segment_bytes, 2 << 20, "the default follows a small segment size");
    assert_eq!(with("compression: gzip").compression, Compression::Gzip { level: 6 });
    for bad in ["segmentSize: -1", "segmentSize: 1KB", "segmentSize: 99999999999Ti", "commitInterval: 199ms"] {
        assert_eq!(faults(&format!("{MINIMAL}backup: {{{bad}}}")).len(), 1, "{bad}");
    }
}

#[test]
fn durations_are_told_as_documents_write_them_with_examples_that_the_field_takes() {
    let told = |field: &str| {
        let (block, value) = field.split_once('.').expect("a block and its field");
        format!("{MINIMAL}{block}: {{{value}}}").parse::<Job>().expect_err("a fault").faults()[0].to_string()
    };
    assert_eq!(told("retention.maxAge: 0s"), "retention.maxAge: is 0s; it must be from 1h to 36500d");
    assert_eq!(told("retention.gracePeriod: 13w"), "retention.gracePeriod: is 91d; it must be from 0s to 90d");
    let told_in = |value: &str| told(&format!("backup.commitInterval: {value}"));
    assert!(told_in("90m").contains("is 90m; it must be from 200ms to 10m"), "{}", told_in("90m"));
    assert!(told_in("11m 100ms").contains("is 11m 100ms; it"), "{}", told_in("11m 100ms"));
    let examples = "\"long\" is no duration; write a number and its unit, such as 2h or 30d";
    assert_eq!(told("retention.maxAge: long"), format!("retention.maxAge: {examples}"));
    for example in ["2h", "30d"] {
        job(&format!("{MINIMAL}retention: {{maxAge: {example}}}"));
    }
}

#[test]
fn a53_patterns_match_whole_names_only() {
    assert!(selects(&["orders"], &[], "orders"));
    for look_alike in ["orders2", "my-orders", "orders.", "Orders", "orders_"] {
        assert!(!selects(&["orders"], &[], look_alike), "{look_alike}");
    }
    assert!(selects(&["a|b"], &[], "b") && !selects(&["a|b"], &[], "ab"));
    assert!(!selects(&["(?x) orders # all"], &[], "orders2"));
    assert!(selects(&["orders.*"], &[], &format!("orders{}", "x".repeat(243))));
    assert!(!selects(&["orders.*"], &[".*\\.internal"], "orders.internal"));
    assert!(selects(&["orders.*"], &[".*\\.internal"], "orders-internal"));
    assert!(!selects(&["orders", ".*"], &["orders"], "orders"), "exclude wins");
}

#[test]
fn all_groups_are_chosen_but_those_of_restores_and_none_where_none_is_included() {
    let chosen = |more: &str| job(&format!("{MINIMAL}{more}")).consumer_groups;
    let selects = |more: &str, id: &str| {
        chosen(more).is_some_and(|chosen| chosen.selects(&crate::ids::GroupId::new(id).expect("an id")))
    };
    assert!(selects("", "orders") && selects("", "any text, even this: ü"));
    assert!(!selects("", "strimzi-backup-restore-1"));
    let some = "consumerGroups: {include: ['orders.*', audit], exclude: [orders-test]}";
    assert!(selects(some, "orders-1") && selects(some, "audit"));
    assert!(!selects(some, "orders-test") && !selects(some, "audit2"));
    assert!(chosen("consumerGroups: {include: []}").is_none());
    assert_eq!(faults(&format!("{MINIMAL}consumerGroups: {{include: ['(']}}")), ["consumerGroups.include[0]"]);
    assert_eq!(faults(&format!("{MINIMAL}consumerGroups: {{include: [], exclude: [a]}}")), ["consumerGroups.include"]);
}

#[test]
fn a53_internal_topics_are_chosen_only_by_entries_that_start_so() {
    assert!(!selects(&[".*"], &[], "__transaction_state"));
    assert!(!selects(&["(__)?.*", "_+transaction.*", ".*state"], &[], "__transaction_state"));
    assert!(selects(&["__transaction_state"], &[], "__transaction_state"));
    assert!(!selects(&["__.*"], &[], "__consumer_offsets"), "groups are chosen by themselves");
    assert_eq!(faults(&format!("{MINIMAL}topics: {{include: [__consumer_offsets]}}")), ["topics.include[0]"]);
    assert!(selects(&["(__a|__b).*", ".*"], &[], "__b1"));
    assert!(!selects(&["__strimzi.*"], &["__strimzi-canary"], "__strimzi-canary"));
    assert!(selects(&[".*"], &[], "_schemas"), "one underscore is not internal");
    let mixed = format!("{MINIMAL}topics: {{include: ['__a|orders']}}");
    assert_eq!(faults(&mixed), ["topics.include[0]"]);
}

#[test]
fn a_bad_pattern_is_named_with_its_position() {
    let text = format!("{MINIMAL}topics: {{include: ['ok', 'orders(']}}");
    let message = text.parse::<Job>().expect_err("bad pattern").to_string();
    assert!(message.contains("topics.include[1]") && message.contains("at character 7"), "{message}");
}

#[test]
fn endpoints_decide_about_plain_text_and_hold_no_credentials() {
    let text = |endpoint: &str| {
        format!(
            "cluster: {{bootstrapServers: 'a:1'}}\nstorage: {{type: s3, s3: {{bucket: bkt, endpoint: '{endpoint}'}}}}"
        )
    };
    let location = job(&text("http://minio:9000/")).storage.location;
    let endpoint = "http://minio:9000";
    assert!(matches!(&location, Location::S3(s3) if s3.allow_http() && s3.endpoint.as_deref() == Some(endpoint)));
    let message = text("https://me:hunter2@minio").parse::<Job>().expect_err("credentials").to_string();
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn a_password_among_the_bootstrap_servers_is_not_echoed() {
    for servers in ["sasl://u:s3cret@h:9092", "h:1,u:s3cret@h:9092", "s3cret@h:9092"] {
        let text = format!(
            "cluster: {{bootstrapServers: '{servers}'}}\nstorage: {{type: filesystem, filesystem: {{path: /b}}}}"
        );
        let faults = text.parse::<Job>().expect_err(servers).to_string();
        assert!(faults.contains("scheme or credentials") && !faults.contains("s3cret"), "{faults}");
    }
}
