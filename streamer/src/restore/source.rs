//! The records of a restore, in order: segments are fetched and decoded side by side, and handed on one after the other.
//!
//! Owns: how far ahead it is read, and so the memory. Does not own: which segments, or what becomes of the records.
//!
//! ```text
//! segments, put in order ──▶ as many at once as `parallelism` ──▶ a queue each ──▶ taken in that order
//! ```
//!
//! Invariants: records of a partition come in the order of their offsets. The first error is the last thing that comes. What ends
//! without saying so, because its task was dropped with the process or panicked, is an error and never the end: a restore that
//! took it for that would commit that everything is restored.

use std::sync::Arc;

use strimzi_backup_format::offset_range::OffsetRange;
use strimzi_backup_format::segment::decode::Row;
use strimzi_backup_format::segment::slice::{GroupRows, SliceError, SliceReader};
use strimzi_backup_format::slice::Touched;
use strimzi_backup_format::store::Store;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;

use super::error::RestoreError;
use super::order::in_order;
use super::progress::Progress;
use super::tally::Tally;

/// Records handed on at once: enough that a queue costs nothing, few enough to hold little memory.
const CHUNK_RECORDS: usize = 1024;

/// Bytes of keys and values that end a chunk early.
const CHUNK_BYTES: usize = 1 << 20;

/// Chunks of a segment that wait to be taken.
const CHUNKS_AHEAD: usize = 4;

/// Some records of a segment; `None` after the last.
type Chunk = Result<Option<Vec<Row>>, SliceError>;

/// What comes of one segment.
type Chunks = mpsc::Receiver<Chunk>;

/// The records of some segments.
#[derive(Debug)]
pub struct Source {
    segments: mpsc::Receiver<Chunks>,
    /// How many segments are not begun.
    left: usize,
    current: Option<Chunks>,
    _feeding: AbortOnDropHandle<()>,
}

impl Source {
    /// Begins to read what is wanted of the segments.
    pub fn open(store: &Store, touched: Vec<Touched>, parallelism: usize, tally: &Arc<Tally>) -> Self {
        let (queue, segments) = mpsc::channel(parallelism);
        let touched = in_order(touched);
        let left = touched.len();
        let feeding = feed(store.clone(), touched, Arc::new(Semaphore::new(parallelism)), queue, Arc::clone(tally));
        Self { segments, left, current: None, _feeding: AbortOnDropHandle::new(tokio::spawn(feeding)) }
    }

    /// The next records; `None` after the last. Blocks: for a thread of its own.
    ///
    /// # Errors
    /// As [`Source::chunk`].
    pub fn next_chunk(&mut self) -> Result<Option<Vec<Row>>, RestoreError> {
        futures::executor::block_on(self.chunk())
    }

    /// The same for who waits in a task. Cancel safe: what was not handed on comes with the next call.
    ///
    /// # Errors
    /// [`RestoreError::Read`], or [`RestoreError::CutShort`] where not all was read; nothing more comes after it.
    pub async fn chunk(&mut self) -> Result<Option<Vec<Row>>, RestoreError> {
        loop {
            let Some(chunks) = &mut self.current else {
                if self.left == 0 {
                    return Ok(None);
                }
                let chunks = self.segments.recv().await;
                self.left -= 1;
                self.current = Some(chunks.ok_or(RestoreError::CutShort)?);
                continue;
            };
            match chunks.recv().await.ok_or(RestoreError::CutShort)?? {
                Some(chunk) => return Ok(Some(chunk)),
                None => self.current = None,
            }
        }
    }
}

async fn feed(
    store: Store,
    touched: Vec<Touched>,
    at_once: Arc<Semaphore>,
    queue: mpsc::Sender<Chunks>,
    tally: Arc<Tally>,
) {
    for one in touched {
        let Ok(permit) = Arc::clone(&at_once).acquire_owned().await else { return };
        let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
        tokio::spawn(read(store.clone(), one, sender, Arc::clone(&tally), permit));
        if queue.send(chunks).await.is_err() {
            return;
        }
    }
}

/// Reads one segment; whoever waits for it learns of its end, or of an error.
async fn read(
    store: Store,
    touched: Touched,
    sender: mpsc::Sender<Chunk>,
    tally: Arc<Tally>,
    permit: OwnedSemaphorePermit,
) {
    let end = read_groups(&store, touched, &sender, &tally).await.map(|()| None);
    // All of it waits in the queue: the next segment may begin.
    drop(permit);
    // Nobody waits any more where the restore has ended.
    let _ = sender.send(end).await;
}

async fn read_groups(
    store: &Store,
    touched: Touched,
    sender: &mpsc::Sender<Chunk>,
    tally: &Tally,
) -> Result<(), SliceError> {
    let mut reader = SliceReader::open(store, touched.segment, touched.wanted).await?;
    while let Some(group) = reader.next_group().await? {
        let sender = sender.clone();
        let decoded = tokio::task::spawn_blocking(move || hand_on(group, &sender));
        match decoded.await {
            Ok(done) => done?,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }
    tally.fetched(reader.fetched());
    Ok(())
}

fn hand_on(group: GroupRows, sender: &mpsc::Sender<Chunk>) -> Result<(), SliceError> {
    let mut chunk = Vec::with_capacity(CHUNK_RECORDS);
    let mut bytes = 0;
    for row in group {
        let (key, record) = row?;
        bytes += record.raw_bytes();
        chunk.push((key, record));
        if chunk.len() >= CHUNK_RECORDS || bytes >= CHUNK_BYTES {
            bytes = 0;
            let full = std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK_RECORDS));
            if sender.blocking_send(Ok(Some(full))).is_err() {
                return Ok(());
            }
        }
    }
    if !chunk.is_empty() {
        // Nobody waits any more where the restore has ended.
        let _ = sender.blocking_send(Ok(Some(chunk)));
    }
    Ok(())
}

