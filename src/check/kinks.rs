//! Points at which a function has no derivative, with the gradients that are legal there.
//!
//! A table, row by row: the operation, the point, the legal values for each element of the input, and why. Where PyTorch
//! has an answer it is the legal one. A test holds every device to the table, and the table to the samples: an operation
//! whose samples show a kink, a jump or an infinite slope ([`mod@super::sides`]) must be listed here, or in [`NOT_LISTED`]
//! with a reason.

use super::reference::{self, Leaves};
use crate::array::Array;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::graph::Leaf;
use crate::loss::{self, Reduction};
use crate::program::{Mode, Program};
use crate::shape::Window;
use crate::store::Store;
use crate::tensor::{Tensor, Trace};

/// Points of one operation.
#[derive(Clone, Copy)]
pub struct Kink {
    /// The operation, as the registry calls it.
    pub op: &'static str,
    /// What is special about the point.
    pub at: &'static str,
    /// Its extents.
    pub shape: &'static [usize],
    /// Its elements.
    pub point: &'static [f32],
    /// The function; the gradient is that of the sum of its elements.
    pub build: fn(&Tensor) -> Tensor,
    /// For each element the gradients that are legal.
    pub legal: &'static [&'static [f64]],
    /// Why these.
    pub reason: &'static str,
}

impl Kink {
    /// What the gradient at the point is on `device`, or by the reference in `f64` where there is none.
    ///
    /// # Errors
    /// What tracing and the device report; a function that does not use the operation it is listed for.
    pub fn gradient(&self, device: Option<&Device>) -> Result<Vec<f64>> {
        let trace = |trace: &Trace| {
            let x = trace.input("x", self.shape, DType::F32);
            trace.output("gradient", &trace.gradient(&(self.build)(&x).sum_all(), &[&x])[0]);
        };
        let point = Array::new(self.shape, self.point.to_vec())?;
        if let Some(device) = device {
            let program = Program::compile(self.op, &Store::new(device, 0), Mode::Train, trace)?;
            return Ok(program.call(&[("x", &point)])?["gradient"].to_f64_vec());
        }
        let traced = Trace::default();
        trace(&traced);
        let traced = traced.finish()?;
        if !traced.graph.nodes().any(|(_, node)| node.op().is_some_and(|op| op.name() == self.op)) {
            return Err(Error::new(ErrorKind::Graph, format!("the function does not use {}", self.op)));
        }
        let mut leaves = Leaves::from([((Leaf::Input, "x".to_owned()), point)]);
        leaves.extend(traced.bound.iter().map(|(name, array)| ((Leaf::Input, name.clone()), array.clone())));
        Ok(reference::run(&traced.graph, &leaves, DType::F64)?.output("gradient")?.to_f64_vec())
    }

    /// Whether the gradient at the point is legal on `device`, or by the reference.
    ///
    /// # Errors
    /// [`ErrorKind::Parity`] with the element, its gradient and the legal ones; as [`Kink::gradient`].
    pub fn check(&self, device: Option<&Device>) -> Result<()> {
        let at = || format!("{} at {}", self.op, self.at);
        let gradient = self.gradient(device).context(at)?;
        if gradient.len() != self.legal.len() {
            let text = format!("{}: {} elements, {} are listed", at(), gradient.len(), self.legal.len());
            return Err(Error::new(ErrorKind::Graph, text));
        }
        for (i, (got, legal)) in gradient.iter().zip(self.legal).enumerate() {
            if !legal.iter().any(|legal| got == legal || (got - legal).abs() <= 1e-5 * legal.abs()) {
                let text =
                    format!("{}: element {i} has the gradient {got:e}, legal are {legal:?}: {}", at(), self.reason);
                return Err(Error::new(ErrorKind::Parity, text));
            }
        }
        Ok(())
    }
}

