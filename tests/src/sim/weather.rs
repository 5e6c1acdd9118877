//! What the store does to a writer: how often it fails, and in which of the ways that a real store could.
//!
//! Every writer has dice of its own for it, so that the faults of one do not depend on the calls of another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use object_store::path::Path;
use parking_lot::Mutex;
use strimzi_backup_format::store::faulty::{Call, Decision, Fault, FaultControl, Op};

use super::dice::Dice;
use super::keys::is_document;

/// A read is never misled more often than this in a row about one object: a store that shows its objects late, or flips
/// bits, does both in passing, and the product's patience is made for that.
const MISLED_IN_A_ROW: u32 = 2;

/// Every sealed document has more bytes than this.
const SURE_BYTES: usize = 40;

/// The store's weather, the same for all writers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// Of a hundred calls, so many are spoilt.
    pub faults: u64,
    /// Whether reads may answer with wrong bytes, or without objects that are there.
    pub misleads: bool,
    /// Nothing answers.
    pub outage: bool,
    /// There is no room.
    pub full: bool,
    /// Every call takes up to so many milliseconds.
    pub latency: u64,
    /// Who has the master keys does not answer.
    pub keyless: bool,
}

/// When and how a writer is killed by its store.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    /// At this call, counted from 0.
    pub at_call: u64,
    /// After its effect.
    pub after: bool,
}

/// Gives `control` its plan, for a store in which documents are sealed or not.
pub fn plan(control: &FaultControl, weather: Arc<Mutex<Weather>>, kill: Option<Kill>, is_sealed: bool, mut dice: Dice) {
    let mut misled: BTreeMap<Path, u32> = BTreeMap::new();
    control.set_plan(move |call| {
        if let Some(kill) = kill.filter(|kill| kill.at_call == call.number) {
            return if kill.after { Decision::KillAfter } else { Decision::KillBefore };
        }
        let weather = *weather.lock();
        let decision = decide(call, weather, is_sealed, &mut dice);
        let misleads = misleading(&decision);
        let in_a_row = misled.entry(call.path.clone()).or_default();
        *in_a_row = if misleads { *in_a_row + 1 } else { 0 };
        let decision = if *in_a_row > MISLED_IN_A_ROW { Decision::Pass } else { decision };
        match dice.below(weather.latency + 1) {
            0 => decision,
            millis => Decision::Delay(Duration::from_millis(millis), Box::new(decision)),
        }
    });
}

fn misleading(decision: &Decision) -> bool {
    match decision {
        Decision::FlipBit(_) | Decision::Truncate(_) | Decision::Stale => true,
        Decision::Delay(_, then) => misleading(then),
        _ => false,
    }
}

fn decide(call: &Call, weather: Weather, is_sealed: bool, dice: &mut Dice) -> Decision {
    let adds = matches!(call.op, Op::Put | Op::Create | Op::MultipartStart | Op::Part | Op::Complete);
    if weather.outage {
        return Decision::FailBefore([Fault::Unavailable, Fault::Timeout][dice.index(2)]);
    }
    if weather.full && adds {
        return Decision::FailBefore(Fault::QuotaFull);
    }
    if !dice.percent(weather.faults) {
        return Decision::Pass;
    }
    let place = place(call, is_sealed, dice);
    match (call.op, dice.below(10)) {
        (Op::Create, 0 | 1) => Decision::FailBefore(Fault::AlreadyExists),
        (Op::Create, 2) => Decision::FailBefore(Fault::Precondition),
        (Op::Create, 3) => Decision::FailAfter(Fault::AlreadyExists),
        (Op::Create, 4) => Decision::FailAfter(Fault::Precondition),
        (Op::Get, 0) if weather.misleads => Decision::FlipBit(place),
        (Op::Get, 1) if weather.misleads => Decision::Truncate(place),
        (Op::Get, 2) => Decision::BreakBody(place),
        (Op::Get | Op::Head, 3) if weather.misleads => Decision::Stale,
        (op, 4..=6) if op.writes() => Decision::FailAfter(Fault::Timeout),
        (op, 9) if op.writes() => Decision::BreakBody(3 * place),
        (_, 7) => Decision::Delay(Duration::from_secs(dice.below(30)), Box::new(Decision::Pass)),
        (_, 8) => Decision::FailBefore(Fault::Timeout),
        _ => Decision::FailBefore(Fault::Unavailable),
    }
}

/// Where a body is spoilt. What is drawn for seals decides how well a document packs, and so how many bytes it has: it is spoilt within
/// those that it has in any case, and the same happens in each run.
fn place(call: &Call, is_sealed: bool, dice: &mut Dice) -> usize {
    let place = usize::try_from(dice.below(600)).unwrap_or(0);
    let is_drawn = is_sealed && is_document(call.path.as_ref());
    if is_drawn { place % SURE_BYTES } else { place }
}
