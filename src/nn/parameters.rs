//! The parameters and states of a model in the order in which it declares them, and how PyTorch lays each of them out.
//!
//! Images are `[N, H, W, C]` here and `[N, C, H, W]` there. So the last axis of a convolution's weight is the second there. And
//! where an image is flattened, its numbers come in another order: a linear layer behind it has its inputs permuted, as one
//! whose outputs become an image has its outputs. Which layers those are is read off the graph: an axis that is a flattened
//! image stays one through whatever works on each element, up to the next product. After: [`crate::train::transfer`].

use std::collections::HashMap;

use ndarray::IxDyn;

use super::Module;
use crate::array::Array;
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Graph, Leaf, Lowering, Node, NodeKind, Value};
use crate::ops::matmul::MatMul;
use crate::store::is_of_training;
use crate::tensor::Trace;

/// An axis `H · W · C` that is a flattened image.
type Image = [usize; 3];

/// A parameter, or a state that belongs to the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The full name.
    pub name: String,
    /// Parameter or state.
    pub leaf: Leaf,
    /// The extents, in this crate's layout.
    pub shape: Vec<usize>,
    /// For each axis of one or two: the image that it is, flattened.
    flattened: Vec<Option<Image>>,
}

/// What `model` declares for images `[H, W, C]` of `image_shape`, in order; nothing is allocated.
///
/// # Errors
/// The first mistake in the shapes.
pub fn parameters(model: &dyn Module, image_shape: [usize; 3]) -> Result<Vec<Parameter>> {
    let trace = Trace::new(false, Vec::new());
    let [height, width, channels] = image_shape;
    let images = trace.input("images", &[1, height, width, channels], DType::F32);
    let output = model.forward(&trace.scope(), images);
    trace.output("output", &output);
    let traced = trace.finish()?;
    let images = Images::of(&traced.graph);
    let of_model = traced.specs.into_iter().filter(|spec| !is_of_training(&spec.name));
    Ok(of_model
        .map(|spec| {
            let flattened = images.axes(&traced.graph, spec.leaf, &spec.name, spec.ty.shape.len());
            Parameter { name: spec.name, leaf: spec.leaf, shape: spec.ty.shape, flattened }
        })
        .collect())
}

impl Parameter {
    /// The extents in PyTorch's layout.
    pub fn pytorch_shape(&self) -> Vec<usize> {
        let (split, axes) = self.split();
        if self.shape.len() > 2 { axes.iter().map(|&axis| split[axis]).collect() } else { self.shape.clone() }
    }

    /// The value in PyTorch's layout.
    ///
    /// # Errors
    /// When it has another shape than this parameter.
    pub fn to_pytorch(&self, value: &Array) -> Result<Array> {
        let (split, axes) = self.split();
        self.expect(value, &self.shape)?;
        permuted(value, &split, &axes)?.reshape(&self.pytorch_shape())
    }

    /// The value of which `value` is that in PyTorch's layout.
    ///
    /// # Errors
    /// When it has another shape than [`Parameter::pytorch_shape`].
    pub fn from_pytorch(&self, value: &Array) -> Result<Array> {
        let (split, axes) = self.split();
        self.expect(value, &self.pytorch_shape())?;
        let there: Vec<usize> = axes.iter().map(|&axis| split[axis]).collect();
        let mut back = vec![0; axes.len()];
        axes.iter().enumerate().for_each(|(i, &axis)| back[axis] = i);
        permuted(value, &there, &back)?.reshape(&self.shape)
    }

    /// The extents with flattened images taken apart, and the order in which PyTorch has these axes.
    fn split(&self) -> (Vec<usize>, Vec<usize>) {
        let rank = self.shape.len();
        if rank > 2 {
            let axes = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
            return (self.shape.clone(), axes);
        }
        let (mut split, mut axes) = (Vec::new(), Vec::new());
        for (&extent, image) in self.shape.iter().zip(&self.flattened) {
            let first = split.len();
            match image {
                Some(image) => {
                    split.extend(image);
                    axes.extend([first + 2, first, first + 1]);
                }
                None => {
                    split.push(extent);
                    axes.push(first);
                }
            }
        }
        (split, axes)
    }

