//! The network of airbench94, which reaches 94 % on CIFAR-10 in seconds on a large GPU (Jordan 2024, arXiv 2404.00498).
//!
//! What makes it quick to train: its first convolution takes patches of 2×2 pixels apart into uncorrelated directions of equal
//! variance ([`whiten`]) and keeps those weights; convolutions begin as the identity where they can; batch norm has no scale and
//! forgets fast; the outputs are made small. Images are 32×32 (from 25×25), relative to their mean and deviation.
//!
//! Source: <https://github.com/KellerJordan/cifar10-airbench>.

use super::super::{Activation, BatchNorm, Conv2d, Flatten, Linear, MaxPool2d, Module, Sequential};
use crate::array::Array;
use crate::error::{Error, ErrorKind, Result};
use crate::shape::Window;
use crate::store::Store;
use crate::tensor::{Init, Scope, Tensor};

/// Pixels of a side of the patches.
const SIDE: usize = 2;
/// Added to variances, so that directions without any are not blown up.
const EPSILON: f64 = 5e-4;
/// The factor of the outputs.
const SCALE: f64 = 1.0 / 9.0;
/// What is not trained: the whitening, which [`whiten`] sets, and the scales of batch norm.
pub const FROZEN: [&str; 2] = ["whiten.weight", "group*.norm*.weight"];

/// The network: whitening to 24 channels, three groups of two convolutions with 64, 256 and 256 channels, the largest of each
/// channel, a linear layer without bias, and a factor of 1/9.
///
/// [`whiten`] sets its first weights; [`FROZEN`] are the parameters to freeze.
pub fn airbench94(classes: usize) -> Sequential {
    // Both signs of every direction of a patch of three colors.
    let whitened = 2 * 3 * SIDE * SIDE;
    Sequential::new()
        .named("whiten", Conv2d::new(whitened, SIDE))
        .named("gelu", Activation::Gelu)
        .named("group1", Group { channels: 64 })
        .named("group2", Group { channels: 256 })
        .named("group3", Group { channels: 256 })
        .named("pool", MaxPool2d { window: Window::new([3, 3]).stride(3), ceil_mode: false })
        .named("flatten", Flatten)
        .named("head", Linear::new(classes).no_bias())
        .named("scale", |_: &Scope, x: Tensor| x * SCALE)
}

/// Two 3×3 convolutions with batch norm and GELU, and a max pool after the first.
#[derive(Clone, Copy, Debug)]
struct Group {
    channels: usize,
}

impl Module for Group {
    fn forward(&self, scope: &Scope, x: Tensor) -> Tensor {
        // The momentum of the original is the share of the old value.
        let norm = BatchNorm { epsilon: 1e-12, momentum: 0.4 };
        let conv = Conv2d::new(self.channels, 3).padding(1).no_bias().weight_init(Init::DiracFirst);
        let y = conv.forward(&scope.enter("conv1"), x);
        let y = MaxPool2d::new(2).forward(scope, y);
        let y = norm.forward(&scope.enter("norm1"), y).gelu();
        let y = conv.forward(&scope.enter("conv2"), y);
        let y = norm.forward(&scope.enter("norm2"), y).gelu();
        scope.resume();
        y
    }
}

/// Sets the first convolution of an [`airbench94`] in `store` to the whitening of `images` `[N, H, W, 3]`, which must be as the
/// network sees them: relative to mean and deviation. Some thousand images are enough.
///
/// # Errors
/// When the images are of another form, or the store has no such network.
pub fn whiten(store: &Store, images: &Array) -> Result<()> {
    store.set("whiten.weight", &whitening(images)?)
}

