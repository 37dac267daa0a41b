//! Dispatches made runnable once, and recorded every run: one encoder, one pass, one submit.
//!
//! Pipelines are cached on the device by their text, so programs and batch sizes share them; bind groups and the uniform
//! belong to the executable. While tiles are being chosen ([`super::tune`]) a step's dispatches are replaced. A run creates
//! neither pipelines, nor buffers, nor bind groups. With its pipeline the device keeps whether a text was proven, and beside
//! them which are refused. [`super::clock`] records runs that are measured.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard};

use rayon::prelude::*;

use super::{Buffer, Dispatch, Gpu, Kernel, Refusal, lower};
use crate::device::Tiles;
use crate::error::{Error, ErrorKind, Result};
use crate::schedule::{ALIGNMENT, Arena, Schedule, Step, aligned};

/// A schedule, ready to run on a GPU.
pub struct Executable {
    pub(super) schedule: Arc<Schedule>,
    buffers: BTreeMap<Arena, Buffer>,
    /// The dispatches of every step. They change only while tiles are chosen.
    steps: RwLock<Vec<Prepared>>,
    /// Whether there is nothing left to prove.
    settled: AtomicBool,
}

/// A step.
struct Prepared {
    tiles: Tiles,
    dispatches: Vec<Recorded>,
}

struct Recorded {
    kernel: Arc<Kernel>,
    form: String,
    bind_group: wgpu::BindGroup,
    workgroups: [u32; 2],
}

impl Recorded {
    /// Whether it is not known to be right; what does nothing is.
    fn is_unproven(&self) -> bool {
        self.workgroups[0] > 0 && !self.kernel.proven.load(Ordering::Acquire)
    }
}

impl Prepared {
    fn is_unproven(&self) -> bool {
        self.dispatches.iter().any(Recorded::is_unproven)
    }

    /// Whether it has all kernels of which one is wrong.
    fn uses(&self, refusal: &Refusal) -> bool {
        let has = |suspect: &Arc<Kernel>| self.dispatches.iter().any(|one| Arc::ptr_eq(&one.kernel, suspect));
        refusal.suspects.iter().all(has)
    }
}

impl Executable {
    /// Makes pipelines and bind groups for `schedule` over `buffers`.
    ///
    /// # Errors
    /// When a step needs too many workgroups, or a shader does not compile (it is named).
    pub async fn new(gpu: &Gpu, schedule: &Arc<Schedule>, buffers: BTreeMap<Arena, Buffer>) -> Result<Self> {
        let lowered = |step: &Step| {
            let tiles = gpu.tiles_of(schedule, step);
            (tiles, lower::lower(schedule, step, &gpu.kernel_limits, tiles))
        };
        let steps = prepare(gpu, schedule, &buffers, schedule.steps.iter().map(lowered).collect()).await?;
        let settled = AtomicBool::new(gpu.options.unproven);
        Ok(Executable { schedule: schedule.clone(), buffers, steps: RwLock::new(steps), settled })
    }

    /// As [`crate::device::Device::use_tiles`].
    pub async fn use_tiles(&self, gpu: &Gpu, step: usize, tiles: Tiles) -> Result<()> {
        let work = &self.schedule.steps[step];
        if !lower::candidates(&self.schedule, work, &gpu.kernel_limits).contains(&tiles) {
            let text = format!("{} cannot have {} tiles on {}", work.label, tiles.name(), gpu.info.name);
            return Err(Error::new(ErrorKind::Config, text));
        }
        let lowered = lower::lower(&self.schedule, work, &gpu.kernel_limits, tiles);
        let prepared = prepare(gpu, &self.schedule, &self.buffers, vec![(tiles, lowered)]).await?;
        let mut steps = self.steps.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        steps.splice(step..=step, prepared);
        self.settled.store(gpu.options.unproven, Ordering::Release);
        Ok(())
    }

    /// The tiles that a step has now.
    pub fn tiles(&self, step: usize) -> Tiles {
        self.read()[step].tiles
    }

    /// The steps of `range` with a kernel that was never proven on this device.
    ///
    /// # Errors
    /// Why one of them is refused.
    pub fn unproven(&self, gpu: &Gpu, range: Range<usize>) -> Result<Vec<usize>> {
        if self.settled.load(Ordering::Acquire) {
            return Ok(Vec::new());
        }
        let steps = self.read();
        let refusals = gpu.refusals.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        for step in &steps[range.clone()] {
            if let Some(refusal) = refusals.iter().find(|refusal| step.uses(refusal)) {
                return Err(refusal.error.clone());
            }
        }
        Ok(range.filter(|&step| steps[step].is_unproven()).collect())
    }

