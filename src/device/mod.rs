//! Devices: where a schedule runs.
//!
//! A [`Device`] is a value: the CPU, or a GPU through wgpu. Both run the same [`Schedule`]; the plain reference of
//! [`crate::ops`] judges both alike. [`Device::best`] takes a hardware GPU, else the CPU, and says why; a software
//! rasteriser, which drivers hand out unasked, is used only when it is asked for. Before: [`crate::schedule`]. After:
//! [`crate::program`] compiles for a device. Only the submodule `gpu` knows wgpu.

pub mod cpu;
pub mod gpu;
mod profile;
mod tunings;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use profile::{Clock, Profile, StepTimes};
pub use tunings::{Choice, Trial, Tunings};

use crate::error::{Error, ErrorKind, Result};
use crate::schedule::{Arena, Capabilities, Schedule, Work};

/// A device that is open. Clones are the same device.
#[derive(Clone)]
pub struct Device(Arc<Inner>);

struct Inner {
    backend: Backend,
    reason: String,
    options: Options,
}

enum Backend {
    /// The bytes of its buffers are counted.
    Cpu(Arc<AtomicU64>),
    Gpu(Box<gpu::Gpu>),
}

/// How a device is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Compile shaders with every runtime check of the driver's compiler (slower; for tests).
    pub checked: bool,
    /// Leave guard words around every intermediate tensor, so that writes out of bounds can be seen (for tests).
    pub guards: bool,
    /// The form of matrix products.
    pub tiles: Tiles,
    /// Dispatch in short rows of workgroups, as otherwise only very large tensors are (for tests).
    pub folded: bool,
    /// Run every operation in kernels of its own (for tests and comparisons).
    pub unfused: bool,
    /// Whether the form of products is measured, where it is [`Tiles::Auto`].
    pub tuning: Tuning,
    /// Where the form of products is measured, let [`Tiles::Winograd`] be a candidate for the convolutions that it fits.
    pub winograd: bool,
    /// Use kernels without proving them: where all results are compared anyway (for tests). Otherwise a GPU's kernels are
    /// proven as they are first used, see [`crate::program`]. The CPU device has no kernels of its own to prove.
    pub unproven: bool,
}

/// The tiles of matrix products and convolutions on a GPU: how large they are, and how operands reach the invocations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tiles {
    /// What this kind of adapter is thought to be fastest with, or was measured to be ([`Tuning`]).
    #[default]
    Auto,
    /// Through workgroup memory, 64×64 results a workgroup: what hardware GPUs use.
    Staged,
    /// Through workgroup memory, 128×128.
    Large,
    /// Through workgroup memory, 32×32.
    Small,
    /// Each invocation by itself: for software rasterisers without subgroups.
    Direct,
    /// By broadcasts within subgroups, where those have a fixed size: what software rasterisers use.
    Broadcast,
    /// By the matrix units of a GPU, products of `f16` alone. Such units may round sums otherwise than `f32` arithmetic does,
    /// so they are used where measurement found them faster ([`Tuning`]), or where a device is opened with these tiles; all
    /// other products are then [`Tiles::Staged`].
    Cooperative,
    /// Convolutions of 3×3 with stride 1, and their input gradients, by Winograd's minimal filtering F(2×2, 3×3): fewer
    /// multiplications, and more rounding. An element is off by roundings in proportion to all pixels of the 4×4 around it,
    /// those that its window does not see too, and where one of them is no finite number nor may the element be. So this is
    /// never used unless it is asked for ([`Options::winograd`]), and proven by a bound of its own. What it does not fit has
    /// the tiles of the fixed rule.
    Winograd,
}

impl Tiles {
    /// All but [`Tiles::Auto`].
    pub const ALL: [Tiles; 7] = [
        Tiles::Staged,
        Tiles::Large,
        Tiles::Small,
        Tiles::Direct,
        Tiles::Broadcast,
        Tiles::Cooperative,
        Tiles::Winograd,
    ];

