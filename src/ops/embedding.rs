//! Rows of a table by index: the embedding of symbols, and the indicator of classes.
//!
//! `embedding(W, index)[…, d] = W[index[…], d]`, and 0 where the index is that of padding: this is PyTorch's layer, whose row
//! of the padding index is zeros and stays so. `one_hot(index)[…, c]` = 1 if `index[…]` = c, else 0.
//!
//! An index of V or more gives NaN in an embedding, as in [`gather`](crate::ops::gather), and zeros in `one_hot`. The
//! gradient of the table sums the gradients of equal indices, at the cost that
//! [`scatter_add`](crate::ops::scatter_add) states; padding and indices without a row add nothing.

use crate::array::{Array, Float};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Gradient, Graph, Lowering, Op, Sample, TensorType, Tolerance, Value, expect_inputs};
use crate::ops::constant::Coordinate;
use crate::ops::gather::{expect_index, sample_index};
use crate::shape::element_count;
use crate::with_float;

/// A table `[V, D]` and indices `u32` of any shape → the rows, `[…, D]`.
#[derive(Clone, Debug)]
pub struct Embedding {
    /// The index whose row counts as zeros and gets no gradient.
    pub padding: Option<usize>,
}

impl Op for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let name = self.name();
        expect_inputs(name, inputs, 2)?;
        let (table, index) = (&inputs[0], &inputs[1]);
        if !table.dtype.is_float() {
            return Err(Error::dtype(name, format_args!("the table is {table}, it must be of floats; cast first")));
        }
        expect_index(name, index)?;
        let [rows, width] = table.shape[..] else {
            return Err(Error::shape(name, format_args!("takes a table [V, D], got {table}")));
        };
        if let Some(padding) = self.padding.filter(|&padding| padding >= rows) {
            let message = format!("{name}: the padding index {padding} is no row of the table {table}");
            return Err(Error::new(ErrorKind::Config, message));
        }
        let mut shape = index.shape.clone();
        shape.push(width);
        Ok(vec![TensorType::new(table.dtype, shape)])
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::Decompose
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        with_float!(self.name(), inputs[0], T => {
            let (table, index) = (inputs[0].as_slice::<T>()?, inputs[1].as_slice::<u32>()?);
            let (rows, width) = (inputs[0].shape()[0], inputs[0].shape()[1]);
            let mut result = Vec::with_capacity(index.len() * width);
            for row in index.iter().map(|&index| index as usize) {
                for column in 0..width {
                    result.push(if Some(row) == self.padding {
                        T::c(0.0)
                    } else if row < rows {
                        table[row * width + column]
                    } else {
                        T::c(f64::NAN)
                    });
                }
            }
            let mut shape = inputs[1].shape().to_vec();
            shape.push(width);
            Ok(vec![Array::new(&shape, result)?])
        })
    }

    fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
        Lowering::Decompose
    }

    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let (width, dtype) = (graph.shape(inputs[0])[1], graph.type_of(inputs[0]).dtype);
        let mut shape = graph.shape(inputs[1]).to_vec();
        let index = graph.reshape(inputs[1], &[element_count(&shape)])?;
        let mut rows = graph.index_select(inputs[0], 0, index)?;
        if let Some(padding) = self.padding {
            let index = graph.reshape(index, &[element_count(&shape), 1])?;
            let padding = graph.constant(padding as f64, DType::U32)?;
            let padded = graph.elementwise("eq", &[index, padding], &[])?;
            let zero = graph.constant(0.0, dtype)?;
            rows = graph.select(padded, zero, rows)?;
        }
        shape.push(width);
        Ok(vec![graph.reshape(rows, &shape)?])
    }
}

/// Indices `u32` of any shape → `f32` `[…, classes]`: 1 at the index, else 0.
#[derive(Clone, Debug)]
pub struct OneHot {
    /// The extent of the last axis.
    pub classes: usize,
}

