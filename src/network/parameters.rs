//! The network's parameters: which there are, and what has arrived of them.

use std::collections::HashMap;
use std::rc::Rc;

use crate::graph::LARGEST;
use crate::state::State;
use crate::tensor::scatter;
use crate::{Error, Result, Shape, Tensor, Weights};

/// A parameter as the network's layout declares it: a value in device layout, packed from tensors of the checkpoint.
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) shape: Shape,
    /// Whether it is a weight, which may be kept in 16 bits; else it is a bias, or what a GroupNorm is made of.
    pub(crate) is_weight: bool,
    /// Whether it is what time and class alone are computed with.
    pub(crate) is_condition: bool,
    /// Whether training changes it: all but the frequencies of a Fourier projection (diffusers, `requires_grad=False`).
    pub(crate) is_learned: bool,
    pub(crate) tensors: Vec<PackedTensor>,
}

/// A tensor of the checkpoint, and where its numbers go in a parameter.
pub(crate) struct PackedTensor {
    path: String,
    shape: Vec<usize>,
    place: Box<dyn Fn(usize) -> usize>,
}

impl PackedTensor {
    /// The tensor at `path`, which must have exactly this shape; its i-th number is that at `place(i)` of the parameter.
    pub(crate) fn new(path: &str, shape: &[usize], place: impl Fn(usize) -> usize + 'static) -> Self {
        PackedTensor { path: path.into(), shape: shape.to_vec(), place: Box::new(place) }
    }
}

/// A parameter, and where it is.
struct Placed {
    parameter: Parameter,
    /// The state that it is a range of, and where that begins.
    state: Rc<State>,
    first: usize,
    /// Which of its tensors have arrived.
    arrived: Vec<bool>,
}

/// A parameter that training changes.
pub(crate) struct Learned<'a> {
    /// The path it has in the checkpoint, or what the network calls it.
    pub(crate) name: &'a str,
    /// In device layout.
    pub(crate) shape: &'a Shape,
    /// The state that it is a range of.
    pub(crate) state: &'a Rc<State>,
    /// Where that range begins.
    pub(crate) first: usize,
}

/// All parameters of a network, and what has arrived of them.
#[derive(Default)]
pub(crate) struct Parameters {
    /// In the order of the layers.
    parameters: Vec<Placed>,
    /// Which of them has a name.
    named: HashMap<String, usize>,
    /// Of each tensor, by its path in the checkpoint, the parameter that it is packed in, and which of that one's it is.
    places: HashMap<String, (usize, usize)>,
    /// Tensors of old paths. Those of today's paths count, and may be still to come.
    legacy: Vec<(String, Tensor)>,
    /// What stands before the paths of the files' tensors, once one has told.
    pub(crate) prefix: Option<String>,
    /// Tensors of the files that the network has no place for.
    pub(crate) unplaced: Vec<String>,
    /// What a person may want to know of how the weights were read.
    notes: Vec<String>,
}

/// The most numbers that parameters share a state with: 64 MiB. A larger parameter has one of its own.
const STATE: usize = 16 << 20;

impl Parameters {
    /// Gives the parameters of a network their places.
    ///
    /// Weights and others are ranges of different states, since a GPU may keep weights in 16 bits. So are those that are
    /// conditions, since the CPU computes these whatever the backend, and no GPU needs them then.
    ///
    /// # Errors
    /// When a tensor would be larger than 1 GiB.
    pub(crate) fn new(declared: Vec<Parameter>) -> Result<Self> {
        let mut all = Parameters::default();
        for parameter in &declared {
            for PackedTensor { path, shape, .. } in &parameter.tensors {
                let len = shape.iter().try_fold(1_usize, |len, &dim| len.checked_mul(dim));
                if len.is_none_or(|len| len > LARGEST) {
                    let problem = format!("would need {path} with shape {shape:?}, which is more than 1 GiB.");
                    return Err(Error::Weights(problem));
                }
            }
        }
        let kinds = [
            ("conditions.weights", true, true, true),
            ("conditions.vectors", false, true, true),
            ("weights", true, false, true),
            ("vectors", false, false, true),
            ("fixed", false, true, false),
        ];
        let mut homes: HashMap<String, (Rc<State>, usize)> = HashMap::new();
        for (kind, is_weight, is_condition, is_learned) in kinds {
            let of_kind =
                declared.iter().filter(|Parameter { is_weight: a, is_condition: b, is_learned: c, .. }| {
                    (*a, *b, *c) == (is_weight, is_condition, is_learned)
                });
            let mut states: Vec<Vec<(String, usize)>> = Vec::new();
            let mut len = STATE;
            for Parameter { name, shape, .. } in of_kind {
                if len.saturating_add(shape.len()) > STATE {
                    states.push(Vec::new());
                    len = 0;
                }
                len = (len + shape.len()).next_multiple_of(State::ALIGNMENT);
                states.last_mut().expect("begun above").push((name.clone(), shape.len()));
            }
            for (i, ranges) in states.into_iter().enumerate() {
                let state = Rc::new(State::awaited(&format!("{kind}.{i}"), ranges));
                for range in &*state.ranges() {
                    homes.insert(range.name.clone(), (state.clone(), range.first));
                }
            }
        }
        for (index, parameter) in declared.into_iter().enumerate() {
            for (i, tensor) in parameter.tensors.iter().enumerate() {
                all.places.insert(tensor.path.clone(), (index, i));
            }
            let (state, first) = homes.remove(&parameter.name).expect("placed above");
            all.named.insert(parameter.name.clone(), index);
            let arrived = vec![false; parameter.tensors.len()];
            all.parameters.push(Placed { parameter, state, first, arrived });
        }
        Ok(all)
    }

