//! Batches made in the background: threads read, decode and change images ahead of the device.
//!
//! Batches come in the order of the plan and are the same whatever the number of threads, since what becomes of an image
//! follows from its position in the epoch alone. At most a few batches wait to be taken, so memory is bounded. How long the
//! taker waited is counted: what is more than a little means that reading is slower than the device. Before:
//! [`Dataset`], [`augment`](super::augment); after: the trainer.

use std::any::Any;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Dataset;
use super::augment::{self, Augmentation};
use crate::array::Array;
use crate::error::{Error, ErrorKind, Result};
use crate::random::Stream;

/// The most threads; there are fewer where there are fewer cores, or images need no decoding.
const MAX_THREADS: usize = 16;
/// The threads where images are in memory.
const THREADS_IN_MEMORY: usize = 2;

/// What the batches of an epoch are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Images a batch; the last has what is left.
    pub batch_size: usize,
    /// How images are changed.
    pub augmentation: Augmentation,
    /// Fixes the changes, with the epoch and the positions in its order.
    pub seed: u64,
    /// The number of the epoch.
    pub epoch: u64,
    /// How many batches at the start of the order are left out: an epoch that was interrupted goes on behind them.
    pub skip: usize,
}

/// Images and labels for one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// F32 `[B, H, W, C]`.
    pub images: Array,
    /// U32 `[B]`.
    pub labels: Array,
    /// What the images were mixed with, if they were.
    pub mixed: Option<Mixed>,
}

/// The other images that those of a batch were mixed with.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixed {
    /// Their labels, U32 `[B]`.
    pub labels: Array,
    /// The share of each image itself, from 0.5 to 1; the rest is that of the other. F32 `[B]`.
    pub shares: Array,
}

/// The batches of an epoch, in order.
pub struct Loader {
    work: Arc<Work>,
    threads: Vec<JoinHandle<()>>,
    /// The batch that comes next.
    next: usize,
    waited: Duration,
}

/// What a thread made, or its panic.
type Made = std::result::Result<Result<Batch>, Box<dyn Any + Send>>;

struct Work {
    dataset: Dataset,
    order: Vec<usize>,
    plan: Plan,
    /// How many batches are in the order.
    count: usize,
    /// How many batches can be made before the one that comes next is taken.
    ahead: usize,
    progress: Mutex<Progress>,
    changed: Condvar,
}

struct Progress {
    /// The batch that no thread makes yet.
    open: usize,
    taken: usize,
    ready: BTreeMap<usize, Made>,
    stopped: bool,
}

impl Loader {
    /// Starts to make the batches of `order`.
    ///
    /// # Errors
    /// A batch size of 0, an index that is not of the dataset, changes out of range, or no threads.
    pub fn start(dataset: &Dataset, order: Vec<usize>, plan: Plan) -> Result<Self> {
        plan.augmentation.check()?;
        let count = dataset.batches(&order, plan.batch_size)?.len();
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let most = if dataset.is_on_demand() { MAX_THREADS } else { THREADS_IN_MEMORY };
        let threads = most.min(cores).min(count.saturating_sub(plan.skip));
        Loader::with_threads(dataset, order, plan, threads)
    }

    fn with_threads(dataset: &Dataset, order: Vec<usize>, plan: Plan, threads: usize) -> Result<Self> {
        let (count, next) = (order.len().div_ceil(plan.batch_size), plan.skip);
        let progress = Progress { open: next, taken: next, ready: BTreeMap::new(), stopped: false };
        let work = Work {
            dataset: dataset.clone(),
            order,
            plan,
            count,
            ahead: threads + 1,
            progress: Mutex::new(progress),
            changed: Condvar::new(),
        };
        let mut loader = Loader { work: Arc::new(work), threads: Vec::new(), next, waited: Duration::ZERO };
        for _ in 0..threads {
            let work = Arc::clone(&loader.work);
            let thread = thread::Builder::new().name("neuropil loader".to_owned()).spawn(move || work.run());
            let refused = |e| Error::new(ErrorKind::Memory, format!("no thread can be started to read images: {e}"));
            loader.threads.push(thread.map_err(refused)?);
        }
        Ok(loader)
    }

