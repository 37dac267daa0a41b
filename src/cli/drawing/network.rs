//! A network, drawn: a box a layer from top to bottom, and an arc for every result that is used later than in the next layer.

use minijinja::context;
use neuropil::Error;
use neuropil::nn::summary::{bytes, extents, scaled};
use neuropil::nn::{Layer, Summary};
use serde::Serialize;

use super::{environment, failed};

/// The width of the drawing, the left end of the boxes, and their height with the gap to the next.
const WIDTH: usize = 400;
const LEFT: usize = 52;
const ROW: usize = 54;
const BOX: usize = 40;
/// The head, which says what goes in.
const TOP: usize = 44;
/// Longer names lose their beginning.
const NAME: usize = 26;

#[derive(Serialize)]
struct Row {
    y: usize,
    /// What kind of layer the colour shows.
    class: &'static str,
    name: String,
    full_name: String,
    kind: String,
    output: String,
    costs: String,
    /// Whether it takes what the box above gives.
    follows: bool,
}

/// The drawing of `summary` as an SVG element.
///
/// # Errors
/// When the template is wrong.
pub fn network(title: &str, summary: &Summary) -> Result<String, Error> {
    let y = |index: usize| TOP + index * ROW;
    let row = |(index, layer): (usize, &Layer)| {
        let above = index.checked_sub(1);
        let name = if layer.path.is_empty() { "output".to_owned() } else { layer.path.clone() };
        let parameters = (layer.parameters > 0)
            .then(|| format!("{} parameters", scaled(layer.parameters as f64, 1000.0, " ").trim_end()));
        let flops = (layer.flops > 0).then(|| format!("{}FLOPs", scaled(layer.flops as f64, 1000.0, " ")));
        let costs: Vec<String> = parameters.into_iter().chain(flops).chain([bytes(layer.memory)]).collect();
        Row {
            y: y(index),
            class: class(layer),
            name: shortened(&name),
            full_name: name,
            kind: layer.kind(),
            output: extents(&layer.output),
            costs: costs.join(" · "),
            follows: layer.inputs.contains(&above),
        }
    };
    let rows: Vec<Row> = summary.layers.iter().enumerate().map(row).collect();
    let arcs: Vec<String> = arcs(summary, y);
    let [height, width, channels] = summary.image_shape;
    let totals = format!(
        "{} parameters · {}FLOPs · {} of results",
        summary.parameters(),
        scaled(summary.flops() as f64, 1000.0, " "),
        bytes(summary.memory())
    );
    let context = context! {
        title, rows, arcs, totals,
        input => format!("image {height}×{width}×{channels}"),
        width => WIDTH, left => LEFT, box_width => WIDTH - LEFT - 1, box_height => BOX,
        height => y(summary.layers.len()) + 28, row_gap => ROW - BOX,
        fills => context! {
            weights => "var(--weights, #e3ecf8)", norm => "var(--norm, #f5f6f8)", plain => "var(--page, #ffffff)",
        },
        strokes => context! {
            weights => "var(--bar, #4a74ad)", norm => "var(--line, #c9ced6)", plain => "var(--line, #c9ced6)",
        },
    };
    environment().render_named_str("network.svg", include_str!("network.svg"), context).map_err(failed)
}

/// The arcs beside the boxes, each in the innermost lane that is free.
fn arcs(summary: &Summary, y: impl Fn(usize) -> usize) -> Vec<String> {
    let mut taken: Vec<Vec<(usize, usize)>> = Vec::new();
    let mut arcs = Vec::new();
    for (to, layer) in summary.layers.iter().enumerate() {
        // The image is above the first box.
        let starts = layer.inputs.iter().map(|input| input.map_or(0, |input| input + 1));
        for start in starts.filter(|&start| start < to) {
            let lane = taken.iter().position(|spans| spans.iter().all(|&(from, end)| end < start || from > to));
            let lane = lane.unwrap_or_else(|| {
                taken.push(Vec::new());
                taken.len() - 1
            });
            taken[lane].push((start, to));
            let x = LEFT.saturating_sub(14 + 9 * lane).max(3);
            let from = if start == 0 { y(0) - ROW + BOX } else { y(start - 1) + BOX / 2 + 8 };
            let end = y(to) + BOX / 2 - 8;
            arcs.push(format!(
                "M{LEFT} {from}H{}Q{x} {from} {x} {}V{}Q{x} {end} {} {end}H{}",
                x + 7,
                from + 7,
                end - 7,
                x + 7,
                LEFT - 2
            ));
        }
    }
    arcs
}

fn class(layer: &Layer) -> &'static str {
    match layer.parameters > 0 {
        true if layer.flops > 0 => "weights",
        true => "norm",
        false => "plain",
    }
}

fn shortened(name: &str) -> String {
    let count = name.chars().count();
    if count <= NAME {
        name.to_owned()
    } else {
        format!("…{}", name.chars().skip(count + 1 - NAME).collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use neuropil::nn::models;

    #[test]
    fn every_layer_is_a_box_and_every_shortcut_an_arc() {
        let summary = Summary::of(&models::by_name("resnet20", 10).unwrap(), [32, 32, 3]).unwrap();
        let svg = network("<resnet> & more", &summary).unwrap();
        assert_eq!(svg.matches("<rect").count(), summary.layers.len(), "{svg}");
        // Nine blocks; where the shape changes, the shortcut's own layers lie between, so the main path is an arc too.
        assert_eq!(svg.matches("class=\"arc\"").count(), 9 + 2, "{svg}");
        assert!(svg.contains("&lt;resnet&gt; &amp; more") && !svg.contains("<resnet>"));
        assert!(svg.contains("272474 parameters · 81.6 MFLOPs"), "{svg}");
    }

    #[test]
    fn long_names_keep_their_end() {
        assert_eq!(shortened("head"), "head");
        let long = shortened(&format!("{}.conv2", "a".repeat(40)));
        assert!(long.starts_with('…') && long.ends_with("a.conv2") && long.chars().count() == NAME);
    }
}
