//! Many numbers combined to one: sums, products, and the largest, with the error that a device's order may bring.

use super::number::{LARGEST, Number, ROUNDING, SMALLEST, deviation};

/// A sum of numbers in any order, by a device that adds in `f32`.
///
/// Rounding errors of additions are in proportion to partial sums, and as likely up as down. Of `n` terms whose signs
/// alternate the partial sums grow like `√n`, and the error like the sum of the magnitudes; of terms of one sign they grow
/// like `n`, and the error like `√n` times the sum. This is six standard deviations of either. Where partial sums are larger
/// than that, or all roundings go one way, as for equal terms, a plain loop in `f32` shows it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    count: usize,
    value: f64,
    magnitudes: f64,
    error: f64,
    single: f32,
    /// The largest error of the plain loop, relative to the magnitudes so far.
    drift: f64,
}

impl Sum {
    pub fn add(&mut self, term: Number) {
        self.count += 1;
        self.value += term.value;
        self.magnitudes += term.value.abs();
        self.error += term.error;
        self.single += term.value as f32;
        let distance = (f64::from(self.single) - self.value).abs();
        if distance > self.drift * self.magnitudes {
            self.drift = distance / self.magnitudes;
        }
    }

    /// How far the sum of the magnitudes may be off, relative to itself.
    pub fn roughness(&self) -> f64 {
        length(self.count) + 2.0 * self.drift()
    }

    fn drift(&self) -> f64 {
        if self.drift.is_finite() { self.drift } else { 0.0 }
    }

    pub fn finish(self) -> Number {
        let Sum { count, value, magnitudes, error, .. } = self;
        if !value.is_finite() {
            // NaN and infinite terms give the same in any order.
            return Number { value, error: if error.is_finite() { 0.0 } else { f64::INFINITY } };
        }
        if magnitudes > LARGEST {
            return Number { value, error: f64::INFINITY };
        }
        let root = (count as f64).sqrt();
        let additions = if count > 1 { (6.0 + 8.0 / root) * magnitudes + 1.5 * root * value.abs() } else { 0.0 };
        Number { value, error: error + ROUNDING * additions + 2.0 * self.drift() * magnitudes }.in_f32()
    }

    /// The sum of the terms' magnitudes.
    pub fn magnitudes(&self) -> f64 {
        self.magnitudes
    }
}

/// The error of `count` additions relative to the sum of magnitudes.
pub(super) fn length(count: usize) -> f64 {
    if count <= 1 { 0.0 } else { ROUNDING * (8.0 + 2.0 * (count as f64).sqrt()) }
}

/// The product of numbers in any order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    number: Number,
}

impl Product {
    pub fn new() -> Self {
        Product { number: Number::exact(1.0) }
    }

    pub fn multiply(&mut self, factor: Number) {
        let Number { value, error } = self.number;
        let product = value * factor.value;
        let grown = value.abs() * factor.error + factor.value.abs() * error + error * factor.error;
        let error = grown + 2.0 * ROUNDING * product.abs();
        // In another order a part may be too large, or too small, for f32.
        let lost = product.is_finite() && (product.abs() > LARGEST || product != 0.0 && product.abs() < SMALLEST);
        self.number = Number { value: product, error: if lost || error.is_nan() { f64::INFINITY } else { error } };
        if product.is_nan() && !grown.is_infinite() {
            self.number.error = 0.0;
        }
    }

    pub fn finish(self) -> Number {
        self.number
    }
}

/// The largest of numbers, and which one it is: NaN before all, the first of equals.
#[derive(Clone, Debug, Default)]
pub(super) struct Largest {
    candidates: Vec<(Number, u32)>,
}

impl Largest {
    pub fn offer(&mut self, number: Number, position: u32) {
        self.candidates.push((number, position));
    }

    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// The value and the position; the latter is unknown where several could win.
    pub fn finish(self) -> [Number; 2] {
        let nan = self.candidates.iter().find(|(number, _)| number.value.is_nan());
        if let Some(&(number, position)) = nan {
            let known = self.candidates.iter().all(|(number, _)| number.error.is_finite());
            let error = if known { 0.0 } else { f64::INFINITY };
            return [Number { value: number.value, error }, Number { value: f64::from(position), error }];
        }
        let mut best = (Number::exact(f64::NEG_INFINITY), u32::MAX);
        let (mut low, mut high) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        for &(number, position) in &self.candidates {
            if number.value > best.0.value || best.1 == u32::MAX {
                best = (number, position);
            }
            low = low.max(number.value - number.error);
            high = high.max(number.value + number.error);
        }
        let value = best.0.value;
        let error = deviation(value, high).max(deviation(value, low));
        // Those that might be the largest. Of equal ones that are exact the first is.
        let mut rivals = self.candidates.iter().filter(|(number, _)| number.value + number.error >= low);
        let unknown = rivals.clone().count() > 1 && rivals.any(|(number, _)| number.error > 0.0);
        let doubt = if unknown { f64::INFINITY } else { 0.0 };
        [Number { value, error }, Number { value: f64::from(best.1), error: doubt }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_term_of_a_sum_shows() {
        let mut sum = Sum::default();
        (0..5000).for_each(|i| sum.add(Number::exact(0.5 + f64::from(i % 7))));
        let number = sum.finish();
        assert!(number.allows(number.value * (1.0 + 1e-6)) && !number.allows(number.value - 0.5), "{number:?}");
        // Equal terms round alike.
        let (mut sum, mut single) = (Sum::default(), 0f32);
        for _ in 0..1000 {
            sum.add(Number::exact(f64::from(0.1f32)));
            single += 0.1;
        }
        assert!(sum.finish().allows(f64::from(single)));
    }

    #[test]
    fn the_largest_is_known_or_not() {
        let largest = |numbers: &[(f64, f64)]| {
            let mut largest = Largest::default();
            for (position, &(value, error)) in (0..).zip(numbers) {
                largest.offer(Number { value, error }, position);
            }
            largest.finish()
        };
        assert_eq!(largest(&[(1.0, 0.0), (3.0, 0.0), (3.0, 0.0)]), [Number::exact(3.0), Number::exact(1.0)]);
        let [value, position] = largest(&[(1.0, 0.0), (3.0, 0.1), (2.9, 0.1)]);
        assert!(value.allows(3.1) && position.error.is_infinite());
        assert!(largest(&[(1.0, 0.0), (f64::NAN, 0.0)])[0].value.is_nan());
        assert_eq!(largest(&[(f64::NEG_INFINITY, 0.0)])[1], Number::exact(0.0));
    }
}