impl Op for OneHot {
    fn name(&self) -> &'static str {
        "one_hot"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1)?;
        expect_index(self.name(), &inputs[0])?;
        let mut shape = inputs[0].shape.clone();
        shape.push(self.classes);
        Ok(vec![TensorType::new(DType::F32, shape)])
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::Zero
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let index = inputs[0].as_slice::<u32>()?;
        let mut shape = inputs[0].shape().to_vec();
        shape.push(self.classes);
        let row = |&index: &u32| (0..self.classes).map(move |class| if class == index as usize { 1f32 } else { 0.0 });
        Ok(vec![Array::new(&shape, index.iter().flat_map(row).collect())?])
    }

    fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
        Lowering::Decompose
    }

    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let mut shape = graph.shape(inputs[0]).to_vec();
        let axis = shape.len();
        shape.push(1);
        let index = graph.reshape(inputs[0], &shape)?;
        shape[axis] = self.classes;
        let class = graph.emit(Coordinate { shape, axis }, &[])?;
        let hit = graph.elementwise("eq", &[index, class], &[])?;
        Ok(vec![graph.cast(hit, DType::F32)?])
    }
}

impl Graph {
    /// The rows of `table` `[V, D]` that `index` names: `[…, D]`, zeros for the index `padding`.
    ///
    /// # Errors
    /// When the table has not two axes of floats, the index is not of `u32`, or `padding` is no row.
    pub fn embedding(&mut self, table: Value, index: Value, padding: Option<usize>) -> Result<Value> {
        self.emit(Embedding { padding }, &[table, index])
    }

    /// 1 at the index and 0 elsewhere along a new last axis of `classes`, `f32`; zeros for an index that is no class.
    ///
    /// # Errors
    /// When the index is not of `u32`.
    pub fn one_hot(&mut self, index: Value, classes: usize) -> Result<Value> {
        self.emit(OneHot { classes }, &[index])
    }
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let e = Tolerance::EXACT;
    let data = |shape: &[usize]| Sample::uniform(shape, -2.0, 2.0, 23);
    let op = |padding| Embedding { padding };
    let hot = |classes| OneHot { classes };
    let index = sample_index;
    let some = || Array::new(&[5], vec![2u32, 0, 6, 7, u32::MAX]).expect("five");
    vec![
        Sample::new("sentences", op(None), vec![data(&[7, 5]), index(&[3, 4], 7)], e),
        Sample::new("padding", op(Some(3)), vec![data(&[7, 5]), index(&[3, 4], 7)], e),
        Sample::new("no axes", op(Some(0)), vec![data(&[2, 3]), Array::scalar(1u32)], e),
        Sample::new("one element", op(None), vec![data(&[1, 1]), index(&[1], 1)], e),
        Sample::new("no indices", op(None), vec![data(&[2, 3]), index(&[0, 4], 2)], e),
        Sample::new("names no row", op(Some(2)), vec![data(&[7, 3]), some()], e).not_smooth(),
        Sample::error("flat table", op(None), vec![data(&[7]), some()], ErrorKind::Shape, "takes a table [V, D]"),
        Sample::error("float index", op(None), vec![data(&[7, 2]), data(&[2])], ErrorKind::DType, "must be u32"),
        Sample::error("integers", op(None), vec![index(&[2, 2], 2), some()], ErrorKind::DType, "must be of floats"),
        Sample::error("padding", op(Some(7)), vec![data(&[7, 3]), some()], ErrorKind::Config, "no row of the table"),
        Sample::new("labels", hot(7), vec![some()], e),
        Sample::new("image of labels", hot(5), vec![index(&[2, 3, 4], 5)], e),
        Sample::new("no axes", hot(3), vec![Array::scalar(1u32)], e),
        Sample::new("one element", hot(1), vec![Array::full(&[1], 0u32)], e),
        Sample::new("one class", hot(1), vec![some()], e),
        Sample::new("no classes", hot(0), vec![some()], e),
        Sample::error("floats", hot(3), vec![data(&[2])], ErrorKind::DType, "must be u32"),
    ]
}
