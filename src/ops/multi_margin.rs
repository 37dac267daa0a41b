//! The multi-class hinge loss: the right class must win by a margin.
//!
//! `loss = Σ max(0, margin − x[l] + x[i])^power / C` over the classes i other than the label l, a number a row: PyTorch's
//! `multi_margin_loss`. A label that is no class gives NaN. (Source: Weston & Watkins, "Support vector machines for
//! multi-class pattern recognition", 1999.)

use crate::array::{Array, Float};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Gradient, Graph, Lowering, Op, Sample, TensorType, Tolerance, Value, expect_inputs};
use crate::ops::constant::Coordinate;
use crate::ops::gather::{expect_index, sample_index};
use crate::with_float;

/// Scores `[N, C]` and labels `u32[N]` → the loss of each row, `[N]`.
#[derive(Clone, Debug)]
pub struct MultiMargin {
    /// By how much the right class must win.
    pub margin: f64,
    /// Whether the shortfalls are squared.
    pub squared: bool,
}

impl Op for MultiMargin {
    fn name(&self) -> &'static str {
        "multi_margin"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let name = self.name();
        expect_inputs(name, inputs, 2)?;
        let (scores, labels) = (&inputs[0], &inputs[1]);
        if !scores.dtype.is_float() {
            return Err(Error::dtype(name, format_args!("takes scores of floats, got {scores}; cast first")));
        }
        expect_index(name, labels)?;
        match scores.shape[..] {
            [rows, classes] if classes > 0 && labels.shape == [rows] => Ok(vec![TensorType::new(scores.dtype, [rows])]),
            _ => Err(Error::shape(
                name,
                format_args!("takes scores [N, C] and labels [N], got {scores} and {labels}; reshape first"),
            )),
        }
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::Decompose
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        with_float!(self.name(), inputs[0], T => {
            let (scores, labels) = (inputs[0].as_slice::<T>()?, inputs[1].as_slice::<u32>()?);
            let classes = inputs[0].shape()[1];
            let mut losses = Vec::with_capacity(labels.len());
            for (row, &label) in scores.chunks(classes).zip(labels) {
                let Some(&right) = row.get(label as usize) else {
                    losses.push(T::c(f64::NAN));
                    continue;
                };
                let mut sum = T::c(0.0);
                for (class, &score) in row.iter().enumerate() {
                    let shortfall = T::c(self.margin) - right + score;
                    if class != label as usize && (shortfall > T::c(0.0) || shortfall.is_nan()) {
                        sum += if self.squared { shortfall * shortfall } else { shortfall };
                    }
                }
                losses.push(sum / T::c(classes as f64));
            }
            Ok(vec![Array::new(&[labels.len()], losses)?])
        })
    }

    fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
        Lowering::Decompose
    }

    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let TensorType { shape, dtype } = graph.type_of(inputs[0]).clone();
        let (rows, classes) = (shape[0], shape[1]);
        let label = graph.reshape(inputs[1], &[rows, 1])?;
        let right = graph.gather(inputs[0], 1, label)?;
        let behind = graph.sub(inputs[0], right)?;
        let behind = graph.shift(behind, self.margin)?;
        let mut shortfall = graph.unary("relu", behind)?;
        if self.squared {
            shortfall = graph.unary("square", shortfall)?;
        }
        let class = graph.emit(Coordinate { shape, axis: 1 }, &[])?;
        let is_right = graph.elementwise("eq", &[class, label], &[])?;
        let zero = graph.constant(0.0, dtype)?;
        let others = graph.select(is_right, zero, shortfall)?;
        let sum = graph.sum(others, &[1])?;
        let loss = graph.scale(sum, 1.0 / classes as f64)?;
        Ok(vec![graph.reshape(loss, &[rows])?])
    }
}

impl Graph {
    /// The multi-class hinge loss of each row.
    ///
    /// # Errors
    /// When scores are not floats `[N, C]` with a class or more, or labels not `u32[N]`.
    pub fn multi_margin(&mut self, scores: Value, labels: Value, margin: f64, squared: bool) -> Result<Value> {
        self.emit(MultiMargin { margin, squared }, &[scores, labels])
    }
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let op = |margin, squared| MultiMargin { margin, squared };
    let data = |shape: &[usize]| Sample::uniform(shape, -1.0, 1.0, 35);
    let some = |rows, classes| vec![data(&[rows, classes]), sample_index(&[rows], classes)];
    let sum = Tolerance::sum;
    let scores = vec![1e4, -1e4, 0.0, 0.5, 0.0, 1.0, f32::NAN, 0.0, 0.0, 1.0, 2.0, 3.0];
    let extremes = || vec![Array::new(&[4, 3], scores.clone()).expect("rows"), sample_index(&[4], 3)];
    let unknown = || vec![data(&[3, 2]), Array::new(&[3], vec![0u32, 2, u32::MAX]).expect("three")];
    let rough = Tolerance { absolute: 1e-3, relative: 1e-6, reason: "1 beside scores of 10000 rounds by 5e-4" };
    let shape = ErrorKind::Shape;
    vec![
        Sample::new("rows", op(1.0, false), some(6, 5), sum(10)),
        Sample::new("squared", op(0.7, true), some(6, 5), sum(40)),
        Sample::new("many classes", op(1.0, false), some(2, 100), sum(100)),
        Sample::new("one row", op(1.0, false), some(1, 4), sum(10)),
        Sample::new("one class", op(1.0, false), some(3, 1), sum(1)),
        Sample::new("no rows", op(1.0, false), some(0, 3), sum(1)),
        Sample::new("extremes, NaN", op(1.0, false), extremes(), rough).not_smooth(),
        Sample::new("labels that are no class", op(1.0, false), unknown(), sum(10)).not_smooth(),
        Sample::error("images", op(1.0, false), vec![data(&[2, 2, 3]), sample_index(&[2], 3)], shape, "[N, C]"),
        Sample::error("labels", op(1.0, false), vec![data(&[2, 3]), sample_index(&[3], 3)], shape, "labels [N]"),
        Sample::error("floats", op(1.0, false), vec![data(&[2, 3]), data(&[2])], ErrorKind::DType, "must be u32"),
        Sample::error(
            "integers",
            op(1.0, false),
            vec![Array::zeros(&[2, 3], DType::U32), sample_index(&[2], 3)],
            ErrorKind::DType,
            "scores of floats",
        ),
    ]
}
