//! No kernel is used that did not pass: steps with kernels that are new to their device run alone, and are compared.
//!
//! [`Device::unproven`](crate::device::Device::unproven) says which steps they are. Operands are read before the
//! step, which may work in place, and results after it; [`evaluate`] says in `f64` what elements of them must be. Operands
//! that cannot tell right from wrong (a bias of zeros, a factor of one) are replaced for a trial first, and put back. A step
//! that gives something else ends the run: what the run wrote to the store is put back, and the device refuses it
//! from then on. After that a run asks one flag.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use half::f16;

use super::Program;
use crate::device::Tiles;
use crate::dtype::DType;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::ops::REGISTRY;
use crate::random::Stream;
use crate::schedule::evaluate::{Choice, Element, Products, element, evaluate_as};
use crate::schedule::{Arena, SlotId, Step};
use crate::shape::unravel;

/// What a stretch of the store held before a run.
struct Kept {
    arena: Arena,
    start: usize,
    words: Vec<u32>,
}

impl Program {
    /// Starts the steps of `range`, and proves those with kernels that are new to the device on the way.
    ///
    /// # Errors
    /// When a kernel is wrong or was found to be, or the device is lost.
    pub(super) async fn start(&self, range: Range<usize>) -> Result<()> {
        let alone = self.unsettled(range.clone())?;
        if alone.is_empty() {
            return self.device().run(&self.executable, range);
        }
        let kept = self.keep(&range).await?;
        let done = self.prove(range, alone).await;
        if done.as_ref().is_err_and(|error| error.kind() != ErrorKind::Device) {
            for Kept { arena, start, words } in kept {
                self.device().write(&self.buffers[&arena], start, &words)?;
            }
        }
        done.map_err(|error| self.in_program(error))
    }

    /// The steps of `range` that [`Program::start`] has to prove or to measure.
    ///
    /// # Errors
    /// Why a kernel of them is refused.
    pub(super) fn unsettled(&self, range: Range<usize>) -> Result<BTreeSet<usize>> {
        let untuned = self.device().untuned(&self.executable, range.clone())?;
        let unproven = self.device().unproven(&self.executable, range).map_err(|error| self.in_program(error))?;
        Ok(unproven.into_iter().chain(untuned).collect())
    }

    fn in_program(&self, error: Error) -> Error {
        error.context(format!("program {:?}", self.name))
    }

    /// The content of the store where the steps of `range` write.
    async fn keep(&self, range: &Range<usize>) -> Result<Vec<Kept>> {
        let mut stretches: BTreeMap<Arena, Range<usize>> = BTreeMap::new();
        for &slot in self.schedule.steps[range.clone()].iter().flat_map(|step| &step.writes) {
            let (arena, words) = self.schedule.range(slot);
            if matches!(arena, Arena::Store(_)) {
                let stretch = stretches.entry(arena).or_insert(words.clone());
                *stretch = stretch.start.min(words.start)..stretch.end.max(words.end);
            }
        }
        let mut kept = Vec::with_capacity(stretches.len());
        for (arena, range) in stretches {
            let start = range.start;
            kept.push(Kept { arena, start, words: self.device().read(&self.buffers[&arena], range).await? });
        }
        Ok(kept)
    }

    /// Runs the steps of `range`, those of `alone` by themselves.
    async fn prove(&self, range: Range<usize>, alone: BTreeSet<usize>) -> Result<()> {
        let mut next = range.start;
        for index in alone {
            // An earlier step of this run may have been of the same class, and have had the same kernels.
            let untuned = !self.device().untuned(&self.executable, index..index + 1)?.is_empty();
            if !untuned && self.device().unproven(&self.executable, index..index + 1)?.is_empty() {
                continue;
            }
            self.device().run(&self.executable, next..index)?;
            next = index;
            if untuned {
                self.tune(index).await?;
            }
            if !self.device().unproven(&self.executable, index..index + 1)?.is_empty() {
                self.prove_step(index).await?;
                next = index + 1;
            }
        }
        self.device().run(&self.executable, next..range.end)
    }

    /// Runs a step, and compares.
    ///
    /// # Errors
    /// When it is wrong, and from then on refused, or the device is lost.
    pub(super) async fn prove_step(&self, index: usize) -> Result<()> {
        match self.trials(index).await {
            // Where nothing could be judged the next run tries again.
            Ok(0) => Ok(()),
            Ok(_) => self.device().judge(&self.executable, index, Ok(())),
            Err(error) => {
                if error.kind() == ErrorKind::Parity {
                    self.device().judge(&self.executable, index, Err(error.clone()))?;
                }
                Err(error)
            }
        }
    }

    /// What a step reads, as it is in memory.
    pub(super) async fn operands(&self, index: usize) -> Result<Vec<Vec<u32>>> {
        let step = &self.schedule.steps[index];
        let mut operands = Vec::with_capacity(step.reads.len());
        for &slot in &step.reads {
            let (arena, range) = self.schedule.range(slot);
            operands.push(self.device().read(&self.buffers[&arena], range).await?);
        }
        Ok(operands)
    }

    /// Runs a step, after a trial with other operands where its own say too little; gives how many elements were judged.
    async fn trials(&self, index: usize) -> Result<usize> {
        let step = &self.schedule.steps[index];
        let operands = self.operands(index).await?;
        let mut judged = 0;
        if let Some(stand_ins) = self.stand_ins(step, &operands) {
            self.write_operands(step, &stand_ins)?;
            let trial = self.trial(index, &stand_ins).await;
            self.write_operands(step, &operands)?;
            judged += trial.context(|| "on a trial with operands other than zeros and ones".to_owned())?;
        }
        Ok(judged + self.trial(index, &operands).await?)
    }

