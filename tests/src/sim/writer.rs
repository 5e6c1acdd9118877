//! One life of the streamer's process: the real claim and the real stream over the fake Kafka and the failing store.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use futures::task::AtomicWaker;
use object_store::ObjectStore;
use parking_lot::Mutex;
use strimzi_backup_format::ids::{ClusterId, Shard};
use strimzi_backup_format::job::Job;
use strimzi_backup_format::segment::encode::{Codec, EncodeOptions};
use strimzi_backup_format::store::Store;
use strimzi_backup_format::store::faulty::{Decision, FaultControl, FaultyStore};
use strimzi_backup_streamer::budget::Budget;
use strimzi_backup_streamer::claim::Claimant;
use strimzi_backup_streamer::clock::Clock as _;
use strimzi_backup_streamer::error::{self, Error, exit};
use strimzi_backup_streamer::keys::Source;
use strimzi_backup_streamer::metrics::Metrics;
use strimzi_backup_streamer::pipeline::produce::{Pool, Workshop};
use strimzi_backup_streamer::source::buffers::Buffers;
use strimzi_backup_streamer::status::Status;
use strimzi_backup_streamer::stream::{Parts, Stream, Until};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::broker::{SimBroker, Sink};
use super::clock::SimClock;
use super::cluster::Cluster;
use super::dice::Dice;
use super::keys::{AtHand, KEY_CAME_LATER, Keys};
use super::oracle::Selections;
use super::sabotage::{Sabotage, SabotagedStore};
use super::weather::{self, Kill, Weather};

/// What a writer is started with.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name, as a pod's.
    pub name: String,
    /// Its job.
    pub job: Job,
    /// Bytes it may hold.
    pub budget: usize,
    /// The size of a part, and up to which its store takes a segment in one request.
    pub part_bytes: usize,
    /// When its store kills it.
    pub kill: Option<Kill>,
    /// When it ends by itself.
    pub until: Until,
}

/// What writers share.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The store, without faults.
    pub store: Arc<dyn ObjectStore>,
    /// Kafka.
    pub cluster: Arc<Mutex<Cluster>>,
    /// What each writer selects.
    pub selections: Selections,
    /// The store's weather.
    pub weather: Arc<Mutex<Weather>>,
    /// When the world began.
    pub began: Instant,
    /// Who has the master keys; `None` where nothing is encrypted.
    pub keys: Option<Keys>,
    /// A planted bug.
    pub sabotage: Option<Sabotage>,
}

impl Surroundings {
    /// What lies below `inner`, as who has the keys sees it.
    ///
    /// # Errors
    /// Where they cannot be had.
    pub async fn opened(&self, inner: Arc<dyn ObjectStore>) -> Result<Store> {
        match &self.keys {
            Some(keys) => keys.opened(inner).await,
            None => Ok(Store::memory().with_inner(inner)),
        }
    }

    /// The planted bug before `inner`, where there is one.
    pub fn sabotaged(&self, inner: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        match self.sabotage {
            Some(sabotage) => Arc::new(SabotagedStore::new(inner, sabotage, self.keys.clone())),
            None => inner,
        }
    }
}

/// How a writer ended.
#[derive(Clone, Debug)]
pub enum Ending {
    /// By itself, or on a stop.
    Returned(Result<(), (u8, String)>),
    /// Killed.
    Killed,
}

/// A running writer, or what is left of it.
#[derive(Debug)]
pub struct Writer {
    /// Its name.
    pub name: String,
    /// What its store does.
    pub control: FaultControl,
    /// Ends it in order.
    pub stop: CancellationToken,
    /// Has it leave what it fetched.
    pub abandon: CancellationToken,
    /// Its counters.
    pub metrics: Arc<Metrics>,
    /// Bytes it holds.
    pub budget: Arc<Budget>,
    /// The epoch it claimed; 0 before.
    pub epoch: Arc<AtomicU64>,
    /// Stops it as SIGSTOP does.
    pub freezer: Arc<Freezer>,
    /// How it ended.
    pub ending: Option<Ending>,
    /// Whether it was told to stop.
    pub stopped: bool,
    /// The master keys of the world, and how many of them it has.
    keys: Option<(Keys, u64)>,
    broker: Arc<Mutex<Option<Arc<SimBroker>>>>,
    task: Option<JoinHandle<Ending>>,
}

/// What holds a future still.
#[derive(Debug, Default)]
pub struct Freezer {
    frozen: AtomicBool,
    /// Whether it ever was.
    used: AtomicBool,
    waker: AtomicWaker,
}

impl Freezer {
    /// Freezes or thaws.
    pub fn set(&self, frozen: bool) {
        self.frozen.store(frozen, Ordering::Relaxed);
        self.used.fetch_or(frozen, Ordering::Relaxed);
        self.waker.wake();
    }
}

