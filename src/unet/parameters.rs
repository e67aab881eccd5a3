//! The network's constants, packed from the tensors of its checkpoint as they arrive.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use crate::graph::LARGEST;
use crate::numbers::Numbers;
use crate::{Error, Result, Shape, Tensor, Weights};

/// The constants that a network was found to be made of when it was first laid out, and what has arrived of them.
#[derive(Default)]
pub(super) struct Parameters {
    /// In the order of the layers.
    constants: Vec<Constant>,
    /// Which of them has a name.
    named: HashMap<String, usize>,
    /// Of each tensor, by its path in the checkpoint, the constant that it is a part of, and which.
    places: HashMap<String, (usize, usize)>,
    /// Tensors of old paths. Those of today's paths count, and may be still to come.
    legacy: BTreeMap<String, Tensor>,
    /// The paths of tensors that the network has no place for.
    unplaced: BTreeSet<String>,
}

/// A constant in device layout.
struct Constant {
    shape: Shape,
    parts: Vec<Part>,
    /// What it has of its parts until all are there.
    packed: Vec<f32>,
    /// All of it.
    whole: Rc<RefCell<Option<Rc<[f32]>>>>,
}

/// Puts the numbers of a tensor into a constant.
type Pack = dyn Fn(&[f32], &mut [f32]);

/// A tensor of the checkpoint, and where its numbers go in a constant.
pub(super) struct Part {
    path: String,
    shape: Vec<usize>,
    pack: Box<Pack>,
    arrived: bool,
}

impl Part {
    /// The tensor at `path`, which must have exactly this shape; its i-th number becomes that at `place(i)` of the constant.
    pub(super) fn new(path: &str, shape: &[usize], place: impl Fn(usize) -> usize + 'static) -> Self {
        let pack = move |from: &[f32], to: &mut [f32]| {
            for (i, &number) in from.iter().enumerate() {
                to[place(i)] = number;
            }
        };
        Part { path: path.into(), shape: shape.to_vec(), pack: Box::new(pack), arrived: false }
    }
}

impl Parameters {
    /// The constant `name` of this shape, whose numbers are those of `parts`, and zero.
    ///
    /// # Errors
    /// When a part would be larger than 1 GiB.
    pub(super) fn constant(
        &mut self,
        name: &str,
        shape: Shape,
        parts: impl IntoIterator<Item = Part>,
    ) -> Result<(Shape, Numbers)> {
        let index = match self.named.get(name) {
            Some(&index) => index,
            None => self.expect(name, shape, parts.into_iter().collect())?,
        };
        let Constant { shape, whole, .. } = &self.constants[index];
        let whole = whole.clone();
        Ok((shape.clone(), Numbers::new(move || whole.borrow().clone())))
    }

    fn expect(&mut self, name: &str, shape: Shape, parts: Vec<Part>) -> Result<usize> {
        let index = self.constants.len();
        for (i, Part { path, shape, .. }) in parts.iter().enumerate() {
            let len = shape.iter().try_fold(1_usize, |len, &dim| len.checked_mul(dim));
            if len.is_none_or(|len| len > LARGEST) {
                let problem = format!("would need {path} with shape {shape:?}, which is more than 1 GiB.");
                return Err(Error::Weights(problem));
            }
            self.places.insert(path.clone(), (index, i));
        }
        self.constants.push(Constant { shape, parts, packed: Vec::new(), whole: Rc::default() });
        self.named.insert(name.into(), index);
        Ok(index)
    }

    /// How many numbers of the checkpoint are in the constant of this name.
    pub(super) fn count_of(&self, name: &str) -> usize {
        self.named.get(name).map_or(0, |&index| self.constants[index].count())
    }

    /// How many numbers of the checkpoint there are in all.
    pub(super) fn count(&self) -> usize {
        self.constants.iter().map(Constant::count).fold(0, usize::saturating_add)
    }

    /// Packs tensors that have arrived.
    ///
    /// # Errors
    /// When one has arrived before, or has another shape than the configuration asks for.
    pub(super) fn receive(&mut self, weights: Weights) -> Result<()> {
        for (path, tensor) in weights {
            let again = match self.places.get(&path) {
                Some(&(constant, part)) => self.constants[constant].receive(part, &tensor)?,
                None => {
                    let today = path_of_today(&path);
                    match self.places.contains_key(&today) {
                        true => self.legacy.insert(path.clone(), tensor).is_some(),
                        false => !self.unplaced.insert(path.clone()),
                    }
                }
            };
            if again {
                return Err(Error::Weights(format!("has {path} in two of its shards.")));
            }
        }
        Ok(())
    }