    /// How long batches were waited for.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

impl Iterator for Loader {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        if self.next >= self.work.count {
            return None;
        }
        let start = Instant::now();
        let mut progress = self.work.lock();
        let made = loop {
            match progress.ready.remove(&self.next) {
                Some(made) => break made,
                None => progress = self.work.wait(progress),
            }
        };
        self.next += 1;
        progress.taken = self.next;
        drop(progress);
        self.work.changed.notify_all();
        self.waited += start.elapsed();
        Some(made.unwrap_or_else(|panic| resume_unwind(panic)))
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.work.lock().stopped = true;
        self.work.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A thread gives its panics to the taker.
            let _ = thread.join();
        }
    }
}

impl Work {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, progress: MutexGuard<'a, Progress>) -> MutexGuard<'a, Progress> {
        self.changed.wait(progress).unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes batches until there are no more, or none are wanted.
    fn run(&self) {
        loop {
            let mut progress = self.lock();
            while !progress.stopped && progress.open < self.count && progress.open >= progress.taken + self.ahead {
                progress = self.wait(progress);
            }
            if progress.stopped || progress.open >= self.count {
                return;
            }
            let number = progress.open;
            progress.open += 1;
            drop(progress);
            let made = catch_unwind(AssertUnwindSafe(|| self.make(number)));
            self.lock().ready.insert(number, made);
            self.changed.notify_all();
        }
    }

    fn make(&self, number: usize) -> Result<Batch> {
        let Plan { batch_size, augmentation, seed, epoch, .. } = self.plan;
        let start = number * batch_size;
        let indices = &self.order[start..self.order.len().min(start + batch_size)];
        let shape = self.dataset.image_shape();
        let size = shape.iter().product::<usize>();
        let mut numbers = vec![0f32; indices.len() * size];
        for ((image, &index), position) in numbers.chunks_exact_mut(size.max(1)).zip(indices).zip(start..) {
            self.dataset.read(index, image)?;
            if !augmentation.is_none() {
                augmentation.apply(image, shape, &mut Augmentation::stream(seed, epoch, position));
            }
        }
        let labels: Vec<u32> = indices.iter().map(|&index| self.dataset.labels()[index]).collect();
        let mixed = if augmentation.mixup > 0.0 {
            let streams = (start..).map(|position| Stream::new(seed, &format!("mixup.{epoch}.{position}")));
            let (others, shares) = augment::mix(&mut numbers, size, augmentation.mixup, streams);
            let labels = others.into_iter().map(|other| labels[other]).collect();
            Some(Mixed { labels: Array::new(&[indices.len()], labels)?, shares: Array::new(&[indices.len()], shares)? })
        } else {
            None
        };
        let images = Array::new(&[indices.len(), shape[0], shape[1], shape[2]], numbers)?;
        Ok(Batch { images, labels: Array::new(&[indices.len()], labels)?, mixed })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{OnDemand, shuffle};
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Images of one number, their index; slow ones now and then, and one that may be gone or be a mistake.
    #[derive(Debug, Default)]
    struct Source {
        reads: AtomicUsize,
        gone: Option<usize>,
        mistake: Option<usize>,
    }

    impl OnDemand for Source {
        fn count(&self) -> usize {
            100
        }

        fn read(&self, index: usize, image: &mut [f32]) -> Result<()> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            assert_ne!(self.mistake, Some(index), "a mistake");
            if self.gone == Some(index) {
                return Err(Error::new(ErrorKind::Io, format!("image {index} is gone")));
            }
            if index.is_multiple_of(7) {
                thread::sleep(Duration::from_millis(2));
            }
            image.fill(index as f32);
            Ok(())
        }
    }

