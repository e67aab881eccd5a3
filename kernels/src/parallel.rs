//! Work that is shared out to the CPU's cores. In wasm there is one.

/// How many cores there are.
pub fn threads() -> usize {
    #[cfg(not(target_arch = "wasm32"))]
    return rayon::current_num_threads();
    #[cfg(target_arch = "wasm32")]
    return 1;
}

/// Makes the thread that calls it one of those that work is shared out to, if none have been started yet: it does its share
/// where it would wait for others to begin and to end all of it. For programs that are alone in their process.
#[cfg(not(target_arch = "wasm32"))]
pub fn use_this_thread() {
    // An error says that there are threads already, which then do the work as well.
    drop(rayon::ThreadPoolBuilder::new().use_current_thread().build_global());
}

/// Numbers that are worth waking another core for.
pub const WORTHWHILE: usize = 1 << 14;

/// Does the same with all items, on whatever cores are free.
pub fn each<T: Send>(items: Vec<T>, work: impl Fn(T) + Sync) {
    #[cfg(not(target_arch = "wasm32"))]
    if threads() > 1 && items.len() > 1 {
        use rayon::prelude::*;
        return items.into_par_iter().for_each(&work);
    }
    items.into_iter().for_each(work);
}

/// Does the same with all rows of `out`, `[…, width]`, each of which it is told the index of.
pub fn rows(out: &mut [f32], width: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let share = (WORTHWHILE / width).max(1);
    each(out.chunks_mut(share * width).enumerate().collect(), |(i, out)| {
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            work(i * share + row, out);
        }
    });
}
