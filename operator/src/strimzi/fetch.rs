//! Reads what discovery needs of the Kubernetes API.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIGroupList;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

use super::error::{Error, Place};
use super::expiry::Expiry;
use super::kafka::{Kafka, NodePool, not_ready, read};
use super::listener::{Choice, choose};
use super::user;
use super::{
    Authentication, Cluster, Credentials, Discovered, MetadataMode, Request, SecretRef, Trust, User, access, cluster,
    names, trust,
};

/// Strimzi's resources in the version that this API server serves.
#[derive(Clone)]
pub struct Strimzi {
    client: Client,
    version: &'static str,
}

/// Finds how a cluster is reached. Reads only; every read is one object, but for the node pools of the cluster.
///
/// What it has to be allowed in the namespaces of cluster and user: `get` of `kafkas`, `kafkausers` and `secrets`; and to tell
/// how many brokers there are, `list` of `kafkanodepools`.
///
/// # Errors
/// See [`Error`]; all but [`Error::Api`] need somebody to change a resource.
pub async fn discover(client: &Client, request: &Request) -> Result<Discovered, Error> {
    let strimzi = Strimzi::find(client).await?;
    let kafka = strimzi.kafka(&request.namespace, &request.name).await?;
    let authentication = request.user.as_ref().map(|user| user.authentication);
    let choice = choose(&kafka, request.listener.as_deref(), authentication)?;
    let (bootstrap_servers, told) = choice.bootstrap_servers()?;
    let mut expiries = Vec::new();
    let tls = strimzi.trust(choice, &mut expiries).await?;
    let authentication = strimzi.credentials(choice, request, &mut expiries).await?;
    let now = Timestamp::now();
    let mut warnings = warnings(choice, told, tls.as_ref());
    warnings.extend(expiries.iter().filter_map(|expiry| expiry.warning(now)));
    // Nobody needs them to connect.
    let pools = strimzi.node_pools(&kafka).await;
    warnings.extend(pools.as_ref().err().map(uncounted));
    Ok(Discovered {
        bootstrap_servers,
        authentication,
        cluster_id: kafka.status.cluster_id.clone(),
        warnings,
        expiries,
        tls,
        listener: choice.listener.name.clone(),
        cluster: strimzi.describe(&kafka, pools.ok().as_deref()),
    })
}

impl Strimzi {
    /// Asks which versions are served. An upgrade of Strimzi changes it while an operator runs: ask again.
    ///
    /// # Errors
    /// [`Error::NotInstalled`], [`Error::VersionNotServed`], [`Error::Api`].
    pub async fn find(client: &Client) -> Result<Self, Error> {
        let groups = client.list_api_groups().await.map_err(api("list the API groups"))?;
        Self::among(client, groups)
    }

    /// The best version among what is served.
    ///
    /// # Errors
    /// [`Error::NotInstalled`], [`Error::VersionNotServed`].
    pub fn among(client: &Client, groups: APIGroupList) -> Result<Self, Error> {
        let group = groups.groups.into_iter().find(|group| group.name == names::GROUP).ok_or(Error::NotInstalled)?;
        let served: Vec<String> = group.versions.into_iter().map(|version| version.version).collect();
        let version = version(&served)?;
        Ok(Self { client: client.clone(), version })
    }

