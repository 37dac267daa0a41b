//! Methods of [`Tensor`] that [`crate::loss`] is made of.

use std::panic::Location;

use super::Tensor;
use crate::shape::normalize_axes;

impl Tensor {
    /// The elementwise operation called `name` (a row of [`crate::ops::elementwise`]) on this tensor and `others`, which
    /// broadcast: for those that have no method of their own.
    #[track_caller]
    #[must_use]
    pub fn elementwise(&self, name: &str, others: &[&Tensor], parameters: &[f64]) -> Tensor {
        let rank = others.iter().map(|t| t.shape().len()).fold(self.shape().len(), usize::max);
        self.apply(others, rank, Location::caller(), |graph, v| graph.elementwise(name, v, parameters))
    }

    /// The cross entropy of these logits `[…, C]` with weights of the classes, `−Σ target·log softmax(logits)`: `[…]`.
    #[track_caller]
    #[must_use]
    pub fn soft_cross_entropy(&self, target: &Tensor) -> Tensor {
        let rank = self.shape().len().saturating_sub(1);
        self.apply(&[target], rank, Location::caller(), |graph, v| graph.soft_cross_entropy(v[0], v[1]))
    }

    /// The cosines of the vectors of this tensor and `other` along `axis` (negative ones count from the end), which goes:
    /// `Σ a·b / (max(‖a‖, epsilon) · max(‖b‖, epsilon))`.
    #[track_caller]
    #[must_use]
    pub fn cosine_similarity(&self, other: &Tensor, axis: isize, epsilon: f64) -> Tensor {
        let rank = self.shape().len();
        self.apply(&[other], rank.saturating_sub(1), Location::caller(), |graph, v| {
            let axis = normalize_axes("cosine_similarity", &[axis], rank)?[0];
            graph.cosine_similarity(v[0], v[1], axis, epsilon)
        })
    }

    /// The focal loss of each logit, given targets of the same shape in [0, 1].
    #[track_caller]
    #[must_use]
    pub fn sigmoid_focal(&self, target: &Tensor, alpha: Option<f64>, gamma: f64) -> Tensor {
        let rank = self.shape().len();
        self.apply(&[target], rank, Location::caller(), |graph, v| graph.sigmoid_focal(v[0], v[1], alpha, gamma))
    }

    /// The multi-class hinge loss of each row of these scores `[N, C]`, given labels `[N]` (`u32`): `[N]`.
    #[track_caller]
    #[must_use]
    pub fn multi_margin(&self, labels: &Tensor, margin: f64, squared: bool) -> Tensor {
        self.apply(&[labels], 1, Location::caller(), |graph, v| graph.multi_margin(v[0], v[1], margin, squared))
    }
}
