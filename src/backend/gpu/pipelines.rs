//! Shaders compiled to pipelines, and dispatches of them with what they are bound to.

use web_time::Instant;

use super::Gpu;
use super::timing::Timing;
use crate::backend::Progress;
use crate::graph::Kernel;
use crate::plan::{Plan, Step};
use crate::template::Define;
use crate::{Error, Precision, Result};

/// What tells one pipeline from another.
pub(super) type PipelineKey = (&'static str, Vec<Define>, Precision);

impl Gpu {
    /// Compiles every shader of a plan. `progress` hears how many of how many are compiled.
    ///
    /// # Errors
    /// When the device rejects one.
    pub(crate) async fn compile(&self, plan: &Plan, progress: Progress<'_>) -> Result<()> {
        let mut distinct: Vec<(&Step, Kernel)> = Vec::new();
        for step in plan.all_steps() {
            let kernel = step.kernel();
            if !distinct.iter().any(|(_, other)| other.pipeline() == kernel.pipeline()) {
                distinct.push((step, kernel));
            }
        }
        progress(0, distinct.len());
        for (done, (step, kernel)) in distinct.iter().enumerate() {
            self.pipeline(step, kernel).await?;
            progress(done + 1, distinct.len());
        }
        Ok(())
    }

    /// The pipeline of a kernel's shader in its precision, made the first time it is asked for.
    pub(super) async fn pipeline(&self, step: &Step, kernel: &Kernel) -> Result<wgpu::ComputePipeline> {
        let key = kernel.pipeline();
        if let Some((_, pipeline)) = self.pipelines.borrow().iter().find(|(made, _)| *made == key) {
            return Ok(pipeline.clone());
        }
        let (name, inputs) = (step.op.name(), step.inputs.len());
        self.count(|counters| counters.pipelines += 1);
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(name),
            source: wgpu::ShaderSource::Wgsl(kernel.source()),
        });
        // The binding convention: 0 is the parameters, then the inputs, then what is written.
        let entries: Vec<_> = (0..1 + step.operands().count() as u32)
            .map(|binding| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: match binding {
                        0 => wgpu::BufferBindingType::Uniform,
                        _ => wgpu::BufferBindingType::Storage { read_only: binding as usize <= inputs },
                    },
                    // Pieces of a dispatch differ by their parameters alone.
                    has_dynamic_offset: binding == 0,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let bindings = self
            .device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(name), entries: &entries });
        let layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(name),
            bind_group_layouts: &[Some(&bindings)],
            ..Default::default()
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(name),
            layout: Some(&layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: Default::default(),
            cache: None,
        });
        // The answer comes once the pipeline is compiled, so that progress tells the truth.
        if let Some(error) = scope.pop().await {
            return Err(Error::Gpu(format!("The GPU rejected the shader {name} ({error}). Use the CPU.")));
        }
        self.pipelines.borrow_mut().push((key, pipeline.clone()));
        Ok(pipeline)
    }

    /// A bind group of the one layout that every pipeline has: binding i is the i-th of `bindings`.
    pub(super) fn bind_group<'a>(
        &self,
        label: &str,
        pipeline: &wgpu::ComputePipeline,
        bindings: impl Iterator<Item = wgpu::BufferBinding<'a>>,
    ) -> wgpu::BindGroup {
        self.count(|counters| counters.bind_groups += 1);
        let entries: Vec<_> = bindings
            .enumerate()
            .map(|(binding, buffer)| wgpu::BindGroupEntry {
                binding: binding as u32,
                resource: wgpu::BindingResource::Buffer(buffer),
            })
            .collect();
        self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(label),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        })
    }

    /// Seconds that one dispatch takes, from several measurements of at least `least` seconds.
    pub(super) async fn time(&self, dispatch: &Dispatch, piece: &Piece, least: f64) -> Result<f64> {
        let mut timing = Timing::new(least);
        loop {
            let mut encoder = self.device.create_command_encoder(&Default::default());
            {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                (0..timing.repeats()).for_each(|_| dispatch.encode(&mut pass, piece));
            }
            let begin = Instant::now();
            let ticket = self.ticket(self.submit(encoder));
            self.finish(ticket).await?;
            if let Some(seconds) = timing.note(begin.elapsed().as_secs_f64()) {
                return Ok(seconds);
            }
        }
    }
}

/// One dispatch, ready to be encoded.
pub(super) struct Dispatch {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) bind_group: wgpu::BindGroup,
}

/// A dispatch, or a part of one that would take too long.
pub(super) struct Piece {
    /// Which dispatch.
    pub(super) dispatch: usize,
    /// Where its parameters are.
    pub(super) params: u32,
    pub(super) workgroups: [u32; 3],
    /// See [`pace::work`].
    pub(super) work: f64,
}

impl Dispatch {
    pub(super) fn encode(&self, pass: &mut wgpu::ComputePass<'_>, piece: &Piece) {
        let [x, y, z] = piece.workgroups;
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[piece.params]);
        pass.dispatch_workgroups(x, y, z);
    }
}
