//! How far rounding alone may move a result: what derived tolerances are made of.
//!
//! A function of many operations has no tolerance that someone wrote down. Its own is measured: the reference in `f64` is
//! compared with itself in `f32`, `f16` where the graph stores it, and with itself under noise, where every operation's
//! results move at random by as much as a device may be off there (Monte Carlo arithmetic). What cancels, and what a
//! steep function makes of the error before it, shows in both. [`derived`] turns the distances into a tolerance.
//!
//! Source: Parker, "Monte Carlo arithmetic: exploiting randomness in floating-point arithmetic", 1997.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::reference::{self, Evaluation, Leaves};
use crate::array::Array;
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::{Graph, Tolerance};
use crate::ops::REGISTRY;
use crate::random::Stream;

/// One rounding to `f32`, relative.
pub const ROUNDING: f64 = 6e-8;

/// Runs under noise: two that agree by chance are rare.
const NOISY_RUNS: u64 = 2;

/// Of an operation that is not in the registry: as much as WGSL allows `exp` of numbers up to 20.
const UNKNOWN: Tolerance = Tolerance { absolute: 1e-30, relative: 6e-6, reason: "a shader of a user" };

/// The error allowed in a result that is `exact` in `f64` and `rounded` where it is not. Three sources, in units of the
/// largest element where elements are sums of which parts cancel:
/// - `functions`: four times what the device's functions may be off by, relative;
/// - four times what rounding does to the reference, wherever it is worst;
/// - a floor of eight roundings, since a sum in another order rounds otherwise; where `half`, of three to `f16` besides.
///
/// A missing term, a wrong factor or a neighbour's value are hundreds of times larger.
pub fn derived(exact: &Array, rounded: &[&Array], functions: f64, half: bool, reason: &'static str) -> Tolerance {
    let (half, smallest) = if half { (Tolerance::HALF.relative, Tolerance::HALF.absolute) } else { (0.0, 1e-30) };
    let relative = 4.0 * functions + 8.0 * ROUNDING + 3.0 * half;
    let distances = rounded.iter().map(|array| distance(exact, array));
    let absolute = largest(exact) * relative + 4.0 * distances.fold(0.0, f64::max) + smallest;
    Tolerance { absolute, relative, reason }
}

/// The magnitude of the largest element that is finite.
pub fn largest(array: &Array) -> f64 {
    array.to_f64_vec().into_iter().map(f64::abs).filter(|x| x.is_finite()).fold(0.0, f64::max)
}

/// The largest difference that is finite.
pub(super) fn distance(exact: &Array, other: &Array) -> f64 {
    let differences = exact.to_f64_vec().into_iter().zip(other.to_f64_vec()).map(|(a, b)| (a - b).abs());
    differences.filter(|x| x.is_finite()).fold(0.0, f64::max)
}

/// The results of `graph` with rounding: in `f32`, with what it stores as `f16` rounded to that, and in `f64` under noise.
///
/// # Errors
/// As [`reference::run`].
pub fn rounded_runs(graph: &Graph, leaves: &Leaves) -> Result<Vec<Evaluation>> {
    let halves = |dtype: DType, array: Array| {
        if dtype == DType::F16 { array.cast(DType::F16).cast(DType::F32) } else { array }
    };
    let single =
        reference::run_with(graph, leaves, DType::F32, |value, array| Ok(halves(graph.type_of(value).dtype, array)))?;
    let noisy = |seed| {
        reference::run_with(graph, leaves, DType::F64, |value, array| {
            let dtype = graph.type_of(value).dtype;
            let Some(op) = graph.node(value.node).op().filter(|_| dtype.is_float()) else { return Ok(array) };
            let mut error = *device_errors().get(op.name()).unwrap_or(&UNKNOWN);
            if dtype == DType::F16 {
                error.relative += Tolerance::HALF.relative;
            }
            let mut stream = Stream::new(seed, &format!("check.noise {value}"));
            let mut noise = || 2.0 * f64::from(stream.uniform()) - 1.0;
            let moved =
                array.to_f64_vec().into_iter().map(|y| y + error.relative * y * noise() + error.absolute * noise());
            Array::new(array.shape(), moved.collect::<Vec<f64>>())
        })
    };
    std::iter::once(Ok(single)).chain((0..NOISY_RUNS).map(noisy)).collect()
}

/// What a device may be off by in one operation, by its name: the most that a sample of it allows in `f32`, relative, and
/// absolute if it is a function of each element (elsewhere that is of the size of the sample's numbers).
fn device_errors() -> &'static BTreeMap<&'static str, Tolerance> {
    static ERRORS: OnceLock<BTreeMap<&'static str, Tolerance>> = OnceLock::new();
    ERRORS.get_or_init(|| {
        let mut errors: BTreeMap<&'static str, Tolerance> = BTreeMap::new();
        for family in REGISTRY {
            for sample in (family.samples)() {
                if sample.inputs.iter().any(|array| array.dtype() == DType::F16) {
                    continue;
                }
                let error = errors.entry(sample.op.name()).or_insert(Tolerance::EXACT);
                error.relative = error.relative.max(sample.tolerance.relative);
                if family.name == "elementwise" {
                    error.absolute = error.absolute.max(sample.tolerance.absolute);
                }
            }
        }
        errors
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Leaf, TensorType};

    /// What rounding does to `build` of the numbers 1000.25 and -1000.
    fn rounded(stored: DType, build: impl Fn(&mut Graph, crate::graph::Value) -> Result<crate::graph::Value>) -> f64 {
        let mut graph = Graph::new();
        let x = graph.leaf(Leaf::Input, "x", TensorType::new(DType::F32, [2])).unwrap();
        let y = graph.cast(x, stored).and_then(|x| build(&mut graph, x)).unwrap();
        graph.outputs.push(("y".to_owned(), y));
        let leaves = Leaves::from([((Leaf::Input, "x".to_owned()), Array::new(&[2], vec![1000.25, -1000.0]).unwrap())]);
        let exact = reference::run(&graph, &leaves, DType::F64).unwrap();
        let runs = rounded_runs(&graph, &leaves).unwrap();
        let outputs: Vec<&Array> = runs.iter().map(|run| run.output("y").unwrap()).collect();
        derived(exact.output("y").unwrap(), &outputs, 0.0, stored == DType::F16, "test").absolute
    }

    #[test]
    fn what_cancels_and_what_is_stored_as_f16_shows() {
        let shifted = rounded(DType::F32, |graph, x| {
            let scaled = graph.scale(x, 1.0 / 3.0)?;
            graph.sum(scaled, &[0])
        });
        // The sum is 1/12, its terms round by 2e-5.
        assert!((1e-5..1e-3).contains(&shifted), "{shifted:e}");
        let moved = rounded(DType::F32, |graph, x| graph.unary("neg", x));
        assert!((1e-4..1e-3).contains(&moved), "the floor, 5e-7 of the largest element: {moved:e}");
        // 1000.25 is no number of f16.
        let half = rounded(DType::F16, |graph, x| graph.cast(x, DType::F32));
        assert!((1.0..10.0).contains(&half), "{half}");
    }
}
