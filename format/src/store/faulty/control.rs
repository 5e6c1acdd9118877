//! When a [`super::FaultyStore`] fails, and how.
//!
//! Asked in this order: killed, outage, no room, the script's next entry for the operation, the plan. The same script,
//! plan and order of calls give the same faults.

use std::collections::VecDeque;
use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use object_store::path::Path;
use object_store::{Error, Result};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The calls that faults are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// A put that may overwrite.
    Put,
    /// A put that may not.
    Create,
    /// The start of an upload in parts.
    MultipartStart,
    /// One part.
    Part,
    /// The end of an upload in parts.
    Complete,
    /// Giving up an upload in parts.
    Abort,
    /// Reading, whole or in ranges.
    Get,
    /// Asking for size and time only.
    Head,
    /// Listing.
    List,
    /// Deleting one object.
    Delete,
    /// Copying or renaming.
    Copy,
}

impl Op {
    /// Whether the call adds or removes something.
    pub fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::Head | Self::List)
    }

    fn adds(self) -> bool {
        matches!(self, Self::Put | Self::Create | Self::MultipartStart | Self::Part | Self::Complete | Self::Copy)
    }
}

/// What the caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing came back in time.
    Timeout,
    /// 503.
    Unavailable,
    /// The connection is gone.
    Reset,
    /// 409, or the refusal of a create.
    AlreadyExists,
    /// 412.
    Precondition,
    /// 404.
    NotFound,
    /// 403.
    Denied,
    /// 507.
    QuotaFull,
}

impl Fault {
    /// The error of the `object_store` crate for it.
    pub fn error(self, path: &Path) -> Error {
        let path_text = path.to_string();
        let io = |kind, text: &str| Error::Generic { store: "faulty", source: std::io::Error::new(kind, text).into() };
        let source = "injected".into();
        match self {
            Self::Timeout => io(std::io::ErrorKind::TimedOut, "injected timeout"),
            Self::Reset => io(std::io::ErrorKind::ConnectionReset, "injected connection reset"),
            Self::Unavailable => io(std::io::ErrorKind::Other, "injected 503 slow down"),
            Self::QuotaFull => io(std::io::ErrorKind::StorageFull, "injected 507 quota exceeded"),
            Self::AlreadyExists => Error::AlreadyExists { path: path_text, source },
            Self::Precondition => Error::Precondition { path: path_text, source },
            Self::NotFound => Error::NotFound { path: path_text, source },
            Self::Denied => Error::PermissionDenied { path: path_text, source },
        }
    }
}

/// What becomes of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is carried out.
    Pass,
    /// It fails and has no effect.
    FailBefore(Fault),
    /// It has its effect and fails.
    FailAfter(Fault),
    /// The process ends before the effect: the call, and all later ones, never return.
    KillBefore,
    /// The process ends after the effect.
    KillAfter,
    /// A read finds nothing, a listing is empty.
    Stale,
    /// A read answers with one bit turned in this byte (modulo the length).
    FlipBit(usize),
    /// A read's body ends, without an error, after so many bytes.
    Truncate(usize),
    /// The connection is reset after so many bytes of the body. A read fails there. A write that did not arrive whole has
    /// no effect, and one that did, or that has no body, has its effect and loses its answer.
    BreakBody(usize),
    /// So much later, the other.
    Delay(Duration, Box<Decision>),
}

/// One call as a plan sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its place among the calls of this store, from 0.
    pub number: u64,
    /// What it does.
    pub op: Op,
    /// The object, or the prefix of a listing.
    pub path: Path,
}

/// What is left of a decision once the call may be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    FailAfter(Fault),
    KillAfter,
    Stale,
    FlipBit(usize),
    Truncate(usize),
    BreakBody(usize),
}

impl Effect {
    pub(super) fn spoils_body(self) -> bool {
        matches!(self, Self::FlipBit(_) | Self::Truncate(_) | Self::BreakBody(_))
    }

