//! A chart: lines over epochs, with an axis that has round numbers.

use minijinja::context;
use neuropil::Error;
use serde::Serialize;

use super::{environment, failed};

/// The size, and the margins of the plot: left, top, right, bottom.
const SIZE: [f64; 2] = [560.0, 260.0];
const MARGINS: [f64; 4] = [62.0, 10.0, 12.0, 26.0];
/// About how many numbers an axis has.
const TICKS: f64 = 5.0;

/// A line of a chart.
pub struct Line {
    /// Its class in the page's style.
    pub class: &'static str,
    /// From left to right. What is not finite interrupts the line.
    pub points: Vec<(f64, f64)>,
}

/// What a chart shows.
pub struct Chart<'a> {
    /// What goes up.
    pub name: &'a str,
    /// What goes to the right.
    pub across: &'a str,
    /// The lines.
    pub lines: Vec<Line>,
    /// How a number of the vertical axis reads.
    pub text: &'a dyn Fn(f64) -> String,
}

#[derive(Serialize)]
struct Tick {
    at: f64,
    text: String,
}

#[derive(Serialize)]
struct Drawn {
    class: &'static str,
    path: String,
    /// The last point, which has a dot.
    end: Option<(f64, f64)>,
}

/// The chart as an SVG element.
///
/// # Errors
/// When the template is wrong.
pub fn chart(chart: &Chart<'_>) -> Result<String, Error> {
    let points = || chart.lines.iter().flat_map(|line| &line.points).filter(|(x, y)| x.is_finite() && y.is_finite());
    let span = |of: fn(&(f64, f64)) -> f64| {
        let low = points().map(of).fold(f64::INFINITY, f64::min);
        let high = points().map(of).fold(f64::NEG_INFINITY, f64::max);
        if low <= high { (low, high) } else { (0.0, 1.0) }
    };
    let (left, right) = span(|point| point.0);
    let (low, high) = span(|point| point.1);
    // Equal ends would be no axis.
    let widened = |low: f64, high: f64| if high > low { (low, high) } else { (low - 0.5, high + 0.5) };
    let ((left, right), (low, high)) = (widened(left, right), widened(low, high));
    let step = round_step(high - low);
    let (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
    let [margin_left, margin_top, margin_right, margin_bottom] = MARGINS;
    let place = |x: f64| margin_left + (x - left) / (right - left) * (SIZE[0] - margin_left - margin_right);
    let height = |y: f64| margin_top + (high - y) / (high - low) * (SIZE[1] - margin_top - margin_bottom);
    let ups = (0..=((high - low) / step).round() as usize).map(|i| low + i as f64 * step);
    let ups: Vec<Tick> = ups.map(|y| Tick { at: rounded(height(y)), text: (chart.text)(y) }).collect();
    let across_step = round_step(right - left).max(1.0);
    let first = (left / across_step).ceil() as i64;
    let acrosses = (first..=(right / across_step).floor() as i64).map(|i| i as f64 * across_step);
    let acrosses: Vec<Tick> = acrosses.map(|x| Tick { at: rounded(place(x)), text: format!("{x}") }).collect();
    let lines: Vec<Drawn> = chart
        .lines
        .iter()
        .map(|line| {
            let mut path = String::new();
            let mut end = None;
            let mut pen = 'M';
            for &(x, y) in &line.points {
                if !(x.is_finite() && y.is_finite()) {
                    pen = 'M';
                    continue;
                }
                let (x, y) = (rounded(place(x)), rounded(height(y)));
                path.push_str(&format!("{pen}{x} {y}"));
                (pen, end) = ('L', Some((x, y)));
            }
            Drawn { class: line.class, path, end }
        })
        .collect();
    let context = context! {
        name => chart.name, across => chart.across, lines, ups, acrosses,
        width => SIZE[0], height => SIZE[1],
        left => margin_left, right => SIZE[0] - margin_right, bottom => SIZE[1] - margin_bottom,
    };
    environment().render_named_str("chart.svg", include_str!("chart.svg"), context).map_err(failed)
}

/// A step of 1, 2 or 5 times a power of ten that cuts `span` in about as many parts as an axis has numbers.
fn round_step(span: f64) -> f64 {
    let rough = span / TICKS;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0].into_iter().find(|step| step * power >= rough).unwrap_or(10.0);
    step * power
}

fn rounded(place: f64) -> f64 {
    (10.0 * place).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(points: &[(f64, f64)]) -> String {
        let lines = vec![Line { class: "test", points: points.to_vec() }];
        chart(&Chart { name: "Loss", across: "epoch", lines, text: &|y| format!("{y:.1}") }).unwrap()
    }

    #[test]
    fn axes_have_round_numbers_and_lines_fill_them() {
        let svg = drawn(&[(1.0, 0.93), (2.0, 0.4), (3.0, 0.21)]);
        for text in [">0.2<", ">0.4<", ">1.0<", ">1<", ">2<", ">3<"] {
            assert!(svg.contains(text), "{text} in {svg}");
        }
        assert!(svg.contains("d=\"M62 29.6L305 178"), "{svg}");
    }

    #[test]
    fn what_cannot_be_drawn_is_left_out() {
        for points in [&[][..], &[(1.0, f64::NAN)], &[(1.0, 2.0)], &[(1.0, 1.0), (2.0, f64::INFINITY), (3.0, 1.0)]] {
            let svg = drawn(points);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
        assert_eq!(drawn(&[(1.0, 1.0), (2.0, f64::NAN), (3.0, 1.0)]).matches("M62 ").count(), 1);
        assert_eq!([round_step(1.0), round_step(0.011), round_step(37.0)], [0.2, 0.005, 10.0]);
    }
}
