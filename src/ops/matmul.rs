//! Matrix products: `Y[…, m, n] = Σ_k A[…, m, k] · B[…, k, n]`, either operand stored transposed.
//!
//! Leading axes are a batch and broadcast by NumPy's rule. A transposed operand is read with other strides, never copied.
//! The gradients are products again: with G for the gradient of Y, dA = G·Bᵀ and dB = Aᵀ·G, each transposed as a whole
//! where the operand was. A sum over no elements (K = 0) is 0.

use crate::array::{Array, Element, Float};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{
    Access, Autocast, Gemm, Gradient, Graph, Lowering, Matrix, Op, Operand, Sample, TensorType, Tolerance, Value,
    expect_inputs,
};
use crate::shape::{broadcast, element_count, unravel};
use crate::with_float;

/// The product over the last two axes.
#[derive(Clone, Debug)]
pub struct MatMul {
    /// Whether the first operand is stored `[…, K, M]` instead of `[…, M, K]`.
    pub transpose_a: bool,
    /// Whether the second operand is stored `[…, N, K]` instead of `[…, K, N]`.
    pub transpose_b: bool,
}

/// The axes in front of the last two.
fn batch(shape: &[usize]) -> &[usize] {
    &shape[..shape.len() - 2]
}

/// Rows and columns of the matrices in `shape` after transposing.
fn matrix(shape: &[usize], transpose: bool) -> (usize, usize) {
    let (rows, columns) = (shape[shape.len() - 2], shape[shape.len() - 1]);
    if transpose { (columns, rows) } else { (rows, columns) }
}

impl MatMul {
    /// The elements of the product at row-major `indices`.
    fn elements<T: Float>(&self, inputs: &[Array], indices: impl Iterator<Item = usize>) -> Result<Vec<T>> {
        let (a, b) = (inputs[0].as_slice::<T>()?, inputs[1].as_slice::<T>()?);
        let (shape_a, shape_b) = (inputs[0].shape(), inputs[1].shape());
        let entries = broadcast("matmul", &[batch(shape_a), batch(shape_b)])?;
        let (entry_a, entry_b) =
            (Access::broadcast(batch(shape_a), &entries), Access::broadcast(batch(shape_b), &entries));
        let ((m, k), (_, n)) = (matrix(shape_a, self.transpose_a), matrix(shape_b, self.transpose_b));
        let element = |flat: usize| {
            let (entry, row, column) = (unravel(flat / (m * n), &entries), flat / n % m, flat % n);
            let a = &a[entry_a.element(&entry).unwrap_or(0) * m * k..];
            let b = &b[entry_b.element(&entry).unwrap_or(0) * k * n..];
            (0..k)
                .map(|i| {
                    let from_a = if self.transpose_a { a[i * m + row] } else { a[row * k + i] };
                    let from_b = if self.transpose_b { b[column * k + i] } else { b[i * n + column] };
                    from_a * from_b
                })
                .sum()
        };
        Ok(indices.map(element).collect())
    }
}

