//! How the process handles memory that it has freed, and what it does when there is no more.

use std::alloc::{GlobalAlloc, Layout, System};

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

/// The system's allocator, except that a program which is given no memory can say so: Rust would abort it. For the
/// `#[global_allocator]` of a program:
///
/// ```
/// use pelt_ops::Memory;
///
/// #[global_allocator]
/// static MEMORY: Memory = Memory { none_left };
///
/// fn none_left() -> ! {
///     eprintln!("error: there is no memory left");
///     std::process::exit(2)
/// }
///
/// fn main() {
///     assert_eq!(vec![0; 3].len(), 3);
/// }
/// ```
#[derive(Debug)]
pub struct Memory {
    /// Called where there is none, on any thread; it should take none itself.
    pub none_left: fn() -> !,
}

impl Memory {
    fn check(&self, memory: *mut u8) -> *mut u8 {
        match memory.is_null() {
            true => (self.none_left)(),
            false => memory,
        }
    }
}

// SAFETY: all memory is the system's allocator's own, whose rules the callers keep.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Memory {
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
