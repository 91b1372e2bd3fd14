//! Room `translate`: takes a parsed module apart, has every part judged, and puts it together again with the meter
//! around each read. One branch for each kind of expression; the rules themselves are next door.

use vrl::{
    parser::{
        Literal, Span,
        ast::{
            Assignment, AssignmentOp, AssignmentTarget, Block, Container, Expr, FunctionArgument,
            FunctionCall, FunctionClosure, Group, Ident, IfStatement, Node, Not, Op, Opcode, Predicate,
            Query, QueryTarget, Return, RootExpr, Unary,
        },
    },
    path::PathPrefix,
};

use super::{Depth, Lint};
use crate::translate::{
    limits::{MAX_CALL_DEPTH, MAX_DEPTH},
    meter,
};

impl Lint<'_> {
    pub(super) fn root(&mut self, root: RootExpr) -> RootExpr {
        match root {
            RootExpr::Expr(node) => RootExpr::Expr(self.expr(node, Depth::default())),
            error @ RootExpr::Error(_) => error,
        }
    }

    fn boxed(&mut self, node: Node<Expr>, depth: Depth) -> Box<Node<Expr>> {
        Box::new(self.expr(node, depth))
    }

    pub(super) fn expr(&mut self, node: Node<Expr>, depth: Depth) -> Node<Expr> {
        let (span, expr) = node.take();
        if depth.levels > MAX_DEPTH || depth.calls > MAX_CALL_DEPTH {
            let message =
                format!("nested deeper than {MAX_DEPTH} levels, or calls deeper than {MAX_CALL_DEPTH}");
            self.refuse("mapping_too_deep", span, message, "give the inner part a name: part = …");
            return Node::new(span, Expr::Literal(Node::new(span, Literal::Null)));
        }
        self.count(span);
        let down = depth.deeper();
        let expr = match expr {
            Expr::Literal(literal) => self.literal(literal, down),
            Expr::Container(node) => Expr::Container(node.map(|container| self.container(container, down))),
            Expr::IfStatement(node) => Expr::IfStatement(node.map(|branch| self.if_statement(branch, down))),
            Expr::Op(node) => Expr::Op(node.map(|op| self.op(op, down))),
            Expr::Assignment(node) => {
                Expr::Assignment(node.map(|assignment| self.assignment(assignment, down)))
            }
            Expr::Query(node) => self.query(span, node, down),
            Expr::FunctionCall(node) => Expr::FunctionCall(node.map(|call| self.call(call, depth.in_call()))),
            variable @ Expr::Variable(_) => hidden(meter::READ, Node::new(span, variable)),
            Expr::Unary(node) => Expr::Unary(node.map(|unary| self.unary(unary, down))),
            Expr::Abort(node) => Expr::Abort(node.map(|abort| self.abort(span, abort))),
            Expr::Return(node) => {
                Expr::Return(node.map(|value| Return { expr: self.boxed(*value.expr, down) }))
            }
            end @ Expr::Break(_) => end,
        };
        Node::new(span, expr)
    }

    fn container(&mut self, container: Container, depth: Depth) -> Container {
        match container {
            Container::Group(node) => {
                Container::Group(Box::new(node.map(|group| Group(self.expr(group.into_inner(), depth)))))
            }
            Container::Block(node) => Container::Block(self.block(node, depth)),
            Container::Array(node) => Container::Array(
                node.map(|items| items.into_iter().map(|item| self.expr(item, depth)).collect()),
            ),
            Container::Object(node) => Container::Object(node.map(|fields| {
                fields.into_iter().map(|(key, value)| (key, self.expr(value, depth))).collect()
            })),
        }
    }

    fn block(&mut self, node: Node<Block>, depth: Depth) -> Node<Block> {
        node.map(|block| Block(self.exprs(block.into_inner(), depth)))
    }

    fn exprs(&mut self, nodes: Vec<Node<Expr>>, depth: Depth) -> Vec<Node<Expr>> {
        nodes.into_iter().map(|node| self.expr(node, depth)).collect()
    }

    fn if_statement(&mut self, branch: IfStatement, depth: Depth) -> IfStatement {
        IfStatement {
            predicate: branch.predicate.map(|predicate| match predicate {
                Predicate::One(one) => Predicate::One(self.boxed(*one, depth)),
                Predicate::Many(many) => Predicate::Many(self.exprs(many, depth)),
            }),
            if_node: self.block(branch.if_node, depth),
            else_node: branch.else_node.map(|block| self.block(block, depth)),
        }
    }

    fn op(&mut self, Op(left, opcode, right): Op, depth: Depth) -> Op {
        let multiplies = *opcode.inner() == Opcode::Mul;
        // The operands of `*` get a hidden call around them, which counts like any other.
        let depth = if multiplies { depth.in_call() } else { depth };
        let mut operand = |node: Node<Expr>| {
            let node = self.expr(node, depth);
            Box::new(if multiplies { factor(node) } else { node })
        };
        let (left, right) = (operand(*left), operand(*right));
        Op(left, opcode, right)
    }

    fn unary(&mut self, Unary::Not(node): Unary, depth: Depth) -> Unary {
        Unary::Not(node.map(|not| {
            let (bang, expr) = not.take();
            Not::new(bang.span(), self.expr(*expr, depth))
        }))
    }

    fn assignment(&mut self, assignment: Assignment, depth: Depth) -> Assignment {
        match assignment {
            Assignment::Single { target, op, expr } => {
                self.target(&target);
                let (op, expr) = self.assigned(&target, op, *expr, depth);
                Assignment::Single { target, op, expr }
            }
            Assignment::Infallible { ok, err, op, expr } => {
                self.target(&ok);
                self.target(&err);
                let (op, expr) = self.assigned(&ok, op, *expr, depth);
                Assignment::Infallible { ok, err, op, expr }
            }
        }
    }

    /// `x |= y` reads `x`, so it is spelled out as `x = x | y` and the read is metered like any other.
    fn assigned(
        &mut self,
        target: &Node<AssignmentTarget>,
        op: AssignmentOp,
        expr: Node<Expr>,
        depth: Depth,
    ) -> (AssignmentOp, Box<Node<Expr>>) {
        if op == AssignmentOp::Assign {
            return (op, self.boxed(expr, depth));
        }
        let span = expr.span();
        let read = Node::new(target.span(), target.inner().to_expr(target.span()));
        let merged = Op(Box::new(read), Node::new(span, Opcode::Merge), Box::new(expr));
        (AssignmentOp::Assign, self.boxed(Node::new(span, Expr::Op(Node::new(span, merged))), depth))
    }

    fn target(&mut self, target: &Node<AssignmentTarget>) {
        match target.inner() {
            AssignmentTarget::Internal(_, Some(path)) => self.path(target.span(), path),
            AssignmentTarget::External(Some(path)) => self.path(target.span(), &path.path),
            AssignmentTarget::Query(query) => self.path(target.span(), query.path.inner()),
            _ => {}
        }
    }

    fn query(&mut self, span: Span, node: Node<Query>, depth: Depth) -> Expr {
        let query = node.map(|query| self.query_parts(span, query, depth));
        let reads =
            matches!(query.inner().target.inner(), QueryTarget::Internal(_) | QueryTarget::External(_));
        let expr = Node::new(span, Expr::Query(query));
        if reads { hidden(meter::READ, expr) } else { expr.into_inner() }
    }

    fn query_parts(&mut self, span: Span, query: Query, depth: Depth) -> Query {
        self.path(span, query.path.inner());
        if *query.target.inner() == QueryTarget::External(PathPrefix::Metadata) {
            self.metadata(span, query.path.inner());
        }
        let target = query.target.map(|target| match target {
            QueryTarget::FunctionCall(call) => QueryTarget::FunctionCall(self.call(call, depth.in_call())),
            QueryTarget::Container(container) => QueryTarget::Container(self.container(container, depth)),
            read => read,
        });
        Query { target, path: query.path }
    }

    fn call(&mut self, call: FunctionCall, depth: Depth) -> FunctionCall {
        let name = call.ident.inner().clone().into_inner();
        self.allowed(call.ident.span(), &name);
        self.arguments_of(&name, &call);
        let arguments = call.arguments.into_iter().map(|node| {
            node.map(|argument| FunctionArgument {
                expr: self.argument(&name, argument.expr, depth),
                ident: argument.ident,
            })
        });
        FunctionCall {
            arguments: arguments.collect(),
            closure: call.closure.map(|node| {
                node.map(|closure| FunctionClosure { block: self.block(closure.block, depth), ..closure })
            }),
            ident: call.ident,
            abort_on_error: call.abort_on_error,
        }
    }

    fn argument(&mut self, called: &str, node: Node<Expr>, depth: Depth) -> Node<Expr> {
        if called == "exists" {
            return self.existing(node, depth);
        }
        // What stands in the source is short enough, and some functions insist on it standing there.
        if !meter::TAKES_TEXT_APART.contains(&called) || matches!(node.inner(), Expr::Literal(_)) {
            return self.expr(node, depth);
        }
        let node = self.expr(node, depth.in_call());
        Node::new(node.span(), hidden(meter::TEXT, node))
    }

    /// `exists` takes a path itself and copies nothing, so its path is not metered.
    fn existing(&mut self, node: Node<Expr>, depth: Depth) -> Node<Expr> {
        let span = node.span();
        match node.into_inner() {
            Expr::Query(query) => {
                Node::new(span, Expr::Query(query.map(|query| self.query_parts(span, query, depth))))
            }
            other => self.expr(Node::new(span, other), depth),
        }
    }
}

fn factor(node: Node<Expr>) -> Node<Expr> {
    let number = |literal: &Node<Literal>| matches!(literal.inner(), Literal::Integer(_) | Literal::Float(_));
    match node.inner() {
        Expr::Literal(literal) if number(literal) => node,
        _ => Node::new(node.span(), hidden(meter::FACTOR, node)),
    }
}

fn hidden(name: &str, expr: Node<Expr>) -> Expr {
    let span = expr.span();
    Expr::FunctionCall(Node::new(
        span,
        FunctionCall {
            ident: Node::new(span, Ident::new(name)),
            abort_on_error: false,
            arguments: vec![Node::new(span, FunctionArgument { ident: None, expr })],
            closure: None,
        },
    ))
}
