//! How many rows of a matrix product are computed together.

use pulp::Simd;

/// The most rows there are in a tile on any processor, or a multiple of them: shares of so many leave none over.
pub(crate) const ROWS: usize = if cfg!(target_arch = "wasm32") { 4 } else { 12 };

/// The height of the next tile, of the rows that are left. A tile is two vectors wide: its sums, two vectors of the right
/// factor and an element of the left one have to fit the registers.
///
/// Where a multiple of four is left, so it is after the tile, until nothing is.
#[inline(always)]
pub(crate) fn height<S: Simd>(left: usize) -> usize {
    if cfg!(target_arch = "wasm32") {
        // The product before its addition takes a register of the sixteen, V8 keeps one to itself, and LLVM loads all inputs
        // before it uses them.
        return if left >= 4 { 4 } else { 1 };
    }
    match left {
        // Two eights rather than a twelve and a four, two fours rather than a six and two ones: none is too short to hide how
        // long an addition takes.
        16 if S::REGISTER_COUNT >= 32 => 8,
        12.. if S::REGISTER_COUNT >= 32 => 12,
        8.. if S::REGISTER_COUNT >= 32 => 8,
        8 => 4,
        6.. => 6,
        4.. => 4,
        _ => 1,
    }
}

/// Where the second of two vectors of columns begins: where only one is left it is the same once more, and is not used.
#[inline(always)]
pub(crate) fn second<S: Simd>(column: usize, columns: usize) -> usize {
    if column + S::F32_LANES < columns { column + S::F32_LANES } else { column }
}