/// A future that is not polled while it is frozen.
struct Freezable<F> {
    inner: Pin<Box<F>>,
    freezer: Arc<Freezer>,
}

impl<F: Future> Future for Freezable<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.freezer.waker.register(context.waker());
        if self.freezer.frozen.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        self.inner.as_mut().poll(context)
    }
}

impl Writer {
    /// Starts a writer.
    pub fn start(around: &Surroundings, plan: Plan, mut dice: Dice) -> Self {
        let faulty = FaultyStore::new(Arc::clone(&around.store));
        let control = faulty.control().clone();
        weather::plan(&control, Arc::clone(&around.weather), plan.kill, around.keys.is_some(), dice.fork());
        let store = around.sabotaged(Arc::new(faulty));
        let at_hand = around.keys.as_ref().map(Keys::at_hand);
        let this = Self {
            name: plan.name.clone(),
            control: control.clone(),
            stop: CancellationToken::new(),
            abandon: CancellationToken::new(),
            metrics: Arc::new(Metrics::new()),
            budget: Arc::new(Budget::new(plan.budget)),
            epoch: Arc::default(),
            freezer: Arc::default(),
            ending: None,
            stopped: false,
            keys: around.keys.clone().zip(at_hand.as_ref().map(AtHand::number)),
            broker: Arc::default(),
            task: None,
        };
        let world = Process {
            clock: Arc::new(SimClock::new(around.began, dice.fork())),
            store: Store::memory().with_inner(store).with_part_bytes(plan.part_bytes),
            keys: at_hand,
            cluster: Arc::clone(&around.cluster),
            selections: Arc::clone(&around.selections),
            late_by: i64::from(around.sabotage == Some(Sabotage::ResumeElsewhere)),
            metrics: Arc::clone(&this.metrics),
            budget: Arc::clone(&this.budget),
            epoch: Arc::clone(&this.epoch),
            broker: Arc::clone(&this.broker),
            stop: this.stop.clone(),
            abandon: this.abandon.clone(),
        };
        let running = Freezable { inner: Box::pin(world.run(plan, dice)), freezer: Arc::clone(&this.freezer) };
        let task = tokio::spawn(async move {
            tokio::select! {
                biased;
                () = control.killed() => Ending::Killed,
                ended = running => Ending::Returned(ended.map_err(|error| (error.exit_code(), error::chain(&error)))),
            }
        });
        Self { task: Some(task), ..this }
    }

    /// Whether it has not ended.
    pub fn is_running(&self) -> bool {
        self.task.as_ref().is_some_and(|task| !task.is_finished())
    }

    /// Ends it at once, wherever it is.
    pub async fn kill(&mut self) -> Result<()> {
        self.control.kill();
        self.join().await
    }

    /// Waits for its end, and checks that it is one that the documentation allows.
    pub async fn join(&mut self) -> Result<()> {
        let Some(task) = self.task.take() else { return Ok(()) };
        let ending = match task.await {
            Ok(ending) => ending,
            Err(failed) => bail!("writer {} panicked: {failed}", self.name),
        };
        self.ending = Some(ending);
        self.check_ending()
    }

    /// What has befallen it: faults of its store, being frozen, and how it ended where that was not in order.
    pub fn befallen(&self) -> BTreeSet<String> {
        let spoilt = self.control.spoilt();
        let faults = spoilt.iter().map(|decision| match decision {
            Decision::FailBefore(_) | Decision::FailAfter(_) => format!("{decision:?}"),
            // Where in a body does not matter.
            other => format!("{other:?}").split('(').next().unwrap_or_default().to_owned(),
        });
        let frozen = self.freezer.used.load(Ordering::Relaxed).then(|| "Frozen".to_owned());
        let ended = match &self.ending {
            Some(Ending::Killed) => Some("Killed".to_owned()),
            Some(Ending::Returned(Err((exit::FENCED, _)))) => Some("Fenced".to_owned()),
            _ => None,
        };
        faults.chain(frozen).chain(ended).collect()
    }

    fn check_ending(&self) -> Result<()> {
        let claimed = self.epoch.load(Ordering::Relaxed) > 0;
        match &self.ending {
            Some(Ending::Returned(Ok(()))) => {
                ensure!(self.stopped, "writer {} ended without being told to", self.name);
                ensure!(self.budget.used() == 0, "writer {} still holds {} bytes", self.name, self.budget.used());
            }
            Some(Ending::Returned(Err((exit::FENCED, _)))) => {
                ensure!(claimed, "writer {} was fenced before it had claimed", self.name);
            }
            // Before the claim a store that fails ends the process in the end; after a stop that was cut short, too.
            Some(Ending::Returned(Err((exit::FAILED, _)))) if !claimed || self.stopped => {}
            Some(Ending::Returned(Err((code, text)))) if self.is_outdated(claimed, *code, text) => {}
            Some(Ending::Returned(Err((code, text)))) => bail!("writer {} ended with {code}: {text}", self.name),
            Some(Ending::Killed) | None => {}
        }
        Ok(())
    }

