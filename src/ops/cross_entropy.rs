//! Softmax cross-entropy with label smoothing: the loss of every row of logits and its gradient, by one kernel.
//!
//! With logits z of C classes, p = softmax(z), label l and smoothing ε, the target is tᵢ = (1 − ε)·[i = l] + ε/C and
//! loss = −Σ tᵢ·log pᵢ = log Σ exp(zᵢ − m) − Σ tᵢ·(zᵢ − m) for the largest logit m; d loss/dz = p − t. This is
//! PyTorch's `cross_entropy` with class indices and `reduction="none"`. (Source of the smoothing: Szegedy et al.,
//! "Rethinking the Inception architecture", 2016.)
//!
//! A label that is no class makes the loss of its row, and the gradient, NaN: labels are data, which no shape rule can
//! check, and a mistake must show.
//!
//! Targets that are no labels ([`SoftCrossEntropy`]): loss = −Σ tᵢ·log pᵢ for any weights t of the classes, as PyTorch's
//! with class probabilities. This one is a decomposition.

mod rows;

use crate::array::{Array, Float};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{
    ByRows, Gradient, Graph, Lowering, Op, Opaque, Sample, TensorType, Tolerance, Value, expect_inputs,
};
use crate::with_float;

/// Invocations of a workgroup.
const WORKGROUP: usize = 64;

/// The most classes: as many as the lanes of a row visit in 60,000 rounds each.
const MOST_CLASSES: usize = WORKGROUP * 60_000;

/// Logits `[N, C]` and labels `u32[N]` → the loss of every row `[N]`, and its gradient with respect to the logits
/// `[N, C]`.
#[derive(Clone, Debug)]
pub struct SoftmaxCrossEntropy {
    /// The share ε of the target that is spread evenly over all classes, in [0, 1].
    pub label_smoothing: f64,
}

impl Op for SoftmaxCrossEntropy {
    fn name(&self) -> &'static str {
        "softmax_cross_entropy"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let name = self.name();
        expect_inputs(name, inputs, 2)?;
        let (logits, labels) = (&inputs[0], &inputs[1]);
        if !(0.0..=1.0).contains(&self.label_smoothing) {
            let message = format!("{name}: a label smoothing of {} is not in [0, 1]", self.label_smoothing);
            return Err(Error::new(ErrorKind::Config, message));
        }
        if !logits.dtype.is_float() {
            return Err(Error::dtype(name, format_args!("the logits are {logits}, they must be floats; cast first")));
        }
        if labels.dtype != DType::U32 {
            return Err(Error::dtype(name, format_args!("the labels are {labels}, they must be u32; cast first")));
        }
        let [rows, classes] = logits.shape[..] else {
            return Err(Error::shape(name, format_args!("takes logits [N, C], got {logits}; reshape first")));
        };
        if labels.shape != [rows] {
            return Err(Error::shape(
                name,
                format_args!("the labels are {labels}, logits {logits} need one a row: u32[{rows}]"),
            ));
        }
        if classes == 0 || classes > MOST_CLASSES {
            return Err(Error::shape(name, format_args!("takes 1 to {MOST_CLASSES} classes, the logits are {logits}")));
        }
        Ok(vec![TensorType::new(logits.dtype, [rows]), logits.clone()])
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            let rows = cx.input_shape(0)[0];
            let mut total = None;
            if let Some(g) = cx.gradient(0) {
                let slope = cx.output(1);
                let column = cx.graph.reshape(g, &[rows, 1])?;
                total = Some(cx.graph.mul(column, slope)?);
            }
            // The second derivative: that of the softmax, p·(g − Σ g·p). The target is constant.
            if let Some(g) = cx.gradient(1) {
                let logits = cx.input(0);
                let p = cx.graph.softmax(logits, 1)?;
                let weighted = cx.graph.mul(g, p)?;
                let mean = cx.graph.sum(weighted, &[1])?;
                let deviation = cx.graph.sub(g, mean)?;
                let part = cx.graph.mul(p, deviation)?;
                total = Some(total.map_or(Ok(part), |first| cx.graph.add(first, part))?);
            }
            if let Some(gradient) = total {
                cx.give(0, gradient);
            }
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        with_float!(self.name(), inputs[0], T => {
            let (logits, labels) = (inputs[0].as_slice::<T>()?, inputs[1].as_slice::<u32>()?);
            let classes = inputs[0].shape()[1];
            let (nan, smoothing) = (T::c(f64::NAN), T::c(self.label_smoothing));
            let share = smoothing / T::c(classes as f64);
            let (mut losses, mut gradients) = (Vec::new(), Vec::new());
            for (row, &label) in logits.chunks(classes).zip(labels) {
                let label = label as usize;
                if label >= classes || row.iter().any(|z| z.is_nan()) {
                    losses.push(nan);
                    gradients.extend(vec![nan; classes]);
                    continue;
                }
                let largest = row.iter().copied().fold(row[0], T::max);
                let exponentials: T = row.iter().map(|&z| (z - largest).exp()).sum();
                let mut loss = exponentials.ln() - (T::c(1.0) - smoothing) * (row[label] - largest);
                // Without smoothing, a class ruled out by a logit of minus infinity does not matter.
                if smoothing > T::c(0.0) {
                    loss -= share * row.iter().map(|&z| z - largest).sum::<T>();
                }
                losses.push(loss);
                for (class, &z) in row.iter().enumerate() {
                    let target = share + if class == label { T::c(1.0) - smoothing } else { T::c(0.0) };
                    gradients.push((z - largest).exp() / exponentials - target);
                }
            }
            Ok(vec![Array::new(&[labels.len()], losses)?, Array::new(inputs[0].shape(), gradients)?])
        })
    }

    fn by_rows(&self) -> Option<&dyn ByRows> {
        Some(self)
    }

    fn lowering(&self, inputs: &[TensorType], _: &[TensorType]) -> Lowering {
        let (rows, classes) = (inputs[0].shape[0], inputs[0].shape[1]);
        // Few classes: a row an invocation. Many: a row a workgroup.
        let lanes = if classes <= WORKGROUP { 1 } else { WORKGROUP };
        let constant = |name, value: usize| (name, format!("{value}u"));
        Lowering::Opaque(Opaque {
            wgsl: include_str!("../../shaders/cross_entropy.wgsl"),
            constants: vec![constant("CLASSES", classes), constant("LANES", lanes), constant("WORKGROUP", WORKGROUP)],
            extents: vec![rows as u32, (self.label_smoothing as f32).to_bits()],
            workgroups: rows.div_ceil(WORKGROUP / lanes),
        })
    }
}

