//! Which nodes become one step.
//!
//! Nodes are visited in order. An elementwise node is not computed at once: its value is *lazy*, an expression over stored
//! tensors, until something needs it stored. So chains of elementwise operations and views become one step, flow into a
//! reduction that reads them, and become the epilogue of the product, convolution or pooling at their head. A value that
//! several nodes use is stored, unless it is a view or takes one or two functions of two tensors: then it is cheaper to
//! compute again than to write and read. A step never binds more buffers than the device allows. Only what operations declare in their [`Lowering`] is used.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Arena, Capabilities, Origin, Place, Schedule, Slot, SlotId, Step, Work};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{
    Access, Accumulator, Expression, Gemm, Graph, Leaf, Lowering, Node, NodeId, NodeKind, Operand, Reduce, TensorType,
    Term, TermId, Value,
};
use crate::shape::element_count;

/// More terms than this in one expression are split: compile time, and registers.
const MAX_TERMS: usize = 96;

/// Steps over slots without places, and what the graph wants of them.
pub(super) struct Fused {
    pub schedule: Schedule,
    pub gradients: Vec<(String, SlotId)>,
    pub updates: Vec<(Leaf, String, SlotId)>,
    pub leaves: HashMap<(Leaf, String), SlotId>,
}

/// What is known of a value.
#[derive(Clone)]
enum Form {
    /// Dense in memory.
    Stored(SlotId),
    /// An expression over the value's shape; operands are slot numbers.
    Lazy(Expression),
}

/// A product, or pooling with one result, that waits for the elementwise work that follows it.
struct Pending {
    label: String,
    work: Work,
    reads: Vec<SlotId>,
}

struct Fuser<'a> {
    graph: &'a Graph,
    capabilities: &'a Capabilities<'a>,
    schedule: Schedule,
    forms: HashMap<Value, Form>,
    pending: BTreeMap<SlotId, Pending>,
    uses: HashMap<Value, usize>,
    results: HashSet<Value>,
    leaves: HashMap<(Leaf, String), SlotId>,
}

pub(super) fn fuse(graph: &Graph, capabilities: &Capabilities<'_>) -> Result<Fused> {
    let live = graph.live();
    let mut uses: HashMap<Value, usize> = HashMap::new();
    for (_, node) in graph.nodes().filter(|(id, _)| live[id.0]) {
        let distinct: HashSet<Value> = node.inputs.iter().copied().collect();
        distinct.into_iter().for_each(|v| *uses.entry(v).or_default() += 1);
    }
    let results: HashSet<Value> = graph.results().collect();
    let mut fuser = Fuser {
        graph,
        capabilities,
        schedule: Schedule::default(),
        forms: HashMap::new(),
        pending: BTreeMap::new(),
        uses,
        results,
        leaves: HashMap::new(),
    };
    for (id, node) in graph.nodes().filter(|(id, _)| live[id.0]) {
        fuser.visit(id, node)?;
    }
    fuser.finish()
}

