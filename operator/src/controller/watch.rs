//! What is watched, and which resources it concerns.

use std::fmt::Debug;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{ApiResource, DynamicObject, ObjectMeta, PartialObjectMeta};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{self, Action, Controller};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::utils::Backoff;
use kube::runtime::{PredicateConfig, WatchStreamExt as _, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::error::chain;
use super::{Context, Error, backup, deletion, restore};
use crate::api::{KafkaBackup, KafkaRestore, KafkaUserRef, StrimziClusterRef};
use crate::build::monitor;
use crate::build::names::{INSTANCE, KIND};
use crate::strimzi::fetch::{Kind, Strimzi};

/// The label by which Strimzi's Secrets say whose they are.
const STRIMZI_CLUSTER: &str = "strimzi.io/cluster";

/// How long reconciliations that are under way may take once the process is to end. A controller that is told to stop
/// before it has listed its resources would never end by itself.
const LAST_CALLS: Duration = Duration::from_secs(5);

/// How often it is asked which version of Strimzi's resources is served, where no watch was interrupted.
const LOOK_AT_VERSIONS: Duration = Duration::from_secs(60);

/// How long the API server may let all of a reconciliation wait: some forty requests. A request by itself waits without end where a
/// connection was cut off and nobody says so, and would hold one of [`CONCURRENCY`], and a deletion beyond its time.
const ANSWERED: Duration = Duration::from_secs(60);

/// How long a resource waits at most that is being deleted, however often it has failed: it is not to be held.
const ENDING_WAITS: Duration = Duration::from_secs(10);

/// Resources that are carried out at once.
const CONCURRENCY: u16 = 8;

/// How long all watches of a controller wait after one of them failed. They share the pause: were it to grow, an API
/// server that is back would be followed minutes later, as each watch has to fail once to learn of it.
const WATCHES_WAIT: Duration = Duration::from_secs(1);

/// Pauses of [`WATCHES_WAIT`].
struct Steady;

impl Iterator for Steady {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(WATCHES_WAIT)
    }
}

impl Backoff for Steady {
    fn reset(&mut self) {}
}

/// Which namespaces are looked after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All.
    All,
    /// These.
    Namespaces(Vec<String>),
}

impl Scope {
    /// As `STRIMZI_BACKUP_NAMESPACE` has it: one, several by comma, or `*`; empty means all, as with Strimzi.
    pub fn parse(text: &str) -> Self {
        let names: Vec<_> = text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        match names.is_empty() || names.iter().any(|name| name == "*") {
            true => Self::All,
            false => Self::Namespaces(names),
        }
    }

    /// One entry for each watch: `None` watches all namespaces.
    fn watches(&self) -> Vec<Option<String>> {
        match self {
            Self::All => vec![None],
            Self::Namespaces(names) => names.iter().cloned().map(Some).collect(),
        }
    }
}

/// A resource that is carried out.
trait Carried:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Its kind.
    const NAME: &'static str;
    /// The cluster that it is about.
    fn cluster(&self) -> &StrimziClusterRef;
    /// Who its pods are there.
    fn user(&self) -> Option<&KafkaUserRef>;
    /// What its pods tell in its status that conditions tell too.
    fn told_by_pods(&self) -> impl Hash;
    /// Makes the world as it says.
    fn reconcile(&self, context: &Arc<Context>) -> impl Future<Output = Result<Action, Error>> + Send;
    /// Does what has to be done once it is being deleted. Kubernetes removes its objects with it; made again then, they would
    /// hold it up.
    fn end(&self, context: &Arc<Context>) -> impl Future<Output = Result<Action, Error>> + Send;
}

impl Carried for KafkaBackup {
    const NAME: &'static str = backup::KIND;
    fn cluster(&self) -> &StrimziClusterRef {
        &self.spec.strimzi_cluster_ref
    }
    fn user(&self) -> Option<&KafkaUserRef> {
        self.spec.authentication.as_ref().map(|authentication| &authentication.kafka_user_ref)
    }
    fn told_by_pods(&self) -> impl Hash {
        let told = self.status.as_ref().map(|status| &status.streamer);
        let gaps = told.and_then(|told| told.gaps.as_ref()).map(|gaps| gaps.lost_offsets);
        let trouble = told.map(|told| (told.trouble.clone(), told.trouble_message.clone()));
        let held = told.and_then(|told| told.retention_held.as_ref()).map(|held| held.reason.clone());
        (gaps, trouble, held, told.and_then(|told| told.consumer_groups.as_ref()).map(|groups| groups.state.clone()))
    }
    async fn reconcile(&self, context: &Arc<Context>) -> Result<Action, Error> {
        Box::pin(backup::reconcile(self, context)).await
    }
    async fn end(&self, context: &Arc<Context>) -> Result<Action, Error> {
        Box::pin(deletion::reconcile(self, context)).await
    }
}

