//! The composition root: from a job to a running streamer.
//!
//! Order, so that nothing is touched before it is known to be right: HTTP address, store opened, broker asked for its
//! cluster id, log read and checked against this job, store probed, log claimed, streaming.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use strimzi_backup_format::coverage::recoverable_until;
use strimzi_backup_format::ids::{ClusterId, Shard};
use strimzi_backup_format::job::{BackupSettings, Compression, Job};
use strimzi_backup_format::segment::encode::{Codec, EncodeOptions};
use strimzi_backup_format::store::{self, Store};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, View};
use crate::budget::Budget;
use crate::claim::Claimant;
use crate::clock::{Clock as _, SystemClock};
use crate::error::Error;
use crate::kafka::{self, Kafka, Tuning};
use crate::metrics::Metrics;
use crate::pipeline::produce::{Pool, Workshop};
use crate::source::buffers::Buffers;
use crate::source::live::LiveBroker;
use crate::status::Status;
use crate::stream::{Parts, Stream, Until};

/// How long the broker may take to say which cluster it is before the start counts as failed.
const CLUSTER_PATIENCE: Duration = Duration::from_secs(30);

/// What is fetched is still committed for this long after the first signal: less than the 30 s that Kubernetes grants.
const GRACE: Duration = Duration::from_secs(25);

/// The client's share of the memory budget, for what it has fetched and not yet handed over.
const CLIENT_SHARE: u64 = 4;

/// The least a broker gathers before it answers, so that quiet partitions cost few requests.
const FETCH_MIN_BYTES: u32 = 64 << 10;

/// Streams until `stop`, or until caught up.
///
/// # Errors
/// [`Error`], which knows its exit code.
pub async fn stream(job: Job, until: Until, stop: CancellationToken, abandon: CancellationToken) -> Result<(), Error> {
    let listener = admin::bind(job.http.address).await?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "listening for /livez, /readyz and /metrics");
    }
    let store = store::open_to_write(&job.storage)?;
    let world = World::new(&job);
    let serving = tokio::spawn(admin::serve(listener, world.view(), stop.child_token()));
    let done = run(job, store, &world, until, &stop, abandon).await;
    stop.cancel();
    // The server only reads; how it ended matters to nobody once the streamer has.
    drop(serving.await);
    done
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
    store: Store,
    world: &World,
    until: Until,
    stop: &CancellationToken,
    abandon: CancellationToken,
) -> Result<(), Error> {
    let tuning = tuning(&job.backup);
    let kafka = Kafka::connect(&job.cluster, &tuning)?;
    let cluster = cluster_id(&kafka, &job).await?;
    sweep(&store, &world.clock);
    let claimant = Claimant {
        job: &job,
        store: store.clone(),
        cluster,
        writer: gethostname::gethostname().to_string_lossy().into_owned(),
        clock: Arc::clone(&world.clock),
        metrics: Arc::clone(&world.metrics),
        proven: false.into(),
    };
    let writer = claimant.claim(stop).await?;
    world.status.claimed(world.clock.now(), recoverable_until(writer.state()));
    world.metrics.epoch.set(i64::try_from(writer.epoch().get()).unwrap_or(i64::MAX));
    world.metrics.commits.get_or_create(&crate::metrics::KindLabel::new("claim")).inc();
    let options = EncodeOptions::new(writer.state().backup, codec(job.backup.compression))?;
    let broker = Arc::new(LiveBroker::new(job.cluster.clone(), tuning, kafka));
    let polling = CancellationToken::new();
    let poller = broker.spawn_poller(
        Arc::clone(&world.buffers),
        Arc::clone(&world.budget),
        Arc::clone(&world.clock),
        Arc::clone(&world.metrics),
        polling.clone(),
    );
    let poller = poller.map_err(|source| Error::Io { what: "start the polling thread".to_owned(), source })?;
    let workshop = Workshop {
        store,
        options,
        shard: Shard::ONLY,
        epoch: writer.epoch(),
        encoders: Semaphore::new(job.backup.parallelism.get()),
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
        settings: job.backup,
        buffers: Arc::clone(&world.buffers),
        budget: Arc::clone(&world.budget),
        metrics: Arc::clone(&world.metrics),
        status: Arc::clone(&world.status),
    };
    let deadline = tokio::spawn(grace(stop.clone(), abandon.clone()));
    let streamed = Stream::new(parts, until).run(stop.clone(), abandon).await;
    deadline.abort();
    polling.cancel();
    match tokio::task::spawn_blocking(move || poller.join()).await {
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        _ => streamed,
    }
}

/// Gives up on the last records when the store does not take them in time.
async fn grace(stop: CancellationToken, abandon: CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(GRACE).await;
    abandon.cancel();
}

async fn cluster_id(kafka: &Kafka, job: &Job) -> Result<ClusterId, Error> {
    match kafka.cluster_id(CLUSTER_PATIENCE).await {
        Ok(cluster) => Ok(cluster),
        Err(source @ kafka::Error::Unreachable { .. }) => {
            Err(Error::NoBroker { servers: job.cluster.bootstrap_servers.clone(), source })
        }
        Err(error) => Err(error.into()),
    }
}

/// Removes what crashed writes left in a directory store. A stage is younger than a minute while it is written.
fn sweep(store: &Store, clock: &SystemClock) {
    let now = u64::try_from(clock.now().get()).unwrap_or(0);
    let before = std::time::UNIX_EPOCH + Duration::from_millis(now.saturating_sub(60_000));
    match store.sweep_leftovers(before) {
        Ok(0) => {}
        Ok(files) => tracing::info!(files, "removed what crashed writes had left"),
        Err(error) => tracing::warn!(%error, "look for what crashed writes have left"),
    }
}

fn tuning(settings: &BackupSettings) -> Tuning {
    Tuning {
        queue_bytes: settings.memory_budget_bytes / CLIENT_SHARE,
        // It adds to the recovery point, so it is a small part of it.
        fetch_wait: (settings.commit_interval / 5).min(Duration::from_millis(250)),
        fetch_min_bytes: FETCH_MIN_BYTES,
        metadata_interval: settings.metadata_interval.max(Duration::from_secs(1)),
    }
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
