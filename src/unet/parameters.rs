//! The network's constants, packed from the tensors of its checkpoint as they arrive.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::graph::LARGEST;
use crate::numbers::Numbers;
use crate::tensor::scatter;
use crate::{Error, Result, Shape, Tensor};

/// The constants that a network was found to be made of when it was first laid out, and what has arrived of them.
#[derive(Default)]
pub(super) struct Parameters {
    /// In the order of the layers.
    parameters: Vec<Parameter>,
    /// Which of them has a name.
    named: HashMap<String, usize>,
    /// Of each tensor, by its path in the checkpoint, the parameter that it is a part of, and which.
    places: HashMap<String, (usize, usize)>,
    /// Tensors of old paths. Those of today's paths count, and may be still to come.
    legacy: Vec<(String, Tensor)>,
    /// What stands before the paths of the files' tensors, once one has told.
    pub(super) prefix: Option<String>,
    /// Tensors that came beside those of the network.
    pub(super) aside: Vec<String>,
    /// What a person may want to know of how the weights were read.
    notes: Vec<String>,
}

/// A constant of the network in device layout.
struct Parameter {
    shape: Shape,
    parts: Vec<Part>,
    /// What it has of its parts until all are there.
    packed: Vec<f32>,
    /// All of it.
    whole: Rc<RefCell<Option<Rc<[f32]>>>>,
}

/// Puts the numbers of a tensor into a constant.
type Pack = dyn Fn(&[f32], &mut [f32]);

/// A tensor of the checkpoint, and where its numbers go in a parameter.
pub(super) struct Part {
    path: String,
    shape: Vec<usize>,
    pack: Box<Pack>,
    arrived: bool,
}

impl Part {
    /// The tensor at `path`, which must have exactly this shape; its i-th number becomes that at `place(i)` of the constant.
    pub(super) fn new(path: &str, shape: &[usize], place: impl Fn(usize) -> usize + 'static) -> Self {
        let pack = move |from: &[f32], to: &mut [f32]| scatter(from, to, &place);
        Part { path: path.into(), shape: shape.to_vec(), pack: Box::new(pack), arrived: false }
    }
}

impl Parameters {
    /// The constant `name` of this shape, whose numbers are those of `parts`, and zero.
    ///
    /// # Errors
    /// When a part would be larger than 1 GiB.
    pub(super) fn get(
        &mut self,
        name: &str,
        shape: Shape,
        parts: impl IntoIterator<Item = Part>,
    ) -> Result<(Shape, Numbers)> {
        let index = match self.named.get(name) {
            Some(&index) => index,
            None => self.expect(name, shape, parts.into_iter().collect())?,
        };
        let Parameter { shape, whole, .. } = &self.parameters[index];
        let whole = whole.clone();
        Ok((shape.clone(), Numbers::new(move || whole.borrow().clone())))
    }

    fn expect(&mut self, name: &str, shape: Shape, parts: Vec<Part>) -> Result<usize> {
        let index = self.parameters.len();
        for (i, Part { path, shape, .. }) in parts.iter().enumerate() {
            let len = shape.iter().try_fold(1_usize, |len, &dim| len.checked_mul(dim));
            if len.is_none_or(|len| len > LARGEST) {
                let problem = format!("would need {path} with shape {shape:?}, which is more than 1 GiB.");
                return Err(Error::Weights(problem));
            }
            self.places.insert(path.clone(), (index, i));
        }
        self.parameters.push(Parameter { shape, parts, packed: Vec::new(), whole: Rc::default() });
        self.named.insert(name.into(), index);
        Ok(index)
    }

    /// How many numbers of the checkpoint are in the constant of this name.
    pub(super) fn count_of(&self, name: &str) -> usize {
        self.named.get(name).map_or(0, |&index| self.parameters[index].count())
    }

    /// How many numbers of the checkpoint there are in all.
    pub(super) fn count(&self) -> usize {
        self.parameters.iter().map(Parameter::count).fold(0, usize::saturating_add)
    }

    /// How many tensors the checkpoint has.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The paths of all tensors of the checkpoint.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// The shape of the tensor at a path, of today or of old, if there is one.
    pub(super) fn shape_of(&self, path: &str) -> Option<&[usize]> {
        self.place(path).map(|(parameter, part, _)| &self.parameters[parameter].parts[part].shape[..])
    }