    /// The name, for people and files.
    pub const fn name(self) -> &'static str {
        match self {
            Tiles::Auto => "auto",
            Tiles::Staged => "staged",
            Tiles::Large => "large",
            Tiles::Small => "small",
            Tiles::Direct => "direct",
            Tiles::Broadcast => "broadcast",
            Tiles::Cooperative => "cooperative",
            Tiles::Winograd => "winograd",
        }
    }
}

/// Whether a GPU's tiles are chosen by measurement: at the first use of a product of some size, on its own operands.
///
/// Tiles add in different orders, so another choice gives other last bits. What was measured once on a device is used
/// from then on, and can be kept in a file ([`Device::tunings`]); where bits must not depend on measurements, leave it off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tuning {
    /// A fixed rule.
    #[default]
    Off,
    /// The likeliest few candidates, for a few seconds in all.
    Quick,
    /// All candidates, for as long as it takes.
    Full,
}

/// Which adapter is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GpuChoice {
    /// A hardware GPU: discrete before integrated before others.
    Hardware,
    /// A software rasteriser.
    Software,
    /// The adapter whose name contains this text, whatever the case.
    Named(String),
}

/// What is known of an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterInfo {
    /// The adapter's name.
    pub name: String,
    /// The graphics interface: `Vulkan`, `Metal`, `Dx12`.
    pub backend: String,
    /// The driver and its version.
    pub driver: String,
    /// `discrete GPU`, `integrated GPU`, `virtual GPU`, `software`, `other`.
    pub kind: &'static str,
    /// Whether it is a software rasteriser.
    pub software: bool,
    /// Limits that matter for compute, by WebGPU's names; bytes where they are sizes.
    pub limits: Vec<(&'static str, u64)>,
    /// Features that matter for compute, by WebGPU's names.
    pub features: Vec<&'static str>,
}

impl fmt::Display for AdapterInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {}, {})", self.name, self.kind, self.backend, self.driver)
    }
}

/// Gives the text that is compiled in place of a kernel's, from the kernel's label and text.
pub type Rewrite = Arc<dyn Fn(&str, &str) -> String + Send + Sync>;

/// How much a device has made and submitted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Compute pipelines compiled.
    pub pipelines: u64,
    /// Buffers created.
    pub buffers: u64,
    /// Bind groups created.
    pub bind_groups: u64,
    /// Submissions.
    pub submits: u64,
    /// Dispatches submitted.
    pub dispatches: u64,
    /// Kernels whose results were compared on first use, and right.
    pub proven: u64,
}

/// How to get a GPU where there is none.
const REMEDY: &str = "install a Vulkan driver for your GPU (`neuropil info` lists what is seen), or use --device cpu";
const SOFTWARE_REMEDY: &str = "install a software Vulkan driver: Debian/Ubuntu `mesa-vulkan-drivers`, Fedora `mesa-vulkan-drivers`, Arch `vulkan-swrast`";

/// The index of the adapter that fits best.
///
/// # Errors
/// When none fits; the message lists what there is and what to do.
pub fn choose(adapters: &[AdapterInfo], choice: &GpuChoice) -> Result<usize> {
    let rank = |info: &AdapterInfo| match info.kind {
        "discrete GPU" => 0,
        "integrated GPU" => 1,
        "virtual GPU" => 2,
        _ => 3,
    };
    let fits = |info: &AdapterInfo| match choice {
        GpuChoice::Hardware => !info.software,
        GpuChoice::Software => info.software,
        GpuChoice::Named(name) => info.name.to_lowercase().contains(&name.to_lowercase()),
    };
    let best = adapters.iter().enumerate().filter(|(_, info)| fits(info)).min_by_key(|(_, info)| rank(info));
    if let Some((index, _)) = best {
        return Ok(index);
    }
    let (what, remedy) = absence(adapters, choice);
    Err(Error::new(ErrorKind::Unsupported, format!("{what}; {remedy}")))
}

