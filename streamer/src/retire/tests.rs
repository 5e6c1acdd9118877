//! Logs in memory, whose store has the clock of this machine.

use std::collections::BTreeMap;
use std::time::Duration;

use strimzi_backup_format::ids::{Offset, Shard, SnapshotId, TopicId};
use strimzi_backup_format::manifest::log::Draft;
use strimzi_backup_format::manifest::{Frontier, TopicEventKind};
use strimzi_backup_format::sample::{
    at, backup, captured, claimed, commit, description, faulty, key, nonce, sealed, topic,
};
use strimzi_backup_format::segment::encode::{Codec, EncodeOptions};
use strimzi_backup_format::snapshot::Label;
use strimzi_backup_format::state::{Life, Retirement, TopicState};
use strimzi_backup_format::store::faulty::{Decision, Op};
use tokio::sync::Semaphore;

use super::*;
use crate::budget::Budget;
use crate::clock::SystemClock;
use crate::metrics::{KindLabel, Metrics};
use crate::pipeline::produce::Pool;

/// To keep forty minutes of a log that is complete since an hour ago, by both clocks.
async fn an_order(store: &Store) -> Order<SystemClock> {
    an_order_by(store, 0).await
}

/// The same by a clock that is so many milliseconds ahead of the store's.
async fn an_order_by(store: &Store, ahead: i64) -> Order<SystemClock> {
    let now = SystemClock.now().plus_millis(ahead);
    let mut writer = claimed(store).await;
    let frontier = Frontier { until: Some(now.plus_millis(-3_600_000)), ..Frontier::default() };
    let prepared = writer.prepare(Draft { frontier, ..Draft::default() }, nonce(2), now).expect("legal draft");
    writer.commit(&prepared).await.expect("committed");
    let budget = Arc::new(Budget::new(1 << 20));
    let limits = Limits::of(&budget);
    let shop = Workshop {
        store: store.clone(),
        options: EncodeOptions::new(backup(), Codec::Zstd(1)).expect("a codec"),
        shard: Shard::ONLY,
        epoch: writer.epoch(),
        encoders: Semaphore::new(1),
        uploads: Semaphore::new(1),
        pool: Pool::Inline,
        clock: Arc::new(SystemClock),
        metrics: Arc::new(Metrics::new()),
    };
    let max_age = Some(Duration::from_secs(2_400));
    Order {
        shop: Arc::new(shop),
        numbers: Arc::default(),
        memory: (limits, limits.charge(&budget).expect("room")),
        state: writer.state().clone(),
        sealed: None,
        policy: Retention { max_age, max_backups: None, acknowledged: None, grace: Duration::ZERO },
        now,
    }
}

#[tokio::test]
async fn a67_a_restore_that_is_planned_while_it_is_found_out_what_goes_is_waited_for() {
    let id = RestoreId::new("orders-dr-1").expect("legal");
    for is_planned in [false, true] {
        let (store, control) = faulty();
        let order = an_order(&store).await;
        if is_planned {
            let plan = layout::restore_plan(&id).below(&store.prefix);
            store.inner.put(&plan, "a plan".into()).await.expect("put");
        }
        // Snapshots are listed; then restores, before there is one.
        control.script([(Op::List, Decision::Pass), (Op::List, Decision::Stale)]);
        let held = match retire(order).await.expect("all is read") {
            Outcome::Held(held) => Some(held),
            _ => None,
        };
        assert_eq!(held, is_planned.then(|| Held::Restore(id.clone())));
    }
}

