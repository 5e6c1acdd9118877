//! A shop that sells: the traffic of the demo.
//!
//! | topic | producer | what is odd about it |
//! | --- | --- | --- |
//! | `orders` | idempotent | JSON with a trace header; some records come with an old timestamp |
//! | `payments` | transactional | every fourth transaction is aborted |
//! | `customers` | idempotent, compacted topic | tombstones, empty keys and values |
//! | `shipments` | transactional together with `payments` | null keys; header keys twice, null and empty header values, header keys that are no UTF-8 |

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rand::Rng as _;
use rand::rngs::ThreadRng;

use super::number;
use crate::client::{KafkaClient, Producer, Record};

/// A topic of the shop.
pub(super) struct Topic {
    pub(super) name: &'static str,
    partitions: i32,
    config: &'static [(&'static str, &'static str)],
}

/// What the shop writes to.
pub(super) const TOPICS: [Topic; 4] = [
    Topic { name: "orders", partitions: 6, config: KEPT },
    Topic { name: "payments", partitions: 3, config: KEPT },
    Topic {
        name: "customers",
        partitions: 3,
        config: &[("cleanup.policy", "compact"), ("min.compaction.lag.ms", "86400000")],
    },
    Topic { name: "shipments", partitions: 2, config: KEPT },
];

/// Nothing may go between the backup and the comparison; an order with an old timestamp would go at once.
const KEPT: &[(&str, &str)] = &[("retention.ms", "-1")];

/// Orders between two transactions.
const ORDERS_PER_TRANSACTION: usize = 100;

/// Every which transaction is aborted.
const ABORTED: usize = 4;

/// The pause after each transaction: a shop, not a load test.
const PAUSE: Duration = Duration::from_millis(15);

/// The topics under the names that they have on this broker.
#[derive(Clone, Debug)]
pub(super) struct Topics {
    prefix: String,
}

impl Topics {
    pub(super) fn named(prefix: &str) -> Topics {
        Topics { prefix: prefix.to_owned() }
    }

    /// The name on the broker.
    pub(super) fn name(&self, topic: &str) -> String {
        format!("{}{topic}", self.prefix)
    }

    /// Regular expressions that match these topics and no other: names hold no character that means something.
    pub(super) fn patterns(&self) -> Vec<String> {
        TOPICS.iter().map(|topic| self.name(topic.name)).collect()
    }

    pub(super) fn create(&self, client: &KafkaClient) -> Result<()> {
        TOPICS.iter().try_for_each(|topic| client.create_topic(&self.name(topic.name), topic.partitions, topic.config))
    }

    pub(super) fn delete(&self, client: &KafkaClient) -> Result<()> {
        let made = TOPICS.iter().map(|topic| self.name(topic.name));
        made.flat_map(|topic| [super::restored::name(&topic), topic]).try_for_each(|topic| {
            if client.partition_count(&topic)? > 0 { client.delete_topic(&topic) } else { Ok(()) }
        })?;
        let group = super::group::id(self);
        for group in [super::restored::name(&group), group] {
            // One that never committed, or went with its topics, is not there.
            drop(client.delete_group(&group));
        }
        Ok(())
    }
}

impl fmt::Display for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, topic) in TOPICS.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}{} ({} partitions)", self.name(topic.name), topic.partitions)?;
        }
        Ok(())
    }
}

/// What Kafka has confirmed.
#[derive(Clone, Debug, Default)]
pub(super) struct Sold {
    /// Committed records by topic, without prefix.
    pub(super) records: BTreeMap<&'static str, usize>,
    transactions: usize,
    aborted_transactions: usize,
    /// Records on the broker that nobody may ever see.
    pub(super) aborted_records: usize,
}

impl fmt::Display for Sold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} records confirmed by Kafka; {} transactions committed, {} aborted with {} records",
            number(self.records.values().sum()),
            number(self.transactions),
            number(self.aborted_transactions),
            number(self.aborted_records)
        )
    }
}

/// An open shop.
#[derive(Debug)]
pub(super) struct Shop {
    closing: Arc<AtomicBool>,
    clerk: JoinHandle<Result<Sold>>,
}

impl Shop {
    /// Begins to sell.
    pub(super) fn open(client: &KafkaClient, topics: &Topics) -> Result<Shop> {
        let closing = Arc::new(AtomicBool::new(false));
        let mut counter = Counter::new(client, topics)?;
        let asked = Arc::clone(&closing);
        let clerk = std::thread::Builder::new().name("shop".to_owned()).spawn(move || {
            while !asked.load(Ordering::Relaxed) {
                counter.sell()?;
                std::thread::sleep(PAUSE);
            }
            counter.close()
        });
        Ok(Shop { closing, clerk: clerk.context("start the shop")? })
    }

