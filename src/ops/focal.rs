//! The focal loss of a logit: binary cross-entropy in which well-classified examples count less.
//!
//! With p = σ(x), the share of the wrong class q = p·(1 − t) + (1 − p)·t and the weight a = α·t + (1 − α)·(1 − t):
//! loss = a·q^γ·bce(x, t). This is torchvision's `sigmoid_focal_loss`; without α, a = 1. Of a γ below 1 the slope at
//! q = 0 is infinite.
//!
//! Source: Lin et al., "Focal loss for dense object detection", 2017 (arXiv 1708.02002).

use crate::array::{Array, Float};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Gradient, Graph, Lowering, Op, Sample, TensorType, Tolerance, Value, expect_inputs};
use crate::with_float;

/// Logits and targets in [0, 1] of one shape → the loss of each.
#[derive(Clone, Debug)]
pub struct SigmoidFocal {
    /// The weight α of positives, in [0, 1]; that of negatives is 1 − α. `None` weighs all alike.
    pub alpha: Option<f64>,
    /// The exponent γ, at least 0.
    pub gamma: f64,
}

impl Op for SigmoidFocal {
    fn name(&self) -> &'static str {
        "sigmoid_focal"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let name = self.name();
        expect_inputs(name, inputs, 2)?;
        let (logits, targets) = (&inputs[0], &inputs[1]);
        if logits != targets || !logits.dtype.is_float() {
            return Err(Error::shape(
                name,
                format_args!("takes logits and targets of one shape, both floats; got {logits} and {targets}"),
            ));
        }
        if !self.alpha.is_none_or(|alpha| (0.0..=1.0).contains(&alpha)) || !(0.0..=f64::MAX).contains(&self.gamma) {
            let message =
                format!("{name}: alpha {:?} must be in [0, 1] and gamma {} at least 0", self.alpha, self.gamma);
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok(vec![logits.clone()])
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::Decompose
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        with_float!(self.name(), inputs[0], T => {
            let (logits, targets) = (inputs[0].as_slice::<T>()?, inputs[1].as_slice::<T>()?);
            let (one, gamma) = (T::c(1.0), T::c(self.gamma));
            let loss = |(&x, &t): (&T, &T)| {
                let (positive, negative) = (one / (one + (-x).exp()), one / (one + x.exp()));
                let wrong = positive * (one - t) + negative * t;
                // -log σ(x) = max(-x, 0) + log(1 + exp(-|x|)); a NaN is in the second term.
                let tail = (-x.abs()).exp().ln_1p();
                let cross_entropy = t * ((-x).max(T::c(0.0)) + tail) + (one - t) * (x.max(T::c(0.0)) + tail);
                let weight = self.alpha.map_or(one, |alpha| T::c(alpha) * t + T::c(1.0 - alpha) * (one - t));
                weight * wrong.powf(gamma) * cross_entropy
            };
            Ok(vec![Array::new(inputs[0].shape(), logits.iter().zip(targets).map(loss).collect())?])
        })
    }

    fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
        Lowering::Decompose
    }

    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let (x, target) = (inputs[0], inputs[1]);
        let one = graph.constant(1.0, graph.type_of(x).dtype)?;
        let mut loss = graph.elementwise("bce_with_logits", &[x, target, one], &[])?;
        let rest = graph.sub(one, target)?;
        if self.gamma > 0.0 {
            let minus_x = graph.unary("neg", x)?;
            let (positive, negative) = (graph.unary("sigmoid", x)?, graph.unary("sigmoid", minus_x)?);
            let (first, second) = (graph.mul(positive, rest)?, graph.mul(negative, target)?);
            let wrong = graph.add(first, second)?;
            let factor = match self.gamma {
                1.0 => wrong,
                2.0 => graph.unary("square", wrong)?,
                gamma => graph.elementwise("pow", &[wrong], &[gamma])?,
            };
            loss = graph.mul(factor, loss)?;
        }
        if let Some(alpha) = self.alpha {
            let (first, second) = (graph.scale(target, alpha)?, graph.scale(rest, 1.0 - alpha)?);
            let weight = graph.add(first, second)?;
            loss = graph.mul(weight, loss)?;
        }
        Ok(vec![loss])
    }
}

impl Graph {
    /// The focal loss of each logit.
    ///
    /// # Errors
    /// When logits and targets are not floats of one shape, `alpha` is not in [0, 1], or `gamma` is negative.
    pub fn sigmoid_focal(&mut self, logits: Value, targets: Value, alpha: Option<f64>, gamma: f64) -> Result<Value> {
        self.emit(SigmoidFocal { alpha, gamma }, &[logits, targets])
    }
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let tolerance = Tolerance {
        absolute: 3e-6,
        relative: 2e-5,
        reason: "WGSL allows exp 3 + 2|x| ulp, and pow takes it to the power of gamma; log 2^-21 near 1",
    };
    let op = |alpha, gamma| SigmoidFocal { alpha, gamma };
    let data = |shape: &[usize]| vec![Sample::uniform(shape, -3.0, 3.0, 33), Sample::uniform(shape, 0.0, 1.0, 34)];
    let vector = |elements: Vec<f32>| Array::new(&[elements.len()], elements).expect("a vector");
    let extremes = || {
        let logits = vec![-1e4, -1e4, 1e4, 1e4, 20.0, -20.0, f32::NAN, 0.0];
        vec![vector(logits), vector(vec![0.0, 1.0, 0.0, 1.0, 1.0, 0.5, 1.0, 0.0])]
    };
    let integers = || vec![Array::zeros(&[2], DType::U32); 2];
    let config = ErrorKind::Config;
    vec![
        Sample::new("default", op(Some(0.25), 2.0), data(&[4, 7]), tolerance),
        Sample::new("without alpha", op(None, 1.0), data(&[2, 3, 3, 2]), tolerance),
        Sample::new("odd gamma", op(Some(0.6), 1.5), data(&[11]), tolerance),
        Sample::new("cross entropy", op(None, 0.0), data(&[11]), tolerance),
        Sample::new("one element", op(Some(0.25), 2.0), data(&[1]), tolerance),
        Sample::new("no elements", op(Some(0.25), 2.0), data(&[0, 2]), tolerance),
        Sample::new("extremes", op(Some(0.25), 2.0), extremes(), tolerance).not_smooth(),
        Sample::error("alpha", op(Some(1.5), 2.0), data(&[3]), config, "alpha Some(1.5) must be in [0, 1]"),
        Sample::error("gamma", op(None, -1.0), data(&[3]), config, "gamma -1 at least 0"),
        Sample::error("shapes", op(None, 2.0), vec![vector(vec![0.0]), vector(vec![])], ErrorKind::Shape, "one shape"),
        Sample::error("integers", op(None, 2.0), integers(), ErrorKind::Shape, "both floats"),
    ]
}
