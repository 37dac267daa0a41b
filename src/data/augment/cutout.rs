//! Images of which a square is missing.

/// Sets a square of `side` pixels around `middle` (row, column) to 0, as far as it is in the image `[H, W, C]`.
pub(super) fn cut(image: &mut [f32], [height, width, channels]: [usize; 3], middle: [usize; 2], side: usize) {
    let range = |middle: usize, extent: usize| {
        let start = middle as i64 - (side / 2) as i64;
        let end = start.saturating_add(side as i64).clamp(0, extent as i64);
        start.max(0) as usize..end as usize
    };
    let columns = range(middle[1], width);
    for row in range(middle[0], height) {
        image[(row * width + columns.start) * channels..(row * width + columns.end) * channels].fill(0.0);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_square_is_cut_as_far_as_it_is_in_the_image() {
        let cut = |middle, side| {
            let mut image = vec![1.0; 4 * 5 * 2];
            super::cut(&mut image, [4, 5, 2], middle, side);
            image.iter().step_by(2).enumerate().filter(|(_, x)| **x == 0.0).map(|(i, _)| i).collect::<Vec<_>>()
        };
        assert_eq!(cut([2, 2], 1), [12]);
        assert_eq!(cut([2, 2], 2), [6, 7, 11, 12]);
        assert_eq!(cut([0, 4], 3), [3, 4, 8, 9]);
        assert_eq!(cut([1, 1], 100).len(), 20);
    }
}