/// Logits and targets `[…, C]`, both floats → the loss of every row, `[…]`.
#[derive(Clone, Debug)]
pub struct SoftCrossEntropy;

impl Op for SoftCrossEntropy {
    fn name(&self) -> &'static str {
        "soft_cross_entropy"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let name = self.name();
        expect_inputs(name, inputs, 2)?;
        let (logits, targets) = (&inputs[0], &inputs[1]);
        if !logits.dtype.is_float() || logits.dtype != targets.dtype {
            return Err(Error::dtype(
                name,
                format_args!("the logits are {logits} and the targets {targets}, both must be floats; cast first"),
            ));
        }
        if logits.shape != targets.shape {
            let message = format_args!("the targets are {targets}, the logits {logits} need a number a class");
            return Err(Error::shape(name, message));
        }
        match logits.shape.split_last() {
            Some((1.., rows)) => Ok(vec![TensorType::new(logits.dtype, rows)]),
            _ => Err(Error::shape(name, format_args!("no classes on the last axis of {logits}"))),
        }
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::Decompose
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        with_float!(self.name(), inputs[0], T => {
            let (logits, targets) = (inputs[0].as_slice::<T>()?, inputs[1].as_slice::<T>()?);
            let rows = &inputs[0].shape()[..inputs[0].shape().len() - 1];
            let classes = inputs[0].shape()[rows.len()];
            let mut losses = Vec::new();
            for (row, targets) in logits.chunks(classes).zip(targets.chunks(classes)) {
                // A NaN that `max` drops comes back with the sum.
                let largest = row.iter().copied().fold(row[0], T::max);
                let log = row.iter().map(|&z| (z - largest).exp()).sum::<T>().ln();
                losses.push(row.iter().zip(targets).map(|(&z, &t)| t * (log - (z - largest))).sum::<T>());
            }
            Ok(vec![Array::new(rows, losses)?])
        })
    }

    fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
        Lowering::Decompose
    }

    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let mut shape = graph.shape(inputs[0]).to_vec();
        let axis = shape.len() - 1;
        let log = graph.log_softmax(inputs[0], axis)?;
        let weighted = graph.mul(inputs[1], log)?;
        let sum = graph.sum(weighted, &[axis])?;
        let loss = graph.unary("neg", sum)?;
        shape.pop();
        Ok(vec![graph.reshape(loss, &shape)?])
    }
}

