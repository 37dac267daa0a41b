//! Losses of the logits or log probabilities of classes, given labels or probabilities.

use super::{Reduction, number, refuse};
use crate::dtype::DType;
use crate::shape::element_count;
use crate::tensor::Tensor;

/// Cross entropy with its options; the default is the mean without any.
///
/// ```
/// use neuropil::loss::CrossEntropy;
/// use neuropil::{Array, DType, Device, Trace};
///
/// let trace = Trace::default();
/// let logits = trace.data(&Array::zeros(&[2, 8, 8, 4], DType::F32));
/// let labels = trace.data(&Array::full(&[2, 8, 8], 3u32));
/// let loss = CrossEntropy { label_smoothing: 0.1, ignore_index: Some(255), ..Default::default() };
/// let loss = loss.forward(&logits, &labels).eval(&Device::cpu())?;
/// assert!((loss.item()? - 4f64.ln()).abs() < 1e-6);
/// # Ok::<(), neuropil::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct CrossEntropy {
    /// The share ε of the target that is spread evenly over all classes, in [0, 1] (Szegedy et al. 2016, arXiv 1512.00567).
    pub label_smoothing: f64,
    /// The weights of the classes, `[C]`.
    pub weight: Option<Tensor>,
    /// Rows with this label cost nothing and do not count in the mean.
    pub ignore_index: Option<u32>,
    /// What becomes of the losses of the rows.
    pub reduction: Reduction,
}

impl CrossEntropy {
    /// The loss of logits `[N, C]` or `[N, H, W, C]`, or any with classes last.
    ///
    /// The target is of labels (`u32`, the shape of the logits without classes), or of probabilities of the classes
    /// (floats, the shape of the logits). A row costs `−Σ w·t·log softmax(z)` with `t = (1 − ε)·target + ε/C`, where the
    /// target of a label is 1 for its class. The mean of labels is the sum divided by the weights of the labels that are not
    /// ignored; that of probabilities is over the rows. A label that is no class makes the loss NaN.
    #[track_caller]
    pub fn forward(&self, logits: &Tensor, target: &Tensor) -> Tensor {
        if !(0.0..=1.0).contains(&self.label_smoothing) {
            let text = format!("cross_entropy: a label smoothing of {} is not in [0, 1]", self.label_smoothing);
            refuse(logits, text);
        }
        let weight = expect_weight("cross_entropy", self.weight.as_ref(), logits);
        if target.dtype().is_float() {
            return self.of_probabilities(logits, target, weight.as_ref());
        }
        let labels = Labels::new("cross_entropy", logits, target, weight.as_ref(), self.ignore_index);
        let (scores, smoothing) = (&labels.scores, self.label_smoothing);
        let losses = match (&labels.weights, weight) {
            (Some(weights), Some(weight)) => {
                let hard = scores.softmax_cross_entropy(&labels.classes, 0.0) * weights;
                if smoothing == 0.0 {
                    hard
                } else {
                    let classes = scores.shape().last().copied().unwrap_or(1);
                    let even = scores.soft_cross_entropy(&weight.broadcast_to(scores.shape()));
                    hard * (1.0 - smoothing) + even * (smoothing / classes as f64)
                }
            }
            _ => scores.softmax_cross_entropy(&labels.classes, smoothing),
        };
        labels.reduce(losses, self.reduction)
    }

    #[track_caller]
    fn of_probabilities(&self, logits: &Tensor, target: &Tensor, weight: Option<&Tensor>) -> Tensor {
        if self.ignore_index.is_some() {
            let text = "cross_entropy: ignore_index is for labels, the target is of probabilities; weigh its rows by 0";
            refuse(logits, text.to_owned());
        }
        let classes = logits.shape().last().copied().unwrap_or(1);
        let mut target = target.clone();
        if self.label_smoothing != 0.0 {
            target = target * (1.0 - self.label_smoothing) + self.label_smoothing / classes as f64;
        }
        if let Some(weight) = weight {
            target = target * weight;
        }
        self.reduction.of(&logits.soft_cross_entropy(&target))
    }
}

