//! What a command has to do with where it runs: its files, standard output and signals.

use std::fmt::Display;
use std::io::Write as _;
use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::Output;
use crate::error::Error;

/// The document at `path`; which one it is, an error says.
pub(super) fn read_text(document: &'static str, path: &Path) -> Result<String, Error> {
    let failed = |source| Error::ReadDocument { document, path: path.display().to_string(), source };
    std::fs::read_to_string(path).map_err(failed)
}

/// A document of text keys and finite numbers, which is all that serde_json asks for.
pub(super) fn json<T: serde::Serialize>(document: &T) -> String {
    serde_json::to_string_pretty(document).unwrap_or_default() + "\n"
}

/// It is done: whoever would do it again for want of its summary would find that, too.
pub(super) fn summarize(path: &Path, summary: &str) {
    if let Err(error) = std::fs::write(path, summary) {
        tracing::warn!(path = %path.display(), %error, "the summary could not be written");
    }
}

/// Writes data to standard output. A reader that has gone away, such as `head`, has all it wanted.
pub(super) fn print(text: &str) -> Result<(), Error> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => done.map_err(|source| Error::Io { what: "write to standard output".to_owned(), source }),
    }
}

/// Prints what a command gives, for people or for programs.
pub(super) fn print_as(output: Output, text: &impl Display, json: impl FnOnce() -> String) -> Result<(), Error> {
    match output {
        Output::Text => print(&text.to_string()),
        Output::Json => print(&json()),
    }
}

/// The first SIGTERM or SIGINT asks to stop, the second to stop at once.
pub(super) fn listen_for_signals(stop: CancellationToken, abandon: CancellationToken) -> Result<(), Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |source| Error::Io { what: "listen for signals".to_owned(), source };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::spawn(async move {
        for token in [stop, abandon] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("told to stop");
            token.cancel();
        }
    });
    Ok(())
}
