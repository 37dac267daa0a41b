//! Programs: model code traced once, compiled for a device, run many times.
//!
//! [`Program::compile`] calls a function with a [`Trace`], simplifies and schedules the graph, makes room in the store, and
//! loads the schedule on the store's device. A run writes the inputs and starts the steps; it allocates nothing and does
//! not wait. On a GPU the first run also proves every kernel that is new to the device ([`proof`]), and stops at a wrong
//! one; where the device is opened to measure, it chooses tiles ([`tune`]). The CPU device has no kernels to prove. Outputs are read when they are asked for. Programs of one store share its
//! parameters; programs of one device share pipelines. Before: [`crate::schedule`], [`crate::device`], [`crate::store`]. After: [`crate::train`].

mod proof;
mod tune;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::array::Array;
use crate::device::{Buffer, Device, Executable, Profile};
use crate::dtype::DType;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::graph::{Graph, Leaf, Leaves, TensorType, Value};
use crate::schedule::{Arena, Origin, Schedule, Slot, schedule};
use crate::simplify::simplify;
use crate::store::Store;
use crate::tensor::{Tensor, Trace};

/// A compiled computation over a [`Store`].
pub struct Program {
    name: String,
    store: Store,
    graph: Graph,
    schedule: Arc<Schedule>,
    buffers: BTreeMap<Arena, Buffer>,
    executable: Executable,
    /// Inputs whose data was written when the program was compiled.
    bound: Vec<String>,
}

/// Whether a program trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Dropout drops, batch norm uses the statistics of the batch.
    Train,
    /// Dropout does nothing, batch norm uses running statistics.
    Evaluate,
}

impl Program {
    /// Traces `build` and compiles it for the store's device.
    ///
    /// ```
    /// use neuropil::{Array, DType, Device, Mode, Program, Store};
    /// let store = Store::new(&Device::cpu(), 0);
    /// let program = Program::compile("double", &store, Mode::Evaluate, |trace| {
    ///     let x = trace.input("x", &[3], DType::F32);
    ///     trace.output("y", &(&x * 2.0));
    /// })?;
    /// let y = program.call(&[("x", &Array::new(&[3], vec![1f32, 2.0, 3.0])?)])?;
    /// assert_eq!(y["y"].as_slice::<f32>()?, [2.0, 4.0, 6.0]);
    /// # Ok::<(), neuropil::Error>(())
    /// ```
    ///
    /// # Errors
    /// The first mistake that was made while tracing, with its line; a model that does not fit the device.
    pub fn compile(name: &str, store: &Store, mode: Mode, build: impl FnOnce(&Trace)) -> Result<Self> {
        pollster::block_on(Self::compile_async(name, store, mode, build))
    }

    /// As [`Program::compile`].
    ///
    /// # Errors
    /// As [`Program::compile`].
    pub async fn compile_async(name: &str, store: &Store, mode: Mode, build: impl FnOnce(&Trace)) -> Result<Self> {
        let trace = Trace::new(mode == Mode::Train, store.frozen());
        build(&trace);
        Self::from_trace(name, store, &trace).await.context(|| format!("compiling {name:?}"))
    }

    /// Compiles a graph whose parameters and states, if any, are in the store.
    ///
    /// # Errors
    /// When the graph is malformed, a leaf is missing from the store, or the model does not fit the device.
    pub fn from_graph(name: &str, store: &Store, graph: &Graph) -> Result<Self> {
        pollster::block_on(Self::load(name, store, graph)).context(|| format!("compiling {name:?}"))
    }

    async fn from_trace(name: &str, store: &Store, trace: &Trace) -> Result<Self> {
        let traced = trace.finish()?;
        store.prepare(&traced.specs)?;
        let mut program = Self::load(name, store, &traced.lowered()?).await?;
        for (input, array) in &traced.bound {
            if program.takes(input) {
                program.write_input(input, array)?;
            }
        }
        program.bound = traced.bound.into_iter().map(|(input, _)| input).collect();
        Ok(program)
    }

