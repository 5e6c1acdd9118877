//! The composition root: from a job to a running streamer.
//!
//! Order, so that nothing is touched before it is known to be right: HTTP address, files and store opened, broker asked
//! for its cluster id, keys asked for, log read and checked against this job, store probed, log claimed, leftovers swept, streaming.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures::future::OptionFuture;
use parking_lot::Mutex;
use strimzi_backup_format::ids::{ClusterId, Shard, TimestampMs};
use strimzi_backup_format::job::{BackupSettings, Compression, Job};
use strimzi_backup_format::manifest::log::LogWriter;
use strimzi_backup_format::segment::batch::Packer;
use strimzi_backup_format::segment::encode::{Codec, EncodeOptions};
use strimzi_backup_format::store::{self, OpenError, Store};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::budget::Budget;
use crate::claim::Claimant;
use crate::clock::{Clock as _, SystemClock};
use crate::error::Error;
use crate::http::{self, View};
use crate::kafka::{Kafka, Tuning};
use crate::keys;
use crate::metrics::{KindLabel, Metrics};
use crate::pipeline::produce::{Pool, Workshop};
use crate::report::{self, Hindered, Patience, Protected, Resource, Starting, Streaming, Trouble};
use crate::source;
use crate::source::buffers::Buffers;
use crate::source::live::LiveBroker;
use crate::status::Status;
use crate::stream::{Parts, Stream, Until};

/// How long the broker may take to say which cluster it is before the start counts as failed.
const CLUSTER_PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked whether the log is claimed.
const CLAIM_LOOK: Duration = Duration::from_secs(1);

/// What is fetched is still committed for this long after the first signal: less than the 30 s that Kubernetes grants.
const GRACE: Duration = Duration::from_secs(25);

/// The client's share of the memory budget, for what it has fetched and not yet handed over.
const CLIENT_SHARE: u64 = 4;

/// How long a broker may wait for more, asked by who ends as soon as everything is read.
const FETCH_WAIT_AT_THE_END: Duration = Duration::from_millis(20);

/// The least a broker gathers before it answers, so that quiet partitions cost few requests.
const FETCH_MIN_BYTES: u32 = 64 << 10;

/// Streams until `stop`, or until caught up. Ends soon after `abandon`, whatever the store does. Tells `resource` how it
/// stands, where there is one.
///
/// # Errors
/// [`Error`], which knows its exit code.
pub async fn stream(
    job: Job,
    until: Until,
    resource: Option<Resource>,
    stop: CancellationToken,
    abandon: CancellationToken,
) -> Result<(), Error> {
    let Opened { listener, store, kafka } = open(&job, until).await?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "listening for /livez, /readyz and /metrics");
    }
    let world = World::new(&job);
    let store = store.metered(Arc::clone(&world.metrics) as _);
    let _deadline = AbortOnDropHandle::new(tokio::spawn(grace(stop.clone(), abandon.clone())));
    let serving = AbortOnDropHandle::new(tokio::spawn(http::serve(listener, world.view(), stop.child_token())));
    let is_encrypted = job.storage.encryption.is_some();
    let _telling = resource.map(|resource| AbortOnDropHandle::new(tokio::spawn(tell(resource, &world, is_encrypted))));
    let done = run(job, (store, kafka), &world, until, &stop, abandon.clone()).await;
    stop.cancel();
    // The server only reads; how it ended matters to nobody once the streamer has, nor does a client that dawdles.
    tokio::select! {
        _ = serving => {}
        () = abandon.cancelled() => {}
    }
    done
}

/// Tells Kubernetes what is protected, from the claim on, and before it that the master key is waited for.
fn tell(resource: Resource, world: &World, is_encrypted: bool) -> impl Future<Output = ()> + use<> {
    let start = OptionFuture::from(is_encrypted.then(|| tell_start(resource.clone(), world)));
    let (status, metrics, clock) = (Arc::clone(&world.status), Arc::clone(&world.metrics), Arc::clone(&world.clock));
    let (writer, mut patience) = (writer(), Patience::default());
    let look = move || {
        let trouble = patience.judge(metrics.trouble(), clock.now());
        let hindered = Hindered { trouble, retention: status.why_held() };
        Some(Streaming::of(&status.protected()?, hindered, clock.now(), &writer))
    };
    let streaming = report::tell(resource, look);
    async move {
        tokio::join!(start, streaming);
    }
}

