//! The gated linear unit: a·sigmoid(b) for the halves a and b of one axis.
//!
//! Devices run the small operations of the decomposition, as one sweep; the gradient is theirs.
//!
//! Source: Dauphin et al., "Language modeling with gated convolutional networks", 2017.

use ndarray::Axis;

use crate::array::{Array, Element, Float};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Autocast, Gradient, Graph, Lowering, Op, Sample, TensorType, Tolerance, Value, expect_inputs};
use crate::with_float;

/// The first half of `axis` times the sigmoid of the second half.
#[derive(Clone, Debug)]
pub struct Glu {
    /// The axis.
    pub axis: usize,
}

impl Op for Glu {
    fn name(&self) -> &'static str {
        "glu"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs("glu", inputs, 1)?;
        let mut result = inputs[0].clone();
        if !result.dtype.is_float() {
            return Err(Error::dtype("glu", format_args!("takes floats, got {}; cast first", result.dtype)));
        }
        match inputs[0].shape.get(self.axis) {
            Some(extent) if extent % 2 == 0 => result.shape[self.axis] = extent / 2,
            Some(extent) => {
                let message =
                    format_args!("axis {} of {:?} has {extent} elements, no two halves", self.axis, result.shape);
                return Err(Error::shape("glu", message));
            }
            None => return Err(Error::shape("glu", format_args!("no axis {} in {:?}", self.axis, result.shape))),
        }
        Ok(vec![result])
    }

    fn autocast(&self) -> Autocast {
        Autocast::Parts
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::Decompose
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        with_float!("glu", inputs[0], T => {
            let half = inputs[0].shape()[self.axis] / 2;
            let (a, b) = inputs[0].view::<T>()?.split_at(Axis(self.axis), half);
            let mut y = a.to_owned();
            y.zip_mut_with(&b, |y, &b| *y /= T::c(1.0) + (-b).exp());
            Ok(vec![<T as Element>::wrap(y)])
        })
    }

    fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
        Lowering::Decompose
    }

    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let shape = graph.shape(inputs[0]).to_vec();
        let half = shape[self.axis] / 2;
        let (mut begin, mut end, step) = (vec![0; shape.len()], shape.clone(), vec![1; shape.len()]);
        end[self.axis] = half;
        let a = graph.slice(inputs[0], &begin, &end, &step)?;
        (begin[self.axis], end[self.axis]) = (half, 2 * half);
        let b = graph.slice(inputs[0], &begin, &end, &step)?;
        let gate = graph.unary("sigmoid", b)?;
        Ok(vec![graph.mul(a, gate)?])
    }
}

impl Graph {
    /// The first half of `axis` times the sigmoid of the second half.
    ///
    /// # Errors
    /// When `x` has no such axis, or one that has no two halves, or is not of floats.
    pub fn glu(&mut self, x: Value, axis: usize) -> Result<Value> {
        self.emit(Glu { axis }, &[x])
    }
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let tolerance = Tolerance { absolute: 1e-9, relative: 6e-6, reason: "WGSL allows exp 3 + 2|x| ulp, |x| up to 4" };
    let op = |axis| Glu { axis };
    let data = |shape: &[usize]| vec![Sample::uniform(shape, -4.0, 4.0, 20)];
    let extreme = vec![1.0, f32::NAN, 2.0, -1.0, f32::INFINITY, 3.0, 0.0, 1.0, f32::NAN, -1000.0, 1000.0, 0.5];
    let extreme = Array::new(&[2, 6], extreme).expect("12 elements");
    vec![
        Sample::new("last axis", op(1), data(&[5, 6]), tolerance),
        Sample::new("first axis", op(0), data(&[4, 3]), tolerance),
        Sample::new("channels of an image", op(3), data(&[2, 3, 3, 10]), tolerance),
        Sample::new("one pair", op(0), data(&[2]), tolerance),
        Sample::new("no rows", op(1), data(&[0, 4]), tolerance),
        Sample::new("no elements", op(1), data(&[3, 0]), tolerance),
        Sample::new("NaN, infinity, ±1000", op(1), vec![extreme], tolerance).not_smooth(),
        Sample::error("odd axis", op(1), data(&[2, 3]), ErrorKind::Shape, "axis 1 of [2, 3] has 3 elements"),
        Sample::error("no such axis", op(2), data(&[2, 4]), ErrorKind::Shape, "no axis 2 in [2, 4]"),
        Sample::error("integers", op(0), vec![Array::full(&[2], 1u32)], ErrorKind::DType, "takes floats"),
    ]
}