    /// The body as it arrives, and whether an error follows it.
    pub(super) fn spoil(self, body: Bytes) -> (Bytes, bool) {
        match self {
            Self::FlipBit(byte) if !body.is_empty() => {
                let mut spoilt = BytesMut::from(body.as_ref());
                let place = byte % spoilt.len();
                spoilt[place] ^= 1;
                (spoilt.freeze(), false)
            }
            Self::Truncate(length) => (body.slice(..length.min(body.len())), false),
            Self::BreakBody(length) => (body.slice(..length.min(body.len())), true),
            _ => (body, false),
        }
    }
}

type Plan = Box<dyn FnMut(&Call) -> Decision + Send>;

#[derive(Default)]
struct State {
    killed: bool,
    outage: bool,
    full: bool,
    ignores_create: bool,
    latency: Duration,
    script: VecDeque<(Op, Decision)>,
    plan: Option<Plan>,
    calls: Vec<Call>,
    spoilt: Vec<Decision>,
}

/// The switchboard; clones are the same one.
#[derive(Clone, Default)]
pub struct FaultControl {
    state: Arc<Mutex<State>>,
    killing: Arc<Notify>,
}

impl fmt::Debug for FaultControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultControl").finish_non_exhaustive()
    }
}

impl FaultControl {
    /// Adds entries; each is used once, by the next call of its operation.
    pub fn script(&self, entries: impl IntoIterator<Item = (Op, Decision)>) {
        self.state.lock().script.extend(entries);
    }

    /// Asks `plan` about every call that nothing else decided. It must not call this store.
    pub fn set_plan(&self, plan: impl FnMut(&Call) -> Decision + Send + 'static) {
        self.state.lock().plan = Some(Box::new(plan));
    }

    /// Spoils `percent` of the calls, as the seed has it, each in a way that a real store could.
    pub fn set_random_plan(&self, seed: u64, percent: u64) {
        let mut random = SplitMix(seed);
        self.set_plan(
            move |call| {
                if random.next() % 100 >= percent { Decision::Pass } else { random_fault(call.op, &mut random) }
            },
        );
    }

    /// What of the script no call has used yet.
    pub fn unused(&self) -> Vec<(Op, Decision)> {
        self.state.lock().script.iter().cloned().collect()
    }

    /// No plan and no script any more.
    pub fn clear(&self) {
        let mut state = self.state.lock();
        state.script.clear();
        state.plan = None;
    }

    /// Every call fails without effect, until set back.
    pub fn set_outage(&self, outage: bool) {
        self.state.lock().outage = outage;
    }

    /// Whatever adds bytes fails for want of room, until set back.
    pub fn set_full(&self, full: bool) {
        self.state.lock().full = full;
    }

    /// Creates overwrite and answer with success, as a store does that does not know the condition.
    pub fn set_ignores_create(&self, ignores: bool) {
        self.state.lock().ignores_create = ignores;
    }

    /// Every call takes so much longer.
    pub fn set_latency(&self, latency: Duration) {
        self.state.lock().latency = latency;
    }

    /// Ends the process now: no call returns any more.
    pub fn kill(&self) {
        self.state.lock().killed = true;
        self.killing.notify_waiters();
    }

    /// Whether the process was ended.
    pub fn is_killed(&self) -> bool {
        self.state.lock().killed
    }

    /// Waits until the process was ended.
    pub async fn killed(&self) {
        loop {
            let notified = self.killing.notified();
            if self.is_killed() {
                return;
            }
            notified.await;
        }
    }

    /// The calls so far, those that failed too.
    pub fn calls(&self) -> Vec<Call> {
        self.state.lock().calls.clone()
    }

    /// What became of the calls so far that were not simply carried out.
    pub fn spoilt(&self) -> Vec<Decision> {
        self.state.lock().spoilt.clone()
    }