impl Op for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs("matmul", inputs, 2)?;
        let (a, b) = (&inputs[0], &inputs[1]);
        if !a.dtype.is_float() || a.dtype != b.dtype {
            return Err(Error::dtype("matmul", format_args!("takes floats of one type, got {a} and {b}; cast first")));
        }
        if a.shape.len() < 2 || b.shape.len() < 2 {
            return Err(Error::shape("matmul", format_args!("takes matrices, got {a} and {b}; reshape first")));
        }
        let ((m, k), (rows, n)) = (matrix(&a.shape, self.transpose_a), matrix(&b.shape, self.transpose_b));
        if k != rows {
            let transposed = |transpose| if transpose { " transposed" } else { "" };
            return Err(Error::shape(
                "matmul",
                format_args!(
                    "{a}{} has {k} columns and {b}{} has {rows} rows; they must be as many",
                    transposed(self.transpose_a),
                    transposed(self.transpose_b)
                ),
            ));
        }
        let mut shape = broadcast("matmul", &[batch(&a.shape), batch(&b.shape)])?;
        shape.extend([m, n]);
        Ok(vec![TensorType::new(a.dtype, shape)])
    }

    fn autocast(&self) -> Autocast {
        Autocast::Half
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            let Some(g) = cx.gradient(0) else { return Ok(()) };
            let (a, b) = (cx.input(0), cx.input(1));
            if cx.wants(0) {
                let gradient = match self.transpose_a {
                    false => cx.graph.matmul(g, b, false, !self.transpose_b)?,
                    true => cx.graph.matmul(b, g, self.transpose_b, true)?,
                };
                cx.give(0, gradient);
            }
            if cx.wants(1) {
                let (mut a, mut g, rank) = (a, g, cx.graph.shape(b).len());
                if rank == 2 && !self.transpose_a {
                    // One matrix for all entries: its gradient sums over the batch as it sums over rows.
                    (a, g) = (cx.graph.flatten_rows(a)?, cx.graph.flatten_rows(g)?);
                }
                let gradient = match self.transpose_b {
                    false => cx.graph.matmul(a, g, !self.transpose_a, false)?,
                    true => cx.graph.matmul(g, a, true, self.transpose_a)?,
                };
                cx.give(1, gradient);
            }
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let types: Vec<TensorType> = inputs.iter().map(|a| TensorType::new(a.dtype(), a.shape())).collect();
        let shape = self.infer(&types)?.swap_remove(0).shape;
        with_float!("matmul", inputs[0], T => {
            Ok(vec![Array::new(&shape, self.elements::<T>(inputs, 0..element_count(&shape))?)?])
        })
    }

    fn reference_at(&self, inputs: &[Array], indices: &[usize]) -> Result<Vec<f64>> {
        with_float!("matmul", inputs[0], T => {
            let elements = self.elements::<T>(inputs, indices.iter().copied())?;
            Ok(elements.into_iter().map(Element::to_f64).collect())
        })
    }

    fn lowering(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Lowering {
        let (a, b) = (&inputs[0].shape, &inputs[1].shape);
        let ((m, k), (_, n)) = (matrix(a, self.transpose_a), matrix(b, self.transpose_b));
        let groups = element_count(batch(&outputs[0].shape));
        // From one entry of the batch to the next: nothing where all entries share one matrix.
        let group = |shape: &[usize], elements: usize| match element_count(batch(shape)) {
            entries if entries == groups => Some(elements),
            1 => Some(0),
            _ => None,
        };
        let (Some(group_a), Some(group_b)) = (group(a, m * k), group(b, k * n)) else { return Lowering::Decompose };
        let operand = |transpose, rows, columns, group| {
            Operand::Matrix(match transpose {
                false => Matrix { row: columns, column: 1, group },
                true => Matrix { row: 1, column: rows, group },
            })
        };
        Lowering::Gemm(Gemm {
            groups,
            m,
            n,
            k,
            a: operand(self.transpose_a, m, k, group_a),
            b: operand(self.transpose_b, k, n, group_b),
            output: Matrix { row: n, column: 1, group: m * n },
        })
    }

    /// Both operands stretched to the whole batch.
    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let entries = broadcast("matmul", &[batch(graph.shape(inputs[0])), batch(graph.shape(inputs[1]))])?;
        let mut stretched = Vec::with_capacity(2);
        for &input in inputs {
            let shape = graph.shape(input);
            let whole = [&entries, &shape[shape.len() - 2..]].concat();
            stretched.push(graph.broadcast_to(input, &whole)?);
        }
        Ok(vec![graph.emit(self.clone(), &stretched)?])
    }
}

impl Graph {
    /// The product over the last two axes: `a` is `[…, M, K]` (`[…, K, M]` if transposed), `b` is `[…, K, N]`
    /// (`[…, N, K]` if transposed), the result `[…, M, N]`. Leading axes broadcast.
    ///
    /// # Errors
    /// When the inner extents or the leading axes do not fit, or the types are not one float type.
    pub fn matmul(&mut self, a: Value, b: Value, transpose_a: bool, transpose_b: bool) -> Result<Value> {
        let op = MatMul { transpose_a, transpose_b };
        let product = op.infer(&[self.type_of(a).clone(), self.type_of(b).clone()])?.swap_remove(0);
        if transpose_a || self.shape(a).len() == 2 || self.shape(b).len() > 2 {
            return self.emit(op, &[a, b]);
        }
        // One B for all entries: their rows make one tall product.
        let rows = self.flatten_rows(a)?;
        let tall = self.emit(op, &[rows, b])?;
        self.reshape(tall, &product.shape)
    }

