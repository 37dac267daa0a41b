//! Whether a kernel waits at barriers, and broadcasts in subgroups, as a workgroup: all invocations of it, or none.
//!
//! Browsers refuse a barrier in control flow that may differ between invocations; naga does not look. This analysis is of
//! their kind, and as careful: a value is uniform if it follows from constants, workgroup ids, uniforms and storage that is
//! only read; a local variable is, if every store to it is, and happens in uniform control flow.

use std::collections::{BTreeSet, HashMap, HashSet};

use wgpu::naga::{
    AddressSpace, Binding, Block, BuiltIn, Expression, Function, Handle, LocalVariable, Module, Statement,
    StorageAccess,
};

/// The functions that wait at a barrier which only some invocations may reach.
pub fn lone_barriers(module: &Module) -> BTreeSet<String> {
    let mut lone = BTreeSet::new();
    for entry in &module.entry_points {
        let shared = |binding: &Option<Binding>| {
            matches!(binding, Some(Binding::BuiltIn(BuiltIn::WorkGroupId | BuiltIn::NumWorkGroups)))
        };
        let arguments = entry.function.arguments.iter().map(|argument| shared(&argument.binding)).collect();
        lone.extend(Analysis::of(module, &entry.function, arguments, true).lone);
    }
    lone
}

/// One function, called with arguments that are uniform or not.
struct Analysis<'a> {
    module: &'a Module,
    function: &'a Function,
    arguments: Vec<bool>,
    varying: HashSet<Handle<LocalVariable>>,
    calls: HashMap<Handle<Expression>, bool>,
    known: HashMap<Handle<Expression>, bool>,
    /// Whether some invocations may have returned, or left the innermost loop's pass, before others.
    returned: bool,
    left: bool,
    result: bool,
    lone: BTreeSet<String>,
}

impl<'a> Analysis<'a> {
    fn of(module: &'a Module, function: &'a Function, arguments: Vec<bool>, flow: bool) -> Self {
        let mut analysis = Analysis {
            module,
            function,
            arguments,
            varying: HashSet::new(),
            calls: HashMap::new(),
            known: HashMap::new(),
            returned: false,
            left: false,
            result: true,
            lone: BTreeSet::new(),
        };
        // Until nothing more is found to vary.
        loop {
            let varying = analysis.varying.len();
            analysis.known.clear();
            analysis.returned = false;
            analysis.block(&function.body, flow);
            if analysis.varying.len() == varying {
                return analysis;
            }
        }
    }

    /// Follows the statements of a block that is entered in uniform control flow, or not; whether it is left so.
    fn block(&mut self, block: &Block, mut flow: bool) -> bool {
        for statement in block {
            match statement {
                Statement::Block(inner) => flow = self.block(inner, flow),
                Statement::If { condition, accept, reject } => {
                    let inner = flow && self.uniform(*condition);
                    self.block(accept, inner);
                    self.block(reject, inner);
                }
                Statement::Switch { selector, cases } => {
                    let inner = flow && self.uniform(*selector);
                    for case in cases {
                        self.block(&case.body, inner);
                    }
                }
                Statement::Loop { body, continuing, break_if } => {
                    let outside = std::mem::take(&mut self.left);
                    let first = self.block(body, flow);
                    let first = self.block(continuing, first);
                    self.left |= break_if.is_some_and(|condition| !(first && self.uniform(condition)));
                    if self.left || self.returned || !first {
                        // From the second pass on, some invocations may be gone.
                        self.block(body, false);
                        self.block(continuing, false);
                    }
                    self.left = outside;
                }
                Statement::Break | Statement::Continue => self.left |= !flow,
                Statement::Return { value } => {
                    self.returned |= !flow;
                    self.result &= flow && value.is_none_or(|value| self.uniform(value));
                }
                Statement::ControlBarrier(_) | Statement::SubgroupGather { .. } if !flow => {
                    self.lone.insert(self.function.name.clone().unwrap_or_default());
                }
                Statement::Store { pointer, value } => {
                    let Some(variable) = self.local(*pointer) else { continue };
                    if !(flow && self.uniform(*value) && self.uniform(*pointer)) {
                        self.vary(variable);
                    }
                }
                Statement::Call { function, arguments, result } => {
                    // What is called may store to a local variable whose address it is given.
                    let lent: Vec<_> = arguments.iter().filter_map(|&argument| self.local(argument)).collect();
                    lent.into_iter().for_each(|variable| self.vary(variable));
                    let arguments = arguments.iter().map(|&argument| self.uniform(argument)).collect();
                    let called = Analysis::of(self.module, &self.module.functions[*function], arguments, flow);
                    self.lone.extend(called.lone);
                    if let Some(result) = result {
                        self.calls.insert(*result, called.result);
                        self.known.clear();
                    }
                }
                _ => {}
            }
            flow = flow && !self.returned && !self.left;
        }
        flow
    }