impl Fuser<'_> {
    fn visit(&mut self, id: NodeId, node: &Node) -> Result<()> {
        let op = match &node.kind {
            NodeKind::Leaf(leaf, name) => {
                let slot = self.new_slot(node.types[0].clone(), Origin::Leaf(*leaf, name.clone()));
                let value = Value { node: id, output: 0 };
                if *leaf == Leaf::Input && (self.uses.contains_key(&value) || self.results.contains(&value)) {
                    self.schedule.inputs.push((name.clone(), slot));
                }
                self.leaves.insert((*leaf, name.clone()), slot);
                self.forms.insert(Value { node: id, output: 0 }, Form::Stored(slot));
                return Ok(());
            }
            NodeKind::Op(op) => op,
        };
        let label = if node.scope.is_empty() { op.name().to_owned() } else { format!("{} {}", node.scope, op.name()) };
        let value = Value { node: id, output: 0 };
        let inputs: Vec<TensorType> = node.inputs.iter().map(|&v| self.graph.type_of(v).clone()).collect();
        match op.lowering(&inputs, &node.types) {
            Lowering::Decompose => {
                return Err(Error::new(ErrorKind::Graph, format!("{label}: not decomposed before scheduling")));
            }
            Lowering::Alias => {
                let form = match self.forms[&node.inputs[0]].clone() {
                    Form::Lazy(mut expression)
                        if expression.is_uniform() || inputs[0].len() == 1 && dense(&expression) =>
                    {
                        if !self.single(value) {
                            self.flush_all(&expression);
                        }
                        expression.set_rank(node.types[0].shape.len());
                        Form::Lazy(expression)
                    }
                    _ => {
                        let slot = self.store(node.inputs[0])?;
                        if !self.single(value) {
                            self.flush(slot);
                        }
                        Form::Stored(slot)
                    }
                };
                self.forms.insert(value, form);
            }
            Lowering::Elementwise(declared) => {
                let shape = &node.types[0].shape;
                let widens = declared.cost() == 0 && inputs.iter().any(|ty| ty.dtype != node.types[0].dtype);
                if widens && !self.single(value) && !self.results.contains(&value) {
                    // What has several readers is kept as it was, and widened by each.
                    self.store(node.inputs[0])?;
                }
                let expression = self.splice(&declared, node, shape)?;
                if self.results.contains(&value) && self.whole_waiting(&expression, shape).is_some() {
                    // A product that is wanted as another type is stored as that: never rounded on the way.
                    self.forms.insert(value, Form::Lazy(expression));
                    self.store_as(value, &label)?;
                    return Ok(());
                }
                let single = self.single(value);
                // Rounded for all readers or for none: computed again it would not be what another reader finds stored.
                let rounds = node.types[0].dtype == DType::F16 && expression.cost() > 0;
                let again = self.may_repeat(&expression) && !self.results.contains(&value) && !rounds;
                if expression.cost() == 0 && !single {
                    self.flush_all(&expression);
                }
                let constant = expression.operands().is_empty() && !expression.is_positional();
                let alone = self.capabilities.unfused && !constant;
                self.forms.insert(value, Form::Lazy(expression));
                if alone || !single && !again {
                    self.store_as(value, &label)?;
                }
            }
            Lowering::Reduce(reduce) => self.reduce(id, node, reduce, label)?,
            Lowering::Gemm(Gemm { b: Operand::Covering { .. }, .. }) => {
                let what = format!("{label}: input 1 of a product cannot be positions that cover a pixel");
                return Err(Error::new(ErrorKind::Graph, what));
            }
            Lowering::Gemm(gemm) => {
                self.wait(value, node, Work::Gemm { gemm, epilogue: None }, label)?;
            }
            Lowering::Window(pooling) => {
                let work = Work::Window { pooling, epilogue: None };
                if node.types.len() == 1 {
                    self.wait(value, node, work, label)?
                } else {
                    self.direct(id, node, work, label)?
                }
            }
            Lowering::Opaque(shader) => {
                self.direct(id, node, Work::Opaque { shader, op: op.clone(), inputs }, label)?;
            }
        }
        Ok(())
    }

    /// Whether one node uses the value, and no result.
    fn single(&self, value: Value) -> bool {
        self.uses.get(&value).copied().unwrap_or(0) <= 1 && !self.results.contains(&value)
    }

    /// Whether an expression may be evaluated by each of several consumers: a view, or so little that reading its operands
    /// again costs no more than reading its stored value.
    fn may_repeat(&self, expression: &Expression) -> bool {
        let operands = slots(expression);
        let waiting = operands.iter().any(|slot| self.pending.contains_key(slot));
        let view = expression.cost() == 0 && !expression.is_positional();
        view || (expression.cost() <= 2 && operands.len() <= 2 && !expression.is_positional() && !waiting)
    }

    /// What waits, if the expression over `shape` is nothing but all of it in order.
    fn whole_waiting(&self, expression: &Expression, shape: &[usize]) -> Option<SlotId> {
        let [Term::Load { operand, access, .. }] = &expression.terms[..] else { return None };
        let slot = SlotId(*operand);
        let whole = self.schedule.slot(slot).ty.shape == shape && access.is_identity(shape);
        (whole && self.pending.contains_key(&slot)).then_some(slot)
    }

    /// Has a product or pooling wait for what follows it, unless that is several things.
    fn wait(&mut self, value: Value, node: &Node, work: Work, label: String) -> Result<()> {
        let reads = node.inputs.iter().map(|&input| self.store(input)).collect::<Result<_>>()?;
        let slot = self.slot_of(value);
        self.pending.insert(slot, Pending { label, work, reads });
        self.forms.insert(value, Form::Stored(slot));
        if self.capabilities.unfused || !self.single(value) {
            self.flush(slot);
        }
        Ok(())
    }

    /// A step that reads and writes dense tensors.
    fn direct(&mut self, id: NodeId, node: &Node, work: Work, label: String) -> Result<()> {
        let mut reads: Vec<SlotId> = Vec::with_capacity(node.inputs.len());
        for &input in &node.inputs {
            let slot = self.store(input)?;
            // A kernel written by hand binds its operands one by one, and no buffer may be bound twice where it is written.
            reads.push(if reads.contains(&slot) { self.copy(slot) } else { slot });
        }
        let writes = self.outputs(id, node);
        self.push(label, work, reads, writes);
        Ok(())
    }

    fn outputs(&mut self, id: NodeId, node: &Node) -> Vec<SlotId> {
        let values = (0..node.types.len()).map(|output| Value { node: id, output });
        let slots: Vec<(Value, SlotId)> = values.map(|value| (value, self.slot_of(value))).collect();
        self.forms.extend(slots.iter().map(|&(value, slot)| (value, Form::Stored(slot))));
        slots.into_iter().map(|(_, slot)| slot).collect()
    }

    fn reduce(&mut self, id: NodeId, node: &Node, reduce: Reduce, label: String) -> Result<()> {
        let shape = reduce.shape.clone();
        let expression = self.splice(&reduce.expression, node, &shape)?;
        self.flush_all(&expression);
        let writes = self.outputs(id, node);
        let (expression, reads) = localize(expression, &[]);
        let reduced: usize = reduce.axes.iter().map(|&axis| shape[axis]).product();
        if reduced == 0 {
            // Nothing to combine.
            let value = match reduce.accumulator {
                Accumulator::Sum => 0.0,
                Accumulator::Product => 1.0,
                Accumulator::Max | Accumulator::ArgMax | Accumulator::Moments => f64::NAN,
            };
            for &write in &writes {
                self.fill(write, value, &label);
            }
            return Ok(());
        }
        self.push(label, Work::Reduce(Reduce { expression, ..reduce }.collapsed()), reads, writes);
        Ok(())
    }

    fn fill(&mut self, slot: SlotId, value: f64, label: &str) {
        let TensorType { shape, dtype } = self.schedule.slot(slot).ty.clone();
        let mut expression = Expression::default();
        let term = expression.push(Term::Scalar { value, dtype });
        expression.results.push(term);
        self.push(label.to_owned(), Work::Elementwise { shape, expression }, Vec::new(), vec![slot]);
    }

    /// The declared expression with lazy operands written out, over slot numbers.
    fn splice(&mut self, declared: &Expression, node: &Node, shape: &[usize]) -> Result<Expression> {
        loop {
            let spliced = self.try_splice(declared, node, shape)?;
            let slots = slots(&spliced);
            let bindings = slots.len() + node.types.len();
            if bindings <= self.capabilities.operands && spliced.terms.len() <= MAX_TERMS {
                return Ok(spliced);
            }
            // Too much for one step: store the operand that brings the most.
            let brings = |v: &Value| match &self.forms[v] {
                Form::Lazy(e) if e.cost() > 0 || e.operands().len() > 1 => {
                    e.operands().len() * MAX_TERMS + e.terms.len()
                }
                _ => 0,
            };
            let Some(largest) = node.inputs.iter().copied().max_by_key(brings).filter(|v| brings(v) > 0) else {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!(
                        "{}: reads {} tensors at once, the device allows {}; combine them in two steps",
                        node.op().map_or("leaf", |op| op.name()),
                        slots.len(),
                        self.capabilities.operands - 1
                    ),
                ));
            };
            self.store(largest)?;
        }
    }

    fn try_splice(&mut self, declared: &Expression, node: &Node, shape: &[usize]) -> Result<Expression> {
        let mut result = Expression::default();
        let mut terms: Vec<TermId> = Vec::with_capacity(declared.terms.len());
        for term in &declared.terms {
            let id = match term {
                Term::Load { operand, access, otherwise, dtype } => {
                    let value = node.inputs[*operand];
                    let from = self.graph.shape(value).to_vec();
                    let inlined = match self.forms[&value].clone() {
                        Form::Lazy(inner) => inline(&mut result, &inner, access, &from, shape),
                        Form::Stored(_) => None,
                    };
                    match inlined {
                        Some(term) => term,
                        None => {
                            let slot = self.store(value)?;
                            if !access.is_identity(shape) || element_count(&from) != element_count(shape) {
                                self.flush(slot);
                            }
                            result.push(Term::Load {
                                operand: slot.0,
                                access: access.clone(),
                                otherwise: otherwise.map(|t| terms[t]),
                                dtype: *dtype,
                            })
                        }
                    }
                }
                Term::Random { key, step, stream } => {
                    let (key, step) = (self.store(node.inputs[*key])?, self.store(node.inputs[*step])?);
                    result.push(Term::Random { key: key.0, step: step.0, stream: *stream })
                }
                Term::Apply { function, arguments, dtype } => {
                    let arguments = arguments.iter().map(|&a| terms[a]).collect();
                    result.push(Term::Apply { function, arguments, dtype: *dtype })
                }
                Term::Scalar { .. } | Term::Coordinate { .. } => result.push(term.clone()),
            };
            terms.push(id);
        }
        result.results = declared.results.iter().map(|&t| terms[t]).collect();
        Ok(result)
    }

    /// The slot of a value, computing it now if it is lazy.
    fn store(&mut self, value: Value) -> Result<SlotId> {
        let node = self.graph.node(value.node);
        let label = match node.op() {
            Some(op) if !node.scope.is_empty() => format!("{} {}", node.scope, op.name()),
            Some(op) => op.name().to_owned(),
            None => String::new(),
        };
        self.store_as(value, &label)
    }

    fn store_as(&mut self, value: Value, label: &str) -> Result<SlotId> {
        let expression = match self.forms[&value].clone() {
            Form::Stored(slot) => return Ok(slot),
            Form::Lazy(expression) => expression,
        };
        let slot = self.slot_of(value);
        self.forms.insert(value, Form::Stored(slot));
        self.emit_elementwise(label, self.graph.shape(value).to_vec(), expression, slot);
        Ok(slot)
    }

    /// Emits an expression as a step of its own, or as the epilogue of the one waiting step that it reads in place.
    fn emit_elementwise(&mut self, label: &str, mut shape: Vec<usize>, mut expression: Expression, write: SlotId) {
        let waiting: Vec<SlotId> = slots(&expression).into_iter().filter(|s| self.pending.contains_key(s)).collect();
        let head = waiting.iter().copied().find(|&slot| {
            let product = self.schedule.slot(slot);
            let in_place = expression.terms.iter().all(|term| match term {
                Term::Load { operand, access, .. } => *operand != slot.0 || access.is_identity(&shape),
                _ => true,
            });
            in_place && product.ty.len() == shape.iter().product::<usize>() && product.ty.shape == shape
        });
        for &slot in waiting.iter().filter(|&&slot| Some(slot) != head) {
            self.flush(slot);
        }
        match head {
            Some(slot) if self.whole_waiting(&expression, &shape) == Some(slot) => {
                let pending = self.pending.remove(&slot).expect("just found");
                self.emit_alone(pending, write);
            }
            Some(slot) if takes_epilogue(&self.pending[&slot].work) && self.can_bind(slot, &expression) => {
                let Pending { label: head, mut work, reads } = self.pending.remove(&slot).expect("just found");
                let (mut epilogue, mut others) = localize(expression, &[slot]);
                others.remove(0);
                let after = (epilogue.collapse(&shape), epilogue);
                if let Work::Gemm { epilogue, .. } | Work::Window { epilogue, .. } = &mut work {
                    *epilogue = Some(after);
                }
                let short = label.rsplit(' ').next().unwrap_or(label);
                self.push(format!("{head}+{short}"), work, reads.into_iter().chain(others).collect(), vec![write]);
            }
            _ => {
                if let Some(slot) = head {
                    self.flush(slot);
                }
                shape = expression.collapse(&shape);
                let (expression, reads) = localize(expression, &[]);
                self.push(label.to_owned(), Work::Elementwise { shape, expression }, reads, vec![write]);
            }
        }
    }

    /// Whether the device binds all that a waiting step and the expression behind it read, and the result.
    fn can_bind(&self, waiting: SlotId, expression: &Expression) -> bool {
        let others = slots(expression).into_iter().filter(|&slot| slot != waiting);
        let reads: HashSet<SlotId> = self.pending[&waiting].reads.iter().copied().chain(others).collect();
        reads.len() < self.capabilities.operands
    }

    /// Emits a waiting step as it is.
    fn flush(&mut self, slot: SlotId) {
        if let Some(pending) = self.pending.remove(&slot) {
            self.emit_alone(pending, slot);
        }
    }

    fn emit_alone(&mut self, Pending { label, work, reads }: Pending, write: SlotId) {
        match work {
            Work::Gemm { gemm: Gemm { k: 0, .. }, .. } => self.fill(write, 0.0, &label),
            work => self.push(label, work, reads, vec![write]),
        }
    }

    fn flush_all(&mut self, expression: &Expression) {
        slots(expression).into_iter().for_each(|slot| self.flush(slot));
    }

    /// A slot that a step fills with a value of the graph.
    fn slot_of(&mut self, value: Value) -> SlotId {
        let slot = self.new_slot(self.graph.type_of(value).clone(), Origin::Step);
        self.schedule.slots[slot.0].value = Some(value);
        slot
    }

    fn new_slot(&mut self, ty: TensorType, origin: Origin) -> SlotId {
        let place = Place { arena: Arena::Activation(0), offset: 0 };
        self.schedule.slots.push(Slot { ty, origin, place, value: None });
        SlotId(self.schedule.slots.len() - 1)
    }

    fn push(&mut self, label: String, work: Work, reads: Vec<SlotId>, writes: Vec<SlotId>) {
        // Whatever a step reads must be there.
        reads.iter().for_each(|&slot| self.flush(slot));
        if writes.iter().all(|&slot| self.schedule.slot(slot).ty.is_empty()) {
            return;
        }
        let words = (self.capabilities.workspace)(&work);
        let workspace = (words > 0).then(|| self.new_slot(TensorType::new(DType::F32, [words]), Origin::Workspace));
        self.schedule.steps.push(Step { label, work, reads, writes, workspace });
    }

    fn finish(mut self) -> Result<Fused> {
        let graph = self.graph;
        let stored = |fuser: &mut Self, value: Value| -> Result<SlotId> {
            let slot = fuser.store(value)?;
            fuser.flush(slot);
            Ok(slot)
        };
        let mut gradients = Vec::new();
        for (name, value) in &graph.gradients {
            let slot = stored(&mut self, *value)?;
            // A gradient lives at its parameter's offset: it needs a slot of its own.
            let slot = self.own_copy(slot, &gradients);
            gradients.push((name.clone(), slot));
        }
        let mut updates = Vec::new();
        for (leaf, name, value) in &graph.updates {
            updates.push((*leaf, name.clone(), stored(&mut self, *value)?));
        }
        for (name, value) in &graph.outputs {
            let slot = stored(&mut self, *value)?;
            self.schedule.outputs.push((name.clone(), slot, graph.type_of(*value).clone()));
        }
        Ok(Fused { schedule: self.schedule, gradients, updates, leaves: self.leaves })
    }

    fn own_copy(&mut self, slot: SlotId, taken: &[(String, SlotId)]) -> SlotId {
        let computed = self.schedule.slot(slot).origin == Origin::Step;
        if computed && taken.iter().all(|(_, other)| *other != slot) {
            return slot;
        }
        self.copy(slot)
    }

    fn copy(&mut self, slot: SlotId) -> SlotId {
        let ty = self.schedule.slot(slot).ty.clone();
        let copy = self.new_slot(ty.clone(), Origin::Step);
        let expression = Expression::load(0, Access::identity(&ty.shape), ty.dtype);
        self.push("copy".into(), Work::Elementwise { shape: ty.shape, expression }, vec![slot], vec![copy]);
        copy
    }
}

