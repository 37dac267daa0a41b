//! Elements of pooling: one window, or all windows that cover a pixel.

use super::Stored;
use super::fold::{Largest, Sum};
use super::number::{Number, ROUNDING};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Pooling, WindowKind};
use crate::shape::unravel;

/// The extents of the results: `[N, P, Q, C]`, or of the image for gradients.
pub(super) fn result_shape(pooling: &Pooling) -> Vec<usize> {
    let Pooling { kind, batch, image, positions, channels, .. } = *pooling;
    let scatters = matches!(kind, WindowKind::MaxScatter | WindowKind::MeanScatter { .. });
    let [height, width] = if scatters { image } else { positions };
    vec![batch, height, width, channels]
}

/// The results at a row-major index of [`result_shape`].
///
/// # Errors
/// When an operand is missing or too small.
pub(super) fn element(pooling: &Pooling, operands: &[Stored<'_>], index: usize) -> Result<Vec<Number>> {
    let Pooling { kind, window, image, positions, channels, .. } = *pooling;
    let at = unravel(index, &result_shape(pooling));
    let [n, i, j, c] = [at[0], at[1], at[2], at[3]];
    let missing = || Error::new(ErrorKind::Graph, format!("{kind:?} on {} operands", operands.len()));
    let operand = |i: usize| operands.get(i).ok_or_else(missing);
    let [rows, columns] = window.kernel_size;
    let taps = || (0..rows).flat_map(move |r| (0..columns).map(move |s| (r, s, (r * columns + s) as u32)));
    // The element that a tap of this window reads, and that of the position whose tap reads this pixel.
    let pixel = |r: usize, s: usize| {
        let (h, w) = (window.source(0, i, r, image[0])?, window.source(1, j, s, image[1])?);
        Some(((n * image[0] + h) * image[1] + w) * channels + c)
    };
    let position = |r: usize, s: usize| {
        let (p, q) = (window.position(0, i, r, positions[0])?, window.position(1, j, s, positions[1])?);
        Some((p, q, ((n * positions[0] + p) * positions[1] + q) * channels + c))
    };
    let divisor = |p: usize, q: usize, include_padding: bool| {
        let inside = |axis: usize, place: usize| {
            (0..window.kernel_size[axis]).filter(|&tap| window.source(axis, place, tap, image[axis]).is_some()).count()
        };
        (if include_padding { window.taps() } else { (inside(0, p) * inside(1, q)).max(1) }) as f64
    };
    let divided = |number: Number, divisor: f64| {
        let value = number.value / divisor;
        Number { value, error: number.error / divisor + 4.0 * ROUNDING * value.abs() }
    };
    Ok(match kind {
        WindowKind::Max => {
            let mut largest = Largest::default();
            for (r, s, tap) in taps() {
                if let Some(element) = pixel(r, s) {
                    largest.offer(operand(0)?.get(element)?, tap);
                }
            }
            if largest.is_empty() {
                return Ok(vec![Number::exact(f64::NEG_INFINITY), Number::exact(0.0)]);
            }
            largest.finish().to_vec()
        }
        WindowKind::MaxScatter => {
            let mut sum = Sum::default();
            for (r, s, tap) in taps() {
                if let Some((_, _, element)) = position(r, s)
                    && operand(1)?.word(element)? == tap
                {
                    sum.add(operand(0)?.get(element)?);
                }
            }
            vec![sum.finish()]
        }
        WindowKind::MaxGather => {
            let chosen = operand(1)?.word(index)?;
            let (r, s) = (chosen as usize / columns, chosen as usize % columns);
            let element = if r < rows { pixel(r, s) } else { None };
            vec![element.map_or(Ok(Number::exact(0.0)), |element| operand(0)?.get(element))?]
        }
        WindowKind::Mean { include_padding } => {
            let mut sum = Sum::default();
            for element in taps().filter_map(|(r, s, _)| pixel(r, s)) {
                sum.add(operand(0)?.get(element)?);
            }
            vec![divided(sum.finish(), divisor(i, j, include_padding))]
        }
        WindowKind::MeanScatter { include_padding } => {
            let mut sum = Sum::default();
            for (p, q, element) in taps().filter_map(|(r, s, _)| position(r, s)) {
                sum.add(divided(operand(0)?.get(element)?, divisor(p, q, include_padding)));
            }
            vec![sum.finish()]
        }
    })
}
