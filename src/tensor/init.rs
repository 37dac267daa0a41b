//! Initial values of parameters and states.
//!
//! They depend on the seed and the name, not on the order in which parameters are made, and are the same bits on every
//! machine: normals come from `libm`, orthogonal matrices from sums in a fixed order. The fans of a weight follow from its
//! shape: `[outputs, …, inputs]`, with the taps of a kernel between; a vector has both fans its length.
//! Formulas are PyTorch's (`torch.nn.init`).

use ndarray::Dimension;

use crate::array::Array;
use crate::dtype::DType;
use crate::graph::TensorType;
use crate::random::Stream;

/// Initial values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Every element this value.
    Constant(f64),
    /// Even between `-bound` and `bound`.
    Uniform {
        /// The bound.
        bound: f32,
    },
    /// Normal with mean 0.
    Normal {
        /// The standard deviation.
        deviation: f32,
    },
    /// Normal with mean 0, drawn again where it lies more than `limit` deviations from it.
    TruncatedNormal {
        /// The standard deviation before the cut.
        deviation: f32,
        /// The cut, in deviations.
        limit: f32,
    },
    /// Even within `gain · √(3 / fan)` (He et al. 2015, arXiv 1502.01852).
    KaimingUniform {
        /// Which fan.
        fan: Fan,
        /// What the nonlinearity after the layer takes away, see [`Nonlinearity::gain`].
        gain: f64,
    },
    /// Normal with deviation `gain / √fan` (He et al. 2015).
    KaimingNormal {
        /// Which fan.
        fan: Fan,
        /// As above.
        gain: f64,
    },
    /// Even within `gain · √(6 / (fan in + fan out))` (Glorot & Bengio 2010).
    XavierUniform {
        /// As above.
        gain: f64,
    },
    /// Normal with deviation `gain · √(2 / (fan in + fan out))` (Glorot & Bengio 2010).
    XavierNormal {
        /// As above.
        gain: f64,
    },
    /// A weight `[outputs, …]` as a matrix of `outputs` rows: rows, or where there are more of them columns, are
    /// orthogonal and of length `gain` (Saxe et al. 2014, arXiv 1312.6120).
    Orthogonal {
        /// The length.
        gain: f64,
    },
    /// The convolution of `[outputs, …, inputs]` that hands its input on: output `i` of each group is input `i`.
    Dirac {
        /// The groups of the convolution.
        groups: usize,
    },
    /// As [`Init::Dirac`] of one group for the first outputs, as many as there are inputs; the others are even within
    /// `1 / √(fan in)`.
    DiracFirst,
    /// 1 where the first and the last coordinate are equal, else 0: the identity matrix.
    Identity,
    /// These words; for the random key.
    Words([u32; 2]),
}

/// Numbers of connections of a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fan {
    /// What one output adds up: keeps the variance on the way forward.
    In,
    /// What one input goes to: keeps the variance on the way back.
    Out,
}

/// What follows a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Nonlinearity {
    /// Nothing, or another layer.
    Linear,
    /// The logistic function.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// `max(x, 0)`.
    Relu,
    /// A ReLU with this slope below 0.
    LeakyRelu(f64),
    /// SELU.
    Selu,
}

impl Nonlinearity {
    /// The recommended gain, by PyTorch's `calculate_gain`.
    pub fn gain(self) -> f64 {
        match self {
            Nonlinearity::Linear | Nonlinearity::Sigmoid => 1.0,
            Nonlinearity::Tanh => 5.0 / 3.0,
            Nonlinearity::Relu => 2f64.sqrt(),
            Nonlinearity::LeakyRelu(slope) => (2.0 / (1.0 + slope * slope)).sqrt(),
            Nonlinearity::Selu => 0.75,
        }
    }
}

/// After so many draws outside of the limit the limit itself is taken: a limit near 0 must not stop the program.
const DRAWS: usize = 1000;

impl Init {
    /// PyTorch's default for the weights and biases of linear and convolution layers:
    /// even within `1 / sqrt(fan_in)`.
    pub fn fan_in(fan_in: usize) -> Self {
        Init::Uniform { bound: 1.0 / (fan_in.max(1) as f32).sqrt() }
    }

    /// He et al. 2015, for layers followed by a ReLU: normal with deviation `sqrt(2 / fan_in)`.
    pub fn kaiming_normal(fan_in: usize) -> Self {
        Init::Normal { deviation: (2.0 / fan_in.max(1) as f32).sqrt() }
    }

