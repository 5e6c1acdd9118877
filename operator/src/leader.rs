//! Leader election by a Lease: of several replicas one acts.
//!
//! Two may act for a moment, where clocks or the API server stall; that is harmless. They write the same objects, by
//! server-side apply, and streamers fence each other by the log, never by the Lease.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

/// How long a Lease holds without being renewed.
const HOLDS: Duration = Duration::from_secs(15);

/// How often it is renewed, or asked for.
const LOOK: Duration = Duration::from_secs(3);

/// The Lease that replicas share.
#[derive(Clone)]
pub struct Election {
    api: Api<Lease>,
    name: String,
    identity: String,
}

/// What may be done with a Lease as it was found.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// Write it like this, unless it has changed meanwhile.
    Write(Box<LeaseSpec>),
    /// Another one holds it.
    StandBy,
}

impl Election {
    /// An election under the Lease `name` of a namespace; `identity` is this replica's.
    pub fn new(client: Client, namespace: &str, name: &str, identity: String) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.to_owned(), identity }
    }

    /// Waits until this replica is the leader, or `stop`; says which.
    pub async fn won(&self, stop: &CancellationToken) -> bool {
        loop {
            if self.ask().await == Some(true) {
                return true;
            }
            tokio::select! {
                () = stop.cancelled() => return false,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Renews until the Lease is lost or `stop`. Without an answer it counts as lost when it no longer holds.
    pub async fn keep(&self, stop: &CancellationToken) {
        let mut renewed = tokio::time::Instant::now();
        while renewed.elapsed() < HOLDS - LOOK {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            match self.ask().await {
                Some(true) => renewed = tokio::time::Instant::now(),
                Some(false) => return,
                None => {}
            }
        }
    }

    /// Gives the Lease back, so that the next one need not wait. Without an answer it runs out.
    pub async fn resign(&self) {
        if tokio::time::timeout(LOOK, self.give_back()).await.is_err() {
            tracing::debug!("the Lease could not be given back in time; it runs out");
        }
    }

    async fn give_back(&self) {
        let Ok(Some(mut lease)) = self.api.get_opt(&self.name).await else { return };
        let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(&self.identity))
        else {
            return;
        };
        spec.holder_identity = Some(String::new());
        if let Err(error) = self.api.replace(&self.name, &PostParams::default(), &lease).await {
            tracing::debug!(%error, "the Lease could not be given back; it runs out");
        }
    }

    /// Takes or renews the Lease if that may be done; says whether it is held, or nothing where nobody knows. A request by itself
    /// waits without end where a connection was cut off.
    async fn ask(&self) -> Option<bool> {
        match tokio::time::timeout(LOOK, self.attempt(Timestamp::now())).await {
            Ok(Ok(is_held)) => return Some(is_held),
            Ok(Err(error)) => tracing::warn!(lease = self.name, %error, "the Lease could not be asked for"),
            Err(_) => tracing::warn!(lease = self.name, "the Lease could not be asked for in time"),
        }
        None
    }

    /// Takes or renews the Lease if that may be done; says whether it is held.
    async fn attempt(&self, now: Timestamp) -> Result<bool, kube::Error> {
        let found = self.api.get_opt(&self.name).await?;
        let Step::Write(spec) = step(found.as_ref().and_then(|lease| lease.spec.as_ref()), &self.identity, now) else {
            return Ok(false);
        };
        let parameters = PostParams::default();
        let written = match found {
            Some(lease) => {
                let lease = Lease { spec: Some(*spec), ..lease };
                self.api.replace(&self.name, &parameters, &lease).await
            }
            None => {
                let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
                self.api.create(&parameters, &Lease { metadata, spec: Some(*spec) }).await
            }
        };
        match written {
            Ok(_) => Ok(true),
            // Another one was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Decides; pure. A Lease that is not ours is free when nobody holds it or when its time has run out.
fn step(found: Option<&LeaseSpec>, identity: &str, now: Timestamp) -> Step {
    let holder = found.and_then(|spec| spec.holder_identity.as_deref()).filter(|holder| !holder.is_empty());
    let ours = holder == Some(identity);
    if let Some(spec) = found.filter(|_| holder.is_some() && !ours) {
        let holds = spec.lease_duration_seconds.map_or(0, i64::from);
        let until = spec.renew_time.as_ref().map(|time| time.0.saturating_add(SignedDuration::from_secs(holds)));
        if until.and_then(Result::ok).is_some_and(|until| until > now) {
            return Step::StandBy;
        }
    }
    let acquired = found.filter(|_| ours).and_then(|spec| spec.acquire_time.clone());
    let transitions = found.and_then(|spec| spec.lease_transitions).unwrap_or(0);
    Step::Write(Box::new(LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: i32::try_from(HOLDS.as_secs()).ok(),
        acquire_time: acquired.or(Some(MicroTime(now))),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(if ours { transitions } else { transitions.saturating_add(1) }),
        ..LeaseSpec::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn taken(found: Option<&LeaseSpec>, identity: &str, second: i64) -> Option<LeaseSpec> {
        match step(found, identity, at(second)) {
            Step::Write(spec) => Some(*spec),
            Step::StandBy => None,
        }
    }

    /// What listens takes connections and requests, and never says anything.
    #[tokio::test]
    async fn a_replica_without_an_answer_goes_on_to_ask_and_ends_when_told_to() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let client = Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
        let election = Election::new(client, "operators", "lease", "a".to_owned());
        let stop = CancellationToken::new();
        stop.cancel();
        assert_eq!(tokio::time::timeout(LOOK * 3, election.won(&stop)).await, Ok(false));
        assert!(tokio::time::timeout(LOOK * 3, election.resign()).await.is_ok());
    }

    #[test]
    fn one_holds_it_until_it_runs_out_or_is_given_back() {
        let mine = taken(None, "a", 100).unwrap();
        assert_eq!(taken(Some(&mine), "b", 110), None);
        let renewed = taken(Some(&mine), "a", 110).unwrap();
        assert_eq!((renewed.acquire_time.clone(), renewed.lease_transitions), (Some(MicroTime(at(100))), Some(1)));
        assert_eq!(taken(Some(&renewed), "b", 124), None);
        let lost = taken(Some(&renewed), "b", 126).unwrap();
        assert_eq!((lost.holder_identity.as_deref(), lost.lease_transitions), (Some("b"), Some(2)));
        let given_back = LeaseSpec { holder_identity: Some(String::new()), ..renewed };
        assert!(taken(Some(&given_back), "b", 111).is_some());
    }
}