    fn expect(&self, value: &Array, shape: &[usize]) -> Result<()> {
        if value.shape() == shape {
            return Ok(());
        }
        let text = format!("{}: is {:?}, {shape:?} is wanted; it is of another model", self.name, value.shape());
        Err(Error::new(ErrorKind::Shape, text))
    }
}

/// `value` as an array of `shape` with its axes in another order; it may have become `f32`.
fn permuted(value: &Array, shape: &[usize], axes: &[usize]) -> Result<Array> {
    if axes.iter().copied().eq(0..axes.len()) {
        return Ok(value.clone());
    }
    let value = value.cast(DType::F32).reshape(shape)?;
    let view = value.view::<f32>()?.permuted_axes(IxDyn(axes));
    Array::new(view.shape(), view.iter().copied().collect())
}

/// Which axes of which values are flattened images.
#[derive(Default)]
struct Images {
    last: HashMap<Value, Image>,
    /// The first axis of matrices.
    first: HashMap<Value, Image>,
}

impl Images {
    fn of(graph: &Graph) -> Self {
        let mut images = Images::default();
        // What a pass learns of later nodes may say more of earlier ones.
        loop {
            let known = images.last.len() + images.first.len();
            for (id, node) in graph.nodes() {
                let output = Value { node: id, output: 0 };
                images.learn(graph, node, output);
            }
            if images.last.len() + images.first.len() == known {
                return images;
            }
        }
    }

    /// The images that the axes of a leaf are.
    fn axes(&self, graph: &Graph, leaf: Leaf, name: &str, rank: usize) -> Vec<Option<Image>> {
        let value = graph.leaves(leaf).find(|(known, _)| *known == name).map(|(_, value)| value);
        let of = |map: &HashMap<Value, Image>| value.and_then(|value| map.get(&value).copied());
        match rank {
            1 => vec![of(&self.last)],
            2 => vec![of(&self.first), of(&self.last)],
            _ => vec![None; rank],
        }
    }

    fn learn(&mut self, graph: &Graph, node: &Node, output: Value) {
        let NodeKind::Op(op) = &node.kind else { return };
        match (op.name(), node.inputs.as_slice()) {
            ("reshape", &[input]) => match (graph.shape(input), graph.shape(output)) {
                (&[n, h, w, c], &[rows, columns]) | (&[rows, columns], &[n, h, w, c])
                    if n == rows && h * w > 1 && columns == h * w * c =>
                {
                    let matrix = if graph.shape(output).len() == 2 { output } else { input };
                    self.last.insert(matrix, [h, w, c]);
                }
                _ => self.join_last(graph, &[input, output]),
            },
            // Rows go through; the other axis of the second operand is that of the result.
            ("matmul", &[rows, weight]) => {
                let transposed = format!("{op:?}") == format!("{:?}", MatMul { transpose_a: false, transpose_b: true });
                if transposed && graph.shape(weight).len() == 2 {
                    if let Some(&image) = self.last.get(&rows) {
                        self.last.insert(weight, image);
                    }
                    if let Some(&image) = self.last.get(&output) {
                        self.first.insert(weight, image);
                    }
                }
            }
            (_, inputs) if works_on_elements(graph, node) => {
                let all: Vec<Value> = inputs.iter().copied().chain([output]).collect();
                self.join_last(graph, &all);
            }
            _ => {}
        }
    }

    /// Lets values of one or two axes, the last of which are the same axis, be the same image.
    fn join_last(&mut self, graph: &Graph, values: &[Value]) {
        let Some(image) = values.iter().find_map(|value| self.last.get(value)).copied() else { return };
        let extent: usize = image.iter().product();
        for &value in values {
            let shape = graph.shape(value);
            if shape.len() <= 2 && shape.last() == Some(&extent) {
                self.last.insert(value, image);
            }
        }
    }
}

/// Whether an element of the output comes of the elements at its place in the inputs, and of whole channels at most.
fn works_on_elements(graph: &Graph, node: &Node) -> bool {
    let Some(op) = node.op() else { return false };
    if op.name().starts_with("batch_norm") || ["broadcast", "cast", "dropout"].contains(&op.name()) {
        return true;
    }
    // Movement has expressions as well, but of one operand in another order.
    if ["permute", "flip", "slice", "pad", "concat"].contains(&op.name()) {
        return false;
    }
    let inputs: Vec<_> = node.inputs.iter().map(|&input| graph.type_of(input).clone()).collect();
    matches!(op.lowering(&inputs, &node.types), Lowering::Elementwise(_))
}

