//! Scaled dot-product attention: every query takes a weighted mean of the values, by how well it fits their keys.
//!
//! ```text
//! weights = softmax(scale · q kᵀ + mask)        y = weights · v        q […, L, E], k [… , S, E], v […, S, V], y […, L, V]
//! ```
//!
//! A mask broadcasts to `[…, L, S]`: of `u32` it says who takes part (not 0), of floats it is added. A causal query i sees
//! the keys 0 to i. A query whose keys are all ruled out has the weights 0, not NaN, as in PyTorch. The largest score of a
//! query is taken off before the exponential, so none overflows. With p for the weights the gradient of the scores is
//! p·(g − Σ g·p), which needs nothing else of the forward pass.
//!
//! Source: Vaswani et al., "Attention is all you need", 2017.

use crate::array::{Array, Float};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{
    Access, Accumulator, Autocast, Gradient, Graph, Lowering, Op, Sample, TensorType, Tolerance, Value,
};
use crate::ops::constant::Coordinate;
use crate::ops::reduce::Reduction;
use crate::shape::{broadcast, element_count, unravel};
use crate::with_float;

/// Queries, keys, and a mask if there is one → the weight of every key for every query.
#[derive(Clone, Debug)]
pub struct AttentionWeights {
    /// What scores are multiplied by, usually 1/√E.
    pub scale: f64,
    /// Whether query i sees only the keys 0 to i.
    pub causal: bool,
}

/// Queries, keys, values, and a mask if there is one → the weighted mean of the values for every query.
#[derive(Clone, Debug)]
pub struct Attention {
    /// How values are weighted.
    pub weights: AttentionWeights,
}

impl AttentionWeights {
    /// The type of the weights, for the operation called `name`.
    fn result(&self, name: &str, q: &TensorType, k: &TensorType, mask: Option<&TensorType>) -> Result<TensorType> {
        if !q.dtype.is_float() || k.dtype != q.dtype {
            return Err(Error::dtype(name, format_args!("takes floats of one type, got {q} and {k}; cast first")));
        }
        if !self.scale.is_finite() {
            return Err(Error::new(ErrorKind::Config, format!("{name}: a scale of {} is not finite", self.scale)));
        }
        let ([batch @ .., queries, size], [others @ .., keys, key_size]) = (&q.shape[..], &k.shape[..]) else {
            return Err(Error::shape(
                name,
                format_args!("takes queries [..., L, E] and keys [..., S, E], got {q}, {k}"),
            ));
        };
        if batch != others || size != key_size {
            let message = format_args!("queries {q} and keys {k} must agree in all axes but the last but one");
            return Err(Error::shape(name, message));
        }
        if *keys == 0 {
            return Err(Error::shape(name, format_args!("there are no keys in {k}")));
        }
        let shape = [batch, &[*queries, *keys]].concat();
        if let Some(mask) = mask {
            if mask.dtype != DType::U32 && mask.dtype != q.dtype {
                let message =
                    format_args!("the mask is {}; it must be u32 (who takes part) or {} (added)", mask.dtype, q.dtype);
                return Err(Error::dtype(name, message));
            }
            if broadcast(name, &[&mask.shape, &shape])? != shape {
                return Err(Error::shape(
                    name,
                    format_args!("the mask {mask} does not stretch to the scores {shape:?}"),
                ));
            }
        }
        Ok(TensorType::new(q.dtype, shape))
    }
}

