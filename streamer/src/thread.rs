//! A thread beside the runtime whose end goes unnoticed by nobody.
//!
//! Owns: starting it, telling it to stop, and noticing that it ended. Does not own: what it does.
//!
//! Invariant: work that needs the thread ends with it. A task that waits for what a dead thread would bring waits for
//! ever, and looks healthy meanwhile.

use std::any::Any;

use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// A running thread.
#[derive(Debug)]
pub struct Thread {
    name: &'static str,
    handle: std::thread::JoinHandle<()>,
    stop: CancellationToken,
    ended: CancellationToken,
}

impl Thread {
    /// Starts a thread, which is to end soon after its token is cancelled and never before.
    ///
    /// # Errors
    /// [`Error::Io`] where the system gives no thread.
    pub fn spawn(name: &'static str, body: impl FnOnce(CancellationToken) + Send + 'static) -> Result<Self, Error> {
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let (told, noticed) = (stop.clone(), ended.clone());
        let started = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Dropped by a panic too.
            let _ended = noticed.drop_guard();
            body(told);
        });
        let handle = started.map_err(|source| Error::Io { what: format!("start the thread {name}"), source })?;
        Ok(Self { name, handle, stop, ended })
    }

    /// Runs `work`, which needs the thread, and then ends the thread.
    ///
    /// # Errors
    /// That of `work`; [`Error::ThreadEnded`] where the thread ended first, or panicked.
    pub async fn beside<T>(self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let done = tokio::select! {
            biased;
            done = work => Some(done),
            () = self.ended.cancelled() => None,
        };
        self.stop.cancel();
        let (name, handle) = (self.name, self.handle);
        match (tokio::task::spawn_blocking(move || handle.join()).await, done) {
            (Ok(Err(panic)), _) => Err(Error::ThreadEnded { name, why: message(panic.as_ref()).to_owned() }),
            (_, Some(done)) => done,
            (_, None) => Err(Error::ThreadEnded { name, why: "it returned".to_owned() }),
        }
    }
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it panicked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_that_panics_ends_the_work_that_needs_it() {
        let thread = Thread::spawn("poller", |_| panic!("no event of number {}", 7)).expect("a thread");
        let ended = thread.beside(std::future::pending::<Result<(), Error>>()).await.expect_err("the thread is gone");
        let text = ended.to_string();
        assert!(text.contains("poller") && text.contains("no event of number 7"), "{text}");
        let thread = Thread::spawn("poller", |_| {}).expect("a thread");
        let ended = thread.beside(std::future::pending::<Result<(), Error>>()).await.expect_err("the thread is gone");
        assert!(matches!(ended, Error::ThreadEnded { name: "poller", .. }), "{ended}");
    }

    #[tokio::test]
    async fn work_that_is_done_ends_its_thread() {
        let thread = Thread::spawn("poller", |stop| {
            while !stop.is_cancelled() {
                std::thread::yield_now();
            }
        });
        let done = thread.expect("a thread").beside(async { Ok(7) }).await;
        assert_eq!(done.expect("done"), 7);
    }
}
