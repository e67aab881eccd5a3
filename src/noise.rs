//! Seeded Gaussian noise that equals `torch.randn` of the same seed on the CPU.
//!
//! PyTorch's CPU generator is a Mersenne Twister; its normals are Box–Muller transforms of it, drawn in one of two
//! ways depending on how many are asked for (`aten/src/ATen/native/cpu/DistributionTemplates.h`,
//! `ATen/core/DistributionsHelper.h`). Logarithms and trigonometry come from `libm`, so the bits are the same on every
//! machine and in wasm; PyTorch's own vectorised ones differ from them in the last bits (up to 3e-7).

use std::f64::consts::TAU;

const STATE: usize = 624;
const PERIOD: usize = 397;

/// MT19937 (Matsumoto and Nishimura 1998), as `at::mt19937`.
#[derive(Clone)]
struct MersenneTwister {
    state: [u32; STATE],
    next: usize,
}

impl MersenneTwister {
    fn new(seed: u32) -> Self {
        let mut state = [seed; STATE];
        for i in 1..STATE {
            let previous = state[i - 1];
            state[i] = 1_812_433_253_u32.wrapping_mul(previous ^ (previous >> 30)).wrapping_add(i as u32);
        }
        MersenneTwister { state, next: STATE }
    }

    fn refill(&mut self) {
        for i in 0..STATE {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % STATE] & 0x7fff_ffff);
            let twist = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + PERIOD) % STATE] ^ (y >> 1) ^ twist;
        }
        self.next = 0;
    }

    fn next_u32(&mut self) -> u32 {
        if self.next == STATE {
            self.refill();
        }
        let mut y = self.state[self.next];
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

/// A source of standard normals: `torch.Generator().manual_seed(seed)`.
#[derive(Clone)]
pub struct Generator {
    twister: MersenneTwister,
    /// The second normal of the last pair drawn one at a time, kept for the next such draw.
    spare: Option<f64>,
}

impl Generator {
    /// A generator of this seed. As in PyTorch, only its low 32 bits count.
    pub fn new(seed: u64) -> Self {
        Generator { twister: MersenneTwister::new(seed as u32), spare: None }
    }

    /// The next `len` standard normals: `torch.randn(len, generator=generator)`.
    pub fn randn(&mut self, len: usize) -> Vec<f32> {
        if len < BLOCK {
            return (0..len).map(|_| self.normal() as f32).collect();
        }
        let mut out: Vec<f32> = (0..len).map(|_| self.twister.uniform_f32()).collect();
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
}

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
