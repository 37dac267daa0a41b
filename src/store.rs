//! The named parameters and states of a model, on a device.
//!
//! Any number of programs (train, evaluate, another batch size) share one [`Store`]. It grows by segments: the parameters
//! that a program is the first to use get a buffer of their own, each at a 256-byte multiple; states that accompany
//! parameters (an optimizer's moments) get one buffer a name, at the parameters' offsets, so that an update walks all of
//! them together; other states share a buffer. Padding is zero. Before: [`crate::tensor`] collects what is needed. After:
//! [`crate::program`] places its leaves here.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::array::Array;
use crate::device::{Buffer, Device};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Leaf, TensorType};
use crate::schedule::{Arena, StoreLayout, aligned};
use crate::tensor::{Init, Spec, matches};

/// Whether a state is of the training, not of the model: an optimizer's, random numbers', sums of metrics.
pub fn is_of_training(name: &str) -> bool {
    ["optimizer.", "random.", "metrics."].iter().any(|prefix| name.starts_with(prefix))
}

/// Parameters and states on a device. Clones are the same store.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    device: Device,
    seed: u64,
    content: Mutex<Content>,
}

#[derive(Default)]
struct Content {
    entries: BTreeMap<String, Entry>,
    segments: Vec<Segment>,
    frozen: Vec<String>,
}

#[derive(Clone)]
struct Entry {
    leaf: Leaf,
    ty: TensorType,
    segment: usize,
    offset: usize,
}

struct Segment {
    buffer: Buffer,
    words: usize,
    kind: SegmentKind,
}

#[derive(Clone, PartialEq, Eq)]
enum SegmentKind {
    Parameters,
    /// The states called `name/…` of the parameters of a segment.
    Companions {
        of: usize,
        name: String,
    },
    States,
}

impl Store {
    /// An empty store; initial values follow from `seed` and the names.
    pub fn new(device: &Device, seed: u64) -> Self {
        Store(Arc::new(Inner { device: device.clone(), seed, content: Mutex::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        // A panic while the lock is held leaves whole entries behind.
        self.0.content.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// Keeps the parameters whose names fit `pattern` (`*` stands for any text) as they are: programs that are compiled
    /// from now on compute no gradients for them.
    pub fn freeze(&self, pattern: &str) {
        self.lock().frozen.push(pattern.to_owned());
    }

    /// Takes back every [`Store::freeze`].
    pub fn unfreeze(&self) {
        self.lock().frozen.clear();
    }

    /// The patterns of frozen parameters.
    pub fn frozen(&self) -> Vec<String> {
        self.lock().frozen.clone()
    }

    /// The names and types of all parameters (or states), by name.
    pub fn names(&self, leaf: Leaf) -> Vec<(String, TensorType)> {
        let content = self.lock();
        let of_kind = content.entries.iter().filter(|(_, entry)| entry.leaf == leaf);
        of_kind.map(|(name, entry)| (name.clone(), entry.ty.clone())).collect()
    }

    /// The number of elements of all parameters.
    pub fn parameter_count(&self) -> usize {
        self.names(Leaf::Parameter).iter().map(|(_, ty)| ty.len()).sum()
    }

    /// The value of a parameter or state.
    ///
    /// # Errors
    /// When there is none of this name, or the device is lost.
    pub fn get(&self, name: &str) -> Result<Array> {
        pollster::block_on(self.get_async(name))
    }

    /// As [`Store::get`].
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn get_async(&self, name: &str) -> Result<Array> {
        let (entry, buffer) = self.find(name)?;
        let words = self.0.device.read(&buffer, entry.offset..entry.offset + entry.ty.words()).await?;
        Array::from_words(&entry.ty.shape, entry.ty.dtype, &words)
    }

    /// Sets the value of a parameter or state.
    ///
    /// # Errors
    /// When there is none of this name, or its type is another.
    pub fn set(&self, name: &str, value: &Array) -> Result<()> {
        let (entry, buffer) = self.find(name)?;
        if value.shape() != entry.ty.shape || value.dtype() != entry.ty.dtype {
            return Err(Error::new(
                ErrorKind::Shape,
                format!("{name:?} is {}, it cannot be set to {}{:?}", entry.ty, value.dtype(), value.shape()),
            ));
        }
        self.0.device.write(&buffer, entry.offset, &value.to_words())
    }

    fn find(&self, name: &str) -> Result<(Entry, Buffer)> {
        let content = self.lock();
        match content.entries.get(name) {
            Some(entry) => Ok((entry.clone(), content.segments[entry.segment].buffer.clone())),
            None => {
                let known: Vec<&str> = content.entries.keys().map(String::as_str).take(12).collect();
                Err(Error::new(ErrorKind::Config, format!("the store has no {name:?}; it has {}", known.join(", "))))
            }
        }
    }

    /// All parameters, and the states that belong to the model (an optimizer's are left out), by name.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn weights(&self) -> Result<BTreeMap<String, Array>> {
        self.of_model().into_iter().map(|name| Ok((name.clone(), self.get(&name)?))).collect()
    }

    /// The values of all parameters and states, an optimizer's too, by name; waits for what was started. Another store with
    /// the same programs goes on from them bit for bit ([`Store::set_all`]).
    ///
    /// # Errors
    /// When the device is lost.
    pub fn all(&self) -> Result<BTreeMap<String, Array>> {
        let entries: Vec<(String, Entry, Buffer)> = {
            let content = self.lock();
            let buffer = |entry: &Entry| content.segments[entry.segment].buffer.clone();
            content.entries.iter().map(|(name, entry)| (name.clone(), entry.clone(), buffer(entry))).collect()
        };
        let part = |(_, entry, buffer): &'_ (String, Entry, Buffer)| {
            (buffer.clone(), entry.offset..entry.offset + entry.ty.words())
        };
        let parts: Vec<_> = entries.iter().map(part).collect();
        let parts: Vec<_> = parts.iter().map(|(buffer, range)| (buffer, range.clone())).collect();
        let words = pollster::block_on(self.0.device.read_parts(&parts))?;
        let mut rest = words.as_slice();
        let array = |(name, entry, _): (String, Entry, Buffer)| {
            let (own, others) = rest.split_at(entry.ty.words());
            rest = others;
            Ok((name, Array::from_words(&entry.ty.shape, entry.ty.dtype, own)?))
        };
        entries.into_iter().map(array).collect()
    }

    /// Sets all parameters and states to what [`Store::all`] gave of a store with the same programs.
    ///
    /// # Errors
    /// When a name is unknown or missing, or a type differs; then nothing is changed.
    pub fn set_all(&self, values: &BTreeMap<String, Array>) -> Result<()> {
        let other = "they are of another model or optimizer";
        for (name, value) in values {
            let Ok((entry, _)) = self.find(name) else {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!("the values have {name:?}, which is unknown; {other}"),
                ));
            };
            if value.shape() != entry.ty.shape || value.dtype() != entry.ty.dtype {
                let (ty, given) = (entry.ty, format!("{}{:?}", value.dtype(), value.shape()));
                return Err(Error::new(
                    ErrorKind::Shape,
                    format!("{name:?} is {ty}, and {given} in the values; {other}"),
                ));
            }
        }
        let missing = self.lock().entries.keys().find(|name| !values.contains_key(*name)).cloned();
        if let Some(missing) = missing {
            return Err(Error::new(ErrorKind::Config, format!("the values lack {missing:?}; {other}")));
        }
        values.iter().try_for_each(|(name, value)| self.set(name, value))
    }