    async fn load(name: &str, store: &Store, graph: &Graph) -> Result<Self> {
        let graph = simplify(graph)?;
        let device = store.device();
        if graph.uses(DType::F16) && !device.has_f16() {
            let text = format!(
                "{} cannot store f16, it lacks the feature shader-f16; use Precision::F32 (--precision f32)",
                device.name()
            );
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let schedule = device.with_capabilities(|capabilities| schedule(&graph, &store.layout(), capabilities))?;
        let mut buffers = store.buffers();
        for &(arena, words) in &schedule.arenas {
            buffers.insert(arena, device.allocate(words).context(|| format!("memory for {arena}"))?);
        }
        if device.options().guards {
            for (_, buffer) in buffers.iter().filter(|(arena, _)| matches!(arena, Arena::Activation(_))) {
                device.write(buffer, 0, &vec![GUARD; buffer.len()])?;
            }
        }
        let schedule = Arc::new(schedule);
        let executable = device.load(&schedule, &buffers).await?;
        Ok(Program {
            name: name.to_owned(),
            store: store.clone(),
            graph,
            schedule,
            buffers,
            executable,
            bound: Vec::new(),
        })
    }

    /// The name it was compiled with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device.
    pub fn device(&self) -> &Device {
        self.store.device()
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The simplified graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The schedule.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The memory that the program takes beside the store's: inputs, activations and scratch, in bytes.
    pub fn planned_bytes(&self) -> u64 {
        self.schedule.arenas.iter().map(|&(_, words)| 4 * words as u64).sum()
    }

    /// Whether a result depends on the input of this name.
    pub fn takes(&self, input: &str) -> bool {
        self.schedule.inputs.iter().any(|(name, _)| name == input)
    }

    /// Writes the inputs and starts all steps; does not wait.
    ///
    /// On a GPU, steps with kernels that were never used on it run alone and are compared with what they must give (not with
    /// [`crate::device::Options::unproven`]). Where one is wrong the run ends, the store is as it was, and the device
    /// refuses the kernel from then on.
    ///
    /// # Errors
    /// When an input is missing, unknown or of another type, a kernel is wrong ([`ErrorKind::Parity`]), or the device is
    /// lost.
    pub fn run(&self, inputs: &[(&str, &Array)]) -> Result<()> {
        pollster::block_on(self.run_async(inputs))
    }

    /// As [`Program::run`].
    ///
    /// # Errors
    /// As [`Program::run`].
    pub async fn run_async(&self, inputs: &[(&str, &Array)]) -> Result<()> {
        self.write_inputs(inputs)?;
        self.start(0..self.schedule.steps.len()).await
    }

    /// Runs all steps, waits, and gives when each was recorded and computed, in the order of [`Schedule::steps`]. Where
    /// kernels are new to the device, a run that proves them comes first.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub fn profile(&self, inputs: &[(&str, &Array)]) -> Result<Profile> {
        self.write_inputs(inputs)?;
        let all = 0..self.schedule.steps.len();
        if !self.unsettled(all.clone())?.is_empty() {
            pollster::block_on(self.start(all.clone()))?;
        }
        self.device().profile(&self.executable, all)
    }

    /// The forms of the kernels of a step, for people: `direct 16×32 tile`.
    pub fn form(&self, step: usize) -> String {
        self.executable.form(step)
    }

    /// Runs step by step, and keeps what every step wrote and what the leaves held before: for [`crate::check::replay`].
    /// After an error the store holds what it held before.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub fn record(&self, inputs: &[(&str, &Array)]) -> Result<Recording> {
        self.write_inputs(inputs)?;
        let mut leaves = Leaves::new();
        for slot in &self.schedule.slots {
            let Origin::Leaf(leaf, name) = &slot.origin else { continue };
            // Its own slot comes first; later ones are stretches of several leaves.
            if let Entry::Vacant(vacant) = leaves.entry((*leaf, name.clone())) {
                vacant.insert(pollster::block_on(self.read_slot(slot))?);
            }
        }
        match pollster::block_on(self.written_by_steps()) {
            Ok(written) => {
                let updates = self.graph.updates.iter().map(|(_, name, _)| Ok((name.clone(), self.store.get(name)?)));
                Ok(Recording { leaves, written, updates: updates.collect::<Result<_>>()? })
            }
            Err(error) if error.kind() == ErrorKind::Device => Err(error),
            Err(error) => self.put_back(&leaves).and(Err(error)),
        }
    }

    /// Runs step by step; gives what every step wrote of the values of the graph.
    async fn written_by_steps(&self) -> Result<HashMap<Value, Array>> {
        let mut written = HashMap::new();
        for (i, step) in self.schedule.steps.iter().enumerate() {
            self.start(i..i + 1).await?;
            for slot in step.writes.iter().map(|&slot| self.schedule.slot(slot)) {
                if let Some(value) = slot.value {
                    written.insert(value, self.read_slot(slot).await?);
                }
            }
        }
        Ok(written)
    }

