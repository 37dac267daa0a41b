//! Functions and layers of users, held to what the operations of the crate are held to.
//!
//! [`parity`] runs a traced function on a device and compares all it gives with the `f64` reference: outputs, gradients,
//! updates, and the gradients of its outputs with respect to float inputs and parameters, each output element with an
//! upstream gradient of its own. [`gradients()`] needs no device: it holds those gradients against central differences. The
//! first finds wrong kernels, the second wrong gradient rules.

use std::fmt;

use super::gradients::{self, GradientError, Outcome};
use super::probe::Probe;
use super::reference::{self, Evaluation, Leaves};
use super::{Comparison, compare, rounding};
use crate::array::Array;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Graph, Leaf};
use crate::program::{Mode, Program};
use crate::store::Store;
use crate::tensor::{Trace, Traced};

const TOLERANCE_REASON: &str = "4 times what rounding does to the reference, and 8 roundings of the largest element";

/// That a device and the reference agree about a function: the worst element of each result.
#[derive(Clone, Debug)]
pub struct Agreement {
    /// One a result: `y`, `gradient of conv.weight`, `new bn.running_mean`; of the gradients that were added for the check
    /// `gradient of the outputs by input "x"`.
    pub comparisons: Vec<Comparison>,
    /// Why no gradients of the outputs were compared, if none were.
    pub without_gradients: Option<String>,
}

impl Agreement {
    /// The result with the worst error in units of what is allowed.
    pub fn worst(&self) -> Option<&Comparison> {
        self.comparisons.iter().max_by(|a, b| a.worst.total_cmp(&b.worst))
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for comparison in &self.comparisons {
            writeln!(f, "{comparison}")?;
        }
        self.without_gradients.as_ref().map_or(Ok(()), |reason| writeln!(f, "no gradients were compared: {reason}"))
    }
}

/// Runs what `build` traces on `device`, in training mode, and compares every result with the `f64` reference.
///
/// `build` asks for its inputs with [`Trace::input`], for parameters and states below [`Trace::scope`], and names its
/// results with [`Trace::output`]; layers, `Trace::gradients` and whole training steps may be used. The `inputs` are given
/// by name. Parameters and states start where [`Store`] starts them, so random numbers are the same on both sides. Compared
/// are outputs, gradients and updates of the trace; then, in a program of its own, the gradients of all float outputs with
/// respect to float inputs and parameters. Each program runs twice, and the runs must agree bit for bit.
///
/// How far a result may be off is derived from what rounding does to the reference: see [`mod@rounding`].
///
/// ```
/// use neuropil::nn::{BatchNorm, Conv2d, Module};
/// use neuropil::{Array, DType, Device, Trace, check};
///
/// let images = Array::from_fn(&[2, 5, 5, 3], |i| ((7 * i[1] + 5 * i[2] + 3 * i[3] + i[0]) % 11) as f32 / 11.0);
/// let layer = |t: &Trace| {
///     let x = t.input("x", &[2, 5, 5, 3], DType::F32);
///     let y = Conv2d::new(4, 3).forward(&t.scope().enter("conv"), x);
///     t.output("y", &BatchNorm::default().forward(&t.scope().enter("norm"), y).tanh());
/// };
/// let agreement = check::parity(&Device::cpu(), layer, &[("x", &images)])?;
/// println!("{agreement}");
/// # Ok::<(), neuropil::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::Parity`] with the result, the index and both values where they differ; what tracing, inputs that do not
/// fit, and the device report.
pub fn parity(device: &Device, build: impl FnOnce(&Trace), inputs: &[(&str, &Array)]) -> Result<Agreement> {
    parity_in(Mode::Train, device, build, inputs)
}

/// As [`parity`], in the mode of your choice.
///
/// # Errors
/// As [`parity`].
pub fn parity_in(
    mode: Mode,
    device: &Device,
    build: impl FnOnce(&Trace),
    inputs: &[(&str, &Array)],
) -> Result<Agreement> {
    let mut function = Function::trace(mode, device, build, inputs)?;
    let graph = function.traced.lowered()?;
    let mut agreement = Agreement { comparisons: function.compare(&graph, &function.leaves)?, without_gradients: None };
    match function.probed()? {
        Ok((graph, leaves)) => agreement.comparisons.extend(function.compare(&graph, &leaves)?),
        Err(reason) => agreement.without_gradients = Some(reason),
    }
    Ok(agreement)
}

