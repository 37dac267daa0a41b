//! Every operation against itself, without a device: its answers (types, reference, gradient, decomposition, samples)
//! must agree with each other. Devices are then held to the reference.

use std::collections::BTreeMap;

use neuropil::check::{self, Outcome, compare, gradients, reference};
use neuropil::graph::{Expect, Gradient, Graph, Leaf, Lowering, Sample, TensorType, Tolerance, Value};
use neuropil::ops::REGISTRY;
use neuropil::{Array, Context, DType, Error, ErrorKind, Result};

/// Runs `test` on every sample of every family, and fails with all that is wrong.
fn for_every_sample(test: impl Fn(&Sample) -> Result<()>) {
    let mut failures = Vec::new();
    for family in REGISTRY {
        for sample in (family.samples)() {
            if let Err(error) = test(&sample) {
                failures.push(format!("{} / {:?} / {:?}: {error}", family.name, sample.op, sample.name));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

fn is_error(sample: &Sample) -> bool {
    matches!(sample.expect, Expect::Error(..))
}

fn parity(message: String) -> Error {
    Error::new(ErrorKind::Parity, message)
}

fn types(arrays: &[Array]) -> Vec<TensorType> {
    arrays.iter().map(|array| TensorType::new(array.dtype(), array.shape())).collect()
}

/// The outputs of what `build` adds to a graph, at the sample's inputs.
fn run(
    sample: &Sample,
    precision: DType,
    build: impl Fn(&mut Graph, &[Value]) -> Result<Vec<Value>>,
) -> Result<Vec<Array>> {
    let (mut graph, mut leaves, mut inputs) = (Graph::new(), BTreeMap::new(), Vec::new());
    for (i, (array, ty)) in sample.inputs.iter().zip(types(&sample.inputs)).enumerate() {
        inputs.push(graph.leaf(Leaf::Input, &format!("in{i}"), ty)?);
        leaves.insert((Leaf::Input, format!("in{i}")), array.clone());
    }
    let outputs = build(&mut graph, &inputs)?;
    graph.outputs = outputs.into_iter().enumerate().map(|(i, value)| (format!("out{i}"), value)).collect();
    graph.verify()?;
    let evaluation = reference::run(&graph, &leaves, precision)?;
    Ok(evaluation.outputs().map(|(_, array)| array.clone()).collect())
}

fn forward(sample: &Sample, precision: DType) -> Result<Vec<Array>> {
    run(sample, precision, |graph, inputs| graph.apply(sample.op.clone(), inputs))
}

fn compare_all(what: &str, got: &[Array], want: &[Array], tolerance: Tolerance) -> Result<()> {
    if got.len() != want.len() {
        return Err(parity(format!("{what}: {} outputs, should be {}", got.len(), want.len())));
    }
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        compare(&format!("{what} out{i}"), got, want, tolerance)?.verdict()?;
    }
    Ok(())
}

#[test]
fn the_reference_in_f32_is_within_the_tolerance_of_f64() {
    for_every_sample(|sample| {
        if is_error(sample) {
            return Ok(());
        }
        let (single, double) = (forward(sample, DType::F32)?, forward(sample, DType::F64)?);
        compare_all("f32 reference", &single, &double, sample.tolerance)
    });
}

#[test]
fn infer_says_what_the_reference_gives() {
    for_every_sample(|sample| {
        if is_error(sample) {
            return Ok(());
        }
        // References are never asked in f16.
        let single = |array: &Array| array.cast(array.dtype().computed());
        let inputs: Vec<Array> = sample.inputs.iter().map(single).collect();
        let (inferred, computed) = (sample.op.infer(&types(&sample.inputs))?, sample.op.reference(&inputs)?);
        let kind = |dtype: DType| if dtype.is_float() { DType::F32 } else { dtype };
        let inferred: Vec<_> = inferred.into_iter().map(|ty| (ty.shape, kind(ty.dtype))).collect();
        let computed: Vec<_> = types(&computed).into_iter().map(|ty| (ty.shape, kind(ty.dtype))).collect();
        if inferred == computed {
            return Ok(());
        }
        Err(parity(format!("infer says {inferred:?}, the reference gives {computed:?}")))
    });
}

#[test]
fn single_elements_are_those_of_the_whole() {
    for_every_sample(|sample| {
        if is_error(sample) {
            return Ok(());
        }
        let double = |array: &Array| if array.dtype().is_float() { array.cast(DType::F64) } else { array.clone() };
        let inputs: Vec<Array> = sample.inputs.iter().map(double).collect();
        let whole = sample.op.reference(&inputs)?.swap_remove(0);
        let indices: Vec<usize> = (0..whole.len()).rev().step_by(1 + whole.len() / 7).collect();
        let elements = whole.to_f64_vec();
        let want: Vec<f64> = indices.iter().map(|index| elements[*index]).collect();
        let got = Array::new(&[indices.len()], sample.op.reference_at(&inputs, &indices)?)?;
        let tolerance = Tolerance { absolute: 1e-12, relative: 1e-12, reason: "the same in f64" };
        compare("reference_at", &got, &Array::new(&[indices.len()], want)?, tolerance)?.verdict()
    });
}

#[test]
fn samples_that_must_fail_are_refused_in_the_words_they_say() {
    for_every_sample(check::check_error);
}

#[test]
fn gradients_agree_with_central_differences() {
    gradients_of_order("gradient", gradients::sample);
}

#[test]
fn gradients_of_gradients_agree_with_central_differences() {
    gradients_of_order("gradient of the gradient", gradients::second_order);
}

/// Checks all samples, and that every operation with a rule has a sample on which its gradient could be checked, unless
/// the operation refuses.
fn gradients_of_order(what: &str, check: fn(&Sample) -> Result<Outcome>) {
    // For each operation why no sample was checked, or nothing if one was.
    let mut unchecked: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut failures = Vec::new();
    for family in REGISTRY {
        for sample in (family.samples)() {
            let op = format!("{} / {}", family.name, sample.op.name());
            let outcome = check(&sample).and_then(|outcome| outcome.verdict().map(|()| outcome));
            match outcome {
                Err(error) => failures.push(format!("{op} / {:?} / {:?}: {error}", sample.op, sample.name)),
                Ok(Outcome::Checked(_)) => drop(unchecked.insert(op, None)),
                Ok(Outcome::Skipped(reason)) => drop(unchecked.entry(op).or_insert(Some(reason))),
            }
        }
    }
    let skipped = unchecked.into_iter().filter_map(|(op, reason)| Some(format!("{op}: {}", reason?)));
    let skipped: Vec<String> = skipped.collect();
    println!("no {what} was checked of:\n{}", skipped.join("\n"));
    let unsmooth: Vec<&String> = skipped.iter().filter(|line| line.ends_with("not smooth")).collect();
    assert!(unsmooth.is_empty(), "add a smooth sample, the {what} is never checked of: {unsmooth:#?}");
    assert!(failures.is_empty(), "{} wrong {what}s:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_operation_decides_about_its_gradient() {
    for_every_sample(|sample| {
        if is_error(sample) {
            return Ok(());
        }
        match sample.op.gradient() {
            Gradient::None(reason) if reason.len() < 10 => {
                Err(parity(format!("the reason {reason:?} tells the user nothing")))
            }
            // Only floats have gradients: a rule of an operation that gives integers would never be asked.
            Gradient::Rule(_) => {
                let outputs = sample.op.infer(&types(&sample.inputs))?;
                let floats = outputs.iter().any(|ty| ty.dtype.is_float());
                let integers = sample.inputs.iter().all(|array| !array.dtype().is_float());
                if floats || integers { Ok(()) } else { Err(parity("a rule, but no output of floats".to_owned())) }
            }
            Gradient::None(_) | Gradient::Zero | Gradient::Decompose => Ok(()),
        }
    });
}

#[test]
fn decompositions_compute_the_same() {
    for_every_sample(|sample| {
        if is_error(sample) {
            return Ok(());
        }
        let inputs = types(&sample.inputs);
        let lowering = sample.op.lowering(&inputs, &sample.op.infer(&inputs)?);
        let lowers = matches!(lowering, Lowering::Decompose);
        let has_parts = match run(sample, DType::F64, |graph, inputs| sample.op.decompose(graph, inputs)) {
            Ok(parts) => {
                let exact = Tolerance { absolute: 1e-12, relative: 1e-9, reason: "the same in f64" };
                let whole = forward(sample, DType::F64)?;
                compare_all("decomposition", &parts, &whole, exact).context(|| "in f64")?;
                true
            }
            Err(error) if error.to_string().contains("no decomposition") => false,
            Err(error) => return Err(error),
        };
        match sample.op.gradient() {
            _ if has_parts => Ok(()),
            Gradient::Decompose => Err(parity("the gradient is that of a decomposition that is missing".to_owned())),
            _ if lowers => Err(parity("lowers to a decomposition that is missing".to_owned())),
            _ => Ok(()),
        }
    });
}

#[test]
fn the_cases_for_devices_are_within_reach_of_f32() {
    for_every_sample(|sample| {
        for case in check::cases(sample)? {
            let at = || format!("{} case", case.direction);
            case.graph.verify().context(at)?;
            let leaves = case.leaves.iter().map(|(name, array)| ((Leaf::Input, name.clone()), array.clone())).collect();
            let evaluation = reference::run(&case.graph, &leaves, DType::F32).context(at)?;
            for want in &case.wants {
                let got = evaluation.output(&want.name)?;
                want.compare(got).and_then(|c| c.verdict()).context(at)?;
            }
        }
        Ok(())
    });
}
