//! Judges the `cluster` block.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::super::Scalar;
use super::super::raw::{RawAuthentication, RawCluster, RawTls};
use super::super::resolved::{Authentication, Cluster, ScramMechanism, Tls, Username};
use super::Faults;

/// The librdkafka properties that a document may set. What decides correctness (isolation, offsets, group, end-of-partition
/// events) and what has a field of its own (security, host name verification) is not among them.
pub const ALLOWED_PROPERTIES: &[&str] = &[
    "api.version.request.timeout.ms",
    "broker.address.family",
    "broker.address.ttl",
    "client.dns.lookup",
    "client.id",
    "client.rack",
    "connections.max.idle.ms",
    "debug",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "log.connection.close",
    "max.partition.fetch.bytes",
    "message.max.bytes",
    "metadata.max.age.ms",
    "metadata.recovery.strategy",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "receive.message.max.bytes",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.nagle.disable",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "socket.timeout.ms",
    "ssl.cipher.suites",
    "ssl.curves.list",
    "ssl.sigalgs.list",
    "topic.metadata.refresh.interval.ms",
];

pub(super) fn resolve(raw: RawCluster, faults: &mut Faults) -> Option<Cluster> {
    let bootstrap_servers = bootstrap_servers(raw.bootstrap_servers, faults);
    let tls = raw.tls.map(|tls| self::tls(tls, faults));
    let authentication = raw.authentication.and_then(|raw| authentication(raw, tls.as_ref(), faults));
    let properties = properties(raw.properties.unwrap_or_default(), faults);
    Some(Cluster { bootstrap_servers: bootstrap_servers?, tls, authentication, properties })
}

fn bootstrap_servers(raw: Option<String>, faults: &mut Faults) -> Option<String> {
    let path = "cluster.bootstrapServers";
    let text = faults.required_text(path, raw)?;
    let servers: Vec<&str> = text.split(',').map(str::trim).collect();
    for server in &servers {
        if server.contains("://") || server.contains('@') {
            // Not echoed: what stands before the @ may be a password.
            let message = "has a scheme or credentials in it; write host:port, with a tls block to switch TLS on, and an \
                           authentication block";
            faults.push(path, message);
        } else if !is_host_and_port(server) {
            faults.push(path, format!("{server:?} is not host:port; write such as my-cluster-kafka-bootstrap:9092"));
        }
    }
    Some(servers.join(","))
}

fn is_host_and_port(server: &str) -> bool {
    let Some((host, port)) = server.rsplit_once(':') else {
        return false;
    };
    let bracketed = host.starts_with('[') && host.ends_with(']') && host.len() > 2;
    let plain = !host.is_empty() && !host.contains([':', '/', '[', ']']) && !host.contains(char::is_whitespace);
    (bracketed || plain) && port.parse::<u16>().is_ok_and(|port| port != 0)
}

fn tls(raw: RawTls, faults: &mut Faults) -> Tls {
    let ca_files = raw.ca_files.unwrap_or_default();
    if ca_files.iter().any(|file| file.as_os_str().is_empty()) {
        faults.push("cluster.tls.caFiles", "has an empty path; name a file or leave the field out");
    }
    let certificate_file = faults.file("cluster.tls.certificateFile", raw.certificate_file);
    let key_file = faults.file("cluster.tls.keyFile", raw.key_file);
    let key_password_file = faults.file("cluster.tls.keyPasswordFile", raw.key_password_file);
    match (&certificate_file, &key_file) {
        (Some(_), None) => faults.push("cluster.tls.keyFile", "is missing; a client certificate needs its private key"),
        (None, Some(_)) => {
            faults.push("cluster.tls.certificateFile", "is missing; a private key needs its certificate");
        }
        _ => {}
    }
    if key_password_file.is_some() && key_file.is_none() {
        faults.push("cluster.tls.keyPasswordFile", "is for a private key; set cluster.tls.keyFile too, or remove it");
    }
    let verify_hostname = raw.verify_hostname.unwrap_or(true);
    Tls { ca_files, certificate_file, key_file, key_password_file, verify_hostname }
}

/// Which optional fields a kind of authentication has.
struct Fields {
    user: bool,
    password: bool,
    token: bool,
}