/// What is missing where no adapter fits, and how to get it.
fn absence(adapters: &[AdapterInfo], choice: &GpuChoice) -> (String, &'static str) {
    let seen = match adapters {
        [] => "no adapter was found at all".to_owned(),
        some => format!("found only {}", some.iter().map(|a| a.name.as_str()).collect::<Vec<_>>().join(", ")),
    };
    match choice {
        GpuChoice::Hardware => (format!("no hardware GPU: {seen}"), REMEDY),
        GpuChoice::Software => (format!("no software GPU: {seen}"), SOFTWARE_REMEDY),
        GpuChoice::Named(name) => (format!("no adapter named {name:?}: {seen}"), REMEDY),
    }
}

impl Device {
    fn new(backend: Backend, reason: impl Into<String>, options: Options) -> Self {
        Device(Arc::new(Inner { backend, reason: reason.into(), options }))
    }

    /// The CPU.
    pub fn cpu() -> Self {
        Device::cpu_with(Options::default())
    }

    /// The CPU, with options.
    pub fn cpu_with(options: Options) -> Self {
        Device::new(Backend::Cpu(Arc::default()), "asked for", options)
    }

    /// A hardware GPU.
    ///
    /// # Errors
    /// When there is none; the message says what to install.
    pub fn gpu() -> Result<Self> {
        pollster::block_on(Device::open(&GpuChoice::Hardware, Options::default()))
    }

    /// A software rasteriser, such as Mesa's lavapipe: every shader runs on it, slowly.
    ///
    /// # Errors
    /// When there is none; the message says what to install.
    pub fn software() -> Result<Self> {
        pollster::block_on(Device::open(&GpuChoice::Software, Options::default()))
    }

    /// The adapter whose name contains `name`, whatever the case.
    ///
    /// # Errors
    /// When there is none; the message lists the adapters.
    pub fn named(name: &str) -> Result<Self> {
        pollster::block_on(Device::open(&GpuChoice::Named(name.to_owned()), Options::default()))
    }

    /// A hardware GPU if there is one, else the CPU. [`Device::reason`] says which and why.
    pub fn best() -> Self {
        pollster::block_on(Device::best_async())
    }

