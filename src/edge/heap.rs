//! The program's memory: what is freed goes back to the system, so that the byte budget is what the process
//! takes; and what is very large comes from it in huge pages.

use rustix::mm::{Advice, madvise};
use std::alloc::{GlobalAlloc, Layout, System};

/// What is this large has pages of its own: it grows without being copied, and goes when it is freed.
///
/// Without this, glibc raises its threshold (128 KiB) to whatever large it sees freed, up to 32 MiB. Then long
/// lines are copied about in one heap as they grow, and the holes that they leave stay: several times
/// what is held.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
pub fn keep_small() {
    const OWN: i32 = 128 * 1024;
    // SAFETY: it sets a number of the allocator's, and no other thread runs yet.
    let set = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, OWN) };
    if set == 0 {
        tracing::warn!(
            help = "nothing need be done",
            "the threshold of the allocator could not be set: more memory may be in use"
        );
    }
}

/// musl does so of itself.
#[cfg(not(target_env = "gnu"))]
pub fn keep_small() {}

/// The system's allocator. A message of many megabytes is there two or three times for a moment, and the
/// kernel takes longer to bring in its pages, 4 KiB at a time, than the gateway takes for all the rest: so
/// the kernel is asked for pages of 2 MiB, if it has any.
pub struct Heap;

/// In an allocation as large there is a whole page of 2 MiB wherever it lies.
const LARGE: usize = 4 << 20;
const PAGE: usize = 4096;

// SAFETY: all that is promised is the system allocator's, which is given the same arguments, and whose
// results are handed on as they are.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        advise(unsafe { System.alloc(layout) }, layout.size(), Advice::LinuxHugepage)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        advise(unsafe { System.alloc_zeroed(layout) }, layout.size(), Advice::LinuxHugepage)
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        let block = unsafe { System.realloc(block, layout, size) };
        // What grows by doubling, as a line does, is half empty, and may stay so: no huge pages then, not
        // even where they are the rule.
        let doubled = size / 2 <= layout.size();
        advise(block, size, if doubled { Advice::LinuxNoHugepage } else { Advice::LinuxHugepage })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[allow(unsafe_code)]
fn advise(block: *mut u8, size: usize, advice: Advice) -> *mut u8 {
    if size >= LARGE && !block.is_null() {
        let before = block.addr() % PAGE;
        let first = block.wrapping_sub(before);
        // SAFETY: the advice changes no byte of the pages, only how they are brought in. A kernel without
        // huge pages refuses it, which is as well.
        let _ = unsafe { madvise(first.cast(), before + size, advice) };
    }
    block
}