/// Operations whose samples are not smooth, and why no point of theirs is in the table.
pub const NOT_LISTED: &[(&str, &str)] = &[
    ("cast_f16", "rounds: a staircase whose gradient is that of the identity (straight through)"),
    ("kl_div", "the slope by the target at 0 is infinite; it is taken at the smallest float"),
    ("power", "the derivative by the exponent where the base is 0, and bases below 0: as PyTorch's, in its goldens"),
    ("tanh_shrink", "is smooth; so near to 0 its slope of x² is less than the differences on the two sides can tell"),
];

const ZERO: &[f64] = &[0.0];
const ONE: &[f64] = &[1.0];
const HALF: &[f64] = &[0.5];
const INFINITE: &[f64] = &[f64::INFINITY];
/// Where PyTorch has changed its mind, and anything between is between the slopes.
const ZERO_OR_ONE: &[f64] = &[0.0, 1.0];

const FLAT: &str = "PyTorch: the slope of the flat side";
const STEPS: &str = "a jump: 0, as on both sides";
const FIRST: &str = "PyTorch: all to the first of equal elements";
const SHARED: &str = "PyTorch (amax, maximum): equal ones share it";
const CENTRE: &str = "PyTorch: the least of the subgradients, 0";
const STEEP: &str = "the limit from the side on which it is defined";

const fn at(
    op: &'static str,
    at: &'static str,
    point: &'static [f32],
    build: fn(&Tensor) -> Tensor,
    legal: &'static [&'static [f64]],
    reason: &'static str,
) -> Kink {
    // The extents of a vector.
    const LENGTHS: [&[usize]; 5] = [&[0], &[1], &[2], &[3], &[4]];
    Kink { op, at, shape: LENGTHS[point.len()], point, build, legal, reason }
}

const fn shaped(shape: &'static [usize], kink: Kink) -> Kink {
    Kink { shape, ..kink }
}

/// As many as `x` has, all equal.
fn same(x: &Tensor, value: f64) -> Tensor {
    x.trace().data(&Array::from_fn(x.shape(), |_| value as f32))
}

/// A constant row.
fn row(x: &Tensor, shape: &[usize], elements: &[f32]) -> Tensor {
    x.trace().data(&Array::new(shape, elements.to_vec()).expect("as many as the shape says"))
}

fn windows() -> Window {
    Window::new([2, 2]).stride(2)
}

const IMAGE: &[usize] = &[1, 2, 2, 1];