    /// Notes something that a person may want to know; once, however many shards say it.
    pub(super) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// What was noted.
    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Packs a tensor that has arrived.
    ///
    /// # Errors
    /// When there is no place for it, it has another shape, or it has arrived before.
    pub(super) fn receive(&mut self, path: &str, tensor: Tensor) -> Result<()> {
        let expected = self.shape_of(path);
        if expected != Some(&tensor.shape) {
            return Err(Error::Weights(format!(
                "has {path} with shape {:?}, where the network has {expected:?}.",
                tensor.shape
            )));
        }
        let again = match self.place(path) {
            Some((parameter, part, true)) => self.parameters[parameter].receive(part, &tensor),
            _ => {
                let again = self.legacy.iter().any(|(legacy, _)| legacy == path);
                self.legacy.push((path.into(), tensor));
                again
            }
        };
        if again {
            return Err(Error::Weights(format!("has {path} in two of its shards.")));
        }
        Ok(())
    }

    /// Takes back that these tensors have arrived, and what was noted.
    pub(super) fn forget(&mut self, paths: &[String]) {
        for path in paths {
            match self.place(path) {
                Some((parameter, part, true)) => self.parameters[parameter].forget(part),
                _ => self.legacy.retain(|(legacy, _)| legacy != path),
            }
        }
        // Of a network of which nothing is left nothing is known either.
        if !self.parameters.iter().any(|parameter| parameter.parts.iter().any(|part| part.arrived)) {
            self.notes.clear();
            self.aside.clear();
            self.prefix = None;
        }
    }

    /// Checks that all tensors have arrived, and takes those of old paths where there is none of today's.
    ///
    /// # Errors
    /// When one is missing: the configuration then describes another network than the one trained.
    pub(super) fn finish(&mut self) -> Result<()> {
        // In the order of their names, whichever came first.
        self.legacy.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let place = |(path, _): &(String, Tensor)| self.place(path).map(|(parameter, part, _)| (parameter, part));
        let late: Vec<(usize, usize)> = self.legacy.iter().filter_map(place).collect();
        for (index, parameter) in self.parameters.iter().enumerate() {
            let missing = |(i, part): &(usize, &Part)| !part.arrived && !late.contains(&(index, *i));
            if let Some((_, Part { path, shape, .. })) = parameter.parts.iter().enumerate().find(missing) {
                return Err(Error::Weights(format!(
                    "has no tensor {path}, which the configuration asks for with shape {shape:?}. The configuration and \
                     the weights may be of different models.{}",
                    self.aside.first().map_or(String::new(), |path| format!(" It has {path}, which has no place."))
                )));
            }
        }
        for ((parameter, part), (_, tensor)) in late.into_iter().zip(std::mem::take(&mut self.legacy)) {
            // Of a tensor that stands there under two paths, that of today counts, or else the first.
            self.parameters[parameter].receive(part, &tensor);
        }
        Ok(())
    }

    /// Where the tensor at a path belongs: the parameter, its part, and whether it is called so today.
    fn place(&self, path: &str) -> Option<(usize, usize, bool)> {
        match self.places.get(path) {
            Some(&(parameter, part)) => Some((parameter, part, true)),
            None => self.places.get(&path_of_today(path)).map(|&(parameter, part)| (parameter, part, false)),
        }
    }
}

impl Parameter {
    fn count(&self) -> usize {
        self.parts.iter().map(|part| part.shape.iter().product()).fold(0, usize::saturating_add)
    }

    /// Packs a part of its shape: whether it had arrived before.
    fn receive(&mut self, part: usize, tensor: &Tensor) -> bool {
        let Part { pack, arrived, .. } = &mut self.parts[part];
        if std::mem::replace(arrived, true) {
            return true;
        }
        self.packed.resize(self.shape.len(), 0.0);
        pack(&tensor.data, &mut self.packed);
        if self.parts.iter().all(|part| part.arrived) {
            *self.whole.borrow_mut() = Some(std::mem::take(&mut self.packed).into());
        }
        false
    }

    fn forget(&mut self, part: usize) {
        self.parts[part].arrived = false;
        let whole = self.whole.take();
        if !self.parts.iter().any(|part| part.arrived) {
            self.packed = Vec::new();
        } else if let Some(whole) = whole {
            self.packed = whole.to_vec(); // its other parts stay
        }
    }
}

/// The path that a tensor of an old checkpoint has today (diffusers `models/modeling_utils.py`,
/// `_convert_deprecated_attention_blocks`, and `scripts/change_naming_configs_and_checkpoints.py`).
fn path_of_today(path: &str) -> String {
    const PARTS: [(&str, &str); 3] =
        [("downsample_blocks.", "down_blocks."), ("upsample_blocks.", "up_blocks."), ("mid.", "mid_block.")];
    const LAYERS: [(&str, &str); 8] = [
        (".query.", ".to_q."),
        (".key.", ".to_k."),
        (".value.", ".to_v."),
        (".proj_attn.", ".to_out.0."),
        (".op.", ".conv."),
        (".Conv2d_0.", ".conv."),
        ("time_proj.W", "time_proj.weight"),
        ("._orig_mod.", "."), // a block that torch.compile had wrapped
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
