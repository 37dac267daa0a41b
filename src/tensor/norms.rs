//! Normalisation within a sample, as methods of [`Tensor`]; the formulas are in [`crate::ops::norm`].

use std::panic::Location;

use super::Tensor;
use crate::ops::norm::Kind;

impl Tensor {
    #[track_caller]
    fn norm_within(&self, kind: Kind, parameters: &[Option<&Tensor>], epsilon: f64) -> Tensor {
        let parameters: Vec<&Tensor> = parameters.iter().copied().flatten().collect();
        self.apply(&parameters, self.shape().len(), Location::caller(), |graph, v| {
            graph.norm(kind, v[0], &v[1..], epsilon)
        })
    }

    /// Layer norm: the last `axes` axes normalised together, by mean and biased variance, then `· weight + bias`, which
    /// have the shape of those axes.
    #[track_caller]
    #[must_use]
    pub fn layer_norm(&self, axes: usize, weight: Option<&Tensor>, bias: Option<&Tensor>, epsilon: f64) -> Tensor {
        self.norm_within(Kind::Layer { axes }, &[weight, bias], epsilon)
    }

    /// RMS norm: `x / √(mean x² + ε) · weight`, the mean taken over the last `axes` axes, whose shape the weight has.
    #[track_caller]
    #[must_use]
    pub fn rms_norm(&self, axes: usize, weight: Option<&Tensor>, epsilon: f64) -> Tensor {
        self.norm_within(Kind::Rms { axes }, &[weight], epsilon)
    }

    /// Group norm of `[N, …, C]`: all positions and the channels of one of `groups` equal groups normalised together,
    /// within each sample; then `· weight + bias`, each `[C]`.
    #[track_caller]
    #[must_use]
    pub fn group_norm(&self, groups: usize, weight: Option<&Tensor>, bias: Option<&Tensor>, epsilon: f64) -> Tensor {
        self.norm_within(Kind::Group { groups }, &[weight, bias], epsilon)
    }

    /// Instance norm of `[N, …, C]`: all positions of one channel normalised together, within each sample; then
    /// `· weight + bias`, each `[C]`.
    #[track_caller]
    #[must_use]
    pub fn instance_norm(&self, weight: Option<&Tensor>, bias: Option<&Tensor>, epsilon: f64) -> Tensor {
        self.norm_within(Kind::Instance, &[weight, bias], epsilon)
    }
}