    fn vary(&mut self, variable: Handle<LocalVariable>) {
        if self.varying.insert(variable) {
            self.known.clear();
        }
    }

    /// The expression that a pointer starts from.
    fn root(&self, pointer: Handle<Expression>) -> &'a Expression {
        match &self.function.expressions[pointer] {
            Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => self.root(*base),
            root => root,
        }
    }

    fn local(&self, pointer: Handle<Expression>) -> Option<Handle<LocalVariable>> {
        if let Expression::LocalVariable(variable) = self.root(pointer) { Some(*variable) } else { None }
    }

    fn uniform(&mut self, expression: Handle<Expression>) -> bool {
        if let Some(&known) = self.known.get(&expression) {
            return known;
        }
        let (module, function) = (self.module, self.function);
        let all = |analysis: &mut Self, parts: &[Handle<Expression>]| parts.iter().all(|&part| analysis.uniform(part));
        let uniform = match &function.expressions[expression] {
            Expression::Literal(_)
            | Expression::Constant(_)
            | Expression::Override(_)
            | Expression::ZeroValue(_)
            | Expression::GlobalVariable(_)
            | Expression::ArrayLength(_) => true,
            Expression::FunctionArgument(argument) => self.arguments[*argument as usize],
            Expression::LocalVariable(variable) => !self.varying.contains(variable),
            Expression::Load { pointer } => {
                let shared = match self.root(*pointer) {
                    Expression::GlobalVariable(variable) => match module.global_variables[*variable].space {
                        AddressSpace::Uniform => true,
                        AddressSpace::Storage { access } => !access.contains(StorageAccess::STORE),
                        _ => false,
                    },
                    Expression::LocalVariable(_) => true,
                    _ => false,
                };
                shared && self.uniform(*pointer)
            }
            Expression::CallResult(_) => self.calls.get(&expression).copied().unwrap_or(false),
            Expression::Compose { components, .. } => all(self, components),
            Expression::Access { base, index } => all(self, &[*base, *index]),
            Expression::Binary { left, right, .. } => all(self, &[*left, *right]),
            Expression::Select { condition, accept, reject } => all(self, &[*condition, *accept, *reject]),
            Expression::Math { arg, arg1, arg2, arg3, .. } => {
                let others: Vec<_> = [arg1, arg2, arg3].into_iter().flatten().copied().collect();
                all(self, &[*arg]) && all(self, &others)
            }
            Expression::AccessIndex { base: part, .. }
            | Expression::Splat { value: part, .. }
            | Expression::Swizzle { vector: part, .. }
            | Expression::Unary { expr: part, .. }
            | Expression::Relational { argument: part, .. }
            | Expression::As { expr: part, .. } => all(self, &[*part]),
            _ => false,
        };
        self.known.insert(expression, uniform);
        uniform
    }
}

#[test]
fn barriers_that_only_some_invocations_reach_are_found() {
    let lone = |body: &str| {
        let text = format!(
            "@group(0) @binding(0) var<uniform> params: vec4<u32>;\n\
             @group(0) @binding(1) var<storage, read_write> words: array<u32>;\n\
             fn wait(x: u32) {{ if (x > 3u) {{ workgroupBarrier(); }} }}\n\
             fn twice(x: u32) -> u32 {{ return 2u * x; }}\n\
             @compute @workgroup_size(64) fn main(\n\
             @builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) id: vec3<u32>) {{ {body} words[lane] = 1u; }}"
        );
        !lone_barriers(&wgpu::naga::front::wgsl::parse_str(&text).unwrap()).is_empty()
    };
    for alone in [
        "if (lane < 5u) { workgroupBarrier(); }",
        "if (lane < 5u) { return; } workgroupBarrier();",
        "if (words[0] < 5u) { return; } workgroupBarrier();",
        "for (var i = 0u; i < lane; i++) { workgroupBarrier(); }",
        "for (var i = 0u; i < 9u; i++) { workgroupBarrier(); if (i == lane) { break; } }",
        "var x = 1u; if (lane < 5u) { x = 2u; } if (x == 1u) { workgroupBarrier(); }",
        "wait(lane);",
        "wait(twice(lane));",
    ] {
        assert!(lone(alone), "{alone}");
    }
    for together in [
        "if (lane < 5u) { words[1] = 1u; } workgroupBarrier();",
        "if (twice(id.x) < params.x) { return; } workgroupBarrier();",
        "for (var i = id.x; i < params.y; i++) { if (i == lane) { continue; } words[2] = i; } workgroupBarrier();",
        "for (var i = id.x; i < params.y; i++) { workgroupBarrier(); if (lane < i) { words[2] = i; } workgroupBarrier(); }",
        "for (var i = 9u; i > 0u; i /= 2u) { workgroupBarrier(); } if (lane == 0u && id.x < 5u) { words[2] = 1u; }",
        "wait(params.z);",
    ] {
        assert!(!lone(together), "{together}");
    }
}
