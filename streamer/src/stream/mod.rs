//! The streamer: cut, encode, upload, commit in order, for as long as it runs.
//!
//! ```text
//!   every commitInterval, or when the budget is half spent
//!        │
//!        ▼              same ids?                       spawned, side by side            in the order of the cuts
//!   Buffers::cut ─▶ [settle: look at the topic ids] ─▶ pipeline::produce ─▶ … ─▶ [commit: create the next manifest]
//!        ▲                                                                              │
//!   discover: topics, partitions, watermarks; faults: positions out of range            └─▶ checkpoint, when due
//! ```
//!
//! Owns: the order of things. One task runs the loop and owns the log, the catalog and the ledger of positions. The large
//! questions to the broker, about all topics and all watermarks, and looks at the store run beside it and come back as
//! [`Answer`]s. Those whose answer the next step needs are awaited in the loop, and hold up commits for as long as their
//! patience lasts: the ids of a cut's topics, where new or faulty partitions start and end.
//! Every cut becomes exactly one manifest, so that the sequence in its segments' names is known when it is cut.
//!
//! Crash at any point: what no manifest names does not exist (P2); the next start reads positions from the log (P1).

mod commit;
mod discover;
mod faults;
mod frontier;
mod settle;
mod upkeep;
mod watermarks;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use strimzi_backup_format::bucket::Bucket;
use strimzi_backup_format::ids::{Offset, PartitionKey, TimestampMs, TopicName};
use strimzi_backup_format::job::{BackupSettings, Prices, Retention, TopicSelection};
use strimzi_backup_format::manifest::log::{Draft, LogWriter};
use strimzi_backup_format::manifest::{Gap, Hole, PartitionPosition, Refined, Retired};
use strimzi_backup_format::segment;
use strimzi_backup_format::state::Head;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::budget::{Budget, Charge};
use crate::clock::Clock;
use crate::error::Error;
use crate::metrics::{KindLabel, Metrics};
use crate::pipeline::plan::Policy;
use crate::pipeline::produce::{Produced, Workshop};
use crate::source::buffers::{Buffers, Fault, PartitionCut, Start};
use crate::source::catalog::Catalog;
use crate::source::groups::Groups;
use crate::source::{Broker, TopicPartition};
use crate::status::Status;
use discover::Scope;
use upkeep::Upkeep;

/// Cuts on their way into the store at once. Two keep the encoders and the network busy; more would only hold memory.
const CUTS_IN_FLIGHT: usize = 3;

/// How often the loop looks whether the budget calls for an early cut.
const FILL_CHECK: Duration = Duration::from_millis(20);

/// Watermarks are asked for at most once in this time for each partition: a thousand partitions are asked every second
/// at the most, ten thousand every ten.
const WATERMARK_SPACING: Duration = Duration::from_millis(1);

/// When streaming ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// When it is told to stop.
    Stopped,
    /// When every partition has reached the end offset that it had at the start.
    CaughtUp,
}

/// What the streamer is made of.
#[derive(Debug)]
pub struct Parts<B, C> {
    /// Kafka.
    pub broker: Arc<B>,
    /// Time and dice.
    pub clock: Arc<C>,
    /// The claimed log.
    pub writer: LogWriter,
    /// Encoders and store.
    pub workshop: Arc<Workshop<C>>,
    /// Which topics.
    pub selection: TopicSelection,
    /// Which consumer groups, and what is known of them.
    pub groups: Groups,
    /// Intervals and sizes.
    pub settings: BackupSettings,
    /// How long what is captured is kept.
    pub retention: Retention,
    /// What the store charges.
    pub prices: Prices,
    /// Where records arrive.
    pub buffers: Arc<Mutex<Buffers>>,
    /// Bytes held.
    pub budget: Arc<Budget>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What the HTTP server tells.
    pub status: Arc<Status>,
}

