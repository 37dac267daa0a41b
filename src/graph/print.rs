//! The stable text of a graph: one node a line, for golden files and `neuropil graph`.

use std::fmt;

use super::{Graph, NodeKind, Value};

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.output {
            0 => write!(f, "%{}", self.node.0),
            output => write!(f, "%{}.{output}", self.node.0),
        }
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, node) in self.nodes() {
            let types: Vec<String> = node.types.iter().map(ToString::to_string).collect();
            write!(f, "%{}: {} = ", id.0, types.join(", "))?;
            match &node.kind {
                NodeKind::Leaf(leaf, name) => write!(f, "{leaf:?} {name:?}")?,
                NodeKind::Op(op) => {
                    let inputs: Vec<String> = node.inputs.iter().map(ToString::to_string).collect();
                    write!(f, "{op:?}({})", inputs.join(", "))?;
                }
            }
            if !node.scope.is_empty() {
                write!(f, "  # {}", node.scope)?;
            }
            writeln!(f)?;
        }
        for (name, value) in &self.outputs {
            writeln!(f, "output {name:?} = {value}")?;
        }
        for (name, value) in &self.gradients {
            writeln!(f, "gradient {name:?} = {value}")?;
        }
        for (leaf, name, value) in &self.updates {
            writeln!(f, "update {leaf:?} {name:?} = {value}")?;
        }
        Ok(())
    }
}
