//! Elementwise functions beyond arithmetic, as methods of [`Tensor`]; each is a row of [`crate::ops::elementwise`].

use std::panic::Location;

use super::Tensor;
use super::methods::unary;
use crate::shape::normalize_axes;

unary! {
    /// The sine; accurate for `|x|` up to 10,000.
    sin;
    /// The cosine; accurate for `|x|` up to 10,000.
    cos;
    /// `1 / x`.
    reciprocal;
    /// `1 / √x`.
    rsqrt;
    /// `log(1 + x)`, accurate near 0.
    log1p;
    /// `e^x - 1`, accurate near 0.
    expm1;
    /// The largest integer that is not above; its gradient is zero.
    floor;
    /// The smallest integer that is not below; its gradient is zero.
    ceil;
    /// The nearest integer, halves to even; its gradient is zero.
    round;
    /// The self-normalising ELU: `1.0507 · x` where positive, else `1.0507 · 1.67326 · (e^x - 1)`.
    selu;
    /// `x · tanh(softplus(x))`.
    mish;
    /// `clamp(x + 3, 0, 6) / 6`.
    hard_sigmoid;
    /// `x / (1 + |x|)`.
    softsign;
    /// `log(sigmoid(x))`, without underflow.
    log_sigmoid;
    /// `x - tanh(x)`.
    tanh_shrink;
}

impl Tensor {
    /// `x^exponent` for a tensor of exponents; see [`Tensor::pow`] for a constant.
    #[track_caller]
    #[must_use]
    pub fn power(&self, exponent: &Tensor) -> Tensor {
        self.binary("power", exponent)
    }

    /// `x` where positive, else `alpha · (e^(x / alpha) - 1)`.
    #[track_caller]
    #[must_use]
    pub fn celu(&self, alpha: f64) -> Tensor {
        self.unary("celu", &[alpha])
    }

    /// `x` limited to `low..=high`; unlike [`Tensor::clamp`]'s, the gradient is zero at the ends.
    #[track_caller]
    #[must_use]
    pub fn hard_tanh(&self, low: f64, high: f64) -> Tensor {
        self.unary("hard_tanh", &[low, high])
    }

    /// `x` limited to 0 to 6.
    #[track_caller]
    #[must_use]
    pub fn relu6(&self) -> Tensor {
        self.hard_tanh(0.0, 6.0)
    }

    /// `x` moved towards 0 by `lambda`, but not beyond.
    #[track_caller]
    #[must_use]
    pub fn soft_shrink(&self, lambda: f64) -> Tensor {
        self.unary("soft_shrink", &[lambda])
    }

    /// `x` where `|x| > lambda`, else 0; PyTorch's default for `lambda` is 0.5.
    #[track_caller]
    #[must_use]
    pub fn hard_shrink(&self, lambda: f64) -> Tensor {
        self.unary("hard_shrink", &[lambda])
    }

    /// `x` where above `limit`, else `value`.
    #[track_caller]
    #[must_use]
    pub fn threshold(&self, limit: f64, value: f64) -> Tensor {
        self.unary("threshold", &[limit, value])
    }

    /// `x` where positive, else `slope · x`, for slopes that broadcast: `[1]`, or `[C]` for one a channel.
    #[track_caller]
    #[must_use]
    pub fn prelu(&self, slope: &Tensor) -> Tensor {
        self.binary("prelu", slope)
    }

    /// The gated linear unit: the first half of `axis` (negative ones count from the end) times the sigmoid of the
    /// second half.
    #[track_caller]
    #[must_use]
    pub fn glu(&self, axis: isize) -> Tensor {
        let rank = self.shape().len();
        self.apply(&[], rank, Location::caller(), |graph, v| {
            let axis = normalize_axes("glu", &[axis], rank)?[0];
            graph.glu(v[0], axis)
        })
    }
}