    /// Sets parameters and states to what `leaves` holds of them.
    ///
    /// # Errors
    /// When the store has no leaf of this name and type, or the device is lost.
    pub fn put_back(&self, leaves: &Leaves) -> Result<()> {
        let stored = leaves.iter().filter(|((leaf, _), _)| *leaf != Leaf::Input);
        stored.into_iter().try_for_each(|((_, name), before)| self.store.set(name, before))
    }

    /// The first half of a step: everything up to complete gradients, no updates that depend on them.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub fn run_gradients(&self, inputs: &[(&str, &Array)]) -> Result<()> {
        pollster::block_on(self.run_gradients_async(inputs))
    }

    /// As [`Program::run_gradients`].
    ///
    /// # Errors
    /// As [`Program::run`].
    pub async fn run_gradients_async(&self, inputs: &[(&str, &Array)]) -> Result<()> {
        self.write_inputs(inputs)?;
        self.start(0..self.schedule.cut).await
    }

    /// The second half of a step: the updates that depend on gradients.
    ///
    /// # Errors
    /// When a kernel is wrong ([`ErrorKind::Parity`]), or the device is lost.
    pub fn run_updates(&self) -> Result<()> {
        pollster::block_on(self.run_updates_async())
    }

    /// As [`Program::run_updates`].
    ///
    /// # Errors
    /// As [`Program::run_updates`].
    pub async fn run_updates_async(&self) -> Result<()> {
        self.start(self.schedule.cut..self.schedule.steps.len()).await
    }

    /// Runs and reads all outputs.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub fn call(&self, inputs: &[(&str, &Array)]) -> Result<BTreeMap<String, Array>> {
        self.run(inputs)?;
        self.schedule.outputs.iter().map(|(name, _, _)| Ok((name.clone(), self.read(name)?))).collect()
    }

    /// An output of the last run; waits for it.
    ///
    /// # Errors
    /// When there is no output of this name, or the device is lost.
    pub fn read(&self, output: &str) -> Result<Array> {
        pollster::block_on(self.read_async(output))
    }

    /// As [`Program::read`].
    ///
    /// # Errors
    /// As [`Program::read`].
    pub async fn read_async(&self, output: &str) -> Result<Array> {
        let found = self.schedule.outputs.iter().find(|(name, _, _)| name == output);
        let Some((_, slot, ty)) = found else {
            let known: Vec<&str> = self.schedule.outputs.iter().map(|(name, _, _)| name.as_str()).collect();
            return Err(self.error(ErrorKind::Config, format!("no output {output:?}; it has {}", known.join(", "))));
        };
        let (arena, range) = self.schedule.range(*slot);
        self.read_words(arena, range, ty).await
    }

    /// The gradient of a parameter after the last run.
    ///
    /// # Errors
    /// When the program computes no gradient of this name.
    pub fn gradient(&self, parameter: &str) -> Result<Array> {
        let wanted = Origin::Gradient(parameter.to_owned());
        let Some(slot) = self.schedule.slots.iter().find(|slot| slot.origin == wanted) else {
            return Err(self.error(ErrorKind::Config, format!("no gradient of {parameter:?}")));
        };
        let (place, len) = (slot.place, slot.ty.words());
        // The slot is of the step that fills it, before any view.
        let gradients = &self.graph.gradients;
        let ty = gradients.iter().find(|(name, _)| name == parameter).map_or(&slot.ty, |(_, v)| self.graph.type_of(*v));
        pollster::block_on(self.read_words(place.arena, place.offset..place.offset + len, ty))
    }

    async fn read_slot(&self, slot: &Slot) -> Result<Array> {
        let start = slot.place.offset;
        self.read_words(slot.place.arena, start..start + slot.ty.words(), &slot.ty).await
    }

    async fn read_words(&self, arena: Arena, range: std::ops::Range<usize>, ty: &TensorType) -> Result<Array> {
        let words = self.device().read(&self.buffers[&arena], range).await?;
        Array::from_words(&ty.shape, ty.dtype, &words)
    }

    fn write_inputs(&self, inputs: &[(&str, &Array)]) -> Result<()> {
        for (name, _) in &self.schedule.inputs {
            if !inputs.iter().any(|(given, _)| given == name) && !self.bound.contains(name) {
                return Err(self.error(ErrorKind::Config, format!("the input {name:?} is missing")));
            }
        }
        let again = |i: &usize| inputs[..*i].iter().any(|(earlier, _)| *earlier == inputs[*i].0);
        if let Some(i) = (0..inputs.len()).find(again) {
            let name = inputs[i].0;
            return Err(self.error(ErrorKind::Config, format!("the input {name:?} is given twice")));
        }
        inputs.iter().try_for_each(|(name, array)| self.write_input(name, array))
    }

    fn write_input(&self, name: &str, array: &Array) -> Result<()> {
        let Some((_, slot)) = self.schedule.inputs.iter().find(|(known, _)| known == name) else {
            let known: Vec<&str> = self.graph.leaves(Leaf::Input).map(|(name, _)| name).collect();
            if known.contains(&name) {
                // Declared, but nothing depends on it.
                return Ok(());
            }
            return Err(self.error(ErrorKind::Config, format!("no input {name:?}; it has {}", known.join(", "))));
        };
        let ty = &self.schedule.slot(*slot).ty;
        if ty.shape != array.shape() || ty.dtype != array.dtype() {
            let text = format!("input {name:?} is {ty}, got {}{:?}", array.dtype(), array.shape());
            let kind = if ty.shape == array.shape() { ErrorKind::DType } else { ErrorKind::Shape };
            return Err(self.error(kind, text));
        }
        let (arena, range) = self.schedule.range(*slot);
        self.device().write(&self.buffers[&arena], range.start, &array.to_words())
    }

    fn error(&self, kind: ErrorKind, message: String) -> Error {
        Error::new(kind, message).context(format!("program {:?}", self.name))
    }

    /// On a device with guards: checks that no step wrote outside of its tensors since the program was compiled.
    ///
    /// # Errors
    /// Names the arena and the word that changed.
    pub fn check_guards(&self) -> Result<()> {
        for (&arena, buffer) in self.buffers.iter().filter(|(arena, _)| matches!(arena, Arena::Activation(_))) {
            let words = pollster::block_on(self.device().read(buffer, 0..buffer.len()))?;
            let mut owned = vec![false; words.len()];
            for slot in self.schedule.slots.iter().filter(|slot| slot.place.arena == arena) {
                let end = (slot.place.offset + slot.ty.words()).min(owned.len());
                owned[slot.place.offset.min(end)..end].fill(true);
            }
            let stray = (0..words.len()).find(|&i| !owned[i] && words[i] != GUARD);
            if let Some(word) = stray {
                let before = self
                    .schedule
                    .slots
                    .iter()
                    .enumerate()
                    .filter(|(_, s)| s.place.arena == arena && s.place.offset <= word);
                let slot = before.max_by_key(|(_, s)| s.place.offset).map(|(i, _)| i);
                let writer = slot.and_then(|slot| {
                    self.schedule
                        .steps
                        .iter()
                        .find(|step| step.writes.iter().chain(&step.workspace).any(|w| w.0 == slot))
                });
                let step = writer.map_or("an unknown step", |step| step.label.as_str());
                return Err(self.error(
                    ErrorKind::Parity,
                    format!("word {word} of {arena}, outside of every tensor, was overwritten, probably by {step}"),
                ));
            }
        }
        Ok(())
    }
}

