//! Whom the pods talk to: brokers, the store, Vault, DNS, the API server; and who may ask them for metrics.

use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Subject;
use super::names::{HTTP_PORT, Part};
use crate::api::{Encryption, Storage};

/// The ports of API servers: policies see the one behind the Service, and nothing tells it beforehand.
const API_SERVER: [i32; 2] = [443, 6443];

/// Where tokens of an identity of the pod come from, at every cloud.
const LINK_LOCAL: &str = "169.254.0.0/16";

/// The policy of the pods of a part, which talk to brokers where servers are given. Restricts ports where it cannot know addresses.
pub(super) fn policy(
    subject: &Subject<'_>,
    part: Part,
    bootstrap_servers: Option<&str>,
    storage: &Storage,
    encryption: Option<&Encryption>,
) -> NetworkPolicy {
    let dns = [("UDP", 53), ("TCP", 53), ("UDP", 5353), ("TCP", 5353)];
    let mut egress = vec![
        NetworkPolicyEgressRule { ports: Some(dns.map(|(protocol, number)| port(protocol, number)).into()), to: None },
        store(storage),
    ];
    egress.extend(encryption.and_then(|encryption| encryption.transit.as_ref()).map(|vault| endpoint(&vault.address)));
    if let Some(servers) = bootstrap_servers {
        egress.push(brokers(servers));
        // Those that talk to brokers also tell how they stand.
        egress.push(NetworkPolicyEgressRule {
            ports: Some(API_SERVER.map(|number| port("TCP", number)).into()),
            to: None,
        });
    }
    if storage.secrets().credentials.is_none() {
        let block = IPBlock { cidr: LINK_LOCAL.to_owned(), except: None };
        let peer = NetworkPolicyPeer { ip_block: Some(block), ..NetworkPolicyPeer::default() };
        egress.push(NetworkPolicyEgressRule { ports: None, to: Some(vec![peer]) });
        // The token is exchanged at the cloud's own endpoint.
        egress.push(NetworkPolicyEgressRule { ports: Some(vec![port("TCP", 443)]), to: None });
    }
    egress.dedup();
    NetworkPolicy {
        metadata: subject.metadata(part),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(subject.selector(part)),
                ..LabelSelector::default()
            }),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![NetworkPolicyIngressRule { ports: Some(vec![port("TCP", HTTP_PORT.1)]), from: None }]),
            egress: Some(egress),
        }),
    }
}

/// The bootstrap ports of listeners inside the cluster are those of all brokers. Outside, brokers may have others, which
/// nothing tells before the first connection.
fn brokers(bootstrap_servers: &str) -> NetworkPolicyEgressRule {
    let mut ports = Vec::new();
    for server in bootstrap_servers.split(',') {
        match server.trim().rsplit_once(':').map(|(host, number)| (is_inside(host), number.parse())) {
            Some((true, Ok(number))) if !ports.contains(&number) => ports.push(number),
            Some((true, Ok(_))) => {}
            _ => return NetworkPolicyEgressRule::default(),
        }
    }
    NetworkPolicyEgressRule { ports: Some(ports.into_iter().map(|number| port("TCP", number)).collect()), to: None }
}

fn store(storage: &Storage) -> NetworkPolicyEgressRule {
    let given = [
        storage.s3.as_ref().and_then(|s3| s3.endpoint.as_deref()),
        storage.azure.as_ref().and_then(|azure| azure.endpoint.as_deref()),
        storage.gcs.as_ref().and_then(|gcs| gcs.endpoint.as_deref()),
    ];
    let https = || NetworkPolicyEgressRule { ports: Some(vec![port("TCP", 443)]), to: None };
    given.into_iter().flatten().next().map_or_else(https, endpoint)
}

/// A Service may map its port to another one of its pods, and policies see the latter: inside the cluster any port is let
/// through, outside the one of the endpoint.
fn endpoint(url: &str) -> NetworkPolicyEgressRule {
    let (scheme, address) = url.split_once("://").unwrap_or(("https", url));
    let address = address.trim_end_matches('/');
    let (host, number) = match address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?))) {
        Some((host, number)) => (host, number),
        None => (address, if scheme == "http" { 80 } else { 443 }),
    };
    if is_inside(host) {
        let anywhere =
            NetworkPolicyPeer { namespace_selector: Some(LabelSelector::default()), ..NetworkPolicyPeer::default() };
        return NetworkPolicyEgressRule { ports: None, to: Some(vec![anywhere]) };
    }
    NetworkPolicyEgressRule { ports: Some(vec![port("TCP", number)]), to: None }
}

/// Whether a host is a Service's name.
fn is_inside(host: &str) -> bool {
    host.ends_with(".svc") || host.contains(".svc.") || !host.contains(['.', ':'])
}

fn port(protocol: &str, number: i32) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(number)),
        ..NetworkPolicyPort::default()
    }
}
