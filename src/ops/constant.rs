//! Tensors made from nothing: a constant, coordinates along an axis, random bits.

use crate::array::Array;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::graph::{
    Expression, Gradient, Graph, Lowering, Op, Sample, TensorType, Term, Tolerance, Value, expect_inputs,
};
use crate::random::philox;
use crate::shape::element_count;

/// Every element equal to one value.
#[derive(Clone, Debug)]
pub struct Constant {
    /// The value.
    pub value: f64,
    /// Its type.
    pub dtype: DType,
    /// The extents.
    pub shape: Vec<usize>,
}

impl Op for Constant {
    fn name(&self) -> &'static str {
        "constant"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs("constant", inputs, 0)?;
        Ok(vec![TensorType::new(self.dtype, self.shape.clone())])
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::Zero
    }

    fn reference(&self, _: &[Array]) -> Result<Vec<Array>> {
        // In double precision where the type allows, so that a reference run in f64 is not held to f32's rounding.
        let dtype = if self.dtype.is_float() { DType::F64 } else { self.dtype };
        Ok(vec![Array::full(&self.shape, self.value).cast(dtype)])
    }

    fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
        let mut expression = Expression::default();
        let term = expression.push(Term::Scalar { value: self.value, dtype: self.dtype });
        expression.results.push(term);
        Lowering::Elementwise(expression)
    }

    fn fold(&self, _: &[f64]) -> Option<f64> {
        Some(self.value)
    }
}

/// Each element's coordinate on one axis, `u32`.
#[derive(Clone, Debug)]
pub struct Coordinate {
    /// The extents.
    pub shape: Vec<usize>,
    /// The axis.
    pub axis: usize,
}

impl Op for Coordinate {
    fn name(&self) -> &'static str {
        "coordinate"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs("coordinate", inputs, 0)?;
        if self.axis >= self.shape.len() {
            return Err(Error::shape("coordinate", format_args!("no axis {} in {:?}", self.axis, self.shape)));
        }
        Ok(vec![TensorType::new(DType::U32, self.shape.clone())])
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::Zero
    }

    fn reference(&self, _: &[Array]) -> Result<Vec<Array>> {
        Ok(vec![Array::from_fn(&self.shape, |index| index[self.axis] as u32)])
    }

    fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
        let mut expression = Expression::default();
        let term = expression.push(Term::Coordinate { axis: self.axis });
        expression.results.push(term);
        Lowering::Elementwise(expression)
    }
}

/// 32 random bits an element, the same on every device: word `i % 4` of Philox4x32-10 with counter
/// `(i / 4, step, stream, 0)`, for row-major element `i`. Inputs: key `u32[2]`, step `u32[]`.
#[derive(Clone, Debug)]
pub struct RandomBits {
    /// The extents.
    pub shape: Vec<usize>,
    /// Tells two uses in one step apart.
    pub stream: u32,
}

impl Op for RandomBits {
    fn name(&self) -> &'static str {
        "random_bits"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs("random_bits", inputs, 2)?;
        let (key, step) = (TensorType::new(DType::U32, [2]), TensorType::new(DType::U32, []));
        if inputs[0] != key || inputs[1] != step {
            return Err(Error::shape(
                "random_bits",
                format_args!("takes a key {key} and a step {step}, got {} and {}", inputs[0], inputs[1]),
            ));
        }
        Ok(vec![TensorType::new(DType::U32, self.shape.clone())])
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::Zero
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let (key, step) = (inputs[0].as_slice::<u32>()?, inputs[1].as_slice::<u32>()?);
        let bits = (0..element_count(&self.shape) as u32)
            .map(|i| philox([i / 4, step[0], self.stream, 0], [key[0], key[1]])[i as usize % 4])
            .collect();
        Ok(vec![Array::new(&self.shape, bits)?])
    }

    fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
        let mut expression = Expression::default();
        let term = expression.push(Term::Random { key: 0, step: 1, stream: self.stream });
        expression.results.push(term);
        Lowering::Elementwise(expression)
    }
}

impl Graph {
    /// A scalar constant; it broadcasts to any shape.
    ///
    /// # Errors
    /// Never for valid types; the signature is that of all emitters.
    pub fn constant(&mut self, value: f64, dtype: DType) -> Result<Value> {
        self.full(&[], value, dtype)
    }

    /// A tensor with every element equal to `value`.
    ///
    /// # Errors
    /// Never for valid types; the signature is that of all emitters.
    pub fn full(&mut self, shape: &[usize], value: f64, dtype: DType) -> Result<Value> {
        self.emit(Constant { value, dtype, shape: shape.to_vec() }, &[])
    }
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let key = || Array::new(&[2], vec![0xa409_3822u32, 0x299f_31d0]).expect("two elements");
    let constant = |value, dtype, shape: &[usize]| Constant { value, dtype, shape: shape.to_vec() };
    let bits = |shape: &[usize]| RandomBits { shape: shape.to_vec(), stream: 7 };
    let inputs = || vec![key(), Array::scalar(3u32)];
    let exact = Tolerance::EXACT;
    vec![
        Sample::new("f32", constant(1.5, DType::F32, &[3, 4]), vec![], exact),
        Sample::new("u32", constant(7.0, DType::U32, &[5]), vec![], exact),
        Sample::new("i32", constant(-7.0, DType::I32, &[5]), vec![], exact),
        Sample::new("one element", constant(1.0, DType::F32, &[1]), vec![], exact),
        Sample::new("zero size", constant(1.0, DType::F32, &[0, 4]), vec![], exact),
        Sample::new("last axis", Coordinate { shape: vec![3, 4], axis: 1 }, vec![], exact),
        Sample::new("one element", Coordinate { shape: vec![1], axis: 0 }, vec![], exact),
        Sample::new("zero size", Coordinate { shape: vec![0, 4], axis: 1 }, vec![], exact),
        Sample::new("first axis", Coordinate { shape: vec![3, 4], axis: 0 }, vec![], exact),
        Sample::error(
            "axis out of range",
            Coordinate { shape: vec![3], axis: 1 },
            vec![],
            crate::ErrorKind::Shape,
            "no axis 1",
        ),
        Sample::new("bits", bits(&[5, 7]), inputs(), exact),
        Sample::new("zero size", bits(&[0]), inputs(), exact),
        Sample::new("one element", bits(&[1]), inputs(), exact),
        Sample::error(
            "key of one word",
            bits(&[4]),
            vec![Array::full(&[1], 0u32), Array::scalar(0u32)],
            crate::ErrorKind::Shape,
            "takes a key",
        ),
    ]
}