    /// As [`Device::best`].
    pub async fn best_async() -> Self {
        match Device::open(&GpuChoice::Hardware, Options::default()).await {
            Ok(device) => device,
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                let (what, _) = absence(&gpu::adapters().await, &GpuChoice::Hardware);
                Device::new(Backend::Cpu(Arc::default()), what, Options::default())
            }
            // There is a GPU, but it does not open.
            Err(error) => Device::new(Backend::Cpu(Arc::default()), error.to_string(), Options::default()),
        }
    }

    /// A GPU.
    ///
    /// # Errors
    /// When no adapter fits `choice`; the message says what to install.
    pub async fn open(choice: &GpuChoice, options: Options) -> Result<Self> {
        let gpu = gpu::Gpu::open(choice, options).await?;
        let reason = match choice {
            GpuChoice::Hardware => "a hardware GPU",
            GpuChoice::Software | GpuChoice::Named(_) => "asked for",
        };
        Ok(Device::new(Backend::Gpu(Box::new(gpu)), reason, options))
    }

    /// The same adapter (or the CPU) opened once more, with other options. It shares nothing with this device but what
    /// [`Device::rewrite_kernels`] says.
    ///
    /// # Errors
    /// When the adapter cannot be opened again.
    pub fn reopened_with(&self, options: Options) -> Result<Self> {
        let backend = match &self.0.backend {
            Backend::Cpu(_) => Backend::Cpu(Arc::default()),
            Backend::Gpu(gpu) => Backend::Gpu(Box::new(pollster::block_on(gpu.reopened_with(options))?)),
        };
        Ok(Device::new(backend, self.reason(), options))
    }

    /// The device that a command-line word names: `auto`, `cpu`, `gpu`, `software`, or a part of an adapter's name.
    ///
    /// # Errors
    /// When it is not there.
    pub fn select(word: &str) -> Result<Self> {
        match word {
            "auto" => Ok(Device::best()),
            "cpu" => Ok(Device::cpu()),
            "gpu" => Device::gpu(),
            "software" => Device::software(),
            name => Device::named(name),
        }
    }

    /// All adapters of this machine.
    pub fn adapters() -> Vec<AdapterInfo> {
        pollster::block_on(gpu::adapters())
    }

    /// The name, for people: `cpu` or the adapter's.
    pub fn name(&self) -> String {
        self.adapter().map_or_else(|| "cpu".to_owned(), |info| info.name.clone())
    }

    /// Why this device was chosen.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// The adapter, unless this is the CPU.
    pub fn adapter(&self) -> Option<&AdapterInfo> {
        match &self.0.backend {
            Backend::Cpu(_) => None,
            Backend::Gpu(gpu) => Some(gpu.info()),
        }
    }

    /// Whether it stores `f16`: the CPU does, a GPU with the feature `shader-f16`.
    pub fn has_f16(&self) -> bool {
        match &self.0.backend {
            Backend::Cpu(_) => true,
            Backend::Gpu(gpu) => gpu.has_f16(),
        }
    }

    /// The tiles that products can have on this device, if it is opened for them ([`Options`]); those of small ones first. None
    /// on the CPU.
    pub fn tiles(&self) -> Vec<Tiles> {
        match &self.0.backend {
            Backend::Cpu(_) => Vec::new(),
            Backend::Gpu(gpu) => gpu.tiles(),
        }
    }

    /// The lanes of a subgroup, where all have as many and shaders can use them; `None` on the CPU.
    pub fn lanes(&self) -> Option<usize> {
        match &self.0.backend {
            Backend::Cpu(_) => None,
            Backend::Gpu(gpu) => gpu.lanes(),
        }
    }

    /// The extent of the square matrices of `f16` that its matrix units multiply, where products can use them
    /// ([`Tiles::Cooperative`]); `None` on the CPU.
    pub fn fragment(&self) -> Option<usize> {
        match &self.0.backend {
            Backend::Cpu(_) => None,
            Backend::Gpu(gpu) => gpu.fragment(),
        }
    }

    /// How it was opened.
    pub fn options(&self) -> Options {
        self.0.options
    }

    /// What was made and submitted so far; zeros on the CPU.
    pub fn counters(&self) -> Counters {
        match &self.0.backend {
            Backend::Cpu(_) => Counters::default(),
            Backend::Gpu(gpu) => gpu.counters(),
        }
    }

    /// A number for every kernel compiled so far, the same on every device that compiled the same text: to count the
    /// distinct ones of several devices. None on the CPU.
    pub fn kernels(&self) -> Vec<u64> {
        match &self.0.backend {
            Backend::Cpu(_) => Vec::new(),
            Backend::Gpu(gpu) => gpu.kernels(),
        }
    }

    /// Has every kernel that is compiled from now on rewritten first, or with `None` none: to see that a wrong kernel is
    /// noticed. What was compiled before stays as it is. The CPU has no kernels to rewrite.
    pub fn rewrite_kernels(&self, rewrite: Option<Rewrite>) {
        if let Backend::Gpu(gpu) = &self.0.backend {
            gpu.rewrite_kernels(rewrite);
        }
    }

    /// Calls `f` with what the scheduler must know.
    pub fn with_capabilities<R>(&self, f: impl FnOnce(&Capabilities<'_>) -> R) -> R {
        match &self.0.backend {
            Backend::Cpu(_) => f(&Capabilities {
                operands: 64,
                binding_words: usize::MAX,
                buffer_words: usize::MAX,
                workspace: &|_: &Work| 0,
                guards: self.0.options.guards,
                unfused: self.0.options.unfused,
            }),
            Backend::Gpu(gpu) => gpu.with_capabilities(f),
        }
    }

    /// Zeroed memory of `words` 32-bit words.
    ///
    /// # Errors
    /// When it is more than the device allows or has free ([`ErrorKind::Memory`]).
    pub fn allocate(&self, words: usize) -> Result<Buffer> {
        Ok(match &self.0.backend {
            Backend::Cpu(in_use) => Buffer::Cpu(cpu::Buffer::allocate(words, in_use)?),
            Backend::Gpu(gpu) => Buffer::Gpu(pollster::block_on(gpu.allocate(words))?),
        })
    }

    /// Writes words; takes effect before the next run.
    ///
    /// # Errors
    /// When the buffer is another device's, or the device is lost.
    pub fn write(&self, buffer: &Buffer, offset: usize, words: &[u32]) -> Result<()> {
        match (&self.0.backend, buffer) {
            (Backend::Cpu(_), Buffer::Cpu(buffer)) => buffer.write(offset, words),
            (Backend::Gpu(gpu), Buffer::Gpu(buffer)) => gpu.write(buffer, offset, words),
            _ => Err(other_device()),
        }
    }

    /// Reads words, after everything that was started.
    ///
    /// # Errors
    /// When the buffer is another device's, or the device is lost.
    pub async fn read(&self, buffer: &Buffer, range: Range<usize>) -> Result<Vec<u32>> {
        match (&self.0.backend, buffer) {
            (Backend::Cpu(_), Buffer::Cpu(buffer)) => buffer.read(range),
            (Backend::Gpu(gpu), Buffer::Gpu(buffer)) => gpu.read(buffer, range).await,
            _ => Err(other_device()),
        }
    }

    /// Reads several stretches of words at once, after everything that was started; gives them one after the other.
    ///
    /// # Errors
    /// When a buffer is another device's, or the device is lost.
    pub async fn read_parts(&self, parts: &[(&Buffer, Range<usize>)]) -> Result<Vec<u32>> {
        match &self.0.backend {
            Backend::Cpu(_) => {
                let mut words = Vec::new();
                for (buffer, range) in parts {
                    words.extend(self.read(buffer, range.clone()).await?);
                }
                Ok(words)
            }
            Backend::Gpu(gpu) => {
                let part = |(buffer, range): &(&'_ Buffer, Range<usize>)| match buffer {
                    Buffer::Gpu(buffer) => Ok((buffer.clone(), range.clone())),
                    Buffer::Cpu(_) => Err(other_device()),
                };
                let parts: Vec<(gpu::Buffer, Range<usize>)> = parts.iter().map(part).collect::<Result<_>>()?;
                let parts: Vec<(&gpu::Buffer, Range<usize>)> = parts.iter().map(|(b, r)| (b, r.clone())).collect();
                gpu.read_parts(&parts).await
            }
        }
    }

    /// Bytes of memory in use: those of all buffers on the CPU; on a GPU what wgpu has allocated for them, for what it
    /// copies through and for its own needs, or `None` where its allocator does not say.
    pub fn memory_in_use(&self) -> Option<u64> {
        match &self.0.backend {
            Backend::Cpu(in_use) => Some(in_use.load(Ordering::Relaxed)),
            Backend::Gpu(gpu) => gpu.memory_in_use(),
        }
    }

    /// Waits until everything that was started is done.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn wait(&self) -> Result<()> {
        match &self.0.backend {
            Backend::Cpu(_) => Ok(()),
            Backend::Gpu(gpu) => gpu.wait(),
        }
    }

    /// Loses a GPU, as a driver that resets or a cable that is pulled does: what is asked of it from now on is an error. For
    /// tests of what comes after. The CPU stays.
    pub fn destroy(&self) {
        if let Backend::Gpu(gpu) = &self.0.backend {
            gpu.destroy();
        }
    }

    /// Makes a schedule runnable over `buffers`, one for each of its arenas.
    ///
    /// # Errors
    /// When it does not fit the device, or a shader does not compile.
    pub async fn load(&self, schedule: &Arc<Schedule>, buffers: &BTreeMap<Arena, Buffer>) -> Result<Executable> {
        match &self.0.backend {
            Backend::Cpu(_) => {
                let buffers =
                    typed(buffers, |buffer| if let Buffer::Cpu(b) = buffer { Some(b.clone()) } else { None })?;
                Ok(Executable(Loaded::Cpu(cpu::Executable::new(schedule.clone(), buffers)?)))
            }
            Backend::Gpu(gpu) => {
                let buffers =
                    typed(buffers, |buffer| if let Buffer::Gpu(b) = buffer { Some(b.clone()) } else { None })?;
                Ok(Executable(Loaded::Gpu(gpu::Executable::new(gpu, schedule, buffers).await?)))
            }
        }
    }

    /// Starts the steps of `range`.
    ///
    /// # Errors
    /// When the executable is another device's, or the device is lost.
    pub fn run(&self, executable: &Executable, range: Range<usize>) -> Result<()> {
        match (&self.0.backend, &executable.0) {
            (Backend::Cpu(_), Loaded::Cpu(executable)) => executable.run(range),
            (Backend::Gpu(gpu), Loaded::Gpu(executable)) => executable.run(gpu, range),
            _ => Err(other_device()),
        }
    }

    /// The steps of `range` with kernels that were never proven on this device; none on the CPU.
    ///
    /// # Errors
    /// Why a kernel of them is refused; when the executable is another device's.
    pub fn unproven(&self, executable: &Executable, range: Range<usize>) -> Result<Vec<usize>> {
        match (&self.0.backend, &executable.0) {
            (Backend::Cpu(_), Loaded::Cpu(_)) => Ok(Vec::new()),
            (Backend::Gpu(gpu), Loaded::Gpu(executable)) => executable.unproven(gpu, range),
            _ => Err(other_device()),
        }
    }

    /// The steps of `range` whose tiles are to be measured; none on the CPU.
    ///
    /// # Errors
    /// When the executable is another device's.
    pub fn untuned(&self, executable: &Executable, range: Range<usize>) -> Result<Vec<usize>> {
        match (&self.0.backend, &executable.0) {
            (Backend::Cpu(_), Loaded::Cpu(_)) => Ok(Vec::new()),
            (Backend::Gpu(gpu), Loaded::Gpu(executable)) => Ok(executable.untuned(gpu, range)),
            _ => Err(other_device()),
        }
    }

    /// The tiles that a step should be measured with; none on the CPU.
    ///
    /// # Errors
    /// When the executable is another device's.
    pub fn candidates(&self, executable: &Executable, step: usize) -> Result<Vec<Tiles>> {
        match (&self.0.backend, &executable.0) {
            (Backend::Cpu(_), Loaded::Cpu(_)) => Ok(Vec::new()),
            (Backend::Gpu(gpu), Loaded::Gpu(executable)) => Ok(executable.candidates(gpu, step)),
            _ => Err(other_device()),
        }
    }

    /// Has a step run with these tiles from now on.
    ///
    /// # Errors
    /// When the step cannot have them on this device, the shader does not compile, or the executable is another device's.
    pub async fn use_tiles(&self, executable: &Executable, step: usize, tiles: Tiles) -> Result<()> {
        match (&self.0.backend, &executable.0) {
            (Backend::Cpu(_), Loaded::Cpu(_)) => Ok(()),
            (Backend::Gpu(gpu), Loaded::Gpu(executable)) => executable.use_tiles(gpu, step, tiles).await,
            _ => Err(other_device()),
        }
    }

    /// Remembers how a step's candidates did, and how long finding out took: products like it have the fastest of them
    /// from now on.
    ///
    /// # Errors
    /// When the executable is another device's.
    pub fn decide(&self, executable: &Executable, step: usize, choice: Choice, spent: Duration) -> Result<()> {
        match (&self.0.backend, &executable.0) {
            (Backend::Cpu(_), Loaded::Cpu(_)) => {}
            (Backend::Gpu(gpu), Loaded::Gpu(executable)) => executable.decide(gpu, step, choice, spent),
            _ => return Err(other_device()),
        }
        Ok(())
    }

    /// What was measured or loaded so far; empty on the CPU.
    pub fn tunings(&self) -> Tunings {
        match &self.0.backend {
            Backend::Cpu(_) => Tunings::default(),
            Backend::Gpu(gpu) => gpu.tunings(),
        }
    }

    /// As [`Device::tunings`], with the tiles that are used where there was no time to measure: another device that loads
    /// them computes the same bits.
    pub fn tunings_in_use(&self) -> Tunings {
        match &self.0.backend {
            Backend::Cpu(_) => Tunings::default(),
            Backend::Gpu(gpu) => gpu.tunings_in_use(),
        }
    }

    /// Takes choices that were measured before, on this kind of device, instead of measuring again. Those of another
    /// adapter, driver or version of this crate are not taken; gives how many were.
    pub fn load_tunings(&self, tunings: &Tunings) -> usize {
        match &self.0.backend {
            Backend::Cpu(_) => 0,
            Backend::Gpu(gpu) => gpu.load_tunings(tunings),
        }
    }

    /// Remembers what was found of the kernels of a step: that they are right, or why they are refused from now on.
    ///
    /// # Errors
    /// When the executable is another device's.
    pub fn judge(&self, executable: &Executable, step: usize, verdict: Result<()>) -> Result<()> {
        match (&self.0.backend, &executable.0) {
            (Backend::Cpu(_), Loaded::Cpu(_)) => {}
            (Backend::Gpu(gpu), Loaded::Gpu(executable)) => executable.judge(gpu, step, verdict),
            _ => return Err(other_device()),
        }
        Ok(())
    }

    /// Whether both are the same open device.
    pub fn is(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({})", self.name())
    }
}

