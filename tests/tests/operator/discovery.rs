//! What discovery reads of a cluster through a real API server.

use std::error::Error as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::Client;
use serde_json::json;
use strimzi_backup_operator::strimzi::{
    Authentication, Cluster, Credentials, Discovered, Error, MetadataMode, Purpose, Request, SecretRef, Trust, User,
    discover,
};
use strimzi_backup_tests::kubernetes::ControlPlane;

use crate::strimzi::{CLUSTER, SOON, Strimzi, serve};
use crate::{client, client_of, plane};
use strimzi_backup_tests::kubernetes::{Right, rules};

fn request(strimzi: &Strimzi<'_>, user: Option<Authentication>) -> Request {
    Request {
        home: strimzi.namespace.clone(),
        namespace: strimzi.namespace.clone(),
        name: CLUSTER.to_owned(),
        listener: None,
        user: user.map(|authentication| User { authentication, name: "backup".to_owned(), namespace: None }),
        purpose: Purpose::Backup,
    }
}

async fn fails(plane: &ControlPlane, request: &Request) -> Result<Error> {
    let found = discover(&client(plane).await?, request).await;
    found.err().context("discovery was to fail")
}

#[tokio::test]
async fn discovery_finds_what_a_pod_needs_to_connect_by_certificate() -> Result<()> {
    let plane = plane()?;
    let strimzi = Strimzi::new(plane, "by-certificate", "v1")?;
    strimzi.kafka(json!([
        {"name": "plain", "port": 9092, "type": "internal", "tls": false},
        {"name": "tls", "port": 9093, "type": "internal", "tls": true, "authentication": {"type": "tls"}},
    ]))?;
    strimzi.pool("brokers", 3, &["broker"])?;
    strimzi.pool("controllers", 3, &["controller"])?;
    strimzi.reached("tls", "shop-kafka-bootstrap.somewhere.svc", 9093)?;
    strimzi.secret("shop-cluster-ca-cert", &[("ca.crt", "new"), ("ca-2026-03-01T00-00-00Z.crt", "old")])?;
    strimzi.user("backup", "tls")?;
    let status = json!({"username": "CN=backup", "secret": "backup"});
    plane.kubectl().set_status(&strimzi.namespace, "kafkauser/backup", &status)?;
    strimzi.secret("backup", &[("ca.crt", "clients"), ("user.crt", "certificate"), ("user.key", "key")])?;

    let found = discover(&client(plane).await?, &request(&strimzi, Some(Authentication::Tls))).await?;
    let secret = |name: &str| SecretRef { namespace: strimzi.namespace.clone(), name: name.to_owned() };
    let expected = Discovered {
        bootstrap_servers: "shop-kafka-bootstrap.somewhere.svc:9093".to_owned(),
        tls: Some(Trust {
            secret: secret("shop-cluster-ca-cert"),
            keys: ["ca-2026-03-01T00-00-00Z.crt", "ca.crt"].map(str::to_owned).to_vec(),
            certificates: Vec::new(),
        }),
        authentication: Some(Credentials::Tls {
            secret: secret("backup"),
            certificate_key: "user.crt".to_owned(),
            private_key_key: "user.key".to_owned(),
        }),
        cluster_id: Some("bk0gFIJHSQCa0uWQbOKKwA".to_owned()),
        warnings: Vec::new(),
        expiries: Vec::new(),
        listener: "tls".to_owned(),
        cluster: Cluster {
            api_version: "v1".to_owned(),
            strimzi_version: Some("1.2.0".to_owned()),
            kafka_version: Some("4.3.1".to_owned()),
            metadata_mode: Some(MetadataMode::KRaft),
            brokers: Some(3),
        },
    };
    assert_eq!(found, expected);
    Ok(())
}

#[tokio::test]
async fn discovery_finds_what_strimzi_would_write_where_there_is_no_status() -> Result<()> {
    let plane = plane()?;
    let strimzi = Strimzi::new(plane, "untold", "v1")?;
    strimzi.kafka(json!([
        {"name": "scram", "port": 9094, "type": "internal", "tls": true, "authentication": {"type": "scram-sha-512"}},
    ]))?;
    strimzi.secret("shop-cluster-ca-cert", &[("ca.crt", "one")])?;
    strimzi.user("backup", "scram-sha-512")?;
    strimzi.secret("backup", &[("password", "first-password")])?;
    let (client, request) = (client(plane).await?, request(&strimzi, Some(Authentication::ScramSha512)));

    let first = discover(&client, &request).await?;
    // Address and Secret are named as Strimzi would name them.
    assert_eq!(first.bootstrap_servers, format!("shop-kafka-bootstrap.{}.svc:9094", strimzi.namespace));
    assert!(first.warnings.iter().any(|warning| warning.contains("tells no address")), "{:?}", first.warnings);
    let Some(Credentials::ScramSha512 { username, .. }) = &first.authentication else {
        panic!("{:?}", first.authentication);
    };
    assert_eq!(username, "backup");
    assert!(!format!("{first:?}").contains("first-password"));
    assert_eq!(discover(&client, &request).await?, first);
    Ok(())
}

