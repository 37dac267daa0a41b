//! Attention as a layer.

use super::Module;
use crate::tensor::{Init, Scope, Tensor};

/// Several attentions side by side on projections of the input, and a projection of what they give (Vaswani et al. 2017,
/// arXiv 1706.03762). Inputs are `[N, L, E]`.
///
/// As a [`Module`] it is self-attention; [`MultiHeadAttention::attend`] takes keys and values from elsewhere. Parameters,
/// as in PyTorch: `in_proj_weight` `[3E, E]` (of queries, keys, values) and `in_proj_bias` `[3E]`; where keys or values are
/// not of extent E, `q_proj_weight`, `k_proj_weight` and `v_proj_weight` in place of the first; `out_proj.weight` `[E, E]`
/// and `out_proj.bias` `[E]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MultiHeadAttention {
    /// How many attentions; they share the E features evenly.
    pub heads: usize,
    /// Whether projections have biases.
    pub bias: bool,
    /// The probability with which a weight is dropped in training.
    pub dropout: f64,
    /// Whether a position sees only those up to itself.
    pub causal: bool,
}

impl MultiHeadAttention {
    /// A layer of `heads` attentions with biases, without dropout, in which everything sees everything.
    pub fn new(heads: usize) -> Self {
        MultiHeadAttention { heads, bias: true, dropout: 0.0, causal: false }
    }

    /// What the positions of `query` `[N, L, E]` take from those of `value` `[N, S, …]` by their `key` `[N, S, …]`:
    /// `[N, L, E]`. A mask broadcasts to `[N, heads, L, S]`; see [`Tensor::scaled_dot_product_attention`].
    #[track_caller]
    pub fn attend(&self, scope: &Scope, query: &Tensor, key: &Tensor, value: &Tensor, mask: Option<&Tensor>) -> Tensor {
        let features = query.shape().last().copied().unwrap_or(1);
        let projected = self.project(scope, features, [query, key, value]);
        let (q, k, v) = (&projected[0], &projected[1], &projected[2]);
        let attended = if self.dropout > 0.0 {
            scope.dropout(&q.attention_weights(k, mask, self.causal), self.dropout).matmul(v)
        } else {
            q.scaled_dot_product_attention(k, v, mask, self.causal)
        };
        let joined = attended.permute(&[0, 2, 1, 3]).reshape(query.shape());
        let out = scope.enter("out_proj");
        let weight = out.param("weight", &[features, features], Init::fan_in(features));
        let bias = self.bias.then(|| out.param("bias", &[features], Init::Constant(0.0)));
        let y = joined.linear(&weight, bias.as_ref());
        scope.resume();
        y
    }

    /// Queries, keys and values, each `[N, heads, …, E / heads]`.
    fn project(&self, scope: &Scope, features: usize, inputs: [&Tensor; 3]) -> [Tensor; 3] {
        let part = |i: usize| i * features..(i + 1) * features;
        let biases = self.bias.then(|| scope.param("in_proj_bias", &[3 * features], Init::Constant(0.0)));
        let sizes = inputs.map(|x| x.shape().last().copied().unwrap_or(1));
        if sizes != [features; 3] {
            let names = ["q_proj_weight", "k_proj_weight", "v_proj_weight"];
            return [0, 1, 2].map(|i| {
                let init = Init::XavierUniform { gain: 1.0 };
                let weight = scope.param(names[i], &[features, sizes[i]], init);
                let bias = biases.as_ref().map(|biases| biases.slice(&[part(i)]));
                self.split(&inputs[i].linear(&weight, bias.as_ref()))
            });
        }
        let init = Init::XavierUniform { gain: 1.0 };
        let weight = scope.param("in_proj_weight", &[3 * features, features], init);
        if inputs.iter().all(|x| x.value() == inputs[0].value()) {
            // Self-attention: one product.
            let all = inputs[0].linear(&weight, biases.as_ref());
            let leading: Vec<_> = all.shape().iter().rev().skip(1).rev().map(|&extent| 0..extent).collect();
            return [0, 1, 2].map(|i| self.split(&all.slice(&[&leading[..], &[part(i)]].concat())));
        }
        [0, 1, 2].map(|i| {
            let bias = biases.as_ref().map(|biases| biases.slice(&[part(i)]));
            self.split(&inputs[i].linear(&weight.slice(&[part(i), 0..features]), bias.as_ref()))
        })
    }

    /// `[N, L, E]` as `[N, heads, L, E / heads]`.
    #[track_caller]
    fn split(&self, x: &Tensor) -> Tensor {
        let (heads, shape) = (self.heads.max(1), x.shape());
        let (features, positions) = shape.split_last().unwrap_or((&1, &[]));
        let size = features / heads;
        let what = format!("features that {} heads share evenly", self.heads);
        let x = x.expect_shape(&what, &[positions, &[size * heads]].concat());
        x.reshape(&[positions, &[heads, size]].concat()).permute(&[0, 2, 1, 3])
    }
}

impl Module for MultiHeadAttention {
    fn forward(&self, scope: &Scope, x: Tensor) -> Tensor {
        self.attend(scope, &x, &x, &x, None)
    }
}