    /// A dense layer: `x Wᵀ + bias` for `x` `[…, In]`, `weight` `[Out, In]` and `bias` `[Out]`, giving `[…, Out]`.
    ///
    /// # Errors
    /// When the shapes do not fit, or the types are not one float type.
    pub fn linear(&mut self, x: Value, weight: Value, bias: Option<Value>) -> Result<Value> {
        let (mut shape, weight_shape) = (self.shape(x).to_vec(), self.shape(weight).to_vec());
        let &[outputs, inputs] = weight_shape.as_slice() else {
            return Err(Error::shape("linear", format_args!("the weight must be [Out, In], got {weight_shape:?}")));
        };
        if shape.last() != Some(&inputs) {
            return Err(Error::shape(
                "linear",
                format_args!(
                    "the last axis of x must have the {inputs} inputs of weight {weight_shape:?}, x is {shape:?}"
                ),
            ));
        }
        let rows = self.flatten_rows(x)?;
        let mut y = self.matmul(rows, weight, false, true)?;
        if let Some(bias) = bias {
            if self.shape(bias) != [outputs] {
                return Err(Error::shape(
                    "linear",
                    format_args!("the bias must be [{outputs}], got {:?}", self.shape(bias)),
                ));
            }
            y = self.add(y, bias)?;
        }
        shape.pop();
        shape.push(outputs);
        self.reshape(y, &shape)
    }