impl Graph {
    /// The softmax cross-entropy of every row with any weights of the classes: `−Σ t·log softmax(z)` over the last axis.
    ///
    /// # Errors
    /// When logits and targets are not floats of one shape, or there are no classes.
    pub fn soft_cross_entropy(&mut self, logits: Value, targets: Value) -> Result<Value> {
        self.emit(SoftCrossEntropy, &[logits, targets])
    }

    /// The softmax cross-entropy of every row: logits `[N, C]` and labels `u32[N]` give losses `[N]`.
    ///
    /// A label of C or more gives NaN.
    ///
    /// # Errors
    /// When shapes or element types do not fit, or `label_smoothing` is not in [0, 1].
    pub fn softmax_cross_entropy(&mut self, logits: Value, labels: Value, label_smoothing: f64) -> Result<Value> {
        self.emit(SoftmaxCrossEntropy { label_smoothing }, &[logits, labels])
    }
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let tolerance = Tolerance {
        absolute: 3e-6,
        relative: 1e-6,
        reason: "WGSL allows exp(-d) 3 + 2d ulp, log 2^-21 near 1, division 2.5 ulp; logits up to 8 apart are rounded",
    };
    let op = |label_smoothing| SoftmaxCrossEntropy { label_smoothing };
    // Labels that meet the first and the last class.
    let labels =
        |rows: usize, classes: usize| Array::from_fn(&[rows], |i| ((i[0] + 1) * (classes - 1) % classes) as u32);
    let drawn =
        |rows, classes, size: f64| vec![Sample::uniform(&[rows, classes], -size, size, 6), labels(rows, classes)];
    let rows_of_4 = |logits: Vec<f32>, labels: Vec<u32>| {
        let logits = Array::new(&[labels.len(), 4], logits).expect("rows of four");
        vec![logits, Array::new(&[labels.len()], labels).expect("a vector")]
    };
    let mut samples = Vec::new();
    for smoothing in [0.0, 0.1] {
        let mut add = |name: &str, inputs| {
            samples.push(Sample::new(format!("{name}, smoothing {smoothing}"), op(smoothing), inputs, tolerance));
        };
        add("ten classes", drawn(6, 10, 4.0));
        add("one row", drawn(1, 10, 4.0));
        add("one class", drawn(3, 1, 4.0));
        add("two classes", drawn(5, 2, 4.0));
        add("more rows than a workgroup", drawn(131, 3, 4.0));
        add("64 classes", drawn(3, 64, 4.0));
        add("65 classes", drawn(3, 65, 4.0));
        add("100 classes", drawn(4, 100, 2.0));
        // Small logits, so that no class is too small to be missed.
        add("1000 classes", drawn(2, 1000, 1.0));
        add("no rows", vec![Array::zeros(&[0, 10], DType::F32), Array::zeros(&[0], DType::U32)]);
        add("ties", rows_of_4(vec![0.5; 8], vec![0, 3]));
        // Whichever lane has the largest, the others must learn of it.
        for classes in [10, 70] {
            let logits = Array::from_fn(&[classes, classes], |i| if i[0] == i[1] { 1e4f32 } else { i[1] as f32 });
            add(&format!("each of {classes} classes the largest"), vec![logits, labels(classes, classes)]);
        }
        let spread = vec![80.0, -80.0, 0.0, 79.0, 80.0, -80.0, 0.0, 79.0, -80.0, -79.5, -80.0, -81.0];
        add("logits of ±80", rows_of_4(spread, vec![0, 1, 2]));
        let spread = vec![1e4, 9999.0, -1e4, 9998.5, 1e4, 9999.0, -1e4, 9998.5, -1e4, -1e4, -10001.0, -9999.0];
        add("logits of ±10000", rows_of_4(spread, vec![1, 2, 3]));
    }
    let data = |shape: &[usize]| Sample::uniform(shape, -4.0, 4.0, 6);
    let infinite = vec![0.5, f32::NEG_INFINITY, 1.0, -1.0];
    let undefined = vec![0.0, f32::NAN, 1.0, 2.0, 0.0, 1.0, 2.0, 3.0, 3.0, 2.0, 1.0, 0.0, f32::NAN, 1.0, 1.0, 1.0];
    let wide = |row: usize, class: usize| {
        Array::from_fn(&[3, 70], |i| if i[0] == row && i[1] == class { f32::NAN } else { 0.5 })
    };
    let numbers = |shape: &[usize]| Array::zeros(shape, DType::U32);
    let refuse = |name, smoothing, logits, labels, kind, words| {
        Sample::error(name, op(smoothing), vec![logits, labels], kind, words)
    };
    samples.extend([
        Sample::new("hardly smoothed", op(0.005), drawn(3, 7, 4.0), tolerance),
        Sample::new("all target spread", op(1.0), drawn(3, 7, 4.0), tolerance),
        Sample::new("class ruled out", op(0.0), rows_of_4(infinite, vec![2]), tolerance).not_smooth(),
        Sample::new("NaN, labels that are no class", op(0.1), rows_of_4(undefined, vec![0, 4, 3, u32::MAX]), tolerance)
            .not_smooth(),
        Sample::new("NaN among 70 classes", op(0.0), vec![wide(1, 69), labels(3, 70)], tolerance).not_smooth(),
        Sample::new("label 70 of 70 classes", op(0.1), vec![data(&[3, 70]), Array::full(&[3], 70u32)], tolerance)
            .not_smooth(),
        refuse("smoothing above 1", 1.5, data(&[2, 3]), numbers(&[2]), ErrorKind::Config, "smoothing of 1.5 is not in"),
        refuse("smoothing below 0", -0.1, data(&[2, 3]), numbers(&[2]), ErrorKind::Config, "is not in [0, 1]"),
        refuse("smoothing NaN", f64::NAN, data(&[2, 3]), numbers(&[2]), ErrorKind::Config, "is not in [0, 1]"),
        refuse("labels of floats", 0.0, data(&[2, 3]), data(&[2]), ErrorKind::DType, "must be u32"),
        refuse("logits of integers", 0.0, numbers(&[2, 3]), numbers(&[2]), ErrorKind::DType, "must be floats"),
        refuse("labels missing", 0.0, data(&[2, 3]), numbers(&[1]), ErrorKind::Shape, "one a row: u32[2]"),
        refuse("labels as one-hot", 0.0, data(&[2, 3]), numbers(&[2, 3]), ErrorKind::Shape, "one a row: u32[2]"),
        refuse("images", 0.0, data(&[2, 2, 3]), numbers(&[2]), ErrorKind::Shape, "takes logits [N, C]"),
        refuse("no classes", 0.0, data(&[2, 0]), numbers(&[2]), ErrorKind::Shape, "classes"),
    ]);
    samples.extend(soft_samples());
    samples
}

