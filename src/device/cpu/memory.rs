//! Memory of the CPU device: buffers, the slices of them that one step works on, and scratch.
//!
//! A [`Buffer`] is shared by programs and threads and has a lock of its own. A run locks every buffer that it touches
//! once, in the order of their addresses, so two programs over one store never wait for each other in a circle. What a
//! step reads and writes is a [`Footprint`], checked when it is made: writes overlap neither each other nor a read, except
//! a read of exactly the same words, which is in place and is served from the written slice. So this file holds all
//! unsafe code about who may use memory, and everything above works on ordinary disjoint slices; what else is unsafe are
//! vectors of the machine, in the kernels.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::RefCell;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::error::{Error, ErrorKind, Result};

/// Buffers start at multiples of this many bytes: a cache line.
const ALIGNMENT: usize = 64;

/// A stretch of 32-bit words, zero at first; clones are handles to the same words.
#[derive(Clone, Debug)]
pub struct Buffer(Arc<Storage>);

#[derive(Debug)]
struct Storage {
    words: NonNull<u32>,
    len: usize,
    lock: RwLock<()>,
    /// The bytes that the buffers of this device have.
    in_use: Arc<AtomicU64>,
}

// SAFETY: the words are plain data owned by the storage, and are reached only under its lock.
unsafe impl Send for Storage {}
// SAFETY: as above; shared access needs the lock held shared, mutable access needs it held exclusively.
unsafe impl Sync for Storage {}

impl Drop for Storage {
    fn drop(&mut self) {
        if let Ok(Some(layout)) = layout(self.len) {
            self.in_use.fetch_sub(layout.size() as u64, Ordering::Relaxed);
            // SAFETY: allocated in `Buffer::allocate` with this very layout.
            unsafe { dealloc(self.words.as_ptr().cast(), layout) }
        }
    }
}

/// The layout of `words` words; `None` for none, for which nothing is allocated.
fn layout(words: usize) -> Result<Option<Layout>> {
    if words == 0 {
        return Ok(None);
    }
    let layout = words.checked_mul(4).and_then(|bytes| Layout::from_size_align(bytes, ALIGNMENT).ok());
    layout.map(Some).ok_or_else(|| out_of_memory(words))
}

fn out_of_memory(words: usize) -> Error {
    Error::new(ErrorKind::Memory, format!("a buffer of {words} words does not fit the memory of this machine"))
}

impl Buffer {
    /// A buffer of `words` zeros, whose bytes count as in use while it lives.
    ///
    /// # Errors
    /// When the machine has not that much memory.
    pub fn allocate(words: usize, in_use: &Arc<AtomicU64>) -> Result<Self> {
        let start = match layout(words)? {
            None => NonNull::dangling(),
            Some(layout) => {
                // SAFETY: the layout has a size above zero.
                let start = NonNull::new(unsafe { alloc_zeroed(layout) }.cast()).ok_or_else(|| out_of_memory(words))?;
                in_use.fetch_add(layout.size() as u64, Ordering::Relaxed);
                start
            }
        };
        Ok(Buffer(Arc::new(Storage { words: start, len: words, lock: RwLock::new(()), in_use: in_use.clone() })))
    }

    /// The number of words.
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Whether there are no words.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies `words` to `offset` and after; waits for runs that use the buffer.
    ///
    /// # Errors
    /// When they reach past the end.
    pub fn write(&self, offset: usize, words: &[u32]) -> Result<()> {
        let range = self.check(offset..offset.saturating_add(words.len()))?;
        let _guard = self.exclusive();
        // SAFETY: in range, and the guard is exclusive.
        unsafe { self.slice_mut(range) }.copy_from_slice(words);
        Ok(())
    }

    /// The words in `range`; waits for runs that write the buffer.
    ///
    /// # Errors
    /// When it reaches past the end.
    pub fn read(&self, range: Range<usize>) -> Result<Vec<u32>> {
        let range = self.check(range)?;
        let _guard = self.shared();
        // SAFETY: in range, and the guard keeps writers out.
        Ok(unsafe { self.slice(range) }.to_vec())
    }

