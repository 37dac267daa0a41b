//! Recomputation: the mark between the values that are kept for the backward pass and those that it computes again.
//!
//! Gradient checkpointing keeps what flows into a block and drops what the block computed on the way forward; the backward
//! pass runs the block once more ([`crate::autodiff`] copies its nodes). A copy on the same inputs would be a common
//! subexpression and vanish: so it reads them through this operation, which changes nothing and costs nothing.
//!
//! Source: Chen, Xu, Zhang, Guestrin, "Training deep nets with sublinear memory cost", 2016.

use crate::array::Array;
use crate::error::Result;
use crate::graph::{Autocast, Gradient, Lowering, Op, Sample, TensorType, Tolerance, expect_inputs};

/// x → x, for one block's second run.
#[derive(Clone, Debug)]
pub struct Recompute {
    /// The scope of the block.
    pub block: String,
}

impl Op for Recompute {
    fn name(&self) -> &'static str {
        "recompute"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1)?;
        Ok(inputs.to_vec())
    }

    fn autocast(&self) -> Autocast {
        Autocast::Follow
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            if let Some(g) = cx.gradient(0) {
                cx.give(0, g);
            }
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        Ok(inputs.to_vec())
    }

    fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
        Lowering::Alias
    }
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let op = || Recompute { block: "block".into() };
    let data = |shape: &[usize]| vec![Sample::uniform(shape, -1.0, 1.0, 9)];
    vec![
        Sample::new("matrix", op(), data(&[3, 5]), Tolerance::EXACT),
        Sample::new("one element", op(), data(&[1]), Tolerance::EXACT),
        Sample::new("no rows", op(), data(&[0, 5]), Tolerance::EXACT),
        Sample::new("positions", op(), vec![Array::from_fn(&[7], |i| i[0] as u32)], Tolerance::EXACT),
    ]
}