impl Carried for KafkaRestore {
    const NAME: &'static str = restore::KIND;
    fn cluster(&self) -> &StrimziClusterRef {
        &self.spec.strimzi_cluster_ref
    }
    fn user(&self) -> Option<&KafkaUserRef> {
        self.spec.authentication.as_ref().map(|authentication| &authentication.kafka_user_ref)
    }
    fn told_by_pods(&self) -> impl Hash {}
    async fn reconcile(&self, context: &Arc<Context>) -> Result<Action, Error> {
        restore::reconcile(self, context).await
    }
    async fn end(&self, _: &Arc<Context>) -> Result<Action, Error> {
        Ok(Action::await_change())
    }
}

/// Carries out all resources of the scope until `stop`; what is under way then is finished, if it takes not long.
/// Begins anew when Strimzi is installed or serves another version: a watch on one that is gone would hold up the others.
/// Its failure is what tells soonest of an upgrade.
pub async fn run(context: Arc<Context>, scope: &Scope, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        let Served { kafka, pod_monitors } = served(&context).await.unwrap_or_default();
        context.scrapes.store(pod_monitors, Ordering::Relaxed);
        if kafka.is_none() {
            tracing::warn!("Strimzi is not installed, or cannot be asked for; this is looked at again");
        }
        let this = stop.child_token();
        let other = async {
            let known = Served { kafka: kafka.clone(), pod_monitors };
            let mut seen = known.clone();
            while seen == known {
                tokio::select! {
                    () = tokio::time::sleep(LOOK_AT_VERSIONS) => {}
                    () = interrupted(&context) => {}
                }
                // Without an answer nothing is known to have changed.
                seen = served(&context).await.unwrap_or(seen);
            }
            tracing::info!("other resources are served than before; the watches begin anew");
        };
        let ended = async {
            tokio::select! {
                () = other => {}
                () = stop.cancelled() => {}
            }
            this.cancel();
        };
        tokio::join!(all(&context, scope, kafka.as_ref(), &this), ended);
    }
}

/// Waits until a watch was interrupted. Many fail at once, and each of them again and again: that is one question a second.
async fn interrupted(context: &Context) {
    context.interrupted.notified().await;
    tokio::time::sleep(WATCHES_WAIT).await;
}

/// What of others the API server serves.
#[derive(Clone, Debug, Default, PartialEq)]
struct Served {
    /// The `Kafka` resource in its best version.
    kafka: Option<ApiResource>,
    /// Whether there are PodMonitors.
    pod_monitors: bool,
}

/// `None` where the API server does not say.
async fn served(context: &Context) -> Option<Served> {
    let groups = tokio::time::timeout(ANSWERED, context.client.list_api_groups()).await.ok()?.ok()?;
    let pod_monitors = groups.groups.iter().any(|group| group.name == monitor::GROUP);
    let kafka = Strimzi::among(&context.client, groups).map(|strimzi| strimzi.resource(Kind::Kafka)).ok();
    Some(Served { kafka, pod_monitors })
}

async fn all(context: &Arc<Context>, scope: &Scope, kafka: Option<&ApiResource>, stop: &CancellationToken) {
    let watches = scope.watches().into_iter();
    let running = watches.map(|namespace| async move {
        let namespace = namespace.as_deref();
        let backups = carry_out::<KafkaBackup>(Arc::clone(context), namespace, kafka, stop.clone());
        let restores = carry_out::<KafkaRestore>(Arc::clone(context), namespace, kafka, stop.clone());
        tokio::join!(backups, restores);
    });
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(LAST_CALLS).await;
    };
    tokio::select! {
        _ = futures::future::join_all(running) => {}
        () = late => tracing::warn!("what was under way is left to the next start"),
    }
}