    fn check(&self, range: Range<usize>) -> Result<Range<usize>> {
        if range.start <= range.end && range.end <= self.len() {
            return Ok(range);
        }
        Err(Error::new(ErrorKind::Memory, format!("words {range:?} of a buffer of {} words", self.len())))
    }

    // A panic under the lock leaves numbers of no meaning but no broken invariant, so poison is ignored.
    fn shared(&self) -> RwLockReadGuard<'_, ()> {
        self.0.lock.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, ()> {
        self.0.lock.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Safety
    /// `range` is within the buffer, and nobody writes it during the lifetime.
    unsafe fn slice(&self, range: Range<usize>) -> &[u32] {
        // SAFETY: by the caller.
        unsafe { std::slice::from_raw_parts(self.0.words.as_ptr().add(range.start), range.len()) }
    }

    /// # Safety
    /// `range` is within the buffer, and nobody else uses it during the lifetime.
    #[allow(clippy::mut_from_ref, reason = "the lock stands for the exclusive reference")]
    unsafe fn slice_mut(&self, range: Range<usize>) -> &mut [u32] {
        // SAFETY: by the caller.
        unsafe { std::slice::from_raw_parts_mut(self.0.words.as_ptr().add(range.start), range.len()) }
    }

    /// Whether both are handles to the same words.
    pub(super) fn same(&self, other: &Buffer) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Where the storage is: the global order of locks.
    pub(super) fn address(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }
}

/// Words of one of a program's buffers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub buffer: usize,
    pub words: Range<usize>,
}

impl Stretch {
    fn overlaps(&self, other: &Stretch) -> bool {
        self.buffer == other.buffer && self.words.start < other.words.end && other.words.start < self.words.end
    }
}

#[derive(Debug)]
enum Read {
    Shared(Stretch),
    InPlace(usize),
}

/// The words that a step reads and writes; no write overlaps another, nor a read that is not in place.
#[derive(Debug)]
pub(super) struct Footprint {
    reads: Vec<Read>,
    writes: Vec<Stretch>,
}

impl Footprint {
    /// Checks that the stretches may be used together.
    pub fn new(reads: Vec<Stretch>, writes: Vec<Stretch>) -> Result<Self> {
        let fail = |what| Err(Error::new(ErrorKind::Graph, what));
        for (i, write) in writes.iter().enumerate() {
            if let Some(other) = writes[..i].iter().position(|other| other.overlaps(write)) {
                return fail(format!("results {other} and {i} overlap"));
            }
            if let Some(read) = reads.iter().position(|read| read.overlaps(write) && read != write) {
                return fail(format!("result {i} overlaps operand {read}"));
            }
        }
        let classify = |read: Stretch| match writes.iter().position(|write| !read.words.is_empty() && *write == read) {
            Some(write) => Read::InPlace(write),
            None => Read::Shared(read),
        };
        Ok(Footprint { reads: reads.into_iter().map(classify).collect(), writes })
    }

    /// For every operand, whether it is updated in place.
    pub fn in_place(&self) -> impl Iterator<Item = bool> {
        self.reads.iter().map(|read| matches!(read, Read::InPlace(_)))
    }

    /// Adds to `access`, which has an entry a buffer, what the step needs.
    pub fn require(&self, access: &mut [Access]) {
        for read in &self.reads {
            if let Read::Shared(stretch) = read {
                access[stretch.buffer] = access[stretch.buffer].max(Access::Shared);
            }
        }
        self.writes.iter().for_each(|stretch| access[stretch.buffer] = Access::Exclusive);
    }
}

/// How a run uses a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    None,
    Shared,
    Exclusive,
}

/// A program's buffers while a run holds their locks.
pub(super) struct Locked<'a> {
    buffers: &'a [Buffer],
    access: Vec<Access>,
    _shared: Vec<RwLockReadGuard<'a, ()>>,
    _exclusive: Vec<RwLockWriteGuard<'a, ()>>,
}

impl<'a> Locked<'a> {
    /// Locks `buffers`, which are distinct and sorted by address.
    pub fn new(buffers: &'a [Buffer], access: Vec<Access>) -> Self {
        let (mut shared, mut exclusive) = (Vec::new(), Vec::new());
        for (buffer, access) in buffers.iter().zip(&access) {
            match access {
                Access::None => {}
                Access::Shared => shared.push(buffer.shared()),
                Access::Exclusive => exclusive.push(buffer.exclusive()),
            }
        }
        Locked { buffers, access, _shared: shared, _exclusive: exclusive }
    }