/// Memory of a device.
#[derive(Clone)]
pub enum Buffer {
    /// The CPU's.
    Cpu(cpu::Buffer),
    /// A GPU's.
    Gpu(gpu::Buffer),
}

impl Buffer {
    /// The number of words.
    pub fn len(&self) -> usize {
        match self {
            Buffer::Cpu(buffer) => buffer.len(),
            Buffer::Gpu(buffer) => buffer.len(),
        }
    }

    /// Whether there are no words.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A schedule that a device can run.
pub struct Executable(Loaded);

impl Executable {
    /// The tiles that a step has now; on the CPU always [`Tiles::Auto`].
    pub fn tiles(&self, step: usize) -> Tiles {
        match &self.0 {
            Loaded::Cpu(_) => Tiles::Auto,
            Loaded::Gpu(executable) => executable.tiles(step),
        }
    }

    /// The forms of the kernels of a step, for people: `direct 16×32 tile`.
    pub fn form(&self, step: usize) -> String {
        match &self.0 {
            Loaded::Cpu(_) => "loops".to_owned(),
            Loaded::Gpu(executable) => executable.form(step),
        }
    }
}

enum Loaded {
    Cpu(cpu::Executable),
    Gpu(gpu::Executable),
}

fn typed<B>(buffers: &BTreeMap<Arena, Buffer>, pick: impl Fn(&Buffer) -> Option<B>) -> Result<BTreeMap<Arena, B>> {
    buffers.iter().map(|(&arena, buffer)| Ok((arena, pick(buffer).ok_or_else(other_device)?))).collect()
}

fn other_device() -> Error {
    Error::new(ErrorKind::Device, "memory of another device; a store and its programs must be on one device")
}
