//! Seeded random numbers that equal those of PyTorch's generator on the CPU.
//!
//! It is a Mersenne Twister (`ATen/core/MT19937RNGEngine.h`), and what is drawn from it depends on what is asked for and
//! how much of it (`ATen/core/TransformationHelper.h`, `ATen/core/DistributionsHelper.h`,
//! `ATen/native/cpu/DistributionTemplates.h`, `ATen/native/TensorFactories.cpp`). Whole numbers, permutations and uniforms
//! have PyTorch's bits. Normals are Box–Muller transforms with logarithms and trigonometry from `libm`, so they too have the
//! same bits on every machine and in wasm; PyTorch's own vectorised ones differ from them in the last bits (up to 3e-7).

use std::f64::consts::TAU;
use std::num::NonZeroU32;

use crate::{Error, Result};

/// Words of the twister's state.
const WORDS: usize = 624;
const PERIOD: usize = 397;

/// MT19937 (Matsumoto and Nishimura 1998), as `at::mt19937`.
#[derive(Clone)]
struct MersenneTwister {
    words: [u32; WORDS],
    /// How many draws there are until the words are used up, this one counted: `left_`.
    left: usize,
    /// The word that is next.
    next: usize,
}

impl MersenneTwister {
    fn new(seed: u32) -> Self {
        let mut words = [seed; WORDS];
        for i in 1..WORDS {
            let previous = words[i - 1];
            words[i] = 1_812_433_253_u32.wrapping_mul(previous ^ (previous >> 30)).wrapping_add(i as u32);
        }
        MersenneTwister { words, left: 1, next: 0 }
    }

    fn refill(&mut self) {
        for i in 0..WORDS {
            let y = (self.words[i] & 0x8000_0000) | (self.words[(i + 1) % WORDS] & 0x7fff_ffff);
            let twist = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.words[i] = self.words[(i + PERIOD) % WORDS] ^ (y >> 1) ^ twist;
        }
        (self.left, self.next) = (WORDS, 0);
    }

    fn next_u32(&mut self) -> u32 {
        match self.left {
            1 => self.refill(),
            _ => self.left -= 1,
        }
        let mut y = self.words[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn next_u64(&mut self) -> u64 {
        (u64::from(self.next_u32()) << 32) | u64::from(self.next_u32())
    }

    /// A float in [0, 1) of 24 random bits.
    fn uniform_f32(&mut self) -> f32 {
        (self.next_u32() & 0x00ff_ffff) as f32 / (1 << 24) as f32
    }

    /// A double in [0, 1) of 53 random bits.
    fn uniform_f64(&mut self) -> f64 {
        (self.next_u64() & ((1 << 53) - 1)) as f64 / (1_u64 << 53) as f64
    }
}

/// A source of random numbers: `torch.Generator().manual_seed(seed)`, and also what `torch.manual_seed(seed)` makes of
/// PyTorch's default generator, which initialises modules.
#[derive(Clone)]
pub struct Generator {
    twister: MersenneTwister,
    /// What it was made of. Only the low 32 bits count.
    seed: u64,
    /// The second normal of the last pair drawn one at a time, kept for the next such draw.
    spare: Option<f64>,
}

/// Whole numbers below this are drawn from 32 random bits, others from 64.
const WIDE: u32 = 1 << 28;

/// Permutations of so many are drawn another way, from 64 random bits each.
const LONG: usize = u32::MAX as usize / 20;

impl Generator {
    /// A generator of this seed. As in PyTorch, only its low 32 bits count.
    pub fn new(seed: u64) -> Self {
        Generator { twister: MersenneTwister::new(seed as u32), seed, spare: None }
    }

    /// The next `len` standard normals: `torch.randn(len, generator=generator)`.
    pub fn randn(&mut self, len: usize) -> Vec<f32> {
        if len < BLOCK {
            return (0..len).map(|_| self.normal() as f32).collect();
        }
        let mut out = self.rand(len);
        for block in out.chunks_exact_mut(BLOCK) {
            box_muller(block);
        }
        if !len.is_multiple_of(BLOCK) {
            let last = &mut out[len - BLOCK..];
            last.fill_with(|| self.twister.uniform_f32());
            box_muller(last);
        }
        out
    }

    /// The next `len` numbers in [0, 1): `torch.rand(len, generator=generator)`.
    pub fn rand(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.twister.uniform_f32()).collect()
    }

    /// The next `len` numbers in [`low`, `high`): `torch.empty(len).uniform_(low, high, generator=generator)`. Rounded once,
    /// as PyTorch does where the processor multiplies and adds in one instruction, which all with AVX2 do.
    pub fn uniform(&mut self, low: f32, high: f32, len: usize) -> Vec<f32> {
        let width = high - low;
        (0..len).map(|_| self.twister.uniform_f32().mul_add(width, low)).collect()
    }

    /// For each of the next `len`, whether it comes to pass with this probability:
    /// `torch.rand(len, generator=generator) < probability`. `torch.bernoulli` draws in other ways.
    pub fn rand_below(&mut self, probability: f32, len: usize) -> Vec<bool> {
        (0..len).map(|_| self.twister.uniform_f32() < probability).collect()
    }

    /// The next `len` whole numbers from 0 to `high` − 1: `torch.randint(0, high, (len,), generator=generator)`, whose
    /// numbers are of 64 bits.
    pub fn randint(&mut self, high: NonZeroU32, len: usize) -> Vec<u32> {
        let draw = |_| match high.get() < WIDE {
            true => self.twister.next_u32() % high,
            false => (self.twister.next_u64() % u64::from(high.get())) as u32,
        };
        (0..len).map(draw).collect()
    }

    /// The numbers from 0 to `len` − 1 in the next order: `torch.randperm(len, generator=generator)`.
    pub fn randperm(&mut self, len: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..len).collect();
        if len < LONG {
            for i in 0..len.saturating_sub(1) {
                order.swap(i, i + self.twister.next_u32() as usize % (len - i));
            }
        } else {
            for i in 0..len {
                order.swap(i, (self.twister.next_u64() % (i as u64 + 1)) as usize);
            }
        }
        order
    }

