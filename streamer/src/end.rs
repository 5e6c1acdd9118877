//! How the process ends.

#![expect(
    unsafe_code,
    reason = "the standard library cannot end a process without what C libraries do at the end of one"
)]

use std::ffi::c_int;
use std::io::Write as _;

unsafe extern "C" {
    /// POSIX: ends the process at once, with all its threads.
    safe fn _exit(status: c_int) -> !;
}

/// Ends the process, without what `exit` does beside: OpenSSL frees its tables then, while threads of librdkafka, which go on
/// until they have said goodbye to their brokers, use them. That was seen to end a restore with SIGSEGV after its report.
/// What counts is in the store or in Kafka by now.
pub(crate) fn now(code: u8) -> ! {
    // Whoever read it has gone away.
    let _ = std::io::stdout().flush();
    _exit(code.into())
}