/// Holds the gradients of what `build` traces, in training mode, against central differences in `f64`: those of its float
/// outputs with respect to every float input and every parameter. Gives how far each is off.
///
/// `build` and `inputs` are as for [`parity`]; no device is needed. The function is computed dozens of times by plain
/// loops, so take small sizes. It must be smooth around the point: an input at a kink, as of `relu` at 0, is an error that
/// says so.
///
/// ```
/// use neuropil::nn::{Linear, Module};
/// use neuropil::{Array, DType, Trace, check};
///
/// let layer = |t: &Trace| {
///     let x = t.input("x", &[2, 3], DType::F32);
///     t.output("y", &Linear::new(4).forward(&t.scope(), x).gelu());
/// };
/// let x = Array::new(&[2, 3], vec![0.3f32, -1.2, 0.8, 1.5, -0.4, 0.1])?;
/// let errors = check::gradients(layer, &[("x", &x)])?;
/// assert_eq!(errors.len(), 3, "x, weight and bias");
/// # Ok::<(), neuropil::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::Parity`] with the input or parameter and both values where a gradient is wrong; [`ErrorKind::Gradient`]
/// where there is nothing to differentiate or an operation has no gradient; what tracing reports, and inputs that do not fit.
pub fn gradients(build: impl FnOnce(&Trace), inputs: &[(&str, &Array)]) -> Result<Vec<GradientError>> {
    gradients_in(Mode::Train, build, inputs)
}

/// As [`gradients()`], in the mode of your choice.
///
/// # Errors
/// As [`gradients()`].
pub fn gradients_in(mode: Mode, build: impl FnOnce(&Trace), inputs: &[(&str, &Array)]) -> Result<Vec<GradientError>> {
    let function = Function::trace(mode, &Device::cpu(), build, inputs)?;
    let mut probe = Probe::of_graph(function.traced.graph, function.leaves);
    let outcome = gradients::of_probe(&mut probe, false)?;
    outcome.verdict()?;
    match outcome {
        Outcome::Checked(errors) => Ok(errors),
        Outcome::Skipped(reason) => Err(Error::new(ErrorKind::Gradient, format!("nothing was checked: {reason}"))),
    }
}

/// A traced function with the data that it starts from.
struct Function {
    traced: Traced,
    store: Store,
    leaves: Leaves,
}

impl Function {
    fn trace(mode: Mode, device: &Device, build: impl FnOnce(&Trace), inputs: &[(&str, &Array)]) -> Result<Self> {
        let trace = Trace::new(mode == Mode::Train, Vec::new());
        build(&trace);
        let traced = trace.finish()?;
        if traced.graph.results().next().is_none() {
            let text = "the function has no results: name them with Trace::output";
            return Err(Error::new(ErrorKind::Graph, text));
        }
        let mut leaves = given(&traced.graph, inputs)?;
        let bound = traced.bound.iter().map(|(name, array)| ((Leaf::Input, name.clone()), array.clone()));
        leaves.extend(bound);
        let store = Store::new(device, 0);
        store.prepare(&traced.specs)?;
        for spec in &traced.specs {
            leaves.insert((spec.leaf, spec.name.clone()), store.get(&spec.name)?);
        }
        Ok(Function { traced, store, leaves })
    }

    /// The graph of the outputs' gradients, in the precision of the trace, with its leaves; or why there is none.
    fn probed(&mut self) -> Result<std::result::Result<(Graph, Leaves), String>> {
        let mut probe = Probe::of_graph(self.traced.graph.clone(), self.leaves.clone());
        let wanted = probe.differentiable();
        if wanted.is_empty() {
            return Ok(Err("neither floats among the inputs nor parameters".to_owned()));
        }
        let Some(loss) = probe.loss()? else { return Ok(Err("no float outputs".to_owned())) };
        let gradients = match probe.gradients(loss) {
            Err(error) if error.kind() == ErrorKind::Gradient => return Ok(Err(error.to_string())),
            gradients => gradients?,
        };
        let names = wanted.iter().map(|(input, _)| format!("gradient of the outputs by {}", probe.names[*input]));
        self.traced.graph = probe.graph;
        self.traced.graph.outputs = names.zip(gradients).collect();
        self.traced.graph.gradients.clear();
        self.traced.graph.updates.clear();
        Ok(Ok((self.traced.lowered()?, probe.leaves)))
    }

