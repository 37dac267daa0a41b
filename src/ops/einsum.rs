//! Sums of products by Einstein's convention: `"bij,bjk->bik"` names the axes of one or two operands and of the result.
//!
//! The result at each index of its labels is the sum over all other labels of the product of the operands. A label within
//! one operand twice takes the diagonal. Without `->` the result has the labels that occur once, in alphabetical order.
//!
//! Two operands become one matrix product: labels in both and the result are its batch, labels in both and not in the
//! result its sum, the others rows and columns. What only one operand has and the result lacks is summed first. An operand
//! whose axes are already in order, or in order transposed, is not copied. Without a sum the product is elementwise.

use std::collections::BTreeMap;

use crate::array::{Array, Float};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Autocast, Gradient, Graph, Lowering, Op, Sample, TensorType, Tolerance, Value};
use crate::shape::{element_count, strides, unravel};
use crate::with_float;

/// The sum of products that an equation says, of one or two operands.
#[derive(Clone, Debug)]
pub struct Einsum {
    equation: String,
}

/// The labels of an equation.
struct Labels {
    operands: Vec<Vec<char>>,
    output: Vec<char>,
}

fn malformed(equation: &str, what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Config, format!("einsum {equation:?}: {what}"))
}

impl Labels {
    fn parse(equation: &str) -> Result<Self> {
        let text: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
        let (left, right) = match text.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (text.as_str(), None),
        };
        let labels = |part: &str| -> Result<Vec<char>> {
            match part.chars().find(|c| !c.is_ascii_alphabetic()) {
                Some('.') => Err(malformed(equation, "an ellipsis is not supported; name every axis")),
                Some(other) => {
                    Err(malformed(equation, format_args!("{other:?} is no label; labels are letters a to z, A to Z")))
                }
                None => Ok(part.chars().collect()),
            }
        };
        let operands = left.split(',').map(labels).collect::<Result<Vec<_>>>()?;
        if operands.len() > 2 {
            let message = format_args!("{} operands; it takes one or two, so combine two at a time", operands.len());
            return Err(malformed(equation, message));
        }
        let count = |label: char| operands.iter().flatten().filter(|&&other| other == label).count();
        let output = match right {
            Some(right) => labels(right)?,
            None => {
                let mut once: Vec<char> =
                    operands.iter().flatten().copied().filter(|&label| count(label) == 1).collect();
                once.sort_unstable();
                once
            }
        };
        for (i, &label) in output.iter().enumerate() {
            if count(label) == 0 {
                return Err(malformed(equation, format_args!("the result's label {label:?} is in no operand")));
            }
            if output[..i].contains(&label) {
                return Err(malformed(equation, format_args!("the result has the label {label:?} twice")));
            }
        }
        Ok(Labels { operands, output })
    }

    /// The extent of every label.
    fn extents(&self, equation: &str, shapes: &[&[usize]]) -> Result<BTreeMap<char, usize>> {
        if shapes.len() != self.operands.len() {
            let message = format_args!("names {} operands, got {}", self.operands.len(), shapes.len());
            return Err(malformed(equation, message));
        }
        let mut extents = BTreeMap::new();
        let refuse = |message: String| Err(Error::shape("einsum", format_args!("{equation:?}: {message}")));
        for (i, (labels, shape)) in self.operands.iter().zip(shapes).enumerate() {
            if labels.len() != shape.len() {
                return refuse(format!("{} labels for operand {i} of shape {shape:?}; one an axis", labels.len()));
            }
            for (&label, &extent) in labels.iter().zip(*shape) {
                let known = *extents.entry(label).or_insert(extent);
                if known != extent {
                    return refuse(format!(
                        "the label {label:?} is of {known} elements, and of {extent} in operand {i}"
                    ));
                }
            }
        }
        Ok(extents)
    }
}

impl Einsum {
    /// The operation of an equation, which is checked and brought into a form that equal ones share.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when it is not the labels of one or two operands and of a result made of them.
    pub fn new(equation: &str) -> Result<Self> {
        let Labels { operands, output } = Labels::parse(equation)?;
        let operands: Vec<String> = operands.into_iter().map(|labels| labels.into_iter().collect()).collect();
        Ok(Einsum { equation: format!("{}->{}", operands.join(","), output.into_iter().collect::<String>()) })
    }
}