async fn carry_out<K: Carried>(
    context: Arc<Context>,
    namespace: Option<&str>,
    kafka: Option<&ApiResource>,
    stop: CancellationToken,
) {
    let client = &context.client;
    let ours = watcher::Config::default().labels(&format!("{KIND}={}", K::NAME.to_lowercase()));
    // One resource that cannot be read must not hold up the others.
    let resources: Api<DeserializeGuard<K>> = api(&context, namespace);
    let (store, writer) = reflector::store();
    let changes = watcher(resources, watcher::Config::default())
        .default_backoff()
        .reflect(writer)
        .applied_objects()
        .predicate_filter(worth_a_look::<K>, PredicateConfig::default());
    let (kafka_store, secret_store) = (store.clone(), store.clone());
    let controller = Controller::for_stream(changes, store);
    // That they changed is enough; what they hold is read by who needs it.
    let secrets: Api<PartialObjectMeta<Secret>> = api(&context, namespace);
    let strimzis = watcher::Config::default().labels(STRIMZI_CLUSTER);
    let pods: Api<PartialObjectMeta<Pod>> = api(&context, namespace);
    let mut controller = controller
        .with_config(controller::Config::default().concurrency(CONCURRENCY))
        .trigger_backoff(Steady)
        .owns(api::<Deployment>(&context, namespace), ours.clone())
        .owns(api::<CronJob>(&context, namespace), ours.clone())
        // Those of a schedule belong to the CronJob; the label says whose it is.
        .watches(api::<Job>(&context, namespace), ours.clone(), |job| labelled::<K>(&job))
        // One that ends as soon as it begins changes nothing of its Deployment.
        .watches(pods, ours, |pod| labelled::<K>(&pod))
        .watches(secrets, strimzis, move |secret| {
            let cluster = secret.labels().get(STRIMZI_CLUSTER).cloned().unwrap_or_default();
            about(&secret_store, &cluster, &secret.namespace().unwrap_or_default())
        });
    if let Some(resource) = kafka {
        let kafkas: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
            None => Api::all_with(client.clone(), resource),
        };
        let mapper =
            move |kafka: DynamicObject| about(&kafka_store, &kafka.name_any(), &kafka.namespace().unwrap_or_default());
        controller = controller.watches_with(kafkas, resource.clone(), watcher::Config::default(), mapper);
    }
    let interrupted = &context.interrupted;
    let running = controller.graceful_shutdown_on(stop.cancelled_owned()).run(
        reconcile::<K>,
        again_after::<K>,
        Arc::clone(&context),
    );
    running
        .for_each(|done| async move {
            // What a reconciliation failed with was told already.
            if let Err(controller::Error::QueueError(error)) = done {
                interrupted.notify_one();
                let error = chain(&error);
                tracing::warn!(kind = K::NAME, error, "a watch was interrupted; it begins anew");
            }
        })
        .await;
}

/// What of a resource is carried out when it changes. Its status is not: pods tell there every 30 seconds how they stand, of
/// which conditions take only what matters.
fn worth_a_look<K: Carried>(resource: &DeserializeGuard<K>) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    let metadata = resource.meta();
    (metadata.generation, &metadata.annotations, &metadata.deletion_timestamp.is_some()).hash(&mut hasher);
    match &resource.0 {
        Ok(resource) => resource.told_by_pods().hash(&mut hasher),
        Err(_) => metadata.resource_version.hash(&mut hasher),
    }
    Some(hasher.finish())
}

fn api<K>(context: &Context, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(context.client.clone(), namespace),
        None => Api::all(context.client.clone()),
    }
}

/// The resource that an object's labels name.
fn labelled<K: Carried>(object: &impl ResourceExt) -> Option<ObjectRef<DeserializeGuard<K>>> {
    let name = object.labels().get(INSTANCE)?;
    Some(ObjectRef::new(name).within(&object.namespace()?))
}

/// The resources that are about a cluster.
fn about<K: Carried>(
    store: &Store<DeserializeGuard<K>>,
    cluster: &str,
    namespace: &str,
) -> Vec<ObjectRef<DeserializeGuard<K>>> {
    let resources = store.state();
    let concerns = |resource: &K| is_about(resource, cluster, namespace);
    let concerned = resources.iter().filter(|resource| resource.0.as_ref().is_ok_and(concerns));
    concerned.map(|resource| ObjectRef::from_obj(&**resource)).collect()
}

/// Whether a resource is about the cluster of this name in the namespace, or has its user there: a `KafkaUser` need not be in the
/// namespace of its cluster.
fn is_about(resource: &impl Carried, cluster: &str, namespace: &str) -> bool {
    let (wanted, home) = (resource.cluster(), resource.namespace());
    let of_user = resource.user().and_then(|user| user.namespace.as_deref());
    let of_cluster = wanted.namespace.as_deref().or(home.as_deref());
    wanted.name == cluster && [of_cluster, of_user].contains(&Some(namespace))
}

