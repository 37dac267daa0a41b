//! The operations: one file a family, with everything there is to know about it.
//!
//! A file holds, in this order: the formula, the struct of parameters with its `impl Op` (shape rule, gradient rule, plain
//! reference, lowering), the emitters (`impl Graph`), and the samples. [`REGISTRY`] lists them for tests, `check` and
//! documentation. Before: [`crate::graph`] defines what an operation is. After: [`crate::autodiff`] calls the gradient
//! rules, [`crate::schedule`] reads the lowerings; neither knows an operation by name.

pub mod batch_norm;
pub mod constant;
pub mod conv2d;
pub mod cross_entropy;
pub mod dropout;
pub mod elementwise;
pub mod half;
pub mod matmul;
pub mod movement;
pub mod mse;
pub mod pool;
pub mod reduce;
pub mod softmax;

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
    Family { name: "batch_norm", samples: batch_norm::samples },
    Family { name: "constant", samples: constant::samples },
    Family { name: "conv2d", samples: conv2d::samples },
    Family { name: "cross_entropy", samples: cross_entropy::samples },
    Family { name: "dropout", samples: dropout::samples },
    Family { name: "elementwise", samples: elementwise::samples },
    Family { name: "half", samples: half::samples },
    Family { name: "matmul", samples: matmul::samples },
    Family { name: "movement", samples: movement::samples },
    Family { name: "pool", samples: pool::samples },
    Family { name: "reduce", samples: reduce::samples },
    Family { name: "softmax", samples: softmax::samples },
];