/// An operand on its way into a product.
struct Operand {
    value: Value,
    labels: Vec<char>,
}

impl Operand {
    /// Labels that occur twice, once: their diagonals.
    fn diagonals(mut self, graph: &mut Graph) -> Result<Self> {
        let twice = |labels: &[char]| {
            let second = (1..labels.len()).find(|&i| labels[..i].contains(&labels[i]))?;
            Some((labels.iter().position(|&label| label == labels[second])?, second))
        };
        while let Some((first, second)) = twice(&self.labels) {
            // With the two axes last and as one, every (n + 1)-th element.
            let mut order: Vec<usize> =
                (0..self.labels.len()).filter(|&axis| axis != first && axis != second).collect();
            let mut labels: Vec<char> = order.iter().map(|&axis| self.labels[axis]).collect();
            labels.push(self.labels[first]);
            order.extend([first, second]);
            let permuted = graph.permute(self.value, &order)?;
            let mut shape = graph.shape(permuted).to_vec();
            let extent = shape.pop().unwrap_or(1);
            let last = shape.len() - 1;
            shape[last] = extent * extent;
            let square = graph.reshape(permuted, &shape)?;
            let (begin, mut step) = (vec![0; shape.len()], vec![1; shape.len()]);
            step[last] = extent + 1;
            self = Operand { value: graph.slice(square, &begin, &shape, &step)?, labels };
        }
        Ok(self)
    }

    /// Without the labels that are not `kept`: summed.
    fn summed(self, graph: &mut Graph, kept: impl Fn(char) -> bool) -> Result<Self> {
        let (kept, gone): (Vec<usize>, Vec<usize>) = (0..self.labels.len()).partition(|&axis| kept(self.labels[axis]));
        let sum = graph.sum(self.value, &gone)?;
        let shape: Vec<usize> = kept.iter().map(|&axis| graph.shape(sum)[axis]).collect();
        let labels = kept.iter().map(|&axis| self.labels[axis]).collect();
        Ok(Operand { value: graph.reshape(sum, &shape)?, labels })
    }

    /// The axes in the order of `labels`, which are all of them.
    fn ordered(self, graph: &mut Graph, labels: &[char]) -> Result<Value> {
        if self.labels == labels {
            return Ok(self.value);
        }
        let place = |label: &char| self.labels.iter().position(|other| other == label).unwrap_or_default();
        let order: Vec<usize> = labels.iter().map(place).collect();
        graph.permute(self.value, &order)
    }

    /// As matrices `[batch, rows, columns]`, and whether these are stored transposed.
    fn matrices(self, graph: &mut Graph, [batch, rows, columns]: [&Axes; 3]) -> Result<(Value, bool)> {
        let transposed = self.labels == [&batch.labels[..], &columns.labels, &rows.labels].concat();
        let [second, third] = if transposed { [columns, rows] } else { [rows, columns] };
        let labels = [&batch.labels[..], &second.labels, &third.labels].concat();
        let ordered = self.ordered(graph, &labels)?;
        Ok((graph.reshape(ordered, &[batch.count(), second.count(), third.count()])?, transposed))
    }
}

/// Labels that are treated alike, with their extents.
struct Axes {
    labels: Vec<char>,
    extents: Vec<usize>,
}

impl Axes {
    fn count(&self) -> usize {
        element_count(&self.extents)
    }
}