async fn reconcile<K: Carried>(resource: Arc<DeserializeGuard<K>>, context: Arc<Context>) -> Result<Action, Error> {
    let (began, name) = (Instant::now(), full_name::<K>(&*resource));
    let resource = match &resource.0 {
        Ok(resource) => resource,
        Err(error) => {
            tracing::warn!(resource = name, error = error.error, "a resource has another form than this release knows");
            context.metrics.reconciled(K::NAME, false, began.elapsed());
            within(ANSWERED, deletion::release_unread(resource.meta(), &context)).await?;
            return Ok(Action::await_change());
        }
    };
    let done = match resource.meta().deletion_timestamp.is_some() {
        true => within(ANSWERED, Box::pin(resource.end(&context))).await,
        false => within(ANSWERED, Box::pin(resource.reconcile(&context))).await,
    };
    context.metrics.reconciled(K::NAME, done.is_ok(), began.elapsed());
    if done.is_ok() {
        context.succeeded(&name);
    }
    done
}

/// Gives work up that takes longer. That is as if the process had been killed there: the next time begins anew.
async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let done = tokio::time::timeout(limit, work).await;
    done.unwrap_or(Err(Error::NoAnswer { seconds: limit.as_secs() }))
}

fn again_after<K: Carried>(resource: Arc<DeserializeGuard<K>>, error: &Error, context: Arc<Context>) -> Action {
    let name = full_name::<K>(&*resource);
    let pause = pause(context.failed(name.clone()), resource.meta());
    let error = error.told();
    tracing::warn!(resource = name, error, pause_s = pause.as_secs(), "a resource could not be carried out");
    Action::requeue(pause)
}

/// How long a resource waits that has failed: not as long where it is being deleted.
fn pause(pause: Duration, metadata: &ObjectMeta) -> Duration {
    if metadata.deletion_timestamp.is_some() { pause.min(ENDING_WAITS) } else { pause }
}

fn full_name<K: Carried>(resource: &impl ResourceExt) -> String {
    format!("{}/{}/{}", K::NAME, resource.namespace().unwrap_or_default(), resource.name_any())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    #[test]
    fn namespaces_are_one_several_or_all() {
        let several = Scope::Namespaces(vec!["kafka".to_owned(), "other".to_owned()]);
        assert_eq!(Scope::parse("kafka, other"), several);
        assert_eq!(Scope::parse("*"), Scope::All);
        assert_eq!(Scope::parse(""), Scope::All);
        assert_eq!(several.watches().len(), 2);
    }

    #[tokio::test]
    async fn a_reconciliation_that_gets_no_answer_ends_and_is_tried_again() {
        let blackholed = std::future::pending::<Result<(), Error>>();
        let error = within(Duration::from_millis(1), blackholed).await.unwrap_err();
        assert_eq!((error.reason(), error.is_retryable()), ("KubernetesApiFailed", true));
        assert!(within(Duration::from_secs(60), async { Ok(()) }).await.is_ok());
    }

    #[test]
    fn a77_a_resource_that_ends_is_not_held_by_how_often_it_has_failed() {
        let (long, short) = (Duration::from_secs(300), Duration::from_secs(1));
        let mut metadata = ObjectMeta::default();
        assert_eq!(pause(long, &metadata), long);
        metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        assert_eq!([pause(long, &metadata), pause(short, &metadata)], [ENDING_WAITS, short]);
    }

    #[test]
    fn a_resource_is_about_its_cluster_and_about_its_user_wherever_they_are() {
        let mut backup: KafkaBackup =
            serde_norway::from_str(include_str!("../api/testdata/kafka-backup.yaml")).unwrap();
        let is = |backup: &KafkaBackup, namespace| is_about(backup, "my-kafka-cluster", namespace);
        assert!(is(&backup, "kafka") && !is(&backup, "users"));
        assert!(!is_about(&backup, "another", "kafka"));
        backup.spec.strimzi_cluster_ref.namespace = Some("clusters".to_owned());
        backup.spec.authentication.as_mut().unwrap().kafka_user_ref.namespace = Some("users".to_owned());
        assert!(is(&backup, "clusters") && is(&backup, "users") && !is(&backup, "kafka"));
        assert!(!is_about(&backup, "another", "users"));
    }
}