fn soft_samples() -> Vec<Sample> {
    let tolerance = Tolerance {
        absolute: 1e-5,
        relative: 2e-6,
        reason: "log_softmax is right to 2e-6, and the targets of a row sum to 4 or less",
    };
    let logits = |shape: &[usize]| Sample::uniform(shape, -4.0, 4.0, 6);
    let targets = |shape: &[usize]| Sample::uniform(shape, 0.0, 1.0, 7);
    let new = |name, logits, targets| Sample::new(name, SoftCrossEntropy, vec![logits, targets], tolerance);
    let both = |name, shape: &[usize]| new(name, logits(shape), targets(shape));
    let matrix = |elements: Vec<f32>| Array::new(&[elements.len() / 4, 4], elements).expect("rows of four");
    let spread = matrix(vec![1e4, 9999.0, -1e4, 9998.5, 80.0, -80.0, 0.0, 79.0]);
    let undefined = matrix(vec![0.0, f32::NAN, 1.0, 2.0, 0.5, f32::NEG_INFINITY, 1.0, -1.0]);
    let (shape, dtype) = (ErrorKind::Shape, ErrorKind::DType);
    let refuse =
        |name, logits, targets, kind, words| Sample::error(name, SoftCrossEntropy, vec![logits, targets], kind, words);
    vec![
        both("rows", &[5, 4]),
        both("image", &[2, 3, 2, 5]),
        both("one row", &[7]),
        both("one class", &[3, 1]),
        both("no rows", &[0, 4]),
        new("logits of ±10000", spread, matrix(vec![0.5, 0.25, 0.0, 0.25, 0.0, 0.0, 0.5, 0.5])),
        new("NaN, class ruled out", undefined, targets(&[2, 4])).not_smooth(),
        refuse("labels", logits(&[2, 3]), Array::zeros(&[2], DType::U32), dtype, "both must be floats"),
        refuse("shapes differ", logits(&[2, 3]), targets(&[2, 4]), shape, "need a number a class"),
        refuse("no classes", logits(&[2, 0]), targets(&[2, 0]), shape, "no classes on the last axis"),
        refuse("no axes", logits(&[]), targets(&[]), shape, "no classes on the last axis"),
    ]
}