#[tokio::test]
async fn discovery_says_what_is_missing_and_the_user_it_asks_for_can_be_applied() -> Result<()> {
    let plane = plane()?;
    let strimzi = Strimzi::new(plane, "missing", "v1")?;
    let nobody = request(&strimzi, None);
    let error = fails(plane, &nobody).await?;
    assert_eq!(error.reason(), "ClusterNotFound");
    strimzi.kafka(json!([
        {"name": "tls", "port": 9093, "type": "internal", "tls": true, "authentication": {"type": "tls"}},
    ]))?;
    let error = fails(plane, &nobody).await?;
    assert_eq!(error.reason(), "SecretNotFound");
    assert!(error.to_string().contains("shop-cluster-ca-cert"), "{error}");
    strimzi.secret("shop-cluster-ca-cert", &[("ca.crt", "one")])?;

    let error = fails(plane, &nobody).await?;
    assert_eq!(error.reason(), "AuthenticationRequired");
    let Error::AuthenticationMissing { yaml, user, .. } = &error else { panic!("{error}") };
    plane.kubectl().apply(&strimzi.namespace, yaml)?;
    let mut with = request(&strimzi, Some(Authentication::Tls));
    with.user.as_mut().context("a user")?.name = user.clone();
    let error = fails(plane, &with).await?;
    assert_eq!(error.reason(), "SecretNotFound");
    assert!(error.to_string().contains(&format!("Secret {}/kafka-backup", strimzi.namespace)), "{error}");
    strimzi.secret("kafka-backup", &[("user.crt", "certificate"), ("user.key", "key")])?;
    discover(&client(plane).await?, &with).await?;

    let error = fails(plane, &request(&strimzi, Some(Authentication::Tls))).await?;
    assert_eq!(error.reason(), "KafkaUserNotFound");
    Ok(())
}

/// What the operator's role has to allow, so that discovery works, and nothing else. The third tells how many brokers there are,
/// which nobody needs to connect.
const RIGHTS: [Right<'_>; 4] = [
    ("kafka.strimzi.io", &["kafkas"], &["get"]),
    ("kafka.strimzi.io", &["kafkausers"], &["get"]),
    ("kafka.strimzi.io", &["kafkanodepools"], &["list"]),
    ("", &["secrets"], &["get"]),
];

#[tokio::test]
async fn discovery_uses_four_rights_and_says_which_is_missing() -> Result<()> {
    let plane = plane()?;
    let strimzi = Strimzi::new(plane, "rights", "v1")?;
    strimzi.kafka(json!([
        {"name": "tls", "port": 9093, "type": "internal", "tls": true, "authentication": {"type": "tls"}},
    ]))?;
    strimzi.pool("nodes", 3, &["broker", "controller"])?;
    strimzi.secret("shop-cluster-ca-cert", &[("ca.crt", "one")])?;
    strimzi.user("backup", "tls")?;
    strimzi.secret("backup", &[("user.crt", "certificate"), ("user.key", "key")])?;
    let request = request(&strimzi, Some(Authentication::Tls));

    let all = plane.service_account(&strimzi.namespace, "all", &rules(&RIGHTS))?;
    let is_whole = |found: &Result<Discovered, Error>| {
        found
            .as_ref()
            .is_ok_and(|found| found.cluster.brokers == Some(3) && found.warnings.iter().all(|told| !is_lack(told)))
    };
    answered(&client_of(&all).await?, &request, is_whole).await?;
    for missing in RIGHTS {
        let rest: Vec<_> = RIGHTS.into_iter().filter(|right| *right != missing).collect();
        let account = plane.service_account(&strimzi.namespace, &format!("no-{}", missing.1[0]), &rules(&rest))?;
        let says_so = |found: &Result<Discovered, Error>| match found {
            Ok(found) => {
                let told = found.warnings.iter().any(|told| is_lack(told) && told.contains(missing.1[0]));
                missing.1[0] == "kafkanodepools" && found.cluster.brokers.is_none() && told
            }
            Err(error) => {
                let source = error.source().map(ToString::to_string).unwrap_or_default();
                is_lack(&error.to_string()) && source.contains(missing.1[0])
            }
        };
        answered(&client_of(&account).await?, &request, says_so).await?;
    }
    Ok(())
}

fn is_lack(told: &str) -> bool {
    told.contains("the role of this operator does not allow it")
}

/// Asks until the answer is as it has to be: the API server learns of roles and versions after a moment.
async fn answered(client: &Client, request: &Request, fits: impl Fn(&Result<Discovered, Error>) -> bool) -> Result<()> {
    let deadline = Instant::now() + SOON;
    loop {
        let found = discover(client, request).await;
        if fits(&found) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the last answer: {found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn discovery_follows_the_upgrades_of_strimzi() -> Result<()> {
    let plane = ControlPlane::start()?;
    let strimzi = Strimzi::new(&plane, "upgraded", "v1beta2")?;
    let (client, request) = (client(&plane).await?, request(&strimzi, None));
    let error = fails(&plane, &request).await?;
    assert_eq!(error.reason(), "StrimziNotFound");
    let served = async |expected: &str| {
        let fits =
            |found: &Result<Discovered, Error>| found.as_ref().is_ok_and(|found| found.cluster.api_version == expected);
        answered(&client, &request, fits).await
    };
    let listeners = json!([{"name": "plain", "port": 9092, "type": "internal", "tls": false}]);

    // 0.48 and before, then 0.49 to 0.51, then 1.0 and after.
    serve(plane.kubectl(), &["v1beta2"])?;
    strimzi.kafka(listeners.clone())?;
    served("v1beta2").await?;
    serve(plane.kubectl(), &["v1beta2", "v1"])?;
    served("v1").await?;
    // Before 1.0 whoever upgrades converts what is stored; here it is made anew.
    strimzi.kubectl.run(&["delete", "--namespace", &strimzi.namespace, "kafka", CLUSTER])?;
    serve(plane.kubectl(), &["v1", "v1beta2"])?;
    for plural in ["kafkas", "kafkanodepools", "kafkausers"] {
        let definition = format!("customresourcedefinition/{plural}.kafka.strimzi.io");
        plane.kubectl().set_status("default", &definition, &json!({"storedVersions": ["v1"]}))?;
    }
    serve(plane.kubectl(), &["v1"])?;
    Strimzi { version: "v1", ..strimzi }.kafka(listeners)?;
    served("v1").await
}
