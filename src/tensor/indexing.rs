//! Methods of [`Tensor`] that pick, put back, add up and sort elements by position. Indices are `u32`.

use std::panic::Location;

use super::Tensor;
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::shape::normalize_axes;

impl Tensor {
    /// A node on this tensor and `others` that works along one axis (a negative one counts from the end).
    #[track_caller]
    fn along(
        &self,
        name: &str,
        axis: isize,
        others: &[&Tensor],
        rank: usize,
        build: impl FnOnce(&mut Graph, &[Value], usize) -> Result<Value>,
    ) -> Tensor {
        let axes = self.shape().len();
        self.apply(others, rank, Location::caller(), |graph, v| {
            let axis = normalize_axes(name, &[axis], axes)?[0];
            build(graph, v, axis)
        })
    }

    /// `y[…, k, …] = x[…, index[…, k, …], …]` along `axis` (negative ones count from the end): an element for each of
    /// `index`, whose other extents may be smaller than this tensor's. An index that names no element gives NaN, or 0 of
    /// integers.
    #[track_caller]
    #[must_use]
    pub fn gather(&self, axis: isize, index: &Tensor) -> Tensor {
        let rank = self.shape().len();
        self.along("gather", axis, &[index], rank, |graph, v, axis| graph.gather(v[0], axis, v[1]))
    }

    /// This tensor plus each element of `source` where its element of `index` says: `y[…, index[…, k, …], …] +=
    /// source[…, k, …]` along `axis`. `index` has the shape of `source`; an index that names no element is ignored.
    #[track_caller]
    #[must_use]
    pub fn scatter_add(&self, axis: isize, index: &Tensor, source: &Tensor) -> Tensor {
        let rank = self.shape().len();
        self.along("scatter_add", axis, &[index, source], rank, |graph, v, axis| {
            let extent = graph.shape(v[0])[axis];
            let sums = graph.scatter_add(v[2], axis, v[1], extent)?;
            let sums = expect_alike(graph, "scatter_add", v[0], sums)?;
            graph.add(v[0], sums)
        })
    }

    /// The slices along `axis` that the vector `index` names, in its order: `y[…, k, …] = x[…, index[k], …]`. An index
    /// that names none gives NaN, or 0 of integers.
    #[track_caller]
    #[must_use]
    pub fn index_select(&self, axis: isize, index: &Tensor) -> Tensor {
        let rank = self.shape().len();
        self.along("index_select", axis, &[index], rank, |graph, v, axis| graph.index_select(v[0], axis, v[1]))
    }

    /// This tensor plus each slice of `source` along `axis` where its element of the vector `index` says: `y[…, index[k],
    /// …] += source[…, k, …]`. An index that names none is ignored.
    #[track_caller]
    #[must_use]
    pub fn index_add(&self, axis: isize, index: &Tensor, source: &Tensor) -> Tensor {
        let rank = self.shape().len();
        self.along("index_add", axis, &[index, source], rank, |graph, v, axis| {
            let extent = graph.shape(v[0])[axis];
            let sums = graph.index_add(v[2], axis, v[1], extent)?;
            let sums = expect_alike(graph, "index_add", v[0], sums)?;
            graph.add(v[0], sums)
        })
    }

    /// The rows of this table `[V, D]` that `index` names, for an index of any shape: `[…, D]`. The index `padding` gives
    /// zeros and no gradient; one that names no row gives NaN.
    #[track_caller]
    #[must_use]
    pub fn embedding(&self, index: &Tensor, padding: Option<usize>) -> Tensor {
        let rank = index.shape().len() + 1;
        self.apply(&[index], rank, Location::caller(), |graph, v| graph.embedding(v[0], v[1], padding))
    }

    /// 1 where the new last axis of `classes` meets this index (`u32`), else 0: `f32` `[…, classes]`. An index that is no
    /// class gives zeros.
    #[track_caller]
    #[must_use]
    pub fn one_hot(&self, classes: usize) -> Tensor {
        self.apply(&[], self.shape().len() + 1, Location::caller(), |graph, v| graph.one_hot(v[0], classes))
    }

    /// The running sums along `axis`: `y[i] = x[0] + … + x[i]`.
    #[track_caller]
    #[must_use]
    pub fn cumsum(&self, axis: isize) -> Tensor {
        self.cumsum_with(axis, false, false)
    }

    /// The running sums along `axis`, each without its own element if `exclusive`, from the end if `reverse`.
    #[track_caller]
    #[must_use]
    pub fn cumsum_with(&self, axis: isize, exclusive: bool, reverse: bool) -> Tensor {
        let rank = self.shape().len();
        self.along("cumsum", axis, &[], rank, |graph, v, axis| graph.cumsum(v[0], axis, exclusive, reverse))
    }

    /// The elements in order along `axis`, and the positions they had (`u32`). Equal elements keep their order; a NaN is
    /// larger than every number. Axes of up to 32,768.
    #[track_caller]
    #[must_use]
    pub fn sort(&self, axis: isize, descending: bool) -> [Tensor; 2] {
        self.ordered("sort", axis, |graph, x, axis| graph.sort(x, axis, descending))
    }