    /// How many calls of one operation there were.
    pub fn count(&self, op: Op) -> usize {
        self.state.lock().calls.iter().filter(|call| call.op == op).count()
    }

    pub(super) fn ignores_create(&self) -> bool {
        self.state.lock().ignores_create
    }

    fn decide(&self, op: Op, path: &Path) -> (Duration, Decision) {
        let mut state = self.state.lock();
        let call = Call { number: state.calls.len() as u64, op, path: path.clone() };
        state.calls.push(call.clone());
        let decision = if state.killed {
            Decision::KillBefore
        } else if state.outage {
            Decision::FailBefore(Fault::Unavailable)
        } else if state.full && op.adds() {
            Decision::FailBefore(Fault::QuotaFull)
        } else if let Some(next) = state.script.iter().position(|(wanted, _)| *wanted == op) {
            state.script.remove(next).map_or(Decision::Pass, |(_, decision)| decision)
        } else {
            state.plan.as_mut().map_or(Decision::Pass, |plan| plan(&call))
        };
        (state.latency, decision)
    }

    /// Everything that happens before the call, whose request has a body of so many bytes.
    pub(super) async fn enter(&self, op: Op, path: &Path, body: usize) -> Result<Effect> {
        let (mut delay, mut decision) = self.decide(op, path);
        while let Decision::Delay(longer, then) = decision {
            delay += longer;
            decision = *then;
        }
        if decision != Decision::Pass {
            self.state.lock().spoilt.push(decision.clone());
        }
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        match decision {
            Decision::FailBefore(fault) => Err(fault.error(path)),
            Decision::KillBefore => self.die().await,
            Decision::FailAfter(fault) => Ok(Effect::FailAfter(fault)),
            Decision::KillAfter => Ok(Effect::KillAfter),
            Decision::Stale if !op.writes() => Ok(Effect::Stale),
            Decision::FlipBit(byte) => Ok(Effect::FlipBit(byte)),
            Decision::Truncate(length) => Ok(Effect::Truncate(length)),
            Decision::BreakBody(length) if !op.writes() => Ok(Effect::BreakBody(length)),
            Decision::BreakBody(length) if length < body => Err(Fault::Reset.error(path)),
            Decision::BreakBody(_) => Ok(Effect::FailAfter(Fault::Reset)),
            Decision::Pass | Decision::Stale | Decision::Delay(..) => Ok(Effect::None),
        }
    }

    /// Everything that happens after the call.
    pub(super) async fn leave(&self, effect: Effect, path: &Path) -> Result<()> {
        if self.is_killed() || effect == Effect::KillAfter {
            return self.die().await;
        }
        match effect {
            Effect::FailAfter(fault) => Err(fault.error(path)),
            _ => Ok(()),
        }
    }

    async fn die<T>(&self) -> T {
        self.kill();
        pending().await
    }
}

fn random_fault(op: Op, random: &mut SplitMix) -> Decision {
    let place = usize::try_from(random.next() % 4096).unwrap_or(0);
    let pick = random.next() % 6;
    match (op, pick) {
        (Op::Create, 0) => Decision::FailBefore(Fault::AlreadyExists),
        (Op::Create, 1) => Decision::FailAfter(Fault::AlreadyExists),
        (Op::Get, 0) => Decision::FlipBit(place),
        (Op::Get, 1) => Decision::Truncate(place),
        (Op::Get, 2) => Decision::BreakBody(place),
        (_, 3) => Decision::FailBefore(Fault::Timeout),
        (_, 4) => Decision::Delay(Duration::from_secs(30), Box::new(Decision::Pass)),
        (op, 5) if op.writes() => Decision::FailAfter(Fault::Timeout),
        (op, 2) if op.writes() => Decision::BreakBody(place),
        _ => Decision::FailBefore(Fault::Unavailable),
    }
}

/// A small generator of our own, so that a seed means the same faults whatever the version of a crate.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
