//! How the process handles memory that it has freed, and what it says when there is no more.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;

/// Makes freed memory stay with the process, to be used again by the next step.
///
/// Every step frees and allocates the same large buffers. By default the C library hands each of them back to the
/// system and asks for it anew, and the system clears it page by page: about a tenth of a training step. The peak does
/// not change. Call it once, at the start of a program that trains. It does something for glibc only.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// The largest threshold that glibc accepts.
        const FROM_SYSTEM: libc::c_int = 32 << 20;
        // SAFETY: `mallopt` takes two numbers, changes settings of the allocator only, and may be called at any time.
        #[allow(unsafe_code)]
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, FROM_SYSTEM);
            libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
            // Threads that each work on a part of a batch would otherwise each keep what they freed from the others.
            libc::mallopt(libc::M_ARENA_MAX, 1);
        }
    }
}

/// The system's allocator, except that a program which is given no memory says so and ends: Rust would abort it instead. For the
/// `#[global_allocator]` of a program:
///
/// ```
/// use pelt_ops::LastWords;
///
/// #[global_allocator]
/// static MEMORY: LastWords = LastWords {
///     words: "error: there is no memory left\n",
///     code: 2,
/// };
///
/// fn main() {
///     assert_eq!(vec![0; 3].len(), 3);
/// }
/// ```
#[derive(Debug)]
pub struct LastWords {
    /// Written to standard error.
    pub words: &'static str,
    /// The program's exit code.
    pub code: i32,
}

impl LastWords {
    fn check(&self, memory: *mut u8) -> *mut u8 {
        if memory.is_null() {
            // Nothing here takes memory, and nobody is left to tell if it fails.
            let _ = std::io::stderr().write_all(self.words.as_bytes());
            std::process::exit(self.code);
        }
        memory
    }
}

// SAFETY: all memory is the system's allocator's own, whose rules the callers keep.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for LastWords {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        self.check(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        self.check(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        self.check(unsafe { System.realloc(memory, layout, size) })
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}
