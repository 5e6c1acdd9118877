//! A store as it stands, in three files, for processes that each only read it: nothing of it is in their memory, and what one of them
//! holds at its peak is its own.
//!
//! | file | holds |
//! | --- | --- |
//! | `index` | an [`Entry`] of fixed size for each object, in the order of their names |
//! | `names`, `bodies` | one after the other, without anything between |

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path as Folder;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, Extensions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

const ENTRY_BYTES: usize = 40;

/// Entries that a listing reads at once: as many as a page of a store's.
const PAGE: u64 = 1000;

/// Where an object is in the files.
#[derive(Clone, Copy, Debug)]
struct Entry {
    name_at: u64,
    name_bytes: u64,
    body_at: u64,
    body_bytes: u64,
    /// Unix time.
    modified_millis: u64,
}

impl Entry {
    fn encode(self) -> Vec<u8> {
        let Self { name_at, name_bytes, body_at, body_bytes, modified_millis } = self;
        [name_at, name_bytes, body_at, body_bytes, modified_millis].map(u64::to_le_bytes).concat()
    }

    fn decode(bytes: &[u8]) -> io::Result<Self> {
        let short = || io::Error::new(io::ErrorKind::UnexpectedEof, "an entry is cut off");
        let number = |at: usize| {
            let field = bytes.get(8 * at..8 * at + 8).and_then(|field| field.try_into().ok());
            field.map(u64::from_le_bytes).ok_or_else(short)
        };
        Ok(Self {
            name_at: number(0)?,
            name_bytes: number(1)?,
            body_at: number(2)?,
            body_bytes: number(3)?,
            modified_millis: number(4)?,
        })
    }
}

/// Writes all of a store into a folder.
///
/// # Errors
/// Where the store or the file system fails.
pub async fn write(store: &dyn ObjectStore, folder: &Folder) -> anyhow::Result<()> {
    let create = |name: &str| File::create(folder.join(name)).map(BufWriter::new);
    let (mut index, mut names, mut bodies) = (create("index")?, create("names")?, create("bodies")?);
    let mut listed: Vec<ObjectMeta> = store.list(None).try_collect().await?;
    listed.sort_unstable_by(|a, b| a.location.cmp(&b.location));
    let (mut name_at, mut body_at) = (0, 0);
    for meta in listed {
        let (name, body) = (meta.location.as_ref(), store.get(&meta.location).await?.bytes().await?);
        let modified_millis = u64::try_from(meta.last_modified.timestamp_millis())?;
        let (name_bytes, body_bytes) = (name.len() as u64, body.len() as u64);
        index.write_all(&Entry { name_at, name_bytes, body_at, body_bytes, modified_millis }.encode())?;
        names.write_all(name.as_bytes())?;
        bodies.write_all(&body)?;
        (name_at, body_at) = (name_at + name_bytes, body_at + body_bytes);
    }
    [index, names, bodies].iter_mut().try_for_each(BufWriter::flush)?;
    Ok(())
}

/// The store that was written. Clones share the files.
#[derive(Clone, Debug)]
pub struct Image {
    files: Arc<Files>,
}

#[derive(Debug)]
struct Files {
    index: File,
    names: File,
    bodies: File,
    count: u64,
}

impl Image {
    /// Opens what [`write()`] wrote.
    ///
    /// # Errors
    /// Where it is not there.
    pub fn open(folder: &Folder) -> io::Result<Self> {
        let open = |name: &str| File::open(folder.join(name));
        let (index, names, bodies) = (open("index")?, open("names")?, open("bodies")?);
        let count = index.metadata()?.len() / ENTRY_BYTES as u64;
        Ok(Self { files: Arc::new(Files { index, names, bodies, count }) })
    }
}

impl Files {
    fn read(file: &File, at: u64, bytes: u64) -> io::Result<Vec<u8>> {
        let mut read = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
        file.read_exact_at(&mut read, at)?;
        Ok(read)
    }

    fn entries(&self, first: u64, count: u64) -> io::Result<Vec<Entry>> {
        let count = count.min(self.count.saturating_sub(first));
        let bytes = Self::read(&self.index, first * ENTRY_BYTES as u64, count * ENTRY_BYTES as u64)?;
        bytes.chunks(ENTRY_BYTES).map(Entry::decode).collect()
    }

    fn name(&self, entry: &Entry) -> io::Result<String> {
        String::from_utf8(Self::read(&self.names, entry.name_at, entry.name_bytes)?).map_err(io::Error::other)
    }

