//! The walker that makes gradients: what it sums, undoes, leaves out and refuses.

use neuropil::autodiff::gradients;
use neuropil::check::{Leaves, gradients as check, reference};
use neuropil::graph::{Gradient, Graph, Leaf, Lowering, Op, Sample, TensorType, Value};
use neuropil::{Array, DType, ErrorKind, Result};

/// A graph with inputs and their data.
#[derive(Default)]
struct Trace {
    graph: Graph,
    leaves: Leaves,
}

impl Trace {
    fn input(&mut self, shape: &[usize], elements: &[f32]) -> Value {
        let name = format!("in{}", self.leaves.len());
        let array = Array::new(shape, elements.to_vec()).unwrap();
        let value = self.graph.leaf(Leaf::Input, &name, TensorType::new(DType::F32, shape)).unwrap();
        self.leaves.insert((Leaf::Input, name), array);
        value
    }

    fn mul(&mut self, a: Value, b: Value) -> Value {
        self.graph.mul(a, b).unwrap()
    }

    /// The sum of all elements, without axes.
    fn total(&mut self, x: Value) -> Value {
        let axes: Vec<usize> = (0..self.graph.shape(x).len()).collect();
        let sum = self.graph.sum(x, &axes).unwrap();
        self.graph.reshape(sum, &[]).unwrap()
    }

    fn evaluate(&mut self, value: Value) -> Array {
        self.graph.outputs = vec![("value".to_owned(), value)];
        self.graph.verify().unwrap();
        reference::run(&self.graph, &self.leaves, DType::F64).unwrap().output("value").unwrap().clone()
    }

    fn assert_is(&mut self, value: Value, shape: &[usize], elements: &[f64]) {
        assert_eq!(self.evaluate(value), Array::new(shape, elements.to_vec()).unwrap(), "{}", self.graph);
    }
}

#[test]
fn a_gradient_can_be_differentiated_again_and_again() {
    let mut trace = Trace::default();
    let x = trace.input(&[3], &[-1.0, 0.5, 2.0]);
    let square = trace.mul(x, x);
    let cube = trace.mul(square, x);
    let mut loss = trace.total(cube);
    let mut gradient = x;
    for expected in [[3.0, 0.75, 12.0], [-6.0, 3.0, 12.0], [6.0, 6.0, 6.0], [0.0; 3]] {
        gradient = gradients(&mut trace.graph, loss, &[x]).unwrap()[0];
        trace.assert_is(gradient, &[3], &expected);
        loss = trace.total(gradient);
    }
    assert_eq!(trace.graph.shape(gradient), [3]);
}

#[test]
fn contributions_of_several_consumers_add_up() {
    let mut trace = Trace::default();
    let x = trace.input(&[2], &[3.0, 5.0]);
    // x·x + 2·(x·x) + x, through a shared node and an input used twice.
    let square = trace.mul(x, x);
    let doubled = trace.graph.scale(square, 2.0).unwrap();
    let sum = trace.graph.add(square, doubled).and_then(|sum| trace.graph.add(sum, x)).unwrap();
    let loss = trace.total(sum);
    let both = gradients(&mut trace.graph, loss, &[x, square]).unwrap();
    trace.assert_is(both[0], &[2], &[19.0, 31.0]);
    trace.assert_is(both[1], &[2], &[3.0, 3.0]);
}