/// The running streamer.
#[derive(Debug)]
pub struct Stream<B, C> {
    parts: Parts<B, C>,
    policy: Policy,
    catalog: Catalog,
    /// Where each partition ever captured stands, ahead of the log by the cuts in flight.
    ledger: BTreeMap<PartitionKey, Start>,
    /// A cut whose topic ids are not confirmed yet.
    unsettled: Option<Unsettled>,
    in_flight: VecDeque<InFlight>,
    pending: Pending,
    /// Questions to the broker and the store that run beside the loop.
    asking: JoinSet<Answer>,
    /// When the last complete look at the cluster's topics was asked for: what came into being later is not known, so
    /// nothing is claimed beyond.
    watched_at: Option<TimestampMs>,
    /// What partitions that are not read yet count as captured up to: they did not exist at that instant, or the life
    /// before was captured up to it.
    inherited: BTreeMap<PartitionKey, TimestampMs>,
    /// Partitions found out of range although they seem to be in range; cleared when they bring something.
    suspects: BTreeSet<PartitionKey>,
    /// The fault last told of each partition that brings nothing, so that the log says it once.
    told_faults: BTreeMap<PartitionKey, Fault>,
    /// Partitions of topics that are selected again, until they bring something: what they lost, they lost meanwhile.
    returning: BTreeSet<PartitionKey>,
    /// When each topic was last seen under the id that the catalog knows.
    confirmed: BTreeMap<TopicName, Instant>,
    /// Since when the broker does not know a topic that the catalog holds for alive.
    unknown: BTreeMap<TopicName, Instant>,
    /// Whether a topic was re-created since the client was connected.
    recreated: bool,
    /// Ends last seen of partitions whose topic id could not be confirmed.
    unconfirmed_ends: BTreeMap<PartitionKey, Offset>,
    /// The newest manifest at the last look whether the log still stands.
    seen_head: Option<Head>,
    /// Refining, beside the loop.
    upkeep: Upkeep,
    until: Until,
    /// Events of the client at the last look whether a cut is due early.
    events_seen: u64,
    /// End offsets at the start of every partition there was, for [`Until::CaughtUp`]; `None` until all are told.
    goal: Option<BTreeMap<TopicPartition, Offset>>,
    last_commit: Instant,
    next_watermarks: Instant,
    asking_watermarks: bool,
    asking_topics: bool,
    asking_footing: bool,
}

/// What goes into the next manifest beside its records.
#[derive(Debug, Default)]
struct Pending {
    gaps: Vec<Gap>,
    holes: Vec<Hole>,
    positions: BTreeMap<PartitionKey, PartitionPosition>,
    refined: Option<Refined>,
    retired: Option<Retired>,
}

impl Pending {
    fn is_empty(&self) -> bool {
        let upkeep = self.refined.is_some() || self.retired.is_some();
        self.gaps.is_empty() && self.holes.is_empty() && self.positions.is_empty() && !upkeep
    }
}

#[derive(Debug)]
struct Unsettled {
    parts: Vec<PartitionCut>,
    observed_at: TimestampMs,
    charge: Charge,
}

#[derive(Debug)]
struct InFlight {
    produced: AbortOnDropHandle<Result<(Produced, Charge), segment::Error>>,
    draft: Draft,
    observed_at: TimestampMs,
    cut_at: Instant,
}

/// What came back from a question that was asked beside the loop.
#[derive(Debug)]
enum Answer {
    Topics(Box<discover::Look>),
    Watermarks(watermarks::Watermarks),
    /// Whether the log still stands in the store.
    Footing(Result<Option<Head>, Error>),
}

/// What the loop woke up for.
enum Event {
    Stop,
    Tick,
    Fill,
    Topics,
    Answer(Answer),
    Produced,
}

impl<B: Broker, C: Clock> Stream<B, C> {
    /// A streamer that goes on where the log ends.
    pub fn new(parts: Parts<B, C>, until: Until) -> Self {
        let state = parts.writer.state();
        let inherited = frontier::inherited(state);
        let mut catalog = Catalog::from_state(state, |key| inherited.contains_key(key));
        let scope = Scope::of(&parts);
        catalog.select(|topic| scope.selects(topic));
        let returning = catalog.returned();
        let ledger = frontier::ledger(state);
        let upkeep = Upkeep::new(state, parts.writer.intake_bytes());
        let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        let policy = Policy {
            segment_bytes: bytes(parts.settings.segment_bytes),
            topic_segment_bytes: bytes(parts.settings.topic_segment_bytes),
        };
        Self {
            seen_head: state.head,
            watched_at: state.frontier.until,
            inherited,
            parts,
            policy,
            catalog,
            ledger,
            unsettled: None,
            in_flight: VecDeque::new(),
            pending: Pending::default(),
            asking: JoinSet::new(),
            suspects: BTreeSet::new(),
            told_faults: BTreeMap::new(),
            returning,
            confirmed: BTreeMap::new(),
            unknown: BTreeMap::new(),
            recreated: false,
            unconfirmed_ends: BTreeMap::new(),
            upkeep,
            until,
            events_seen: 0,
            goal: None,
            last_commit: Instant::now(),
            next_watermarks: Instant::now(),
            asking_watermarks: false,
            asking_topics: false,
            asking_footing: false,
        }
    }

