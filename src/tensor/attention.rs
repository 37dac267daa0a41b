//! Attention and Einstein sums, as methods of [`Tensor`].

use std::panic::Location;

use super::Tensor;

impl Tensor {
    /// What each of these queries `[…, L, E]` takes from `values` `[…, S, V]`: their mean weighted by
    /// `softmax(q · kᵀ / √E + mask)` over the keys `[…, S, E]`, as `[…, L, V]`.
    ///
    /// A mask broadcasts to `[…, L, S]`: of `u32` it is 0 for a key that is ruled out, of floats it is added. A `causal`
    /// query sees no key after it. A query that sees no key gets zeros.
    #[track_caller]
    #[must_use]
    pub fn scaled_dot_product_attention(
        &self,
        keys: &Tensor,
        values: &Tensor,
        mask: Option<&Tensor>,
        causal: bool,
    ) -> Tensor {
        let others: Vec<&Tensor> = [keys, values].into_iter().chain(mask).collect();
        self.apply(&others, self.shape().len(), Location::caller(), |graph, v| {
            graph.attention([v[0], v[1], v[2]], v.get(3).copied(), causal)
        })
    }

    /// The weights of [`Tensor::scaled_dot_product_attention`], `[…, L, S]`: for attention with dropout between weights
    /// and values.
    #[track_caller]
    #[must_use]
    pub fn attention_weights(&self, keys: &Tensor, mask: Option<&Tensor>, causal: bool) -> Tensor {
        let others: Vec<&Tensor> = [keys].into_iter().chain(mask).collect();
        self.apply(&others, self.shape().len(), Location::caller(), |graph, v| {
            graph.attention_weights([v[0], v[1]], v.get(2).copied(), causal)
        })
    }

    /// The sum of products that `equation` says of this tensor and, if it names two, of the one in `others`; as in
    /// `a.einsum("bij,bjk->bik", &[&b])`: a letter for every axis of the operands and of the result.
    ///
    /// Letters that the result lacks are summed over; a letter within one operand twice takes the diagonal; without `->`
    /// the result has the letters that occur once, in alphabetical order.
    #[track_caller]
    #[must_use]
    pub fn einsum(&self, equation: &str, others: &[&Tensor]) -> Tensor {
        let rank = equation.split_once("->").map_or(0, |(_, result)| result.trim().len());
        self.apply(others, rank, Location::caller(), |graph, v| graph.einsum(equation, v))
    }
}
