//! A pipeline on a device.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use super::conditions::Conditions;
use crate::backend::{Backend, Executor, Pending, Progress};
use crate::passes::Fusion;
use crate::pipeline::{Layout, names};
use crate::plan::Plan;
use crate::{Pipeline, Result};

/// What is run of a pipeline.
pub(crate) struct Plans {
    layout: Layout,
    step: Plan,
    conditions: Plan,
}

impl Plans {
    /// For runs of this layout on this device.
    pub(crate) fn new(backend: &Backend, pipeline: &Pipeline, layout: Layout) -> Result<Self> {
        let step = pipeline.plan(&layout, Some(Fusion::new(backend.tuning())))?;
        Ok(Plans { layout, step, conditions: Conditions::plan(pipeline)? })
    }
}

/// A pipeline made ready on a device for runs of one layout.
pub struct Prepared {
    pub(super) executor: Executor,
    pub(super) conditions: Option<Conditions>,
    pub(super) layout: Layout,
    /// How many samplers have begun: only the latest may go on.
    pub(super) samplers: Cell<u64>,
    /// The evaluations that are under way, oldest first.
    pub(super) under_way: RefCell<VecDeque<Pending>>,
}

impl Prepared {
    /// Makes `pipeline` ready; see [`Backend::compile`].
    ///
    /// # Errors
    /// As [`Pipeline::plan`] and [`Backend::compile`].
    pub async fn new(
        backend: &Backend,
        pipeline: &Pipeline,
        layout: Layout,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Rc<Self>> {
        Self::new_telling(backend, pipeline, layout, &mut progress).await
    }

    async fn new_telling(
        backend: &Backend,
        pipeline: &Pipeline,
        layout: Layout,
        progress: Progress<'_>,
    ) -> Result<Rc<Self>> {
        let plans = Plans::new(backend, pipeline, layout)?;
        Self::from_plans(backend, plans, progress).await
    }

    /// As [`Prepared::new`], of a pipeline that need not hold still meanwhile.
    pub(crate) async fn from_plans(backend: &Backend, plans: Plans, progress: Progress<'_>) -> Result<Rc<Self>> {
        let Plans { layout, step, conditions } = plans;
        let frames = if layout.classified { &names::FRAMES_CLASSIFIED[..] } else { &names::FRAMES };
        let executor = backend.compile_telling(step, frames, progress).await?;
        let conditions = Conditions::new(conditions).await?;
        Ok(Rc::new(Prepared { executor, conditions, layout, samplers: Cell::default(), under_way: RefCell::default() }))
    }

    /// Takes over the weights that the pipeline has received since; see [`Executor::upload`].
    ///
    /// # Errors
    /// As [`Executor::upload`].
    pub fn upload(&self) -> Result<()> {
        self.executors().try_for_each(Executor::upload)
    }

    fn executors(&self) -> impl Iterator<Item = &Executor> {
        [&self.executor].into_iter().chain(self.conditions.as_ref().map(Conditions::executor))
    }

    /// What runs the plan.
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// What it was made ready for.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Ends whatever run there is, and gives the next one its number.
    pub(crate) fn begin(&self) -> u64 {
        self.under_way.borrow_mut().clear();
        self.executor.begin();
        self.samplers.set(self.samplers.get() + 1);
        self.samplers.get()
    }
}
