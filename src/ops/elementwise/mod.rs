//! Elementwise operations with broadcasting: rows of a table.
//!
//! A row ([`Row`]) has a name, the function in Rust (one generic text for `f32` and `f64`: the reference and the CPU
//! device), the function in WGSL, the gradient rule and the points on which it is tested. A new activation is one row in
//! `activations.rs`, a loss of each element one in `losses.rs`, any other function one in `table.rs`, and nothing else.
//! Operands broadcast by NumPy's rule; the walker of [`crate::autodiff`] undoes broadcasting, so rules ignore it. Constants of
//! a row (a slope, limits) are trailing arguments of its function.

mod activations;
mod functions;
mod losses;
mod real;
pub(super) mod series;
mod table;

use std::fmt;

use half::f16;
use ndarray::Dimension;

use crate::array::Array;
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{
    Access, Autocast, Backward, Expression, Function, Gradient, Graph, Lowering, Op, Sample, TensorType, Term,
    Tolerance, Value, expect_inputs,
};
use crate::shape::{broadcast, element_count, unravel};

/// All elementwise operations.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    table::ROWS.iter().chain(activations::ROWS).chain(losses::ROWS)
}

/// The row called `name`.
///
/// # Errors
/// When there is none.
pub fn row_named(name: &str) -> Result<&'static Row> {
    let unknown = || Error::new(ErrorKind::Graph, format!("no elementwise operation {name:?}"));
    rows().find(|row| row.function.name == name).ok_or_else(unknown)
}

/// The rows whose results are hardly larger than their arguments, or products of two of them, so that `f16` holds them;
/// others are computed and kept in `f32`.
const OF_MODEST_SIZE: &[&str] = &[
    "add",
    "sub",
    "mul",
    "neg",
    "abs",
    "sign",
    "minimum",
    "maximum",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "isfinite",
    "select",
    "clamp",
    "relu",
    "leaky_relu",
    "elu",
    "sigmoid",
    "tanh",
    "erf",
    "gelu",
    "gelu_tanh",
    "silu",
    "hard_swish",
    "prelu",
    "selu",
    "celu",
    "mish",
    "hard_sigmoid",
    "hard_tanh",
    "softsign",
    "tanh_shrink",
    "soft_shrink",
    "hard_shrink",
    "threshold",
    "cast_f32",
    "cast_f16",
    "cast_u32",
    "cast_i32",
];

/// What a row takes and gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// Floats of one type → the same.
    Float,
    /// Two operands of one type, floats or integers → the same.
    Numeric,
    /// Two operands of one type → `u32`, 0 or 1.
    Compare,
    /// A float → `u32`, 0 or 1.
    Classify,
    /// (condition `u32`, float, float) → float.
    Select,
    /// Any type → this one.
    Cast(DType),
}

/// The gradient rule of a row: gets the parameters and the gradient of the result.
pub type Rule = fn(&mut Backward<'_>, &[f64], Value) -> Result<()>;

/// One elementwise operation.
pub struct Row {
    /// Name, WGSL and CPU form.
    pub function: Function,
    /// The number of tensors it takes; further arguments of the function are parameters.
    pub arity: usize,
    /// Element types.
    pub signature: Signature,
    /// The function on `f64` arguments, parameters last.
    pub eval64: fn(&[f64]) -> f64,
    /// The same on `f32`.
    pub eval32: fn(&[f32]) -> f32,
    /// Gives the gradients of the inputs, or `None` where they are zero everywhere.
    pub gradient: Option<Rule>,
    /// Where it is tested.
    pub samples: Points,
}

/// The points on which a row is tested.
pub struct Points {
    /// Arguments are drawn from this range.
    pub range: (f64, f64),
    /// Arguments that deserve a look of their own (kinks, extremes), each used for every tensor argument.
    pub special: &'static [f64],
    /// Parameter sets.
    pub parameters: &'static [&'static [f64]],
    /// Allowed error.
    pub tolerance: Tolerance,
}

/// A row applied with parameters.
#[derive(Clone)]
pub struct Elementwise {
    /// Which row.
    pub row: &'static Row,
    /// Its parameters.
    pub parameters: Vec<f64>,
}

impl fmt::Debug for Elementwise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row.function.name)?;
        if !self.parameters.is_empty() {
            write!(f, "{:?}", self.parameters)?;
        }
        Ok(())
    }
}