/// Tells that the master key is waited for, if that lasts, and takes it back when it is not any longer, also what a start before this
/// one has left there.
fn tell_start(resource: Resource, world: &World) -> impl Future<Output = ()> + use<> {
    let (status, metrics, clock) = (Arc::clone(&world.status), Arc::clone(&world.metrics), Arc::clone(&world.clock));
    let (writer, mut patience, mut has_told) = (writer(), Patience::default(), false);
    let look = move || {
        let trouble = metrics.trouble().filter(|trouble| *trouble == Trouble::EncryptionKeyUnavailable);
        let lasting = patience.judge(trouble, clock.now());
        has_told |= lasting.is_some();
        let starting = lasting.map(|trouble| Starting::hindered(trouble, metrics.why_keyless(), clock.now(), &writer));
        has_told.then(|| starting.unwrap_or_default())
    };
    async move {
        tokio::select! {
            () = report::tell(resource.clone(), look) => {}
            () = claimed(&status) => {}
        }
        report::tell_last(resource, &Starting::default()).await;
    }
}

/// Waits until the log is claimed.
async fn claimed(status: &Status) {
    while status.protected().is_none() {
        tokio::time::sleep(CLAIM_LOOK).await;
    }
}

/// Who this process is: in a pod, its name.
fn writer() -> String {
    gethostname::gethostname().to_string_lossy().into_owned()
}

/// What the job names outside of itself.
struct Opened {
    listener: TcpListener,
    store: Store,
    kafka: Kafka,
}

/// Takes what the job names, or tells all that is wrong with it at once. Asks nothing of store and broker yet.
async fn open(job: &Job, until: Until) -> Result<Opened, Error> {
    let listener = http::bind(job.http.address).await;
    let kafka = Kafka::connect(&job.cluster, &tuning(&job.backup, until)).map_err(Error::from);
    // Key files are read here for their faults alone: they are read again when the backup is opened.
    let keys = keys::source(&job.storage).map_or(Ok(()), |source| source.provider().map(drop).map_err(Error::from));
    match (listener, kafka, keys) {
        (Ok(listener), Ok(kafka), Ok(())) => Ok(Opened { listener, store: store::open_to_write(&job.storage)?, kafka }),
        (listener, kafka, keys) => {
            // A directory that is not there yet would have been made.
            let store = store::open(&job.storage).err().filter(|fault| !matches!(fault, OpenError::Missing { .. }));
            let faults = [store.map(Error::from), keys.err(), kafka.err(), listener.err()];
            Err(Error::together(faults.into_iter().flatten().collect()))
        }
    }
}

/// What all parts of the process share.
struct World {
    clock: Arc<SystemClock>,
    metrics: Arc<Metrics>,
    status: Arc<Status>,
    buffers: Arc<Mutex<Buffers>>,
    budget: Arc<Budget>,
}

impl World {
    fn new(job: &Job) -> Self {
        let budget = job.backup.memory_budget_bytes - job.backup.memory_budget_bytes / CLIENT_SHARE;
        Self {
            clock: Arc::new(SystemClock),
            metrics: Arc::new(Metrics::new()),
            status: Arc::new(Status::default()),
            buffers: Arc::new(Mutex::new(Buffers::default())),
            budget: Arc::new(Budget::new(usize::try_from(budget).unwrap_or(usize::MAX))),
        }
    }

    fn view(&self) -> Arc<View<SystemClock>> {
        Arc::new(View {
            metrics: Arc::clone(&self.metrics),
            status: Arc::clone(&self.status),
            budget: Arc::clone(&self.budget),
            buffers: Arc::clone(&self.buffers),
            clock: Arc::clone(&self.clock),
        })
    }
}

