//! Evidence that the numbers are right: what devices and gradients are judged by.
//!
//! [`mod@reference`] runs a graph by the operations' plain references, in `f64` or `f32`. [`mod@cases`] makes from every
//! [`crate::graph::Sample`] the graphs that a device must get right: forward, through views, between neighbours, and
//! gradient. [`mod@compare`] says how far an array is from what it should be. [`suite`] runs all of it on a device, in all
//! [`variants`] of its kernels, with [`fresh`] inputs beside the fixed ones, and makes what fails small ([`shrink`]).
//! [`mod@gradients`] holds the gradient rules against central differences. [`parity()`] and [`gradients()`] do all of it for
//! a function or layer of a user, with tolerances that [`rounding`] derives; [`replay`] judges a run while it goes on.
//!
//! Before: [`crate::ops`] lists the samples, [`crate::autodiff`] makes the gradients. After: the command `check` and the
//! tests run all of it and report.

pub mod cases;
pub mod catalog;
pub mod compare;
pub mod error_model;
pub mod findings;
pub mod fresh;
pub mod function;
pub mod gradients;
pub mod kinks;
mod neighbours;
pub mod parity;
mod probe;
pub mod pytorch;
pub mod reference;
pub mod replay;
pub mod rounding;
pub mod shrink;
pub mod sides;
pub mod suite;
pub mod variants;
mod winograd;

pub use cases::{Case, Direction, Want, case_of, cases, check_error};
pub use compare::{Comparison, compare};
pub use function::{Agreement, gradients, gradients_in, parity, parity_in};
pub use gradients::{GradientError, Outcome};
pub use reference::{Evaluation, Leaves};
pub use winograd::by_winograd;