    /// What training changes, in the order of the layers.
    pub(crate) fn learned(&self) -> impl Iterator<Item = Learned<'_>> {
        let learned = self.parameters.iter().filter(|placed| placed.parameter.is_learned);
        learned.map(|Placed { parameter, state, first, .. }| Learned {
            name: &parameter.name,
            shape: &parameter.shape,
            state,
            first: *first,
        })
    }

    /// The states of all parameters.
    pub(crate) fn states(&self) -> Vec<Rc<State>> {
        let mut states: Vec<Rc<State>> = Vec::new();
        for Placed { state, .. } in &self.parameters {
            if !states.iter().any(|other| Rc::ptr_eq(other, state)) {
                states.push(state.clone());
            }
        }
        states
    }

    /// The checkpoint's tensors, by their paths, of numbers that lie as the parameters do: these themselves, their
    /// gradients, or an average of them. `numbers` are those of a state, if it has any.
    pub(crate) fn tensors<'a>(&self, numbers: impl Fn(&Rc<State>) -> Option<&'a [f32]>) -> Vec<(String, Tensor)> {
        let mut tensors = Vec::with_capacity(self.places.len());
        for Placed { parameter, state, first, .. } in &self.parameters {
            let Some(numbers) = numbers(state) else { continue };
            for PackedTensor { path, shape, place } in &parameter.tensors {
                let len = shape.iter().product();
                let data = (0..len).map(|i| numbers[first + place(i)]).collect();
                tensors.push((path.clone(), Tensor { shape: shape.clone(), data }));
            }
        }
        tensors
    }

    /// Puts the checkpoint's tensors where numbers lie that lie as the parameters do: in what `of` says for a state, if
    /// anything.
    ///
    /// # Errors
    /// When one is missing or of another shape, or there is no memory for it.
    pub(crate) fn put_tensors(&self, tensors: &Weights, of: impl Fn(&Rc<State>) -> Option<Rc<State>>) -> Result<()> {
        for Placed { parameter, state, first, .. } in &self.parameters {
            let Some(state) = of(state) else { continue };
            for PackedTensor { path, shape, place } in &parameter.tensors {
                let tensor = tensors.get(path).filter(|tensor| tensor.shape == *shape);
                let Some(tensor) = tensor else {
                    return Err(Error::Weights(format!("has no tensor {path} with shape {shape:?}.")));
                };
                scatter(&tensor.data, &mut state.host()?[*first..][..parameter.shape.len()], place);
            }
        }
        Ok(())
    }

    /// The state that a parameter is a range of, and where that begins.
    pub(crate) fn place_of(&self, name: &str) -> (&Rc<State>, usize) {
        let Placed { state, first, .. } = &self.parameters[self.named[name]];
        (state, *first)
    }

    /// How many numbers of the checkpoint are in the parameter of this name.
    pub(crate) fn count_of(&self, name: &str) -> usize {
        self.named.get(name).map_or(0, |&index| self.parameters[index].count())
    }

    /// How many numbers of the checkpoint there are in all.
    pub(crate) fn count(&self) -> usize {
        self.parameters.iter().map(Placed::count).fold(0, usize::saturating_add)
    }

    /// How many tensors the checkpoint has.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// The paths of all tensors of the checkpoint.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// The shape of the tensor at a path, of today or of old, if there is one.
    pub(crate) fn shape_of(&self, path: &str) -> Option<&[usize]> {
        self.place(path).map(|(index, tensor, _)| &self.parameters[index].parameter.tensors[tensor].shape[..])
    }

    /// Notes something that a person may want to know; once, however many shards say it.
    pub(crate) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// What was noted.
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Packs a tensor that has arrived.
    ///
    /// # Errors
    /// When there is no place for it, it has another shape, it has arrived before, or there is no memory for it.
    pub(crate) fn receive(&mut self, path: &str, tensor: Tensor) -> Result<()> {
        let expected = self.shape_of(path);
        if expected != Some(&tensor.shape) {
            return Err(Error::Weights(format!(
                "has {path} with shape {:?}, where the network has {expected:?}.",
                tensor.shape
            )));
        }
        let again = match self.place(path) {
            Some((index, i, true)) => self.parameters[index].receive(i, &tensor)?,
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
    pub(crate) fn forget(&mut self, paths: &[String]) {
        for path in paths {
            match self.place(path) {
                Some((index, i, true)) => self.parameters[index].forget(i),
                _ => self.legacy.retain(|(legacy, _)| legacy != path),
            }
        }
        // Of a network of which nothing is left nothing is known either.
        if !self.parameters.iter().any(|placed| placed.arrived.contains(&true)) {
            self.notes.clear();
            self.unplaced.clear();
            self.prefix = None;
        }
    }

    /// Checks that all tensors have arrived, and takes those of old paths where there is none of today's.
    ///
    /// # Errors
    /// When one is missing: the configuration then describes another network than the one trained.
    pub(crate) fn finish(&mut self) -> Result<()> {
        // In the order of their names, whichever came first.
        self.legacy.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let place = |(path, _): &(String, Tensor)| self.place(path).map(|(index, i, _)| (index, i));
        let late: Vec<(usize, usize)> = self.legacy.iter().filter_map(place).collect();
        for (index, placed) in self.parameters.iter().enumerate() {
            let missing = |&i: &usize| !placed.arrived[i] && !late.contains(&(index, i));
            if let Some(i) = (0..placed.arrived.len()).find(missing) {
                let PackedTensor { path, shape, .. } = &placed.parameter.tensors[i];
                return Err(Error::Weights(format!(
                    "has no tensor {path}, which the configuration asks for with shape {shape:?}. The configuration and \
                     the weights may be of different models.{}",
                    self.unplaced.first().map_or(String::new(), |path| format!(" It has {path}, which has no place."))
                )));
            }
        }
        for ((index, i), (_, tensor)) in late.into_iter().zip(std::mem::take(&mut self.legacy)) {
            // Of a tensor that stands there under two paths, that of today counts, or else the first.
            if !self.parameters[index].arrived[i] {
                self.parameters[index].receive(i, &tensor)?;
            }
        }
        self.parameters.iter().for_each(|placed| placed.state.settle());
        Ok(())
    }

    /// Where the tensor at a path belongs: the parameter, which of its tensors it is, and whether it is called so today.
    fn place(&self, path: &str) -> Option<(usize, usize, bool)> {
        match self.places.get(path) {
            Some(&(index, i)) => Some((index, i, true)),
            None => self.places.get(&path_of_today(path)).map(|&(index, i)| (index, i, false)),
        }
    }
}

impl Placed {
    fn count(&self) -> usize {
        self.parameter.tensors.iter().map(|tensor| tensor.shape.iter().product()).fold(0, usize::saturating_add)
    }

    /// Packs one of its tensors: whether it had arrived before.
    fn receive(&mut self, i: usize, tensor: &Tensor) -> Result<bool> {
        if self.arrived[i] {
            return Ok(true);
        }
        let len = self.parameter.shape.len();
        scatter(&tensor.data, &mut self.state.host()?[self.first..][..len], &self.parameter.tensors[i].place);
        self.arrived[i] = true;
        if self.arrived.iter().all(|&arrived| arrived) {
            self.state.changed(self.state.range_at(self.first));
        }
        Ok(false)
    }

    /// Awaits one of its tensors again. Those that have arrived stay.
    fn forget(&mut self, i: usize) {
        self.arrived[i] = false;
        self.state.await_again(self.state.range_at(self.first));
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
