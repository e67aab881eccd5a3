//! The numbers of a constant, which need not be there when a network is laid out.

use std::fmt;
use std::rc::Rc;

/// Numbers in device layout that never change once they are known. A graph and its plan are made of the shapes of constants
/// alone, so both can be made, and compiled, while a checkpoint is still arriving.
#[derive(Clone)]
pub struct Numbers(Rc<dyn Fn() -> Option<Rc<[f32]>>>);

impl Numbers {
    /// What `known` gives whenever it is asked: `None` as long as they are not known.
    pub(crate) fn new(known: impl Fn() -> Option<Rc<[f32]>> + 'static) -> Self {
        Numbers(Rc::new(known))
    }

    /// The numbers, if they are known by now. Those that follow from others are computed anew each time.
    pub fn get(&self) -> Option<Rc<[f32]>> {
        (self.0)()
    }
}

impl From<Vec<f32>> for Numbers {
    fn from(numbers: Vec<f32>) -> Self {
        let numbers: Rc<[f32]> = numbers.into();
        Numbers::new(move || Some(numbers.clone()))
    }
}

impl fmt::Debug for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Numbers")
    }
}