#[test]
fn broadcasting_is_undone() {
    let mut trace = Trace::default();
    let image = trace.input(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let (row, column, scalar) =
        (trace.input(&[3], &[1.0, 1.0, 1.0]), trace.input(&[2, 1], &[1.0, 10.0]), trace.input(&[], &[2.0]));
    let scaled = trace.mul(column, image);
    let scaled = trace.mul(scaled, row);
    let scaled = trace.mul(scalar, scaled);
    let loss = trace.total(scaled);
    let all = gradients(&mut trace.graph, loss, &[image, row, column, scalar]).unwrap();
    trace.assert_is(all[0], &[2, 3], &[2.0, 2.0, 2.0, 20.0, 20.0, 20.0]);
    trace.assert_is(all[1], &[3], &[82.0, 104.0, 126.0]);
    trace.assert_is(all[2], &[2, 1], &[12.0, 30.0]);
    trace.assert_is(all[3], &[], &[156.0]);
}

#[test]
fn what_the_loss_does_not_depend_on_gets_zeros() {
    let mut trace = Trace::default();
    let (x, unused) = (trace.input(&[2], &[1.0, 2.0]), trace.input(&[3, 1], &[1.0; 3]));
    let beside = trace.graph.unary("exp", unused).unwrap();
    let sign = trace.graph.unary("sign", x).unwrap();
    let loss = trace.total(sign);
    let all = gradients(&mut trace.graph, loss, &[x, unused, beside, loss]).unwrap();
    trace.assert_is(all[0], &[2], &[0.0; 2]);
    trace.assert_is(all[1], &[3, 1], &[0.0; 3]);
    trace.assert_is(all[2], &[3, 1], &[0.0; 3]);
    trace.assert_is(all[3], &[], &[1.0]);
}

#[test]
fn gradients_stop_at_integers() {
    let mut trace = Trace::default();
    let x = trace.input(&[3], &[1.0, 2.0, 3.0]);
    let rounded = trace.graph.cast(x, DType::U32).and_then(|n| trace.graph.cast(n, DType::F32)).unwrap();
    let product = trace.mul(rounded, x);
    let loss = trace.total(product);
    let gradient = gradients(&mut trace.graph, loss, &[x]).unwrap()[0];
    trace.assert_is(gradient, &[3], &[1.0, 2.0, 3.0]);
}

#[test]
fn scopes_and_locations_are_those_of_the_forward_nodes() {
    let mut trace = Trace::default();
    let x = trace.input(&[2], &[1.0, 2.0]);
    trace.graph.scope = "layer".into();
    let y = trace.graph.unary("exp", x).unwrap();
    trace.graph.scope = "loss".into();
    let loss = trace.total(y);
    trace.graph.scope = "step".into();
    let gradient = gradients(&mut trace.graph, loss, &[x]).unwrap()[0];
    assert_eq!(&*trace.graph.node(gradient.node).scope, "layer");
    assert_eq!(&*trace.graph.scope, "step");
}

#[test]
fn only_float_scalars_have_gradients() {
    let mut trace = Trace::default();
    let x = trace.input(&[2], &[1.0, 2.0]);
    let error = gradients(&mut trace.graph, x, &[x]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gradient);
    assert!(error.to_string().contains("this is f32[2]; reduce it first"), "{error}");
    let total = trace.total(x);
    let integer = trace.graph.cast(total, DType::U32).unwrap();
    assert!(gradients(&mut trace.graph, integer, &[x]).unwrap_err().to_string().contains("this is u32[]"));
}

/// The identity, with the gradient that the test says.
#[derive(Debug)]
enum Identity {
    WithoutGradient,
    ByDecomposition,
    OfShape(Vec<usize>),
}

impl Op for Identity {
    fn name(&self) -> &'static str {
        "identity"
    }
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        Ok(inputs.to_vec())
    }
    fn gradient(&self) -> Gradient<'_> {
        match self {
            Identity::WithoutGradient => Gradient::None("it was written for this test"),
            Identity::ByDecomposition => Gradient::Decompose,
            Identity::OfShape(shape) => Gradient::rule(|cx| {
                let gradient = cx.graph.full(shape, 1.0, DType::F32)?;
                cx.give(0, gradient);
                Ok(())
            }),
        }
    }
    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        Ok(inputs.to_vec())
    }
    fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
        Lowering::Alias
    }
    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let doubled = graph.scale(inputs[0], 2.0)?;
        Ok(vec![graph.scale(doubled, 0.5)?])
    }
}

#[test]
fn an_operation_without_gradient_is_refused_where_it_is_on_the_way() {
    let mut trace = Trace::default();
    let (x, other) = (trace.input(&[2], &[1.0, 2.0]), trace.input(&[2], &[1.0, 2.0]));
    let identity = trace.graph.emit(Identity::WithoutGradient, &[x]).unwrap();
    let product = trace.mul(identity, other);
    let loss = trace.total(product);
    let error = gradients(&mut trace.graph, loss, &[x]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gradient);
    assert!(error.to_string().contains("identity has no gradient: it was written for this test"), "{error}");
    // Not on the way to these two.
    let both = gradients(&mut trace.graph, loss, &[other, identity]).unwrap();
    trace.assert_is(both[0], &[2], &[1.0, 2.0]);
    trace.assert_is(both[1], &[2], &[1.0, 2.0]);
}

#[test]
fn gradients_pass_through_a_decomposition() {
    let x = [Sample::uniform(&[2, 3], 0.5, 2.0, 1)];
    let build = |graph: &mut Graph, values: &[Value]| {
        let identity = graph.emit(Identity::ByDecomposition, &[values[0]])?;
        let square = graph.mul(identity, values[0])?;
        graph.emit(Identity::ByDecomposition, &[square])
    };
    for outcome in [check::function(&x, build).unwrap(), check::second_order_function(&x, build).unwrap()] {
        outcome.verdict().unwrap();
        assert!(matches!(outcome, check::Outcome::Checked(errors) if errors.len() == 1));
    }
}

#[test]
fn a_rule_that_gives_the_wrong_shape_is_named() {
    for shape in [vec![], vec![3], vec![2, 1]] {
        let mut trace = Trace::default();
        let x = trace.input(&[2], &[1.0, 2.0]);
        let identity = trace.graph.emit(Identity::OfShape(shape), &[x]).unwrap();
        let loss = trace.total(identity);
        let error = gradients(&mut trace.graph, loss, &[x]).unwrap_err().to_string();
        assert!(error.contains("the gradient rule of identity: sum_to: "), "{error}");
    }
}
