"""The mutations that scripts/mutants.py applies: small faults in one place of a function, as syntax trees."""

import ast
import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

OPERATORS: dict[type[ast.AST], Any] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.And: ast.Or, ast.Or: ast.And,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip


class Mutant(NamedTuple):
    """One fault: its place, the code before and after, and the whole function with it."""

    function: str
    line: int
    before: str
    after: str
    tree: ast.FunctionDef


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """The functions and methods of a module, by qualified name."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{n.name}", n) for n in node.body if isinstance(n, ast.FunctionDef))


def mutants(name: str, function: ast.FunctionDef) -> Iterator[Mutant]:
    """Every mutant of a function's body; docstrings, annotations and the text of errors are left alone."""
    places = [node for statement in function.body for node in _mutable(statement)]
    for number, node in enumerate(places):
        for variant in range(len(_replacements(node))):
            changed = copy.deepcopy(function)
            twin = [n for statement in changed.body for n in _mutable(statement)][number]
            replacement = _replacements(twin)[variant]
            _Put(twin, replacement).visit(changed)
            ast.fix_missing_locations(changed)
            yield Mutant(name, node.lineno, ast.unparse(node), ast.unparse(replacement), changed)


class _Put(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return ast.copy_location(self.new, node) if node is self.old else self.generic_visit(node)


def _mutable(node: ast.AST) -> Iterator[ast.expr]:
    """Expressions that a fault can replace, in the order of the source."""
    if isinstance(node, ast.Raise) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        return
    if isinstance(node, ast.expr):
        yield node
    children = ([node.target, node.value] if node.value else []) if isinstance(node, ast.AnnAssign) else (
        ast.iter_child_nodes(node)
    )
    for child in children:
        yield from _mutable(child)


def _replacements(node: ast.expr) -> list[ast.expr]:
    """The expressions that may replace an expression."""
    match node:
        case ast.BinOp(left, op, right):
            swapped = [ast.BinOp(right, op, left)] if isinstance(op, ast.Sub | ast.Div | ast.Pow) else []
            return [*_other_operator(node, "op"), *swapped, left, right]
        case ast.BoolOp(values=values):
            return [*_other_operator(node, "op"), *values]
        case ast.UnaryOp(operand=operand):
            return [operand]
        case ast.Compare(left, ops, comparators):
            others = [OPERATORS[type(op)]() for op in ops if type(op) in OPERATORS]
            return [*(ast.Compare(left, [other], comparators) for other in others)]
        case ast.Constant(value=bool(value)):
            return [ast.Constant(not value)]
        case ast.Constant(value=int(value)):
            return [ast.Constant(value + 1), ast.Constant(value - 1)]
        case ast.Constant(value=float(value)):
            return [ast.Constant(value + 1.0), ast.Constant(value / 2)] if value else [ast.Constant(1.0)]
        case ast.IfExp(body=body, orelse=orelse):
            return [body, orelse]
        case ast.Call(func, args, keywords):
            return _other_calls(func, args, keywords)
    return []


def _other_operator(node: ast.BinOp | ast.BoolOp, field: str) -> list[ast.expr]:
    other = OPERATORS.get(type(getattr(node, field)))
    if other is None:
        return []
    changed = copy.copy(node)
    setattr(changed, field, other())
    return [changed]


def _other_calls(func: ast.expr, args: list[ast.expr], keywords: list[ast.keyword]) -> list[ast.expr]:
    """The call left out (its receiver or an argument in its place), arguments swapped, a keyword left out."""
    plain = [arg for arg in args if not isinstance(arg, ast.Starred)]
    found: list[ast.expr] = []
    if isinstance(func, ast.Attribute) and not (isinstance(func.value, ast.Name) and func.value.id == "torch"):
        found.append(func.value)
    else:
        found += plain
    if len(plain) == len(args) >= 2:
        found += [
            ast.Call(func, [*args[:i], args[i + 1], args[i], *args[i + 2 :]], keywords) for i in range(len(args) - 1)
        ]
    return found + [ast.Call(func, args, keywords[:i] + keywords[i + 1 :]) for i in range(len(keywords))]