    /// Takes back that these tensors have arrived.
    pub(super) fn forget<'a>(&mut self, paths: impl IntoIterator<Item = &'a String>) {
        for path in paths {
            match self.places.get(path) {
                Some(&(constant, part)) => self.constants[constant].forget(part),
                None => {
                    self.legacy.remove(path);
                    self.unplaced.remove(path);
                }
            }
        }
    }

    /// Checks that all tensors have arrived, and no others.
    ///
    /// # Errors
    /// When it is not so: the configuration then describes another network than the one trained.
    pub(super) fn finish(&mut self) -> Result<()> {
        for (path, tensor) in std::mem::take(&mut self.legacy) {
            let (constant, part) = self.places[&path_of_today(&path)];
            // Of a tensor that stands there under two paths, that of today counts.
            if !self.constants[constant].parts[part].arrived {
                self.constants[constant].receive(part, &tensor)?;
            }
        }
        let mut parts = self.constants.iter().flat_map(|constant| &constant.parts);
        if let Some(Part { path, shape, .. }) = parts.find(|part| !part.arrived) {
            return Err(Error::Weights(format!(
                "has no tensor {path}, which the configuration asks for with shape {shape:?}. The configuration and \
                 the weights may be of different models."
            )));
        }
        let unplaced = self.unplaced.len();
        if unplaced == 0 {
            return Ok(());
        }
        let shown = self.unplaced.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = if unplaced > 3 { format!(" and {} more", unplaced - 3) } else { String::new() };
        Err(Error::Weights(format!(
            "has tensors that the configuration has no place for: {shown}{more}. The configuration and the weights may \
             be of different models."
        )))
    }
}

impl Constant {
    fn count(&self) -> usize {
        self.parts.iter().map(|part| part.shape.iter().product()).fold(0, usize::saturating_add)
    }

    /// Packs a part: whether it had arrived before.
    fn receive(&mut self, part: usize, tensor: &Tensor) -> Result<bool> {
        let Part { path, shape, pack, arrived } = &mut self.parts[part];
        if *arrived {
            return Ok(true);
        }
        if tensor.shape != *shape {
            return Err(Error::Weights(format!(
                "has {path} with shape {:?}, but the configuration asks for {shape:?}. The configuration and the \
                 weights may be of different models.",
                tensor.shape
            )));
        }
        self.packed.resize(self.shape.len(), 0.0);
        pack(&tensor.data, &mut self.packed);
        *arrived = true;
        if self.parts.iter().all(|part| part.arrived) {
            *self.whole.borrow_mut() = Some(std::mem::take(&mut self.packed).into());
        }
        Ok(false)
    }

    fn forget(&mut self, part: usize) {
        self.parts[part].arrived = false;
        // Its other parts stay.
        if let Some(whole) = self.whole.borrow_mut().take() {
            self.packed = whole.to_vec();
        }
    }
}

/// The path that a tensor of an old checkpoint has today (diffusers `models/modeling_utils.py`,
/// `_convert_deprecated_attention_blocks`, and `scripts/change_naming_configs_and_checkpoints.py`).
fn path_of_today(path: &str) -> String {
    const PARTS: [(&str, &str); 3] =
        [("downsample_blocks.", "down_blocks."), ("upsample_blocks.", "up_blocks."), ("mid.", "mid_block.")];
    const LAYERS: [(&str, &str); 6] = [
        (".query.", ".to_q."),
        (".key.", ".to_k."),
        (".value.", ".to_v."),
        (".proj_attn.", ".to_out.0."),
        (".op.", ".conv."),
        (".Conv2d_0.", ".conv."),
    ];
    let mut today = path.to_string();
    if let Some((old, new)) = PARTS.iter().find(|(old, _)| path.starts_with(old)) {
        today = today.replacen(old, new, 1);
    }
    for (old, new) in LAYERS {
        today = today.replace(old, new);
    }
    today
}