/// What a run did, step by step.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Inputs, parameters and states before the run.
    pub leaves: Leaves,
    /// What steps wrote of the values of [`Program::graph`]. What was fused away, or written over a state, is not among them.
    pub written: HashMap<Value, Array>,
    /// Parameters and states after the run, of those that it updates.
    pub updates: BTreeMap<String, Array>,
}

impl Tensor {
    /// The value of a tensor computed on `device` from data and constants, with initial parameters: for exploration.
    ///
    /// ```
    /// use neuropil::{Array, Device, Trace};
    /// let trace = Trace::default();
    /// let x = trace.data(&Array::new(&[3], vec![3f32, 4.0, 5.0])?);
    /// assert_eq!(x.square().sum_all().eval(&Device::cpu())?.item()?, 50.0);
    /// # Ok::<(), neuropil::Error>(())
    /// ```
    ///
    /// # Errors
    /// The first mistake made while tracing; a tensor that needs inputs.
    pub fn eval(&self, device: &Device) -> Result<Array> {
        let trace = self.trace();
        let mut traced = trace.finish()?;
        traced.graph.outputs = vec![("value".into(), self.value())];
        traced.graph.gradients.clear();
        traced.graph.updates.clear();
        let graph = traced.lowered()?;
        let store = Store::new(device, 0);
        store.prepare(&traced.specs)?;
        let program = Program::from_graph("eval", &store, &graph)?;
        let data: Vec<(&str, &Array)> = traced.bound.iter().map(|(name, array)| (name.as_str(), array)).collect();
        let data: Vec<(&str, &Array)> = data.into_iter().filter(|(name, _)| program.takes(name)).collect();
        program.run(&data)?;
        program.read("value")
    }
}

/// What guard words hold: a quiet NaN with a recognisable payload.
const GUARD: u32 = 0x7fc0_dead;