impl Op for Einsum {
    fn name(&self) -> &'static str {
        "einsum"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let labels = Labels::parse(&self.equation)?;
        let shapes: Vec<&[usize]> = inputs.iter().map(|ty| &ty.shape[..]).collect();
        let extents = labels.extents(&self.equation, &shapes)?;
        let dtype = inputs[0].dtype;
        if let Some(other) = inputs.iter().find(|ty| !ty.dtype.is_float() || ty.dtype != dtype) {
            return Err(Error::dtype(
                "einsum",
                format_args!("takes floats of one type, got {dtype} and {other}; cast first"),
            ));
        }
        Ok(vec![TensorType::new(dtype, labels.output.iter().map(|label| extents[label]).collect::<Vec<_>>())])
    }

    fn autocast(&self) -> Autocast {
        Autocast::Parts
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::Decompose
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let Labels { operands, output } = Labels::parse(&self.equation)?;
        let shapes: Vec<&[usize]> = inputs.iter().map(Array::shape).collect();
        let extents = Labels::parse(&self.equation)?.extents(&self.equation, &shapes)?;
        let summed: Vec<char> = extents.keys().copied().filter(|label| !output.contains(label)).collect();
        let all = [&output[..], &summed].concat();
        let shape_of = |labels: &[char]| labels.iter().map(|label| extents[label]).collect::<Vec<usize>>();
        let (shape, inner) = (shape_of(&output), shape_of(&summed));
        with_float!("einsum", inputs[0], T => {
            let arrays = inputs.iter().map(|array| array.as_slice::<T>()).collect::<Result<Vec<_>>>()?;
            let element = |operand: usize, index: &[usize]| -> T {
                let axes = operands[operand].iter().zip(strides(shapes[operand]));
                let offset = axes.map(|(label, stride)| {
                    stride * all.iter().zip(index).find(|(other, _)| *other == label).map_or(0, |(_, &i)| i)
                });
                arrays[operand][offset.sum::<usize>()]
            };
            let sum = |flat: usize| -> T {
                let terms = (0..element_count(&inner)).map(|term| {
                    let index = [unravel(flat, &shape), unravel(term, &inner)].concat();
                    (0..arrays.len()).fold(T::c(1.0), |product, operand| product * element(operand, &index))
                });
                terms.sum()
            };
            Ok(vec![Array::new(&shape, (0..element_count(&shape)).map(sum).collect())?])
        })
    }

    fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
        Lowering::Decompose
    }

    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let Labels { operands: labels, output } = Labels::parse(&self.equation)?;
        let shapes: Vec<&[usize]> = inputs.iter().map(|&input| graph.shape(input)).collect();
        let extents = Labels::parse(&self.equation)?.extents(&self.equation, &shapes)?;
        let mut operands = Vec::with_capacity(2);
        for (i, &value) in inputs.iter().enumerate() {
            let operand = Operand { value, labels: labels[i].clone() }.diagonals(graph)?;
            let elsewhere = |label: char| {
                output.contains(&label) || (0..labels.len()).any(|j| j != i && labels[j].contains(&label))
            };
            operands.push(operand.summed(graph, elsewhere)?);
        }
        let Some(mut b) = operands.pop() else { return Err(malformed(&self.equation, "there is no operand")) };
        let Some(mut a) = operands.pop() else { return Ok(vec![b.ordered(graph, &output)?]) };
        let axes = |labels: Vec<char>| Axes { extents: labels.iter().map(|label| extents[label]).collect(), labels };
        let of =
            |from: &Operand, keep: &dyn Fn(&char) -> bool| axes(from.labels.iter().copied().filter(keep).collect());
        let sum = of(&a, &|label| !output.contains(label));
        if sum.labels.is_empty() {
            let mut aligned = Vec::with_capacity(2);
            for operand in [a, b] {
                let here: Vec<char> = output.iter().copied().filter(|label| operand.labels.contains(label)).collect();
                let shape = output.iter().map(|label| if here.contains(label) { extents[label] } else { 1 });
                let ordered = operand.ordered(graph, &here)?;
                aligned.push(graph.reshape(ordered, &shape.collect::<Vec<_>>())?);
            }
            return Ok(vec![graph.mul(aligned[0], aligned[1])?]);
        }
        let batch = of(&a, &|label| output.contains(label) && b.labels.contains(label));
        let own = |this: &Operand, other: &Operand| of(this, &|label| !other.labels.contains(label));
        let (mut rows, mut columns) = (own(&a, &b), own(&b, &a));
        if output == [&batch.labels[..], &columns.labels, &rows.labels].concat() {
            (a, b) = (b, a);
            (rows, columns) = (columns, rows);
        }
        let (a, transpose_a) = a.matrices(graph, [&batch, &rows, &sum])?;
        let (b, transpose_b) = b.matrices(graph, [&batch, &sum, &columns])?;
        let product = graph.matmul(a, b, transpose_a, transpose_b)?;
        let labels = [&batch.labels[..], &rows.labels, &columns.labels].concat();
        let value = graph.reshape(product, &[&batch.extents[..], &rows.extents, &columns.extents].concat())?;
        Ok(vec![Operand { value, labels }.ordered(graph, &output)?])
    }
}

