//! Numbers that outlive a plan: a network's parameters, and what training keeps beside them.

use std::any::Any;
use std::cell::{Cell, Ref, RefCell, RefMut};
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

use crate::{Error, Result};

/// Numbers that a device holds once, for all plans that read or change them. A plan that is made anew, for other images or
/// with guidance, finds them where they are.
///
/// It is cut into ranges, one a parameter, each of which has a name and becomes known by itself: graphs, plans and executors
/// are made while a checkpoint is still arriving.
///
/// The host's numbers are those of the CPU, and what GPUs take theirs from. Once a GPU has all of them in 32 bits, and nothing on the CPU
/// needs them, the host lets them go; what is to run on the CPU later fetches them back.
pub struct State {
    name: String,
    len: usize,
    ranges: RefCell<Vec<Range>>,
    /// The latest revision of any range.
    latest: Cell<u64>,
    host: RefCell<Option<Vec<f32>>>,
    /// How many plans on the CPU read or change them.
    pinned: Cell<usize>,
    /// Whether no more is to come of what its numbers are packed from.
    settled: Cell<bool>,
    /// What GPUs hold of it, which only they understand.
    held: RefCell<Vec<Rc<dyn Any>>>,
}

/// A part of a state that is known or not as a whole.
#[derive(Clone, Debug)]
pub struct Range {
    /// The path that it has in a checkpoint, or what the network calls it.
    pub name: String,
    /// Where it begins in the state, in numbers.
    pub first: usize,
    /// How many numbers it is.
    pub len: usize,
    /// 0 while its numbers are awaited; a larger number each time they have become others.
    pub revision: u64,
}

impl State {
    /// Where ranges begin: bindings must begin at multiples of 256 bytes, in 16 bits too.
    pub(crate) const ALIGNMENT: usize = 128;

    /// A state whose ranges of these names and lengths are awaited.
    pub(crate) fn awaited(name: &str, ranges: impl IntoIterator<Item = (String, usize)>) -> Self {
        let mut len = 0;
        let place = |(name, range): (String, usize)| {
            let first = len;
            len = (len + range).next_multiple_of(State::ALIGNMENT);
            Range { name, first, len: range, revision: 0 }
        };
        let ranges = RefCell::new(ranges.into_iter().map(place).collect());
        State {
            name: name.into(),
            len,
            ranges,
            latest: Cell::default(),
            host: RefCell::default(),
            pinned: Cell::default(),
            settled: Cell::default(),
            held: RefCell::default(),
        }
    }

    /// What training keeps beside another state, of the same length: zeros, until it is given numbers.
    pub(crate) fn beside(kind: &str, other: &State) -> Self {
        let name = format!("{}.{kind}", other.name);
        State { len: other.len, ..State::awaited(&name, [(name.clone(), other.len)]) }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many numbers it has.
    pub fn size(&self) -> usize {
        self.len
    }

    /// Its ranges, in order.
    pub fn ranges(&self) -> Ref<'_, [Range]> {
        Ref::map(self.ranges.borrow(), Vec::as_slice)
    }

    /// The number of the range that begins at `first`.
    ///
    /// # Panics
    /// When none does.
    pub(crate) fn range_at(&self, first: usize) -> usize {
        let ranges = self.ranges.borrow();
        ranges.binary_search_by_key(&first, |range| range.first).expect("a parameter is a range of its state")
    }

    /// The host's numbers; those that are awaited are zero.
    ///
    /// # Errors
    /// When there is no memory for them, or a GPU alone has those that are known.
    pub(crate) fn host(&self) -> Result<RefMut<'_, [f32]>> {
        let mut host = self.host.borrow_mut();
        if host.is_none() {
            if self.ranges.borrow().iter().any(|range| range.revision > 0) {
                let problem = "A GPU has the weights, and the host has not. Read the model again.";
                return Err(Error::Gpu(problem.into()));
            }
            let mut numbers = Vec::new();
            numbers.try_reserve_exact(self.len).map_err(|_| {
                Error::Settings(format!("There is no memory for {} MB of weights.", (4 * self.len).div_ceil(1 << 20)))
            })?;
            numbers.resize(self.len, 0.0);
            *host = Some(numbers);
        }
        Ok(RefMut::map(host, |host| host.as_mut().expect("just made").as_mut_slice()))
    }

    /// The host's numbers, of a state that has them.
    pub fn on_host(&self) -> Option<Ref<'_, [f32]>> {
        Ref::filter_map(self.host.borrow(), |host| host.as_deref()).ok()
    }

    /// Keeps the host's numbers as long as what it returns lives.
    ///
    /// # Errors
    /// As [`State::host`].
    pub(crate) fn pin(self: &Rc<Self>) -> Result<Pinned> {
        self.host()?;
        self.pinned.set(self.pinned.get() + 1);
        Ok(Pinned(self.clone()))
    }

    /// Nothing more is to come: the host's numbers may go.
    pub(crate) fn settle(&self) {
        self.settled.set(true);
    }

    /// Lets the host's numbers go, which a GPU has, unless they are still needed.
    pub(crate) fn release(&self) {
        if self.settled.get() && self.pinned.get() == 0 {
            *self.host.borrow_mut() = None;
        }
    }

    /// A GPU has changed the numbers: the host's are those of before.
    pub(crate) fn changed_elsewhere(&self) {
        *self.host.borrow_mut() = None;
    }

    /// Gives the host's numbers away for as long as an op changes them in place.
    pub(crate) fn take_host(&self) -> Vec<f32> {
        self.host.borrow_mut().take().expect("a plan's states are on the host when it runs there")
    }

    /// Takes the host's numbers back.
    pub(crate) fn put_host(&self, numbers: Vec<f32>) {
        *self.host.borrow_mut() = Some(numbers);
    }

    /// The numbers of a range have become others, and are all known.
    pub(crate) fn changed(&self, range: usize) {
        self.latest.set(self.latest.get() + 1);
        self.ranges.borrow_mut()[range].revision = self.latest.get();
    }

    /// The numbers of a range are awaited, perhaps again.
    pub(crate) fn await_again(&self, range: usize) {
        self.ranges.borrow_mut()[range].revision = 0;
        self.settled.set(false);
    }

    /// What a GPU holds of it, as [`State::hold`] was given it: the first that is a `T` and `is` the one.
    pub(crate) fn held<T: 'static>(&self, is: impl Fn(&T) -> bool) -> Option<Rc<T>> {
        let held = self.held.borrow();
        held.iter().filter_map(|held| held.clone().downcast::<T>().ok()).find(|held| is(held))
    }

    /// Keeps what a GPU holds of it, as long as the state lives.
    pub(crate) fn hold(&self, held: Rc<dyn Any>) {
        self.held.borrow_mut().push(held);
    }
}

/// A state whose numbers the host keeps.
pub(crate) struct Pinned(Rc<State>);

impl Deref for Pinned {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.0.pinned.set(self.0.pinned.get() - 1);
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
