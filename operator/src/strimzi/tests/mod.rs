//! Discovery on resources as Strimzi 0.40, 0.43, 0.51 and 1.2 write them.

mod shapes;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use shapes::{at, kafka, secret, user, v0_40, v0_43, v0_51, v1_2};

use super::Authentication::{ScramSha512, Tls};
use super::access::{self, Purpose};
use super::error::{Error, Place};
use super::kafka::{Kafka, NodePool};
use super::listener::choose;
use super::{Authentication, Cluster, Credentials, MetadataMode, User, cluster, fetch, trust, user as users};

/// The listener that is chosen, its addresses, and whether the status told them.
fn reached(
    kafka: &Kafka,
    name: Option<&str>,
    authentication: Option<Authentication>,
) -> Result<(String, String, bool), Error> {
    let choice = choose(kafka, name, authentication)?;
    let (servers, told) = choice.bootstrap_servers()?;
    Ok((choice.listener.name.clone(), servers, told))
}

fn found(name: &str, servers: &str, told: bool) -> (String, String, bool) {
    (name.to_owned(), servers.to_owned(), told)
}

#[test]
fn a_listener_is_chosen_by_authentication_then_nearness_then_tls() {
    let kafka = v0_40();
    let plain = found("plain", "shop-kafka-bootstrap.kafka.svc:9092", true);
    assert_eq!(reached(&kafka, None, None).unwrap(), plain);
    let tls = found("tls", "shop-kafka-bootstrap.kafka.svc:9093", true);
    assert_eq!(reached(&kafka, None, Some(Tls)).unwrap(), tls);
    // Doubles go, and IPv6 addresses are put in brackets.
    let external = found("external", "10.0.0.2:31000,[fd00::7]:31000", true);
    assert_eq!(reached(&kafka, None, Some(ScramSha512)).unwrap(), external);
    assert_eq!(reached(&kafka, Some("external"), Some(ScramSha512)).unwrap(), external);
}

#[test]
fn tls_goes_before_none_and_inside_before_outside() {
    let listener = |name: &str, kind: &str, tls: bool| json!({"name": name, "port": 9, "type": kind, "tls": tls});
    let of = |listeners: Vec<Value>| {
        let kafka = kafka(json!({
            "metadata": {"name": "shop", "namespace": "kafka"},
            "spec": {"kafka": {"listeners": listeners}},
        }));
        choose(&kafka, None, None).unwrap().listener.name.clone()
    };
    assert_eq!(of(vec![listener("a", "internal", false), listener("b", "internal", true)]), "b");
    assert_eq!(of(vec![listener("a", "route", true), listener("b", "internal", false)]), "b");
    assert_eq!(of(vec![listener("a", "nodeport", true), listener("b", "cluster-ip", true)]), "b");
    assert_eq!(of(vec![listener("b", "internal", true), listener("a", "internal", true)]), "a");
}

#[test]
fn without_addresses_in_the_status_the_names_that_strimzi_gives_are_used() {
    let kafka = v0_43();
    let scram = found("scram", "shop-kafka-bootstrap.kafka.svc:9095", false);
    assert_eq!(reached(&kafka, None, Some(ScramSha512)).unwrap(), scram);
    let inside = found("inside", "shop-kafka-inside-bootstrap.kafka.svc:9096", false);
    assert_eq!(reached(&kafka, None, Some(Tls)).unwrap(), inside);
    let tls = found("tls", "shop-kafka-bootstrap.kafka.svc:9093", false);
    assert_eq!(reached(&v1_2(), None, None).unwrap(), tls);

    let error = reached(&kafka, None, None).unwrap_err();
    assert_eq!(error.reason(), "ListenerWithoutAddress");
    let said = "listener balanced of Kafka kafka/shop is of type loadbalancer and has no address in status.listeners \
                (NotReady: TimeoutException: Exceeded timeout of 300000ms)";
    assert!(error.to_string().starts_with(said), "{error}");
}