    fn dataset(source: Arc<Source>) -> Dataset {
        let names = (0..10).map(|class| class.to_string()).collect();
        Dataset::on_demand("x", [1, 1, 1], source, (0..100).map(|i| i % 10).collect(), names).unwrap()
    }

    fn plan(augmentation: &str) -> Plan {
        Plan { batch_size: 8, augmentation: augmentation.parse().unwrap(), seed: 1, epoch: 2, skip: 0 }
    }

    #[test]
    fn batches_are_those_of_the_dataset_in_order() {
        let (dataset, order) = (dataset(Arc::default()), shuffle(100, 0, 0));
        let loader = Loader::start(&dataset, order.clone(), plan("none")).unwrap();
        let batches: Vec<Batch> = loader.map(Result::unwrap).collect();
        assert_eq!(batches.len(), 13);
        for (batch, indices) in batches.iter().zip(dataset.batches(&order, 8).unwrap()) {
            let (images, labels) = dataset.batch(indices).unwrap();
            assert_eq!(batch, &Batch { images, labels, mixed: None });
        }
    }

    #[test]
    fn threads_and_interruptions_change_nothing() {
        let dataset = dataset(Arc::default());
        let plan = plan("brightness=0.3,mixup=0.5");
        let all = |threads, skip| -> Vec<Batch> {
            let plan = Plan { skip, ..plan };
            Loader::with_threads(&dataset, shuffle(100, 0, 0), plan, threads).unwrap().map(Result::unwrap).collect()
        };
        let one = all(1, 0);
        assert_eq!(one.len(), 13);
        assert!(all(8, 0) == one && all(3, 0) == one && all(2, 5) == one[5..] && all(2, 13).is_empty());
        let Some(Mixed { labels, shares }) = &one[0].mixed else { panic!() };
        let (own, other) = (one[0].labels.to_f64_vec(), labels.to_f64_vec());
        assert!(own.iter().zip(other.iter().rev()).all(|(a, b)| a == b));
        assert!(shares.to_f64_vec().iter().all(|share| (0.5..=1.0).contains(share)));
    }

    #[test]
    fn few_batches_are_made_before_they_are_taken() {
        let source = Arc::new(Source::default());
        let mut loader =
            Loader::with_threads(&dataset(Arc::clone(&source)), shuffle(100, 0, 0), plan("none"), 2).unwrap();
        loader.next().unwrap().unwrap();
        thread::sleep(Duration::from_millis(200));
        // One was taken, and three are ahead.
        assert_eq!(source.reads.load(Ordering::Relaxed), 4 * 8);
        assert!(loader.waited() < Duration::from_millis(150));
        drop(loader);
        assert_eq!(source.reads.load(Ordering::Relaxed), 4 * 8);
    }

    #[test]
    fn an_image_that_is_gone_is_an_error_of_its_batch() {
        let dataset = dataset(Arc::new(Source { gone: Some(20), ..Source::default() }));
        let loader = Loader::with_threads(&dataset, (0..100).collect(), plan("none"), 4).unwrap();
        let results: Vec<Result<Batch>> = loader.collect();
        assert!(results.len() == 13 && results.iter().filter(|result| result.is_err()).count() == 1);
        assert_eq!(results[2].as_ref().unwrap_err().to_string(), "image 20 is gone");
        let wrong = Plan { batch_size: 0, ..plan("none") };
        assert!(
            Loader::start(&dataset, vec![0], wrong).is_err()
                && Loader::start(&dataset, vec![100], plan("none")).is_err()
        );
    }

    #[test]
    #[should_panic(expected = "a mistake")]
    fn a_panic_of_a_source_reaches_the_taker() {
        let dataset = dataset(Arc::new(Source { mistake: Some(50), ..Source::default() }));
        Loader::with_threads(&dataset, (0..100).collect(), plan("none"), 2).unwrap().for_each(drop);
    }
}
