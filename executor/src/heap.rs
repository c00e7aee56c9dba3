//! The global allocator: dlmalloc with the standard library's mutex.
//!
//! musl's own allocator returns every few pages to the kernel at once, which takes a tenth of a job's
//! start. The crate's own lock is the C library's, which is never inlined.
#![allow(unsafe_code)]

use dlmalloc::Dlmalloc;
use std::{
    alloc::{GlobalAlloc, Layout},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A global allocator.
pub struct Heap(Mutex<Dlmalloc>);

impl Heap {
    /// An empty one.
    pub const fn new() -> Self {
        Self(Mutex::new(Dlmalloc::new()))
    }

    /// No code under the lock panics, and the lock does not allocate.
    fn lock(&self) -> MutexGuard<'_, Dlmalloc> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// SAFETY: every call is passed on as it is to an allocator that has the same contract.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promised.
        unsafe { self.lock().malloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { self.lock().free(at, layout.size(), layout.align()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promised.
        unsafe { self.lock().calloc(layout.size(), layout.align()) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promised.
        unsafe { self.lock().realloc(at, layout.size(), layout.align(), size) }
    }
}
