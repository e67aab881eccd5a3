//! Which tensors of a file are the network's, whatever stands around their names and beside them.

use std::collections::HashMap;

use super::parameters::Parameters;
use crate::weights::{AwaitedTensor, Dtype};
use crate::{Error, Result};

/// How a file calls the tensors of the network.
#[derive(Debug, Default)]
struct Naming {
    /// What stands before the path of each of them, as `module.`; often nothing.
    prefix: String,
    /// For each such prefix of a network beside it, as `ema.`, how many tensors it has.
    others: Vec<(String, usize)>,
}

impl Naming {
    /// The network of this prefix, of those with so many tensors each.
    fn new(prefix: String, mut networks: HashMap<String, usize>) -> Self {
        networks.remove(&prefix);
        networks.remove(""); // those are no other network, but what wraps this one
        Naming { prefix, others: networks.into_iter().collect() }
    }
}

impl Parameters {
    /// Says of each tensor of a file under which path the network wants it, if it does, and notes what that is not as
    /// diffusers writes it: a prefix that all of them share, or tensors that have nothing to do with the network.
    ///
    /// # Errors
    /// When the file has several networks, or one of another configuration.
    pub(crate) fn name(&mut self, tensors: &mut dyn Iterator<Item = &mut AwaitedTensor>) -> Result<()> {
        let tensors: Vec<_> = tensors.collect();
        let naming = self.naming(tensors.iter().map(|tensor| &tensor.path[..]))?;
        let mut unplaced = Vec::new();
        let mut misfits = Vec::new();
        for tensor in tensors {
            tensor.wanted = None;
            if let Some(path) = tensor.path.strip_prefix(&naming.prefix) {
                if let Some(expected) = self.shape_of(path) {
                    let found = &tensor.shape;
                    if *found != expected {
                        return Err(Error::Weights(format!(
                            "has {} with shape {found:?}, but the configuration asks for {expected:?}. The configuration \
                             and the weights may be of different models.",
                            tensor.path
                        )));
                    }
                    tensor.wanted = Some(path.into());
                } else if self.is_layer(path) && !is_bookkeeping(tensor) {
                    misfits.push(format!("{} ({})", tensor.path, tensor.dtype.name()));
                }
            }
            let of_another = || naming.others.iter().any(|(prefix, _)| tensor.path.starts_with(&prefix[..]));
            if tensor.wanted.is_none() && !of_another() {
                unplaced.push(tensor.path.clone());
            }
        }
        if !misfits.is_empty() {
            return Err(Error::Weights(format!(
                "has tensors that the configuration has no place for: {}. The configuration and the weights may be of \
                 different models.",
                list(misfits)
            )));
        }
        self.prefix.get_or_insert_with(|| naming.prefix.clone());
        if !naming.prefix.is_empty() {
            self.note(format!("The names of the weights begin with {}, which was taken off.", naming.prefix));
        }
        let another =
            |(prefix, count): &(String, usize)| format!("Another network was left aside: {prefix}* ({count} tensors).");
        let mut others: Vec<String> = naming.others.iter().map(another).collect();
        others.sort_unstable();
        others.into_iter().for_each(|note| self.note(note));
        if !unplaced.is_empty() {
            self.note(format!("The network has no place for {}: left aside.", list(unplaced.clone())));
            self.unplaced.extend(unplaced);
        }
        Ok(())
    }

    /// The prefix of the network's own tensors, which a state dict has that was saved from around it.
    fn naming<'a>(&self, paths: impl Iterator<Item = &'a str> + Clone) -> Result<Naming> {
        let mut networks: HashMap<String, usize> = HashMap::new();
        for prefix in paths.clone().filter_map(|path| self.prefix_of(path)) {
            *networks.entry(prefix.into()).or_default() += 1;
        }
        // The first shard has told.
        if let Some(prefix) = &self.prefix {
            return Ok(Naming::new(prefix.clone(), networks));
        }
        let mut whole = networks.iter().filter(|&(_, &count)| count >= self.len()).map(|(prefix, _)| prefix);
        let found = match (whole.next(), whole.next(), networks.len()) {
            (Some(one), None, _) => Some(one.clone()),
            _ if networks.contains_key("") => Some(String::new()),
            (_, _, 1) => networks.keys().next().cloned(),
            _ => None,
        };
        if let Some(prefix) = found {
            return Ok(Naming::new(prefix, networks));
        }
        if networks.is_empty() {
            let found: Vec<String> = paths.map(String::from).collect();
            if found.is_empty() {
                return Ok(Naming::default()); // another shard may have them
            }
            return Err(Error::Weights(format!(
                "has none of the network's tensors, but {}. The configuration and the weights may be of different models.",
                list(found)
            )));
        }
        let first = networks.keys().min().cloned().unwrap_or_default();
        let found = networks.into_iter().map(|(prefix, count)| format!("{prefix}* ({count})")).collect();
        Err(Error::Weights(format!(
            "has several networks: {}. Save one of them by itself, in Python: save_file({{k[{}:]: v for k, v in \
             load_file(file).items() if k.startswith('{first}')}}, 'diffusion_pytorch_model.safetensors').",
            list(found),
            first.len()
        )))
    }

    /// The shortest beginning of a path without which the network has a place for it.
    fn prefix_of<'a>(&self, path: &'a str) -> Option<&'a str> {
        let mut begin = 0;
        while self.shape_of(&path[begin..]).is_none() {
            begin += path[begin..].find('.')? + 1;
        }
        Some(&path[..begin])
    }

    /// Whether a path begins as those of the network's layers do: one that has no place is then of another configuration.
    fn is_layer(&self, path: &str) -> bool {
        const LAYERS: [&str; 4] = ["down_blocks", "up_blocks", "mid_block", "class_embedding"];
        let first = path.split('.').next().unwrap_or_default();
        LAYERS.contains(&first) || self.paths().any(|known| known.split('.').next() == Some(first))
    }
}

/// Whether a tensor is no weight: a counter, or nothing at all.
fn is_bookkeeping(tensor: &AwaitedTensor) -> bool {
    let is_counter = matches!(tensor.dtype, Dtype::I64 | Dtype::I32 | Dtype::U8 | Dtype::Bool);
    is_counter || tensor.shape.contains(&0) || tensor.path.ends_with("num_batches_tracked")
}

/// A few names, and how many more there are.
fn list(mut names: Vec<String>) -> String {
    names.sort_unstable();
    let shown = names[..names.len().min(3)].join(", ");
    if names.len() > 3 { format!("{shown} and {} more", names.len() - 3) } else { shown }
}