    /// The version that is read: `v1` or `v1beta2`.
    pub fn api_version(&self) -> &'static str {
        self.version
    }

    /// How one of Strimzi's kinds is asked for, to read or to watch it.
    pub fn resource(&self, kind: Kind) -> ApiResource {
        ApiResource {
            group: names::GROUP.to_owned(),
            version: self.version.to_owned(),
            api_version: format!("{}/{}", names::GROUP, self.version),
            kind: kind.as_str().to_owned(),
            plural: format!("{}s", kind.as_str().to_lowercase()),
        }
    }

    /// Reads a cluster.
    ///
    /// # Errors
    /// [`Error::ClusterMissing`], [`Error::Unreadable`], [`Error::Api`].
    pub async fn kafka(&self, namespace: &str, name: &str) -> Result<Kafka, Error> {
        let place = Place::new("Kafka", namespace, name);
        match self.get(Kind::Kafka, &place, namespace, name).await? {
            Some(value) => Kafka::read(&place, &value),
            None => Err(Error::ClusterMissing { place }),
        }
    }

    /// What a listener is trusted by, if it speaks TLS.
    async fn trust(&self, choice: Choice<'_>, expiries: &mut Vec<Expiry>) -> Result<Option<Trust>, Error> {
        if !choice.listener.tls {
            return Ok(None);
        }
        let cluster = &choice.kafka.metadata;
        let at = SecretRef { namespace: cluster.namespace.clone(), name: names::cluster_ca(&cluster.name) };
        let Some(found) = self.secret(&at).await? else {
            let why = not_ready(&choice.kafka.status.conditions);
            let why =
                why.map_or_else(String::new, |why| format!(", and {} is not ready ({why})", choice.kafka.place()));
            let what = "the CAs of the cluster";
            return Err(Error::SecretMissing { place: Place::new("Secret", &at.namespace, &at.name), what, why });
        };
        let trusted = trust::trust(&at, &found)?;
        let keys: Vec<_> = trusted.keys.iter().map(String::as_str).collect();
        expiries.extend(Expiry::of("cluster-ca", &at, &found, &keys));
        Ok(Some(Trust { certificates: choice.own_certificates()?.to_vec(), ..trusted }))
    }

    /// Who the client is, where the listener asks.
    async fn credentials(
        &self,
        choice: Choice<'_>,
        request: &Request,
        expiries: &mut Vec<Expiry>,
    ) -> Result<Option<Credentials>, Error> {
        match (choice.wants(), &request.user) {
            (None, _) => Ok(None),
            (Some(authentication), None) => Err(self.authentication_missing(choice, authentication, request)),
            (Some(_), Some(wanted)) => self.credentials_of(choice.kafka, wanted, request, expiries).await.map(Some),
        }
    }

    async fn credentials_of(
        &self,
        kafka: &Kafka,
        wanted: &User,
        request: &Request,
        expiries: &mut Vec<Expiry>,
    ) -> Result<Credentials, Error> {
        let namespace = wanted.namespace.as_deref().unwrap_or(kafka.user_namespace());
        let place = user::place(kafka, wanted);
        let Some(value) = self.get(Kind::KafkaUser, &place, namespace, &wanted.name).await? else {
            let at = (namespace, wanted.name.as_str());
            let yaml = access::kafka_user(kafka, self.version, at, wanted.authentication, request.purpose);
            return Err(Error::UserMissing { place, note: access::note(kafka), yaml });
        };
        let accepted = user::accept(kafka, wanted, &request.home, &value)?;
        let found = self.secret(&accepted.secret).await?;
        let keys = [names::USER_CERTIFICATE_KEY];
        expiries.extend(found.as_ref().and_then(|found| Expiry::of("user", &accepted.secret, found, &keys)));
        accepted.credentials(found.as_ref())
    }

    fn authentication_missing(&self, choice: Choice<'_>, wants: Authentication, request: &Request) -> Error {
        let (kafka, user) = (choice.kafka, request.purpose.user_name());
        Error::AuthenticationMissing {
            place: kafka.place(),
            listener: choice.listener.name.clone(),
            authentication: wants,
            user: user.to_owned(),
            note: access::note(kafka),
            yaml: access::kafka_user(kafka, self.version, (kafka.user_namespace(), user), wants, request.purpose),
        }
    }

    async fn node_pools(&self, kafka: &Kafka) -> Result<Vec<NodePool>, Error> {
        let (namespace, cluster) = (&kafka.metadata.namespace, &kafka.metadata.name);
        let pools: Api<DynamicObject> = self.api(Kind::KafkaNodePool, namespace);
        let of_cluster = ListParams::default().labels(&format!("{}={cluster}", names::CLUSTER_LABEL));
        let what = format!("list the KafkaNodePools of {}", kafka.place());
        let found = match pools.list(&of_cluster).await {
            Ok(found) => found.items,
            // A Strimzi that has none.
            Err(kube::Error::Api(status)) if status.code == 404 => Vec::new(),
            Err(error) => return Err(api(what)(error)),
        };
        let pool = |pool: DynamicObject| read(&Place::new("KafkaNodePool", namespace, &pool.name_any()), &pool.data);
        found.into_iter().map(pool).collect()
    }

    /// What is told of a cluster; `pools` are its own, where it is known which those are.
    fn describe(&self, kafka: &Kafka, pools: Option<&[NodePool]>) -> Cluster {
        Cluster {
            api_version: self.version.to_owned(),
            strimzi_version: kafka.status.operator_last_successful_version.clone(),
            kafka_version: kafka.status.kafka_version.clone(),
            metadata_mode: Some(MetadataMode::of(kafka)),
            brokers: pools.and_then(|pools| cluster::brokers(kafka, pools)).map(i64::from),
        }
    }

    async fn get(&self, kind: Kind, place: &Place, namespace: &str, name: &str) -> Result<Option<Value>, Error> {
        let found = self.api(kind, namespace).get_opt(name).await.map_err(api(format!("read {place}")))?;
        let value = found.map(|found: DynamicObject| serde_json::to_value(&found)).transpose();
        value.map_err(|source| Error::Unreadable { place: place.clone(), source })
    }

    async fn secret(&self, at: &SecretRef) -> Result<Option<Secret>, Error> {
        let place = Place::new("Secret", &at.namespace, &at.name);
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &at.namespace);
        secrets.get_opt(&at.name).await.map_err(api(format!("read {place}")))
    }

    fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &self.resource(kind))
    }
}

