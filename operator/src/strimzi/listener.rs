//! Which listener of a cluster to use, and where it is reached. Pure.
//!
//! As Strimzi's Access Operator chooses: the one that is named; else of those that take the authentication at hand one
//! inside of Kubernetes, then the first name. Unlike it, one with TLS goes before one without.

use super::error::Error;
use super::kafka::{Address, Kafka, Listener, not_ready};
use super::{Authentication, names};

/// The listener that is used.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// The cluster.
    pub kafka: &'a Kafka,
    /// The listener, as its owner wrote it.
    pub listener: &'a Listener,
}

/// What a listener asks of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks<'a> {
    Nothing,
    Known(Authentication),
    /// Something that no `KafkaUser` has: `oauth`, `custom`, or what later releases bring.
    Unknown(&'a str),
}

/// Chooses a listener: the named one, else the best that takes this authentication.
///
/// # Errors
/// [`Error::ListenerMissing`], [`Error::NoListener`], [`Error::AuthenticationDiffers`],
/// [`Error::AuthenticationUnknown`]. That authentication is wanted and left out is no error yet: see
/// [`Choice::wants`].
pub fn choose<'a>(
    kafka: &'a Kafka,
    name: Option<&str>,
    authentication: Option<Authentication>,
) -> Result<Choice<'a>, Error> {
    let listener = match name {
        Some(name) => named(kafka, name)?,
        None => best(kafka, authentication)?,
    };
    let (asks, choice) = (asks(listener), Choice { kafka, listener });
    match (asks, authentication) {
        (Asks::Unknown(listens), _) => Err(Error::AuthenticationUnknown {
            place: kafka.place(),
            listener: listener.name.clone(),
            listens: listens.to_owned(),
            listeners: listed(kafka),
        }),
        (Asks::Known(one), Some(other)) if one != other => Err(differs(choice, one.as_str(), other)),
        (Asks::Nothing, Some(other)) => Err(differs(choice, "none", other)),
        _ => Ok(choice),
    }
}

impl Choice<'_> {
    /// The authentication that the listener wants.
    pub fn wants(&self) -> Option<Authentication> {
        match asks(self.listener) {
            Asks::Known(authentication) => Some(authentication),
            _ => None,
        }
    }

    /// Where it is reached, as `host:port,…`, and whether the status says so. Else it is what Strimzi would give.
    ///
    /// # Errors
    /// [`Error::AddressMissing`] where only the status could tell.
    pub fn bootstrap_servers(&self) -> Result<(String, bool), Error> {
        let listener = &self.listener;
        if let Some(status) = self.kafka.addresses(&listener.name) {
            let mut told: Vec<String> =
                status.addresses.iter().filter(|one| !one.host.is_empty()).map(host_port).collect();
            told.sort();
            told.dedup();
            let told = if told.is_empty() { status.bootstrap_servers.clone() } else { Some(told.join(",")) };
            if let Some(told) = told.filter(|told| !told.is_empty()) {
                return Ok((told, true));
            }
        }
        let cluster = &self.kafka.metadata;
        let service = match listener.r#type.as_str() {
            "internal" => names::internal_bootstrap(&cluster.name),
            "cluster-ip" => names::listener_bootstrap(&cluster.name, &listener.name),
            _ => return Err(self.address_missing()),
        };
        Ok((format!("{service}.{}.svc:{}", cluster.namespace, listener.port), false))
    }

    /// Its own certificate, as the status tells it, where the CAs of the cluster did not sign it.
    ///
    /// # Errors
    /// [`Error::CertificateMissing`] where the status does not tell it. Pods that know it already go on; without it they would
    /// trust no broker.
    pub fn own_certificates(&self) -> Result<&[String], Error> {
        if self.listener.configuration.broker_cert_chain_and_key.is_none() {
            return Ok(&[]);
        }
        let told = self.kafka.addresses(&self.listener.name).map(|status| status.certificates.as_slice());
        told.filter(|told| !told.is_empty()).ok_or_else(|| Error::CertificateMissing {
            place: self.kafka.place(),
            listener: self.listener.name.clone(),
            not_ready: self.not_ready(),
        })
    }

    /// What the cluster says of itself where it is not ready, in parentheses after a space; else nothing.
    fn not_ready(&self) -> String {
        not_ready(&self.kafka.status.conditions).map(|why| format!(" ({why})")).unwrap_or_default()
    }

    fn address_missing(&self) -> Error {
        Error::AddressMissing {
            place: self.kafka.place(),
            listener: self.listener.name.clone(),
            kind: self.listener.r#type.clone(),
            not_ready: self.not_ready(),
        }
    }
}

fn asks(listener: &Listener) -> Asks<'_> {
    match listener.authentication.as_ref().map(|authentication| authentication.r#type.as_str()) {
        None => Asks::Nothing,
        Some("tls") => Asks::Known(Authentication::Tls),
        Some("scram-sha-512") => Asks::Known(Authentication::ScramSha512),
        Some(other) => Asks::Unknown(other),
    }
}

fn named<'a>(kafka: &'a Kafka, name: &str) -> Result<&'a Listener, Error> {
    let listeners = &kafka.spec.kafka.listeners;
    listeners.iter().find(|listener| listener.name == name).ok_or_else(|| Error::ListenerMissing {
        place: kafka.place(),
        listener: name.to_owned(),
        names: listeners.iter().map(|listener| listener.name.as_str()).collect::<Vec<_>>().join(", "),
    })
}

/// Without an authentication at hand one that wants none goes first. If all want one, the best of those that a
/// `KafkaUser` opens is taken, so that the user to create can be told.
fn best(kafka: &Kafka, authentication: Option<Authentication>) -> Result<&Listener, Error> {
    let wanted = authentication.map_or(Asks::Nothing, Asks::Known);
    let listeners = &kafka.spec.kafka.listeners;
    let of =
        |fits: &dyn Fn(Asks<'_>) -> bool| listeners.iter().filter(|one| fits(asks(one))).min_by_key(|one| rank(one));
    of(&|asks| asks == wanted)
        .or_else(|| of(&|asks| authentication.is_none() && matches!(asks, Asks::Known(_))))
        .ok_or_else(|| Error::NoListener {
            place: kafka.place(),
            wanted: authentication.map_or("none, tls or scram-sha-512", Authentication::as_str),
            listeners: listed(kafka),
        })
}

/// Smaller is better.
fn rank(listener: &Listener) -> (u8, bool, &str) {
    let distance = match listener.r#type.as_str() {
        "internal" => 0,
        "cluster-ip" => 1,
        _ => 2,
    };
    (distance, !listener.tls, &listener.name)
}

fn differs(choice: Choice<'_>, listens: &str, wanted: Authentication) -> Error {
    Error::AuthenticationDiffers {
        place: choice.kafka.place(),
        listener: choice.listener.name.clone(),
        listens: listens.to_owned(),
        wanted: wanted.as_str(),
    }
}

/// All listeners with what each asks for, for messages.
fn listed(kafka: &Kafka) -> String {
    let one = |listener: &Listener| match asks(listener) {
        Asks::Nothing => format!("{}: none", listener.name),
        Asks::Known(authentication) => format!("{}: {authentication}", listener.name),
        Asks::Unknown(other) => format!("{}: {other}", listener.name),
    };
    kafka.spec.kafka.listeners.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Strimzi does not bracket IPv6 addresses of nodes and load balancers.
fn host_port(address: &Address) -> String {
    if address.host.contains(':') && !address.host.starts_with('[') {
        format!("[{}]:{}", address.host, address.port)
    } else {
        format!("{}:{}", address.host, address.port)
    }
}
