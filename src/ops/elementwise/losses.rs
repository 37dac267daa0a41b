//! The rows of losses: what one prediction costs, given one target. [`crate::ops::elementwise`] explains rows.
//!
//! Formulas and gradients are PyTorch's, where a gradient is a matter of choice (a logarithm that is cut off) too. All are
//! written so that no difference of large numbers is taken: a well-classified example has a small loss with all its digits.

use super::functions::float_function;
use super::table::{give_product, points, row, with_parameters};
use super::{Elementwise, Row, Signature, row_named};
use crate::array::Array;
use crate::error::Result;
use crate::graph::{Backward, Sample, Tolerance, Value, Wgsl};

/// Tolerance of sums of a few products with a driver's logarithm.
const LOGARITHMS: Tolerance = Tolerance {
    absolute: 3e-6,
    relative: 2e-6,
    reason: "WGSL allows log 2^-21 near 1 and exp 3 + 2|x| ulp; two of them with weights up to 3",
};

/// Losses of a prediction and a target; `bce_with_logits` has a weight of positives as its third tensor.
pub static ROWS: &[Row] = &[
    row(
        "huber",
        2,
        Signature::Float,
        Wgsl::Source(
            "fn huber(prediction: f32, wanted: f32, delta: f32) -> f32 {
    let distance = abs(prediction - wanted);
    return select(delta * (distance - 0.5 * delta), 0.5 * distance * distance, distance <= delta);
}",
        ),
        float_function!(T, [prediction, target, delta], {
            let distance = (prediction - target).abs();
            let half = T::c(0.5);
            if distance <= delta { half * distance * distance } else { delta * (distance - half * delta) }
        }),
        Some(|cx, parameters, g| {
            // The difference, limited to ±delta.
            let (prediction, target, delta) = (cx.input(0), cx.input(1), parameters[0]);
            let difference = cx.graph.sub(prediction, target)?;
            let slope = cx.graph.elementwise("clamp", &[difference], &[-delta, delta])?;
            give_difference(cx, g, slope)
        }),
        with_parameters(
            (-2.0, 2.0),
            &[-1.0, 0.0, 1.0, 1e4, f64::NAN],
            &[&[1.0], &[0.3]],
            Tolerance { absolute: 3e-7, relative: 1e-6, reason: "a difference near 2 rounds by 1.2e-7" },
        ),
    ),
    row(
        "bce",
        2,
        Signature::Float,
        // The built-in logarithm is not defined at 0.
        Wgsl::Source(
            "fn bce(probability: f32, wanted: f32) -> f32 {
    if (is_nan(probability) || probability < 0.0 || probability > 1.0) { return quiet_nan(); }
    var positive = -100.0;
    if (probability > 0.0) { positive = max(log(probability), -100.0); }
    var negative = -100.0;
    // At least -17: the last number before 1 is 6e-8 away.
    if (probability < 1.0) { negative = log1p(-probability); }
    return (wanted - 1.0) * negative - wanted * positive;
}",
        ),
        float_function!(T, [probability, target], {
            let (zero, one, least) = (T::c(0.0), T::c(1.0), T::c(-100.0));
            if probability >= zero && probability <= one {
                let (positive, negative) = (probability.ln().max(least), (-probability).ln_1p().max(least));
                (target - one) * negative - target * positive
            } else {
                T::c(f64::NAN)
            }
        }),
        Some(|cx, _, g| {
            let (probability, target) = (cx.input(0), cx.input(1));
            let (zero, one) = (number(cx, 0.0)?, number(cx, 1.0)?);
            if cx.wants(0) {
                // (p - t) / max(p·(1 - p), 1e-12): finite where the logarithm is cut off.
                let difference = cx.graph.sub(probability, target)?;
                let rest = cx.graph.sub(one, probability)?;
                let product = cx.graph.mul(probability, rest)?;
                let least = number(cx, 1e-12)?;
                let variance = cx.graph.elementwise("maximum", &[product, least], &[])?;
                let slope = cx.graph.div(difference, variance)?;
                give_product(cx, g, slope)?;
            }
            if cx.wants(1) {
                // Linear in the target: the loss of a positive minus that of a negative.
                let positive = cx.graph.elementwise("bce", &[probability, one], &[])?;
                let negative = cx.graph.elementwise("bce", &[probability, zero], &[])?;
                let slope = cx.graph.sub(positive, negative)?;
                let gradient = cx.graph.mul(g, slope)?;
                cx.give(1, gradient);
            }
            Ok(())
        }),
        points((0.05, 0.95), &[0.0, 0.5, 1.0, f64::NAN], LOGARITHMS),
    ),
    row(
        "bce_with_logits",
        3,
        Signature::Float,
        Wgsl::Source(
            "fn bce_with_logits(x: f32, wanted: f32, positive_weight: f32) -> f32 {
    let tail = log1p(exponential(-abs(x)));
    let negative = select(x, 0.0, x < 0.0) + tail;
    let positive = select(0.0, -x, x < 0.0) + tail;
    return (1.0 - wanted) * negative + positive_weight * wanted * positive;
}",
        ),
        float_function!(T, [x, target, positive_weight], {
            let zero = T::c(0.0);
            let tail = (-x.abs()).exp().ln_1p();
            let negative = if x < zero { zero } else { x } + tail;
            let positive = if x < zero { -x } else { zero } + tail;
            (T::c(1.0) - target) * negative + positive_weight * target * positive
        }),
        Some(|cx, _, g| {
            let (x, target, weight) = (cx.input(0), cx.input(1), cx.input(2));
            let one = number(cx, 1.0)?;
            let minus_x = cx.graph.unary("neg", x)?;
            if cx.wants(0) {
                // (1 - t)·σ(x) - w·t·σ(-x)
                let (rest, weighted) = (cx.graph.sub(one, target)?, cx.graph.mul(weight, target)?);
                let (up, down) = (cx.graph.unary("sigmoid", x)?, cx.graph.unary("sigmoid", minus_x)?);
                let (first, second) = (cx.graph.mul(rest, up)?, cx.graph.mul(weighted, down)?);
                let slope = cx.graph.sub(first, second)?;
                give_product(cx, g, slope)?;
            }
            let positive = cx.graph.unary("softplus", minus_x)?;
            if cx.wants(1) {
                let (weighted, negative) = (cx.graph.mul(weight, positive)?, cx.graph.unary("softplus", x)?);
                let slope = cx.graph.sub(weighted, negative)?;
                let gradient = cx.graph.mul(g, slope)?;
                cx.give(1, gradient);
            }
            if cx.wants(2) {
                let slope = cx.graph.mul(target, positive)?;
                let gradient = cx.graph.mul(g, slope)?;
                cx.give(2, gradient);
            }
            Ok(())
        }),
        points((-2.0, 2.0), &[0.0, 1.0, f64::NAN], LOGARITHMS),
    ),
    row(
        "kl_div",
        2,
        Signature::Float,
        Wgsl::Source(
            "fn kl_div(log_prediction: f32, wanted: f32) -> f32 {
    if (is_nan(wanted) || wanted < 0.0) { return quiet_nan(); }
    var entropy = 0.0;
    if (wanted > 0.0) { entropy = wanted * log(wanted); }
    return entropy - wanted * log_prediction;
}",
        ),
        float_function!(T, [log_prediction, target], {
            let zero = T::c(0.0);
            let entropy = if target == zero { zero } else { target * target.ln() };
            entropy - target * log_prediction
        }),
        Some(|cx, _, g| {
            let (log_prediction, target) = (cx.input(0), cx.input(1));
            if cx.wants(0) {
                let slope = cx.graph.unary("neg", target)?;
                give_product(cx, g, slope)?;
            }
            if cx.wants(1) {
                // log t + 1 - x. The slope at 0 is infinite; it is taken at the smallest float.
                let limits = [f32::MIN_POSITIVE, f32::MAX].map(f64::from);
                let positive = cx.graph.elementwise("clamp", &[target], &limits)?;
                let log = cx.graph.unary("log", positive)?;
                let log = cx.graph.shift(log, 1.0)?;
                let slope = cx.graph.sub(log, log_prediction)?;
                let gradient = cx.graph.mul(g, slope)?;
                cx.give(1, gradient);
            }
            Ok(())
        }),
        points((0.1, 2.0), &[0.0, 1.0, 0.5], LOGARITHMS),
    ),
];