#[test]
fn a_listener_that_does_not_fit_is_refused_with_those_that_there_are() {
    let case = |kafka: &Kafka, name: Option<&str>, authentication| {
        let error = choose(kafka, name, authentication).unwrap_err();
        (error.reason(), error.to_string())
    };
    let said = |(reason, text): (&str, String), wanted: (&str, &[&str])| {
        assert_eq!(reason, wanted.0, "{text}");
        assert!(wanted.1.iter().all(|part| text.contains(part)), "{text}");
    };
    let kafka = v0_40();
    said(
        case(&kafka, Some("tsl"), None),
        ("ListenerNotFound", &["Kafka kafka/shop has no listener tsl", "plain, tls, external", "listenerName"]),
    );
    said(
        case(&kafka, Some("tls"), Some(ScramSha512)),
        ("AuthenticationMismatch", &["listener tls", "takes authentication tls", "scram-sha-512"]),
    );
    said(
        case(&kafka, Some("plain"), Some(Tls)),
        ("AuthenticationMismatch", &["takes authentication none", "spec.authentication says tls"]),
    );
    said(
        case(&v0_51(), Some("oauth"), None),
        ("AuthenticationMismatch", &["listener oauth", "custom", "own: scram-sha-512"]),
    );
    said(
        case(&v0_51(), None, Some(Tls)),
        ("ListenerNotFound", &["no listener with authentication tls", "oauth: custom, own: scram-sha-512"]),
    );
}

#[test]
fn authentication_that_is_wanted_and_left_out_is_known_of_the_best_listener() {
    let wants = |kafka: &Kafka| {
        let choice = choose(kafka, None, None).unwrap();
        (choice.listener.name.clone(), choice.wants())
    };
    // It has one that asks nobody, far away as it is.
    assert_eq!(wants(&v0_43()), ("balanced".to_owned(), None));
    assert_eq!(wants(&v0_51()), ("own".to_owned(), Some(ScramSha512)));
    assert_eq!(wants(&v1_2()), ("tls".to_owned(), Some(Tls)));
}

#[test]
fn every_certificate_of_the_cas_is_trusted() {
    let one = secret(&[("ca.crt", "new"), ("ca.p12", "x"), ("ca.password", "y")]);
    let two = secret(&[("ca-2026-03-01T00-00-00Z.crt", "old"), ("ca.crt", "new"), ("ca.password", "y")]);
    let place = at("kafka", "shop-cluster-ca-cert");
    assert_eq!(trust::trust(&place, &one).unwrap().keys, ["ca.crt"]);
    assert_eq!(trust::trust(&place, &two).unwrap().keys, ["ca-2026-03-01T00-00-00Z.crt", "ca.crt"]);
    let error = trust::trust(&place, &secret(&[("ca.p12", "x")])).unwrap_err();
    assert!(error.to_string().starts_with("Secret kafka/shop-cluster-ca-cert has no key ca.crt"), "{error}");
}

#[test]
fn a_certificate_of_a_listener_s_own_comes_from_the_status() {
    let kafka = v0_51();
    let choice = choose(&kafka, Some("own"), None).unwrap();
    assert_eq!(choice.own_certificates().unwrap(), ["own PEM"]);
    // The status tells the CA of the cluster for the others, and the Secret tells more.
    let kafka = v0_40();
    assert!(choose(&kafka, Some("tls"), None).unwrap().own_certificates().unwrap().is_empty());
}

/// Strimzi empties its status while a cluster is unhealthy or paused. Pods that stream must not be made anew without it then.
#[test]
fn a_certificate_of_a_listener_s_own_that_the_status_does_not_tell_is_waited_for() {
    let mut kafka = v0_51();
    let told = std::mem::take(&mut kafka.status.listeners);
    let refused = |kafka: &Kafka| choose(kafka, Some("own"), None).unwrap().own_certificates().unwrap_err();
    assert_eq!(refused(&kafka).reason(), "ListenerWithoutCertificate");
    kafka.status.listeners = told;
    kafka.status.listeners[0].certificates.clear();
    let error = refused(&kafka).to_string();
    assert!(error.starts_with("listener own of Kafka kafka/shop has a certificate of its own"), "{error}");
}

fn wanted(authentication: Authentication) -> User {
    User { authentication, name: "backup".to_owned(), namespace: None }
}

#[test]
fn credentials_come_from_the_secret_that_the_user_s_status_names() {
    let mut scram = user("backup", "scram-sha-512");
    scram["status"] = json!({"username": "backup", "secret": "backup-secret"});
    let accepted = users::accept(&v0_40(), &wanted(ScramSha512), "kafka", &scram).unwrap();
    let expected = Credentials::ScramSha512 {
        username: "backup".to_owned(),
        secret: at("kafka", "backup-secret"),
        password_key: "password".to_owned(),
    };
    assert_eq!(accepted.credentials(Some(&secret(&[("password", "hunter2")]))).unwrap(), expected);

    let accepted = users::accept(&v0_40(), &wanted(Tls), "kafka", &user("backup", "tls")).unwrap();
    let found = secret(&[("ca.crt", "clients' CA"), ("user.crt", "c"), ("user.key", "k")]);
    let expected = Credentials::Tls {
        secret: at("kafka", "backup"),
        certificate_key: "user.crt".to_owned(),
        private_key_key: "user.key".to_owned(),
    };
    assert_eq!(accepted.credentials(Some(&found)).unwrap(), expected);
}

