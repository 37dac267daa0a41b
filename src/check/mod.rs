//! Evidence that the numbers are right: what devices and gradients are judged by.
//!
//! [`mod@reference`] runs a graph by the operations' plain references, in `f64` or `f32`. [`mod@cases`] makes from every
//! [`crate::graph::Sample`] the graphs that a device must get right: forward, gradient, and forward through views.
//! [`mod@compare`] says how far an array is from what it should be. [`mod@gradients`] holds the gradient rules against
//! central differences. [`parity()`] and [`gradients()`] do all of it for a function or layer of a user, with tolerances that
//! [`rounding`] derives.
//!
//! Before: [`crate::ops`] lists the samples, [`crate::autodiff`] makes the gradients. After: the command `check` and the
//! tests run all of it and report.

pub mod cases;
pub mod catalog;
pub mod compare;
pub mod function;
pub mod gradients;
pub mod kinks;
pub mod parity;
mod probe;
pub mod pytorch;
pub mod reference;
pub mod rounding;
pub mod sides;

pub use cases::{Case, Direction, Want, cases, check_error};
pub use compare::{Comparison, compare};
pub use function::{Agreement, gradients, gradients_in, parity, parity_in};
pub use gradients::{GradientError, Outcome};
pub use reference::{Evaluation, Leaves};