    /// The values for the parameter `name`.
    pub fn values(&self, name: &str, ty: &TensorType, seed: u64) -> Array {
        let mut stream = Stream::new(seed, name);
        let shape = &ty.shape;
        let [fan_in, fan_out] = fans(shape);
        let fan = |fan| if fan == Fan::In { fan_in } else { fan_out };
        let uniform = |bound: f64| Init::Uniform { bound: bound as f32 }.values(name, ty, seed);
        let normal = |deviation: f64| Init::Normal { deviation: deviation as f32 }.values(name, ty, seed);
        let array = match *self {
            Init::Constant(value) => Array::full(shape, value),
            Init::Uniform { bound } => Array::from_fn(shape, |_| (stream.uniform() * 2.0 - 1.0) * bound),
            Init::Normal { deviation } => Array::from_fn(shape, |_| stream.normal() * deviation),
            Init::TruncatedNormal { deviation, limit } => {
                Array::from_fn(shape, |_| truncated(&mut stream, limit) * deviation)
            }
            Init::KaimingUniform { fan: of, gain } => uniform(gain * (3.0 / fan(of)).sqrt()),
            Init::KaimingNormal { fan: of, gain } => normal(gain / fan(of).sqrt()),
            Init::XavierUniform { gain } => uniform(gain * (6.0 / (fan_in + fan_out)).sqrt()),
            Init::XavierNormal { gain } => normal(gain * (2.0 / (fan_in + fan_out)).sqrt()),
            Init::Orthogonal { gain } => {
                let rows = orthogonal(shape, &mut stream);
                let columns = shape.iter().skip(1).product::<usize>();
                Array::from_fn(shape, |index| {
                    let flat = index.slice().iter().zip(shape).fold(0, |flat, (i, extent)| flat * extent + i);
                    gain * rows[flat / columns.max(1)][flat % columns.max(1)]
                })
            }
            Init::Dirac { groups } => {
                let outputs = shape.first().map_or(1, |&outputs| outputs / groups.max(1)).max(1);
                Array::from_fn(shape, |index| {
                    let [output, taps @ .., input] = index.slice() else { return 1.0 };
                    let central = taps.iter().zip(&shape[1..]).all(|(tap, extent)| *tap == extent / 2);
                    f64::from(central && output % outputs == *input)
                })
            }
            Init::DiracFirst => {
                let inputs = shape.last().copied().unwrap_or(1);
                let dirac = Init::Dirac { groups: 1 }.values(name, ty, seed).to_f64_vec();
                let others = Init::fan_in(fan_in as usize).values(name, ty, seed).to_f64_vec();
                let each = shape.iter().skip(1).product::<usize>();
                let values = dirac.into_iter().zip(others).enumerate();
                let chosen = values.map(|(i, (dirac, other))| if i < inputs * each { dirac } else { other });
                Array::new(shape, chosen.collect()).unwrap_or_else(|_| Array::zeros(shape, DType::F64))
            }
            Init::Identity => Array::from_fn(shape, |index| f64::from(index.slice().first() == index.slice().last())),
            Init::Words(words) => {
                return Array::from_words(shape, ty.dtype, &words).unwrap_or_else(|_| Array::zeros(shape, ty.dtype));
            }
        };
        array.cast(ty.dtype)
    }
}

/// Fan in and fan out of a weight.
fn fans(shape: &[usize]) -> [f64; 2] {
    let count = |extents: &[usize]| extents.iter().product::<usize>().max(1) as f64;
    match shape {
        [_, .., _] => [count(&shape[1..]), count(&shape[..shape.len() - 1])],
        _ => [count(shape); 2],
    }
}

/// A normal number within `limit` of 0.
fn truncated(stream: &mut Stream, limit: f32) -> f32 {
    let drawn = (0..DRAWS).map(|_| stream.normal()).find(|x| x.abs() <= limit);
    drawn.unwrap_or(limit)
}

