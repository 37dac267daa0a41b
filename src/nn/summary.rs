//! What a network is made of, layer by layer: shapes, parameters, work, memory.
//!
//! It is read off the traced graph, so it holds for any [`Module`], also a user's own. A layer is a stretch of operations of one
//! scope; activations join the layer before them. Work is counted as PyTorch's `flop_counter` counts it: two for every
//! multiply-add of a product or a convolution, nothing for the rest. All numbers are for one image. Before: [`crate::tensor`]
//! traces. After: `neuropil graph` and reports print and draw it.

use std::collections::HashMap;
use std::fmt;

use super::Module;
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::{Graph, Leaf, Lowering, Node, NodeId, NodeKind, TensorType};
use crate::simplify::simplify;
use crate::store::is_of_training;
use crate::tensor::Trace;

/// Operations that move or name numbers, which say nothing about what a layer does.
const SILENT: [&str; 8] =
    ["reshape", "permute", "broadcast", "slice", "cast", "constant", "stop_gradient", "recompute"];

/// A network, layer by layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// `[H, W, C]` of the image.
    pub image_shape: [usize; 3],
    /// In the order of the computation.
    pub layers: Vec<Layer>,
}

/// A layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Its scope, such as `stage1_1.conv2`; empty for what the network does outside of all.
    pub path: String,
    /// Its operations, such as `batch_norm`, `relu`.
    pub operations: Vec<String>,
    /// The layers that it reads, by index; `None` is the image.
    pub inputs: Vec<Option<usize>>,
    /// The extents of its result, without the batch.
    pub output: Vec<usize>,
    /// Numbers that are trained; what several layers share counts for the first.
    pub parameters: usize,
    /// Floating-point operations of products and convolutions.
    pub flops: u64,
    /// Bytes of its result in `f32`.
    pub memory: u64,
}

impl Layer {
    /// Its operations as one text: `conv2d`, `batch_norm + relu`.
    pub fn kind(&self) -> String {
        match self.operations.is_empty() {
            true => "view".to_owned(),
            false => self.operations.join(" + "),
        }
    }
}

impl Summary {
    /// That of `model` on an image `[H, W, C]`; nothing is allocated.
    ///
    /// # Errors
    /// The first mistake in the shapes.
    pub fn of(model: &dyn Module, image_shape: [usize; 3]) -> Result<Self> {
        let trace = Trace::new(false, Vec::new());
        let [height, width, channels] = image_shape;
        let images = trace.input("images", &[1, height, width, channels], DType::F32);
        let output = model.forward(&trace.scope(), images);
        trace.output("output", &output);
        let graph = trace.finish()?.graph;
        let mut layers = Layers { graph: &graph, done: Vec::new(), of_node: HashMap::new(), counted: Vec::new() };
        let live = graph.live();
        for (id, node) in graph.nodes().filter(|(id, node)| live[id.0] && node.op().is_some()) {
            layers.add(id, node)?;
        }
        Ok(Summary { image_shape, layers: layers.done })
    }

    /// Numbers that are trained.
    pub fn parameters(&self) -> usize {
        self.layers.iter().map(|layer| layer.parameters).sum()
    }

    /// Floating-point operations of products and convolutions.
    pub fn flops(&self) -> u64 {
        self.layers.iter().map(|layer| layer.flops).sum()
    }

    /// Bytes of the results of all layers, which training keeps for the way back.
    pub fn memory(&self) -> u64 {
        self.layers.iter().map(|layer| layer.memory).sum()
    }
}

/// Layers on their way from a graph.
struct Layers<'a> {
    graph: &'a Graph,
    done: Vec<Layer>,
    /// The layer of every operation that computes something of the image.
    of_node: HashMap<NodeId, usize>,
    /// Parameters that a layer has.
    counted: Vec<NodeId>,
}

