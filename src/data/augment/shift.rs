//! Shifted images: what a crop of an image with a border of zeros shows.

/// Moves an image `[H, W, C]` by so many pixels down and to the right; zeros come in.
pub(super) fn shift(image: &mut [f32], [height, width, channels]: [usize; 3], down: i64, right: i64) {
    let source = image.to_vec();
    image.fill(0.0);
    let row = width * channels;
    let kept = width.saturating_sub(right.unsigned_abs() as usize) * channels;
    if kept == 0 {
        return;
    }
    let (from_column, to_column) = ((-right).max(0) as usize * channels, right.max(0) as usize * channels);
    for y in 0..height {
        let Some(from) = (y as i64).checked_sub(down).filter(|from| (0..height as i64).contains(from)) else {
            continue;
        };
        let kept_pixels = &source[from as usize * row + from_column..][..kept];
        image[y * row + to_column..][..kept].copy_from_slice(kept_pixels);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_move_and_zeros_come_in() {
        let moved = |down, right| {
            let mut image = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
            shift(&mut image, [3, 2, 1], down, right);
            image
        };
        assert_eq!(moved(0, 0), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(moved(1, 0), [0.0, 0.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(moved(-2, 1), [0.0, 5.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(moved(0, -1), [2.0, 0.0, 4.0, 0.0, 6.0, 0.0]);
        assert_eq!([moved(3, 0), moved(0, 2), moved(0, -7)], [[0.0; 6]; 3]);
        let mut two_channels = [1.0, 2.0, 3.0, 4.0];
        shift(&mut two_channels, [1, 2, 2], 0, 1);
        assert_eq!(two_channels, [0.0, 0.0, 1.0, 2.0]);
    }
}