    /// The positions (`u32`) that put the elements along `axis` in order.
    #[track_caller]
    #[must_use]
    pub fn argsort(&self, axis: isize, descending: bool) -> Tensor {
        let [_, positions] = self.sort(axis, descending);
        positions
    }

    /// The `k` largest elements along `axis` (the smallest, unless `largest`) in order, and their positions (`u32`); of
    /// equal ones the first.
    #[track_caller]
    #[must_use]
    pub fn top_k(&self, k: usize, axis: isize, largest: bool) -> [Tensor; 2] {
        self.ordered("top_k", axis, |graph, x, axis| graph.top_k(x, k, axis, largest))
    }

    /// Values and positions.
    #[track_caller]
    fn ordered(
        &self,
        name: &str,
        axis: isize,
        build: impl FnOnce(&mut Graph, Value, usize) -> Result<[Value; 2]>,
    ) -> [Tensor; 2] {
        let rank = self.shape().len();
        self.apply_several(&[], [rank; 2], Location::caller(), |graph, v| {
            let axis = normalize_axes(name, &[axis], rank)?[0];
            build(graph, v[0], axis)
        })
    }
}

/// `sums`, unless its shape is not that of `x`.
fn expect_alike(graph: &Graph, op: &str, x: Value, sums: Value) -> Result<Value> {
    let (to, from) = (graph.type_of(x), graph.type_of(sums));
    if to == from {
        return Ok(sums);
    }
    Err(crate::error::Error::shape(op, format_args!("the source adds {from} to {to}; their other axes must be alike")))
}

#[cfg(test)]
mod tests {
    use crate::array::Array;
    use crate::device::Device;
    use crate::dtype::DType;
    use crate::tensor::{Tensor, Trace};

    fn floats(trace: &Trace, shape: &[usize], elements: &[f32]) -> Tensor {
        trace.data(&Array::new(shape, elements.to_vec()).unwrap())
    }

    fn indices(trace: &Trace, shape: &[usize], elements: &[u32]) -> Tensor {
        trace.data(&Array::new(shape, elements.to_vec()).unwrap())
    }

    fn values(tensor: &Tensor) -> Vec<f64> {
        tensor.eval(&Device::cpu()).unwrap().to_f64_vec()
    }

    #[test]
    fn an_index_may_be_smaller_on_the_other_axes_and_the_rest_gets_no_gradient() {
        let trace = Trace::default();
        let x = floats(&trace, &[3, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
        let picked = x.gather(-1, &indices(&trace, &[2, 1], &[2, 0]));
        assert_eq!((picked.shape(), values(&picked)), (&[2, 1][..], vec![3.0, 4.0]));
        let slope = trace.gradient(&picked.square().sum_all(), &[&x]).remove(0);
        assert_eq!(values(&slope), [0.0, 0.0, 6.0, 8.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn additions_go_where_the_index_says_and_keep_what_was_there() {
        let trace = Trace::default();
        let x = floats(&trace, &[2, 2], &[1.0, 2.0, 3.0, 4.0]);
        let source = floats(&trace, &[3, 2], &[10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
        let each = x.scatter_add(0, &indices(&trace, &[3, 2], &[0, 1, 0, 7, 1, 1]), &source);
        assert_eq!(values(&each), [41.0, 2.0, 53.0, 84.0]);
        let rows = x.index_add(0, &indices(&trace, &[3], &[1, 1, 0]), &source);
        assert_eq!(values(&rows), [51.0, 62.0, 43.0, 64.0]);
        let error = || trace.finish().err().expect("a mistake").to_string();
        let _ = x.index_add(0, &indices(&trace, &[1], &[1]), &floats(&trace, &[1, 1], &[1.0]));
        assert!(error().contains("the source adds f32[2, 1] to f32[2, 2]") && error().contains(file!()), "{}", error());
    }

    #[test]
    fn running_sums_and_orders_of_a_negative_axis() {
        let trace = Trace::default();
        let x = floats(&trace, &[2, 3], &[3.0, 1.0, 2.0, -1.0, 0.0, 5.0]);
        assert_eq!(values(&x.cumsum(-1)), [3.0, 4.0, 6.0, -1.0, -1.0, 4.0]);
        assert_eq!(values(&x.cumsum_with(-1, true, true)), [3.0, 2.0, 0.0, 5.0, 5.0, 0.0]);
        let [sorted, positions] = x.sort(-1, false);
        assert_eq!(values(&sorted), [1.0, 2.0, 3.0, -1.0, 0.0, 5.0]);
        assert_eq!((positions.dtype(), values(&positions)), (DType::U32, vec![1.0, 2.0, 0.0, 0.0, 1.0, 2.0]));
        assert_eq!(values(&x.gather(-1, &x.argsort(-1, true))), [3.0, 2.0, 1.0, 5.0, 0.0, -1.0]);
        let [largest, of] = x.top_k(1, 0, true);
        assert_eq!((values(&largest), values(&of)), (vec![3.0, 1.0, 5.0], vec![0.0, 0.0, 1.0]));
        assert_eq!(values(&of.reshape(&[3]).one_hot(2)), [1.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
    }
}
