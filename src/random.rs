//! Random numbers that depend on what they are for, never on when they are drawn.
//!
//! Philox4x32-10 is a function from a counter and a key to four words: it has no state, so the host, a thread of a GPU
//! and a run that was resumed all get the same numbers from the same (seed, stream, position). Everything random in the
//! crate comes from it; the key is the seed and half of the counter is the stream, which names the purpose (the path of
//! a parameter, the shuffle of an epoch). Nothing reads the time or the operating system's entropy.
//!
//! Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

/// The block of four random words at `counter` under `key` (Philox4x32 with ten rounds).
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let product = |a: u32, b: u32| {
        let wide = u64::from(a) * u64::from(b);
        ((wide >> 32) as u32, wide as u32)
    };
    let ([mut c0, mut c1, mut c2, mut c3], [mut k0, mut k1]) = (counter, key);
    for _ in 0..10 {
        let (high0, low0) = product(0xD251_1F53, c0);
        let (high1, low1) = product(0xCD9E_8D57, c2);
        (c0, c1, c2, c3) = (high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0);
        (k0, k1) = (k0.wrapping_add(0x9E37_79B9), k1.wrapping_add(0xBB67_AE85));
    }
    [c0, c1, c2, c3]
}

/// The number of the stream called `name`: its FNV-1a hash of 64 bits.
pub fn stream_id(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3))
}

/// The two halves of `value`, low word first.
fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

/// A sequence of random numbers, fixed by a seed and a name.
///
/// Word `4 i + j` of the sequence is word `j` of [`philox`] at counter `[i low, i high, stream low, stream high]` under
/// the key `[seed low, seed high]`, where the stream is [`stream_id`] of the name.
#[derive(Clone, Debug)]
pub struct Stream {
    key: [u32; 2],
    stream: [u32; 2],
    /// The next block to generate.
    next_block: u64,
    block: [u32; 4],
    /// How many words of `block` have been given out.
    used: usize,
}

impl Stream {
    /// The stream called `name` under `seed`, at its first word.
    pub fn new(seed: u64, name: &str) -> Self {
        Stream { key: halves(seed), stream: halves(stream_id(name)), next_block: 0, block: [0; 4], used: 4 }
    }

    /// The next word: 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == self.block.len() {
            let [low, high] = halves(self.next_block);
            self.block = philox([low, high, self.stream[0], self.stream[1]], self.key);
            self.next_block = self.next_block.wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// The next two words: 64 random bits, the low half first.
    pub fn next_u64(&mut self) -> u64 {
        u64::from(self.next_u32()) | u64::from(self.next_u32()) << 32
    }

    /// A multiple of 2⁻²⁴ in [0, 1), all equally likely.
    pub fn uniform(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 * (1.0 / (1 << 24) as f32)
    }

    /// An integer below `n`, all equally likely; 0 when `n` is 0.
    ///
    /// Source: Lemire, "Fast random integer generation in an interval", 2019.
    pub fn below(&mut self, n: u64) -> u64 {
        let mut product = u128::from(self.next_u64()) * u128::from(n);
        if (product as u64) < n {
            let excess = n.wrapping_neg() % n;
            while (product as u64) < excess {
                product = u128::from(self.next_u64()) * u128::from(n);
            }
        }
        (product >> 64) as u64
    }

    /// A sample of the normal distribution with mean 0 and variance 1, within ±6.7 (Box–Muller in `f64`, rounded once).
    ///
    /// The logarithm and the cosine are `libm`'s, so that every platform gets the same bits.
    pub fn normal(&mut self) -> f32 {
        let unit = 1.0 / (1u64 << 32) as f64;
        let radius = (-2.0 * libm::log((f64::from(self.next_u32()) + 1.0) * unit)).sqrt();
        let angle = std::f64::consts::TAU * f64::from(self.next_u32()) * unit;
        (radius * libm::cos(angle)) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Random123's `kat_vectors`.
    #[test]
    fn philox_gives_the_known_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([!0; 4], [!0; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn stream_ids_are_fnv_1a() {
        assert_eq!(stream_id(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(stream_id("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(stream_id("foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_stream_is_the_blocks_of_its_counter() {
        let (seed, name) = (0x0123_4567_89ab_cdef, "stage1.conv2.weight");
        let (id, mut stream) = (halves(stream_id(name)), Stream::new(seed, name));
        for block in 0..3 {
            for word in philox([block, 0, id[0], id[1]], [0x89ab_cdef, 0x0123_4567]) {
                assert_eq!(stream.next_u32(), word);
            }
        }
    }

    #[test]
    fn uniform_and_normal_have_their_moments() {
        const COUNT: usize = 100_000;
        let mut stream = Stream::new(1, "moments");
        let moments = |samples: &[f64]| {
            let mean = samples.iter().sum::<f64>() / COUNT as f64;
            (mean, samples.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / COUNT as f64)
        };

        let uniform: Vec<f64> = (0..COUNT).map(|_| f64::from(stream.uniform())).collect();
        assert!(uniform.iter().all(|x| (0.0..1.0).contains(x)));
        let (mean, variance) = moments(&uniform);
        assert!((mean - 0.5).abs() < 0.005 && (variance - 1.0 / 12.0).abs() < 0.002, "{mean} {variance}");

        let normal: Vec<f64> = (0..COUNT).map(|_| f64::from(stream.normal())).collect();
        let (mean, variance) = moments(&normal);
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        let within = normal.iter().filter(|x| x.abs() < 1.0).count() as f64 / COUNT as f64;
        assert!((within - 0.6827).abs() < 0.01, "{within}");
    }

    #[test]
    fn below_is_even_and_in_range() {
        let mut stream = Stream::new(2, "below");
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[stream.below(7) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
        assert_eq!((stream.below(0), stream.below(1)), (0, 0));
        // Here two draws in five fall in the uneven rest and must be repeated.
        let n = (u64::MAX / 5) * 3;
        assert!((0..1000).all(|_| stream.below(n) < n));
    }
}