    /// One standard normal in double precision, the way PyTorch draws fewer than 16.
    fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let (u1, u2) = (self.twister.uniform_f64(), self.twister.uniform_f64());
        let radius = (-2.0 * libm::log1p(-u2)).sqrt();
        self.spare = Some(radius * libm::sin(TAU * u1));
        radius * libm::cos(TAU * u1)
    }

    /// Where the generator stands, with which [`Generator::from_state`] goes on: the very bytes of
    /// `generator.get_state()`, which `generator.set_state` takes (`ATen/CPUGeneratorImpl.cpp`, `CPUGeneratorImplState`).
    pub fn state(&self) -> Vec<u8> {
        let mut bytes = vec![0; STATE_BYTES];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(SEED, &self.seed.to_le_bytes());
        put(LEFT, &(self.twister.left as u32).to_le_bytes());
        put(SEEDED, &1_u32.to_le_bytes());
        put(NEXT, &(self.twister.next as u64).to_le_bytes());
        for (i, word) in self.twister.words.iter().enumerate() {
            put(FIRST_WORD + 8 * i, &word.to_le_bytes());
        }
        put(SPARE, &self.spare.unwrap_or(0.0).to_le_bytes());
        put(HAS_SPARE, &u32::from(self.spare.is_some()).to_le_bytes());
        bytes
    }

    /// The generator whose [`Generator::state`] this is, or whose `get_state()` in PyTorch.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_state(state: &[u8]) -> Result<Self> {
        let invalid = |problem: String| Err(Error::State(format!("The state of the random generator {problem}")));
        if state.len() != STATE_BYTES {
            return invalid(format!("has {} bytes; PyTorch's and this engine's have {STATE_BYTES}.", state.len()));
        }
        let number = |at: usize, len: usize| {
            let mut bytes = [0; 8];
            bytes[..len].copy_from_slice(&state[at..at + len]);
            u64::from_le_bytes(bytes)
        };
        let (left, next) = (number(LEFT, 4), number(NEXT, 8));
        // As many words are left as have not been used; a new generator makes its first ones when they are asked for.
        let fits = match next {
            0 => left == 1,
            _ => next <= WORDS as u64 && left == WORDS as u64 + 1 - next,
        };
        if number(SEEDED, 4) != 1 || !fits {
            return invalid(format!("is damaged: it says that word {next} is next, and that {left} are left."));
        }
        let mut words = [0; WORDS];
        for (i, word) in words.iter_mut().enumerate() {
            let found = number(FIRST_WORD + 8 * i, 8);
            *word = match u32::try_from(found) {
                Ok(word) => word,
                Err(_) => return invalid(format!("is damaged: its word {i} is {found}, of more than 32 bits.")),
            };
        }
        let spare = f64::from_bits(number(SPARE, 8));
        let spare = match number(HAS_SPARE, 4) {
            0 => None,
            1 if spare.is_finite() => Some(spare),
            _ => return invalid(format!("is damaged: it keeps the normal {spare}.")),
        };
        let twister = MersenneTwister { words, left: left as usize, next: next as usize };
        Ok(Generator { twister, seed: number(SEED, 8), spare })
    }
}

/// Where the parts of a state are: the seed (8 bytes), `left` (4), whether it was seeded (4), `next` (8), the words (8 each),
/// the spare normal (8, behind another that is not used) and whether there is one (4, behind one more). What is left is
/// for generators of other devices.
const STATE_BYTES: usize = 5056;
const SEED: usize = 0;
const LEFT: usize = 8;
const SEEDED: usize = 12;
const NEXT: usize = 16;
const FIRST_WORD: usize = 24;
const SPARE: usize = FIRST_WORD + 8 * WORDS + 8;
const HAS_SPARE: usize = SPARE + 16;

/// How many uniforms PyTorch transforms at a time.
const BLOCK: usize = 16;

/// Turns 16 uniforms into 16 normals in place: the first eight are radii, the last eight angles.
fn box_muller(block: &mut [f32]) {
    for j in 0..BLOCK / 2 {
        let radius = (-2.0 * libm::logf(1.0 - block[j])).sqrt();
        let angle = TAU as f32 * block[j + BLOCK / 2];
        block[j] = radius * libm::cosf(angle);
        block[j + BLOCK / 2] = radius * libm::sinf(angle);
    }
}
