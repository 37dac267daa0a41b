//! An autoencoder: pictures through few numbers, and back by transposed convolutions.

use super::super::{Activation, Conv2d, ConvTranspose2d, Sequential};

/// Two convolutions of stride 2 and a 1×1 one to `code` numbers for every 4×4 pixels, then two transposed convolutions of
/// stride 2 that draw the picture again with `channels` channels. Height and width must be multiples of 4.
///
/// The outputs are logits of pixels in [0, 1]: [`binary_cross_entropy_with_logits`](crate::loss::binary_cross_entropy_with_logits)
/// against the input is the loss, the sigmoid of the outputs the picture. It classifies nothing, so it has no name in
/// [`by_name`](super::by_name).
pub fn autoencoder(channels: usize, code: usize) -> Sequential {
    Sequential::new()
        .named("conv1", Conv2d::new(16, 3).padding(1).stride(2))
        .named("relu1", Activation::Relu)
        .named("conv2", Conv2d::new(32, 3).padding(1).stride(2))
        .named("relu2", Activation::Relu)
        .named("code", Conv2d::new(code, 1))
        .named("expand", Conv2d::new(32, 1))
        .named("relu3", Activation::Relu)
        .named("deconv1", ConvTranspose2d::new(16, 3).padding(1).stride(2).output_padding(1))
        .named("relu4", Activation::Relu)
        .named("deconv2", ConvTranspose2d::new(channels, 3).padding(1).stride(2).output_padding(1))
}
