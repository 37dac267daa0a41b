//! The suite: every operation, forward and backward, in every way in which a device can run it.
//!
//! A case is a sample in one [`Direction`], at its fixed inputs or at [`super::fresh`] ones, in one [`Variant`]. A [`Plan`]
//! says which are wanted. Compiling shaders takes nearly all the time, and drivers that do it in software use one thread a
//! device; so [`Suite::run`] deals operations to threads, each with a device of its own. Findings are given in the order of
//! the plan, whatever the threads do.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Instant;

use crate::array::Array;
use crate::check::Direction;
use crate::check::findings::{Finding, Worker, case_name};
use crate::check::variants::{Variant, variants};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Expect, Sample};
use crate::ops::REGISTRY;
use crate::random::Stream;

/// How much is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// One sample of every operation, which the seed chooses; of some of them also in the other variants.
    Quick,
    /// All samples, as the device is used.
    #[default]
    Standard,
    /// All samples in all variants.
    Full,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Quick => "quick",
            Level::Standard => "standard",
            Level::Full => "full",
        })
    }
}

/// What is to be run.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// How much.
    pub level: Level,
    /// The operation or family of this name alone, or if there is none, those whose names contain it.
    pub op: Option<String>,
    /// The case of this name alone ([`Finding::case`]), or if there is none, those whose names contain it. None of them is
    /// left out then for the sake of time.
    pub case: Option<String>,
    /// This variant alone.
    pub variant: Option<String>,
    /// Fixes the fresh inputs, and what [`Level::Quick`] chooses.
    pub seed: u64,
}

/// What happens while a suite runs.
#[derive(Debug)]
pub enum Event<'a> {
    /// So many of [`Suite::len`] samples are done.
    Done(usize),
    /// A case that was run, in the order of the plan.
    Found(&'a Finding),
}

/// What became of a variant.
#[derive(Clone, Debug)]
pub struct VariantOutcome {
    /// The variant.
    pub variant: Variant,
    /// Distinct kernels compiled; 0 on the CPU.
    pub pipelines: usize,
    /// Seconds of all threads together.
    pub seconds: f64,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The variants in the order of running.
    pub variants: Vec<VariantOutcome>,
    /// Why the rest was not run, if the device was lost.
    pub lost: Option<Error>,
}

/// The cases of a plan on a device.
pub struct Suite {
    device: Device,
    seed: u64,
    variants: Vec<Variant>,
    entries: Vec<Entry>,
    jobs: Vec<Job>,
    case: Option<NameFilter>,
}

/// A sample and where it comes from.
struct Entry {
    family: &'static str,
    sample: Sample,
}

/// What one thread does at a time: samples of one operation and its gradients in one variant.
struct Job {
    variant: usize,
    entries: Vec<usize>,
}

/// In [`Level::Quick`], the share of the operations that also run in the other variants.
const QUICK_OTHERS: u64 = 4;

/// The most threads: each has a device, and the memory of one.
const MOST_THREADS: usize = 8;

/// A device that has compiled more kernels than this is opened anew: some drivers keep half a megabyte for each.
const KERNELS_KEPT: u64 = 1000;

impl Suite {
    /// Chooses what is run.
    ///
    /// # Errors
    /// When nothing fits the plan; the message lists what there is.
    pub fn new(device: &Device, plan: &Plan) -> Result<Self> {
        let mut variants = variants(device);
        match &plan.variant {
            Some(name) => {
                let known = list(variants.iter().map(|variant| variant.name));
                variants.retain(|variant| variant.name == name);
                if variants.is_empty() {
                    return Err(absent("variant", name, &format!("on this device there are {known}")));
                }
            }
            None if plan.level == Level::Standard => variants.truncate(1),
            None => {}
        }
        let mut entries = all_entries();
        if let Some(name) = &plan.op {
            let known: BTreeSet<&str> = entries.iter().map(|entry| entry.sample.op.name()).collect();
            let filter = NameFilter::new(name, entries.iter().flat_map(|entry| [entry.family, entry.sample.op.name()]));
            entries.retain(|entry| filter.admits(entry.family) || filter.admits(entry.sample.op.name()));
            if entries.is_empty() {
                return Err(absent("operation", name, &format!("there are {}", list(known))));
            }
        }
        let mut case = None;
        if let Some(name) = &plan.case {
            let names: Vec<String> = entries.iter().flat_map(|entry| possible_cases(&entry.sample)).collect();
            let filter = NameFilter::new(name, names.iter().map(String::as_str));
            entries.retain(|entry| possible_cases(&entry.sample).iter().any(|name| filter.admits(name)));
            if entries.is_empty() {
                return Err(absent("case", name, "name a sample and what is run, as `broadcast row, gradient`"));
            }
            case = Some(filter);
        }
        let quick = plan.level == Level::Quick && case.is_none();
        let jobs = jobs(device, &variants, &entries, quick.then_some(plan.seed));
        Ok(Suite { device: device.clone(), seed: plan.seed, variants, entries, jobs, case })
    }

