//! Mirrored images.

/// Mirrors an image `[H, W, C]`, left to right.
pub(super) fn left_to_right(image: &mut [f32], [_, width, channels]: [usize; 3]) {
    for row in image.chunks_exact_mut((width * channels).max(1)) {
        for left in 0..width / 2 {
            let right = width - 1 - left;
            (0..channels).for_each(|channel| row.swap(left * channels + channel, right * channels + channel));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_change_places_and_channels_do_not() {
        let mut image = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0];
        left_to_right(&mut image, [2, 3, 2]);
        assert_eq!(image, [5.0, 6.0, 3.0, 4.0, 1.0, 2.0, 11.0, 12.0, 9.0, 10.0, 7.0, 8.0]);
    }
}