/// What is left of the segments behind the progress.
pub fn rest(touched: Vec<Touched>, progress: &Progress) -> Vec<Touched> {
    let left = |mut touched: Touched| {
        touched.wanted.retain_mut(|part| {
            let next = progress.get(&part.run.key()).map_or(part.offsets.base(), |done| done.next);
            match OffsetRange::new(next.max(part.offsets.base()), part.offsets.next_offset()) {
                Ok(offsets) => {
                    part.offsets = offsets;
                    part.may_hold_any()
                }
                Err(_) => false,
            }
        });
        (!touched.wanted.is_empty()).then_some(touched)
    };
    touched.into_iter().filter_map(left).collect()
}

#[cfg(test)]
mod tests {
    use strimzi_backup_format::ids::Offset;

    use super::super::progress::Done;
    use super::super::sample::{key, range, run, touched};
    use super::*;

    /// Two segments: the first with both partitions, the second with one.
    fn segments() -> Vec<Touched> {
        let (zero, one) = (key("orders", 0, 0), key("orders", 0, 1));
        vec![
            touched(vec![run(&zero, 0..10, 0..10), run(&one, 0..10, 0..10)]),
            touched(vec![run(&zero, 10..20, 10..20)]),
        ]
    }

    /// What is left behind these next offsets of partitions 0 and 1.
    fn left(next: [i64; 2]) -> Vec<Vec<(String, OffsetRange)>> {
        let done = |next| Done { next: Offset::new(next), ..Done::default() };
        let progress = (0..).zip(next).map(|(number, next)| (key("orders", 0, number), done(next))).collect();
        let wanted = |touched: Touched| {
            touched.wanted.into_iter().map(|part| (part.run.key().to_string(), part.offsets)).collect()
        };
        rest(segments(), &progress).into_iter().map(wanted).collect()
    }

    #[test]
    fn a67_what_is_left_begins_exactly_behind_the_progress() {
        let part = |partition: i32, offsets| (format!("orders-{partition}"), range(offsets));
        let second = vec![part(0, 10..20)];
        assert_eq!(left([0, 0]), [vec![part(0, 0..10), part(1, 0..10)], second.clone()]);
        assert_eq!(left([3, 9]), [vec![part(0, 3..10), part(1, 9..10)], second.clone()]);
        assert_eq!(left([10, 0]), [vec![part(1, 0..10)], second.clone()]);
        assert_eq!(left([10, 10]), [second]);
        assert_eq!(left([19, 10]), [vec![part(0, 19..20)]]);
        assert_eq!(left([20, 10]), Vec::<Vec<_>>::new());
        assert_eq!(left([500, 500]), Vec::<Vec<_>>::new());
    }

    #[test]
    fn what_has_no_progress_is_left_whole() {
        assert_eq!(rest(segments(), &Progress::new()), segments());
    }

    /// A process that is told twice to stop drops all tasks, and the thread that writes goes on for a moment.
    #[test]
    fn a67_where_all_readers_are_dropped_records_are_missing_and_not_at_their_end() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let entered = runtime.enter();
        let open = |touched| Source::open(&Store::memory(), touched, 2, &Arc::default());
        let (mut source, mut nothing) = (open(segments()), open(Vec::new()));
        drop(entered);
        runtime.shutdown_background();
        assert!(matches!(source.next_chunk(), Err(RestoreError::CutShort)));
        assert!(matches!(nothing.next_chunk(), Ok(None)), "there was nothing to read");
    }

    #[test]
    fn a67_a_reader_that_ends_within_its_segment_is_not_taken_for_its_end() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (queue, segments) = mpsc::channel(1);
        let (sender, chunks) = mpsc::channel(1);
        assert!(queue.try_send(chunks).is_ok() && sender.try_send(Ok(Some(Vec::new()))).is_ok());
        drop(sender);
        let feeding = AbortOnDropHandle::new(runtime.spawn(async {}));
        let mut source = Source { segments, left: 1, current: None, _feeding: feeding };
        assert!(matches!(source.next_chunk(), Ok(Some(_))));
        assert!(matches!(source.next_chunk(), Err(RestoreError::CutShort)));
    }

    /// What the plan cut off stays cut off.
    #[test]
    fn the_ends_of_the_plan_hold_behind_the_progress_too() {
        let mut segments = segments();
        segments.truncate(1);
        segments[0].wanted.truncate(1);
        segments[0].wanted[0].offsets = range(2..7);
        let after = |next| {
            let done = Done { next: Offset::new(next), ..Done::default() };
            rest(segments.clone(), &Progress::from([(key("orders", 0, 0), done)]))
        };
        let offsets = |next| after(next).iter().map(|touched| touched.wanted[0].offsets).collect::<Vec<_>>();
        assert_eq!([offsets(0), offsets(5)], [vec![range(2..7)], vec![range(5..7)]]);
        assert_eq!([offsets(7), offsets(9)], [vec![], vec![]]);
    }
}