    /// The number of samples, those of each variant counted.
    pub fn len(&self) -> usize {
        self.jobs.iter().map(|job| job.entries.len()).sum()
    }

    /// Whether there is nothing to run.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs everything on as many threads as there are cores, and tells `report` what happens. What a case shows is
    /// reported; a lost device ends the run.
    ///
    /// # Errors
    /// When a device cannot be opened.
    pub fn run(&self, mut report: impl FnMut(Event<'_>)) -> Result<Outcome> {
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let tallies: Vec<Mutex<Tally>> = self.variants.iter().map(|_| Mutex::default()).collect();
        let threads = rayon::current_num_threads().min(MOST_THREADS).min(self.jobs.len());
        let mut order = InOrder::default();
        let mut outcome = Outcome { variants: Vec::new(), lost: None };
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            for _ in 0..threads {
                let (sender, next, stop, tallies) = (sender.clone(), &next, &stop, &tallies);
                scope.spawn(move || self.work(next, stop, tallies, &sender));
            }
            drop(sender);
            let mut done = 0;
            for (job, message) in receiver {
                match message {
                    Message::Findings(findings) => {
                        done += 1;
                        report(Event::Done(done));
                        order.add(job, findings, &mut report);
                    }
                    Message::JobDone => order.complete(job, &mut report),
                    Message::NotOpened(error) => return Err(error),
                    Message::Lost(error) => outcome.lost = outcome.lost.take().or(Some(error)),
                }
            }
            order.rest(&mut report);
            Ok(())
        })?;
        for (variant, tally) in self.variants.iter().zip(tallies) {
            let Tally { kernels, seconds } = tally.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
            outcome.variants.push(VariantOutcome { variant: *variant, pipelines: kernels.len(), seconds });
        }
        Ok(outcome)
    }

    /// What a thread does: one job after the other, on a device that is opened again for another variant.
    fn work(
        &self,
        next: &AtomicUsize,
        stop: &AtomicBool,
        tallies: &[Mutex<Tally>],
        sender: &mpsc::Sender<(usize, Message)>,
    ) {
        // Sending fails only when the receiver has given up.
        let say = |job: usize, message| drop(sender.send((job, message)));
        let mut opened: Option<(usize, Device)> = None;
        while !stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = self.jobs.get(number) else { break };
            let start = Instant::now();
            let fits = |(variant, device): &(usize, Device)| {
                *variant == job.variant && device.counters().pipelines <= KERNELS_KEPT
            };
            let device = match opened.take().filter(fits) {
                Some((_, device)) => device,
                None => match self.device.reopened_with(self.variants[job.variant].options) {
                    Ok(device) => device,
                    Err(error) => {
                        stop.store(true, Ordering::Relaxed);
                        return say(number, Message::NotOpened(error));
                    }
                },
            };
            let (variant, shrunk) = (&self.variants[job.variant], HashSet::new());
            let case = self.case.as_ref();
            let mut worker = Worker { device: &device, variant, seed: self.seed, case, shrunk };
            for entry in &job.entries {
                let Entry { family, sample } = &self.entries[*entry];
                let (findings, lost) = worker.check(family, sample);
                say(number, Message::Findings(findings));
                if let Some(error) = lost {
                    stop.store(true, Ordering::Relaxed);
                    say(number, Message::Lost(error));
                }
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
            let mut tally = tallies[job.variant].lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            tally.kernels.extend(device.kernels());
            tally.seconds += start.elapsed().as_secs_f64();
            drop(tally);
            opened = Some((job.variant, device));
            say(number, Message::JobDone);
        }
    }
}

/// What the threads of a variant came to.
#[derive(Default)]
struct Tally {
    kernels: HashSet<u64>,
    seconds: f64,
}

/// What a thread says about a job.
enum Message {
    Findings(Vec<Finding>),
    JobDone,
    NotOpened(Error),
    Lost(Error),
}

/// Gives findings in the order of their jobs.
#[derive(Default)]
struct InOrder {
    /// The job whose findings are given as they come.
    current: usize,
    waiting: HashMap<usize, Vec<Finding>>,
    complete: HashSet<usize>,
}

