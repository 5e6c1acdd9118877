//! Where a log ends, and what finding that costs.

use std::fmt;

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result,
};

use super::*;
use crate::store::Kind;
use crate::store::faulty::FaultControl;

/// How many requests of each kind a call makes: GET, HEAD, LIST.
async fn requests<T>(control: &FaultControl, call: impl Future<Output = T>) -> ([usize; 3], T) {
    let count = || [Op::Get, Op::Head, Op::List].map(|op| control.count(op));
    let before = count();
    let done = call.await;
    let after = count();
    ([0, 1, 2].map(|kind| after[kind] - before[kind]), done)
}

/// How many slots are looked at at once.
fn window() -> usize {
    usize::try_from(WINDOW).expect("few")
}

#[tokio::test]
async fn a_reader_needs_six_requests_whatever_the_history_and_one_for_each_manifest_after_the_checkpoint() {
    for (commits, checkpoints, tail) in
        [(7, &[8][..], 0), (299, &[100, 200, 300][..], 0), (299, &[100, 200, 260][..], 40)]
    {
        let (store, control) = faulty();
        let writer = history(&store, commits, checkpoints).await;
        let (needed, log) = requests(&control, read(&store)).await;
        assert_eq!((&log.state, log.tail.len()), (writer.state(), tail));
        // Identity, checkpoint, its manifest, the slot after the last; checkpoints, what comes after the one read.
        assert_eq!(needed, [4 + tail, 0, 2], "{commits} commits");
    }
}

#[tokio::test]
async fn who_goes_on_to_write_relies_on_no_list_for_the_end() {
    let (store, control) = faulty();
    let writer = history(&store, 7, &[8]).await;
    let (needed, log) = requests(&control, open_to_write(&store, Shard::ONLY)).await;
    assert_eq!(&log.expect("readable").expect("a backup").state, writer.state());
    assert_eq!(needed, [3 + window(), LOOK_BEYOND.len(), 1], "the checkpoints alone are listed");
}

#[tokio::test]
async fn a_directory_is_not_walked_for_the_end_of_its_log() {
    let (store, control) = faulty();
    history(&store, 7, &[8]).await;
    let store = Store { kind: Kind::Filesystem("/backup".into()), ..store };
    let (needed, _) = requests(&control, read(&store)).await;
    assert_eq!(needed[2], 1, "the checkpoints alone are listed");
}

#[tokio::test]
async fn a_list_that_is_late_hides_no_manifest() {
    let (store, control) = faulty();
    let writer = history(&store, 40, &[3]).await;
    let manifests = layout::manifests(Shard::ONLY).below(&store.prefix);
    control.set_plan(
        move |call| {
            if call.op == Op::List && call.path == manifests { Decision::Stale } else { Decision::Pass }
        },
    );
    let log = read(&store).await;
    assert_eq!((&log.state, log.tail.len()), (writer.state(), 38));
}

#[tokio::test]
async fn what_else_lies_among_the_manifests_is_taken_for_none() {
    let store = Store::memory();
    let writer = history(&store, 3, &[3]).await;
    let folder = layout::manifests(Shard::ONLY).below(&store.prefix);
    for stranger in ["README.txt", "99.json.zst", "old/00000000000000000009.json.zst"] {
        let path = Path::from(format!("{folder}/{stranger}"));
        store.inner.put(&path, Bytes::from_static(b"noise").into()).await.expect("put");
    }
    assert_eq!(&read(&store).await.state, writer.state());
}

#[tokio::test]
async fn a_store_that_lists_from_the_beginning_all_the_same_is_asked_for_the_objects() {
    let (store, control) = faulty();
    let writer = history(&store, 7, &[6]).await;
    let whole = store.with_inner(Arc::new(ListsWhole(Arc::clone(&store.inner))));
    let (needed, log) = requests(&control, read(&whole)).await;
    assert_eq!((&log.state, log.tail.len()), (writer.state(), 2));
    assert_eq!(needed[0], 3 + window());
    remove(&store, &nth(7)).await;
    let error = refused(&whole).await;
    assert!(matches!(&error, Error::Missing { object, .. } if object == nth(7).as_str()), "{error:?}");
}

/// A store that does not know from where on a list is wanted.
#[derive(Debug)]
struct ListsWhole(Arc<dyn ObjectStore>);

impl fmt::Display for ListsWhole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ListsWhole({})", self.0)
    }
}

#[async_trait]
impl ObjectStore for ListsWhole {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.0.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, _: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}