impl Layers<'_> {
    fn add(&mut self, id: NodeId, node: &Node) -> Result<()> {
        let mut inputs: Vec<Option<usize>> = Vec::new();
        let mut parameters = 0;
        for input in &node.inputs {
            let reads = match (&self.graph.node(input.node).kind, self.of_node.get(&input.node)) {
                (_, Some(&layer)) => Some(layer),
                (NodeKind::Leaf(Leaf::Input, _), None) => None,
                // A weight in another shape, a constant: of no layer before.
                _ => {
                    parameters += self.new_parameters(input.node);
                    continue;
                }
            };
            if !inputs.contains(&reads) {
                inputs.push(reads);
            }
        }
        if inputs.is_empty() {
            return Ok(());
        }
        let name = node.op().map_or("", |op| op.name());
        let operation = (!SILENT.contains(&name)).then(|| name.to_owned());
        let last = self.done.len().checked_sub(1);
        let continues = last.filter(|&last| {
            let layer = &self.done[last];
            let only_last = inputs == [Some(last)];
            let same_scope = layer.path == *node.scope && inputs.contains(&Some(last));
            same_scope || only_last && (operation.is_none() || is_activation(self.graph, node, parameters))
        });
        let index = continues.unwrap_or(self.done.len());
        if continues.is_none() {
            let path = node.scope.to_string();
            let empty = Vec::new;
            let layer = Layer {
                path,
                operations: empty(),
                inputs: Vec::new(),
                output: Vec::new(),
                parameters: 0,
                flops: 0,
                memory: 0,
            };
            self.done.push(layer);
        }
        let flops = flops(self.graph, node)?;
        let layer = &mut self.done[index];
        layer.operations.extend(operation.filter(|operation| layer.operations.last() != Some(operation)));
        for input in inputs.into_iter().filter(|&input| input != Some(index)) {
            if !layer.inputs.contains(&input) {
                layer.inputs.push(input);
            }
        }
        let result = &node.types[0];
        layer.output = result.shape.get(1..).unwrap_or_default().to_vec();
        layer.memory = 4 * result.len() as u64;
        layer.parameters += parameters;
        layer.flops += flops;
        self.of_node.insert(id, index);
        Ok(())
    }

    /// The numbers of the parameters below `node` that no layer has yet.
    fn new_parameters(&mut self, node: NodeId) -> usize {
        let mut found = 0;
        let mut below = vec![node];
        while let Some(id) = below.pop() {
            let node = self.graph.node(id);
            if self.counted.contains(&id) {
                continue;
            }
            if let NodeKind::Leaf(Leaf::Parameter, name) = &node.kind
                && !is_of_training(name)
            {
                self.counted.push(id);
                found += node.types[0].len();
            }
            below.extend(node.inputs.iter().map(|input| input.node));
        }
        found
    }
}

/// Whether a node does something to each number alone, without weights: what follows a layer rather than being one.
fn is_activation(graph: &Graph, node: &Node, parameters: usize) -> bool {
    let Some(op) = node.op() else { return false };
    let types: Vec<TensorType> = node.inputs.iter().map(|&v| graph.type_of(v).clone()).collect();
    parameters == 0 && matches!(op.lowering(&types, &node.types), Lowering::Elementwise(_))
}

/// Two for every multiply-add of the products that the operation is made of.
fn flops(graph: &Graph, node: &Node) -> Result<u64> {
    let Some(op) = node.op() else { return Ok(0) };
    let mut alone = Graph::new();
    let mut inputs = Vec::new();
    for (i, &input) in node.inputs.iter().enumerate() {
        inputs.push(alone.leaf(Leaf::Input, &i.to_string(), graph.type_of(input).clone())?);
    }
    let outputs = alone.apply(op.clone(), &inputs)?;
    alone.outputs = outputs.into_iter().enumerate().map(|(i, value)| (i.to_string(), value)).collect();
    let alone = simplify(&alone)?;
    let of_node = |node: &Node| {
        let types: Vec<TensorType> = node.inputs.iter().map(|&v| alone.type_of(v).clone()).collect();
        match node.op().map(|op| op.lowering(&types, &node.types)) {
            Some(Lowering::Gemm(gemm)) => 2 * (gemm.groups * gemm.m * gemm.n * gemm.k) as u64,
            _ => 0,
        }
    };
    Ok(alone.nodes().map(|(_, node)| of_node(node)).sum())
}

