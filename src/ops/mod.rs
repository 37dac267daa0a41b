//! The operations: one file a family, with everything there is to know about it.
//!
//! A file holds, in this order: the formula, the struct of parameters with its `impl Op` (shape rule, gradient rule, plain
//! reference, lowering), the emitters (`impl Graph`), and the samples. [`REGISTRY`] lists them for tests, `check` and
//! documentation. Before: [`crate::graph`] defines what an operation is. After: [`crate::autodiff`] calls the gradient
//! rules, [`crate::schedule`] reads the lowerings; neither knows an operation by name.

pub mod constant;
pub mod elementwise;
pub mod movement;
pub mod reduce;

use crate::graph::Sample;

/// One family of operations, as tests and `check` see it.
pub struct Family {
    /// The file it lives in.
    pub name: &'static str,
    /// All samples of all its operations.
    pub samples: fn() -> Vec<Sample>,
}

/// Every family of operations.
pub static REGISTRY: &[Family] = &[
    Family { name: "constant", samples: constant::samples },
    Family { name: "elementwise", samples: elementwise::samples },
    Family { name: "movement", samples: movement::samples },
    Family { name: "reduce", samples: reduce::samples },
];