impl Op for Elementwise {
    fn name(&self) -> &'static str {
        self.row.function.name
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let name = self.name();
        expect_inputs(name, inputs, self.row.arity)?;
        let shapes: Vec<&[usize]> = inputs.iter().map(|t| t.shape.as_slice()).collect();
        let shape = broadcast(name, &shapes)?;
        let last = inputs[inputs.len() - 1].dtype;
        let operands = if self.row.signature == Signature::Select { &inputs[1..] } else { inputs };
        if let Some(other) = operands.iter().find(|t| t.dtype != last) {
            return Err(Error::dtype(name, format_args!("operands are {} and {last}; cast one of them", other.dtype)));
        }
        let dtype = match self.row.signature {
            Signature::Select if inputs[0].dtype != DType::U32 => {
                return Err(Error::dtype(name, format_args!("the condition is {}, it must be u32", inputs[0].dtype)));
            }
            Signature::Cast(DType::F16) if !last.is_float() => {
                return Err(Error::dtype(name, format_args!("takes floats, got {last}; cast to f32 first")));
            }
            Signature::Float | Signature::Classify | Signature::Select if !last.is_float() => {
                return Err(Error::dtype(name, format_args!("takes floats, got {last}; cast first")));
            }
            Signature::Float | Signature::Numeric | Signature::Select => last,
            Signature::Compare | Signature::Classify => DType::U32,
            Signature::Cast(target) => target,
        };
        Ok(vec![TensorType { shape, dtype }])
    }

    fn autocast(&self) -> Autocast {
        if OF_MODEST_SIZE.contains(&self.name()) { Autocast::Follow } else { Autocast::Single }
    }

    fn gradient(&self) -> Gradient<'_> {
        match self.row.gradient {
            None => Gradient::Zero,
            Some(rule) => Gradient::rule(move |cx| match cx.gradient(0) {
                Some(gradient) => rule(cx, &self.parameters, gradient),
                None => Ok(()),
            }),
        }
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let shapes: Vec<&[usize]> = inputs.iter().map(Array::shape).collect();
        let shape = broadcast(self.name(), &shapes)?;
        let last = inputs[inputs.len() - 1].dtype();
        let values: Vec<Vec<f64>> = inputs.iter().map(Array::to_f64_vec).collect();
        let accesses: Vec<Access> = shapes.iter().map(|from| Access::broadcast(from, &shape)).collect();
        let mut results = Vec::with_capacity(element_count(&shape));
        for flat in 0..element_count(&shape) {
            let index = unravel(flat, &shape);
            let arguments = accesses
                .iter()
                .zip(&values)
                .map(|(access, v)| access.element(&index).map_or(0.0, |element| v[element]));
            let arguments: Vec<f64> = arguments.chain(self.parameters.iter().copied()).collect();
            results.push(if last == DType::F32 {
                f64::from((self.row.eval32)(&arguments.iter().map(|&a| a as f32).collect::<Vec<f32>>()))
            } else {
                (self.row.eval64)(&arguments)
            });
        }
        let dtype = match self.row.signature {
            Signature::Compare | Signature::Classify => DType::U32,
            // Between floats the reference keeps its precision.
            Signature::Cast(target) if target.is_float() && last.is_float() => last,
            Signature::Cast(target) => target.computed(),
            _ => last,
        };
        // Integer arithmetic wraps; `f64` holds every intermediate result exactly except large products, which the
        // samples do not use.
        let results = Array::new(&shape, results)?;
        Ok(vec![match dtype {
            DType::U32 => {
                Array::new(&shape, results.to_f64_vec().iter().map(|&v| v.rem_euclid(2f64.powi(32)) as u32).collect())?
            }
            other => results.cast(other),
        }])
    }

    fn lowering(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Lowering {
        let mut expression = Expression::default();
        let mut arguments = Vec::new();
        let dtype = outputs[0].dtype;
        if inputs[0].dtype == DType::F16 && self.row.signature == Signature::Cast(DType::F32) {
            // A load gives f32 already.
            let access = Access::identity(&inputs[0].shape);
            return Lowering::Elementwise(Expression::load(0, access, DType::F16));
        }
        for (operand, input) in inputs.iter().enumerate() {
            let access = Access::broadcast(&input.shape, &outputs[0].shape);
            arguments.push(expression.push(Term::Load { operand, access, otherwise: None, dtype: input.dtype }));
        }
        for &value in &self.parameters {
            arguments.push(expression.push(Term::Scalar { value, dtype: DType::F32 }));
        }
        let result = expression.push(Term::Apply { function: &self.row.function, arguments, dtype });
        expression.results.push(result);
        Lowering::Elementwise(expression)
    }

    fn fold(&self, constants: &[f64]) -> Option<f64> {
        let arguments: Vec<f64> = constants.iter().chain(&self.parameters).copied().collect();
        let value = (self.row.eval64)(&arguments);
        Some(if self.row.signature == Signature::Cast(DType::F16) { f16::from_f64(value).to_f64() } else { value })
    }
}