    /// The number of the first object whose name is not before this one; that of all of them where each is.
    fn first_from(&self, name: &str) -> io::Result<u64> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            let entry = self.entries(middle, 1)?.pop().ok_or(io::ErrorKind::UnexpectedEof)?;
            if self.name(&entry)?.as_str() < name { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    fn find(&self, location: &Path) -> io::Result<Option<Entry>> {
        let entry = self.entries(self.first_from(location.as_ref())?, 1)?.pop();
        let Some(entry) = entry else { return Ok(None) };
        Ok((self.name(&entry)? == location.as_ref()).then_some(entry))
    }

    /// Some objects from that number on, as far as their names begin so; none at the end.
    fn page(&self, first: u64, begins: &str) -> io::Result<Vec<ObjectMeta>> {
        let entries = self.entries(first, PAGE)?;
        let (Some(head), Some(last)) = (entries.first(), entries.last()) else { return Ok(Vec::new()) };
        let names = Self::read(&self.names, head.name_at, last.name_at + last.name_bytes - head.name_at)?;
        let mut page = Vec::with_capacity(entries.len());
        let mut rest = names.as_slice();
        for entry in entries {
            let (name, behind) = rest.split_at(usize::try_from(entry.name_bytes).map_err(io::Error::other)?);
            let name = std::str::from_utf8(name).map_err(io::Error::other)?;
            if !name.starts_with(begins) {
                break;
            }
            page.push(meta(Path::parse(name).map_err(io::Error::other)?, &entry));
            rest = behind;
        }
        Ok(page)
    }

    /// All objects from that number on, as far as their names begin so.
    fn list(self: Arc<Self>, first: io::Result<u64>, begins: String) -> BoxStream<'static, Result<ObjectMeta>> {
        let pages = stream::try_unfold(first, move |at| {
            let page = at.and_then(|at| self.page(at, &begins).map(|page| (at, page)));
            async move {
                let (at, page) = page.map_err(failed)?;
                let next = at + page.len() as u64;
                Ok::<_, Error>((!page.is_empty()).then_some((page, Ok(next))))
            }
        });
        pages.map_ok(|page| stream::iter(page.into_iter().map(Ok))).try_flatten().boxed()
    }
}

fn meta(location: Path, entry: &Entry) -> ObjectMeta {
    let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(entry.modified_millis);
    ObjectMeta { location, last_modified: modified.into(), size: entry.body_bytes, e_tag: None, version: None }
}

fn failed(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Generic { store: "image", source: Box::new(source) }
}

fn read_only() -> Error {
    Error::NotSupported { source: "an image is only read".into() }
}

/// How the names below a prefix begin.
fn below(prefix: Option<&Path>) -> String {
    prefix.filter(|prefix| !prefix.as_ref().is_empty()).map(|prefix| format!("{prefix}/")).unwrap_or_default()
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Image({} objects)", self.files.count)
    }
}

#[async_trait]
impl ObjectStore for Image {
    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(read_only())
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(read_only())
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let entry = self
            .files
            .find(location)
            .map_err(failed)?
            .ok_or_else(|| Error::NotFound { path: location.to_string(), source: "not in the image".into() })?;
        let range = match options.range {
            Some(wanted) => wanted.as_range(entry.body_bytes).map_err(failed)?,
            None => 0..entry.body_bytes,
        };
        let wanted = if options.head { 0 } else { range.end - range.start };
        let body = Files::read(&self.files.bodies, entry.body_at + range.start, wanted).map_err(failed)?;
        let payload = GetResultPayload::Stream(stream::iter([Ok(Bytes::from(body))]).boxed());
        let (attributes, extensions) = (Attributes::default(), Extensions::default());
        Ok(GetResult { payload, meta: meta(location.clone(), &entry), range, attributes, extensions })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        locations.map(|_| Err(read_only())).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let begins = below(prefix);
        Arc::clone(&self.files).list(self.files.first_from(&begins), begins)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let begins = below(prefix);
        // The first name after one is that with the lowest of all letters behind it.
        let after = format!("{offset}\0").max(begins.clone());
        Arc::clone(&self.files).list(self.files.first_from(&after), begins)
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(Error::NotImplemented { operation: "list_with_delimiter".to_owned(), implementer: "image".to_owned() })
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(read_only())
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use strimzi_backup_tests::run_dir::RunDir;

    use super::*;

    async fn names(listed: BoxStream<'static, Result<ObjectMeta>>) -> Vec<String> {
        listed.map_ok(|meta| meta.location.to_string()).try_collect().await.expect("listed")
    }

    #[tokio::test]
    async fn an_image_is_read_and_listed_as_the_store_that_it_is_of() {
        let store = InMemory::new();
        // More than a page below one folder, and others before and after it in name.
        let all = (0..1500).map(|number| format!("b/{number:04}")).chain(["a".into(), "b.c/1".into(), "c/1".into()]);
        for name in all {
            store.put(&Path::from(name.as_str()), PutPayload::from(format!("this is {name}"))).await.expect("put");
        }
        let dir = RunDir::new("image").expect("folder");
        write(&store, dir.path()).await.expect("written");
        let image = Image::open(dir.path()).expect("opened");
        for prefix in ["b", "b.c", "c", "d", ""].map(Path::from) {
            assert_eq!(names(image.list(Some(&prefix))).await, names(store.list(Some(&prefix))).await, "{prefix}");
            for offset in ["b/0003", "b/0003x", "a", "c/1"].map(Path::from) {
                let lists = [&image as &dyn ObjectStore, &store].map(|of| of.list_with_offset(Some(&prefix), &offset));
                let [found, wanted] = lists;
                assert_eq!(names(found).await, names(wanted).await, "{prefix} after {offset}");
            }
        }
        assert_eq!(names(image.list(None)).await.len(), 1503);
        let place = Path::from("b/1234");
        let (found, wanted) = (image.head(&place).await.expect("there"), store.head(&place).await.expect("there"));
        assert_eq!(
            (found.size, found.last_modified.timestamp_millis()),
            (wanted.size, wanted.last_modified.timestamp_millis())
        );
        assert_eq!(image.get(&place).await.expect("there").bytes().await.expect("bytes"), "this is b/1234");
        assert_eq!(image.get_range(&place, 5..7).await.expect("a part"), "is");
        assert!(matches!(image.get(&Path::from("b/12345")).await, Err(Error::NotFound { .. })));
        assert!(image.put(&place, PutPayload::default()).await.is_err(), "nothing is written");
    }
}
