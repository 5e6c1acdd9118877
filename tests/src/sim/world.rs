//! A world: one Kafka cluster, one store, any number of writers, and the oracle that looks on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures::TryStreamExt as _;
use object_store::ObjectStore;
use parking_lot::Mutex;
use strimzi_backup_format::checksum::Sha256;
use strimzi_backup_format::coverage::recoverable_until;
use strimzi_backup_format::errors::chain;
use strimzi_backup_format::ids::{PartitionKey, TimestampMs};
use strimzi_backup_format::job::{Job, Retention};
use strimzi_backup_format::snapshot::Keep;
use strimzi_backup_format::state::State;
use strimzi_backup_format::store::Store;
use strimzi_backup_streamer::error::Error;
use strimzi_backup_streamer::stream::Until;
use strimzi_backup_streamer::{prune, snapshot};
use tokio::time::Instant;

use super::clock::{self, SimClock};
use super::cluster::{Cluster, Life};
use super::dice::Dice;
use super::keys::{KEY_CAME_LATER, Keys, is_document, of_seed};
use super::oracle::{self, Oracle};
use super::restorer::Restores;
use super::sabotage::Sabotage;
use super::timed::TimedStore;
use super::weather::{Kill, Weather};
use super::writer::{Ending, Plan, Surroundings, Writer};

/// Once all faults are over, everything must be captured within this time: a writer that was fenced by a dead one stands
/// by for 75 s, and a start backs off for a minute.
const CATCH_UP: Duration = Duration::from_secs(400);

/// By its age, what is captured is kept for half a minute: less than a document may ask for.
pub const MAX_AGE: Duration = Duration::from_secs(30);

/// A world.
#[derive(Debug)]
pub struct World {
    /// What writers share.
    pub around: Surroundings,
    /// Every writer that ever was.
    pub writers: Vec<Writer>,
    /// Who looks on.
    pub oracle: Oracle,
    /// The restores that go on meanwhile.
    pub restores: Restores,
    /// Chance.
    pub dice: Dice,
    /// The topics that the next writer does not select.
    pub excluded: Vec<String>,
    /// How long what is captured is kept.
    pub retention: Retention,
    /// How often a writer looks for topics, in milliseconds.
    pub metadata_millis: u64,
    /// How often a writer shows that it is alive, in milliseconds.
    pub heartbeat_millis: u64,
    /// Bytes that a writer may hold.
    pub budget: usize,
    /// When the next writer ends by itself.
    pub until: Until,
    /// The size of a part: [`PARTS`] or [`WHOLE`], or in between.
    pub part_bytes: usize,
}

/// A segment of the simulation, which has a few kilobytes, goes in several parts.
pub const PARTS: usize = 1_000;
/// A segment of the simulation goes in one request.
pub const WHOLE: usize = 1 << 20;

impl World {
    /// An empty world, which is encrypted where the seed is even.
    pub fn new(seed: u64, sabotage: Option<Sabotage>) -> Self {
        let began = Instant::now();
        let store: Arc<dyn ObjectStore> = Arc::new(TimedStore::new(began));
        let cluster: Arc<Mutex<Cluster>> = Arc::default();
        let weather: Arc<Mutex<Weather>> = Arc::default();
        let keys = seed.is_multiple_of(2).then(|| Keys::new(seed, Arc::clone(&weather), Arc::clone(&store)));
        let mut oracle = Oracle::new(Arc::clone(&store), Arc::clone(&cluster), keys.clone());
        oracle.misses_a_key = sabotage == Some(Sabotage::BaseMissesKey);
        oracle.drops_a_run = sabotage == Some(Sabotage::RefineDropsRun);
        let selections = Arc::clone(&oracle.selections);
        let around = Surroundings { store, cluster, selections, weather, began, keys, sabotage };
        let (writers, excluded, until) = (Vec::new(), Vec::new(), Until::Stopped);
        let (metadata_millis, heartbeat_millis) = (3_000, 5_000);
        let retention = Retention { max_age: None, max_backups: None, acknowledged: None, grace: Duration::ZERO };
        let (budget, part_bytes, dice) = (1 << 20, PARTS, Dice::new(seed));
        let restores = Restores::new(seed, sabotage);
        Self {
            around,
            writers,
            oracle,
            restores,
            dice,
            excluded,
            retention,
            metadata_millis,
            heartbeat_millis,
            budget,
            until,
            part_bytes,
        }
    }

