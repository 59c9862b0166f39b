//! What is freed goes back to the system, so that the byte budget is what the process takes.

/// What is this large has pages of its own: it grows without being copied, and goes when it is freed.
///
/// Without this, glibc raises its threshold (128 KiB) to whatever large it sees freed, up to 32 MiB. Then long
/// lines are copied about in one heap as they grow, and the holes that they leave stay: several times
/// what is held.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
pub fn keep_small() {
    const LARGE: i32 = 128 * 1024;
    // SAFETY: it sets a number of the allocator's, and no other thread runs yet.
    let set = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) };
    if set == 0 {
        tracing::warn!("the allocator keeps its own ways: more memory may be in use");
    }
}

/// musl does so of itself.
#[cfg(not(target_env = "gnu"))]
pub fn keep_small() {}