    /// Streams until `stop`, or until it is caught up. On `stop` what was fetched is still committed; when `abandon`
    /// fires as well, it is left for the next start, whatever is being waited for.
    ///
    /// Not cancel safe in the sense that work is lost; dropped at any point, the backup is whole.
    ///
    /// # Errors
    /// [`Error`] where going on would be wrong. A store or a broker that fails is waited for.
    pub async fn run(self, stop: CancellationToken, abandon: CancellationToken) -> Result<(), Error> {
        tokio::select! {
            biased;
            done = Box::pin(self.stream(stop)) => done,
            () = abandon.cancelled() => Err(Error::StoppedEarly),
        }
    }

    async fn stream(mut self, stop: CancellationToken) -> Result<(), Error> {
        let mut tick = interval(self.parts.settings.commit_interval);
        let mut fill = interval(FILL_CHECK.min(self.parts.settings.commit_interval));
        let mut topics = interval(self.parts.settings.metadata_interval);
        loop {
            let settled = self.in_flight.len() < CUTS_IN_FLIGHT;
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => Event::Stop,
                done = produced(&mut self.in_flight) => { self.commit_next(done?).await?; Event::Produced }
                Some(answer) = self.asking.join_next() => Event::Answer(unpack(answer)),
                done = self.upkeep.finished() => { self.end_upkeep(done); Event::Fill }
                // Before the ticks, which may always be due; it only sends questions off, and holds none of them up.
                _ = topics.tick() => Event::Topics,
                _ = tick.tick(), if settled => Event::Tick,
                _ = fill.tick(), if settled => Event::Fill,
            };
            match event {
                Event::Stop => break,
                Event::Topics => {
                    self.ask_footing();
                    // The tick asks for them too, but not while the store holds up all the cuts that may be in flight.
                    self.ask_watermarks();
                    self.ask_topics();
                }
                Event::Answer(answer) => self.take_answer(answer).await?,
                Event::Tick => self.tick().await?,
                Event::Fill if self.is_due_early() => self.tick().await?,
                Event::Fill | Event::Produced => {}
            }
            if self.until == Until::CaughtUp && self.is_caught_up() {
                break;
            }
        }
        self.finish().await
    }

    /// A cut is due early when the next one needs the room that this one takes, when one waits to be settled, and, for
    /// who waits to be caught up, when nothing more has come since the last look.
    fn is_due_early(&mut self) -> bool {
        let (charged, events) = {
            let buffers = self.parts.buffers.lock();
            (buffers.charged(), buffers.fetched().events)
        };
        let quiet = std::mem::replace(&mut self.events_seen, events) == events;
        let waiting = self.until == Until::CaughtUp && quiet && charged > 0;
        waiting || charged >= self.parts.budget.limit() / 3 || self.unsettled.is_some()
    }

    /// What is due at a commit interval: faults, a cut, a heartbeat, a look at the watermarks.
    async fn tick(&mut self) -> Result<(), Error> {
        self.handle_faults().await?;
        self.cut().await?;
        let idle = self.in_flight.is_empty() && self.unsettled.is_none();
        let due = self.last_commit.elapsed() >= self.parts.settings.heartbeat_interval;
        if idle && due {
            let draft = self.draft();
            self.commit(draft, self.parts.clock.now(), "heartbeat", None).await?;
        }
        self.ask_watermarks();
        self.begin_upkeep().await
    }

    /// Takes what was fetched, unless an earlier cut still waits for its topic ids.
    async fn cut(&mut self) -> Result<(), Error> {
        if self.unsettled.is_none() {
            let observed_at = self.parts.clock.now();
            let parts = self.parts.buffers.lock().cut();
            let image_is_due = self.parts.groups.image_is_due(Bucket::of(observed_at));
            if parts.is_empty() && self.pending.is_empty() && !self.catalog.has_events() && !image_is_due {
                return Ok(());
            }
            let charged = parts.iter().map(|part| part.charged).sum();
            let charge = Charge::adopt(Arc::clone(&self.parts.budget), charged);
            self.unsettled = Some(Unsettled { parts, observed_at, charge });
        }
        self.settle().await
    }

    /// Everything that goes into the next manifest beside its records.
    fn draft(&mut self) -> Draft {
        let frontier = self.frontier();
        let Pending { gaps, holes, positions, refined, retired } = std::mem::take(&mut self.pending);
        let topics = self.catalog.take_events();
        Draft {
            segments: Vec::new(),
            group_image: None,
            gaps,
            holes,
            topics,
            positions: positions.into_values().collect(),
            refined,
            retired,
            frontier,
        }
    }

    fn is_caught_up(&self) -> bool {
        let Some(goal) = &self.goal else { return false };
        let committed = self.in_flight.is_empty() && self.unsettled.is_none() && self.pending.is_empty();
        committed
            && !self.catalog.has_events()
            && self.catalog.wanted().iter().filter(|key| !self.is_excused(key)).all(|key| {
                let wanted = goal.get(&(key.topic.clone(), key.partition));
                let held = self.ledger.get(key).map(|start| start.offset);
                wanted.is_none_or(|wanted| held.is_some_and(|held| held >= *wanted))
            })
    }

    /// Whether a partition is not waited for: one of `__consumer_offsets` that cannot be read on, for want of rights, for a fault
    /// of its own, or because a transaction is open.
    fn is_excused(&self, key: &PartitionKey) -> bool {
        let is_stuck = || self.told_faults.contains_key(key) || self.parts.buffers.lock().is_at_end(key);
        key.topic.is_consumer_offsets() && is_stuck()
    }

    /// Stops fetching, then brings what was fetched into the log.
    async fn finish(mut self) -> Result<(), Error> {
        self.asking.shutdown().await;
        self.sight_once_more().await;
        let assigned: Vec<TopicPartition> = {
            let buffers = self.parts.buffers.lock();
            buffers.assigned().map(|(_, key)| (key.topic.clone(), key.partition)).collect()
        };
        // A client that cannot be told delivers on, and what it delivers is dropped with the process.
        if let Err(error) = self.parts.broker.unassign(&assigned) {
            tracing::warn!(error = crate::error::chain(&error), "stop fetching");
        }
        self.commit_all().await?;
        let (frontier, now) = (self.frontier(), self.parts.clock.now());
        if self.parts.groups.image_is_due(Bucket::of(now)) {
            self.commit_all().await?;
        } else if frontier != self.parts.writer.state().frontier {
            let draft = self.draft();
            self.commit(draft, now, "heartbeat", None).await?;
        }
        tracing::info!(sequence = %self.parts.writer.next_sequence(), "everything fetched is committed");
        Ok(())
    }

    /// Commits until nothing is left to be cut.
    async fn commit_all(&mut self) -> Result<(), Error> {
        loop {
            while !self.in_flight.is_empty() {
                let done = produced(&mut self.in_flight).await?;
                self.commit_next(done).await?;
            }
            self.cut().await?;
            if self.in_flight.is_empty() && self.unsettled.is_none() {
                return Ok(());
            }
            if self.in_flight.is_empty() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }

    fn count_gap(&self, gap: &Gap) {
        let lost = self.parts.metrics.lost_offsets.get_or_create(&KindLabel::new(gap.reason.as_str()));
        lost.inc_by(gap.range.span());
        tracing::warn!(
            topic = %gap.topic, partition = %gap.partition, lineage = %gap.lineage, offsets = %gap.range,
            reason = gap.reason.as_str(), "gap: these offsets could not be captured"
        );
    }
}

fn interval(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    interval
}

/// The oldest cut in flight, once its segments are in the store. Cancel safe.
async fn produced(in_flight: &mut VecDeque<InFlight>) -> Result<(InFlight, Produced, Charge), Error> {
    let Some(oldest) = in_flight.front_mut() else { return std::future::pending().await };
    let produced = (&mut oldest.produced).await;
    let (produced, charge) = unpack(produced)?;
    match in_flight.pop_front() {
        Some(oldest) => Ok((oldest, produced, charge)),
        None => std::future::pending().await,
    }
}

/// The result of a task; a panic in it goes on here.
fn unpack<T>(joined: Result<T, tokio::task::JoinError>) -> T {
    match joined {
        Ok(done) => done,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

/// The topics of some partitions, each once.
fn topics_of<'a>(keys: impl Iterator<Item = &'a PartitionKey>) -> Vec<TopicName> {
    keys.map(|key| key.topic.clone()).collect::<BTreeSet<_>>().into_iter().collect()
}
