//! Sub-pixel rearrangement: channels to pixels, and back (Shi et al. 2016, arXiv 1609.05158).
//!
//! ```text
//! shuffle    y[n, h · r + i, w · r + j, c] = x[n, h, w, (c · r + i) · r + j]
//! unshuffle  y[n, h, w, (c · r + i) · r + j] = x[n, h · r + i, w · r + j, c]
//! ```
//!
//! The order of channels is that of PyTorch's `pixel_shuffle` and `pixel_unshuffle`, so channels-last results are theirs
//! with the axes moved. Each is the other's inverse and gradient. Devices run a permutation of six axes.

use crate::array::Array;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Autocast, Gradient, Graph, Lowering, Op, Sample, TensorType, Tolerance, Value, expect_inputs};

/// `[N, H, W, C · r²]` → `[N, H · r, W · r, C]`, of any type.
#[derive(Clone, Debug)]
pub struct PixelShuffle {
    /// The factor r.
    pub upscale_factor: usize,
}

/// `[N, H · r, W · r, C]` → `[N, H, W, C · r²]`, of any type.
#[derive(Clone, Debug)]
pub struct PixelUnshuffle {
    /// The factor r.
    pub downscale_factor: usize,
}

/// The extents of an image, for a factor that is not 0.
fn image(op: &str, input: &TensorType, factor: usize) -> Result<[usize; 4]> {
    if factor == 0 {
        return Err(Error::shape(op, "the factor is 0, it must be at least 1"));
    }
    <[usize; 4]>::try_from(input.shape.as_slice())
        .map_err(|_| Error::shape(op, format_args!("the image must be [N, H, W, C], got {:?}", input.shape)))
}

/// An array of `shape` and the type of `from` whose element at `[n, h, w, c]` is that of `from` at `source([n, h, w, c])`.
fn gather(from: &Array, shape: [usize; 4], source: impl Fn([usize; 4]) -> [usize; 4]) -> Result<Array> {
    let elements = from.to_f64_vec();
    let [_, height, width, channels] = [0, 1, 2, 3].map(|axis| from.shape()[axis]);
    let mut gathered = Vec::with_capacity(crate::shape::element_count(&shape));
    for n in 0..shape[0] {
        for h in 0..shape[1] {
            for w in 0..shape[2] {
                for c in 0..shape[3] {
                    let [n, h, w, c] = source([n, h, w, c]);
                    gathered.push(elements[((n * height + h) * width + w) * channels + c]);
                }
            }
        }
    }
    Ok(Array::new(&shape, gathered)?.cast(from.dtype()))
}

impl Op for PixelShuffle {
    fn name(&self) -> &'static str {
        "pixel_shuffle"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1)?;
        let r = self.upscale_factor;
        let [batch, height, width, channels] = image(self.name(), &inputs[0], r)?;
        let Some(square) = r.checked_mul(r).filter(|square| channels % square == 0) else {
            let message = format_args!("{channels} channels are no multiple of the factor squared, {r} · {r}");
            return Err(Error::shape(self.name(), message));
        };
        Ok(vec![TensorType::new(inputs[0].dtype, [batch, height * r, width * r, channels / square])])
    }

    fn autocast(&self) -> Autocast {
        Autocast::Parts
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            let Some(g) = cx.gradient(0) else { return Ok(()) };
            let gradient = cx.graph.pixel_unshuffle(g, self.upscale_factor)?;
            cx.give(0, gradient);
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let (x, r) = (&inputs[0], self.upscale_factor);
        let [batch, height, width, channels] = [0, 1, 2, 3].map(|axis| x.shape()[axis]);
        let shape = [batch, height * r, width * r, channels / (r * r)];
        Ok(vec![gather(x, shape, |[n, h, w, c]| [n, h / r, w / r, (c * r + h % r) * r + w % r])?])
    }

    fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
        Lowering::Decompose
    }

    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let r = self.upscale_factor;
        let [batch, height, width, channels] = image(self.name(), graph.type_of(inputs[0]), r)?;
        let outputs = channels / (r * r);
        let split = graph.reshape(inputs[0], &[batch, height, width, outputs, r, r])?;
        let moved = graph.permute(split, &[0, 1, 4, 2, 5, 3])?;
        Ok(vec![graph.reshape(moved, &[batch, height * r, width * r, outputs])?])
    }
}