    /// Operands with numbers in place of those that are zero, one, or no finite number throughout; `None` if there are none.
    fn stand_ins(&self, step: &Step, operands: &[Vec<u32>]) -> Option<Vec<Vec<u32>>> {
        let overlap = |a: SlotId, b: SlotId| {
            let ((arena_a, a), (arena_b, b)) = (self.schedule.range(a), self.schedule.range(b));
            arena_a == arena_b && a.start < b.end && b.start < a.end
        };
        let apart = |i: usize| (0..i).all(|j| !overlap(step.reads[i], step.reads[j]));
        if !(0..step.reads.len()).all(apart) {
            return None;
        }
        let mut stream = Stream::new(1, &step.label);
        let mut replaced = false;
        let stand_in = |(&slot, words): (&SlotId, &Vec<u32>)| {
            let dtype = self.schedule.slot(slot).ty.dtype;
            if !says_nothing(words, dtype) {
                return words.clone();
            }
            replaced = true;
            let mut number = || 0.25 + 0.75 * stream.uniform();
            let mut half = || u32::from(f16::from_f32(number()).to_bits());
            match dtype {
                DType::F16 => words.iter().map(|_| half() | half() << 16).collect(),
                _ => words.iter().map(|_| number().to_bits()).collect(),
            }
        };
        let stand_ins = step.reads.iter().zip(operands).map(stand_in).collect();
        replaced.then_some(stand_ins)
    }

    pub(super) fn write_operands(&self, step: &Step, operands: &[Vec<u32>]) -> Result<()> {
        for (&slot, words) in step.reads.iter().zip(operands) {
            let (arena, range) = self.schedule.range(slot);
            self.device().write(&self.buffers[&arena], range.start, words)?;
        }
        Ok(())
    }

    /// Runs a step on `operands`, which are in place, and compares; gives how many elements were judged.
    async fn trial(&self, index: usize, operands: &[Vec<u32>]) -> Result<usize> {
        let step = &self.schedule.steps[index];
        self.device().run(&self.executable, index..index + 1)?;
        let products = match self.executable.tiles(index) {
            Tiles::Winograd => Products::Winograd,
            _ => Products::Direct,
        };
        let elements = evaluate_as(&self.schedule, step, operands, Choice::Some, products)
            .context(|| format!("what {} must give", step.label))?;
        let place = |element: &Element| {
            let slot = step.writes[element.write];
            let (arena, range) = self.schedule.range(slot);
            let word = range.start + self.schedule.slot(slot).ty.dtype.words(element.index + 1) - 1;
            (&self.buffers[&arena], word..word + 1)
        };
        let words = self.device().read_parts(&elements.iter().map(place).collect::<Vec<_>>()).await?;
        let mut judged = 0;
        let mut worst: Option<(f64, &Element, f64)> = None;
        for (wanted, word) in elements.iter().zip(words) {
            let dtype = self.schedule.slot(step.writes[wanted.write]).ty.dtype;
            // The word may hold two elements.
            let within = if dtype == DType::F16 { wanted.index % 2 } else { 0 };
            let Some(got) = element(&[word], dtype, within) else { continue };
            let Some(units) = wanted.units(got) else { continue };
            judged += 1;
            if units > 1.0 && worst.is_none_or(|(most, ..)| units > most) {
                worst = Some((units, wanted, got));
            }
        }
        match worst {
            Some((units, wanted, got)) => Err(self.wrong(index, units, wanted, got)),
            None => Ok(judged),
        }
    }

    fn wrong(&self, index: usize, units: f64, wanted: &Element, got: f64) -> Error {
        let step = &self.schedule.steps[index];
        let at = unravel(wanted.index, &self.schedule.slot(step.writes[wanted.write]).ty.shape);
        let (name, form) = (self.device().name(), self.executable.form(index));
        let result = if step.writes.len() > 1 { format!("result {}, ", wanted.write) } else { String::new() };
        let Element { value, error, .. } = wanted;
        let times = if units.is_finite() { format!(" ({units:.1} times)") } else { String::new() };
        let word = if self.device().adapter().is_some_and(|info| info.software) { "software" } else { "gpu" };
        let op = operation(&step.label).map_or_else(String::new, |op| format!(" --op {op}"));
        Error::new(
            ErrorKind::Parity,
            format!(
                "{} ({form}) is wrong on {name}: {result}element {at:?} is {got:e}, should be {value:e}, with an error of \
                 {error:.1e} at most{times}; it is refused from now on. `neuropil check{op} --device {word}` \
                 shows more, please report it; --device cpu does without",
                step.label
            ),
        )
    }
}

/// Whether floats are all zero, all one, or all the same that is no finite number.
fn says_nothing(words: &[u32], dtype: DType) -> bool {
    let Some(&first) = words.first() else { return false };
    if !dtype.is_float() {
        return false;
    }
    let Some(value) = element(&[first], dtype, 0) else { return false };
    let dull = |value: f64| value == 0.0 || value == 1.0 || !value.is_finite();
    // The upper half of a last word may be no element.
    let bulk = if dtype == DType::F16 && words.len() > 1 { &words[..words.len() - 1] } else { words };
    dull(value) && bulk.iter().all(|&word| word == first)
}

/// The operation of a step's label, if it is one that `check` knows: `conv2d` of `conv1 conv2d+add+relu`.
fn operation(label: &str) -> Option<&str> {
    let parts = label.split(' ').rfind(|word| !word.starts_with('×'))?;
    let name = parts.split('+').next()?;
    let known = |family: &crate::ops::Family| (family.samples)().iter().any(|sample| sample.op.name() == name);
    REGISTRY.iter().any(known).then_some(name)
}
