//! Brighter and darker images, stronger and weaker contrast. Numbers may leave [0, 1].

/// Adds `change` to every number.
pub(super) fn brighten(image: &mut [f32], change: f32) {
    image.iter_mut().for_each(|number| *number += change);
}

/// Multiplies the distance of every number from the mean of all by `factor`.
pub(super) fn contrast(image: &mut [f32], factor: f32) {
    let mean = (image.iter().map(|&number| f64::from(number)).sum::<f64>() / image.len().max(1) as f64) as f32;
    image.iter_mut().for_each(|number| *number = mean + (*number - mean) * factor);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_move_as_told() {
        let mut image = [0.0, 0.5, 1.0];
        brighten(&mut image, 0.25);
        assert_eq!(image, [0.25, 0.75, 1.25]);
        contrast(&mut image, 0.5);
        assert_eq!(image, [0.5, 0.75, 1.0]);
        contrast(&mut image, 0.0);
        assert_eq!(image, [0.75; 3]);
    }
}