    /// Remembers the verdict on a step on the device: all of its kernels are proven, or those that were not are refused
    /// together, since any of them may be the wrong one.
    pub fn judge(&self, gpu: &Gpu, step: usize, verdict: Result<()>) {
        let steps = self.read();
        let unproven = steps[step].dispatches.iter().filter(|recorded| recorded.is_unproven());
        if let Err(error) = verdict {
            let suspects = unproven.map(|recorded| recorded.kernel.clone()).collect();
            let mut refusals = gpu.refusals.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            return refusals.push(Refusal { suspects, error });
        }
        for recorded in unproven {
            if !recorded.kernel.proven.swap(true, Ordering::AcqRel) {
                gpu.counts.proven.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.settled.store(!steps.iter().any(Prepared::is_unproven), Ordering::Release);
    }

    /// The forms of a step's kernels, for people.
    pub fn form(&self, step: usize) -> String {
        let mut forms = Vec::new();
        for dispatch in &self.read()[step].dispatches {
            if !forms.contains(&dispatch.form) {
                forms.push(dispatch.form.clone());
            }
        }
        forms.join(" + ")
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<Prepared>> {
        self.steps.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Records and submits the steps of `range`; does not wait.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn run(&self, gpu: &Gpu, range: Range<usize>) -> Result<()> {
        gpu.check()?;
        if self.read()[range.clone()].iter().all(|step| step.dispatches.is_empty()) {
            return Ok(());
        }
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        self.record(gpu, &mut encoder, range, 1, None);
        gpu.submit(encoder)
    }

    /// Records the steps of `range`, so many times in a row, as one pass.
    pub(super) fn record(
        &self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        range: Range<usize>,
        runs: u32,
        timestamp_writes: Option<wgpu::ComputePassTimestampWrites<'_>>,
    ) {
        let steps = self.read();
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
        let mut current: Option<&Arc<Kernel>> = None;
        let mut count = 0;
        for dispatch in (0..runs).flat_map(|_| steps[range.clone()].iter().flat_map(|step| &step.dispatches)) {
            if !current.is_some_and(|kernel| Arc::ptr_eq(kernel, &dispatch.kernel)) {
                pass.set_pipeline(&dispatch.kernel.pipeline);
                current = Some(&dispatch.kernel);
            }
            pass.set_bind_group(0, &dispatch.bind_group, &[]);
            pass.dispatch_workgroups(dispatch.workgroups[0], dispatch.workgroups[1], 1);
            count += 1;
        }
        gpu.counts.dispatches.fetch_add(count, Ordering::Relaxed);
    }
}

/// Pipelines and bind groups of steps, with one buffer for all their uniforms.
///
/// # Errors
/// When a step needs too many workgroups, or a shader does not compile (it is named).
async fn prepare(
    gpu: &Gpu,
    schedule: &Schedule,
    buffers: &BTreeMap<Arena, Buffer>,
    steps: Vec<(Tiles, Vec<Dispatch>)>,
) -> Result<Vec<Prepared>> {
    // Every dispatch's words start at an aligned offset.
    let mut params: Vec<u32> = Vec::new();
    let mut places = Vec::new();
    for dispatch in steps.iter().flat_map(|(_, dispatches)| dispatches) {
        check_workgroups(gpu, dispatch)?;
        places.push(params.len() * 4);
        params.extend(&dispatch.params);
        params.resize(aligned(params.len()), 0);
    }
    let uniforms = gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("params"),
        size: (params.len().max(ALIGNMENT) * 4) as u64,
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    gpu.counts.buffers.fetch_add(1, Ordering::Relaxed);
    gpu.queue.write_buffer(&uniforms, 0, bytemuck::cast_slice(&params));

    compile(gpu, steps.iter().flat_map(|(_, dispatches)| dispatches))?;
    let row = longest_row(gpu);
    let mut places = places.into_iter();
    let mut prepared = Vec::with_capacity(steps.len());
    for (tiles, dispatches) in steps {
        let mut recorded = Vec::with_capacity(dispatches.len());
        for (dispatch, place) in dispatches.into_iter().zip(&mut places) {
            let kernel = gpu.kernel(&dispatch).await?;
            let bind_group = bind(gpu, schedule, buffers, &dispatch, &uniforms, place)?;
            let across = (dispatch.workgroups as u32).min(row);
            let down = dispatch.workgroups.div_ceil(across.max(1) as usize) as u32;
            recorded.push(Recorded { kernel, form: dispatch.form, bind_group, workgroups: [across, down] });
        }
        prepared.push(Prepared { tiles, dispatches: recorded });
    }
    gpu.check()?;
    Ok(prepared)
}

/// Compiles the kernels that are new on as many threads as there are: a driver may take a second for one.
///
/// # Errors
/// The first in order that does not compile.
fn compile<'a>(gpu: &Gpu, dispatches: impl Iterator<Item = &'a Dispatch>) -> Result<()> {
    let mut seen = HashSet::new();
    let new: Vec<&Dispatch> = dispatches.filter(|dispatch| seen.insert(&dispatch.text)).collect();
    // A kernel's error scope is of the thread that compiles it.
    let compiled: Vec<Result<Arc<Kernel>>> =
        new.into_par_iter().map(|dispatch| pollster::block_on(gpu.kernel(dispatch))).collect();
    compiled.into_iter().try_for_each(|kernel| kernel.map(drop))
}

/// Workgroups of a dispatch that lie side by side; more go to further rows.
fn longest_row(gpu: &Gpu) -> u32 {
    /// A prime, so that the last row is rarely full.
    const SHORT: u32 = 7;
    if gpu.options.folded { SHORT } else { gpu.kernel_limits.workgroups }
}

/// Refuses more workgroups than two dimensions hold.
fn check_workgroups(gpu: &Gpu, dispatch: &Dispatch) -> Result<()> {
    if dispatch.workgroups.div_ceil(longest_row(gpu) as usize) > gpu.kernel_limits.workgroups as usize {
        let text =
            format!("{}: {} workgroups are more than the adapter can dispatch", dispatch.label, dispatch.workgroups);
        return Err(Error::new(ErrorKind::Memory, text));
    }
    Ok(())
}

fn bind(
    gpu: &Gpu,
    schedule: &Schedule,
    buffers: &BTreeMap<Arena, Buffer>,
    dispatch: &Dispatch,
    uniforms: &wgpu::Buffer,
    place: usize,
) -> Result<wgpu::BindGroup> {
    let flags: Vec<bool> = dispatch.bindings.iter().map(|b| b.writable).collect();
    let layout = gpu.layout(&flags);
    let size = |bytes: usize| std::num::NonZeroU64::new(bytes as u64);
    let params = wgpu::BufferBinding { buffer: uniforms, offset: place as u64, size: size(dispatch.params.len() * 4) };
    let mut entries = vec![wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(params) }];
    for (i, bound) in dispatch.bindings.iter().enumerate() {
        let (arena, range) = bound.range(schedule);
        // An empty tensor may lie at the end of its arena, and a binding must not be empty.
        let range = if range.is_empty() { 0..0 } else { range };
        let buffer = buffers.get(&arena).ok_or_else(|| {
            Error::new(ErrorKind::Graph, format!("{}: the arena {arena} has no buffer", dispatch.label))
        })?;
        // Whole vectors; with guards, the guard words too, so that a stray write is not cut off but seen.
        let extra = if gpu.options.guards && matches!(arena, Arena::Activation(_)) { ALIGNMENT } else { 0 };
        let words = (range.len().max(1).next_multiple_of(4) + extra).min(buffer.words.max(ALIGNMENT) - range.start);
        let binding =
            wgpu::BufferBinding { buffer: &buffer.buffer, offset: (range.start * 4) as u64, size: size(words * 4) };
        entries.push(wgpu::BindGroupEntry { binding: i as u32 + 1, resource: wgpu::BindingResource::Buffer(binding) });
    }
    gpu.counts.bind_groups.fetch_add(1, Ordering::Relaxed);
    let descriptor = wgpu::BindGroupDescriptor { label: Some(&dispatch.label), layout: &layout, entries: &entries };
    Ok(gpu.device.create_bind_group(&descriptor))
}

impl Gpu {
    /// The kernel for this text and these bindings, compiled if it is new.
    async fn kernel(&self, dispatch: &Dispatch) -> Result<Arc<Kernel>> {
        let flags: Vec<bool> = dispatch.bindings.iter().map(|b| b.writable).collect();
        let rewrite = self.rewrite.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        let text = rewrite.map_or_else(|| dispatch.text.clone(), |rewrite| rewrite(&dispatch.label, &dispatch.text));
        let key = (text, flags);
        let known = self.kernels.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get(&key).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let source = wgpu::ShaderSource::Wgsl(key.0.as_str().into());
        let descriptor = wgpu::ShaderModuleDescriptor { label: Some(&dispatch.label), source };
        let module = if self.options.checked {
            self.device.create_shader_module(descriptor)
        } else {
            // SAFETY: every kernel guards its own reads, writes and loops; the test-suite also runs them with all checks.
            unsafe { self.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
        };
        let layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(&self.layout(&key.1))],
            immediate_size: 0,
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&dispatch.label),
            layout: Some(&layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &[],
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        if let Some(error) = scope.pop().await {
            return Err(Error::new(
                ErrorKind::Shader,
                format!("{}: the shader does not compile: {error}", dispatch.label),
            ));
        }
        self.counts.pipelines.fetch_add(1, Ordering::Relaxed);
        let kernel = Arc::new(Kernel { pipeline, proven: AtomicBool::new(false) });
        let mut kernels = self.kernels.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        Ok(kernels.entry(key).or_insert(kernel).clone())
    }

    fn layout(&self, flags: &[bool]) -> wgpu::BindGroupLayout {
        let mut layouts = self.layouts.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        layouts
            .entry(flags.to_vec())
            .or_insert_with(|| {
                let entry = |binding: usize, ty: wgpu::BufferBindingType| wgpu::BindGroupLayoutEntry {
                    binding: binding as u32,
                    visibility: wgpu::ShaderStages::COMPUTE,
                    ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
                    count: None,
                };
                let storage = flags
                    .iter()
                    .enumerate()
                    .map(|(i, &writable)| entry(i + 1, wgpu::BufferBindingType::Storage { read_only: !writable }));
                let entries: Vec<_> =
                    std::iter::once(entry(0, wgpu::BufferBindingType::Uniform)).chain(storage).collect();
                let descriptor = wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries };
                self.device.create_bind_group_layout(&descriptor)
            })
            .clone()
    }
}