#[test]
fn without_a_status_the_secret_has_the_name_that_strimzi_gives() {
    let kafka = v0_43();
    let accepted = users::accept(&kafka, &wanted(ScramSha512), "kafka", &user("backup", "scram-sha-512")).unwrap();
    assert_eq!(accepted.secret, at("kafka", "kafka-user-backup"));
    assert_eq!(users::place(&kafka, &wanted(Tls)).to_string(), "KafkaUser users/backup");
    let elsewhere = User { namespace: Some("other".to_owned()), ..wanted(Tls) };
    assert_eq!(users::place(&kafka, &elsewhere).to_string(), "KafkaUser other/backup");
}

#[test]
fn credentials_are_copied_only_where_their_owner_allows_it() {
    let mut shared = user("backup", "tls");
    let elsewhere = |value: &Value| users::accept(&v0_40(), &wanted(Tls), "team-a", value);
    let error = elsewhere(&shared).unwrap_err();
    assert_eq!(error.reason(), "KafkaUserNotShared");
    let command = "kubectl annotate kafkauser backup --namespace kafka kafkabackup.com/allowed-namespaces=team-a";
    assert!(error.to_string().contains(command), "{error}");
    for (allowed, is_enough) in [("team-b", false), ("team-b, team-a", true), ("*", true), ("", false)] {
        shared["metadata"]["annotations"] = json!({"kafkabackup.com/allowed-namespaces": allowed});
        assert_eq!(elsewhere(&shared).is_ok(), is_enough, "{allowed:?}");
    }
}

#[test]
fn a_user_that_cannot_be_used_is_refused() {
    let refuse =
        |value: &Value, authentication| users::accept(&v0_40(), &wanted(authentication), "kafka", value).unwrap_err();
    let error = refuse(&user("backup", "tls-external"), Tls);
    assert_eq!(error.reason(), "AuthenticationMismatch");
    assert!(error.to_string().contains("has spec.authentication.type tls-external, and tls is asked for"), "{error}");
    let mut foreign = user("backup", "tls");
    foreign["metadata"]["labels"]["strimzi.io/cluster"] = json!("other");
    let error = refuse(&foreign, Tls);
    assert_eq!(error.reason(), "KafkaUserNotFound");
    assert!(error.to_string().contains("strimzi.io/cluster: other, and the cluster is shop"), "{error}");
    let error = refuse(&json!({"metadata": {"name": 7}}), Tls);
    assert!(error.to_string().starts_with("KafkaUser kafka/backup is not as Strimzi writes it"), "{error}");
}

