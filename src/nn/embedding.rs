//! The table of vectors for symbols.

use super::Module;
use crate::tensor::{Init, Scope, Tensor};

/// `y[…] = weight[index[…]]`: a vector for each index (`u32`, of any shape), `[…, features]`. Parameter: `weight`
/// `[symbols, features]`, at first normal with mean 0 and deviation 1, as in PyTorch.
///
/// The index `padding` gives zeros, whatever the weights, and no gradient: PyTorch keeps zeros in that row instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embedding {
    /// The number of indices.
    pub symbols: usize,
    /// The extent of the vectors.
    pub features: usize,
    /// The index that stands for nothing.
    pub padding: Option<usize>,
}

impl Embedding {
    /// A table of `symbols` vectors of `features`, without padding.
    pub fn new(symbols: usize, features: usize) -> Self {
        Embedding { symbols, features, padding: None }
    }
}

impl Module for Embedding {
    fn forward(&self, scope: &Scope, index: Tensor) -> Tensor {
        let weight = scope.param("weight", &[self.symbols, self.features], Init::Normal { deviation: 1.0 });
        weight.embedding(&index, self.padding)
    }
}