impl Op for AttentionWeights {
    fn name(&self) -> &'static str {
        "attention_weights"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_masked(self.name(), inputs, 2)?;
        Ok(vec![self.result(self.name(), &inputs[0], &inputs[1], inputs.get(2))?])
    }

    fn autocast(&self) -> Autocast {
        Autocast::Parts
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            let Some(g) = cx.gradient(0) else { return Ok(()) };
            let (q, k, p) = (cx.input(0), cx.input(1), cx.output(0));
            let last = cx.graph.shape(p).len() - 1;
            let weighted = cx.graph.mul(g, p)?;
            let mean = cx.graph.sum(weighted, &[last])?;
            let deviation = cx.graph.sub(g, mean)?;
            let of_scores = cx.graph.mul(p, deviation)?;
            if cx.input_count() > 2 && cx.wants(2) {
                cx.give(2, of_scores);
            }
            let of_products = cx.graph.scale(of_scores, self.scale)?;
            if cx.wants(0) {
                let gradient = cx.graph.matmul(of_products, k, false, false)?;
                cx.give(0, gradient);
            }
            if cx.wants(1) {
                let gradient = cx.graph.matmul(of_products, q, true, false)?;
                cx.give(1, gradient);
            }
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let types: Vec<TensorType> = inputs.iter().map(|a| TensorType::new(a.dtype(), a.shape())).collect();
        let shape = self.infer(&types)?.swap_remove(0).shape;
        let (queries, keys) = (shape[shape.len() - 2], shape[shape.len() - 1]);
        let size = inputs[0].shape()[shape.len() - 1];
        let mask = inputs.get(2).map(|mask| (mask, mask.to_f64_vec(), Access::broadcast(mask.shape(), &shape)));
        with_float!(self.name(), inputs[0], T => {
            let (q, k) = (inputs[0].as_slice::<T>()?, inputs[1].as_slice::<T>()?);
            let mut weights = Vec::with_capacity(element_count(&shape));
            for row in 0..element_count(&shape[..shape.len() - 1]) {
                let q = &q[row * size..][..size];
                let score = |key: usize| {
                    let first = (row / queries * keys + key) * size;
                    let product: T = q.iter().zip(&k[first..first + size]).map(|(&q, &k)| q * k).sum();
                    let mut score = product * T::c(self.scale);
                    if let Some((mask, elements, access)) = &mask {
                        let element = elements[access.element(&unravel(row * keys + key, &shape)).unwrap_or(0)];
                        let ruled_out = mask.dtype() == DType::U32 && element == 0.0;
                        let added = if mask.dtype() == DType::U32 { 0.0 } else { element };
                        score = if ruled_out { T::c(f64::NEG_INFINITY) } else { score + T::c(added) };
                    }
                    if self.causal && key > row % queries { T::c(f64::NEG_INFINITY) } else { score }
                };
                let scores: Vec<T> = (0..keys).map(score).collect();
                let seen = scores.iter().any(|&score| score != T::c(f64::NEG_INFINITY));
                let largest = scores.iter().fold(scores[0], |a, &b| if a > b || a.is_nan() { a } else { b });
                let sum: T = scores.iter().map(|&score| (score - largest).exp()).sum();
                weights.extend(scores.iter().map(|&x| if seen { (x - largest).exp() / sum } else { T::c(0.0) }));
            }
            Ok(vec![Array::new(&shape, weights)?])
        })
    }

    fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
        Lowering::Decompose
    }

    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let products = graph.matmul(inputs[0], inputs[1], false, true)?;
        let mut scores = graph.scale(products, self.scale)?;
        let TensorType { shape, dtype } = graph.type_of(scores).clone();
        let last = shape.len() - 1;
        let nothing = graph.constant(f64::NEG_INFINITY, dtype)?;
        match inputs.get(2) {
            Some(&mask) if graph.type_of(mask).dtype == DType::U32 => scores = graph.select(mask, scores, nothing)?,
            Some(&mask) => scores = graph.add(scores, mask)?,
            None => {}
        }
        if self.causal {
            let [row, column] = [0, 1].map(|axis| Coordinate { shape: shape[last - 1..].to_vec(), axis });
            let (row, column) = (graph.emit(row, &[])?, graph.emit(column, &[])?);
            let seen = graph.elementwise("le", &[column, row], &[])?;
            scores = graph.select(seen, scores, nothing)?;
        }
        let mut largest = graph.emit(Reduction { accumulator: Accumulator::Max, axes: vec![last] }, &[scores])?;
        let (zero, one) = (graph.constant(0.0, dtype)?, graph.constant(1.0, dtype)?);
        if inputs.len() > 2 {
            let unseen = graph.elementwise("eq", &[largest, nothing], &[])?;
            largest = graph.select(unseen, zero, largest)?;
        }
        let shifted = graph.sub(scores, largest)?;
        let exponentials = graph.unary("exp", shifted)?;
        let mut sum = graph.sum(exponentials, &[last])?;
        if inputs.len() > 2 {
            let unseen = graph.elementwise("eq", &[sum, zero], &[])?;
            sum = graph.select(unseen, one, sum)?;
        }
        Ok(vec![graph.div(exponentials, sum)?])
    }
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let name = self.name();
        expect_masked(name, inputs, 3)?;
        let (k, v) = (&inputs[1], &inputs[2]);
        let mut result = self.weights.result(name, &inputs[0], k, inputs.get(3))?;
        let rows = k.shape.len() - 1;
        if v.dtype != k.dtype || v.shape.len() != k.shape.len() || v.shape[..rows] != k.shape[..rows] {
            let message = format_args!("keys {k} and values {v} must agree in all axes but the last");
            return Err(Error::shape(name, message));
        }
        result.shape[rows] = v.shape[rows];
        Ok(vec![result])
    }

    fn autocast(&self) -> Autocast {
        Autocast::Parts
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::Decompose
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let weights = self.weights.reference(&[&inputs[..2], &inputs[3..]].concat())?.swap_remove(0);
        let (keys, size) = (inputs[2].shape()[weights.shape().len() - 2], inputs[2].shape()[weights.shape().len() - 1]);
        let queries = weights.shape()[weights.shape().len() - 2];
        let shape = [&weights.shape()[..weights.shape().len() - 1], &[size]].concat();
        with_float!(self.name(), inputs[0], T => {
            let (weights, v) = (weights.as_slice::<T>()?, inputs[2].as_slice::<T>()?);
            let mean = |flat: usize| -> T {
                let (row, column) = (flat / size, flat % size);
                (0..keys).map(|key| weights[row * keys + key] * v[(row / queries * keys + key) * size + column]).sum()
            };
            Ok(vec![Array::new(&shape, (0..element_count(&shape)).map(mean).collect())?])
        })
    }

    fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
        Lowering::Decompose
    }

    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let weights = graph.emit(self.weights.clone(), &[&inputs[..2], &inputs[3..]].concat())?;
        Ok(vec![graph.matmul(weights, inputs[2], false, false)?])
    }
}

