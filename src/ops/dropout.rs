//! Dropout: elements become 0 at random, the others grow so that the expected value stays.
//!
//! y = x/(1 − rate) where the random word of the element is at least ⌊rate·2³²⌋, else 0. The words are those of
//! [`RandomBits`]: key, step and stream fix them on every device, so nothing is stored and the gradient draws the same
//! mask again. The comparison is one of integers: no device can round it otherwise.
//!
//! Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014.

use crate::array::{Array, Float};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Autocast, Gradient, Graph, Lowering, Op, Sample, TensorType, Tolerance, Value, expect_inputs};
use crate::ops::constant::RandomBits;
use crate::random::philox;
use crate::with_float;

/// x, key `u32[2]` and step `u32[]` → x with a share `rate` of its elements at 0, the others times 1/(1 − rate).
#[derive(Clone, Debug)]
pub struct Dropout {
    /// The probability of a zero, in [0, 1).
    pub rate: f64,
    /// Tells two uses in one step apart.
    pub stream: u32,
}

impl Dropout {
    /// The smallest random word that keeps its element.
    fn threshold(&self) -> u32 {
        (self.rate * 2f64.powi(32)) as u32
    }

    /// What kept elements are multiplied by.
    fn scale(&self) -> f64 {
        1.0 / (1.0 - self.rate)
    }
}

impl Op for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs("dropout", inputs, 3)?;
        if !(0.0..1.0).contains(&self.rate) {
            let message = format!("dropout: a rate of {} is not in [0, 1)", self.rate);
            return Err(Error::new(ErrorKind::Config, message));
        }
        if !inputs[0].dtype.is_float() {
            return Err(Error::dtype("dropout", format_args!("takes floats, got {}; cast first", inputs[0])));
        }
        let (key, step) = (TensorType::new(DType::U32, [2]), TensorType::new(DType::U32, []));
        if inputs[1] != key || inputs[2] != step {
            return Err(Error::shape(
                "dropout",
                format_args!("takes a key {key} and a step {step}, got {} and {}", inputs[1], inputs[2]),
            ));
        }
        Ok(vec![inputs[0].clone()])
    }

    fn autocast(&self) -> Autocast {
        Autocast::Follow
    }

    fn gradient(&self) -> Gradient<'_> {
        // The same mask, drawn again.
        Gradient::rule(|cx| {
            if let Some(g) = cx.gradient(0) {
                let (key, step) = (cx.input(1), cx.input(2));
                let gradient = cx.graph.emit(self.clone(), &[g, key, step])?;
                cx.give(0, gradient);
            }
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let (key, step) = (inputs[1].as_slice::<u32>()?, inputs[2].as_slice::<u32>()?);
        let keeps = |i: usize| {
            let block = philox([i as u32 / 4, step[0], self.stream, 0], [key[0], key[1]]);
            block[i % 4] >= self.threshold()
        };
        with_float!("dropout", inputs[0], T => {
            let x = inputs[0].as_slice::<T>()?.iter().enumerate();
            let y = x.map(|(i, &x)| if keeps(i) { x * T::c(self.scale()) } else { T::c(0.0) }).collect();
            Ok(vec![Array::new(inputs[0].shape(), y)?])
        })
    }

    fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
        Lowering::Decompose
    }

    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let TensorType { shape, dtype } = graph.type_of(inputs[0]).clone();
        let bits = graph.emit(RandomBits { shape, stream: self.stream }, &inputs[1..])?;
        let threshold = graph.constant(f64::from(self.threshold()), DType::U32)?;
        let kept = graph.elementwise("ge", &[bits, threshold], &[])?;
        let scaled = graph.scale(inputs[0], self.scale())?;
        let zero = graph.constant(0.0, dtype)?;
        Ok(vec![graph.select(kept, scaled, zero)?])
    }
}

impl Graph {
    /// `x` with a share `rate` of its elements at 0 and the others times 1/(1 − rate): which ones follows from the key
    /// `u32[2]`, the step `u32[]` and `stream`. Only for training; a rate of 0 gives `x` itself.
    ///
    /// # Errors
    /// When `rate` is not in [0, 1), or the element types or the shapes of key and step do not fit.
    pub fn dropout(&mut self, x: Value, key: Value, step: Value, rate: f64, stream: u32) -> Result<Value> {
        if rate == 0.0 {
            return Ok(x);
        }
        self.emit(Dropout { rate, stream }, &[x, key, step])
    }
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    const KEY: [u32; 2] = [0xa409_3822, 0x299f_31d0];
    const STEP: u32 = 3;
    const STREAM: u32 = 7;
    let op = |rate| Dropout { rate, stream: STREAM };
    let with = |x: Array| vec![x, Array::new(&[2], KEY.to_vec()).expect("two words"), Array::scalar(STEP)];
    let data = |shape: &[usize]| Sample::uniform(shape, -2.0, 2.0, 8);
    let e = Tolerance::ROUNDED;
    // The rate at which the word of element 6 is just large enough, and the next, at which it is not.
    let word = philox([1, STEP, STREAM, 0], KEY)[2];
    let at = |word: u32| f64::from(word) / 2f64.powi(32);
    let special = Array::new(&[8], vec![f32::NAN, 1.0, f32::NAN, f32::NAN, 0.0, f32::NAN, -1.0, f32::NAN]);
    let wrong_key = vec![data(&[4]), Array::zeros(&[1], DType::U32), Array::scalar(STEP)];
    let wrong_step = vec![data(&[4]), Array::zeros(&[2], DType::U32), Array::zeros(&[1], DType::U32)];
    let config = ErrorKind::Config;
    vec![
        Sample::new("half", op(0.5), with(data(&[4, 6])), e),
        Sample::new("image", op(0.1), with(data(&[2, 3, 5, 7])), e),
        Sample::new("nearly all", op(0.9), with(data(&[5, 13])), e),
        Sample::new("nothing", op(0.0), with(data(&[3, 5])), e),
        Sample::new("one element", op(0.25), with(data(&[1])), e),
        Sample::new("no axes", op(0.25), with(data(&[])), e),
        Sample::new("zero size", op(0.5), with(data(&[0, 4])), e),
        Sample::new("word at the threshold", op(at(word)), with(data(&[9])), e),
        Sample::new("word below the threshold", op(at(word.saturating_add(1))), with(data(&[9])), e),
        Sample::new("NaN", op(0.5), with(special.expect("eight elements")), e).not_smooth(),
        Sample::error("everything", op(1.0), with(data(&[4])), config, "a rate of 1 is not in [0, 1)"),
        Sample::error("less than nothing", op(-0.1), with(data(&[4])), config, "a rate of -0.1 is not in [0, 1)"),
        Sample::error("NaN rate", op(f64::NAN), with(data(&[4])), config, "a rate of NaN is not in [0, 1)"),
        Sample::error("key of one word", op(0.5), wrong_key, ErrorKind::Shape, "takes a key u32[2]"),
        Sample::error("step with an axis", op(0.5), wrong_step, ErrorKind::Shape, "and u32[1]"),
        Sample::error("integers", op(0.5), with(Array::full(&[4], 1u32)), ErrorKind::DType, "takes floats"),
    ]
}