fn authentication(raw: RawAuthentication, tls: Option<&Tls>, faults: &mut Faults) -> Option<Authentication> {
    const BY_PASSWORD: Fields = Fields { user: true, password: true, token: false };
    const BY_TOKEN: Fields = Fields { user: false, password: false, token: true };
    const BY_CERTIFICATE: Fields = Fields { user: false, password: false, token: false };
    let kind = faults.required_text("cluster.authentication.type", raw.r#type.clone())?;
    match kind.as_str() {
        "scram-sha-512" | "scram-sha-256" => {
            foreign_fields(&kind, &raw, &BY_PASSWORD, faults);
            let mechanism = if kind == "scram-sha-512" { ScramMechanism::Sha512 } else { ScramMechanism::Sha256 };
            let (username, password_file) = user_and_password(raw, faults)?;
            Some(Authentication::Scram { mechanism, username, password_file })
        }
        "plain" => {
            foreign_fields(&kind, &raw, &BY_PASSWORD, faults);
            let (username, password_file) = user_and_password(raw, faults)?;
            Some(Authentication::Plain { username, password_file })
        }
        "oauthbearer" => {
            foreign_fields(&kind, &raw, &BY_TOKEN, faults);
            let token_file = faults.required_file("cluster.authentication.tokenFile", raw.token_file)?;
            Some(Authentication::OauthBearer { token_file })
        }
        "tls" => {
            foreign_fields(&kind, &raw, &BY_CERTIFICATE, faults);
            if !tls.is_some_and(|tls| tls.certificate_file.is_some() && tls.key_file.is_some()) {
                let message = "is tls, which needs cluster.tls.certificateFile and cluster.tls.keyFile";
                faults.push("cluster.authentication.type", message);
            }
            Some(Authentication::Tls)
        }
        other => {
            let message = format!("{other:?} is not one of scram-sha-512, scram-sha-256, plain, oauthbearer, tls");
            faults.push("cluster.authentication.type", message);
            None
        }
    }
}

fn foreign_fields(kind: &str, raw: &RawAuthentication, fields: &Fields, faults: &mut Faults) {
    let present = [
        ("username", raw.username.is_some(), fields.user),
        ("usernameFile", raw.username_file.is_some(), fields.user),
        ("passwordFile", raw.password_file.is_some(), fields.password),
        ("tokenFile", raw.token_file.is_some(), fields.token),
    ];
    for (field, is_set, belongs) in present {
        if is_set && !belongs {
            faults.push(&format!("cluster.authentication.{field}"), format!("has no meaning for {kind}; remove it"));
        }
    }
}

fn user_and_password(raw: RawAuthentication, faults: &mut Faults) -> Option<(Username, PathBuf)> {
    let user_file = faults.file("cluster.authentication.usernameFile", raw.username_file);
    let username = match (raw.username, user_file) {
        (Some(name), None) if !name.as_str().is_empty() => Some(Username::Literal(name.as_str().to_owned())),
        (None, Some(file)) => Some(Username::File(file)),
        (Some(_), Some(_)) => {
            faults.push("cluster.authentication.username", "is set beside usernameFile; keep one of them");
            None
        }
        _ => {
            faults.push("cluster.authentication.username", "is missing; set it or usernameFile");
            None
        }
    };
    let password_file = faults.required_file("cluster.authentication.passwordFile", raw.password_file);
    username.zip(password_file)
}

fn properties(raw: BTreeMap<String, Scalar>, faults: &mut Faults) -> BTreeMap<String, String> {
    let mut properties = BTreeMap::new();
    // What is allowed is long: it is said once.
    let mut first = None;
    for (name, value) in raw {
        if ALLOWED_PROPERTIES.contains(&name.as_str()) {
            properties.insert(name, value.as_str().to_owned());
            continue;
        }
        let path = format!("cluster.properties.{name}");
        let message = match &first {
            None => format!("may not be set here; allowed are {}", ALLOWED_PROPERTIES.join(", ")),
            Some(first) => format!("may not be set here; what may is said at {first}"),
        };
        faults.push(&path, message);
        first = first.or(Some(path));
    }
    properties
}