impl Graph {
    /// The sum of products that `equation` says, of one or two operands.
    ///
    /// # Errors
    /// When the equation is malformed, or the operands do not fit it; the message names the label.
    pub fn einsum(&mut self, equation: &str, operands: &[Value]) -> Result<Value> {
        self.emit(Einsum::new(equation)?, operands)
    }
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let op = |equation: &str| Einsum { equation: equation.to_owned() };
    let data = |shapes: &[&[usize]]| -> Vec<Array> {
        shapes.iter().zip(34..).map(|(shape, seed)| Sample::uniform(shape, -1.0, 1.0, seed)).collect()
    };
    let sample =
        |equation, shapes: &[&[usize]], terms| Sample::new(equation, op(equation), data(shapes), Tolerance::sum(terms));
    let refuse =
        |name, equation, shapes: &[&[usize]], kind, words| Sample::error(name, op(equation), data(shapes), kind, words);
    let (config, shape) = (ErrorKind::Config, ErrorKind::Shape);
    vec![
        sample("ij,jk->ik", &[&[5, 7], &[7, 3]], 7),
        sample("bij,bjk->bik", &[&[2, 3, 5], &[2, 5, 4]], 5),
        sample("bhqd,bhkd->bhqk", &[&[2, 2, 3, 4], &[2, 2, 5, 4]], 4),
        sample("bqhd,bkhd->bhqk", &[&[2, 3, 2, 4], &[2, 5, 2, 4]], 4),
        sample("nhwc,oc->nhwo", &[&[2, 3, 2, 4], &[5, 4]], 4),
        sample("ik,kj->ji", &[&[3, 4], &[4, 5]], 4),
        sample("abc,dcb->ad", &[&[2, 3, 4], &[5, 4, 3]], 12),
        sample("i,i->", &[&[9], &[9]], 9),
        sample("i,j->ij", &[&[3], &[4]], 1),
        sample("ij,j->ij", &[&[3, 4], &[4]], 1),
        sample("ijx,jky->ik", &[&[2, 3, 2], &[3, 4, 3]], 18),
        sample("ij->ji", &[&[3, 4]], 1),
        sample("ijk->j", &[&[3, 4, 2]], 6),
        sample("ii->i", &[&[4, 4]], 1),
        sample("iji,jk->k", &[&[3, 2, 3], &[2, 4]], 6),
        sample("ij,jk", &[&[1, 1], &[1, 1]], 1),
        sample("ij,jk->ik", &[&[0, 3], &[3, 2]], 3),
        sample("ij,jk->ik", &[&[2, 0], &[0, 3]], 1),
        refuse(
            "label of no operand",
            "ij,jk->iz",
            &[&[2, 3], &[3, 4]],
            config,
            "the result's label 'z' is in no operand",
        ),
        refuse("label twice in the result", "ij->ii", &[&[2, 3]], config, "the label 'i' twice"),
        refuse(
            "extents that differ",
            "ij,jk->ik",
            &[&[2, 3], &[4, 5]],
            shape,
            "the label 'j' is of 3 elements, and of 4",
        ),
        refuse("no square", "ii->i", &[&[2, 3]], shape, "the label 'i' is of 2 elements, and of 3 in operand 0"),
        refuse(
            "too few labels",
            "ij,jk->ik",
            &[&[2, 3], &[3, 4, 5]],
            shape,
            "2 labels for operand 1 of shape [3, 4, 5]",
        ),
        refuse("an operand missing", "ij,jk->ik", &[&[2, 3]], config, "names 2 operands, got 1"),
        refuse("three operands", "i,i,i->i", &[&[2], &[2], &[2]], config, "3 operands; it takes one or two"),
        refuse("ellipsis", "...i->i", &[&[2]], config, "an ellipsis is not supported"),
        refuse("no letter", "i1->i", &[&[2, 3]], config, "'1' is no label"),
        Sample::error("integers", op("i->"), vec![Array::full(&[2], 1u32)], ErrorKind::DType, "takes floats"),
    ]
}