#[cfg(test)]
mod tests {
    use super::super::{Activation, BatchNorm, Conv2d, ConvTranspose2d, Flatten, GlobalAvgPool2d, Linear, Sequential};
    use super::*;
    use crate::tensor::{Scope, Tensor};

    fn of(model: &Sequential) -> Vec<Parameter> {
        parameters(model, [2, 3, 5]).unwrap()
    }

    fn images(parameters: &[Parameter], name: &str) -> Vec<Option<Image>> {
        parameters.iter().find(|parameter| parameter.name == name).unwrap().flattened.clone()
    }

    #[test]
    fn they_come_in_the_order_of_the_model() {
        let model = Sequential::new().named("z", Conv2d::new(4, 1)).named("a", BatchNorm::default());
        let found = of(&model);
        let names: Vec<&str> = found.iter().map(|parameter| parameter.name.as_str()).collect();
        assert_eq!(names, ["z.weight", "z.bias", "a.weight", "a.bias", "a.running_mean", "a.running_var"]);
        assert_eq!((&found[0].shape[..], &found[0].pytorch_shape()[..]), (&[4, 1, 1, 5][..], &[4, 5, 1, 1][..]));
        assert_eq!(found[4].leaf, Leaf::State);
    }

    #[test]
    fn flattened_images_are_followed_to_the_next_product() {
        let model = Sequential::new()
            .named("conv", Conv2d::new(4, 1))
            .then(Flatten)
            .named("norm", BatchNorm::default())
            .then(Activation::Relu)
            .named("hidden", Linear::new(24))
            .named("head", Linear::new(24));
        let found = of(&model);
        let image = Some([2, 3, 4]);
        for name in ["norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"] {
            assert_eq!(images(&found, name), [image], "{name}");
        }
        assert_eq!(images(&found, "hidden.weight"), [None, image]);
        assert_eq!(images(&found, "hidden.bias"), [None]);
        assert_eq!(images(&found, "head.weight"), [None, None]);
        let pooled = of(&Sequential::new().then(GlobalAvgPool2d).named("head", Linear::new(5)));
        assert_eq!(images(&pooled, "head.weight"), [None, None]);
    }

    #[test]
    fn outputs_that_become_images_are_followed_back() {
        let model = Sequential::new()
            .then(GlobalAvgPool2d)
            .named("expand", Linear::new(2 * 2 * 3))
            .then(Activation::Relu)
            .then(|_: &Scope, x: Tensor| x.reshape(&[x.shape()[0], 2, 2, 3]))
            .named("deconv", ConvTranspose2d::new(1, 3));
        let found = of(&model);
        assert_eq!(images(&found, "expand.weight"), [Some([2, 2, 3]), None]);
        assert_eq!(images(&found, "expand.bias"), [Some([2, 2, 3])]);
    }

    #[test]
    fn values_go_there_and_back() {
        let conv =
            Parameter { name: "w".into(), leaf: Leaf::Parameter, shape: vec![2, 1, 2, 3], flattened: vec![None; 4] };
        let numbers = |count: usize| (0..count).map(|i| i as f32).collect::<Vec<f32>>();
        let value = Array::new(&[2, 1, 2, 3], numbers(12)).unwrap();
        let there = conv.to_pytorch(&value).unwrap();
        assert_eq!(there.shape(), [2, 3, 1, 2]);
        assert_eq!(there.as_slice::<f32>().unwrap(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0, 6.0, 9.0, 7.0, 10.0, 8.0, 11.0]);
        assert_eq!(conv.from_pytorch(&there).unwrap(), value);
        assert!(conv.from_pytorch(&value).unwrap_err().to_string().contains("[2, 1, 2, 3], [2, 3, 1, 2] is wanted"));

        // Two pixels of three channels.
        let shape = vec![1, 6];
        let linear = Parameter { shape, flattened: vec![None, Some([1, 2, 3])], ..conv };
        let value = Array::new(&[1, 6], numbers(6)).unwrap();
        let there = linear.to_pytorch(&value).unwrap();
        assert_eq!(there.as_slice::<f32>().unwrap(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(linear.from_pytorch(&there).unwrap(), value);
    }
}