impl Op for PixelUnshuffle {
    fn name(&self) -> &'static str {
        "pixel_unshuffle"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1)?;
        let r = self.downscale_factor;
        let [batch, height, width, channels] = image(self.name(), &inputs[0], r)?;
        if height % r != 0 || width % r != 0 {
            let message =
                format_args!("an image of {height}×{width} does not divide into blocks of {r}×{r}; pad first");
            return Err(Error::shape(self.name(), message));
        }
        // A factor that divides an extent may still be too large where that is 0.
        let Some(channels) = r.checked_mul(r).and_then(|square| square.checked_mul(channels)) else {
            return Err(Error::shape(self.name(), format_args!("a factor of {r} is too large")));
        };
        Ok(vec![TensorType::new(inputs[0].dtype, [batch, height / r, width / r, channels])])
    }

    fn autocast(&self) -> Autocast {
        Autocast::Parts
    }

    fn gradient(&self) -> Gradient<'_> {
        Gradient::rule(|cx| {
            let Some(g) = cx.gradient(0) else { return Ok(()) };
            let gradient = cx.graph.pixel_shuffle(g, self.downscale_factor)?;
            cx.give(0, gradient);
            Ok(())
        })
    }

    fn reference(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let (x, r) = (&inputs[0], self.downscale_factor);
        let [batch, height, width, channels] = [0, 1, 2, 3].map(|axis| x.shape()[axis]);
        let shape = [batch, height / r, width / r, channels * r * r];
        Ok(vec![gather(x, shape, |[n, h, w, c]| [n, h * r + c / r % r, w * r + c % r, c / (r * r)])?])
    }

    fn lowering(&self, _: &[TensorType], _: &[TensorType]) -> Lowering {
        Lowering::Decompose
    }

    fn decompose(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let r = self.downscale_factor;
        let [batch, height, width, channels] = image(self.name(), graph.type_of(inputs[0]), r)?;
        let split = graph.reshape(inputs[0], &[batch, height / r, r, width / r, r, channels])?;
        let moved = graph.permute(split, &[0, 1, 3, 5, 2, 4])?;
        Ok(vec![graph.reshape(moved, &[batch, height / r, width / r, channels * r * r])?])
    }
}

impl Graph {
    /// Channels to pixels: `[N, H, W, C · r²]` → `[N, H · r, W · r, C]` for r = `upscale_factor`.
    ///
    /// # Errors
    /// When there are not four axes, or the channels are no multiple of r².
    pub fn pixel_shuffle(&mut self, image: Value, upscale_factor: usize) -> Result<Value> {
        self.emit(PixelShuffle { upscale_factor }, &[image])
    }

    /// Pixels to channels: `[N, H · r, W · r, C]` → `[N, H, W, C · r²]` for r = `downscale_factor`.
    ///
    /// # Errors
    /// When there are not four axes, or height or width are no multiple of r.
    pub fn pixel_unshuffle(&mut self, image: Value, downscale_factor: usize) -> Result<Value> {
        self.emit(PixelUnshuffle { downscale_factor }, &[image])
    }
}

/// The samples of this file.
pub fn samples() -> Vec<Sample> {
    let data = |shape: &[usize]| Sample::uniform(shape, -2.0, 2.0, 91);
    let shuffle = |upscale_factor| PixelShuffle { upscale_factor };
    let unshuffle = |downscale_factor| PixelUnshuffle { downscale_factor };
    let mut samples = Vec::new();
    for (name, r, [batch, height, width, channels]) in [
        ("factor 2", 2, [2, 3, 4, 3]),
        ("factor 3, one channel", 3, [1, 2, 1, 1]),
        ("factor 1", 1, [2, 3, 2, 5]),
        ("one pixel", 4, [1, 1, 1, 2]),
        ("one element", 1, [1, 1, 1, 1]),
        ("no images", 2, [0, 3, 4, 3]),
    ] {
        let (coarse, fine) = ([batch, height, width, channels * r * r], [batch, height * r, width * r, channels]);
        samples.push(Sample::new(name, shuffle(r), vec![data(&coarse)], Tolerance::EXACT));
        samples.push(Sample::new(name, unshuffle(r), vec![data(&fine)], Tolerance::EXACT));
    }
    let integers = Array::from_fn(&[1, 2, 3, 8], |i| (i[1] * 24 + i[2] * 8 + i[3]) as u32);
    samples.push(Sample::new("integers", shuffle(2), vec![integers], Tolerance::EXACT));
    fn error(name: &str, op: impl Op, shape: &[usize], words: &'static str) -> Sample {
        Sample::error(name, op, vec![Sample::uniform(shape, -2.0, 2.0, 91)], ErrorKind::Shape, words)
    }
    samples.extend([
        error("channels", shuffle(2), &[1, 2, 2, 6], "6 channels are no multiple of the factor squared, 2 · 2"),
        error("factor 0", shuffle(0), &[1, 2, 2, 4], "pixel_shuffle: the factor is 0"),
        error("three axes", shuffle(2), &[2, 2, 4], "must be [N, H, W, C], got [2, 2, 4]"),
        error("height", unshuffle(2), &[1, 3, 2, 1], "an image of 3×2 does not divide into blocks of 2×2; pad first"),
        error("factor 0", unshuffle(0), &[1, 2, 2, 4], "pixel_unshuffle: the factor is 0"),
        error("factor too large", unshuffle(1 << 40), &[1, 0, 0, 4], "is too large"),
    ]);
    samples
}