/// `count` inputs, or one more.
fn expect_masked(op: &str, inputs: &[TensorType], count: usize) -> Result<()> {
    if inputs.len() == count || inputs.len() == count + 1 {
        return Ok(());
    }
    let message = format!("{op}: takes {count} inputs and perhaps a mask, got {}", inputs.len());
    Err(Error::new(ErrorKind::Graph, message))
}

impl Graph {
    /// The weights of `keys` `[…, S, E]` for `queries` `[…, L, E]`: `[…, L, S]`; scores are scaled by 1/√E.
    ///
    /// # Errors
    /// When shapes or types do not fit.
    pub fn attention_weights(&mut self, [q, k]: [Value; 2], mask: Option<Value>, causal: bool) -> Result<Value> {
        let op = AttentionWeights { scale: self.usual_scale(q), causal };
        let inputs: Vec<Value> = [q, k].into_iter().chain(mask).collect();
        self.emit(op, &inputs)
    }

    /// The mean of `values` `[…, S, V]` with the weights of [`Graph::attention_weights`]: `[…, L, V]`.
    ///
    /// # Errors
    /// When shapes or types do not fit.
    pub fn attention(&mut self, [q, k, v]: [Value; 3], mask: Option<Value>, causal: bool) -> Result<Value> {
        let weights = AttentionWeights { scale: self.usual_scale(q), causal };
        let inputs: Vec<Value> = [q, k, v].into_iter().chain(mask).collect();
        self.emit(Attention { weights }, &inputs)
    }

