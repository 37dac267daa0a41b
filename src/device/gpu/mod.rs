//! The GPU device, through wgpu: adapters, buffers, and what can go wrong.
//!
//! Everything that touches wgpu is below this module. [`lower`] turns steps into dispatches (plain data, no GPU needed),
//! [`execute`] makes pipelines and bind groups of them once and records them every run. The adapter's own limits are
//! requested. Errors that wgpu reports outside of a call (validation, a lost device) are kept and given to the next caller:
//! nothing here panics. What waits is `async`; [`crate::device`] has the blocking forms.

mod clock;
mod elementwise;
mod execute;
mod gemm;
mod lower;
mod operand;
mod reduce;
mod source;
mod tune;
mod vectors;
mod winograd;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

pub use execute::Executable;
pub use lower::{Bound, Dispatch, Limits, candidates, class, lower, of_halves, workspace};
pub use source::FILES;

use super::{AdapterInfo, Counters, GpuChoice, Options, Rewrite, Tiles, Tuning};
use crate::error::{Error, ErrorKind, Result};
use crate::random::stream_id;
use crate::schedule::Capabilities;

/// The share of the memory budget that the driver states, in percent, from which on memory is refused rather than swapped.
const BUDGET: u8 = 95;
/// What is asked for where an adapter has it.
const FEATURES: wgpu::Features =
    wgpu::Features::SHADER_F16.union(wgpu::Features::SUBGROUP).union(wgpu::Features::TIMESTAMP_QUERY);
/// Runs that may be under way at once: enough to keep a GPU busy, few enough that inputs do not pile up.
const MAX_IN_FLIGHT: usize = 4;

/// A GPU that is open.
pub struct Gpu {
    adapter: wgpu::Adapter,
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: AdapterInfo,
    limits: wgpu::Limits,
    kernel_limits: Limits,
    options: Options,
    kernels: Mutex<HashMap<KernelKey, Arc<Kernel>>>,
    refusals: Mutex<Vec<Refusal>>,
    layouts: Mutex<HashMap<Vec<bool>, wgpu::BindGroupLayout>>,
    tuner: Mutex<tune::Tuner>,
    /// Whether timestamps can be relied on, once that was tried.
    clock: OnceLock<bool>,
    /// Makes faults, for tests.
    rewrite: Mutex<Option<Rewrite>>,
    /// Submissions that may not be done yet, oldest first.
    in_flight: Mutex<VecDeque<wgpu::SubmissionIndex>>,
    /// The first error that was reported outside of a call.
    failure: Arc<Mutex<Option<Error>>>,
    counts: Counts,
}

/// The text, and which bindings are writable.
type KernelKey = (String, Vec<bool>);

/// A text, compiled.
struct Kernel {
    pipeline: wgpu::ComputePipeline,
    /// Whether its results were compared, and right.
    proven: AtomicBool,
}

/// Kernels that are not used in one step again.
struct Refusal {
    /// Those that were not proven when the step was wrong.
    suspects: Vec<Arc<Kernel>>,
    error: Error,
}

#[derive(Default)]
struct Counts {
    pipelines: AtomicU64,
    buffers: AtomicU64,
    bind_groups: AtomicU64,
    submits: AtomicU64,
    dispatches: AtomicU64,
    proven: AtomicU64,
}

/// Words on the GPU.
#[derive(Clone)]
pub struct Buffer {
    buffer: wgpu::Buffer,
    words: usize,
}

impl Buffer {
    /// The number of words.
    pub fn len(&self) -> usize {
        self.words
    }

    /// Whether there are no words.
    pub fn is_empty(&self) -> bool {
        self.words == 0
    }
}

fn instance() -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::PRIMARY;
    descriptor.flags = wgpu::InstanceFlags::empty();
    descriptor.memory_budget_thresholds.for_resource_creation = Some(BUDGET);
    wgpu::Instance::new(descriptor)
}