    /// The names of what belongs to the model, not to its training.
    fn of_model(&self) -> Vec<String> {
        self.lock().entries.keys().filter(|name| !is_of_training(name)).cloned().collect()
    }

    /// Sets parameters and states by name; each must exist with this type.
    ///
    /// # Errors
    /// When a name is unknown, a type differs, or something of the model is missing; then nothing is changed.
    pub fn set_weights(&self, weights: &BTreeMap<String, Array>) -> Result<()> {
        self.set_weights_except(weights, &[]).map(|_| ())
    }

    /// As [`Store::set_weights`], but names that fit a pattern of `new` (`*` stands for any text) keep what they hold,
    /// whatever `weights` has for them: for fine-tuning a model with a new head. Gives the names that kept their values.
    ///
    /// # Errors
    /// As [`Store::set_weights`], for all other names; when a pattern fits no name of the model.
    pub fn set_weights_except(&self, weights: &BTreeMap<String, Array>, new: &[&str]) -> Result<Vec<String>> {
        let is_new = |name: &str| new.iter().any(|pattern| matches(pattern, name));
        let of_model = self.of_model();
        if let Some(pattern) = new.iter().find(|pattern| !of_model.iter().any(|name| matches(pattern, name))) {
            let known: Vec<&str> = of_model.iter().map(String::as_str).take(12).collect();
            return Err(Error::new(
                ErrorKind::Config,
                format!("nothing of this model is called {pattern:?}; it has {}", known.join(", ")),
            ));
        }
        for (name, value) in weights.iter().filter(|(name, _)| !is_new(name)) {
            let Ok((entry, _)) = self.find(name) else {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!("the weights have {name:?}, which this model lacks; they belong to another model"),
                ));
            };
            if value.shape() != entry.ty.shape || value.dtype() != entry.ty.dtype {
                return Err(Error::new(
                    ErrorKind::Shape,
                    format!(
                        "{name:?} is {} in this model and {}{:?} in the weights; they belong to another model, or this part \
                         is new",
                        entry.ty,
                        value.dtype(),
                        value.shape()
                    ),
                ));
            }
        }
        if let Some(missing) = of_model.iter().find(|name| !is_new(name) && !weights.contains_key(*name)) {
            return Err(Error::new(
                ErrorKind::Config,
                format!("the weights lack {missing:?}; they belong to another model, or this part is new"),
            ));
        }
        weights.iter().filter(|(name, _)| !is_new(name)).try_for_each(|(name, value)| self.set(name, value))?;
        Ok(of_model.into_iter().filter(|name| is_new(name)).collect())
    }

    /// Makes room for what a program uses and is not there yet, with initial values.
    ///
    /// # Errors
    /// When a name is known with another type, or the device has no memory left.
    pub(crate) fn prepare(&self, specs: &[Spec]) -> Result<()> {
        let mut content = self.lock();
        let mut new: Vec<&Spec> = Vec::new();
        for spec in specs {
            match content.entries.get(&spec.name) {
                Some(entry) if entry.ty != spec.ty || entry.leaf != spec.leaf => {
                    return Err(Error::new(
                        ErrorKind::Shape,
                        format!("{:?} is {} in the store and {} in this program", spec.name, entry.ty, spec.ty),
                    ));
                }
                Some(_) => {}
                None => new.push(spec),
            }
        }
        let plain = |leaf: Leaf| {
            new.iter().filter(move |s| s.leaf == leaf && s.companion.is_none()).copied().collect::<Vec<_>>()
        };
        self.add_segment(&mut content, SegmentKind::Parameters, &plain(Leaf::Parameter))?;
        self.add_segment(&mut content, SegmentKind::States, &plain(Leaf::State))?;
        for spec in new.iter().filter(|s| s.companion.is_some()) {
            self.add_companion(&mut content, spec)?;
        }
        Ok(())
    }

    fn add_segment(&self, content: &mut Content, kind: SegmentKind, specs: &[&Spec]) -> Result<()> {
        if specs.is_empty() {
            return Ok(());
        }
        let segment = content.segments.len();
        let mut image: Vec<u32> = Vec::new();
        for spec in specs {
            let offset = image.len();
            image.extend(self.initial(spec).to_words());
            image.resize(aligned(image.len()), 0);
            let entry = Entry { leaf: spec.leaf, ty: spec.ty.clone(), segment, offset };
            content.entries.insert(spec.name.clone(), entry);
        }
        let buffer = self.0.device.allocate(image.len())?;
        self.0.device.write(&buffer, 0, &image)?;
        content.segments.push(Segment { buffer, words: image.len(), kind });
        Ok(())
    }

    fn add_companion(&self, content: &mut Content, spec: &Spec) -> Result<()> {
        let parameter = spec.companion.as_deref().unwrap_or_default();
        let Some(owner) = content.entries.get(parameter).cloned() else {
            return Err(Error::new(
                ErrorKind::Graph,
                format!("{:?} accompanies {parameter:?}, which is unknown", spec.name),
            ));
        };
        let family = spec.name.strip_suffix(parameter).unwrap_or(&spec.name).to_owned();
        let kind = SegmentKind::Companions { of: owner.segment, name: family };
        let segment = match content.segments.iter().position(|segment| segment.kind == kind) {
            Some(segment) => segment,
            None => {
                let words = content.segments[owner.segment].words;
                content.segments.push(Segment { buffer: self.0.device.allocate(words)?, words, kind });
                content.segments.len() - 1
            }
        };
        self.0.device.write(&content.segments[segment].buffer, owner.offset, &self.initial(spec).to_words())?;
        let entry = Entry { leaf: spec.leaf, ty: spec.ty.clone(), segment, offset: owner.offset };
        content.entries.insert(spec.name.clone(), entry);
        Ok(())
    }

    fn initial(&self, spec: &Spec) -> Array {
        if spec.name == "random.key" {
            let key = [self.0.seed as u32, (self.0.seed >> 32) as u32];
            return Init::Words(key).values(&spec.name, &TensorType::new(DType::U32, [2]), self.0.seed);
        }
        spec.init.values(&spec.name, &spec.ty, self.0.seed)
    }

    /// What the scheduler must know of the store.
    pub(crate) fn layout(&self) -> StoreLayout {
        let content = self.lock();
        let entries: HashMap<(Leaf, String), (usize, usize)> = content
            .entries
            .iter()
            .map(|(name, entry)| ((entry.leaf, name.clone()), (entry.segment, entry.offset)))
            .collect();
        StoreLayout { entries, segments: content.segments.iter().map(|segment| segment.words).collect() }
    }

    /// The buffers of all segments.
    pub(crate) fn buffers(&self) -> BTreeMap<Arena, Buffer> {
        let content = self.lock();
        content.segments.iter().enumerate().map(|(i, segment)| (Arena::Store(i), segment.buffer.clone())).collect()
    }
}
