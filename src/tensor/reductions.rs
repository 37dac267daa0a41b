//! Reductions over axes, as methods of [`Tensor`]; the formulas are in [`crate::ops::reduce`] and
//! [`crate::ops::statistics`].
//!
//! Negative axes count from the end. Reduced axes go; [`Tensor::keep_dims`] gives the same methods for results in which
//! they stay with extent 1, so that they broadcast against what was reduced:
//!
//! ```
//! use neuropil::{Array, DType, Device, Mode, Program, Store};
//!
//! let program = Program::compile("share", &Store::new(&Device::cpu(), 0), Mode::Evaluate, |trace| {
//!     let x = trace.input("x", &[2, 3], DType::F32);
//!     trace.output("share", &(&x / x.keep_dims().sum(&[-1])));
//! })?;
//! let x = Array::new(&[2, 3], vec![1f32, 1.0, 2.0, 0.0, 3.0, 1.0])?;
//! assert_eq!(program.call(&[("x", &x)])?["share"].to_f64_vec(), [0.25, 0.25, 0.5, 0.0, 0.75, 0.25]);
//! # Ok::<(), neuropil::Error>(())
//! ```

use std::panic::Location;

use super::Tensor;
use crate::error::Result;
use crate::graph::{Accumulator, Graph, Value};
use crate::ops::reduce::Reduction;
use crate::ops::statistics::Kind;
use crate::shape::normalize_axes;

/// A tensor whose reductions keep the reduced axes with extent 1: see [`Tensor::keep_dims`].
#[derive(Clone, Copy, Debug)]
pub struct KeepDims<'a>(&'a Tensor);

macro_rules! reductions {
    ($($(#[$doc:meta])* fn $name:ident(axes $(, $parameter:ident: $type:ty)*) { $build:expr })+) => {
        impl Tensor {$(
            $(#[$doc])*
            #[track_caller]
            #[must_use]
            pub fn $name(&self, axes: &[isize] $(, $parameter: $type)*) -> Tensor {
                reduce(self, stringify!($name), axes, false, $build)
            }
        )+}
        impl KeepDims<'_> {$(
            $(#[$doc])*
            #[track_caller]
            #[must_use]
            pub fn $name(&self, axes: &[isize] $(, $parameter: $type)*) -> Tensor {
                reduce(self.0, stringify!($name), axes, true, $build)
            }
        )+}
    };
}

reductions! {
    /// The sum over `axes`.
    fn sum(axes) { |graph, x, axes| graph.sum(x, axes) }
    /// The mean over `axes`.
    fn mean(axes) { |graph, x, axes| graph.mean(x, axes) }
    /// The product over `axes`. The gradient is right with zeros, too.
    fn prod(axes) { |graph, x, axes| graph.prod(x, axes) }
    /// The largest element over `axes`; NaN if there is one.
    fn max(axes) { |graph, x, axes| {
        graph.emit(Reduction { accumulator: Accumulator::Max, axes: axes.to_vec() }, &[x])
    } }
    /// The smallest element over `axes`; NaN if there is one.
    fn min(axes) { |graph, x, axes| graph.statistic(Kind::Min, x, axes) }
    /// The row-major position of the largest element over `axes`: `u32`, the first of equals.
    fn argmax(axes) { |graph, x, axes| {
        graph.emit(Reduction { accumulator: Accumulator::ArgMax, axes: axes.to_vec() }, &[x])
    } }
    /// The row-major position of the smallest element over `axes`: `u32`, the first of equals.
    fn argmin(axes) { |graph, x, axes| graph.statistic(Kind::ArgMin, x, axes) }
    /// The variance over `axes`: squared deviations from the mean, summed and divided by the number of elements less
    /// `correction`. PyTorch's default is 1; batch norm uses 0.
    fn var(axes, correction: usize) { |graph, x, axes| graph.statistic(Kind::Variance { correction }, x, axes) }
    /// The standard deviation over `axes`: the root of [`Tensor::var`]. Its gradient is 0 where it is 0.
    fn std(axes, correction: usize) { |graph, x, axes| graph.statistic(Kind::Deviation { correction }, x, axes) }
    /// `log Σ e^x` over `axes`, without overflow.
    fn logsumexp(axes) { |graph, x, axes| graph.statistic(Kind::LogSumExp, x, axes) }
    /// The vector norm `(Σ |x|^order)^(1/order)` over `axes`, for an infinite order the largest `|x|`. Its gradient is 0
    /// where it is 0.
    fn norm(axes, order: f64) { |graph, x, axes| graph.statistic(Kind::Norm { order }, x, axes) }
    /// 1 (`u32`) where some element over `axes` is not 0, else 0.
    fn any(axes) { |graph, x, axes| graph.statistic(Kind::Any, x, axes) }
    /// 1 (`u32`) where every element over `axes` is not 0, else 0.
    fn all(axes) { |graph, x, axes| graph.statistic(Kind::All, x, axes) }
}

impl Tensor {
    /// This tensor for reductions that keep the reduced axes with extent 1, as PyTorch's `keepdim=True` does.
    pub fn keep_dims(&self) -> KeepDims<'_> {
        KeepDims(self)
    }

    /// The sum of all elements.
    #[track_caller]
    #[must_use]
    pub fn sum_all(&self) -> Tensor {
        self.sum(&self.all_axes())
    }

    /// The mean of all elements.
    #[track_caller]
    #[must_use]
    pub fn mean_all(&self) -> Tensor {
        self.mean(&self.all_axes())
    }

    fn all_axes(&self) -> Vec<isize> {
        (0..self.shape().len() as isize).collect()
    }
}

#[track_caller]
fn reduce(
    tensor: &Tensor,
    name: &str,
    axes: &[isize],
    keep: bool,
    build: impl FnOnce(&mut Graph, Value, &[usize]) -> Result<Value>,
) -> Tensor {
    let rank = tensor.shape().len();
    let rank_left = if keep { rank } else { rank.saturating_sub(axes.len()) };
    tensor.apply(&[], rank_left, Location::caller(), |graph, v| {
        let axes = normalize_axes(name, axes, rank)?;
        let reduced = build(graph, v[0], &axes)?;
        if keep {
            return Ok(reduced);
        }
        let left: Vec<usize> = (0..rank).filter(|axis| !axes.contains(axis)).collect();
        let left: Vec<usize> = left.into_iter().map(|axis| tensor.shape()[axis]).collect();
        graph.reshape(reduced, &left)
    })
}
