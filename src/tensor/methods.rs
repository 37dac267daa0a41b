//! The methods of [`Tensor`]: each adds nodes by an emitter of [`crate::ops`], where formulas and shapes are explained.

use std::panic::Location;
use std::sync::Arc;

use super::Tensor;
use crate::dtype::DType;
use crate::error::{Error, ErrorKind};
use crate::shape::{Window, element_count, normalize_axes};

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident;)+) => {
        impl Tensor {$(
            $(#[$doc])*
            #[track_caller]
            #[must_use]
            pub fn $name(&self) -> Tensor {
                self.unary(stringify!($name), &[])
            }
        )+}
    };
}
pub(super) use unary;

unary! {
    /// `|x|`.
    abs;
    /// `e^x`.
    exp;
    /// The natural logarithm.
    log;
    /// The square root.
    sqrt;
    /// `x²`.
    square;
    /// -1, 0 or 1; its gradient is zero.
    sign;
    /// The error function.
    erf;
    /// `max(x, 0)`.
    relu;
    /// `1 / (1 + e^-x)`.
    sigmoid;
    /// The hyperbolic tangent.
    tanh;
    /// `x · Φ(x)` with the exact normal distribution.
    gelu;
    /// GELU by its tanh approximation.
    gelu_tanh;
    /// `x · sigmoid(x)`.
    silu;
    /// `log(1 + e^x)`.
    softplus;
    /// `x · clamp(x + 3, 0, 6) / 6`.
    hard_swish;
}

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident $row:literal;)+) => {
        impl Tensor {$(
            $(#[$doc])*
            #[track_caller]
            #[must_use]
            pub fn $name(&self, other: &Tensor) -> Tensor {
                self.binary($row, other)
            }
        )+}
    };
}
binary! {
    /// The smaller of two elements; NaN if one is.
    minimum "minimum";
    /// The larger of two elements; NaN if one is.
    maximum "maximum";
    /// 1 where equal, else 0 (`u32`).
    equal "eq";
    /// 1 where not equal, else 0 (`u32`).
    not_equal "ne";
    /// 1 where less, else 0 (`u32`).
    less "lt";
    /// 1 where less or equal, else 0 (`u32`).
    less_equal "le";
    /// 1 where greater, else 0 (`u32`).
    greater "gt";
    /// 1 where greater or equal, else 0 (`u32`).
    greater_equal "ge";
}

impl Tensor {
    #[track_caller]
    pub(super) fn unary(&self, row: &'static str, parameters: &[f64]) -> Tensor {
        self.apply(&[], self.shape().len(), Location::caller(), |graph, v| graph.elementwise(row, v, parameters))
    }

    #[track_caller]
    pub(super) fn binary(&self, row: &'static str, other: &Tensor) -> Tensor {
        let rank = self.shape().len().max(other.shape().len());
        self.apply(&[other], rank, Location::caller(), |graph, v| graph.elementwise(row, v, &[]))
    }

    /// A scalar constant of this tensor's element type.
    #[track_caller]
    pub(super) fn number(&self, value: f64) -> Tensor {
        self.trace.constant(value, self.dtype())
    }

    /// `x^exponent` for a constant exponent.
    #[track_caller]
    #[must_use]
    pub fn pow(&self, exponent: f64) -> Tensor {
        if exponent == 1.0 {
            return self.clone();
        }
        if exponent == 2.0 { self.square() } else { self.unary("pow", &[exponent]) }
    }

    /// `x` where positive, else `slope · x`.
    #[track_caller]
    #[must_use]
    pub fn leaky_relu(&self, slope: f64) -> Tensor {
        self.unary("leaky_relu", &[slope])
    }

    /// `x` where positive, else `alpha · (e^x - 1)`.
    #[track_caller]
    #[must_use]
    pub fn elu(&self, alpha: f64) -> Tensor {
        self.unary("elu", &[alpha])
    }

    /// `x` limited to `low..=high`.
    #[track_caller]
    #[must_use]
    pub fn clamp(&self, low: f64, high: f64) -> Tensor {
        self.unary("clamp", &[low, high])
    }

    /// `a` where this (`u32`) is not 0, else `b`.
    #[track_caller]
    #[must_use]
    pub fn select(&self, a: &Tensor, b: &Tensor) -> Tensor {
        let rank = [self, a, b].iter().map(|t| t.shape().len()).max().unwrap_or(0);
        self.apply(&[a, b], rank, Location::caller(), |graph, v| graph.select(v[0], v[1], v[2]))
    }