/// A table with a line a layer, and the sums.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [height, width, channels] = self.image_shape;
        let head = ["layer", "what it does", "output", "parameters", "FLOPs", "memory"].map(str::to_owned);
        let line = |layer: &Layer| {
            let path = if layer.path.is_empty() { "-" } else { &layer.path };
            let parameters = if layer.parameters == 0 { String::new() } else { layer.parameters.to_string() };
            let flops = if layer.flops == 0 { String::new() } else { scaled(layer.flops as f64, 1000.0, "") };
            [path.to_owned(), layer.kind(), extents(&layer.output), parameters, flops, bytes(layer.memory)]
        };
        let rows: Vec<[String; 6]> = std::iter::once(head).chain(self.layers.iter().map(line)).collect();
        let width_of = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..6).map(width_of).collect();
        for row in &rows {
            let [a, b, c, d, e, g] = row;
            let [wa, wb, wc, wd, we, wg] = widths[..] else { return Ok(()) };
            writeln!(f, "{}", format!("{a:wa$}  {b:wb$}  {c:wc$}  {d:>wd$}  {e:>we$}  {g:>wg$}").trim_end())?;
        }
        write!(
            f,
            "for one image of {height}×{width}×{channels}: {} parameters ({}), {}FLOPs, {} of results",
            self.parameters(),
            bytes(4 * self.parameters() as u64),
            scaled(self.flops() as f64, 1000.0, " "),
            bytes(self.memory())
        )
    }
}

/// Extents as people write them: `28×28×32`.
pub fn extents(shape: &[usize]) -> String {
    shape.iter().map(|extent| extent.to_string()).collect::<Vec<_>>().join("×")
}

/// A number of bytes with its unit: `1.2 MiB`.
pub fn bytes(number: u64) -> String {
    match number {
        0..1024 => format!("{number} B"),
        _ => {
            let text = scaled(number as f64, 1024.0, " ");
            format!("{text}iB")
        }
    }
}

/// A number with three digits and the letter of its thousands: `82.4 M`.
pub fn scaled(number: f64, thousand: f64, space: &str) -> String {
    let letters = ["", "k", "M", "G", "T", "P"];
    let mut left = number;
    let mut step = 0;
    while left >= 999.5 && step + 1 < letters.len() {
        left /= thousand;
        step += 1;
    }
    let digits = match (step, left) {
        (0, _) => 0,
        (_, left) if left < 9.995 => 2,
        (_, left) if left < 99.95 => 1,
        _ => 0,
    };
    let letter = if thousand > 1000.0 && step == 1 { "K" } else { letters[step] };
    format!("{left:.digits$}{space}{letter}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::models::by_name;
    use crate::nn::{Conv2d, Flatten, Linear, Sequential};

    #[test]
    fn a_layer_has_what_can_be_counted_by_hand() {
        let model = Sequential::new()
            .named("conv", Conv2d::new(4, 3).padding(1))
            .then(crate::nn::Activation::Relu)
            .named("flatten", Flatten)
            .named("head", Linear::new(10));
        let summary = Summary::of(&model, [5, 6, 3]).unwrap();
        let of = |layer: &Layer| (layer.path.clone(), layer.kind(), layer.output.clone(), layer.inputs.clone());
        let [conv, head] = &summary.layers[..] else { panic!("{summary}") };
        assert_eq!(of(conv), ("conv".into(), "conv2d + add + relu".into(), vec![120], vec![None]));
        assert_eq!(of(head), ("head".into(), "matmul + add".into(), vec![10], vec![Some(0)]));
        assert_eq!((conv.parameters, conv.flops, conv.memory), (4 * 27 + 4, 2 * 30 * 4 * 27, 480));
        assert_eq!((head.parameters, head.flops, head.memory), (1210, 2 * 1200, 40));
        let text = summary.to_string();
        assert!(
            text.ends_with("for one image of 5×6×3: 1322 parameters (5.16 KiB), 8.88 kFLOPs, 520 B of results"),
            "{text}"
        );
    }

    #[test]
    fn a_residual_block_reads_two_layers() {
        let summary = Summary::of(&by_name("resnet20", 10).unwrap(), [32, 32, 3]).unwrap();
        let joins = summary.layers.iter().filter(|layer| layer.inputs.len() == 2).count();
        assert_eq!(joins, 9, "{summary}");
        assert!(summary.layers.iter().enumerate().all(|(i, l)| l.inputs.iter().all(|&j| j.is_none_or(|j| j < i))));
    }

    #[test]
    fn numbers_have_three_digits() {
        let texts = [0.0, 7.0, 999.0, 1000.0, 12_345.0, 999_600.0, 81_626_368.0].map(|n| scaled(n, 1000.0, " "));
        assert_eq!(texts, ["0 ", "7 ", "999 ", "1.00 k", "12.3 k", "1.00 M", "81.6 M"]);
        assert_eq!([bytes(5), bytes(1536), bytes(3 << 20)], ["5 B", "1.50 KiB", "3.00 MiB"]);
    }
}