fn describe(info: &wgpu::AdapterInfo) -> AdapterInfo {
    AdapterInfo {
        name: info.name.clone(),
        backend: format!("{:?}", info.backend),
        driver: [info.driver.as_str(), info.driver_info.as_str()].join(" ").trim().to_owned(),
        kind: match info.device_type {
            wgpu::DeviceType::DiscreteGpu => "discrete GPU",
            wgpu::DeviceType::IntegratedGpu => "integrated GPU",
            wgpu::DeviceType::VirtualGpu => "virtual GPU",
            wgpu::DeviceType::Cpu => "software",
            wgpu::DeviceType::Other => "other",
        },
        software: info.device_type == wgpu::DeviceType::Cpu,
        limits: Vec::new(),
        features: Vec::new(),
    }
}

fn describe_fully(adapter: &wgpu::Adapter) -> AdapterInfo {
    let limits = adapter.limits();
    let mut info = describe(&adapter.get_info());
    info.limits = vec![
        ("max_buffer_size", limits.max_buffer_size),
        ("max_storage_buffer_binding_size", limits.max_storage_buffer_binding_size),
        ("max_storage_buffers_per_shader_stage", u64::from(limits.max_storage_buffers_per_shader_stage)),
        ("max_compute_workgroup_storage_size", u64::from(limits.max_compute_workgroup_storage_size)),
        ("max_compute_invocations_per_workgroup", u64::from(limits.max_compute_invocations_per_workgroup)),
        ("max_compute_workgroups_per_dimension", u64::from(limits.max_compute_workgroups_per_dimension)),
        ("min_storage_buffer_offset_alignment", u64::from(limits.min_storage_buffer_offset_alignment)),
    ];
    let interesting = [
        ("shader-f16", wgpu::Features::SHADER_F16),
        ("subgroups", wgpu::Features::SUBGROUP),
        ("timestamp-query", wgpu::Features::TIMESTAMP_QUERY),
        ("pipeline-cache", wgpu::Features::PIPELINE_CACHE),
        ("cooperative-matrix", wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX),
    ];
    let features = adapter.features();
    info.features = interesting.into_iter().filter(|(_, f)| features.contains(*f)).map(|(name, _)| name).collect();
    info
}

/// The lanes of a subgroup, where all subgroups have as many and shaders can use them.
fn subgroup_lanes(adapter: &wgpu::Adapter) -> Option<usize> {
    let info = adapter.get_info();
    let fixed = info.subgroup_min_size == info.subgroup_max_size && info.subgroup_min_size.is_power_of_two();
    (fixed && adapter.features().contains(wgpu::Features::SUBGROUP)).then_some(info.subgroup_min_size as usize)
}

/// The extent of the square matrices of `f16` that subgroups multiply together with sums of `f32`, of those that our tiles
/// can be made of; `None` where there are none.
fn fragment(adapter: &wgpu::Adapter) -> Option<usize> {
    use wgpu::CooperativeScalarType::{F16, F32};
    let lanes = subgroup_lanes(adapter)?;
    let bytes = adapter.limits().max_compute_workgroup_storage_size as usize;
    let features = wgpu::Features::SHADER_F16 | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
    let fits = |of: &wgpu::CooperativeMatrixProperties| {
        (of.ab_type, of.cr_type) == (F16, F32)
            && (of.m_size, of.n_size) == (of.k_size, of.k_size)
            && gemm::can_cooperate(of.k_size as usize, lanes, bytes)
    };
    let possible = adapter.cooperative_matrix_properties().into_iter().filter(fits).map(|of| of.k_size as usize);
    possible.max().filter(|_| adapter.features().contains(features))
}

/// All adapters of this machine.
pub async fn adapters() -> Vec<AdapterInfo> {
    let adapters = instance().enumerate_adapters(wgpu::Backends::PRIMARY).await;
    adapters.iter().map(describe_fully).collect()
}