/// The mean cross entropy of logits `[N, C]` with labels `[N]` (`u32`), or of any with classes last. `label_smoothing`
/// spreads that share of the target over all classes. See [`CrossEntropy`] for weights, ignored labels and probabilities.
#[track_caller]
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, label_smoothing: f64) -> Tensor {
    CrossEntropy { label_smoothing, ..CrossEntropy::default() }.forward(logits, labels)
}

/// `−w[l]·x[l]` for the log probabilities `x` of classes, `[N, C]` or any with classes last, and labels `l` (`u32`, without
/// classes). The weights of the classes are `[C]`. Rows with the label `ignore_index` cost nothing; the mean is the sum
/// divided by the weights of the other rows.
#[track_caller]
pub fn nll_loss(
    log_probabilities: &Tensor,
    labels: &Tensor,
    weight: Option<&Tensor>,
    ignore_index: Option<u32>,
    reduction: Reduction,
) -> Tensor {
    let weight = expect_weight("nll_loss", weight, log_probabilities);
    let labels = Labels::new("nll_loss", log_probabilities, labels, weight.as_ref(), ignore_index);
    let rows = element_count(&labels.shape);
    let losses = -labels.scores.gather(-1, &labels.classes.reshape(&[rows, 1])).reshape(&[rows]);
    let losses = match &labels.weights {
        Some(weights) => losses * weights,
        None => losses,
    };
    labels.reduce(losses, reduction)
}

/// Refuses weights that are not one a class.
#[track_caller]
fn expect_weight(name: &str, weight: Option<&Tensor>, scores: &Tensor) -> Option<Tensor> {
    let classes = scores.shape().last().copied().unwrap_or(1);
    let mut weight = weight.cloned();
    // Not `map`: mistakes are reported at the caller's line, which a closure does not know.
    if let Some(weight) = &mut weight {
        *weight = weight.expect_shape(&format!("{name}: the weight of the classes"), &[classes]);
    }
    weight
}

/// Scores of classes as rows, with a label each that may be ignored or weighted.
struct Labels {
    /// `[rows, C]`.
    scores: Tensor,
    /// `[rows]`; 0 where it is ignored.
    classes: Tensor,
    /// 1 where the label counts, 0 where it is ignored (`u32`, `[rows]`).
    counts: Option<Tensor>,
    /// The weight of each label, `[rows]`.
    weights: Option<Tensor>,
    /// The shape of the labels as they were given.
    shape: Vec<usize>,
}

impl Labels {
    #[track_caller]
    fn new(name: &str, scores: &Tensor, labels: &Tensor, weight: Option<&Tensor>, ignore_index: Option<u32>) -> Self {
        let (mut scores, mut classes) = (scores.clone(), labels.clone());
        // Two axes are left to the operation, whose message is about rows.
        if let [outer @ .., count] = scores.shape()
            && outer.len() > 1
        {
            let (rows, count) = (element_count(outer), *count);
            classes = classes.expect_shape(&format!("{name}: the labels"), outer).reshape(&[rows]);
            scores = scores.reshape(&[rows, count]);
        }
        let (mut counts, mut weights) = (None, None);
        if let Some(index) = ignore_index {
            let kept = classes.not_equal(&classes.trace().constant(f64::from(index), DType::U32));
            classes = classes * &kept;
            counts = Some(kept);
        }
        if let Some(weight) = weight {
            weights = Some(weight.index_select(0, &classes));
        }
        Labels { scores, classes, counts, weights, shape: labels.shape().to_vec() }
    }

    /// The weighted losses of the rows, without those that are ignored.
    #[track_caller]
    fn reduce(&self, losses: Tensor, reduction: Reduction) -> Tensor {
        let counting = |of: Tensor| match &self.counts {
            Some(counts) => counts.select(&of, &number(&of, 0.0)),
            None => of,
        };
        let losses = counting(losses);
        let weights = match (&self.weights, &self.counts) {
            (Some(weights), _) => Some(counting(weights.clone())),
            (None, Some(counts)) => Some(counts.cast(DType::F32)),
            (None, None) => None,
        };
        match (reduction, weights) {
            (Reduction::None, _) => losses.reshape(&self.shape),
            (Reduction::Mean, Some(weights)) => losses.sum_all() / weights.sum_all(),
            _ => reduction.of(&losses),
        }
    }
}
