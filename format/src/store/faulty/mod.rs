//! A store that fails as asked: the test's stand-in for every fault that the design names.
//!
//! Owns: carrying out faults, before or after the effect, over any [`ObjectStore`]. Does not own: when they happen, which
//! [`FaultControl`] decides (a script, a closure, a seed). Latency is tokio's time, so a paused clock skips it. Every
//! method of the trait is implemented, also those with defaults, so that none slips past the faults.
//!
//! A kill leaves the call pending for ever, and all later calls of this wrapper with it: what the writer would have done
//! after the cut never happens, while a new wrapper over the same inner store plays the next process.

mod control;

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

use control::Effect;
pub use control::{Call, Decision, Fault, FaultControl, Op};

/// The wrapper. Clones share the inner store and the control.
#[derive(Clone)]
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    control: FaultControl,
}

impl FaultyStore {
    /// Wraps `inner`; nothing fails until the control says so.
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, control: FaultControl::default() }
    }

    /// What decides about faults; shared with this store.
    pub fn control(&self) -> &FaultControl {
        &self.control
    }

    /// The store below, without faults.
    pub fn inner(&self) -> &Arc<dyn ObjectStore> {
        &self.inner
    }
}

/// Runs one call with its faults around it. Faults of the answer's body are left to the caller, who gets the effect.
async fn run<T>(
    control: &FaultControl,
    op: Op,
    path: &Path,
    call: impl Future<Output = Result<T>> + Send,
) -> Result<(T, Effect)> {
    run_sending(control, op, path, 0, call).await
}

/// The same for a call whose request has a body of so many bytes.
async fn run_sending<T>(
    control: &FaultControl,
    op: Op,
    path: &Path,
    body: usize,
    call: impl Future<Output = Result<T>> + Send,
) -> Result<(T, Effect)> {
    let effect = control.enter(op, path, body).await?;
    if effect == Effect::Stale {
        return Err(Fault::NotFound.error(path));
    }
    let value = call.await?;
    control.leave(effect, path).await?;
    Ok((value, effect))
}

/// Runs one call that has no body to spoil.
async fn run_plain<T>(
    control: &FaultControl,
    op: Op,
    path: &Path,
    call: impl Future<Output = Result<T>> + Send,
) -> Result<T> {
    run(control, op, path, call).await.map(|(value, _)| value)
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut opts: PutOptions) -> Result<PutResult> {
        let op = if opts.mode == PutMode::Create { Op::Create } else { Op::Put };
        if op == Op::Create && self.control.ignores_create() {
            opts.mode = PutMode::Overwrite;
        }
        let size = payload.content_length();
        let call = self.inner.put_opts(location, payload, opts);
        Ok(run_sending(&self.control, op, location, size, call).await?.0)
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let call = self.inner.put_multipart_opts(location, opts);
        let (inner, _) = run(&self.control, Op::MultipartStart, location, call).await?;
        Ok(Box::new(FaultyUpload { inner, control: self.control.clone(), location: location.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let op = if options.head { Op::Head } else { Op::Get };
        let (result, effect) = run(&self.control, op, location, self.inner.get_opts(location, options)).await?;
        if op == Op::Head || !effect.spoils_body() {
            return Ok(result);
        }
        let (meta, range, attributes, extensions) =
            (result.meta.clone(), result.range.clone(), result.attributes.clone(), result.extensions.clone());
        let (body, broken) = effect.spoil(result.bytes().await?);
        let pieces = [Ok(body)].into_iter().chain(broken.then(|| Err(Fault::Reset.error(location))));
        let payload = GetResultPayload::Stream(stream::iter(pieces.collect::<Vec<_>>()).boxed());
        Ok(GetResult { payload, meta, range, attributes, extensions })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let call = self.inner.get_ranges(location, ranges);
        let (mut found, effect) = run(&self.control, Op::Get, location, call).await?;
        if effect.spoils_body()
            && let Some(first) = found.first_mut()
        {
            let (body, broken) = effect.spoil(std::mem::take(first));
            if broken {
                return Err(Fault::Reset.error(location));
            }
            *first = body;
        }
        Ok(found)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        locations
            .then(move |location| {
                let this = this.clone();
                async move {
                    let location = location?;
                    let one = stream::iter([Ok(location.clone())]).boxed();
                    let call = this.inner.delete_stream(one).try_collect::<Vec<_>>();
                    run(&this.control, Op::Delete, &location, call).await?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        listing(self.clone(), prefix.cloned(), |store, prefix| store.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let offset = offset.clone();
        listing(self.clone(), prefix.cloned(), move |store, prefix| store.list_with_offset(prefix, &offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let path = prefix.cloned().unwrap_or_default();
        let call = self.inner.list_with_delimiter(prefix);
        run_plain(&self.control, Op::List, &path, call).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        run_plain(&self.control, Op::Copy, to, self.inner.copy_opts(from, to, options)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        run_plain(&self.control, Op::Copy, to, self.inner.rename_opts(from, to, options)).await
    }
}

fn listing(
    store: FaultyStore,
    prefix: Option<Path>,
    list: impl FnOnce(&dyn ObjectStore, Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> + Send + 'static,
) -> BoxStream<'static, Result<ObjectMeta>> {
    let path = prefix.clone().unwrap_or_default();
    let start = async move {
        let effect = store.control.enter(Op::List, &path, 0).await?;
        if effect == Effect::Stale {
            return Ok(stream::empty().boxed());
        }
        store.control.leave(effect, &path).await?;
        Ok::<_, object_store::Error>(list(store.inner.as_ref(), prefix.as_ref()))
    };
    stream::once(start).try_flatten().boxed()
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({})", self.inner)
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// The faults of an upload in parts.
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    control: FaultControl,
    location: Path,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let size = data.content_length();
        let call = self.inner.put_part(data);
        let (control, location) = (self.control.clone(), self.location.clone());
        Box::pin(async move {
            run_sending(&control, Op::Part, &location, size, call).await?;
            Ok(())
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        run_plain(&self.control, Op::Complete, &self.location, self.inner.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        run_plain(&self.control, Op::Abort, &self.location, self.inner.abort()).await
    }
}

impl fmt::Debug for FaultyUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyUpload").field("location", &self.location).finish_non_exhaustive()
    }
}
