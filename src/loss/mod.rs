//! Losses: how far predictions are from their targets, as numbers to minimise.
//!
//! The functions are those of PyTorch's `torch.nn.functional` (and torchvision's focal loss): same names, same formulas, same
//! mean, except that classes are the last axis, as channels are. [`Reduction`] says what becomes of the losses of the single
//! elements or rows. Targets are not broadcast: `[N, 1]` against `[N]` would be N² differences, and is refused.
//!
//! [`cross_entropy`] and [`mse`] are short forms of [`CrossEntropy`] and [`mse_loss`].

mod classification;
mod elementwise;
mod margin;

pub use classification::{CrossEntropy, cross_entropy, nll_loss};
pub use elementwise::{
    binary_cross_entropy, binary_cross_entropy_with_logits, huber_loss, kl_div, l1_loss, mse, mse_loss,
    sigmoid_focal_loss, smooth_l1_loss,
};
pub use margin::{cosine_embedding_loss, hinge_embedding_loss, multi_margin_loss, triplet_margin_loss};

use std::panic::Location;

use crate::error::{Error, ErrorKind};
use crate::tensor::Tensor;

/// What becomes of the losses of single elements or rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// They stay as they are.
    None,
    /// Their mean: a scalar. With weighted or ignored labels, the sum divided by the sum of the weights that count.
    #[default]
    Mean,
    /// Their sum: a scalar.
    Sum,
}

impl Reduction {
    /// The losses, their mean or their sum.
    #[track_caller]
    fn of(self, losses: &Tensor) -> Tensor {
        match self {
            Reduction::None => losses.clone(),
            Reduction::Mean => losses.mean_all(),
            Reduction::Sum => losses.sum_all(),
        }
    }
}

/// A scalar of the element type of `like`.
#[track_caller]
fn number(like: &Tensor, value: f64) -> Tensor {
    like.trace().constant(value, like.dtype())
}

/// Reports a bad option at the caller's line when the program is compiled.
#[track_caller]
fn refuse(of: &Tensor, text: String) {
    of.trace().fail(Error::new(ErrorKind::Config, text), Location::caller());
}