    fn usual_scale(&self, q: Value) -> f64 {
        let size = self.shape(q).last().copied().unwrap_or(1).max(1);
        1.0 / (size as f64).sqrt()
    }
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let tolerance = Tolerance {
        absolute: 3e-6,
        relative: 1e-5,
        reason: "products of up to 16 terms, and WGSL allows exp(-d) 3 + 2d ulp: 1e-5 up to d = 40",
    };
    let weights = |scale, causal| AttentionWeights { scale, causal };
    let attention = |causal| Attention { weights: weights(0.5, causal) };
    let data = |shape: &[usize], seed| Sample::uniform(shape, -1.5, 1.5, seed);
    let qk = |q: &[usize], k: &[usize]| vec![data(q, 31), data(k, 32)];
    let qkv = |q: &[usize], k: &[usize], v: &[usize]| vec![data(q, 31), data(k, 32), data(v, 33)];
    let and = |mut inputs: Vec<Array>, mask: Array| {
        inputs.push(mask);
        inputs
    };
    // Query 1 sees nothing.
    let parts = |shape: &[usize]| {
        let rank = shape.len();
        Array::from_fn(shape, |i| u32::from(i[rank - 2] != 1 && (i[rank - 2] + i[rank - 1]) % 3 != 1))
    };
    let added = Array::from_fn(&[4, 5], |i| if i[0] == 2 || i[1] == 3 { f32::NEG_INFINITY } else { i[1] as f32 * 0.5 });
    let far = |shape: &[usize], seed| Sample::uniform(shape, -60.0, 60.0, seed);
    let mut undefined = data(&[2, 4], 31).to_f64_vec();
    undefined[5] = f64::NAN;
    let undefined = Array::new(&[2, 4], undefined).expect("8 elements").cast(DType::F32);
    let refuse = |name, op: Attention, inputs, words| Sample::error(name, op, inputs, ErrorKind::Shape, words);
    vec![
        Sample::new("two heads", weights(0.5, false), qk(&[2, 2, 4, 8], &[2, 2, 5, 8]), tolerance),
        Sample::new("no batch", weights(1.0, false), qk(&[3, 4], &[6, 4]), tolerance),
        Sample::new("one query, one key", weights(1.0, false), qk(&[2, 1, 3], &[2, 1, 3]), tolerance),
        Sample::new("causal", weights(0.5, true), qk(&[2, 5, 4], &[2, 5, 4]), tolerance),
        Sample::new("causal, fewer keys", weights(0.5, true), qk(&[1, 5, 4], &[1, 3, 4]), tolerance),
        Sample::new(
            "mask of one entry",
            weights(0.5, false),
            and(qk(&[2, 4, 3], &[2, 5, 3]), parts(&[2, 4, 5])),
            tolerance,
        ),
        Sample::new(
            "mask for all, causal",
            weights(0.5, true),
            and(qk(&[2, 4, 3], &[2, 5, 3]), parts(&[4, 5])),
            tolerance,
        ),
        Sample::new("mask added", weights(0.5, false), and(qk(&[2, 4, 3], &[2, 5, 3]), added), tolerance),
        Sample::new(
            "scores of ±5000",
            weights(1.0, false),
            vec![far(&[3, 4], 31), far(&[6, 4], 32)],
            Tolerance {
                absolute: 1e-3,
                relative: 1e-4,
                reason: "scores of thousands round by 2e-4, which the exponential passes on",
            },
        )
        .not_smooth(),
        Sample::new("NaN in one query", weights(1.0, false), vec![undefined, data(&[3, 4], 32)], tolerance)
            .not_smooth(),
        Sample::new("one element", weights(1.0, false), qk(&[1, 1], &[1, 1]), tolerance),
        Sample::new("one element", attention(false), qkv(&[1, 1], &[1, 1], &[1, 1]), tolerance),
        Sample::new("no batch entries", attention(false), qkv(&[0, 3, 4], &[0, 5, 4], &[0, 5, 2]), tolerance),
        Sample::new("no queries", weights(1.0, false), qk(&[2, 0, 4], &[2, 3, 4]), tolerance),
        Sample::new("two heads", attention(false), qkv(&[2, 2, 4, 8], &[2, 2, 5, 8], &[2, 2, 5, 6]), tolerance),
        Sample::new("batch 1, one value", attention(true), qkv(&[1, 3, 4], &[1, 3, 4], &[1, 3, 1]), tolerance),
        Sample::new("mask", attention(false), and(qkv(&[2, 4, 3], &[2, 5, 3], &[2, 5, 3]), parts(&[4, 5])), tolerance),
        refuse(
            "sizes that differ",
            attention(false),
            qkv(&[3, 4], &[5, 3], &[5, 3]),
            "must agree in all axes but the last but",
        ),
        refuse(
            "values of other keys",
            attention(false),
            qkv(&[3, 4], &[5, 4], &[6, 4]),
            "keys f32[5, 4] and values f32[6, 4]",
        ),
        refuse("no keys", attention(false), qkv(&[3, 4], &[0, 4], &[0, 4]), "there are no keys in f32[0, 4]"),
        refuse("vectors", attention(false), qkv(&[4], &[4], &[4]), "takes queries [..., L, E]"),
        refuse(
            "mask that does not stretch",
            attention(false),
            and(qkv(&[3, 4], &[5, 4], &[5, 4]), parts(&[2, 3, 5])),
            "the mask u32[2, 3, 5] does not stretch to the scores [3, 5]",
        ),
        Sample::error(
            "mask of i32",
            weights(1.0, false),
            and(qk(&[3, 4], &[5, 4]), Array::full(&[3, 5], 1i32)),
            ErrorKind::DType,
            "it must be u32 (who takes part) or f32",
        ),
        Sample::error(
            "integers",
            weights(1.0, false),
            vec![Array::full(&[3, 4], 1u32); 2],
            ErrorKind::DType,
            "takes floats",
        ),
        Sample::error(
            "one input",
            weights(1.0, false),
            vec![data(&[3, 4], 31)],
            ErrorKind::Graph,
            "takes 2 inputs and perhaps",
        ),
        Sample::error(
            "infinite scale",
            weights(f64::INFINITY, false),
            qk(&[3, 4], &[5, 4]),
            ErrorKind::Config,
            "a scale of inf",
        ),
    ]
}