#[test]
fn what_a_secret_lacks_is_named_and_nothing_of_what_it_holds() {
    let mut failed = user("backup", "scram-sha-512");
    failed["status"] = json!({"conditions": [
        {"type": "NotReady", "status": "True", "reason": "InvalidResourceException", "message": "no ACLs here"},
    ]});
    let accept = || users::accept(&v0_40(), &wanted(ScramSha512), "kafka", &failed).unwrap();
    let error = accept().credentials(None).unwrap_err();
    assert_eq!(error.reason(), "SecretNotFound");
    assert!(error.to_string().contains("no Secret kafka/backup"), "{error}");
    assert!(error.to_string().contains("NotReady: InvalidResourceException: no ACLs here"), "{error}");
    let error = accept().credentials(Some(&secret(&[("passwort", "hunter2")]))).unwrap_err();
    assert!(error.to_string().starts_with("Secret kafka/backup has no key password"), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[test]
fn kraft_or_zookeeper_by_status_then_annotation_then_spec() {
    assert_eq!(MetadataMode::of(&v0_40()), MetadataMode::ZooKeeper);
    assert_eq!([v0_43(), v0_51(), v1_2()].map(|kafka| MetadataMode::of(&kafka)), [MetadataMode::KRaft; 3]);
    let mut kafka = v0_40();
    kafka.status.kafka_metadata_state = Some("KRaftDualWriting".to_owned());
    assert_eq!(MetadataMode::of(&kafka), MetadataMode::Migrating);
    kafka.status.kafka_metadata_state = None;
    assert_eq!(MetadataMode::of(&kafka), MetadataMode::ZooKeeper);
    kafka.metadata.annotations.insert("strimzi.io/kraft".to_owned(), "Migration".to_owned());
    assert_eq!(MetadataMode::of(&kafka), MetadataMode::Migrating);
    kafka.metadata.annotations.insert("strimzi.io/kraft".to_owned(), "disabled".to_owned());
    assert_eq!(MetadataMode::of(&kafka), MetadataMode::ZooKeeper);
}

#[test]
fn brokers_are_counted_in_the_pools_that_count() {
    let pool = |replicas: u32, roles: &[&str]| {
        let pool = json!({"spec": {"replicas": replicas, "roles": roles, "storage": {"type": "ephemeral"}}});
        serde_json::from_value::<NodePool>(pool).unwrap()
    };
    let pools = [pool(3, &["controller"]), pool(4, &["broker"]), pool(1, &["controller", "broker"])];
    assert_eq!(cluster::brokers(&v1_2(), &pools), Some(5));
    assert_eq!(cluster::brokers(&v0_43(), &pools), Some(5));
    // A cluster with ZooKeeper, and pools that nobody has switched on.
    assert_eq!(cluster::brokers(&v0_40(), &pools), Some(3));
    assert_eq!(cluster::brokers(&v1_2(), &[]), None);
}

#[test]
fn brokers_that_cannot_be_counted_stop_nothing_and_it_is_told_why() {
    let source = kube::Error::ReadEvents(std::io::Error::other("cut off"));
    let error = Error::Api { what: "list the KafkaNodePools of Kafka kafka/shop".to_owned(), way_out: "", source };
    let told = fetch::uncounted(&error);
    assert!(told.starts_with("it is not known how many brokers there are: list the KafkaNodePools of"), "{told}");
    assert!(told.ends_with("cut off"), "{told}");
}

#[test]
fn what_is_told_of_a_cluster_reads_back_as_the_status_has_it() {
    let cluster = Cluster {
        api_version: "v1".to_owned(),
        strimzi_version: Some("1.2.0".to_owned()),
        kafka_version: None,
        metadata_mode: Some(MetadataMode::KRaft),
        brokers: Some(3),
    };
    let status = json!({"apiVersion": "v1", "strimziVersion": "1.2.0", "metadataMode": "KRaft", "brokers": 3});
    assert_eq!(serde_json::to_value(&cluster).unwrap(), status);
    assert_eq!(serde_json::from_value::<Cluster>(status).unwrap(), cluster);
}

#[test]
fn the_best_version_of_the_api_is_read() {
    let version = |served: &[&str]| fetch::version(&served.iter().map(|&one| one.to_owned()).collect::<Vec<_>>());
    assert_eq!(version(&["v1beta2", "v1beta1", "v1alpha1"]).unwrap(), "v1beta2");
    assert_eq!(version(&["v1beta2", "v1"]).unwrap(), "v1");
    assert_eq!(version(&["v1"]).unwrap(), "v1");
    let error = version(&["v1alpha1", "v2"]).unwrap_err();
    assert_eq!(error.reason(), "StrimziNotFound");
    assert!(error.to_string().contains("in v1alpha1, v2, and v1 and v1beta2 are understood"), "{error}");
}

#[test]
fn what_surprises_is_told() {
    let told = |kafka: &Kafka, name: &str, tls: bool| {
        let choice = choose(kafka, Some(name), None).unwrap();
        let (_, told) = choice.bootstrap_servers().unwrap();
        let trusted = trust::trust(&at("kafka", "ca"), &secret(&[("ca.crt", "c")])).unwrap();
        fetch::warnings(choice, told, tls.then_some(&trusted)).join("\n")
    };
    assert_eq!(told(&v0_40(), "tls", true), "");
    assert!(told(&v0_40(), "plain", false).contains("does not encrypt"));
    let paused = told(&v1_2(), "tls", true);
    assert!(paused.contains("Kafka kafka/shop is not ready (ReconciliationPaused)"), "{paused}");
    assert!(paused.contains("tells no address of listener tls"), "{paused}");
    let mut open = v0_51();
    open.spec.kafka.listeners[1].authentication = None;
    assert!(told(&open, "own", true).contains("spec.kafka.authorization lets only users do things"));
}

fn created(kafka: &Kafka, version: &str, authentication: Authentication, purpose: Purpose) -> Value {
    let yaml = access::kafka_user(kafka, version, ("kafka", "me"), authentication, purpose);
    serde_norway::from_str(&yaml).unwrap()
}

#[test]
fn the_user_to_create_is_of_the_cluster_and_of_the_version_that_is_served() {
    let user = created(&v0_43(), "v1beta2", Tls, Purpose::Backup);
    assert_eq!(user["apiVersion"], "kafka.strimzi.io/v1beta2");
    assert_eq!(user["metadata"]["labels"]["strimzi.io/cluster"], "shop");
    assert_eq!(user["spec"]["authentication"]["type"], "tls");
    assert_eq!(user["spec"]["authorization"]["type"], "simple");
    // A user with ACLs fails where the cluster takes none.
    for kafka in [v0_40(), v0_51()] {
        assert!(created(&kafka, "v1", ScramSha512, Purpose::Backup)["spec"].get("authorization").is_none());
    }
    let mut taking = v0_51();
    taking.spec.kafka.authorization.as_mut().unwrap().supports_admin_api = true;
    assert!(created(&taking, "v1", ScramSha512, Purpose::Backup)["spec"].get("authorization").is_some());
    assert!(access::note(&v1_2()).contains("spec.entityOperator.userOperator"));
    assert_eq!(access::note(&v0_43()), "");
}

/// Rights as a set of (type, name, pattern, operation).
fn rights(user: &Value) -> BTreeSet<[String; 4]> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one = |acl: &Value| {
        let resource = acl["resource"].clone();
        let operations = acl["operations"].as_array().unwrap().clone();
        operations.into_iter().map(move |operation| {
            [text(&resource["type"]), text(&resource["name"]), text(&resource["patternType"]), text(&operation)]
        })
    };
    user["spec"]["authorization"]["acls"].as_array().unwrap().iter().flat_map(one).collect()
}

#[test]
fn the_user_to_create_may_do_what_the_documentation_says_and_no_more() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md")).unwrap();
    let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let documented: Vec<Value> = blocks
        .filter(|block| block.contains("kind: KafkaUser"))
        .map(|block| serde_norway::from_str(block).unwrap())
        .collect();
    let [restore, backup] = documented.as_slice() else { panic!("two users are documented: {documented:?}") };
    assert_eq!(rights(&created(&v0_43(), "v1", Tls, Purpose::Backup)), rights(backup));
    let all = Purpose::Restore { groups: true, overwrite: true };
    assert_eq!(rights(&created(&v0_43(), "v1", Tls, all)), rights(restore));

    let least = rights(&created(&v0_43(), "v1", Tls, Purpose::Restore { groups: false, overwrite: false }));
    let missing: Vec<_> = rights(restore).difference(&least).cloned().collect();
    let [describe, read] =
        ["Describe", "Read"].map(|operation| ["group", "*", "literal", operation].map(str::to_owned));
    assert_eq!(missing, [describe, read, ["topic", "*", "literal", "Delete"].map(str::to_owned)]);
    let groups = rights(&created(&v0_43(), "v1", Tls, Purpose::Restore { groups: true, overwrite: false }));
    assert!(groups.contains(&["group", "*", "literal", "Read"].map(str::to_owned)));
}

#[test]
fn the_error_for_missing_authentication_holds_what_to_apply_and_what_to_set() {
    let error = Error::AuthenticationMissing {
        place: Place::new("Kafka", "kafka", "shop"),
        listener: "tls".to_owned(),
        authentication: Tls,
        user: "kafka-backup".to_owned(),
        note: "",
        yaml: access::kafka_user(&v0_43(), "v1beta2", ("users", "kafka-backup"), Tls, Purpose::Backup),
    };
    insta::assert_snapshot!(error.to_string(), @r"
    listener tls of Kafka kafka/shop wants authentication tls, and spec.authentication is left out: create this KafkaUser, and set spec.authentication to {type: tls, kafkaUserRef: {name: kafka-backup}}
    apiVersion: kafka.strimzi.io/v1beta2
    kind: KafkaUser
    metadata:
      labels:
        strimzi.io/cluster: shop
      name: kafka-backup
      namespace: users
    spec:
      authentication:
        type: tls
      authorization:
        acls:
        - operations:
          - Read
          - Describe
          - DescribeConfigs
          resource:
            name: '*'
            patternType: literal
            type: topic
        type: simple
    ");
}
