//! Memory that CPU functions need only while they run, kept from one to the next.

use std::cell::RefCell;

thread_local! {
    /// What is not lent at the moment.
    static BUFFERS: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Lends `len` numbers, which hold anything.
pub fn scratch<R>(len: usize, body: impl FnOnce(&mut [f32]) -> R) -> R {
    // Functions within functions borrow and return in the same order every time, so each finds its own of the last time.
    let mut buffer = BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_default();
    if buffer.len() < len {
        // Not `resize`, which would take twice what it had, and copy that.
        drop(std::mem::take(&mut buffer));
        buffer = vec![0.0; len];
    }
    let result = body(&mut buffer[..len]);
    BUFFERS.with_borrow_mut(|buffers| buffers.push(buffer));
    result
}