impl Gpu {
    /// Opens an adapter.
    ///
    /// # Errors
    /// When there is none that fits `choice`; the message says how to get one.
    pub async fn open(choice: &GpuChoice, options: Options) -> Result<Self> {
        let all = instance().enumerate_adapters(wgpu::Backends::PRIMARY).await;
        let infos: Vec<AdapterInfo> = all.iter().map(|adapter| describe(&adapter.get_info())).collect();
        let chosen = super::choose(&infos, choice)?;
        let adapter = all.into_iter().nth(chosen).expect("the index is of this list");
        Self::open_adapter(adapter, options).await
    }

    /// The same adapter once more, with options of its own; kernels are rewritten there as here.
    ///
    /// # Errors
    /// When the adapter cannot be opened again.
    pub async fn reopened_with(&self, options: Options) -> Result<Self> {
        let again = Self::open_adapter(self.adapter.clone(), options).await?;
        again.rewrite_kernels(self.rewrite.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone());
        Ok(again)
    }

    async fn open_adapter(adapter: wgpu::Adapter, options: Options) -> Result<Self> {
        let limits = adapter.limits();
        let info = describe_fully(&adapter);
        // Experimental, so it is asked for where it may be used, and nowhere else.
        let measured = options.tiles == Tiles::Auto && options.tuning != Tuning::Off;
        let cooperates = measured || options.tiles == Tiles::Cooperative;
        let fragment = fragment(&adapter).filter(|_| cooperates);
        let (experimental, experiments) = if fragment.is_some() {
            // SAFETY: wgpu may let wrong programs of these features through; ours keep their rules, and are proven on use.
            let enabled = unsafe { wgpu::ExperimentalFeatures::enabled() };
            (wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX, enabled)
        } else {
            (wgpu::Features::empty(), wgpu::ExperimentalFeatures::disabled())
        };
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("neuropil"),
                required_features: (adapter.features() & FEATURES) | experimental,
                required_limits: limits.clone(),
                experimental_features: experiments,
                memory_hints: wgpu::MemoryHints::Performance,
                trace: wgpu::Trace::Off,
            })
            .await
            .map_err(|e| Error::new(ErrorKind::Device, format!("{}: cannot be opened: {e}", info.name)))?;
        let failure: Arc<Mutex<Option<Error>>> = Arc::default();
        let keep = |failure: &Arc<Mutex<Option<Error>>>, error: Error| {
            let mut slot = failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            slot.get_or_insert(error);
        };
        let (lost, name) = (failure.clone(), info.name.clone());
        device.set_device_lost_callback(move |reason, message| {
            let text =
                format!("{name} was lost ({reason:?}: {message}); open the device again and load the last checkpoint");
            keep(&lost, Error::new(ErrorKind::Device, text));
        });
        let uncaptured = failure.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            keep(&uncaptured, Error::new(ErrorKind::Device, format!("the GPU reported: {error}")));
        }));
        let lanes = subgroup_lanes(&adapter);
        // Beside convolutions by Winograd, and within them, are products as ever.
        let by_rule = matches!(options.tiles, Tiles::Auto | Tiles::Winograd);
        let tiles = match (options.tiles, lanes) {
            (_, Some(_)) if by_rule && info.software => Tiles::Broadcast,
            (_, None) if by_rule && info.software => Tiles::Direct,
            _ if by_rule => Tiles::Staged,
            (Tiles::Broadcast, None) => {
                let text = format!("{}: subgroups have no fixed size, so products cannot broadcast in them", info.name);
                return Err(Error::new(ErrorKind::Unsupported, text));
            }
            (Tiles::Cooperative, _) if fragment.is_none() => {
                let text = format!("{}: there are no matrix units that can be used", info.name);
                return Err(Error::new(ErrorKind::Unsupported, text));
            }
            (tiles, _) => tiles,
        };
        let workgroups = limits.max_compute_workgroups_per_dimension;
        let winograd = options.tiles == Tiles::Winograd || measured && options.winograd;
        let spared = by_rule && tiles == Tiles::Broadcast;
        let small = if spared { Tiles::Direct } else { tiles };
        let kernel_limits = Limits { tiles, small, measured, winograd, lanes, fragment, workgroups };
        Ok(Gpu {
            adapter,
            device,
            queue,
            info,
            limits,
            kernel_limits,
            options,
            kernels: Mutex::default(),
            refusals: Mutex::default(),
            layouts: Mutex::default(),
            tuner: Mutex::default(),
            clock: OnceLock::new(),
            rewrite: Mutex::default(),
            in_flight: Mutex::default(),
            failure,
            counts: Counts::default(),
        })
    }

    /// Whether shaders can store 16-bit floats.
    pub fn has_f16(&self) -> bool {
        self.device.features().contains(wgpu::Features::SHADER_F16)
    }

    /// As [`crate::device::Device::lanes`].
    pub fn lanes(&self) -> Option<usize> {
        self.kernel_limits.lanes
    }

    /// As [`crate::device::Device::fragment`].
    pub fn fragment(&self) -> Option<usize> {
        fragment(&self.adapter)
    }

    /// As [`crate::device::Device::tiles`].
    pub fn tiles(&self) -> Vec<Tiles> {
        let Limits { small: used, lanes, .. } = self.kernel_limits;
        let possible = Tiles::ALL.into_iter().filter(|&tiles| match tiles {
            Tiles::Broadcast => lanes.is_some(),
            Tiles::Cooperative => self.fragment().is_some(),
            _ => true,
        });
        std::iter::once(used).chain(possible.filter(|&tiles| tiles != used)).collect()
    }

    /// As [`crate::device::Device::rewrite_kernels`].
    pub fn rewrite_kernels(&self, rewrite: Option<Rewrite>) {
        *self.rewrite.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = rewrite;
    }

    /// A number for every kernel compiled so far, from its text.
    pub fn kernels(&self) -> Vec<u64> {
        let kernels = self.kernels.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        kernels.keys().map(|(text, _)| stream_id(text)).collect()
    }

    /// What is open.
    pub fn info(&self) -> &AdapterInfo {
        &self.info
    }

    /// What was made and submitted so far.
    pub fn counters(&self) -> Counters {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counters {
            pipelines: get(&self.counts.pipelines),
            buffers: get(&self.counts.buffers),
            bind_groups: get(&self.counts.bind_groups),
            submits: get(&self.counts.submits),
            dispatches: get(&self.counts.dispatches),
            proven: get(&self.counts.proven),
        }
    }

    /// Calls `f` with what the scheduler must know.
    pub fn with_capabilities<R>(&self, f: impl FnOnce(&Capabilities<'_>) -> R) -> R {
        let workspace = |work: &crate::schedule::Work| workspace(work, &self.kernel_limits);
        // Portable by default: WebGPU guarantees 8 storage buffers.
        let operands = (self.limits.max_storage_buffers_per_shader_stage as usize).min(8);
        let binding_words = self.limits.max_storage_buffer_binding_size as usize / 4;
        let buffer_words = self.limits.max_buffer_size as usize / 4;
        let Options { guards, unfused, .. } = self.options;
        f(&Capabilities { operands, binding_words, buffer_words, workspace: &workspace, guards, unfused })
    }

    /// Zeroed memory.
    ///
    /// # Errors
    /// When it is larger than the adapter allows, or than what is free ([`ErrorKind::Memory`]; the device stays usable).
    pub async fn allocate(&self, words: usize) -> Result<Buffer> {
        let bytes = (words.max(crate::schedule::ALIGNMENT) * 4) as u64;
        if bytes > self.limits.max_buffer_size {
            return Err(Error::new(
                ErrorKind::Memory,
                format!(
                    "{}: a buffer of {bytes} bytes is needed, the adapter allows {}; use a smaller batch or model",
                    self.info.name, self.limits.max_buffer_size
                ),
            ));
        }
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let descriptor = wgpu::BufferDescriptor { label: Some("arena"), size: bytes, usage, mapped_at_creation: false };
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.device.create_buffer(&descriptor);
        if scope.pop().await.is_some() {
            let text = format!("{}: {bytes} bytes more are not free; use a smaller batch or model", self.info.name);
            return Err(Error::new(ErrorKind::Memory, text));
        }
        self.counts.buffers.fetch_add(1, Ordering::Relaxed);
        self.check()?;
        Ok(Buffer { buffer, words })
    }

    /// Writes words; takes effect before whatever is submitted next.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn write(&self, buffer: &Buffer, offset: usize, words: &[u32]) -> Result<()> {
        if !words.is_empty() {
            self.queue.write_buffer(&buffer.buffer, (offset * 4) as u64, bytemuck::cast_slice(words));
        }
        self.check()
    }

    /// Reads words, after everything that was submitted.
    ///
    /// # Errors
    /// When the device is lost.
    pub async fn read(&self, buffer: &Buffer, range: std::ops::Range<usize>) -> Result<Vec<u32>> {
        self.read_parts(&[(buffer, range)]).await
    }

    /// Reads several stretches of words at once, one after the other.
    ///
    /// # Errors
    /// When the device is lost.
    pub async fn read_parts(&self, parts: &[(&Buffer, std::ops::Range<usize>)]) -> Result<Vec<u32>> {
        let bytes = parts.iter().map(|(_, range)| (range.len() * 4) as u64).sum();
        if bytes == 0 {
            return Ok(Vec::new());
        }
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let descriptor =
            wgpu::BufferDescriptor { label: Some("readback"), size: bytes, usage, mapped_at_creation: false };
        let staging = self.device.create_buffer(&descriptor);
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut place = 0;
        for (buffer, range) in parts.iter().filter(|(_, range)| !range.is_empty()) {
            let len = (range.len() * 4) as u64;
            encoder.copy_buffer_to_buffer(&buffer.buffer, (range.start * 4) as u64, &staging, place, len);
            place += len;
        }
        self.queue.submit([encoder.finish()]);
        let (sender, receiver) = std::sync::mpsc::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            // The receiver waits below; if it is gone, nobody wants the result.
            let _ = sender.send(result);
        });
        self.wait()?;
        // Another thread's poll may have found the mapping finished and be about to say so: block, do not try.
        let mapped = receiver.recv().map_err(|_| self.failed("the readback did not finish"))?;
        mapped.map_err(|e| self.failed(&format!("the readback failed: {e}")))?;
        let view = staging.get_mapped_range(..).map_err(|e| self.failed(&format!("the readback failed: {e}")))?;
        Ok(bytemuck::pod_collect_to_vec(&view))
    }

    /// Submits commands; waits for an old submission if many are under way.
    fn submit(&self, encoder: wgpu::CommandEncoder) -> Result<()> {
        let index = self.queue.submit([encoder.finish()]);
        self.counts.submits.fetch_add(1, Ordering::Relaxed);
        let mut in_flight = self.in_flight.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        in_flight.push_back(index);
        let oldest = if in_flight.len() > MAX_IN_FLIGHT { in_flight.pop_front() } else { None };
        drop(in_flight);
        if let Some(index) = oldest {
            let polled = self.device.poll(wgpu::PollType::Wait { submission_index: Some(index), timeout: None });
            polled.map_err(|e| self.failed(&format!("waiting failed: {e}")))?;
        }
        self.check()
    }

    /// As [`crate::device::Device::memory_in_use`].
    pub fn memory_in_use(&self) -> Option<u64> {
        self.device.generate_allocator_report().map(|report| report.total_allocated_bytes)
    }

    /// As [`crate::device::Device::destroy`].
    pub fn destroy(&self) {
        self.device.destroy();
    }

    /// Waits until everything that was submitted is done.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn wait(&self) -> Result<()> {
        let polled = self.device.poll(wgpu::PollType::wait_indefinitely());
        self.check()?;
        polled.map(|_| ()).map_err(|e| self.failed(&format!("waiting failed: {e}")))
    }

    fn failed(&self, what: &str) -> Error {
        self.check().err().unwrap_or_else(|| Error::new(ErrorKind::Device, format!("{}: {what}", self.info.name)))
    }

    /// Gives the error that was reported since the device was opened, if any.
    fn check(&self) -> Result<()> {
        let failure = self.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        failure.clone().map_or(Ok(()), Err)
    }
}
