//! Elements of matrix products, by their definition: `Σ_k A[g][m][k] · B[g][k][n]`.

use super::Stored;
use super::fold::Sum;
use super::number::{Number, ROUNDING};
use crate::error::Result;
use crate::graph::{Gemm, Operand};

/// Element (`row`, `column`) of the product of `group`.
///
/// # Errors
/// When it reads outside of an operand.
pub(super) fn element(
    gemm: &Gemm,
    [a, b]: [&Stored<'_>; 2],
    group: usize,
    row: usize,
    column: usize,
) -> Result<Number> {
    let mut sum = Sum::default();
    let mut unknown = false;
    for k in 0..gemm.k {
        let places = (place(&gemm.a, group, row, k), place(&gemm.b, group, k, column));
        let read = |stored: &Stored<'_>, place: Option<usize>| place.map(|place| stored.get(place)).transpose();
        match (read(a, places.0)?, read(b, places.1)?) {
            (Some(x), Some(y)) => {
                let value = x.value * y.value;
                let error = x.value.abs() * y.error + y.value.abs() * x.error + ROUNDING * value.abs();
                sum.add(Number { value, error: if error.is_nan() { 0.0 } else { error } });
            }
            // Padding is zero, or left out: the same unless the other factor is no finite number.
            (Some(other), None) | (None, Some(other)) => unknown |= !other.value.is_finite(),
            (None, None) => {}
        }
    }
    let number = sum.finish();
    Ok(if unknown { Number { error: f64::INFINITY, ..number } } else { number })
}

/// Where element (row, column) of the virtual matrix of `group` is in the tensor; `None` for padding.
fn place(operand: &Operand, group: usize, row: usize, column: usize) -> Option<usize> {
    match *operand {
        Operand::Matrix(matrix) => Some(group * matrix.group + row * matrix.row + column * matrix.column),
        Operand::Patches { window, image, positions, channels, pixel } => {
            let ([n, p, q], [r, s, c]) = (split(row, positions), split(column, [window.kernel_size[1], channels]));
            let (h, w) = (window.source(0, p, r, image[0])?, window.source(1, q, s, image[1])?);
            Some(((n * image[0] + h) * image[1] + w) * pixel + group * channels + c)
        }
        Operand::Covering { window, image, positions, channels, pixel } => {
            let ([n, h, w], [r, s, c]) = (split(row, image), split(column, [window.kernel_size[1], channels]));
            let (p, q) = (window.position(0, h, r, positions[0])?, window.position(1, w, s, positions[1])?);
            Some(((n * positions[0] + p) * positions[1] + q) * pixel + group * channels + c)
        }
        Operand::Filters { taps, outputs, channels } => {
            let (tap, output) = (row / outputs, row % outputs);
            Some(((group * outputs + output) * taps + tap) * channels + column)
        }
    }
}

/// A flat index as (outermost, then those of `inner` extents).
fn split(index: usize, inner: [usize; 2]) -> [usize; 3] {
    [index / (inner[0] * inner[1]), index / inner[1] % inner[0], index % inner[1]]
}
