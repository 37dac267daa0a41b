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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Array;
    use crate::device::Device;
    use crate::dtype::DType;
    use crate::program::{Mode, Program};
    use crate::store::Store;

    #[test]
    fn rows_are_looked_up_and_only_those_that_were_get_a_gradient() {
        let store = Store::new(&Device::cpu(), 3);
        let program = Program::compile("embedding", &store, Mode::Train, |trace| {
            let index = trace.input("index", &[2, 2], DType::U32);
            let y = Embedding { padding: Some(1), ..Embedding::new(1000, 8) }.forward(&trace.scope(), index);
            trace.output("y", &y);
            for (name, _, gradient) in trace.gradients(&y.square().sum_all()).entries {
                trace.output(&name, &gradient);
            }
        });
        let index = Array::new(&[2, 2], vec![7u32, 1, 7, 999]).unwrap();
        let results = program.unwrap().call(&[("index", &index)]).unwrap();
        let weight = store.get("weight").unwrap().to_f64_vec();
        let row = |of: &[f64], i: usize| of[8 * i..8 * i + 8].to_vec();
        let (y, gradient) = (results["y"].to_f64_vec(), results["weight"].to_f64_vec());
        assert_eq!((row(&y, 0), row(&y, 1), row(&y, 3)), (row(&weight, 7), vec![0.0; 8], row(&weight, 999)));
        let times = |factor: f64, i: usize| row(&weight, i).iter().map(|w| factor * w).collect::<Vec<f64>>();
        assert_eq!((row(&gradient, 7), row(&gradient, 999)), (times(4.0, 7), times(2.0, 999)));
        assert_eq!(gradient.iter().filter(|g| **g != 0.0).count(), 16);
        // Normal with mean 0 and deviation 1: 8,000 draws are within 5 standard errors.
        let mean = weight.iter().sum::<f64>() / 8000.0;
        let variance = weight.iter().map(|w| w * w).sum::<f64>() / 8000.0;
        assert!(mean.abs() < 0.056 && (variance - 1.0).abs() < 0.08, "{mean} {variance}");
    }
}
