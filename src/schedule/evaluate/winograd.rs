//! How far an element of a convolution by Winograd's minimal filtering F(2×2, 3×3) may be off.
//!
//! The value is that of the definition ([`super::product`]); only what rounds is another. Of every channel the 4×4 pixels of
//! the element's tile and the filter are transformed, `U = G g Gᵀ` and `V = Bᵀ d B`; their products are summed over the
//! channels, `M = Σ U ∘ V`, as any sum is, and the element is one of `Aᵀ M A`. A transform rounds in proportion to the
//! magnitudes that go into it, `|G| |g| |G|ᵀ` and `|Bᵀ| |d| |B|`, which count pixels that the element does not see; what
//! cancels again has its room so, and no more. Nothing is said where one of them is no finite number.
//!
//! Source: Lavin and Gray, arXiv 1509.09308; the bound by absolute terms is Higham's, as in [`super::fold`].

use super::Stored;
use super::fold::Sum;
use super::number::{LARGEST, Number, ROUNDING, SMALLEST};
use super::product;
use crate::error::Result;
use crate::graph::{Filtering, Gemm};

const B: [[f64; 4]; 4] = [[1.0, 0.0, -1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, -1.0, 1.0, 0.0], [0.0, 1.0, 0.0, -1.0]];
const G: [[f64; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];
const A: [[f64; 4]; 2] = [[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, -1.0, -1.0]];

/// Roundings on the way through each transform, by additions one after the other at most, and the one of a product.
const OF_PIXELS: f64 = 2.0;
const OF_FILTERS: f64 = 4.0;
const OF_PRODUCT: f64 = 1.0;
const OF_RESULT: f64 = 8.0;

/// Element (`row`, `column`) of `gemm`, which is the convolution `filtering`.
///
/// # Errors
/// When it reads outside of an operand.
pub(super) fn element(
    gemm: &Gemm,
    filtering: &Filtering,
    operands: [&Stored<'_>; 2],
    row: usize,
    column: usize,
) -> Result<Number> {
    let exact = product::element(gemm, operands, 0, row, column)?;
    let [height, width] = filtering.result;
    let (image, p, q) = (row / (height * width), row / width % height, row % width);
    let (from_rows, from_columns) = (A[p % 2], A[q % 2]);
    let mut sums = [[Sum::default(); 4]; 4];
    let mut largest: f64 = 0.0;
    for channel in 0..filtering.channels {
        let mut pixels = [[Number::exact(0.0); 4]; 4];
        for (h, line) in pixels.iter_mut().enumerate() {
            for (w, pixel) in line.iter_mut().enumerate() {
                let place = [p - p % 2 + h, q - q % 2 + w];
                *pixel = pixel_at(filtering, operands[0], image, place, channel)?;
            }
        }
        let mut filter = [[Number::exact(0.0); 3]; 3];
        for (r, line) in filter.iter_mut().enumerate() {
            for (s, weight) in line.iter_mut().enumerate() {
                *weight = operands[1].get(filtering.filter([r, s], channel, column))?;
            }
        }
        for (a, line) in sums.iter_mut().enumerate().filter(|(a, _)| from_rows[*a] != 0.0) {
            for (b, sum) in line.iter_mut().enumerate().filter(|(b, _)| from_columns[*b] != 0.0) {
                let (u, v) = (Transformed::of(&G[a], &G[b], &filter), Transformed::of(&B[a], &B[b], &pixels));
                let magnitude = u.magnitude * v.magnitude;
                let doubt = u.magnitude * v.error + v.magnitude * u.error;
                let roundings = (OF_FILTERS + OF_PIXELS + OF_PRODUCT) * ROUNDING * magnitude + SMALLEST;
                sum.add(Number { value: u.value * v.value, error: doubt + roundings });
                // What is not finite must not be lost in a comparison.
                let size = magnitude.max(u.magnitude).max(v.magnitude);
                largest = if size.is_nan() { f64::INFINITY } else { largest.max(size) };
            }
        }
    }
    let mut error = 0.0;
    for sum in sums.into_iter().flatten() {
        largest = largest.max(sum.magnitudes());
        let number = sum.finish();
        error += number.error + OF_RESULT * ROUNDING * (number.value.abs() + number.error);
    }
    let known = largest * 9.0 < LARGEST && error.is_finite();
    Ok(Number { value: exact.value, error: if known { error } else { f64::INFINITY } })
}

/// A pixel of the image, by its place from the first that the windows read; zero outside.
fn pixel_at(
    filtering: &Filtering,
    stored: &Stored<'_>,
    image: usize,
    place: [usize; 2],
    channel: usize,
) -> Result<Number> {
    let [h, w] = [0, 1].map(|axis| {
        let at = place[axis].checked_add_signed(filtering.origin[axis]);
        at.filter(|&at| at < filtering.image[axis])
    });
    let [Some(h), Some(w)] = [h, w] else { return Ok(Number::exact(0.0)) };
    let [height, width] = filtering.image;
    stored.get(((image * height + h) * width + w) * filtering.pixel + channel)
}

/// An element of a transform: the value, what its terms add up to without their signs, and what their errors come to.
struct Transformed {
    value: f64,
    magnitude: f64,
    error: f64,
}

impl Transformed {
    fn of<const N: usize>(rows: &[f64; N], columns: &[f64; N], numbers: &[[Number; N]; N]) -> Self {
        let mut transformed = Transformed { value: 0.0, magnitude: 0.0, error: 0.0 };
        for (row, line) in rows.iter().zip(numbers) {
            for (column, number) in columns.iter().zip(line) {
                let factor = row * column;
                // Whatever is in the tile matters: a device may multiply it by zero.
                transformed.value += factor * number.value;
                transformed.magnitude += factor.abs() * number.value.abs();
                transformed.error += factor.abs() * number.error;
            }
        }
        transformed
    }
}
