// One row of the schedule: `Coefficients` in src/op/sampling/coefficients.rs.

const REGISTERS = 5u; // of what evaluations keep for later ones

struct Keep {
    to: f32, // the register that is written, or −1
    from_x: f32,
    from_model: f32,
    from_x0: f32,
}

struct Coefficients {
    input_scale: f32,
    x0_from_x: f32,
    x0_from_model: f32,
    clip: f32,
    prev_from_x: f32,
    prev_from_model: f32,
    prev_from_x0: f32,
    prev_from_noise: f32,
    prev_from_kept: array<f32, REGISTERS>,
    keep: array<Keep, 2>,
    threshold_ratio: f32,
    threshold_max: f32,
    learned_sigma: f32, // 0: σ is 1, 1: √v, 2: between min_log and max_log
    min_log: f32,
    max_log: f32,
    guidance: f32,
    guidance_rescale: f32,
    undo_scale: f32,
    known_from_original: f32,
    known_from_noise: f32,
    langevin: f32,
    model_from_gradient: f32,
    noise_from_gradient: f32,
    pad0: f32,
    pad1: f32,
}

