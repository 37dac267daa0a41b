//! Images turned about their middle.

/// Turns an image `[H, W, C]` by so many degrees, clockwise; each pixel is interpolated between the four that it came from,
/// and what came from outside is 0. The sine and cosine are `libm`'s, so that every platform gets the same bits.
pub(super) fn turn(image: &mut [f32], [height, width, channels]: [usize; 3], degrees: f32) {
    let source = image.to_vec();
    let radians = degrees.to_radians();
    let (sine, cosine) = (libm::sinf(radians), libm::cosf(radians));
    let [middle_y, middle_x] = [height, width].map(|extent| (extent as f32 - 1.0) / 2.0);
    let pixel = |y: i64, x: i64, channel: usize| {
        let inside = (0..height as i64).contains(&y) && (0..width as i64).contains(&x);
        if inside { source[(y as usize * width + x as usize) * channels + channel] } else { 0.0 }
    };
    for y in 0..height {
        for x in 0..width {
            let (dy, dx) = (y as f32 - middle_y, x as f32 - middle_x);
            let (from_y, from_x) = (middle_y - sine * dx + cosine * dy, middle_x + cosine * dx + sine * dy);
            let (top, left) = (from_y.floor(), from_x.floor());
            let (down, right) = (from_y - top, from_x - left);
            let (top, left) = (top as i64, left as i64);
            for channel in 0..channels {
                let above = pixel(top, left, channel) * (1.0 - right) + pixel(top, left + 1, channel) * right;
                let below = pixel(top + 1, left, channel) * (1.0 - right) + pixel(top + 1, left + 1, channel) * right;
                image[(y * width + x) * channels + channel] = above * (1.0 - down) + below * down;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_turn_moves_pixels_clockwise() {
        let mut image = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
        turn(&mut image, [3, 3, 1], 90.0);
        let expected = [7.0, 4.0, 1.0, 8.0, 5.0, 2.0, 9.0, 6.0, 3.0];
        assert!(image.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{image:?}");
    }

    #[test]
    fn no_turn_changes_nothing_and_corners_come_from_outside() {
        let original: Vec<f32> = (1..=50).map(|i| i as f32).collect();
        let mut image = original.clone();
        turn(&mut image, [5, 5, 2], 0.0);
        assert_eq!(image, original);
        let mut white = vec![1.0; 81];
        turn(&mut white, [9, 9, 1], 45.0);
        assert!(white[0] == 0.0 && white[8] == 0.0 && (white[40] - 1.0).abs() < 1e-6, "{white:?}");
        assert!(white.iter().all(|x| (0.0..=1.0001).contains(x)));
    }
}
