//! The cosine of the angle between vectors.
//!
//! cos = Σ aᵢ·bᵢ / (max(‖a‖, ε) · max(‖b‖, ε)) along one axis, which goes: PyTorch's `cosine_similarity`. A vector of zeros
//! has the cosine 0, and a finite gradient, since the limit ε is taken before the root.

use crate::array::{Array, Float};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Gradient, Graph, Lowering, Op, Sample, TensorType, Tolerance, Value, expect_inputs};
use crate::shape::around_axis;
use crate::with_float;

/// Two tensors of one shape → the cosines of their vectors along `axis`, which goes.
#[derive(Clone, Debug)]
pub struct CosineSimilarity {
    /// The axis.
    pub axis: usize,
    /// The least length that a vector counts with.
    pub epsilon: f64,
}

impl Op for CosineSimilarity {
    fn name(&self) -> &'static str {
        "cosine_similarity"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let name = self.name();
        expect_inputs(name, inputs, 2)?;
        let (a, b) = (&inputs[0], &inputs[1]);
        if a != b {
            return Err(Error::shape(name, format_args!("{a} and {b} must be alike; reshape or cast one of them")));
        }
        if !a.dtype.is_float() {
            return Err(Error::dtype(name, format_args!("takes floats, got {a}; cast first")));
        }
        if self.axis >= a.shape.len() {
            return Err(Error::shape(name, format_args!("no axis {} in {:?}", self.axis, a.shape)));
        }
        if self.epsilon.is_nan() || self.epsilon <= 0.0 {
            let message = format!("{name}: an epsilon of {} is not above 0", self.epsilon);
            return Err(Error::new(ErrorKind::Config, message));
        }
        let mut shape = a.shape.clone();
        shape.remove(self.axis);
        Ok(vec![TensorType::new(a.dtype, shape)])
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::Decompose
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let [outer, extent, inner] = around_axis(inputs[0].shape(), self.axis);
        with_float!(self.name(), inputs[0], T => {
            let (a, b) = (inputs[0].as_slice::<T>()?, inputs[1].as_slice::<T>()?);
            let mut cosines = Vec::with_capacity(outer * inner);
            for line in 0..outer * inner {
                let (mut product, mut a_squares, mut b_squares) = (T::c(0.0), T::c(0.0), T::c(0.0));
                for place in 0..extent {
                    let element = (line / inner * extent + place) * inner + line % inner;
                    product += a[element] * b[element];
                    a_squares += a[element] * a[element];
                    b_squares += b[element] * b[element];
                }
                let least = T::c(self.epsilon);
                let length = |squares: T| if squares.sqrt() < least { least } else { squares.sqrt() };
                cosines.push(product / (length(a_squares) * length(b_squares)));
            }
            let mut shape = inputs[0].shape().to_vec();
            shape.remove(self.axis);
            Ok(vec![Array::new(&shape, cosines)?])
        })
    }

    fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
        Lowering::Decompose
    }

    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let (a, b) = (inputs[0], inputs[1]);
        let least = graph.constant(self.epsilon * self.epsilon, graph.type_of(a).dtype)?;
        let length = |graph: &mut Graph, x: Value| {
            let squares = graph.unary("square", x)?;
            let squares = graph.sum(squares, &[self.axis])?;
            let squares = graph.elementwise("maximum", &[squares, least], &[])?;
            graph.unary("sqrt", squares)
        };
        let (a_length, b_length) = (length(graph, a)?, length(graph, b)?);
        let product = graph.mul(a, b)?;
        let product = graph.sum(product, &[self.axis])?;
        let lengths = graph.mul(a_length, b_length)?;
        let cosine = graph.div(product, lengths)?;
        let mut shape = graph.shape(a).to_vec();
        shape.remove(self.axis);
        Ok(vec![graph.reshape(cosine, &shape)?])
    }
}

impl Graph {
    /// The cosines of the vectors of `a` and `b` along `axis`, which goes; none counts as shorter than `epsilon`.
    ///
    /// # Errors
    /// When `a` and `b` are not floats of one shape, there is no such axis, or `epsilon` is not above 0.
    pub fn cosine_similarity(&mut self, a: Value, b: Value, axis: usize, epsilon: f64) -> Result<Value> {
        self.emit(CosineSimilarity { axis, epsilon }, &[a, b])
    }
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let tolerance =
        Tolerance { absolute: 1e-6, relative: 2e-6, reason: "three sums of up to 70 terms, two roots, a division" };
    let op = |axis| CosineSimilarity { axis, epsilon: 1e-8 };
    let data = |shape: &[usize], seed| Sample::uniform(shape, -1.0, 1.0, seed);
    let both = |shape: &[usize]| vec![data(shape, 31), data(shape, 32)];
    let matrix = |elements: Vec<f32>| Array::new(&[elements.len() / 2, 2], elements).expect("rows of two");
    let short = || vec![matrix(vec![0.0, 0.0, 1.0, 2.0, f32::NAN, 1.0]), matrix(vec![1.0, 1.0, -2.0, -4.0, 1.0, 1.0])];
    let odd = |epsilon| CosineSimilarity { axis: 0, epsilon };
    let (shape, config) = (ErrorKind::Shape, ErrorKind::Config);
    vec![
        Sample::new("rows", op(1), both(&[5, 7]), tolerance),
        Sample::new("first axis", op(0), both(&[70, 3]), tolerance),
        Sample::new("middle axis", op(1), both(&[2, 5, 3]), tolerance),
        Sample::new("one vector", op(0), both(&[4]), tolerance),
        // The cosines are ±1, and gradients are what rounding leaves: nothing to compare.
        Sample::new("one element", op(1), both(&[3, 1]), tolerance).not_smooth(),
        Sample::new("no vectors", op(1), both(&[0, 3]), tolerance),
        Sample::new("no elements", op(1), both(&[3, 0]), tolerance),
        Sample::new("zeros, parallel, NaN", op(1), short(), tolerance).not_smooth(),
        Sample::error("shapes", op(0), vec![data(&[3], 1), data(&[4], 1)], shape, "must be alike"),
        Sample::error("axis", op(1), both(&[3]), shape, "no axis 1 in [3]"),
        Sample::error("no epsilon", odd(0.0), both(&[3]), config, "an epsilon of 0 is not above 0"),
        Sample::error("NaN epsilon", odd(f64::NAN), both(&[3]), config, "not above 0"),
        Sample::error("integers", op(0), vec![Array::zeros(&[3], DType::U32); 2], ErrorKind::DType, "takes floats"),
    ]
}