/// A scalar of the type of the gradient's operands.
fn number(cx: &mut Backward<'_>, value: f64) -> Result<Value> {
    let dtype = cx.graph.type_of(cx.input(0)).dtype;
    cx.graph.constant(value, dtype)
}

/// The gradients of a function of `prediction - target` with the derivative `slope`.
fn give_difference(cx: &mut Backward<'_>, gradient: Value, slope: Value) -> Result<()> {
    let product = cx.graph.mul(gradient, slope)?;
    cx.give(0, product);
    if cx.wants(1) {
        let negative = cx.graph.unary("neg", product)?;
        cx.give(1, negative);
    }
    Ok(())
}

/// Samples besides those that every row has: extremes of one argument with ordinary values of the others.
pub fn samples() -> Vec<Sample> {
    let vector = |elements: &[f32]| Array::new(&[elements.len()], elements.to_vec()).expect("a vector");
    let column = |elements: &[f32]| Array::new(&[elements.len(), 1], elements.to_vec()).expect("a column");
    let sample = |name: &str, row: &str, inputs| {
        let op = Elementwise { row: row_named(row).expect("a row of this table"), parameters: Vec::new() };
        Sample::new(name, op, inputs, LOGARITHMS).not_smooth()
    };
    let logits = || column(&[-1e4, -90.0, 90.0, 1e4, f32::NAN]);
    let targets = || vector(&[0.0, 1.0, 0.3]);
    vec![
        sample("logits of ±10000", "bce_with_logits", vec![logits(), targets(), vector(&[1.0])]),
        sample("weighted logits of ±10000", "bce_with_logits", vec![logits(), targets(), vector(&[2.5, 0.5, 2.0])]),
        sample("no probabilities", "bce", vec![column(&[-0.5, 1.5, f32::NAN]), targets()]),
        sample("nearly sure", "bce", vec![column(&[1e-30, 1e-7, 1.0 - 6e-8]), targets()]),
        sample("no probabilities", "kl_div", vec![column(&[-1.0, f32::NAN]), vector(&[-0.5, 0.0, 1.0])]),
        sample("small probabilities", "kl_div", vec![column(&[-80.0, -1e4]), vector(&[0.0, 1e-30, 0.3])]),
    ]
}