    /// The memory under the locks, for one thread at a time.
    pub fn memory(&mut self) -> Memory<'_> {
        Memory { buffers: self.buffers, access: &self.access }
    }
}

/// Memory under locks, from which steps take their slices one after the other.
pub(super) struct Memory<'a> {
    buffers: &'a [Buffer],
    access: &'a [Access],
}

impl Memory<'_> {
    /// The slices of one step.
    ///
    /// # Errors
    /// When the footprint was made for other buffers.
    pub fn slices(&mut self, footprint: &Footprint) -> Result<Slices<'_>> {
        let buffer = |stretch: &Stretch, access: Access| {
            let held = self.access.get(stretch.buffer).is_some_and(|&held| held >= access);
            if !held {
                return Err(Error::new(ErrorKind::Memory, format!("buffer {} is not locked", stretch.buffer)));
            }
            let buffer = &self.buffers[stretch.buffer];
            buffer.check(stretch.words.clone())?;
            Ok(buffer)
        };
        let mut reads = Vec::with_capacity(footprint.reads.len());
        for read in &footprint.reads {
            reads.push(match read {
                Read::InPlace(write) => Source::InPlace(*write),
                Read::Shared(stretch) => {
                    let buffer = buffer(stretch, Access::Shared)?;
                    // SAFETY: in range; locked for the lifetime of `self`; no write of the footprint overlaps it, and
                    // slices of another footprint cannot live now, since they borrow `self` mutably.
                    Source::Shared { words: unsafe { buffer.slice(stretch.words.clone()) }, base: 0 }
                }
            });
        }
        let mut writes = Vec::with_capacity(footprint.writes.len());
        for stretch in &footprint.writes {
            let buffer = buffer(stretch, Access::Exclusive)?;
            // SAFETY: as above, and the writes of a footprint are disjoint.
            writes.push(unsafe { buffer.slice_mut(stretch.words.clone()) });
        }
        Ok(Slices { reads, writes })
    }
}

/// An operand of a step.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source<'a> {
    /// Its words; the first is element `base`.
    Shared { words: &'a [u32], base: usize },
    /// It is what this result was.
    InPlace(usize),
}

/// What a step reads and writes.
pub(super) struct Slices<'a> {
    pub reads: Vec<Source<'a>>,
    pub writes: Vec<&'a mut [u32]>,
}

impl<'a> Slices<'a> {
    /// Operand `i` of a step that was planned to have no operand in place.
    pub fn read(&self, i: usize) -> &'a [u32] {
        match self.reads.get(i) {
            Some(Source::Shared { words, .. }) => words,
            _ => &[],
        }
    }

    /// Operand `i` as floats.
    pub fn floats(&self, i: usize) -> &'a [f32] {
        bytemuck::cast_slice(self.read(i))
    }
}

/// Scratch above this many words is given back to the system.
const KEPT_WORDS: usize = 1 << 22;

thread_local! {
    static POOL: RefCell<Vec<Vec<u32>>> = const { RefCell::new(Vec::new()) };
}

/// Words of any content for one task, from a pool of the thread.
pub(super) struct Scratch {
    words: Vec<u32>,
    len: usize,
}

impl Scratch {
    /// `len` words.
    pub fn take(len: usize) -> Self {
        let mut words = POOL.with_borrow_mut(Vec::pop).unwrap_or_default();
        if words.len() < len {
            words.resize(len, 0);
        }
        Scratch { words, len }
    }

    /// The words as floats.
    pub fn floats(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(self)
    }
}

impl Deref for Scratch {
    type Target = [u32];
    fn deref(&self) -> &[u32] {
        &self.words[..self.len]
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [u32] {
        &mut self.words[..self.len]
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.words.len() <= KEPT_WORDS {
            let words = std::mem::take(&mut self.words);
            // The pool is gone when the thread ends; then so is the scratch.
            let _ = POOL.try_with(|pool| pool.borrow_mut().push(words));
        }
    }
}