impl Graph {
    /// A row of the table applied to tensors that broadcast.
    ///
    /// # Errors
    /// When shapes or element types do not fit.
    pub fn elementwise(&mut self, name: &str, inputs: &[Value], parameters: &[f64]) -> Result<Value> {
        self.emit(Elementwise { row: row_named(name)?, parameters: parameters.to_vec() }, inputs)
    }

    /// `a + b`.
    ///
    /// # Errors
    /// As [`Graph::elementwise`].
    pub fn add(&mut self, a: Value, b: Value) -> Result<Value> {
        self.elementwise("add", &[a, b], &[])
    }

    /// `a - b`.
    ///
    /// # Errors
    /// As [`Graph::elementwise`].
    pub fn sub(&mut self, a: Value, b: Value) -> Result<Value> {
        self.elementwise("sub", &[a, b], &[])
    }

    /// `a * b`.
    ///
    /// # Errors
    /// As [`Graph::elementwise`].
    pub fn mul(&mut self, a: Value, b: Value) -> Result<Value> {
        self.elementwise("mul", &[a, b], &[])
    }

    /// `a / b`.
    ///
    /// # Errors
    /// As [`Graph::elementwise`].
    pub fn div(&mut self, a: Value, b: Value) -> Result<Value> {
        self.elementwise("div", &[a, b], &[])
    }

    /// A function of one tensor.
    ///
    /// # Errors
    /// As [`Graph::elementwise`].
    pub fn unary(&mut self, name: &'static str, x: Value) -> Result<Value> {
        self.elementwise(name, &[x], &[])
    }

    /// `condition ? a : b`, with a `u32` condition.
    ///
    /// # Errors
    /// As [`Graph::elementwise`].
    pub fn select(&mut self, condition: Value, a: Value, b: Value) -> Result<Value> {
        self.elementwise("select", &[condition, a, b], &[])
    }

    /// `x * factor`.
    ///
    /// # Errors
    /// As [`Graph::elementwise`].
    pub fn scale(&mut self, x: Value, factor: f64) -> Result<Value> {
        let factor = self.constant(factor, self.type_of(x).dtype)?;
        self.mul(x, factor)
    }

    /// `x + term`.
    ///
    /// # Errors
    /// As [`Graph::elementwise`].
    pub fn shift(&mut self, x: Value, term: f64) -> Result<Value> {
        let term = self.constant(term, self.type_of(x).dtype)?;
        self.add(x, term)
    }

    /// `x` as another element type.
    ///
    /// # Errors
    /// When there is no conversion to `dtype` (all but `f64` have one).
    pub fn cast(&mut self, x: Value, dtype: DType) -> Result<Value> {
        if self.type_of(x).dtype == dtype {
            return Ok(x);
        }
        let name = match dtype {
            DType::F32 => "cast_f32",
            DType::U32 => "cast_u32",
            DType::I32 => "cast_i32",
            DType::F16 => {
                let float = if self.type_of(x).dtype.is_float() { x } else { self.cast(x, DType::F32)? };
                return self.unary("cast_f16", float);
            }
            other => return Err(Error::dtype("cast", format_args!("no conversion to {other}"))),
        };
        self.unary(name, x)
    }
}

/// The samples of all rows.
pub fn samples() -> Vec<Sample> {
    rows().flat_map(row_samples).chain(losses::samples()).collect()
}

