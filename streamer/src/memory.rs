//! How the allocator is set up, so that the memory a process holds follows what it uses.
#![allow(unsafe_code, reason = "one call into libc, which says why it is sound")]

/// Heaps that glibc may keep. By default it is eight for each core, and what a thread freed in one of them no other thread
/// gets: records are buffered by one thread, encoded by a second and freed by a third. Measured with 1 MB records that do
/// not compress and `memoryBudget: 64Mi`: a peak of 347 MiB by default, 196 MiB with two.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const HEAPS: libc::c_int = 2;

/// Sets the allocator up; to be called before the first thread is started. Says nothing where it cannot: it is a saving.
pub fn bound_heaps() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the call takes two numbers and changes a setting of the allocator, under the allocator's own lock.
    let _changed = unsafe { libc::mallopt(libc::M_ARENA_MAX, HEAPS) };
}