    /// `x` `[…, C]` as `[rows, C]`.
    fn flatten_rows(&mut self, x: Value) -> Result<Value> {
        let (&columns, leading) = self.shape(x).split_last().unwrap_or((&1, &[]));
        let rows = element_count(leading);
        self.reshape(x, &[rows, columns])
    }
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let matmul = |transpose_a, transpose_b| MatMul { transpose_a, transpose_b };
    let inputs = |a: &[usize], b: &[usize]| vec![Sample::uniform(a, -1.0, 1.0, 21), Sample::uniform(b, -1.0, 1.0, 22)];
    let named = |name: &str, transpose_a, transpose_b| {
        format!("{name}{}{}", if transpose_a { ", Aᵀ" } else { "" }, if transpose_b { ", Bᵀ" } else { "" })
    };
    const TRANSPOSES: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];
    let mut samples = Vec::new();

    let sizes: &[(&str, usize, usize, usize)] = &[
        ("1×1×1", 1, 1, 1),
        ("17×33×5", 17, 33, 5),
        ("64×64×64", 64, 64, 64),
        ("across tiles", 130, 70, 90),
        ("row times column", 1, 1, 70),
        ("column times row", 37, 5, 1),
        ("one row", 1, 130, 19),
        ("one column", 130, 1, 19),
        ("multiples of four", 12, 20, 8),
        ("long sum", 5, 6, 3000),
        ("no rows", 0, 7, 5),
        ("no columns", 7, 0, 5),
        ("sum over nothing", 6, 7, 0),
    ];
    let long = Tolerance {
        absolute: 2e-4,
        relative: 1e-6,
        reason: "6 sigma of a sum in order: each of 3000 roundings is in proportion to a partial sum of up to 20",
    };
    for &(name, m, n, k) in sizes {
        for (transpose_a, transpose_b) in TRANSPOSES {
            let a = if transpose_a { [k, m] } else { [m, k] };
            let b = if transpose_b { [n, k] } else { [k, n] };
            let tolerance = if k > 1000 { long } else { Tolerance::sum(k) };
            let name = named(name, transpose_a, transpose_b);
            samples.push(Sample::new(name, matmul(transpose_a, transpose_b), inputs(&a, &b), tolerance));
        }
    }

    samples.push(Sample::new("batch, long sum", matmul(false, false), inputs(&[3, 5, 3000], &[3, 3000, 6]), long));

    // [batch of A], [batch of B]
    let batches: &[(&str, &[usize], &[usize])] = &[
        ("batch", &[3], &[3]),
        ("batch of one", &[1], &[1]),
        ("two batch axes", &[2, 3], &[2, 3]),
        ("one A for all", &[], &[4]),
        ("one B for all", &[4], &[]),
        ("one A, kept axes", &[1, 1], &[2, 2]),
        ("one B, kept axis", &[4], &[1]),
        ("crossed batches", &[2, 1], &[1, 3]),
        ("missing batch axis", &[2, 3], &[3]),
        ("empty batch", &[0], &[0]),
        ("empty batch, one B", &[0, 2], &[]),
    ];
    let (m, n, k) = (5, 9, 6);
    for &(name, batch_a, batch_b) in batches {
        for (transpose_a, transpose_b) in TRANSPOSES {
            let a = [batch_a, &if transpose_a { [k, m] } else { [m, k] }].concat();
            let b = [batch_b, &if transpose_b { [n, k] } else { [k, n] }].concat();
            let name = named(name, transpose_a, transpose_b);
            samples.push(Sample::new(name, matmul(transpose_a, transpose_b), inputs(&a, &b), Tolerance::sum(k)));
        }
    }
    samples.push(Sample::new(
        "batch across tiles",
        matmul(false, false),
        inputs(&[2, 70, 33], &[2, 33, 66]),
        Tolerance::sum(33),
    ));

    let error = |name: &str, op, inputs, words| Sample::error(name, op, inputs, ErrorKind::Shape, words);
    samples.extend([
        error(
            "inner extents",
            matmul(false, false),
            inputs(&[3, 4], &[5, 6]),
            "has 4 columns and f32[5, 6] has 5 rows",
        ),
        error(
            "inner extents, transposed",
            matmul(true, true),
            inputs(&[3, 4], &[6, 5]),
            "f32[3, 4] transposed has 3 columns and f32[6, 5] transposed has 5 rows",
        ),
        error("a vector", matmul(false, false), inputs(&[4], &[4, 6]), "takes matrices, got f32[4] and f32[4, 6]"),
        error("batches differ", matmul(false, false), inputs(&[2, 3, 4], &[3, 4, 5]), "2 against 3 on axis 0"),
        Sample::error(
            "integers",
            matmul(false, false),
            vec![Array::full(&[2, 2], 1u32), Array::full(&[2, 2], 1u32)],
            ErrorKind::DType,
            "takes floats of one type, got u32[2, 2] and u32[2, 2]",
        ),
    ]);
    samples
}

#[cfg(test)]
mod tests {
    use crate::dtype::DType;
    use crate::graph::{Graph, Leaf, TensorType};

    #[test]
    fn linear_keeps_leading_axes_and_checks_its_shapes() {
        let mut graph = Graph::new();
        let mut leaf =
            |name, shape: &[usize]| graph.leaf(Leaf::Input, name, TensorType::new(DType::F32, shape)).unwrap();
        let (x, vector, weight) = (leaf("x", &[2, 3, 4]), leaf("vector", &[4]), leaf("weight", &[5, 4]));
        let (bias, wrong) = (leaf("bias", &[5]), leaf("wrong", &[1]));
        let y = graph.linear(x, weight, Some(bias)).unwrap();
        assert_eq!(graph.shape(y), [2, 3, 5]);
        let y = graph.linear(vector, weight, None).unwrap();
        assert_eq!(graph.shape(y), [5]);
        let error = graph.linear(x, bias, None).unwrap_err().to_string();
        assert_eq!(error, "linear: the weight must be [Out, In], got [5]");
        let error = graph.linear(bias, weight, None).unwrap_err().to_string();
        assert_eq!(error, "linear: the last axis of x must have the 4 inputs of weight [5, 4], x is [5]");
        let error = graph.linear(x, weight, Some(wrong)).unwrap_err().to_string();
        assert_eq!(error, "linear: the bias must be [5], got [1]");
    }
}
