//! The operations: one file a family, with everything there is to know about it.
//!
//! A file holds, in this order: the formula, the struct of parameters with its `impl Op` (shape rule, gradient rule, plain
//! reference, lowering), the emitters (`impl Graph`), and the samples. [`REGISTRY`] lists them for tests, `check` and
//! documentation. Before: [`crate::graph`] defines what an operation is. After: [`crate::autodiff`] calls the gradient
//! rules, [`crate::schedule`] reads the lowerings; neither knows an operation by name.

pub mod adaptive_max_pool;
pub mod attention;
pub mod batch_norm;
pub mod border;
pub mod constant;
pub mod conv1d;
pub mod conv2d;
pub mod conv_transpose2d;
pub mod cosine_similarity;
pub mod cross_entropy;
pub mod cumsum;
pub mod custom;
pub mod dropout;
pub mod einsum;
pub mod elementwise;
pub mod embedding;
pub mod focal;
pub mod gather;
pub mod glu;
pub mod half;
pub mod lp_pool;
pub mod matmul;
pub mod movement;
pub mod mse;
pub mod multi_margin;
pub mod norm;
pub mod pixel_shuffle;
pub mod pool;
pub mod recompute;
pub mod reduce;
pub mod resample;
pub mod scatter_add;
pub mod softmax;
pub mod sort;
pub mod statistics;

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
    Family { name: "adaptive_max_pool", samples: adaptive_max_pool::samples },
    Family { name: "attention", samples: attention::samples },
    Family { name: "batch_norm", samples: batch_norm::samples },
    Family { name: "border", samples: border::samples },
    Family { name: "constant", samples: constant::samples },
    Family { name: "conv1d", samples: conv1d::samples },
    Family { name: "conv2d", samples: conv2d::samples },
    Family { name: "conv_transpose2d", samples: conv_transpose2d::samples },
    Family { name: "cosine_similarity", samples: cosine_similarity::samples },
    Family { name: "cross_entropy", samples: cross_entropy::samples },
    Family { name: "cumsum", samples: cumsum::samples },
    Family { name: "dropout", samples: dropout::samples },
    Family { name: "einsum", samples: einsum::samples },
    Family { name: "elementwise", samples: elementwise::samples },
    Family { name: "embedding", samples: embedding::samples },
    Family { name: "focal", samples: focal::samples },
    Family { name: "gather", samples: gather::samples },
    Family { name: "glu", samples: glu::samples },
    Family { name: "lp_pool", samples: lp_pool::samples },
    Family { name: "matmul", samples: matmul::samples },
    Family { name: "movement", samples: movement::samples },
    Family { name: "multi_margin", samples: multi_margin::samples },
    Family { name: "norm", samples: norm::samples },
    Family { name: "pixel_shuffle", samples: pixel_shuffle::samples },
    Family { name: "pool", samples: pool::samples },
    Family { name: "recompute", samples: recompute::samples },
    Family { name: "reduce", samples: reduce::samples },
    Family { name: "resample", samples: resample::samples },
    Family { name: "scatter_add", samples: scatter_add::samples },
    Family { name: "softmax", samples: softmax::samples },
    Family { name: "sort", samples: sort::samples },
    Family { name: "statistics", samples: statistics::samples },
    // Of the operations above.
    Family { name: "half", samples: half::samples },
];