impl InOrder {
    fn add(&mut self, job: usize, findings: Vec<Finding>, report: &mut impl FnMut(Event<'_>)) {
        if job == self.current {
            findings.iter().for_each(|finding| report(Event::Found(finding)));
        } else {
            self.waiting.entry(job).or_default().extend(findings);
        }
    }

    fn complete(&mut self, job: usize, report: &mut impl FnMut(Event<'_>)) {
        self.complete.insert(job);
        while self.complete.remove(&self.current) {
            self.current += 1;
            let findings = self.waiting.remove(&self.current).unwrap_or_default();
            findings.iter().for_each(|finding| report(Event::Found(finding)));
        }
    }

    /// What still waits when the run ended early.
    fn rest(self, report: &mut impl FnMut(Event<'_>)) {
        let mut waiting: Vec<(usize, Vec<Finding>)> = self.waiting.into_iter().collect();
        waiting.sort_by_key(|(job, _)| *job);
        waiting.iter().flat_map(|(_, findings)| findings).for_each(|finding| report(Event::Found(finding)));
    }
}

/// Names that are one, or if none is, that contain it.
pub(super) struct NameFilter {
    name: String,
    exact: bool,
}

impl NameFilter {
    fn new<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        NameFilter { name: name.to_owned(), exact: known.into_iter().any(|known| known == name) }
    }

    pub fn admits(&self, name: &str) -> bool {
        if self.exact { name == self.name } else { name.contains(&self.name) }
    }
}

fn absent(what: &str, name: &str, remedy: &str) -> Error {
    Error::new(ErrorKind::Config, format!("there is no {what} {name:?}; {remedy}"))
}

fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}

fn all_entries() -> Vec<Entry> {
    let of = |family: &'static crate::ops::Family| {
        (family.samples)().into_iter().map(|sample| Entry { family: family.name, sample })
    };
    REGISTRY.iter().flat_map(of).collect()
}

/// The names that cases of a sample can have.
fn possible_cases(sample: &Sample) -> Vec<String> {
    if matches!(sample.expect, Expect::Error(..)) {
        return vec![case_name(&sample.name, None, false)];
    }
    let of = |direction| [false, true].map(|fresh| case_name(&sample.name, Some(direction), fresh));
    Direction::ALL.into_iter().flat_map(of).collect()
}

/// Deals samples to jobs, the largest first: all of them, or with the seed of [`Level::Quick`] one an operation. What must be
/// refused is checked in the first variant alone, since nothing is run.
fn jobs(device: &Device, variants: &[Variant], entries: &[Entry], quick: Option<u64>) -> Vec<Job> {
    let mut operations: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    for (number, entry) in entries.iter().enumerate() {
        operations.entry((entry.family, entry.sample.op.name())).or_default().push(number);
    }
    let is_refused = |number: &usize| matches!(entries[*number].sample.expect, Expect::Error(..));
    let mut jobs = Vec::new();
    for variant in 0..variants.len() {
        // The gradients of an operation, `conv2d.grad_input`, share its kernels: they are one job.
        let mut dealt: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
        for (place, ((family, op), operation)) in operations.iter().enumerate() {
            let (refused, mut run): (Vec<usize>, Vec<usize>) = operation.iter().partition(|number| is_refused(number));
            if let Some(seed) = quick {
                let one_in = if variant == 0 || variants.len() == 1 { 1 } else { QUICK_OTHERS };
                let turn = (place as u64).wrapping_add(seed).wrapping_add(variant as u64) % one_in == 0;
                run = if turn { chosen(device, entries, &run, seed).into_iter().collect() } else { Vec::new() };
            }
            let job = dealt.entry((*family, op.split('.').next().unwrap_or(op))).or_default();
            job.extend(if variant == 0 { refused } else { Vec::new() });
            job.extend(run);
        }
        let mut dealt: Vec<Vec<usize>> = dealt.into_values().filter(|entries| !entries.is_empty()).collect();
        dealt.sort_by_key(|entries| Reverse(entries.len()));
        jobs.extend(dealt.into_iter().map(|entries| Job { variant, entries }));
    }
    jobs
}

/// The sample of an operation that the seed chooses: one with elements that the device can store, if there is one.
fn chosen(device: &Device, entries: &[Entry], operation: &[usize], seed: u64) -> Option<usize> {
    let telling = |number: &&usize| {
        let sample = &entries[**number].sample;
        let stored = |array: &Array| device.has_f16() || array.dtype() != DType::F16;
        sample.inputs.iter().all(|array| !array.is_empty() && stored(array))
    };
    let mut choice: Vec<usize> = operation.iter().filter(telling).copied().collect();
    if choice.is_empty() {
        choice = operation.to_vec();
    }
    let name = entries[*choice.first()?].sample.op.name();
    let place = Stream::new(seed, &format!("check.quick {name}")).below(choice.len() as u64);
    choice.get(place as usize).copied()
}