async fn run(
    job: Job,
    (store, kafka): (Store, Kafka),
    world: &World,
    until: Until,
    stop: &CancellationToken,
    abandon: CancellationToken,
) -> Result<(), Error> {
    let writer = tokio::select! {
        biased;
        writer = take_over(&job, store, &kafka, world) => writer?,
        () = stop.cancelled() => {
            tracing::info!("stopped before anything was fetched");
            return Ok(());
        }
    };
    // As the claim has it: what is written from here on is sealed, where the backup is.
    let store = writer.store().clone();
    let groups = source::groups::load(&store, job.consumer_groups, writer.state(), &world.clock, &world.metrics);
    let groups = tokio::select! {
        biased;
        groups = groups => groups?,
        () = stop.cancelled() => return Ok(()),
    };
    let options = EncodeOptions::new(writer.state().backup, codec(job.backup.compression))?;
    world.buffers.lock().set_packer(Packer::new(&options)?);
    let broker = Arc::new(LiveBroker::new(job.cluster, tuning(&job.backup, until), kafka));
    let poller = broker.spawn_poller(
        Arc::clone(&world.buffers),
        Arc::clone(&world.budget),
        Arc::clone(&world.clock),
        Arc::clone(&world.metrics),
    )?;
    let workshop = Workshop {
        store,
        options,
        shard: Shard::ONLY,
        epoch: writer.epoch(),
        encoders: Semaphore::new(encoders(job.backup.parallelism)),
        uploads: Semaphore::new(job.backup.parallelism.get()),
        pool: Pool::Blocking,
        clock: Arc::clone(&world.clock),
        metrics: Arc::clone(&world.metrics),
    };
    let parts = Parts {
        broker,
        clock: Arc::clone(&world.clock),
        writer,
        workshop: Arc::new(workshop),
        selection: job.topics,
        groups,
        settings: job.backup,
        retention: job.retention,
        prices: job.prices,
        buffers: Arc::clone(&world.buffers),
        budget: Arc::clone(&world.budget),
        metrics: Arc::clone(&world.metrics),
        status: Arc::clone(&world.status),
    };
    poller.beside(Stream::new(parts, until).run(stop.clone(), abandon)).await
}

/// Becomes the writer of the backup. Dropped at any point, what it has written is whole.
async fn take_over(job: &Job, store: Store, kafka: &Kafka, world: &World) -> Result<LogWriter, Error> {
    let claimant = Claimant {
        job,
        store: store.clone(),
        keys: keys::source(&job.storage),
        cluster: cluster_id(kafka, job).await?,
        writer: writer(),
        clock: Arc::clone(&world.clock),
        metrics: Arc::clone(&world.metrics),
        proven: false.into(),
    };
    let writer = claimant.claim().await?;
    world.status.claimed(world.clock.now(), Protected::of(writer.state()));
    world.metrics.epoch.set(i64::try_from(writer.epoch().get()).unwrap_or(i64::MAX));
    world.metrics.commits.get_or_create(&KindLabel::new("claim")).inc();
    // Only now is it known that what lies there is ours to tidy up.
    let now = world.clock.now();
    drop(tokio::task::spawn_blocking(move || sweep(&store, now)).await);
    Ok(writer)
}

/// Gives up on the last records when the store does not take them in time.
async fn grace(stop: CancellationToken, abandon: CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(GRACE).await;
    abandon.cancel();
}

async fn cluster_id(kafka: &Kafka, job: &Job) -> Result<ClusterId, Error> {
    let cluster = kafka.cluster_id(CLUSTER_PATIENCE).await;
    cluster.map_err(|error| Error::from(error).of_cluster(&job.cluster))
}

/// Removes what crashed writes left in a directory store. A stage is younger than a minute while it is written. Blocks.
pub(crate) fn sweep(store: &Store, now: TimestampMs) {
    let now = u64::try_from(now.get()).unwrap_or(0);
    let before = std::time::UNIX_EPOCH + Duration::from_millis(now.saturating_sub(60_000));
    match store.sweep_leftovers(before) {
        Ok(0) => {}
        Ok(files) => tracing::info!(files, "removed what crashed writes had left"),
        Err(error) => tracing::warn!(%error, "look for what crashed writes have left"),
    }
}

fn tuning(settings: &BackupSettings, until: Until) -> Tuning {
    let fetch_wait = match until {
        // It adds to the recovery point, so it is a small part of it.
        Until::Stopped => (settings.commit_interval / 5).min(Duration::from_millis(250)),
        // A broker answers the requests of a connection one by one: those of the end stand behind fetches that bring nothing.
        Until::CaughtUp => FETCH_WAIT_AT_THE_END,
    };
    Tuning {
        queue_bytes: settings.memory_budget_bytes / CLIENT_SHARE,
        fetch_wait,
        fetch_min_bytes: FETCH_MIN_BYTES,
        metadata_interval: settings.metadata_interval.max(Duration::from_secs(1)),
    }
}

/// How many row groups are encoded at once. More than there are cores, or a CPU limit's worth of them, only take each other's caches:
/// two instead of four on two cores took 1 to 3 % less CPU time.
fn encoders(parallelism: NonZeroUsize) -> usize {
    std::thread::available_parallelism().map_or(parallelism, |cores| cores.min(parallelism)).get()
}

fn codec(compression: Compression) -> Codec {
    match compression {
        Compression::None => Codec::None,
        Compression::Zstd { level } => Codec::Zstd(level),
        Compression::Gzip { level } => Codec::Gzip(level),
        Compression::Lz4 => Codec::Lz4,
        Compression::Snappy => Codec::Snappy,
    }
}