    /// The wall clock.
    pub fn now(&self) -> TimestampMs {
        clock::now(self.around.began)
    }

    /// Lets time pass.
    pub async fn pass(&self, millis: u64) {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    fn job(&self) -> Result<Job> {
        let text = format!(
            "{{cluster: {{bootstrapServers: 'sim:1'}}, storage: {{type: filesystem, filesystem: {{path: /sim}}}}, \
             topics: {{include: ['.*'], exclude: {:?}}}, \
             backup: {{commitInterval: 1s, heartbeatInterval: {}ms, metadataInterval: {}ms}}}}",
            self.excluded, self.heartbeat_millis, self.metadata_millis
        );
        let mut job: Job = text.parse()?;
        // Below what a document may ask for, so that a few records already make several segments.
        job.backup.topic_segment_bytes = 1_500;
        job.backup.segment_bytes = 4_000;
        job.backup.refine_bytes = 20_000;
        job.retention = self.retention.clone();
        Ok(job)
    }

    /// Produces records to random partitions.
    pub fn produce(&mut self, records: usize) {
        let now = self.now();
        for _ in 0..records {
            if let Some(partition) = self.around.cluster.lock().any_partition(&mut self.dice) {
                partition.produce(now, false, &mut self.dice);
            }
        }
    }

    /// Produces records to random partitions that are dated hours back.
    fn produce_late(&mut self, records: usize) {
        let now = self.now();
        for _ in 0..records {
            let late_millis = self.dice.between(3_600_000, 3 * 3_600_000);
            if let Some(partition) = self.around.cluster.lock().any_partition(&mut self.dice) {
                partition.produce_late(now, late_millis, &mut self.dice);
            }
        }
    }

    /// Takes a snapshot of the next commit, as the command does.
    async fn take_snapshot(&mut self) -> Result<()> {
        let (job, keep) = (self.job()?, self.dice.once_in(5).then_some(Keep::Forever));
        let request = snapshot::Request { id: None, by: None, keep, timeout: snapshot::TIMEOUT };
        let clock = SimClock::new(self.around.began, self.dice.fork());
        loop {
            let store = self.store().await?;
            match snapshot::run(&store, &job, request.clone(), &clock).await {
                Ok(taken) => return self.oracle.taken(taken.snapshot).await,
                // It says itself that it may lack something.
                Err(Error::LateSnapshot { .. }) => return Ok(()),
                // Its Job starts it again, which reads the keys that are there by then.
                Err(error) if chain(&error).contains(KEY_CAME_LATER) => {}
                Err(error) => return Err(error).context("take a snapshot"),
            }
        }
    }

    /// The store without faults, as who has the keys sees it.
    ///
    /// # Errors
    /// Where they cannot be had.
    pub async fn store(&self) -> Result<Store> {
        self.around.opened(Arc::clone(&self.around.store)).await
    }

    /// Starts a writer, as Kubernetes starts a pod, now and then with a new master key.
    pub fn start(&mut self, name: &str, kill: Option<Kill>) -> Result<()> {
        if let Some(keys) = self.around.keys.as_ref().filter(|_| self.dice.clone().once_in(4)) {
            keys.renew();
        }
        let (name, job, until) = (name.to_owned(), self.job()?, self.until);
        let plan = Plan { name, job, budget: self.budget, part_bytes: self.part_bytes, kill, until };
        let dice = self.dice.fork();
        self.writers.push(Writer::start(&self.around, plan, dice));
        Ok(())
    }

    /// The writers that have not ended.
    pub fn running(&mut self) -> Vec<&mut Writer> {
        self.writers.iter_mut().filter(|writer| writer.is_running()).collect()
    }

    /// Takes note of the writers that ended by themselves, and of the budgets of the others.
    pub async fn reap(&mut self) -> Result<()> {
        for writer in &mut self.writers {
            if writer.is_running() {
                writer.check_budget()?;
            } else {
                writer.join().await?;
            }
        }
        Ok(())
    }

    /// Ends all faults, waits until everything is captured, stops in order, and has the oracle look at all of it.
    pub async fn settle(&mut self) -> Result<()> {
        *self.around.weather.lock() = Weather::default();
        self.excluded.clear();
        let now = self.now();
        {
            let mut cluster = self.around.cluster.lock();
            cluster.unreachable = false;
            cluster.end_transactions(now);
        }
        // Who still excludes something would never capture it.
        for writer in self.running() {
            writer.freezer.set(false);
            writer.control.set_latency(Duration::ZERO);
            (writer.stopped, _) = (true, writer.stop.cancel());
        }
        let healed = self.now();
        tracing::debug!(%healed, "all faults end");
        self.catch_up(healed).await?;
        for writer in self.running() {
            (writer.stopped, _) = (true, writer.stop.cancel());
        }
        let asked = Instant::now();
        while !self.running().is_empty() {
            ensure!(asked.elapsed() < Duration::from_secs(60), "a writer does not stop");
            self.pass(500).await;
        }
        self.reap().await?;
        self.oracle.check().await?;
        self.check_acknowledged()
    }

    /// Hours go by, in which nobody streams. Then somebody does for a minute, in which snapshots are taken and records come late, and
    /// what is not kept any longer is pruned. A restore may go on all the while.
    pub async fn grow_old(&mut self) -> Result<()> {
        let restore_at = self.next_restore();
        if restore_at == Some(0) {
            Box::pin(self.begin_restore()).await?;
        }
        self.pass(2 * 3_600_000).await;
        self.start("a", None)?;
        for step in 0..10 {
            // The first one before partitions have anything of this hour: what comes late is filed under the hours before.
            if step == 0 || self.dice.once_in(8) {
                self.take_snapshot().await?;
                self.produce_late(6);
            }
            self.produce(3);
            self.pass(6_000).await;
            self.reap().await?;
            self.restore_on().await?;
            if restore_at == Some(step + 1) {
                Box::pin(self.begin_restore()).await?;
            }
        }
        self.settle().await?;
        self.oracle.read_compacted().await?;
        let store = self.around.opened(self.around.sabotaged(Arc::clone(&self.around.store))).await?;
        let clock = SimClock::new(self.around.began, self.dice.fork());
        let report = prune::run(&store, &self.job()?, false, &clock).await?;
        self.oracle.pruned(&report).await?;
        self.restore_to_the_end().await?;
        self.oracle.check().await
    }

    async fn catch_up(&mut self, healed: TimestampMs) -> Result<()> {
        let began = Instant::now();
        loop {
            self.reap().await?;
            let stopping = self.writers.iter().any(|writer| writer.is_running() && writer.stopped);
            if !stopping && self.running().is_empty() {
                self.start("a", None)?;
            }
            self.pass(2_000).await;
            self.oracle.follow().await?;
            let missing = match self.oracle.state() {
                Some(state) => what_is_missing(state, &self.around.cluster.lock(), healed),
                None => Some("there is no log".to_owned()),
            };
            let Some(missing) = missing else { return Ok(()) };
            if began.elapsed() > CATCH_UP {
                bail!("not caught up {CATCH_UP:?} after the last fault: {missing}");
            }
        }
    }

    /// Whether all that writers took for committed stands in the log, and nothing else of those that ended in order.
    fn check_acknowledged(&self) -> Result<()> {
        for writer in &self.writers {
            let epoch = writer.epoch.load(Ordering::Relaxed);
            let acknowledged = writer.metrics.records.get();
            let stands = self.oracle.rows_by_epoch.get(&epoch).copied().unwrap_or(0);
            let name = &writer.name;
            ensure!(acknowledged <= stands, "{name} (epoch {epoch}) committed {acknowledged}, {stands} stand");
            if matches!(writer.ending, Some(Ending::Returned(Ok(())))) && epoch > 0 {
                ensure!(acknowledged == stands, "{name} (epoch {epoch}) counts {acknowledged}, {stands} stand");
            }
            if let Some(Ending::Returned(Err((3, text)))) = &writer.ending {
                let higher = self.oracle.state().map_or(0, |state| state.epoch().get());
                ensure!(higher > epoch, "{name} (epoch {epoch}) ended, and {higher} is the highest: {text}");
            }
        }
        Ok(())
    }

    /// A digest of everything in the store that the seed decides: the same seed gives the same.
    pub async fn digest(&self) -> Result<Sha256> {
        if self.around.keys.is_some() {
            return self.digest_of_sealed().await;
        }
        let objects = oracle::listing(&self.around.store).await?;
        let text: Vec<String> = objects.into_iter().map(|(key, digest)| format!("{key} {digest}")).collect();
        Ok(Sha256::of(text.join("\n").as_bytes()))
    }

    /// The same of an encrypted one, where bytes are drawn for each seal: which objects there are and how large the files, which calls were
    /// made, and what the log came to, of which the oracle has held every record against Kafka's.
    async fn digest_of_sealed(&self) -> Result<Sha256> {
        let listed: Vec<_> = self.around.store.list(None).try_collect().await?;
        let objects = listed.iter().map(|meta| {
            let key = meta.location.as_ref();
            format!("{} {:?}", of_seed(key), (!is_document(key)).then_some(meta.size))
        });
        let calls = self.writers.iter().flat_map(|writer| writer.control.calls());
        let calls = calls.map(|call| format!("{:?} {}", call.op, of_seed(call.path.as_ref())));
        let state = self.state()?;
        let log = format!("{:?} {:?} {:?}", state.positions, state.gaps, state.frontier);
        let text: Vec<String> = objects.chain(calls).chain([log]).collect();
        Ok(Sha256::of(text.join("\n").as_bytes()))
    }

    /// What happened in it.
    pub fn seen(&self) -> BTreeSet<String> {
        let calls = self.writers.iter().flat_map(|writer| writer.control.calls());
        let waited = self.writers.iter().any(|writer| writer.metrics.key_errors.get() > 0);
        let waited = waited.then(|| "KeyWaitedFor".to_owned());
        let befallen = self.writers.iter().flat_map(Writer::befallen);
        let calls = calls.map(|call| format!("{:?}", call.op)).chain(befallen);
        calls.chain(waited).chain(self.oracle.seen.iter().cloned()).collect()
    }

    /// The digest of the newest manifest's state, which there must be.
    pub fn state(&self) -> Result<&State> {
        self.oracle.state().context("there is no log")
    }
}

/// The first thing that Kafka holds and the log does not.
fn what_is_missing(state: &State, cluster: &Cluster, healed: TimestampMs) -> Option<String> {
    let behind = cluster.alive().find_map(|life| missing_of(state, life));
    let until = recoverable_until(state);
    behind.or_else(|| (until < Some(healed)).then(|| format!("recoverable.until is {until:?}: {:?}", state.frontier)))
}

fn missing_of(state: &State, life: &Life) -> Option<String> {
    let Some(topic) = state.topics.get(&life.topic).filter(|topic| topic.is_live()) else {
        return Some(format!("topic {}", life.topic));
    };
    if topic.newest().1.is_none_or(|held| held.topic_id != life.id) {
        return Some(format!("the present life of topic {}", life.topic));
    }
    (0..).zip(&life.partitions).find_map(|(number, partition)| {
        let number = strimzi_backup_format::ids::PartitionId::new(number);
        let lineage = topic.current.get(&number).copied();
        let held = lineage.and_then(|lineage| {
            let key = PartitionKey { topic: life.topic.clone(), lineage, partition: number };
            state.position(&key).map(|position| position.next_offset.get())
        });
        let end = partition.log.high_watermark();
        (held != Some(end)).then(|| format!("{}-{number}: position {held:?}, end {end}", life.topic))
    })
}