/// The rows of a matrix whose rows, or columns if there are fewer of them, are orthonormal: those of a normal matrix by
/// Gram–Schmidt, each freed twice of its part along those before it ("twice is enough", Giraud et al. 2005).
fn orthogonal(shape: &[usize], stream: &mut Stream) -> Vec<Vec<f64>> {
    let rows = shape.first().copied().unwrap_or(1);
    let columns = shape.iter().skip(1).product::<usize>();
    let (count, length) = (rows.min(columns), rows.max(columns));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(count);
    for _ in 0..count {
        let mut vector: Vec<f64> = (0..length).map(|_| f64::from(stream.normal())).collect();
        for other in basis.iter().chain(&basis) {
            let along = dot(&vector, other);
            vector.iter_mut().zip(other).for_each(|(x, y)| *x -= along * y);
        }
        let norm = dot(&vector, &vector).sqrt();
        vector.iter_mut().for_each(|x| *x /= norm);
        basis.push(vector);
    }
    if rows <= columns {
        return basis;
    }
    (0..rows).map(|row| basis.iter().map(|column| column[row]).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(init: Init, shape: &[usize]) -> Vec<f64> {
        init.values("layer.weight", &TensorType::new(DType::F32, shape), 5).to_f64_vec()
    }

    fn deviation(values: &[f64]) -> f64 {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        assert!(mean.abs() < 0.03 * values.iter().fold(0.0, |largest: f64, x| largest.max(x.abs())), "{mean}");
        (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
    }

    /// A filter of 3×5 taps from 8 to 64 channels: 120 inputs a sum, 960 sums an input.
    #[test]
    fn deviations_follow_from_the_fans() {
        let shape = [64, 3, 5, 8];
        let gain = Nonlinearity::Relu.gain();
        let (fan_in, fan_out) = (120f64, 960f64);
        let of_xavier = (2.0 / (fan_in + fan_out)).sqrt();
        let cases = [
            (Init::KaimingNormal { fan: Fan::In, gain }, (2.0 / fan_in).sqrt()),
            (Init::KaimingNormal { fan: Fan::Out, gain }, (2.0 / fan_out).sqrt()),
            (Init::KaimingUniform { fan: Fan::In, gain }, (2.0 / fan_in).sqrt()),
            (Init::KaimingUniform { fan: Fan::Out, gain: 1.0 }, (1.0 / fan_out).sqrt()),
            (Init::XavierNormal { gain: 1.0 }, of_xavier),
            (Init::XavierUniform { gain: 2.0 }, 2.0 * of_xavier),
            // The normal distribution within two deviations has 0.8796 of its deviation.
            (Init::TruncatedNormal { deviation: 0.02, limit: 2.0 }, 0.02 * 0.879_626),
        ];
        for (init, expected) in cases {
            let values = values(init, &shape);
            let found = deviation(&values);
            assert!((found / expected - 1.0).abs() < 0.03, "{init:?}: {found}, not {expected}");
            let bound = match init {
                Init::KaimingUniform { .. } | Init::XavierUniform { .. } => 3f64.sqrt() * expected,
                Init::TruncatedNormal { .. } => 0.04,
                _ => f64::INFINITY,
            };
            assert!(values.iter().all(|x| x.abs() <= bound * (1.0 + 1e-6)), "{init:?}");
        }
        // PyTorch's default for weights is this, with a slope of √5.
        let by_slope = Init::KaimingUniform { fan: Fan::In, gain: Nonlinearity::LeakyRelu(5f64.sqrt()).gain() };
        let pairs = values(by_slope, &shape).into_iter().zip(values(Init::fan_in(120), &shape));
        assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-8));
        assert_eq!(fans(&[7]), [7.0, 7.0]);
        assert_eq!(fans(&[6, 2]), [2.0, 6.0]);
    }

    #[test]
    fn orthogonal_rows_or_columns() {
        for shape in [&[6, 2, 2, 3][..], &[12, 5], &[8, 8], &[1, 4], &[3]] {
            let values = values(Init::Orthogonal { gain: 2.0 }, shape);
            let (rows, columns) = (shape[0], values.len() / shape[0]);
            let lies = rows <= columns;
            let (count, length) = if lies { (rows, columns) } else { (columns, rows) };
            let element = |vector: usize, i: usize| match lies {
                true => values[vector * columns + i],
                false => values[i * columns + vector],
            };
            for a in 0..count {
                for b in 0..count {
                    let dot: f64 = (0..length).map(|i| element(a, i) * element(b, i)).sum();
                    let expected = if a == b { 4.0 } else { 0.0 };
                    assert!((dot - expected).abs() < 1e-6, "{shape:?}: {dot} of {a} and {b}");
                }
            }
        }
    }

    #[test]
    fn the_first_outputs_hand_the_input_on_and_the_others_are_drawn() {
        let (first, dirac) =
            (values(Init::DiracFirst, &[4, 3, 3, 2]), values(Init::Dirac { groups: 1 }, &[4, 3, 3, 2]));
        assert_eq!(first[..36], dirac[..36]);
        let bound = 1.0 / 18f64.sqrt();
        assert!(first[36..].iter().all(|x| x.abs() <= bound) && first[36..].iter().any(|x| x.abs() > 0.5 * bound));
    }

    #[test]
    fn dirac_hands_the_input_on() {
        // Two groups of two inputs and three outputs: the third output of each has no input.
        let values = values(Init::Dirac { groups: 2 }, &[6, 3, 1, 2]);
        for (i, &value) in values.iter().enumerate() {
            let (output, tap, input) = (i / 6, i / 2 % 3, i % 2);
            assert_eq!(value, f64::from(tap == 1 && output % 3 == input), "output {output}, tap {tap}, input {input}");
        }
        assert_eq!(self::values(Init::Identity, &[2, 3]), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    }
}