/// The table.
pub const KINKS: &[Kink] = &[
    at("relu", "0", &[0.0, -0.0], |x| x.relu(), &[ZERO, ZERO], FLAT),
    at("leaky_relu", "0", &[0.0], |x| x.leaky_relu(0.01), &[&[0.01]], "PyTorch: the slope of the negative side"),
    at("prelu", "0", &[0.0], |x| x.prelu(&same(x, 0.25)), &[&[0.25]], "PyTorch: the slope of the negative side"),
    at("elu", "0, alpha 0.7", &[0.0], |x| x.elu(0.7), &[&[0.7]], "PyTorch: the slope of the negative side"),
    at("selu", "0", &[0.0], |x| x.selu(), &[&[1.758_099_340_847_376_6]], "PyTorch: the slope of the negative side"),
    at("hard_tanh", "its ends", &[-1.0, 1.0], |x| x.hard_tanh(-1.0, 1.0), &[ZERO, ZERO], FLAT),
    at("hard_tanh", "the ends of relu6", &[0.0, 6.0], |x| x.relu6(), &[ZERO, ZERO], FLAT),
    at("hard_sigmoid", "its ends", &[-3.0, 3.0], |x| x.hard_sigmoid(), &[ZERO, ZERO], FLAT),
    at("hard_swish", "its ends", &[-3.0, 3.0], |x| x.hard_swish(), &[ZERO, ONE], "PyTorch: the slope outside"),
    at("soft_shrink", "its ends", &[-0.5, 0.5], |x| x.soft_shrink(0.5), &[ZERO, ZERO], FLAT),
    at("hard_shrink", "its jumps", &[-0.5, 0.5], |x| x.hard_shrink(0.5), &[ZERO, ZERO], FLAT),
    at("threshold", "its jump", &[0.5], |x| x.threshold(0.5, -7.0), &[ZERO], FLAT),
    at(
        "clamp",
        "its ends",
        &[-1.0, 1.5],
        |x| x.clamp(-1.0, 1.5),
        &[ZERO_OR_ONE, ZERO_OR_ONE],
        "PyTorch: 1, since 2.15 0",
    ),
    at("abs", "0", &[0.0, -0.0], |x| x.abs(), &[ZERO, ZERO], CENTRE),
    at("sign", "0", &[0.0], |x| x.sign(), &[ZERO], STEPS),
    at("floor", "integers", &[1.0, -2.0], |x| x.floor(), &[ZERO, ZERO], STEPS),
    at("ceil", "integers", &[1.0, -2.0], |x| x.ceil(), &[ZERO, ZERO], STEPS),
    at("round", "halves", &[0.5, 1.5], |x| x.round(), &[ZERO, ZERO], STEPS),
    at("maximum", "equal arguments", &[1.0, -2.0], |x| x.maximum(&row(x, &[2], &[1.0, -2.0])), &[HALF, HALF], SHARED),
    at("minimum", "equal arguments", &[1.0, -2.0], |x| x.minimum(&row(x, &[2], &[1.0, -2.0])), &[HALF, HALF], SHARED),
    at("sqrt", "0", &[0.0], |x| x.sqrt(), &[INFINITE], STEEP),
    at("log", "0", &[0.0], |x| x.log(), &[INFINITE], STEEP),
    at("log1p", "-1", &[-1.0], |x| x.log1p(), &[INFINITE], STEEP),
    at("rsqrt", "0", &[0.0], |x| x.rsqrt(), &[&[f64::NEG_INFINITY]], STEEP),
    at("reciprocal", "0", &[0.0], |x| x.reciprocal(), &[&[f64::NEG_INFINITY]], "a pole: -1/x², from both sides"),
    at("pow", "0, exponent 0.5", &[0.0], |x| x.pow(0.5), &[INFINITE], STEEP),
    at("pow", "0, exponent 1.7", &[0.0], |x| x.pow(1.7), &[ZERO], STEEP),
    at(
        "huber",
        "both ends of its parabola",
        &[-1.0, 1.0],
        |x| x.elementwise("huber", &[&same(x, 0.0)], &[1.0]),
        &[&[-1.0], ONE],
        "the slope is continuous there; its slope is not",
    ),
    at(
        "abs",
        "0, as the distance of l1_loss",
        &[0.25],
        |x| loss::l1_loss(x, &same(x, 0.25), Reduction::Sum),
        &[ZERO],
        CENTRE,
    ),
    at(
        "relu",
        "the margin of hinge_embedding_loss",
        &[1.0],
        |x| loss::hinge_embedding_loss(x, &same(x, -1.0), 1.0, Reduction::Sum),
        &[ZERO],
        FLAT,
    ),
    shaped(
        &[1, 3],
        at(
            "multi_margin",
            "its margin",
            &[0.0, 1.0, 0.5],
            |x| x.multi_margin(&x.trace().data(&Array::full(&[1], 1u32)), 1.0, false),
            &[ZERO, &[-1.0 / 3.0], &[1.0 / 3.0]],
            FLAT,
        ),
    ),
    at(
        "bce",
        "certainty",
        &[0.0, 0.0, 1.0, 1.0],
        |x| x.elementwise("bce", &[&row(x, &[4], &[0.0, 1.0, 0.0, 1.0])], &[]),
        &[ZERO, &[-1e12], &[1e12], ZERO],
        "PyTorch: (p - t) / max(p·(1 - p), 1e-12), where the logarithm is cut off",
    ),
    shaped(&[1, 3], at("max", "two largest", &[1.0, 3.0, 3.0], |x| x.max(&[1]), &[ZERO, HALF, HALF], SHARED)),
    shaped(&[1, 3], at("min", "two smallest", &[1.0, 1.0, 3.0], |x| x.min(&[1]), &[HALF, HALF, ZERO], SHARED)),
    shaped(
        IMAGE,
        at("max_pool2d", "equal elements", &[1.0; 4], |x| x.max_pool2d(windows()), &[ONE, ZERO, ZERO, ZERO], FIRST),
    ),
    shaped(
        &[1, 3, 1, 1],
        at(
            "adaptive_max_pool2d",
            "equal elements, in two overlapping windows",
            &[1.0; 3],
            |x| x.adaptive_max_pool2d([2, 1]),
            &[ONE, ONE, ZERO],
            FIRST,
        ),
    ),
    shaped(
        &[1, 3],
        at(
            "sort",
            "equal elements",
            &[1.0, 1.0, 0.0],
            |x| {
                let [sorted, _] = x.sort(1, false);
                sorted * row(x, &[1, 3], &[1.0, 2.0, 3.0])
            },
            &[&[2.0], &[3.0], ONE],
            "PyTorch's stable sort: equal elements keep their order",
        ),
    ),
    shaped(
        &[1, 3],
        at(
            "top_k",
            "equal elements",
            &[1.0, 1.0, 0.0],
            |x| {
                let [largest, _] = x.top_k(2, 1, true);
                largest * row(x, &[1, 2], &[1.0, 2.0])
            },
            &[ONE, &[2.0], ZERO],
            "PyTorch's stable sort: equal elements keep their order",
        ),
    ),
    shaped(
        &[2, 2],
        at("norm", "0, order 1", &[0.0, 0.0, 0.0, 2.0], |x| x.norm(&[1], 1.0), &[ZERO, ZERO, ZERO, ONE], CENTRE),
    ),
    shaped(
        &[2, 2],
        at("norm", "0, order 2", &[0.0, 0.0, 0.0, 2.0], |x| x.norm(&[1], 2.0), &[ZERO, ZERO, ZERO, ONE], CENTRE),
    ),
    shaped(
        &[2, 2],
        at("norm", "0, order 3", &[0.0, 0.0, 0.0, 2.0], |x| x.norm(&[1], 3.0), &[ZERO, ZERO, ZERO, ONE], CENTRE),
    ),
    shaped(
        &[2, 2],
        at(
            "norm",
            "0, order 0.5",
            &[0.0, 0.0, 0.0, 2.0],
            |x| x.norm(&[1], 0.5),
            &[ZERO, ZERO, ZERO, ONE],
            "PyTorch: 0 where the element is 0, whose slope is infinite",
        ),
    ),
    shaped(
        &[1, 2],
        at(
            "norm",
            "two largest magnitudes, order infinity",
            &[-3.0, 3.0],
            |x| x.norm(&[1], f64::INFINITY),
            &[&[-0.5, -1.0], &[0.5, 0.0]],
            "PyTorch: equal magnitudes share it; the first alone has as good a claim",
        ),
    ),
    shaped(&[1, 2], at("std", "equal elements", &[2.0, 2.0], |x| x.std(&[1], 1), &[ZERO, ZERO], CENTRE)),
    shaped(IMAGE, at("lp_pool2d", "zeros, p = 2", &[0.0; 4], |x| x.lp_pool2d(2.0, windows()), &[ZERO; 4], CENTRE)),
    shaped(IMAGE, at("lp_pool2d", "zeros, p = 3", &[0.0; 4], |x| x.lp_pool2d(3.0, windows()), &[ZERO; 4], CENTRE)),
    shaped(
        IMAGE,
        at(
            "lp_pool2d",
            "numbers that cancel, p = 1",
            &[1.0, -1.0, 2.0, -2.0],
            |x| x.lp_pool2d(1.0, windows()),
            &[ZERO; 4],
            "PyTorch: sign(0) = 0 is a factor, although the sum itself has the slope 1",
        ),
    ),
];
