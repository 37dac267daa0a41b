//! Random graphs whose every number is a small integer, so that `f32` is exact and any order of additions gives the same.

use neuropil::random::Stream;
use neuropil::shape::{broadcast, element_count};
use neuropil::{Array, DType, Init, Tensor, Trace};

/// The largest tensor.
const ELEMENTS: usize = 256;
/// Values above are clamped before they are multiplied or added up: 256 products of two stay below 2²⁴.
const BOUND: f64 = 200.0;
/// Most axes of a tensor.
const RANK: usize = 4;

/// A tensor with the largest magnitude it can have.
#[derive(Clone)]
struct Bounded {
    tensor: Tensor,
    bound: f64,
}

impl Bounded {
    /// The tensor, clamped if it may be above `bound`.
    fn within(&self, bound: f64) -> Tensor {
        if self.bound > bound { self.tensor.clamp(-bound, bound) } else { self.tensor.clone() }
    }

    fn shape(&self) -> &[usize] {
        self.tensor.shape()
    }
}

/// Builds one graph; all choices follow from the seed.
pub struct Builder<'a> {
    trace: &'a Trace,
    choices: Stream,
    pool: Vec<Bounded>,
}

/// Integers from -4 to 4, the same for equal arguments.
pub fn integers(shape: &[usize], name: &str) -> Array {
    let mut stream = Stream::new(0, name);
    Array::from_fn(shape, |_| stream.below(9) as f32 - 4.0)
}

/// Adds a random graph to `trace`: inputs `in0` … with their data, elementwise work, views, reductions and products of
/// them, states `state0` … that change, outputs `out0` …, and parameters that change like under an optimizer.
pub fn build(trace: &Trace, seed: u64) -> Vec<(String, Array)> {
    let mut builder = Builder { trace, choices: Stream::new(seed, "graph"), pool: Vec::new() };
    let inputs = builder.inputs();
    let states = builder.states();
    let nodes = 3 + builder.below(14);
    for _ in 0..nodes {
        let made = builder.node();
        if element_count(made.shape()) <= ELEMENTS && made.shape().len() <= RANK {
            builder.pool.push(made);
        }
    }
    for state in &states {
        let fitting: Vec<&Bounded> = builder.pool.iter().filter(|t| t.shape() == state.shape()).collect();
        let new = fitting[builder.choices.below(fitting.len() as u64) as usize].within(BOUND);
        trace.update(state, &new);
    }
    for output in 0..1 + builder.below(3) {
        let tensor = if output == 0 { builder.pool.len() - 1 } else { builder.below(builder.pool.len()) };
        trace.output(&format!("out{output}"), &builder.pool[tensor].tensor);
    }
    builder.parameters();
    inputs
}