/// The weights `[24, 2, 2, 3]`: eigenvectors of the covariance of patches, each divided by the root of its eigenvalue, largest
/// first, and their opposites.
fn whitening(images: &Array) -> Result<Array> {
    let &[count, height, width, channels] = images.shape() else {
        let text = format!("whitening takes images [N, H, W, C], not {:?}", images.shape());
        return Err(Error::new(ErrorKind::Shape, text));
    };
    if count == 0 || height < SIDE || width < SIDE {
        let text = format!("whitening needs images of at least {SIDE}×{SIDE} pixels, not {:?}", images.shape());
        return Err(Error::new(ErrorKind::Shape, text));
    }
    let pixels = images.as_slice::<f32>()?;
    let size = SIDE * SIDE * channels;
    let mut covariance = vec![vec![0.0; size]; size];
    let mut patch = Vec::with_capacity(size);
    for image in pixels.chunks_exact(height * width * channels) {
        for row in 0..=height - SIDE {
            for column in 0..=width - SIDE {
                patch.clear();
                for i in 0..SIDE {
                    let first = ((row + i) * width + column) * channels;
                    patch.extend(image[first..first + SIDE * channels].iter().map(|&x| f64::from(x)));
                }
                for (sums, a) in covariance.iter_mut().zip(&patch) {
                    sums.iter_mut().zip(&patch).for_each(|(sum, b)| *sum += a * b);
                }
            }
        }
    }
    let patches = (count * (height - SIDE + 1) * (width - SIDE + 1)) as f64;
    covariance.iter_mut().flatten().for_each(|sum| *sum /= patches);
    let mut directions = eigen(covariance);
    directions.sort_by(|a, b| b.0.total_cmp(&a.0));
    let scaled = |(value, vector): &(f64, Vec<f64>)| {
        let scale = 1.0 / (value + EPSILON).sqrt();
        vector.iter().map(|x| (x * scale) as f32).collect::<Vec<f32>>()
    };
    let weights: Vec<f32> = directions.iter().flat_map(scaled).collect();
    let opposites = weights.iter().map(|x| -x).collect::<Vec<f32>>();
    Array::new(&[2 * size, SIDE, SIDE, channels], [weights, opposites].concat())
}

/// The eigenvalues and eigenvectors of a symmetric matrix, by Jacobi's rotations (Golub & Van Loan, Matrix Computations, 8.5).
fn eigen(mut a: Vec<Vec<f64>>) -> Vec<(f64, Vec<f64>)> {
    /// Rotations converge quadratically: a few sweeps are enough for matrices of some rows.
    const SWEEPS: usize = 50;
    let n = a.len();
    let mut vectors: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    for _ in 0..SWEEPS {
        for p in 0..n {
            for q in p + 1..n {
                if a[p][q] == 0.0 {
                    continue;
                }
                let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
                let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
                let c = 1.0 / t.hypot(1.0);
                let s = t * c;
                for row in &mut a {
                    (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
                }
                for k in 0..n {
                    (a[p][k], a[q][k]) = (c * a[p][k] - s * a[q][k], s * a[p][k] + c * a[q][k]);
                    (vectors[p][k], vectors[q][k]) =
                        (c * vectors[p][k] - s * vectors[q][k], s * vectors[p][k] + c * vectors[q][k]);
                }
            }
        }
    }
    vectors.into_iter().enumerate().map(|(i, vector)| (a[i][i], vector)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn eigenvectors_take_a_matrix_apart() {
        let a = vec![vec![4.0, 1.0, -2.0], vec![1.0, 2.0, 0.0], vec![-2.0, 0.0, 3.0]];
        let parts = eigen(a.clone());
        for i in 0..3 {
            for j in 0..3 {
                let sum: f64 = parts.iter().map(|(value, vector)| value * vector[i] * vector[j]).sum();
                assert!((sum - a[i][j]).abs() < 1e-12, "{sum} at {i}, {j}");
            }
        }
    }

    /// The covariance of whitened patches is the identity.
    #[test]
    fn whitened_patches_are_uncorrelated() {
        let mut stream = Stream::new(1, "whitening");
        let mut level = 0.0;
        // Neighbours that are alike, as in pictures.
        let pixels = (0..8 * 9 * 9 * 3).map(|_| {
            level = 0.7 * level + f64::from(stream.next_u32()) / f64::from(u32::MAX) - 0.5;
            level as f32
        });
        let pixels = pixels.collect();
        let images = Array::new(&[8, 9, 9, 3], pixels).unwrap();
        let weights = whitening(&images).unwrap();
        assert_eq!(weights.shape(), [24, 2, 2, 3]);
        let weights = weights.to_f64_vec();
        let image = images.to_f64_vec();
        let outputs = |at: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
            (0..12).map(|k| (0..12).map(|i| weights[12 * k + i] * at(i / 6, i % 6)).sum()).collect()
        };
        let mut covariance = [[0.0; 12]; 12];
        for n in 0..8 {
            for row in 0..8 {
                for column in 0..8 {
                    let y = outputs(&|i, j| image[((n * 9 + row + i) * 9 + column) * 3 + j]);
                    (0..12).for_each(|a| (0..12).for_each(|b| covariance[a][b] += y[a] * y[b] / 512.0));
                }
            }
        }
        for (a, row) in covariance.iter().enumerate() {
            for (b, value) in row.iter().enumerate() {
                let wanted = f64::from(u8::from(a == b));
                assert!((value - wanted).abs() < 0.05, "{value} at {a}, {b}");
            }
        }
        let (first, second) = weights.split_at(144);
        assert!(first.iter().zip(second).all(|(a, b)| *a == -b));
        assert!(whitening(&Array::full(&[1, 1, 1, 3], 0f32)).is_err());
    }
}
