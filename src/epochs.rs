//! In which order a network sees the images it learns from.

use crate::random::Generator;
use crate::{Error, Result};

/// Batches of the numbers 0 to `count` − 1, each number at most once an epoch.
///
/// The rule: an epoch begins with `torch.randperm(count, generator=generator)`, and its batches are that permutation cut
/// into pieces of `batch`, of which the last is left out if it is smaller. So has a `DataLoader` with `shuffle=True` and
/// `drop_last=True`, but for what its iterators draw besides. Nothing is drawn within an epoch.
#[derive(Clone)]
pub struct Epochs {
    count: usize,
    batch: usize,
    /// How many epochs have begun.
    epoch: u64,
    /// Where in the order the next batch begins.
    next: usize,
    /// The order of this epoch; empty before the first.
    order: Vec<usize>,
    /// Where the generator stood when the order was drawn, of which it can be drawn again.
    drawn_from: Vec<u8>,
}

impl Epochs {
    /// Batches of `batch` of `count` images, before the first epoch.
    ///
    /// # Errors
    /// When there is not one batch in an epoch.
    pub fn new(count: usize, batch: usize) -> Result<Self> {
        if batch == 0 || batch > count {
            return Err(Error::Settings(format!(
                "A batch of {batch} cannot be made of {count} images; it must be of 1 to {count}."
            )));
        }
        Ok(Epochs { count, batch, epoch: 0, next: 0, order: Vec::new(), drawn_from: Vec::new() })
    }

    /// How many batches an epoch has.
    pub fn batches(&self) -> usize {
        self.count / self.batch
    }

    /// The epoch of the batch that came last, counted from 1; 0 before the first.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The images of the next batch. Where an epoch begins, its order is drawn from `generator`.
    pub fn next_batch(&mut self, generator: &mut Generator) -> &[usize] {
        if self.order.is_empty() || self.next + self.batch > self.count {
            self.drawn_from = generator.state();
            self.order = generator.randperm(self.count);
            self.epoch = self.epoch.saturating_add(1);
            self.next = 0;
        }
        self.next += self.batch;
        &self.order[self.next - self.batch..self.next]
    }

    /// Where the batches stand, with which [`Epochs::from_state`] goes on if the generator does too. It is short: an order is
    /// kept as what it was drawn from.
    pub fn state(&self) -> Vec<u8> {
        let numbers = [self.count as u64, self.batch as u64, self.epoch, self.next as u64];
        let mut state: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        state.extend(&self.drawn_from);
        state
    }

    /// The batches whose [`Epochs::state`] this is.
    ///
    /// # Errors
    /// When it is none, or one of another number of images or size of batches than those that are wanted.
    pub fn from_state(state: &[u8], count: usize, batch: usize) -> Result<Self> {
        let damaged = || Error::State("The state of the order of the images is damaged.".into());
        let (numbers, drawn_from) = state.split_at_checked(32).ok_or_else(damaged)?;
        let numbers: Vec<u64> = numbers.as_chunks().0.iter().map(|&number| u64::from_le_bytes(number)).collect();
        let [was_count, was_batch, epoch, next] = *numbers else { return Err(damaged()) };
        if (was_count, was_batch) != (count as u64, batch as u64) {
            return Err(Error::State(format!(
                "The saved run goes over {was_count} images in batches of {was_batch}; it cannot be gone on with over {count} \
                 in batches of {batch}."
            )));
        }
        let mut epochs = Epochs::new(count, batch)?;
        if (epoch, next) == (0, 0) && drawn_from.is_empty() {
            return Ok(epochs);
        }
        let next = usize::try_from(next).map_err(|_| damaged())?;
        if epoch == 0 || next == 0 || next > count || !next.is_multiple_of(batch) {
            return Err(damaged());
        }
        epochs.order = Generator::from_state(drawn_from)?.randperm(count);
        (epochs.epoch, epochs.next, epochs.drawn_from) = (epoch, next, drawn_from.to_vec());
        Ok(epochs)
    }
}