impl Builder<'_> {
    fn below(&mut self, n: usize) -> usize {
        self.choices.below(n as u64) as usize
    }

    fn flip(&mut self) -> bool {
        self.below(2) == 0
    }

    fn integer(&mut self, magnitude: usize) -> f64 {
        self.below(2 * magnitude + 1) as f64 - magnitude as f64
    }

    /// A tensor made so far; a new one more likely than an old one.
    fn pick(&mut self) -> Bounded {
        let back = self.below(self.pool.len()).min(self.below(self.pool.len()));
        self.pool[self.pool.len() - 1 - back].clone()
    }

    fn inputs(&mut self) -> Vec<(String, Array)> {
        const SHAPES: [&[usize]; 7] = [&[2, 3, 4], &[3, 4], &[4], &[2, 1, 4], &[], &[4, 3], &[2, 3, 4]];
        let count = 2 + self.below(3);
        let make = |i| {
            let shape = SHAPES[self.below(SHAPES.len())];
            let name = format!("in{i}");
            self.pool.push(Bounded { tensor: self.trace.input(&name, shape, DType::F32), bound: 5.0 });
            (name, Array::from_fn(shape, |_| self.integer(5) as f32))
        };
        (0..count).map(make).collect()
    }

    fn states(&mut self) -> Vec<Tensor> {
        let count = self.below(3);
        let make = |i| {
            let shape = self.pick().shape().to_vec();
            let init = Init::Constant(self.integer(4));
            let tensor = self.trace.scope().state(&format!("state{i}"), &shape, DType::F32, init);
            self.pool.push(Bounded { tensor: tensor.clone(), bound: BOUND });
            tensor
        };
        (0..count).map(make).collect()
    }

    /// Parameters `parameter0` … with a moment each, gradients of a bilinear loss, and updates: much alike, but any may
    /// look at another's old or new value.
    fn parameters(&mut self) {
        const SHAPES: [&[usize]; 5] = [&[3, 4], &[3, 4], &[5, 20], &[3, 4], &[2]];
        let scope = self.trace.scope();
        let rate = scope.state("rate", &[], DType::F32, Init::Constant(1.0));
        let mut known: Vec<Tensor> = Vec::new();
        let mut loss = self.trace.constant(0.0, DType::F32);
        for i in 0..self.below(6) {
            let shape = SHAPES[self.below(SHAPES.len())];
            let parameter = scope.param(&format!("parameter{i}"), shape, Init::Constant(0.0));
            known.push(parameter.clone());
            let given = self.pool.iter().filter(|t| t.shape() == shape).map(|t| t.within(BOUND));
            let fitting: Vec<Tensor> = given.chain(known.iter().filter(|t| t.shape() == shape).cloned()).collect();
            if self.flip() {
                loss = loss + (parameter * &fitting[self.below(fitting.len())]).sum_all();
            }
        }
        let [others, both] = [self.flip(), self.flip()];
        for (name, parameter, gradient) in self.trace.gradients(&loss).entries {
            let moment = scope.companion("moment", &name, parameter.shape());
            let fitting: Vec<&Tensor> = known.iter().filter(|t| t.shape() == parameter.shape()).collect();
            let other = if others { fitting[self.choices.below(fitting.len() as u64) as usize] } else { &gradient };
            let new_moment = (&moment * 2.0 + other).clamp(-BOUND, BOUND);
            let new_parameter = (&parameter - &rate * &new_moment).clamp(-BOUND, BOUND);
            self.trace.update(&parameter, &new_parameter);
            if both {
                self.trace.update(&moment, &new_moment);
            }
            known.extend([moment, new_moment, new_parameter]);
        }
    }

    fn node(&mut self) -> Bounded {
        let x = self.pick();
        match self.below(8) {
            0 => self.unary(&x),
            1 | 2 => self.binary(&x),
            3 | 4 => self.view(&x),
            5 => self.larger(&x),
            6 => self.reduction(&x),
            _ => self.product(&x),
        }
    }

    fn unary(&mut self, x: &Bounded) -> Bounded {
        let bound = x.bound;
        match self.below(6) {
            0 => Bounded { tensor: x.tensor.relu(), bound },
            1 => Bounded { tensor: -&x.tensor, bound },
            2 => Bounded { tensor: x.tensor.abs(), bound },
            3 => Bounded { tensor: x.tensor.sign(), bound: 1.0 },
            4 => Bounded { tensor: x.within(BOUND).square(), bound: BOUND * BOUND },
            _ => {
                let (factor, term) = (self.integer(3), self.integer(9));
                Bounded { tensor: &x.within(BOUND) * factor + term, bound: 3.0 * BOUND + 9.0 }
            }
        }
    }

    /// Of `x` and another tensor of a shape that broadcasts with it.
    fn binary(&mut self, x: &Bounded) -> Bounded {
        let fits = |y: &&Bounded| broadcast("fits", &[x.shape(), y.shape()]).is_ok();
        let fitting: Vec<Bounded> = self.pool.iter().filter(fits).cloned().collect();
        let y = &fitting[self.below(fitting.len())];
        let (a, b) = (&x.within(BOUND), &y.within(BOUND));
        let tensor = match self.below(8) {
            0 => a + b,
            1 => a - b,
            2 => a * b,
            3 => a.maximum(b),
            4 => a.minimum(b),
            5 => a.less(b).cast(DType::F32),
            6 => a.equal(b).select(b, a),
            _ => a.greater_equal(&self.trace.constant(0.0, DType::F32)).select(a, b),
        };
        Bounded { tensor, bound: BOUND * BOUND }
    }

    fn view(&mut self, x: &Bounded) -> Bounded {
        let shape = x.shape().to_vec();
        let rank = shape.len();
        let tensor = match self.below(4) {
            0 if rank > 1 => {
                let mut axes: Vec<usize> = (0..rank).collect();
                (1..rank).for_each(|i| axes.swap(i, self.below(i + 1)));
                x.tensor.permute(&axes)
            }
            1 => {
                let range = |&extent: &usize| {
                    let begin = self.below(extent);
                    begin..begin + 1 + self.below(extent - begin)
                };
                x.tensor.slice(&shape.iter().map(range).collect::<Vec<_>>())
            }
            2 if rank > 1 => {
                let axis = self.below(rank - 1);
                let mut merged = shape.clone();
                merged[axis] *= merged.remove(axis + 1);
                x.tensor.reshape(&merged)
            }
            _ => {
                let mut longer = shape.clone();
                longer.insert(self.below(rank + 1), 1);
                x.tensor.reshape(&longer)
            }
        };
        Bounded { tensor, bound: x.bound }
    }

    /// Padded, stretched or put together.
    fn larger(&mut self, x: &Bounded) -> Bounded {
        let shape = x.shape().to_vec();
        let tensor = match self.below(3) {
            0 => {
                let borders: Vec<(usize, usize)> = shape.iter().map(|_| (self.below(2), self.below(3))).collect();
                let value = self.integer(5);
                x.tensor.pad(&borders, value)
            }
            1 if !shape.is_empty() => {
                let axis = self.below(shape.len());
                let fits = |y: &&Bounded| {
                    let others = |shape: &[usize]| [&shape[..axis], &shape[axis + 1..]].concat();
                    y.shape().len() == shape.len() && others(y.shape()) == others(&shape)
                };
                let fitting: Vec<Bounded> = self.pool.iter().filter(fits).cloned().collect();
                let y = &fitting[self.below(fitting.len())];
                return Bounded { tensor: x.tensor.concat(&[&y.tensor], axis), bound: x.bound.max(y.bound) };
            }
            _ => {
                let mut stretched: Vec<usize> =
                    shape.iter().map(|&n| if n == 1 { 1 + self.below(3) } else { n }).collect();
                if self.flip() {
                    stretched.insert(0, 2);
                }
                x.tensor.broadcast_to(&stretched)
            }
        };
        Bounded { tensor, bound: x.bound.max(5.0) }
    }

    fn reduction(&mut self, x: &Bounded) -> Bounded {
        let axes: Vec<isize> = (0..x.shape().len() as isize).filter(|_| self.flip()).collect();
        match self.below(4) {
            0 => Bounded { tensor: x.tensor.max(&axes), bound: x.bound },
            1 => Bounded { tensor: x.tensor.argmax(&axes).cast(DType::F32), bound: ELEMENTS as f64 },
            _ => Bounded { tensor: x.within(BOUND).sum(&axes), bound: BOUND * ELEMENTS as f64 },
        }
    }

    /// A matrix product with another tensor, or with its own transpose.
    fn product(&mut self, x: &Bounded) -> Bounded {
        let [rows, inner] = match x.shape() {
            [rows, inner] => [*rows, *inner],
            shape => [1, element_count(shape)],
        };
        let a = x.within(BOUND).reshape(&[rows, inner]);
        let fits = |y: &&Bounded| matches!(y.shape(), [k, _] if *k == inner);
        let fitting: Vec<Bounded> = self.pool.iter().filter(fits).cloned().collect();
        let tensor = match fitting.len() {
            0 => a.matmul_transposed(&a, false, true),
            count => a.matmul(&fitting[self.below(count)].within(BOUND)),
        };
        Bounded { tensor, bound: BOUND * BOUND * ELEMENTS as f64 }
    }
}
