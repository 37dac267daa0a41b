//! Code compiled for the vectors that a machine has: written once, as a [`Kernel`], and compiled for each [`Width`].
//!
//! What a kernel calls must be inlined into it (`#[inline(always)]`), or it stays code for the least that machines have.
//! Loops of ordinary Rust become vectors by themselves, and since nothing is contracted every width gives the same bits.
//! Sums that are to stay in registers are written over [`Lanes`], whose products are fused where that is an instruction.

mod lanes;

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
pub(crate) use lanes::{Eight, Sixteen};
pub(crate) use lanes::{Four, Lanes};

/// How wide vectors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// 16 floats: AVX-512.
    #[cfg(target_arch = "x86_64")]
    Sixteen(Detected),
    /// 8 floats: AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Eight(Detected),
    /// Four floats, which every compiler makes something of.
    Four,
}

/// That the machine has the instructions: only [`Width::all`] makes one, where it has found them.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Detected(());

impl Width {
    /// The widest of this machine.
    pub fn of_this_machine() -> Self {
        #[cfg(test)]
        if let Some(width) = tests::WIDTH.get() {
            return width;
        }
        static WIDTH: OnceLock<Width> = OnceLock::new();
        *WIDTH.get_or_init(|| Self::all().next().unwrap_or(Width::Four))
    }

    /// All that this machine has, the widest first.
    pub fn all() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let wide = {
            let sixteen = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            let eight = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            [sixteen.then_some(Width::Sixteen(Detected(()))), eight.then_some(Width::Eight(Detected(())))]
        };
        #[cfg(not(target_arch = "x86_64"))]
        let wide: [Option<Self>; 0] = [];
        wide.into_iter().flatten().chain([Width::Four])
    }

    /// Runs `kernel` as compiled for this width.
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            // SAFETY: the machine has the instructions, else there were no `Detected`.
            #[cfg(target_arch = "x86_64")]
            Width::Sixteen(_) => unsafe { sixteen(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Width::Eight(_) => unsafe { eight(kernel) },
            // SAFETY: every machine has it.
            Width::Four => unsafe { kernel.run::<Four>() },
        }
    }
}

/// Work that is compiled for every width; `run` is to be `#[inline(always)]`.
pub(crate) trait Kernel {
    /// What it gives.
    type Output;

    /// Does the work.
    ///
    /// # Safety
    /// The machine has the instructions of `L`.
    unsafe fn run<L: Lanes>(self) -> Self::Output;
}

/// Runs `kernel` as compiled for the widest vectors of this machine.
pub(crate) fn widest<K: Kernel>(kernel: K) -> K::Output {
    Width::of_this_machine().run(kernel)
}

/// Says that `words` are about to be read, so that they come from memory while other work is done. Where there is no such
/// instruction, nothing happens.
#[inline]
pub(crate) fn expect_read(words: &[u32]) {
    #[cfg(target_arch = "x86_64")]
    for line in words.chunks(LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: it reads nothing that the program sees; every x86-64 has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = words;
}

/// Words of a line of the cache.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 16;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn sixteen<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: this function has its instructions.
    unsafe { kernel.run::<Sixteen>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn eight<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: as above.
    unsafe { kernel.run::<Eight>() }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// In place of the widest of the machine.
        pub(super) static WIDTH: Cell<Option<Width>> = const { Cell::new(None) };
    }

    /// Does `work` with each width of this machine, on two threads that have nothing wider.
    pub fn at_every_width<R: Send>(work: impl Fn() -> R + Sync) -> Vec<R> {
        let at = |width: Width| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(2);
            let pool = pool.start_handler(move |_| WIDTH.set(Some(width))).build().expect("two threads");
            pool.install(&work)
        };
        Width::all().map(at).collect()
    }

    struct Sum<'a>(&'a [f32]);

    impl Kernel for Sum<'_> {
        type Output = (f32, Width);
        #[inline(always)]
        unsafe fn run<L: Lanes>(self) -> (f32, Width) {
            (self.0.iter().sum(), Width::of_this_machine())
        }
    }

    #[test]
    fn every_width_runs_and_gives_the_same_bits() {
        let numbers: Vec<f32> = (1..100).map(|i| 1.0 / i as f32).collect();
        let found = at_every_width(|| widest(Sum(&numbers)));
        assert!(found.iter().map(|(_, width)| *width).eq(Width::all()));
        assert!(found.iter().all(|(sum, _)| *sum == found[0].0), "{found:?}");
        assert_eq!(found.last().map(|(_, width)| *width), Some(Width::Four));
    }

    /// The samples of what is compiled for several widths, on the CPU device; the widest has all samples elsewhere.
    #[test]
    fn samples_agree_at_every_width() {
        let families = ["batch_norm", "conv2d", "cross_entropy", "elementwise", "matmul", "pool", "reduce", "softmax"];
        let device = crate::Device::cpu();
        at_every_width(|| {
            for family in crate::ops::REGISTRY.iter().filter(|family| families.contains(&family.name)) {
                crate::check::parity::check_samples(&device, &(family.samples)()).unwrap();
            }
        });
    }
}