#[tokio::test]
async fn while_the_clock_and_the_stores_differ_nothing_goes_and_that_is_told() {
    const MINUTE: i64 = 60_000;
    // Where it is when the newest manifest is cut, and how far it goes from there until it is looked at.
    let wrong = [(11 * MINUTE, 0), (-11 * MINUTE, 0), (0, -11 * MINUTE)];
    for (ahead, goes_on) in wrong {
        let mut order = an_order_by(&Store::memory(), ahead).await;
        order.now = order.now.plus_millis(goes_on);
        let look = retire(order).await;
        let Some(Held::Clock(by)) = Held::after(&look) else { panic!("{ahead} ms ahead, then {goes_on}: {look:?}") };
        // Some milliseconds lie between the clock and the store.
        assert!(by.abs_diff(660_000) < 30_000, "{ahead} ms ahead, then {goes_on}: by {by}");
    }
    for ahead in [9 * MINUTE, 0, -9 * MINUTE] {
        let look = retire(an_order_by(&Store::memory(), ahead).await).await;
        assert!(matches!(look, Ok(Outcome::Retire(..))), "{ahead} ms ahead: {look:?}");
    }
    let told = Held::Clock(660_000).to_string();
    assert!(told.contains("differ by 11m;") && told.contains("nothing is retired until they agree"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn two_bucket_manifests_are_read_at_once_and_no_more() {
    let (store, control) = faulty();
    let sealed = sealed(&store, 8).await.sealed_buckets().cloned().expect("sealed");
    let mut order = an_order(&store).await;
    order.sealed = Some(Sealed { refined: Some(Sequence::new(99)), ..sealed });
    let life = Life { topic_id: TopicId::new("1"), began: TopicEventKind::Added, since: at(0), deleted: Some(at(0)) };
    let gone = TopicState {
        lives: vec![life],
        current: BTreeMap::new(),
        description: description(1),
        earlier: Vec::new(),
        selected: Vec::new(),
    };
    order.state.topics.insert(topic("orders"), gone);
    control.set_latency(Duration::from_secs(1));
    let began = tokio::time::Instant::now();
    let outcome = glean(&order, at(1), &Ends::new()).await.expect("readable");
    assert!(matches!(&outcome, Outcome::Retire(_, emptied) if emptied.len() == 8), "{outcome:?}");
    assert_eq!(began.elapsed().as_secs(), 4, "eight of them, two in each second");
}

#[test]
fn a_look_that_fails_holds_retention_until_one_succeeds() {
    let (metrics, object) = (Metrics::new(), "snapshots/daily.json".to_owned());
    let tell = |look: Result<Outcome, Error>| {
        let held = Held::after(&look);
        metrics.set_retention_held(held.as_ref().map(Held::reason));
        (held, metrics.retention_held.get_or_create(&KindLabel::new("Failed")).get())
    };
    let source = object_store::Error::NotFound { path: object.clone(), source: "404".into() };
    let (held, gauge) = tell(Err(Error::Store { object, source }));
    let told = held.expect("held").to_string();
    assert!(gauge == 1 && told.contains("failed: read snapshots/daily.json: ") && told.contains("404"), "{told}");
    assert_eq!(tell(Ok(Outcome::Held(Held::Clock(700_000)))), (Some(Held::Clock(700_000)), 0));
    assert_eq!(tell(Ok(Outcome::Nothing)), (None, 0));
}

#[tokio::test]
async fn a78_where_the_kept_snapshots_end_the_lowest_counts_for_each_partition() {
    let store = Store::memory();
    let mut writer = claimed(&store).await;
    let (orders, payments) = (key("orders", 0, 0), key("payments", 0, 0));
    let drafts = [captured(&orders, 0..10), captured(&orders, 10..20), captured(&payments, 0..5)];
    for (id, draft) in ["first", "second", "third"].into_iter().zip(drafts) {
        commit(&mut writer, draft).await;
        let (id, asked_at) = (SnapshotId::new(id).expect("legal"), at(0));
        let label = Label { id, nonce: nonce(1), asked_at, keep: None };
        let snapshot = Snapshot::of(writer.state(), label).expect("a head");
        catalog::create(&store, &snapshot).await.expect("created");
    }
    // The manifests after the claim are of 2, 3 and 4 s.
    for (before, first, end) in [(None, 2, 10), (Some(2), 2, 10), (Some(3), 3, 20)] {
        let retired = before.map(|before| Retirement { before: at(before), observed_at: at(9) });
        let state = State { retired, ..writer.state().clone() };
        let (boundaries, cuts) = kept_snapshots(&store, &state).await.expect("readable");
        let mut kept: Vec<TimestampMs> = boundaries.iter().map(|kept| kept.observed_at).collect();
        kept.sort_unstable();
        assert_eq!(kept, (first..=4).map(at).collect::<Vec<_>>(), "before {before:?}");
        let wanted = [(orders.clone(), Offset::new(end)), (payments.clone(), Offset::new(5))];
        assert_eq!(cuts, Ends::from(wanted), "before {before:?}");
    }
}
