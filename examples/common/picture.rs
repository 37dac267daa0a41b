//! What the examples that draw have in common: the words of their command line, and pictures as SVG.
//!
//! A picture is drawn in memory, written under a temporary name and renamed, so a file with its name is whole. Sizes are
//! integers, so the same numbers give the same file. Each example includes this module and uses a part of it.
#![allow(dead_code, reason = "every example draws with other parts")]

use std::error::Error;
use std::ops::Range;
use std::path::{Path, PathBuf};

use neuropil::Device;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// What examples give: they pass on errors of the crate and of drawing, and their own.
pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;
/// Where a picture is drawn.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// A chart with two axes.
pub type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Text and outlines.
pub const INK: RGBColor = RGBColor(38, 50, 56);
/// What stands back: axes, explanations.
pub const GREY: RGBColor = RGBColor(120, 132, 138);
/// The light grey of lines between cells.
pub const MIST: RGBColor = RGBColor(226, 230, 232);
/// The first colour; of the class 0.
pub const BLUE: RGBColor = RGBColor(31, 97, 141);
/// The second; of the class 1.
pub const ORANGE: RGBColor = RGBColor(211, 101, 22);
/// The third.
pub const GREEN: RGBColor = RGBColor(42, 133, 89);

/// The device and the file of the picture that the command line names: `[device] [--out FILE]`. The device is `cpu` unless
/// it says otherwise, so that a picture is the same wherever it is drawn; the file is `docs/brain/NAME`.
pub fn arguments(name: &str) -> Outcome<(Device, PathBuf)> {
    let mut device = "cpu".to_owned();
    let mut out = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/brain").join(name);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--out" => out = words.next().ok_or("--out needs the name of a file")?.into(),
            option if option.starts_with('-') => {
                return Err(format!("unknown option {option}; there are: [device] [--out FILE]").into());
            }
            word => word.clone_into(&mut device),
        }
    }
    Ok((Device::select(&device)?, out))
}

/// What an example promises: an error with `text` if it does not hold.
pub fn promise(holds: bool, text: impl Into<String>) -> Outcome {
    if holds { Ok(()) } else { Err(text.into().into()) }
}

/// Draws a picture on white and writes it.
pub fn save(path: &Path, size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Outcome) -> Outcome {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        area.fill(&WHITE)?;
        draw(&area)?;
        area.present()?;
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // What is so anyway need not be said of every cell.
    let text = text.replace(" opacity=\"1\"", "").replace(" stroke=\"none\"", "");
    let unfinished = path.with_extension("svg.unfinished");
    std::fs::write(&unfinished, text)?;
    std::fs::rename(&unfinished, path)?;
    println!("Drawn: {}", path.display());
    Ok(())
}

/// A line of text whose left end, or middle, is at the point; both centred vertically.
pub fn text(area: &Area<'_>, at: (i32, i32), size: u32, colour: RGBColor, text: &str) -> Outcome {
    write(area, at, size, colour, HPos::Left, text)
}

/// As [`text`], around the point.
pub fn label(area: &Area<'_>, at: (i32, i32), size: u32, colour: RGBColor, text: &str) -> Outcome {
    write(area, at, size, colour, HPos::Center, text)
}

fn write(area: &Area<'_>, at: (i32, i32), size: u32, colour: RGBColor, side: HPos, text: &str) -> Outcome {
    let style = ("sans-serif", size).into_font().color(&colour).pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text.to_owned(), at, style))?;
    Ok(())
}

