//! How the process handles memory that it has freed.

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
