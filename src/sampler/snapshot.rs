//! Where a run stands between two evaluations.

use crate::schedule::{REGISTERS, Schedule};
use crate::{Error, Result, Shape, Tensor};

/// Where a run stands between two evaluations: all that those after it follow from, beside the model and the settings. A run
/// that [`Sampler::resume`](super::Sampler::resume)s from it with the same settings ends in the same bits as one that was
/// never interrupted, on the same backend; with other settings it is a fork of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// How many evaluations are done: the row of the schedule that is next.
    pub row: usize,
    /// x_t in the sampler's own scale: `[N, C, H, W]`.
    pub sample: Tensor,
    /// What earlier evaluations kept for later ones: `[registers, N, C, H, W]`.
    pub kept: Tensor,
    /// Where the random generators stand ([`Generator::state`](crate::random::Generator::state)): one an image, or one, which
    /// stands for all. Empty: they begin anew, as the seeds of the settings say.
    pub generators: Vec<Vec<u8>>,
}

impl Snapshot {
    /// Takes what the device has: x_t and the registers in device layout, the images of one register after those of
    /// another.
    pub(super) fn from_device(
        row: usize,
        shape: &Shape,
        sample: &[f32],
        kept: &[f32],
        generators: Vec<Vec<u8>>,
    ) -> Result<Self> {
        let [n, h, w, c] = shape.nhwc("Snapshot")?;
        let mut kept = Tensor::from_device(&Shape::new(&[REGISTERS * n, h, w, c]), kept)?;
        kept.shape = vec![REGISTERS, n, c, h, w];
        Ok(Snapshot { row, sample: Tensor::from_device(shape, sample)?, kept, generators })
    }

    /// x_t and the registers in device layout.
    pub(super) fn to_device(&self) -> Result<(Vec<f32>, Vec<f32>)> {
        let [_, n, c, h, w] = self.kept.shape[..] else {
            return Err(Error::shape(
                "A snapshot's registers",
                "[registers, N, C, H, W]",
                format!("{:?}", self.kept.shape),
            ));
        };
        let kept = Tensor { shape: vec![REGISTERS * n, c, h, w], data: self.kept.data.clone() };
        Ok((self.sample.to_device()?, kept.to_device()?))
    }

    /// Checks that it is of a run like this.
    pub(super) fn check(&self, shape: &Shape, schedule: &Schedule) -> Result<()> {
        let [n, h, w, c] = shape.nhwc("Snapshot")?;
        let expected: [(&str, &Tensor, &[usize]); 2] = [
            ("The snapshot's x", &self.sample, &[n, c, h, w]),
            ("The snapshot's registers", &self.kept, &[REGISTERS, n, c, h, w]),
        ];
        for (what, tensor, shape) in expected {
            if tensor.shape != shape || tensor.data.len() != shape.iter().product::<usize>() {
                return Err(Error::shape(what, format!("{shape:?}"), format!("{:?}", tensor.shape)));
            }
        }
        let rows = schedule.rows.len();
        if self.row > rows {
            return Err(Error::State(format!(
                "The snapshot is after evaluation {} of a run that has {rows}.",
                self.row
            )));
        }
        Ok(())
    }

    /// The snapshot of a share of its images: `count` of them from number `first` on.
    ///
    /// # Errors
    /// When it does not have them.
    pub fn share(&self, first: usize, count: usize) -> Result<Self> {
        let total = self.sample.shape.first().copied().unwrap_or(0);
        if first.checked_add(count).is_none_or(|end| end > total) || self.sample.data.is_empty() {
            return Err(Error::State(format!("{count} images from number {first} on are no share of {total}.")));
        }
        let image = self.sample.data.len() / total;
        let of = |data: &[f32]| data[first * image..][..count * image].to_vec();
        let with_count = |shape: &[usize], at: usize| {
            let mut shape = shape.to_vec();
            shape[at] = count;
            shape
        };
        let kept = self.kept.data.chunks_exact(total * image).flat_map(of).collect();
        let each = self.generators.len() == total && total > 1;
        Ok(Snapshot {
            row: self.row,
            sample: Tensor { shape: with_count(&self.sample.shape, 0), data: of(&self.sample.data) },
            kept: Tensor { shape: with_count(&self.kept.shape, 1), data: kept },
            generators: if each { self.generators[first..][..count].to_vec() } else { self.generators.clone() },
        })
    }

    /// The snapshot of a batch of which these are shares, in their order.
    ///
    /// # Errors
    /// When they are not of one batch, at the same evaluation.
    pub fn join(shares: &[Snapshot]) -> Result<Self> {
        let [one, others @ ..] = shares else {
            return Err(Error::State("There is no snapshot to join.".into()));
        };
        if let Some(other) =
            others.iter().find(|other| other.row != one.row || other.sample.shape[1..] != one.sample.shape[1..])
        {
            return Err(Error::State(format!(
                "Shares of one batch stand at one evaluation and have images of one size; these stand at {} and {}, with {:?} and {:?}.",
                one.row, other.row, one.sample.shape, other.sample.shape
            )));
        }
        let count = shares.iter().map(|share| share.sample.shape[0]).sum();
        let mut sample = Tensor { shape: one.sample.shape.clone(), data: Vec::new() };
        let mut kept = Tensor { shape: one.kept.shape.clone(), data: Vec::new() };
        (sample.shape[0], kept.shape[1]) = (count, count);
        shares.iter().for_each(|share| sample.data.extend(&share.sample.data));
        for register in 0..REGISTERS {
            for Snapshot { kept: Tensor { data, .. }, .. } in shares {
                let len = data.len() / REGISTERS;
                kept.data.extend(&data[register * len..][..len]);
            }
        }
        let mut generators: Vec<Vec<u8>> = shares.iter().flat_map(|share| share.generators.iter().cloned()).collect();
        if generators.windows(2).all(|pair| pair[0] == pair[1]) {
            generators.truncate(1);
        }
        Ok(Snapshot { row: one.row, sample, kept, generators })
    }
}