/// The colour at `share` (0 to 1) of the way from `a` to `b`, in 16 steps: equal neighbours are drawn as one.
pub fn blend(a: RGBColor, b: RGBColor, share: f64) -> RGBColor {
    let share = (share.clamp(0.0, 1.0) * 16.0).round() / 16.0;
    let mix = |a: u8, b: u8| (f64::from(a) + share * (f64::from(b) - f64::from(a))).round() as u8;
    RGBColor(mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}

/// Blue below zero, white at zero, orange above; fully so at -1 and 1.
pub fn signed(value: f64) -> RGBColor {
    blend(WHITE, if value < 0.0 { BLUE } else { ORANGE }, value.abs())
}

/// Squares of `cell` pixels from `corner` on, `columns` a row. Equal neighbours of a row become one rectangle.
pub fn cells(area: &Area<'_>, corner: (i32, i32), cell: i32, columns: usize, colours: &[RGBColor]) -> Outcome {
    for (row, colours) in colours.chunks(columns).enumerate() {
        let top = corner.1 + row as i32 * cell;
        let mut start = 0;
        while start < colours.len() {
            let run = colours[start..].iter().take_while(|&&colour| colour == colours[start]).count();
            let left = corner.0 + start as i32 * cell;
            let end = (left + run as i32 * cell, top + cell);
            area.draw(&Rectangle::new([(left, top), end], colours[start].filled()))?;
            start += run;
        }
    }
    Ok(())
}

/// An image of small values as ink on white with a frame around it; 1 is black.
pub fn image(area: &Area<'_>, corner: (i32, i32), cell: i32, columns: usize, pixels: &[f32]) -> Outcome {
    let colours: Vec<RGBColor> = pixels.iter().map(|&pixel| blend(WHITE, INK, f64::from(pixel))).collect();
    tile(area, corner, cell, columns, &colours)
}

/// [`cells`] with a frame.
pub fn tile(area: &Area<'_>, corner: (i32, i32), cell: i32, columns: usize, colours: &[RGBColor]) -> Outcome {
    cells(area, corner, cell, columns, colours)?;
    let end = (corner.0 + columns as i32 * cell, corner.1 + (colours.len() / columns) as i32 * cell);
    frame(area, corner, end, MIST)
}

/// The outline of a rectangle.
pub fn frame(area: &Area<'_>, corner: (i32, i32), end: (i32, i32), colour: RGBColor) -> Outcome {
    area.draw(&Rectangle::new([corner, end], colour.stroke_width(1)))?;
    Ok(())
}

/// Axes with a caption and names, without a grid.
pub fn chart<'a>(area: &Area<'a>, caption: &str, x: (Range<f64>, &str), y: (Range<f64>, &str)) -> Outcome<Chart<'a>> {
    let digits = |range: &Range<f64>| usize::from(range.end - range.start < 6.0);
    let (x_digits, y_digits) = (digits(&x.0), digits(&y.0));
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .margin_right(20)
        .caption(caption, ("sans-serif", 16).into_font().color(&INK))
        .x_label_area_size(if x.1.is_empty() { 24 } else { 38 })
        .y_label_area_size(if y.1.is_empty() { 38 } else { 52 })
        .build_cartesian_2d(x.0, y.0)?;
    let (x_label, y_label) = (|x: &f64| format!("{x:.x_digits$}"), |y: &f64| format!("{y:.y_digits$}"));
    let mut mesh = chart.configure_mesh();
    mesh.x_label_formatter(&x_label).y_label_formatter(&y_label);
    mesh.disable_mesh().x_labels(6).y_labels(5).axis_style(GREY);
    mesh.x_desc(x.1).y_desc(y.1).label_style(("sans-serif", 12).into_font().color(&GREY));
    mesh.axis_desc_style(("sans-serif", 13).into_font().color(&INK)).draw()?;
    Ok(chart)
}

/// A line in a chart.
pub fn line(
    chart: &mut Chart<'_>,
    points: impl IntoIterator<Item = (f64, f64)>,
    colour: RGBColor,
    width: u32,
) -> Outcome {
    chart.draw_series(LineSeries::new(points, colour.stroke_width(width)))?;
    Ok(())
}

/// A point, large ones with a white rim, so that they stand out on any ground.
pub fn dot(area: &Area<'_>, at: (i32, i32), radius: u32, colour: RGBColor) -> Outcome {
    if radius > 4 {
        area.draw(&Circle::new(at, radius + 1, WHITE.filled()))?;
    }
    area.draw(&Circle::new(at, radius, colour.filled()))?;
    Ok(())
}

/// What a network says of the points of a square, as a ground of [`cells`]; and a place for points on it.
pub struct Plane {
    /// The upper left corner, in pixels.
    pub corner: (i32, i32),
    /// Cells a side.
    pub side: usize,
    /// Pixels a cell.
    pub cell: i32,
    /// What both coordinates range over.
    pub range: Range<f64>,
}

impl Plane {
    /// The middle of every cell, row by row from the top: `x, y, x, y, …`.
    pub fn points(&self) -> Vec<f32> {
        let step = (self.range.end - self.range.start) / self.side as f64;
        let middle = |i: usize| self.range.start + (i as f64 + 0.5) * step;
        let row = |y: usize| (0..self.side).flat_map(move |x| [middle(x), middle(self.side - 1 - y)]);
        (0..self.side).flat_map(row).map(|coordinate| coordinate as f32).collect()
    }

    /// The probability of class 1 in every cell: pale blue to pale orange.
    pub fn ground(&self, area: &Area<'_>, probabilities: &[f32]) -> Outcome {
        let (blue, orange) = (blend(WHITE, BLUE, 0.44), blend(WHITE, ORANGE, 0.44));
        // Eight shades, white in the middle: that is where the network decides.
        let shade = |p: f32| {
            let lean = (f64::from(p) * 8.0).round() / 4.0 - 1.0;
            blend(WHITE, if lean < 0.0 { blue } else { orange }, lean.abs())
        };
        let colours: Vec<RGBColor> = probabilities.iter().map(|&p| shade(p)).collect();
        cells(area, self.corner, self.cell, self.side, &colours)?;
        frame(area, self.corner, self.at(self.range.end, self.range.start), GREY)
    }

    /// The pixel of a point.
    pub fn at(&self, x: f64, y: f64) -> (i32, i32) {
        let pixels = f64::from(self.cell) * self.side as f64;
        let share = |value: f64| (value - self.range.start) / (self.range.end - self.range.start);
        (self.corner.0 + (pixels * share(x)).round() as i32, self.corner.1 + (pixels * (1.0 - share(y))).round() as i32)
    }
}
