//! Gives memory back to the kernel after work that took much of it for a moment. The C library
//! keeps what was freed between pieces still in use, and a merge leaves megabytes of that.
#![allow(unsafe_code)] // malloc_trim(3) is a C function without a safe wrapper.

/// Returns free pages of the heap. Does nothing where the C library has no such call.
pub(crate) fn give_back() {
    // SAFETY: malloc_trim takes no pointer, touches only the allocator's free memory under its own
    // locks, and may be called by any thread at any time.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::malloc_trim(0);
    }
}
