//! What a network looks at: its first filters, what they find in an image, and which pixels decide.
//!
//! The saliency of a pixel is how much the score of the winning class changes with it: the largest absolute gradient among its
//! channels (Simonyan et al. 2013, arXiv 1312.6034). Nothing of the model changes. Before: a [`Trainer`] with a trained model.

use super::Trainer;
use crate::array::Array;
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::program::{Mode, Program};

/// What is seen in some images.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// `[N, H, W]`: how much each pixel decides.
    pub saliency: Array,
    /// `[N, P, Q, F]`: what the first convolution gives, and its scope; `None` without a convolution.
    pub features: Option<(String, Array)>,
}

impl Trainer {
    /// The weights `[F, R, S, C]` of the first convolution, and their name; `None` without a convolution.
    ///
    /// # Errors
    /// When the model does not fit the device, or that is lost.
    pub fn filters(&mut self) -> Result<Option<(String, Array)>> {
        self.predict_program(1, false)?;
        let first = self.declared()?.into_iter().find(|parameter| parameter.shape.len() == 4);
        first.map(|parameter| Ok((parameter.name.clone(), self.store().get(&parameter.name)?))).transpose()
    }

    /// What the model sees in `images` `[N, H, W, C]`, which are few: a program is compiled for them.
    ///
    /// # Errors
    /// When the images have another shape, or the device is lost.
    pub fn look(&self, images: &Array) -> Result<Look> {
        if images.shape().get(1..) != Some(&self.image_shape()[..]) {
            let (own, given) = (self.image_shape(), images.shape());
            let text = format!("look: the model takes images {own:?}, these are {given:?}");
            return Err(Error::new(ErrorKind::Shape, text));
        }
        let averaged = self.averaged()?;
        let mut convolution = None;
        let program = Program::compile("look", self.store(), Mode::Evaluate, |trace| {
            if averaged {
                trace.use_averages();
            }
            let images = trace.input("images", images.shape(), DType::F32);
            let logits = self.logits(trace, &images);
            // Before the gradients, which are convolutions too.
            if let Some((scope, tensor)) = trace.first_result("conv2d") {
                trace.output("features", &tensor);
                convolution = Some(scope);
            }
            let winners = logits.max(&[-1]).sum_all();
            let gradient = trace.gradient(&winners, &[&images]).remove(0);
            trace.output("saliency", &gradient.abs().max(&[-1]));
        })?;
        program.run(&[("images", images)])?;
        let features = convolution.map(|scope| Ok((scope, program.read("features")?))).transpose()?;
        Ok(Look { saliency: program.read("saliency")?, features })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::nn::{Conv2d, Flatten, Linear, Sequential};
    use crate::train::Settings;

    #[test]
    fn a_pixel_decides_by_its_weight() {
        let model = Sequential::new().then(Flatten).named("head", Linear::new(2));
        let mut trainer = Trainer::new(&Device::cpu(), model, [1, 2, 2], Settings::default());
        assert_eq!(trainer.filters().unwrap(), None);
        trainer
            .store()
            .set("head.weight", &Array::new(&[2, 4], vec![1f32, -2.0, 0.5, 0.0, 0.0, 0.0, 0.0, 3.0]).unwrap())
            .unwrap();
        trainer.store().set("head.bias", &Array::new(&[2], vec![0f32, 0.5]).unwrap()).unwrap();
        // The first class wins on the first image, the second on the other.
        let images = Array::new(&[2, 1, 2, 2], vec![1f32, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]).unwrap();
        let look = trainer.look(&images).unwrap();
        assert_eq!(look.saliency, Array::new(&[2, 1, 2], vec![2f32, 0.5, 0.0, 3.0]).unwrap());
        assert_eq!(look.features, None);
        assert!(trainer.look(&Array::zeros(&[1, 2, 2, 2], DType::F32)).is_err());
    }

    #[test]
    fn features_are_what_the_first_convolution_gives() {
        let model =
            Sequential::new().named("first", Conv2d::new(3, 1)).named("another", Conv2d::new(2, 1)).then(Flatten);
        let mut trainer = Trainer::new(&Device::cpu(), model, [2, 2, 1], Settings::default());
        let (name, filters) = trainer.filters().unwrap().unwrap();
        assert_eq!((name.as_str(), filters.shape()), ("first.weight", &[3, 1, 1, 1][..]));
        let look = trainer.look(&Array::full(&[1, 2, 2, 1], 1f32)).unwrap();
        let (scope, features) = look.features.unwrap();
        assert_eq!(scope, "first");
        let expected: Vec<f32> = filters.as_slice::<f32>().unwrap().repeat(4);
        assert_eq!(features, Array::new(&[1, 2, 2, 3], expected).unwrap());
    }
}