    /// Sells no more, and says what was sold.
    pub(super) fn close(self) -> Result<Sold> {
        self.closing.store(true, Ordering::Relaxed);
        self.clerk.join().map_err(|_| anyhow!("the shop panicked"))?
    }
}

/// Where things are sold.
struct Counter {
    topics: Topics,
    plain: Producer,
    transactional: Producer,
    rounds: usize,
    orders: usize,
    sold: Sold,
}

impl Counter {
    fn new(client: &KafkaClient, topics: &Topics) -> Result<Counter> {
        Ok(Counter {
            topics: topics.clone(),
            plain: client.producer()?,
            transactional: client.transactional_producer(&topics.name("till"))?,
            rounds: 0,
            orders: 0,
            sold: Sold::default(),
        })
    }

    /// Some orders and, in one transaction, their payments and shipments.
    fn sell(&mut self) -> Result<()> {
        let mut dice = rand::rng();
        self.rounds += 1;
        let aborted = self.rounds.is_multiple_of(ABORTED);
        let mut uncommitted: BTreeMap<&'static str, usize> = BTreeMap::new();
        self.transactional.begin()?;
        for _ in 0..ORDERS_PER_TRANSACTION {
            let order = self.orders;
            self.orders += 1;
            self.send("orders", &placed(order, &mut dice))?;
            if order.is_multiple_of(5) {
                self.send("customers", &customer(order, &mut dice))?;
            }
            for (topic, record) in [("payments", payment(order)), ("shipments", shipment(order, &mut dice))] {
                self.transactional.send(&self.topics.name(topic), &record)?;
                *uncommitted.entry(topic).or_default() += 1;
            }
        }
        if aborted {
            self.transactional.abort()?;
            self.sold.aborted_transactions += 1;
            self.sold.aborted_records += uncommitted.values().sum::<usize>();
        } else {
            self.transactional.commit()?;
            self.sold.transactions += 1;
            for (topic, count) in uncommitted {
                *self.sold.records.entry(topic).or_default() += count;
            }
        }
        Ok(())
    }

    fn send(&mut self, topic: &'static str, record: &Record) -> Result<()> {
        self.plain.send(&self.topics.name(topic), record)?;
        *self.sold.records.entry(topic).or_default() += 1;
        Ok(())
    }

    fn close(self) -> Result<Sold> {
        let confirmed = self.plain.flush()?.len();
        let sent: usize = ["orders", "customers"].iter().filter_map(|topic| self.sold.records.get(topic)).sum();
        ensure!(confirmed == sent, "{confirmed} of {sent} records were confirmed");
        Ok(self.sold)
    }
}

fn placed(order: usize, dice: &mut ThreadRng) -> Record {
    let (customer, items, cents) =
        (dice.random_range(0..2000), dice.random_range(1..6), dice.random_range(199..49_999));
    let value = format!(
        r#"{{"order":"O-{order:07}","customer":"C-{customer:04}","items":{items},"total":{{"amount":"{}.{:02}","currency":"EUR"}},"channel":"{}"}}"#,
        cents / 100,
        cents % 100,
        ["web", "app", "store"][order % 3]
    );
    let trace = uuid::Uuid::new_v4().to_string();
    let record = Record::new(format!("O-{order:07}"), value).header("trace", Some(trace.as_bytes()));
    match order % 500 {
        // An import of an old order: time goes backwards within the partition.
        7 => record.timestamp(1_577_836_800_000 + i64::from(customer)),
        _ => record,
    }
}

fn payment(order: usize) -> Record {
    Record::new(format!("O-{order:07}"), format!(r#"{{"order":"O-{order:07}","method":"card","state":"captured"}}"#))
}

fn customer(order: usize, dice: &mut ThreadRng) -> Record {
    let customer = format!("C-{:04}", dice.random_range(0..2000));
    match order % 20 {
        0 => Record::tombstone(customer),
        // A compacted topic refuses records without a key, so the odd one here has an empty key and an empty value.
        5 => Record::new("", ""),
        _ => Record::new(customer, format!(r#"{{"name":"Zoë Müller {order}","since":"2026-02-13"}}"#)),
    }
}

fn shipment(order: usize, dice: &mut ThreadRng) -> Record {
    let label: [u8; 24] = dice.random();
    let record = Record::value(label.to_vec());
    match order % 4 {
        0 => record.header("stop", Some(b"Brno")).header("stop", Some(b"Graz")).header("stop", None),
        1 => record.header("note", Some(b"")).header("note", None),
        2 => record.header(vec![0xff, 0xfe, b'k'], Some(&label[..4])),
        _ => record,
    }
}
