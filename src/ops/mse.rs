//! The mean squared error, and the mean of everything: compositions of smaller operations.
//!
//! mse(p, t) = Σ (p − t)² / n over all n elements, as PyTorch's `mse_loss`. The mean of no elements is NaN.

use crate::error::{Error, Result};
use crate::graph::{Graph, Value};

impl Graph {
    /// The mean of all elements, without axes.
    ///
    /// # Errors
    /// When the elements are integers.
    pub fn mean_all(&mut self, x: Value) -> Result<Value> {
        let ty = self.type_of(x);
        if !ty.dtype.is_float() {
            return Err(Error::dtype("mean", format_args!("takes floats, got {ty}; cast first")));
        }
        let axes: Vec<usize> = (0..ty.shape.len()).collect();
        let mean = self.mean(x, &axes)?;
        self.reshape(mean, &[])
    }

    /// The mean of the squared differences of all elements, without axes.
    ///
    /// # Errors
    /// When the types differ (nothing is broadcast: `[N, 1]` against `[N]` would be N² differences), or are integers.
    pub fn mse(&mut self, prediction: Value, target: Value) -> Result<Value> {
        let (predicted, wanted) = (self.type_of(prediction), self.type_of(target));
        if predicted != wanted {
            return Err(Error::shape(
                "mse",
                format_args!("the prediction is {predicted} and the target {wanted}; reshape or cast one of them"),
            ));
        }
        let difference = self.sub(prediction, target)?;
        let squared = self.unary("square", difference)?;
        self.mean_all(squared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Array;
    use crate::autodiff::gradients;
    use crate::check::reference;
    use crate::dtype::DType;
    use crate::graph::{Leaf, TensorType};

    fn leaf(graph: &mut Graph, name: &str, dtype: DType, shape: &[usize]) -> Value {
        graph.leaf(Leaf::Input, name, TensorType::new(dtype, shape)).unwrap()
    }

    /// The value of `wanted` in `f64`.
    fn evaluate(graph: &Graph, data: &[(&str, &Array)], wanted: Value) -> Array {
        let mut graph = graph.clone();
        graph.outputs = vec![("wanted".to_owned(), wanted)];
        let leaves = data.iter().map(|(name, array)| ((Leaf::Input, (*name).to_owned()), (*array).clone())).collect();
        reference::run(&graph, &leaves, DType::F64).unwrap().output("wanted").unwrap().clone()
    }

    #[test]
    fn mse_is_the_mean_of_squares_and_its_gradient_twice_the_difference_over_n() {
        let mut graph = Graph::new();
        let (p, t) = (leaf(&mut graph, "p", DType::F32, &[2, 3]), leaf(&mut graph, "t", DType::F32, &[2, 3]));
        let loss = graph.mse(p, t).unwrap();
        assert_eq!(graph.shape(loss), [0usize; 0]);
        let slopes = gradients(&mut graph, loss, &[p, t]).unwrap();
        let prediction = Array::new(&[2, 3], vec![1.0, 2.0, -3.0, 0.5, 0.0, 4.0]).unwrap();
        let target = Array::new(&[2, 3], vec![0.0, 2.5, -1.0, 0.5, 2.0, 1.0]).unwrap();
        // Differences 1, -0.5, -2, 0, -2, 3; squares 1, 0.25, 4, 0, 4, 9: 18.25 together.
        let value = |wanted| evaluate(&graph, &[("p", &prediction), ("t", &target)], wanted).to_f64_vec();
        assert!((value(loss)[0] - 18.25 / 6.0).abs() < 1e-15);
        let expected = [1.0, -0.5, -2.0, 0.0, -2.0, 3.0].map(|difference| difference / 3.0);
        for (i, expected) in expected.into_iter().enumerate() {
            assert!((value(slopes[0])[i] - expected).abs() < 1e-15);
            assert!((value(slopes[1])[i] + expected).abs() < 1e-15);
        }
    }

    #[test]
    fn the_mean_of_a_scalar_is_itself_and_of_nothing_nan() {
        let mut graph = Graph::new();
        let (x, nothing) = (leaf(&mut graph, "x", DType::F32, &[]), leaf(&mut graph, "nothing", DType::F32, &[0, 4]));
        let means = [graph.mean_all(x).unwrap(), graph.mean_all(nothing).unwrap()];
        let data = [("x", &Array::scalar(-2.5)), ("nothing", &Array::zeros(&[0, 4], DType::F32))];
        assert_eq!(evaluate(&graph, &data, means[0]).item().unwrap(), -2.5);
        assert!(evaluate(&graph, &data, means[1]).item().unwrap().is_nan());
    }

    #[test]
    fn shapes_that_would_broadcast_and_integers_are_refused() {
        let mut graph = Graph::new();
        let (p, t) = (leaf(&mut graph, "p", DType::F32, &[4, 1]), leaf(&mut graph, "t", DType::F32, &[4]));
        let error = graph.mse(p, t).unwrap_err().to_string();
        assert!(error.contains("the prediction is f32[4, 1] and the target f32[4]"), "{error}");
        let labels = leaf(&mut graph, "labels", DType::U32, &[4]);
        assert!(graph.mean_all(labels).unwrap_err().to_string().contains("takes floats, got u32[4]"));
        assert!(graph.mse(labels, labels).is_err());
    }
}