/// The kinds that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A cluster.
    Kafka,
    /// Some of its nodes.
    KafkaNodePool,
    /// One of its users.
    KafkaUser,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Kafka => "Kafka",
            Self::KafkaNodePool => "KafkaNodePool",
            Self::KafkaUser => "KafkaUser",
        }
    }
}

/// The best of the versions that are served.
pub(super) fn version(served: &[String]) -> Result<&'static str, Error> {
    let understood = names::VERSIONS.iter().find(|version| served.iter().any(|one| one == *version));
    understood
        .copied()
        .ok_or_else(|| Error::VersionNotServed { served: served.join(", "), understood: names::VERSIONS.join(" and ") })
}

/// What stops nothing, but surprises whoever is not told.
pub(super) fn warnings(choice: Choice<'_>, told: bool, tls: Option<&Trust>) -> Vec<String> {
    let (kafka, listener) = (choice.kafka, &choice.listener.name);
    let place = kafka.place();
    let mut warnings = Vec::new();
    if let Some(why) = not_ready(&kafka.status.conditions) {
        warnings.push(format!("{place} is not ready ({why})"));
    }
    if !told {
        warnings
            .push(format!("{place} tells no address of listener {listener}: the name that Strimzi would give is used"));
    }
    if MetadataMode::of(kafka) == MetadataMode::Migrating {
        warnings.push(format!("{place} is moving between ZooKeeper and KRaft"));
    }
    if tls.is_none() {
        warnings
            .push(format!("listener {listener} of {place} does not encrypt: records pass the network in the clear"));
    }
    if choice.wants().is_none() && kafka.spec.kafka.authorization.is_some() {
        warnings.push(format!(
            "listener {listener} of {place} asks nobody who they are, and spec.kafka.authorization lets only users do \
             things: if topics are missing, name a listener with authentication, and a KafkaUser"
        ));
    }
    warnings
}

/// Why it is not told how many brokers there are.
pub(super) fn uncounted(error: &Error) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("it is not known how many brokers there are: {error}{cause}")
}

/// What is said of a failed call.
fn api(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Error {
    let what = what.into();
    move |source| {
        let refused = matches!(&source, kube::Error::Api(status) if status.code == 403);
        let way_out =
            if refused { ": the role of this operator does not allow it; grant it in that namespace" } else { "" };
        Error::Api { what, way_out, source }
    }
}
