//! What the store is asked for: a layer over it that counts, since requests and bytes are what a store is paid for.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use super::Store;

/// Names that a store gives for one request of a listing.
const NAMES_PER_LIST: usize = 1000;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Writing. An upload in parts is one to begin, one for each part, and one to complete.
    Put,
    /// Reading.
    Get,
    /// Asking for size and time only.
    Head,
    /// Listing, up to a thousand names.
    List,
    /// Deleting one object.
    Delete,
}

impl Request {
    /// The name as metrics have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Head => "head",
            Self::List => "list",
            Self::Delete => "delete",
        }
    }
}

/// Who counts.
pub trait Tally: fmt::Debug + Send + Sync {
    /// The store is asked for something.
    fn request(&self, kind: Request);
    /// So many bytes of objects go to the store.
    fn sent(&self, bytes: u64);
    /// So many come from it.
    fn received(&self, bytes: u64);
}

impl Store {
    /// The same place, with everything that is asked of it counted by `tally`.
    #[must_use]
    pub fn metered(&self, tally: Arc<dyn Tally>) -> Self {
        let meter = Meter { tally };
        self.with_inner(Arc::new(Metered { inner: Arc::clone(&self.inner), meter }))
    }
}

#[derive(Clone)]
struct Meter {
    tally: Arc<dyn Tally>,
}

impl Meter {
    fn request(&self, kind: Request) {
        self.tally.request(kind);
    }

    fn put(&self, bytes: usize) {
        self.request(Request::Put);
        self.tally.sent(bytes as u64);
    }

    /// Counts a listing that begins, and each further request that its names take.
    fn listing(&self, names: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.request(Request::List);
        let meter = self.clone();
        let counted = names.enumerate().map(move |(number, meta)| {
            if number > 0 && number.is_multiple_of(NAMES_PER_LIST) {
                meter.request(Request::List);
            }
            meta
        });
        counted.boxed()
    }
}

struct Metered {
    inner: Arc<dyn ObjectStore>,
    meter: Meter,
}

impl fmt::Display for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Debug for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metered({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Metered {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.meter.put(payload.content_length());
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.meter.request(Request::Put);
        let inner = self.inner.put_multipart_opts(location, options).await?;
        Ok(Box::new(MeteredUpload { inner, meter: self.meter.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let is_head = options.head;
        self.meter.request(if is_head { Request::Head } else { Request::Get });
        let found = self.inner.get_opts(location, options).await?;
        if !is_head {
            self.meter.tally.received(found.range.end - found.range.start);
        }
        Ok(found)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let meter = self.meter.clone();
        let deleted = self.inner.delete_stream(locations);
        deleted.inspect(move |_| meter.request(Request::Delete)).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.meter.listing(self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.meter.listing(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.meter.request(Request::List);
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.meter.request(Request::Put);
        self.inner.copy_opts(from, to, options).await
    }
}

/// An upload whose parts are counted.
struct MeteredUpload {
    inner: Box<dyn MultipartUpload>,
    meter: Meter,
}

impl fmt::Debug for MeteredUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MeteredUpload")
    }
}

#[async_trait]
impl MultipartUpload for MeteredUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.meter.put(data.content_length());
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.meter.request(Request::Put);
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.meter.request(Request::Delete);
        self.inner.abort().await
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;
    use object_store::ObjectStoreExt as _;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Debug, Default)]
    struct Counts {
        requests: Mutex<Vec<Request>>,
        bytes: Mutex<(u64, u64)>,
    }

    impl Tally for Counts {
        fn request(&self, kind: Request) {
            self.requests.lock().push(kind);
        }

        fn sent(&self, bytes: u64) {
            self.bytes.lock().0 += bytes;
        }

        fn received(&self, bytes: u64) {
            self.bytes.lock().1 += bytes;
        }
    }

    #[tokio::test]
    async fn every_kind_of_request_is_counted_and_every_byte() {
        let counts = Arc::new(Counts::default());
        let store = Store::memory().metered(Arc::clone(&counts) as _);
        let path = Path::from("a/b");
        store.inner.put(&path, PutPayload::from_static(b"12345")).await.expect("put");
        store.inner.get(&path).await.expect("there").bytes().await.expect("bytes");
        store.inner.get_range(&path, 1..3).await.expect("there");
        store.inner.head(&path).await.expect("there");
        let listed: Vec<_> = store.inner.list(None).try_collect().await.expect("list");
        assert_eq!(listed.len(), 1);
        let mut upload = store.inner.put_multipart(&Path::from("c")).await.expect("upload");
        upload.put_part(PutPayload::from_static(b"678")).await.expect("part");
        upload.complete().await.expect("complete");
        store.inner.delete(&path).await.expect("delete");
        let of = |kind| counts.requests.lock().iter().filter(|counted| **counted == kind).count();
        use Request::{Delete, Get, Head, List, Put};
        assert_eq!([Put, Get, Head, List, Delete].map(of), [4, 2, 1, 1, 1]);
        assert_eq!(*counts.bytes.lock(), (8, 7));
        let after: Vec<_> = store.inner.list_with_offset(None, &path).try_collect().await.expect("list");
        assert_eq!((after.len(), of(List)), (1, 2), "what comes after a name is a listing, too");
        assert!(matches!(store.inner.get(&path).await, Err(object_store::Error::NotFound { .. })));
        assert_eq!(of(Get), 3, "what is not there was asked for as well");
    }
}
