//! Where a copy goes: standard output, or a file that appears whole or not at all.

use std::io::{self, BufWriter, Stdout, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::Error;

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 1 << 18;

/// Where a copy is written.
#[derive(Debug)]
pub(super) enum Sink {
    /// Standard output.
    Stdout(BufWriter<Stdout>),
    /// A file of another name, in the folder of the one that it becomes. Only its owner may read it.
    File(BufWriter<NamedTempFile>, PathBuf),
}

impl Sink {
    /// Standard output, or a file that is not there yet.
    ///
    /// # Errors
    /// [`Error::Usage`] where it is; [`Error::Io`] where none can be made in its folder.
    pub(super) fn open(output: Option<PathBuf>) -> Result<Self, Error> {
        let Some(path) = output else {
            return Ok(Self::Stdout(BufWriter::with_capacity(BUFFER_BYTES, io::stdout())));
        };
        if path.symlink_metadata().is_ok() {
            return Err(Error::Usage(format!("{} is there already; name another file with --output", path.display())));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let staged = tempfile::Builder::new().prefix(".strimzi-backup-export-").tempfile_in(folder);
        let what = || format!("make a file in {}", folder.display());
        let staged = staged.map_err(|source| Error::Io { what: what(), source })?;
        Ok(Self::File(BufWriter::with_capacity(BUFFER_BYTES, staged), path))
    }

    /// Lets the copy appear. It is durable then, as far as the file system keeps what it promises.
    ///
    /// # Errors
    /// [`Error::Io`]; a file that appeared meanwhile is left as it is.
    pub(super) fn keep(self) -> Result<(), Error> {
        let (staged, path) = match self {
            Self::Stdout(mut stdout) => return stdout.flush().map_err(failed),
            Self::File(staged, path) => (staged, path),
        };
        let kept = staged.into_inner().map_err(io::IntoInnerError::into_error).and_then(|staged| {
            staged.as_file().sync_all()?;
            staged.persist_noclobber(&path).map_err(|error| error.error)
        });
        kept.map(drop).map_err(|source| Error::Io { what: format!("keep the copy as {}", path.display()), source })
    }
}

/// What it is called where a copy cannot be written.
pub(super) fn failed(source: io::Error) -> Error {
    Error::Io { what: "write the copy".to_owned(), source }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(stdout) => stdout.write(bytes),
            Self::File(staged, _) => staged.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.flush(),
            Self::File(staged, _) => staged.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let found = std::fs::read_dir(folder).expect("a folder");
        found.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_copy_appears_whole_or_not_at_all_and_replaces_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("orders.jsonl");
        let mut cut_off = Sink::open(Some(path.clone())).expect("a file");
        cut_off.write_all(b"half a rec").expect("written");
        drop(cut_off);
        assert_eq!(names(folder.path()), [""; 0], "what is given up leaves nothing");

        let [mut first, mut second] = [(); 2].map(|()| Sink::open(Some(path.clone())).expect("a file"));
        first.write_all(b"first").expect("written");
        second.write_all(b"second").expect("written");
        assert!(!path.exists());
        first.keep().expect("kept");
        let error = crate::error::chain(&second.keep().expect_err("it is there by now"));
        assert!(error.starts_with("keep the copy as ") && error.contains("orders.jsonl"), "{error}");
        assert_eq!((std::fs::read(&path).expect("a file"), names(folder.path()).len()), (b"first".to_vec(), 1));
        let error = Sink::open(Some(path)).expect_err("it is there");
        assert_eq!(error.exit_code(), crate::error::exit::USAGE, "{error}");
        let error = Sink::open(Some(folder.path().join("no/where"))).expect_err("no folder").to_string();
        assert!(error.contains("make a file in ") && error.contains("/no"), "{error}");
    }
}