    /// Compares the results of `graph` on the store's device with those of the reference.
    fn compare(&self, graph: &Graph, leaves: &Leaves) -> Result<Vec<Comparison>> {
        let program = Program::from_graph("function", &self.store, graph)?;
        let inputs = leaves.iter().filter(|((leaf, name), _)| *leaf == Leaf::Input && program.takes(name));
        let inputs: Vec<(&str, Array)> = inputs.map(|((_, name), array)| (name.as_str(), on_device(array))).collect();
        let inputs: Vec<(&str, &Array)> = inputs.iter().map(|(name, array)| (*name, array)).collect();
        let (first, second) = (self.run(&program, graph, &inputs)?, self.run(&program, graph, &inputs)?);
        if self.store.device().options().guards {
            program.check_guards()?;
        }
        let exact = results(&reference::run(graph, leaves, DType::F64)?);
        let rounded: Vec<_> = rounding::rounded_runs(graph, leaves)?.iter().map(results).collect();
        let half = graph.uses(DType::F16);
        let mut comparisons = Vec::with_capacity(exact.len());
        for (i, (name, want)) in exact.iter().enumerate() {
            let (got, again) = (&first[i], &second[i]);
            let rounded: Vec<&Array> = rounded.iter().map(|run| &run[i].1).collect();
            let tolerance = rounding::derived(want, &rounded, 0.0, half, TOLERANCE_REASON);
            let comparison = compare(name, got, want, tolerance)?;
            comparison.verdict()?;
            if got.to_words() != again.to_words() {
                return Err(Error::new(ErrorKind::Parity, format!("{name}: two runs differ in their bits")));
            }
            comparisons.push(comparison);
        }
        Ok(comparisons)
    }

    /// One run from the initial parameters and states: all results, in the order of [`results`].
    fn run(&self, program: &Program, graph: &Graph, inputs: &[(&str, &Array)]) -> Result<Vec<Array>> {
        for spec in &self.traced.specs {
            self.store.set(&spec.name, &self.leaves[&(spec.leaf, spec.name.clone())])?;
        }
        program.run(inputs)?;
        let outputs = graph.outputs.iter().map(|(name, _)| program.read(name));
        let gradients = graph.gradients.iter().map(|(name, _)| program.gradient(name));
        let updates = graph.updates.iter().map(|(_, name, _)| self.store.get(name));
        outputs.chain(gradients).chain(updates).collect()
    }
}

/// The data of the inputs by name; every input of the graph must be there, of its type.
fn given(graph: &Graph, inputs: &[(&str, &Array)]) -> Result<Leaves> {
    let fail = |kind, text: String| Err(Error::new(kind, text));
    let known: Vec<&str> = graph.leaves(Leaf::Input).map(|(name, _)| name).filter(|n| !n.starts_with('.')).collect();
    if let Some((name, _)) = inputs.iter().find(|(name, _)| !known.contains(name)) {
        return fail(ErrorKind::Config, format!("the function has no input {name:?}; it has {}", known.join(", ")));
    }
    let mut leaves = Leaves::new();
    for (name, value) in graph.leaves(Leaf::Input).filter(|(name, _)| known.contains(name)) {
        let Some((_, array)) = inputs.iter().find(|(given, _)| *given == name) else {
            return fail(ErrorKind::Config, format!("the input {name:?} is missing"));
        };
        let ty = graph.type_of(value);
        let dtype = if array.dtype() == DType::F64 { DType::F32 } else { array.dtype() };
        if ty.shape != array.shape() || ty.dtype != dtype {
            let kind = if ty.dtype == dtype { ErrorKind::Shape } else { ErrorKind::DType };
            return fail(kind, format!("input {name:?} is {ty}, got {}{:?}", array.dtype(), array.shape()));
        }
        // What the device gets is what the reference gets.
        leaves.insert((Leaf::Input, name.to_owned()), on_device(array));
    }
    Ok(leaves)
}

/// Devices have no doubles.
fn on_device(array: &Array) -> Array {
    if array.dtype() == DType::F64 { array.cast(DType::F32) } else { array.clone() }
}

/// Every result of a reference run, with what messages call it: outputs, gradients, updates.
fn results(evaluation: &Evaluation) -> Vec<(String, Array)> {
    let outputs = evaluation.outputs().map(|(name, array)| (name.to_owned(), array.clone()));
    let gradients = evaluation.gradients().map(|(name, array)| (format!("gradient of {name}"), array.clone()));
    let updates = evaluation.updates().map(|(_, name, array)| (format!("new {name}"), array.clone()));
    outputs.chain(gradients).chain(updates).collect()
}
