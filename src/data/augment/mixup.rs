//! Pairs of images, mixed.
//!
//! Image i of a batch is mixed with image `B - 1 - i`, each with a share of its own; the larger share is that of image i, so
//! its label is the one that is more right.

use crate::random::Stream;

/// Mixes the images of a batch, `size` numbers each; `streams` gives the random numbers for each image. Gives for each the
/// other one of its pair, and the share of its own, from 0.5 to 1.
pub(in crate::data) fn mix(
    images: &mut [f32],
    size: usize,
    alpha: f32,
    streams: impl Iterator<Item = Stream>,
) -> (Vec<usize>, Vec<f32>) {
    let source = images.to_vec();
    let count = images.len() / size.max(1);
    let others: Vec<usize> = (0..count).rev().collect();
    let shares: Vec<f32> = streams.take(count).map(|mut stream| share(alpha, &mut stream)).collect();
    for ((image, &other), &share) in images.chunks_exact_mut(size.max(1)).zip(&others).zip(&shares) {
        let other = &source[other * size..][..size];
        image.iter_mut().zip(other).for_each(|(number, other)| *number = share * *number + (1.0 - share) * other);
    }
    (others, shares)
}

/// The larger of the two shares of Beta(α, α), for α from 0 to 1 (Jöhnk 1964).
fn share(alpha: f32, stream: &mut Stream) -> f32 {
    let power = 1.0 / f64::from(alpha);
    loop {
        let [first, second] = [stream.uniform(), stream.uniform()].map(|x| libm::pow(f64::from(x), power));
        let sum = first + second;
        if sum > 0.0 && sum <= 1.0 {
            return (first.max(second) / sum) as f32;
        }
        // Both powers of a small α are 0: one of the shares is next to nothing.
        if sum == 0.0 {
            return 1.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_mixed_by_their_shares() {
        let mut images = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        let stream = |i: u32| Stream::new(7, &format!("mix {i}"));
        let (others, shares) = mix(&mut images, 2, 0.4, (0..3).map(stream));
        assert_eq!(others, [2, 1, 0]);
        assert!(shares.iter().all(|share| (0.5..=1.0).contains(share)), "{shares:?}");
        let expected = [shares[0] * 0.0 + (1.0 - shares[0]) * 4.0, shares[0] + (1.0 - shares[0]) * 5.0];
        assert_eq!((&images[..2], &images[2..4]), (&expected[..], &[2.0, 3.0][..]));
    }

    /// The variance of Beta(α, α) is 1 / (4 (2α + 1)).
    #[test]
    fn shares_are_of_the_beta_distribution() {
        for alpha in [0.1f32, 0.4, 1.0] {
            let mut stream = Stream::new(0, "shares");
            let squares: f64 = (0..20_000).map(|_| (f64::from(share(alpha, &mut stream)) - 0.5).powi(2)).sum();
            let (variance, expected) = (squares / 20_000.0, 1.0 / (4.0 * (2.0 * f64::from(alpha) + 1.0)));
            assert!((variance / expected - 1.0).abs() < 0.03, "{alpha}: {variance} {expected}");
        }
    }
}
