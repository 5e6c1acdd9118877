//! Connections that break at any byte of a write or of its answer.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, ensure};
use parking_lot::Mutex;
use serde_json::json;
use strimzi_backup_tests::backup::Backup;
use strimzi_backup_tests::client::Record;
use strimzi_backup_tests::front::{Front, Head, Verdict};
use strimzi_backup_tests::s3::S3Server;
use strimzi_backup_tests::scenario::{Scenario, noise, wait_backup};

/// How many places of a request break, from its first byte to its last.
const PLACES: usize = 12;

/// An answer of the server is a head of a few hundred bytes.
const ANSWER_PLACES: [usize; 8] = [0, 1, 9, 40, 90, 150, 210, 400];

/// Where a write breaks.
#[derive(Clone, Copy, Debug)]
enum Break {
    /// So many twelfths into the request.
    Request(usize),
    /// At this byte of the answer.
    Answer(usize),
}

fn everywhere() -> VecDeque<Break> {
    (0..=PLACES).map(Break::Request).chain(ANSWER_PLACES.map(Break::Answer)).collect()
}

/// Breaks the first request that writes each object, and keeps what stands there when it is written again.
struct Breaker {
    buckets: PathBuf,
    segments: VecDeque<Break>,
    manifests: VecDeque<Break>,
    /// The objects whose first request broke, and what stood there when they were asked for again.
    broken: BTreeMap<PathBuf, Found>,
}

/// What stands where a write broke.
enum Found {
    /// Nobody has asked yet.
    Unknown,
    Nothing,
    Bytes(Vec<u8>),
}

impl Breaker {
    fn judge(&mut self, head: &Head) -> Verdict {
        let path = head.path.split('?').next().unwrap_or_default().trim_start_matches('/');
        let file = self.buckets.join(path);
        if let Some(found) = self.broken.get_mut(&file) {
            // Whatever comes first after the break, a look or the same write again, must meet all of it or nothing.
            if matches!(found, Found::Unknown) {
                *found = std::fs::read(&file).map_or(Found::Nothing, Found::Bytes);
            }
            return Verdict::Forward;
        }
        let places = match path {
            _ if head.method != "PUT" => return Verdict::Forward,
            path if path.ends_with(".parquet") => &mut self.segments,
            path if path.contains("/manifests/") => &mut self.manifests,
            _ => return Verdict::Forward,
        };
        let Some(place) = places.pop_front() else { return Verdict::Forward };
        self.broken.insert(file, Found::Unknown);
        match place {
            Break::Request(twelfths) => Verdict::BreakRequest(head.bytes * twelfths / PLACES),
            Break::Answer(bytes) => Verdict::BreakAnswer(bytes),
        }
    }

    fn is_done(&self) -> bool {
        self.segments.is_empty() && self.manifests.is_empty()
    }
}

#[test]
fn a16_a_write_that_breaks_at_any_byte_of_request_or_answer_shows_nothing_half() -> Result<()> {
    let name = "a16";
    let scenario = Scenario::shared(name)?;
    let client = &scenario.client;
    client.create_topic(name, 1, &[])?;
    let server = S3Server::start()?;
    let buckets = server.root_dir();
    let (segments, manifests) = (everywhere(), everywhere());
    let breaker = Arc::new(Mutex::new(Breaker { buckets, segments, manifests, broken: BTreeMap::new() }));
    let judge = Arc::clone(&breaker);
    let front = Front::start(&server.address(), move |head| judge.lock().judge(head))?;
    let job = scenario.job.clone().into_s3(&server, name).set("/storage/s3/endpoint", json!(front.endpoint()));
    let root = server.dir_of(name);
    let mut streamer = job.stream(&[])?;
    let mut rows = 0;
    while !breaker.lock().is_done() {
        let records: Vec<Record> = (rows..rows + 20).map(|n| Record::value(noise(n, 500)).partition(0)).collect();
        client.produce(name, &records)?;
        rows += 20;
        wait_backup(&root, "the new records", |backup| Ok(backup.rows(name, 0) >= rows))?;
    }
    streamer.process.sigterm()?;
    ensure!(streamer.exit_code()? == 0, "{}", streamer.process.tail());
    let backup = Backup::open(&root)?;
    ensure!(backup.equals_topic(client, name)? == usize::try_from(rows)?, "every record, once");
    ensure!(backup.gaps(name).is_empty(), "{:?}", backup.gaps(name));
    job.verify()?;
    let broken = std::mem::take(&mut breaker.lock().broken);
    println!("{} writes broke, {rows} records", broken.len());
    for (file, found) in &broken {
        let Found::Bytes(found) = found else { continue };
        ensure!(*found == std::fs::read(file)?, "{} was half there: {} bytes", file.display(), found.len());
    }
    let (nothing, whole) =
        (|found: &&Found| matches!(found, Found::Nothing), |found: &&Found| matches!(found, Found::Bytes(_)));
    let counts = (broken.values().filter(nothing).count(), broken.values().filter(whole).count());
    ensure!(counts.0 > PLACES && counts.1 > PLACES, "nothing there and all there after a break: {counts:?}");
    Ok(())
}