/// Whether elementwise work may join. Not a product whose sum is long where there are few of them: devices split such sums
/// over workgroups, and an epilogue needs whole sums.
fn takes_epilogue(work: &Work) -> bool {
    let Work::Gemm { gemm, .. } = work else { return true };
    let elements = gemm.groups * gemm.m * gemm.n;
    gemm.k > 0 && gemm.k < 1 << 15 && (gemm.k <= 1024 || elements >= 1 << 16)
}

/// Adds `inner`, an expression over the shape `from`, to `into` as seen through `access` from the iteration space `to`.
/// `None` if it cannot be seen that way.
fn inline(into: &mut Expression, inner: &Expression, access: &Access, from: &[usize], to: &[usize]) -> Option<TermId> {
    let identity = from == to && access.is_identity(to);
    let steps = if identity { None } else { Some(access.coordinates(from, to)?) };
    if !identity && (inner.is_positional() || !access.bounds.is_empty()) {
        return None;
    }
    let bounded = inner.terms.iter().any(|t| matches!(t, Term::Load { access, .. } if !access.bounds.is_empty()));
    if !identity && bounded {
        return None;
    }
    let mut terms: Vec<TermId> = Vec::with_capacity(inner.terms.len());
    for term in &inner.terms {
        let id = match term {
            Term::Load { operand, access: load, otherwise, dtype } => {
                let access = steps.as_ref().map_or_else(|| load.clone(), |steps| load.compose(steps));
                let otherwise = otherwise.map(|t| terms[t]);
                into.push(Term::Load { operand: *operand, access, otherwise, dtype: *dtype })
            }
            Term::Apply { function, arguments, dtype } => {
                let arguments = arguments.iter().map(|&a| terms[a]).collect();
                into.push(Term::Apply { function, arguments, dtype: *dtype })
            }
            other => into.push(other.clone()),
        };
        terms.push(id);
    }
    Some(terms[inner.results[0]])
}

/// Whether every load is inside its bounds and no value depends on where it is computed.
fn dense(expression: &Expression) -> bool {
    let bounded = |term: &Term| matches!(term, Term::Load { access, .. } if !access.bounds.is_empty());
    !expression.is_positional() && !expression.terms.iter().any(bounded)
}

/// The operands of an expression under construction.
fn slots(expression: &Expression) -> Vec<SlotId> {
    expression.operands().into_iter().map(SlotId).collect()
}

/// Slot numbers replaced by positions in a list of operands, which starts with `first`.
fn localize(mut expression: Expression, first: &[SlotId]) -> (Expression, Vec<SlotId>) {
    let mut operands = first.to_vec();
    let mut local = |slot: &mut usize| {
        let id = SlotId(*slot);
        *slot = operands.iter().position(|&o| o == id).unwrap_or_else(|| {
            operands.push(id);
            operands.len() - 1
        });
    };
    for term in &mut expression.terms {
        match term {
            Term::Load { operand, .. } => local(operand),
            Term::Random { key, step, .. } => {
                local(key);
                local(step);
            }
            _ => {}
        }
    }
    (expression, operands)
}