fn row_samples(row: &'static Row) -> Vec<Sample> {
    let no_parameters: &[&[f64]] = &[&[]];
    let parameter_sets = if row.samples.parameters.is_empty() { no_parameters } else { row.samples.parameters };
    let mut samples = Vec::new();
    for (set, parameters) in parameter_sets.iter().enumerate() {
        let op = || Elementwise { row, parameters: parameters.to_vec() };
        let inputs = |shapes: &[&[usize]]| -> Vec<Array> {
            let argument = |i: usize| {
                let shape = shapes[i % shapes.len()];
                if row.signature == Signature::Select && i == 0 {
                    return Array::from_fn(shape, |index| (index.slice().iter().sum::<usize>() % 2) as u32);
                }
                let (low, high) = row.samples.range;
                let drawn = crate::graph::Sample::uniform(shape, low, high, i as u64);
                match row.signature {
                    Signature::Numeric | Signature::Compare if set == 1 => drawn.cast(DType::U32),
                    _ => drawn,
                }
            };
            (0..row.arity).map(argument).collect()
        };
        let tolerance = row.samples.tolerance;
        let name = |what: &str| {
            format!("{what}{}", if parameters.is_empty() { String::new() } else { format!(" {parameters:?}") })
        };
        samples.push(Sample::new(name("dense"), op(), inputs(&[&[3, 5, 7]]), tolerance));
        samples.push(Sample::new(name("one element"), op(), inputs(&[&[1]]), tolerance));
        samples.push(Sample::new(name("no axes"), op(), inputs(&[&[]]), tolerance));
        samples.push(Sample::new(name("zero size"), op(), inputs(&[&[2, 0, 3]]), tolerance));
        if row.arity > 1 {
            samples.push(Sample::new(name("broadcast row"), op(), inputs(&[&[4, 6], &[6]]), tolerance));
            samples.push(Sample::new(name("broadcast both"), op(), inputs(&[&[4, 1, 6], &[3, 1]]), tolerance));
            samples.push(Sample::error(
                name("extents that differ"),
                op(),
                inputs(&[&[4, 6], &[5]]),
                ErrorKind::Shape,
                "do not broadcast",
            ));
        }
        if row.signature == Signature::Float {
            let wrong = vec![Array::full(&[2], 1u32); row.arity];
            samples.push(Sample::error(name("integers"), op(), wrong, ErrorKind::DType, "takes floats"));
        }
        if !row.samples.special.is_empty() {
            let count = row.samples.special.len();
            let special: Vec<f32> = row.samples.special.iter().map(|&v| v as f32).collect();
            let points = if row.arity == 1 || row.signature == Signature::Select {
                let argument = Array::new(&[count], special);
                let condition = Array::from_fn(&[count], |i| (i[0] % 2) as u32);
                argument.map(|a| if row.arity == 1 { vec![a] } else { vec![condition, a.clone(), a] })
            } else {
                // Every pair of special values.
                let column = Array::new(&[count, 1], special.clone());
                column.and_then(|c| {
                    let others = std::iter::repeat_n(Array::new(&[count], special)?, row.arity - 1);
                    Ok(std::iter::once(c).chain(others).collect())
                })
            };
            let points = points.expect("as many values as the shape says");
            samples.push(Sample::new(name("special values"), op(), points, tolerance).not_smooth());
        }
        let near = near(row.samples.special);
        if row.signature == Signature::Float && !near.is_empty() {
            let points: Vec<Array> = (0..row.arity).map(|i| beside(&near, i)).collect();
            samples.push(Sample::new(name("beside special values"), op(), points, tolerance).not_smooth());
        }
    }
    if let Some((points, tolerance)) =
        SERIES.iter().find(|(name, ..)| *name == row.function.name).map(|(_, p, t)| (p, t))
    {
        let steps = Array::from_fn(&[2, 64], |i| (2.0 * i[0] as f32 - 1.0) * *points as f32 * (i[1] + 1) as f32 / 65.0);
        let op = Elementwise { row, parameters: Vec::new() };
        samples.push(Sample::new("series", op, vec![steps], *tolerance));
    }
    samples
}

/// Rows that are a series near 0, up to so far from it, without the built-ins that their tolerance is for.
const SERIES: &[(&str, f64, Tolerance)] = &[
    ("expm1", 0.25, Tolerance { absolute: 1e-30, relative: 6e-7, reason: "a series in f32" }),
    ("log1p", 0.05, Tolerance { absolute: 1e-30, relative: 6e-7, reason: "a series in f32" }),
    ("tanh", 0.3, Tolerance { absolute: 1e-30, relative: 6e-7, reason: "a series in f32" }),
    ("erf", 0.5, Tolerance { absolute: 1e-30, relative: 6e-7, reason: "a series in f32" }),
];

/// Numbers a little to both sides of those that are finite: a threshold that is off shows there.
fn near(special: &[f64]) -> Vec<f64> {
    let finite = special.iter().filter(|x| x.is_finite() && x.abs() < 100.0);
    finite.flat_map(|x| [0.995 * x - 0.004 * f64::from(*x == 0.0), 1.005 * x + 0.004 * f64::from(*x == 0.0)]).collect()
}

/// The numbers as argument `i`: every argument meets them in another order.
fn beside(near: &[f64], i: usize) -> Array {
    Array::from_fn(&[near.len()], |index| near[(index[0] * (1 + 2 * i) + i) % near.len()] as f32)
}