    /// The same values as another element type.
    #[track_caller]
    #[must_use]
    pub fn cast(&self, dtype: DType) -> Tensor {
        self.apply(&[], self.shape().len(), Location::caller(), |graph, v| graph.cast(v[0], dtype))
    }

    /// The matrix product `[…, M, K] · […, K, N]`.
    #[track_caller]
    #[must_use]
    pub fn matmul(&self, other: &Tensor) -> Tensor {
        self.matmul_transposed(other, false, false)
    }

    /// The matrix product with either operand transposed (its last two axes swapped), without copying.
    #[track_caller]
    #[must_use]
    pub fn matmul_transposed(&self, other: &Tensor, transpose_self: bool, transpose_other: bool) -> Tensor {
        let rank = self.shape().len().max(other.shape().len());
        self.apply(&[other], rank, Location::caller(), |graph, v| {
            graph.matmul(v[0], v[1], transpose_self, transpose_other)
        })
    }

    /// `x · weightᵀ + bias` over the last axis: weight `[Out, In]`, bias `[Out]`.
    #[track_caller]
    #[must_use]
    pub fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
        let others: Vec<&Tensor> = std::iter::once(weight).chain(bias).collect();
        self.apply(&others, self.shape().len(), Location::caller(), |graph, v| {
            graph.linear(v[0], v[1], v.get(2).copied())
        })
    }

    /// Convolution of `[N, H, W, Cin]` with `[Cout, Kh, Kw, Cin / groups]`.
    #[track_caller]
    #[must_use]
    pub fn conv2d(&self, weight: &Tensor, window: Window, groups: usize) -> Tensor {
        self.apply(&[weight], 4, Location::caller(), |graph, v| graph.conv2d(v[0], v[1], window, groups))
    }

    /// The largest pixel of each window, per channel, of `[N, H, W, C]`.
    #[track_caller]
    #[must_use]
    pub fn max_pool2d(&self, window: Window) -> Tensor {
        self.apply(&[], 4, Location::caller(), |graph, v| graph.max_pool2d(v[0], window))
    }

    /// The mean of each window, per channel, of `[N, H, W, C]`; padding counts as zeros.
    #[track_caller]
    #[must_use]
    pub fn avg_pool2d(&self, window: Window) -> Tensor {
        self.apply(&[], 4, Location::caller(), |graph, v| graph.avg_pool2d(v[0], window, true))
    }

    /// The mean of each channel of `[N, H, W, C]`: `[N, C]`.
    #[track_caller]
    #[must_use]
    pub fn global_avg_pool2d(&self) -> Tensor {
        self.apply(&[], 2, Location::caller(), |graph, v| graph.global_avg_pool2d(v[0]))
    }

    /// The same elements in another shape.
    #[track_caller]
    #[must_use]
    pub fn reshape(&self, shape: &[usize]) -> Tensor {
        self.apply(&[], shape.len(), Location::caller(), |graph, v| graph.reshape(v[0], shape))
    }

    /// All axes from `start` on as one.
    #[track_caller]
    #[must_use]
    pub fn flatten(&self, start: usize) -> Tensor {
        let start = start.min(self.shape().len());
        let mut shape = self.shape()[..start].to_vec();
        shape.push(element_count(&self.shape()[start..]));
        self.reshape(&shape)
    }

    /// Axes in another order: axis `i` of the result is axis `axes[i]` of this.
    #[track_caller]
    #[must_use]
    pub fn permute(&self, axes: &[usize]) -> Tensor {
        self.apply(&[], axes.len(), Location::caller(), |graph, v| graph.permute(v[0], axes))
    }

    /// `ranges[axis]` of every axis.
    #[track_caller]
    #[must_use]
    pub fn slice(&self, ranges: &[std::ops::Range<usize>]) -> Tensor {
        let begin: Vec<usize> = ranges.iter().map(|r| r.start).collect();
        let end: Vec<usize> = ranges.iter().map(|r| r.end).collect();
        self.apply(&[], self.shape().len(), Location::caller(), |graph, v| {
            graph.slice(v[0], &begin, &end, &vec![1; begin.len()])
        })
    }

    /// A border of `value`: `borders[axis]` elements (before, after) every axis.
    #[track_caller]
    #[must_use]
    pub fn pad(&self, borders: &[(usize, usize)], value: f64) -> Tensor {
        let before: Vec<usize> = borders.iter().map(|b| b.0).collect();
        let after: Vec<usize> = borders.iter().map(|b| b.1).collect();
        self.apply(&[], self.shape().len(), Location::caller(), |graph, v| graph.pad(v[0], &before, &after, value))
    }

    /// This tensor and `others` one after the other along `axis`.
    #[track_caller]
    #[must_use]
    pub fn concat(&self, others: &[&Tensor], axis: usize) -> Tensor {
        self.apply(others, self.shape().len(), Location::caller(), |graph, v| graph.concat(v, axis))
    }

    /// Stretched to `shape`.
    #[track_caller]
    #[must_use]
    pub fn broadcast_to(&self, shape: &[usize]) -> Tensor {
        self.apply(&[], shape.len(), Location::caller(), |graph, v| graph.broadcast_to(v[0], shape))
    }

    /// `e^x / Σ e^x` over `axis` (negative ones count from the end).
    #[track_caller]
    #[must_use]
    pub fn softmax(&self, axis: isize) -> Tensor {
        let rank = self.shape().len();
        self.apply(&[], rank, Location::caller(), |graph, v| {
            let axis = normalize_axes("softmax", &[axis], rank)?[0];
            graph.softmax(v[0], axis)
        })
    }

    /// The logarithm of the softmax over `axis` (negative ones count from the end).
    #[track_caller]
    #[must_use]
    pub fn log_softmax(&self, axis: isize) -> Tensor {
        let rank = self.shape().len();
        self.apply(&[], rank, Location::caller(), |graph, v| {
            let axis = normalize_axes("log_softmax", &[axis], rank)?[0];
            graph.log_softmax(v[0], axis)
        })
    }

    /// The cross entropy of these logits `[N, C]` with labels `[N]` (`u32`), one a row.
    #[track_caller]
    #[must_use]
    pub fn softmax_cross_entropy(&self, labels: &Tensor, label_smoothing: f64) -> Tensor {
        self.apply(&[labels], 1, Location::caller(), |graph, v| {
            graph.softmax_cross_entropy(v[0], v[1], label_smoothing)
        })
    }

    /// Batch norm over all axes but the last, with the statistics of this batch: the result, the mean and the biased
    /// variance, each `[C]`.
    #[track_caller]
    #[must_use]
    pub fn batch_norm(&self, weight: &Tensor, bias: &Tensor, epsilon: f64) -> [Tensor; 3] {
        let ranks = [self.shape().len(), 1, 1];
        self.apply_several(&[weight, bias], ranks, Location::caller(), |graph, v| {
            graph.batch_norm(v[0], v[1], v[2], epsilon)
        })
    }

    /// Batch norm with given statistics, each `[C]`.
    #[track_caller]
    #[must_use]
    pub fn batch_norm_inference(
        &self,
        weight: &Tensor,
        bias: &Tensor,
        mean: &Tensor,
        variance: &Tensor,
        epsilon: f64,
    ) -> Tensor {
        self.apply(&[weight, bias, mean, variance], self.shape().len(), Location::caller(), |graph, v| {
            graph.batch_norm_inference(v[0], v[1], v[2], v[3], v[4], epsilon)
        })
    }

    /// A user's own operation on this tensor and `others`; gives its first output.
    #[track_caller]
    #[must_use]
    pub fn custom(&self, op: impl crate::graph::Op, others: &[&Tensor]) -> Tensor {
        self.apply(others, self.shape().len(), Location::caller(), |graph, v| graph.emit(op, v))
    }

    /// As [`Tensor::custom`], for an operation with `N` outputs.
    #[track_caller]
    #[must_use]
    pub fn custom_outputs<const N: usize>(&self, op: impl crate::graph::Op, others: &[&Tensor]) -> [Tensor; N] {
        let name = op.name();
        self.apply_several(others, [self.shape().len(); N], Location::caller(), |graph, v| {
            graph.apply(Arc::new(op), v)?.try_into().map_err(|outputs: Vec<_>| {
                let text = format!("{name}: has {} outputs, {N} were asked for", outputs.len());
                Error::new(ErrorKind::Graph, text)
            })
        })
    }

    /// This tensor, if its shape is `shape`; else the mistake is reported when the program is compiled.
    #[track_caller]
    pub fn expect_shape(&self, what: &str, shape: &[usize]) -> Tensor {
        if self.shape() != shape {
            let text = format!("{what}: expected the shape {shape:?}, this is {:?}", self.shape());
            self.trace.fail(Error::new(ErrorKind::Shape, text), Location::caller());
        }
        self.clone()
    }
}