    /// Whether a new master key came while it was under way, and it says that it must start again.
    fn is_outdated(&self, claimed: bool, code: u8, text: &str) -> bool {
        let Some((keys, number)) = &self.keys else { return false };
        match code {
            // Another one began to seal by a key that it cannot open, or had not read yet.
            exit::USAGE => !claimed && *number < keys.newest() && text.contains("no master key at hand opens"),
            exit::DAMAGED => keys.newest() > 0 && text.contains(KEY_CAME_LATER),
            _ => false,
        }
    }

    /// Checks that it holds no more bytes than it may (I8).
    pub fn check_budget(&self) -> Result<()> {
        let overdraft = self.broker.lock().as_ref().map_or(0, |broker| broker.largest_poll());
        let (used, limit) = (self.budget.used(), self.budget.limit());
        ensure!(used <= limit + overdraft, "writer {} holds {used} bytes of {limit}, a poll is {overdraft}", self.name);
        Ok(())
    }
}

/// What the task of a writer owns.
struct Process {
    clock: Arc<SimClock>,
    /// Not sealed.
    store: Store,
    keys: Option<AtHand>,
    cluster: Arc<Mutex<Cluster>>,
    selections: Selections,
    late_by: i64,
    metrics: Arc<Metrics>,
    budget: Arc<Budget>,
    epoch: Arc<AtomicU64>,
    broker: Arc<Mutex<Option<Arc<SimBroker>>>>,
    stop: CancellationToken,
    abandon: CancellationToken,
}

impl Process {
    async fn run(self, plan: Plan, mut dice: Dice) -> Result<(), Error> {
        let claimant = Claimant {
            job: &plan.job,
            store: self.store.clone(),
            keys: self.keys.as_ref().map(|keys| keys as &dyn Source),
            cluster: ClusterId::new("sim"),
            writer: plan.name.clone(),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            proven: false.into(),
        };
        let writer = tokio::select! {
            biased;
            writer = claimant.claim() => writer?,
            () = self.stop.cancelled() => return Ok(()),
        };
        self.epoch.store(writer.epoch().get(), Ordering::Relaxed);
        self.selections.lock().insert(writer.epoch().get(), (self.clock.now(), plan.job.topics.clone()));
        // As the claim has it: what is written from here on is sealed, where the backup is.
        let store = writer.store().clone();
        let options = EncodeOptions::new(writer.state().backup, Codec::None)?;
        let buffers: Arc<Mutex<Buffers>> = Arc::default();
        let sink =
            Sink { buffers: Arc::clone(&buffers), budget: Arc::clone(&self.budget), clock: Arc::clone(&self.clock) };
        let broker = Arc::new(SimBroker::new(self.cluster, sink, dice.fork(), self.late_by));
        *self.broker.lock() = Some(Arc::clone(&broker));
        let poller = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&broker).poll()));
        let (chosen, state) = (plan.job.consumer_groups.clone(), writer.state());
        let groups = strimzi_backup_streamer::source::groups::load(&store, chosen, state, &self.clock, &self.metrics);
        let groups = tokio::select! {
            biased;
            groups = groups => groups?,
            () = self.stop.cancelled() => return Ok(()),
        };
        let workshop = Workshop {
            store,
            options,
            shard: Shard::ONLY,
            epoch: writer.epoch(),
            encoders: Semaphore::new(2),
            uploads: Semaphore::new(2),
            pool: Pool::Inline,
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
        };
        let parts = Parts {
            broker,
            clock: self.clock,
            writer,
            workshop: Arc::new(workshop),
            selection: plan.job.topics,
            groups,
            settings: plan.job.backup,
            retention: plan.job.retention,
            prices: plan.job.prices,
            buffers,
            budget: self.budget,
            metrics: self.metrics,
            status: Arc::new(Status::default()),
        };
        let deadline = AbortOnDropHandle::new(tokio::spawn(grace(self.stop.clone(), self.abandon.clone())));
        let streamed = Stream::new(parts, plan.until).run(self.stop, self.abandon).await;
        drop((poller, deadline));
        streamed
    }
}

/// As the process has it: what is fetched may still be committed for so long after the stop.
async fn grace(stop: CancellationToken, abandon: CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(Duration::from_secs(25)).await;
    abandon.cancel();
}
