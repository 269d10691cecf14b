"""Small changes of a Python module: each a span of its source and the text that goes there.

Nothing is unparsed: a mutant differs from its module in one place, and its lines stay in place.
Left alone: docstrings, `__repr__`, type annotations, `if TYPE_CHECKING`, `__all__`, overloads, and
the wording of messages, which is any text with a blank in it, in a `raise`, or within an f-string.
"""

import ast
import io
import tokenize
from dataclasses import dataclass
from typing import Final

COMPARISONS: Final[dict[type[ast.cmpop], list[str]]] = {
    ast.Lt: ["<="],
    ast.LtE: ["<"],
    ast.Gt: [">="],
    ast.GtE: [">"],
    ast.Eq: ["!="],
    ast.NotEq: ["=="],
    ast.In: ["not in"],
    ast.NotIn: ["in"],
    ast.Is: ["is not"],
    ast.IsNot: ["is"],
}
ARITHMETIC: Final[dict[type[ast.operator], str]] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "//",
    ast.Div: "*",
    ast.FloorDiv: "*",
    ast.Mod: "//",
    ast.Pow: "*",
    ast.BitOr: "&",
    ast.BitAnd: "|",
    ast.BitXor: "|",
    ast.LShift: ">>",
    ast.RShift: "<<",
}
CALLS: Final = {
    "sorted": "list",
    "reversed": "iter",
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
}
FOR_TYPES_ONLY: Final = {"overload", "override", "final", "runtime_checkable"}
OPERATORS: Final = ("<", ">", "=", "!", "+", "-", "*", "/", "%", "|", "&", "^")
WORDS: Final = ("and", "or", "not", "in", "is")


@dataclass(frozen=True)
class Mutation:
    """One change: `old` at `start` becomes `new`. Offsets are bytes of UTF-8.

    `lines` are those whose execution may be changed: of an expression, those of the simple
    statement around it or of the head of the compound one. What runs as the module is imported
    has the `names` under which others know it: of the variable, of the class around it.
    """

    kind: str
    line: int
    start: int
    end: int
    old: str
    new: str
    lines: tuple[int, int]
    names: frozenset[str]

    def apply(self, source: bytes) -> bytes:
        """The module with this change made."""
        return source[: self.start] + self.new.encode() + source[self.end :]


class _Finder:
    """Walks one module. `lines` are those of the innermost statement; at depth 0 is no function."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.tree = ast.parse(source)
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.gaps = _tokens(source, self.starts)
        self.found: list[Mutation] = []
        self.lines = (1, 1)
        self.names: list[str] = []
        self.depth = 0

    # Positions

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Where a node's text begins and ends."""
        first = self.starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
        last = self.starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]
        return first, last

    def text(self, node: ast.AST) -> str:
        """The source of a node."""
        first, last = self.span(node)
        return self.source[first:last].decode()

    def between(self, left: ast.AST, right: ast.AST) -> tuple[int, int]:
        """The operator between two nodes; brackets and comments beside it are not part of it."""
        first, last = self.span(left)[1], self.span(right)[0]
        inside = [gap for gap in self.gaps if first <= gap[0] and gap[1] <= last]
        return inside[0][0], inside[-1][1]

    # Changes

    def change(self, kind: str, start: int, end: int, new: str) -> None:
        """Keep a change, if there is one."""
        old = self.source[start:end].decode()
        line = self.source.count(b"\n", 0, start) + 1
        names = frozenset() if self.depth else frozenset(self.names)
        self.found.append(Mutation(kind, line, start, end, old, new, self.lines, names))

    def replace(self, kind: str, node: ast.AST, new: str) -> None:
        """Keep another text for a node."""
        self.change(kind, *self.span(node), new)

    # The walk

    def statements(self, body: list[ast.stmt]) -> None:
        """Every statement of a block."""
        for statement in body:
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:
        """One statement: what may be done to it, then to what is in it."""
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return  # a docstring, or the dots of a protocol
        if isinstance(node, ast.If) and "TYPE_CHECKING" in self.text(node.test):
            return
        if isinstance(node, ast.Assign) and self.text(node.targets[0]) == "__all__":
            return
        inner = getattr(node, "body", None) or getattr(node, "cases", None)
        last = inner[0] if inner else None
        end = getattr(last, "lineno", None) or getattr(getattr(last, "pattern", None), "lineno", 0)
        self.lines = (node.lineno, max(node.lineno, end - 1) if end else node.end_lineno or 0)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            self.definition(node)
            return
        targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
        bound = [each.id for each in targets if isinstance(each, ast.Name)]
        self.names += bound
        _OF_STATEMENT.get(type(node), lambda *_: None)(self, node)
        self.fields(node)
        del self.names[len(self.names) - len(bound) :]

    def definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        """A function or a class: its decorators and defaults, then its body."""
        own = (node.lineno, node.end_lineno or node.lineno)
        names = {self.text(each).rpartition(".")[2] for each in node.decorator_list}
        if node.name == "__repr__" or "overload" in names:
            return
        self.names.append(node.name)
        for each in node.decorator_list:
            self.lines = own
            if self.text(each).partition("(")[0].rpartition(".")[2] not in FOR_TYPES_ONLY:
                first, last = self.span(each)
                self.change("decorator removed", self.source.rindex(b"@", 0, first), last, "")
            self.expression(each)
        if isinstance(node, ast.ClassDef):
            for each in [*node.bases, *node.keywords]:
                self.expression(each)
            self.statements(node.body)
        else:
            self.lines = own
            self.defaults(node.args)
            self.depth += 1
            self.statements(node.body)
            self.depth -= 1
        self.names.pop()

    def defaults(self, arguments: ast.arguments) -> None:
        """The defaults of a function; those that are constants change as such."""
        for each in [*arguments.defaults, *filter(None, arguments.kw_defaults)]:
            if not isinstance(each, ast.Constant):
                self.replace("default argument", each, "None")
            self.expression(each)

    def fields(self, node: ast.AST) -> None:
        """All that is below a node but annotations, and what f-strings are made of."""
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "type_comment"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.stmt):
                    self.statement(child)
                elif isinstance(child, (ast.ExceptHandler, ast.match_case)):
                    self.branch(child)
                elif isinstance(child, ast.AST):
                    self.expression(child)

    def branch(self, node: ast.ExceptHandler | ast.match_case) -> None:
        """An `except` or a `case`: its head runs by itself."""
        line = getattr(node, "lineno", 0) or node.pattern.lineno  # type: ignore[union-attr]
        self.lines = (line, max(line, node.body[0].lineno - 1))
        if isinstance(node, ast.ExceptHandler) and node.type:
            self.exceptions(node.type)
        self.fields(node)

    def exceptions(self, node: ast.expr) -> None:
        """The classes that a handler catches: wider, and without each of them."""
        if self.text(node) not in ("Exception", "BaseException"):
            self.replace("exception widened", node, "Exception")
        classes = node.elts if isinstance(node, ast.Tuple) else [node]
        for each in classes:
            kept = "".join(f"{self.text(other)}, " for other in classes if other is not each)
            self.replace("exception narrowed", node, f"({kept.rstrip()})")

    def expression(self, node: ast.AST) -> None:
        """One expression: what may be done to it, then to what is in it."""
        if isinstance(node, ast.keyword) and node.arg in ("repr", "help"):
            return
        _OF_EXPRESSION.get(type(node), lambda *_: None)(self, node)
        if isinstance(node, ast.Lambda):
            self.defaults(node.args)
            self.expression(node.body)
        elif isinstance(node, ast.Call) and self.text(node.func) == "cast":
            self.expression(node.args[1])
        elif not isinstance(node, ast.JoinedStr):
            self.fields(node)

    # Statements

    def deleted(self, node: ast.stmt) -> None:
        """A statement whose effect is all there is to it."""
        self.replace("statement deleted", node, "pass")

    def of_expr(self, node: ast.Expr) -> None:
        """A call for its effect."""
        if isinstance(node.value, (ast.Call, ast.Yield, ast.YieldFrom, ast.Await)):
            self.deleted(node)

    def of_assign(self, node: ast.Assign) -> None:
        """An assignment to an attribute or an item, which others see."""
        if any(isinstance(target, (ast.Attribute, ast.Subscript)) for target in node.targets):
            self.deleted(node)

    def of_aug_assign(self, node: ast.AugAssign) -> None:
        """A running sum, or its like."""
        self.deleted(node)
        self.operator(node.target, node.op, node.value, "=")

    def of_return(self, node: ast.Return) -> None:
        """A value that is handed out."""
        if node.value and self.text(node.value) != "None":
            self.replace("return value dropped", node.value, "None")

    def of_test(self, node: ast.If | ast.While | ast.IfExp) -> None:
        """A condition."""
        self.negated(node.test)

    # Expressions

    def of_comprehension(self, node: ast.comprehension) -> None:
        """What a comprehension leaves out."""
        for test in node.ifs:
            self.negated(test)

    def negated(self, test: ast.expr) -> None:
        """A condition, unless a change of its own operator says the same."""
        one = isinstance(test, ast.Compare) and len(test.ops) == 1
        if isinstance(test, ast.UnaryOp) or (one and not isinstance(test.ops[0], _ORDERS)):
            return
        self.replace("condition negated", test, f"(not ({self.text(test)}))")

    def of_compare(self, node: ast.Compare) -> None:
        """Each comparison of a chain."""
        left = node.left
        for op, right in zip(node.ops, node.comparators, strict=True):
            for new in COMPARISONS[type(op)]:
                self.change("comparison", *self.between(left, right), new)
            left = right

    def of_bool_op(self, node: ast.BoolOp) -> None:
        """Each `and`, each `or`."""
        new = "or" if isinstance(node.op, ast.And) else "and"
        for left, right in zip(node.values, node.values[1:], strict=False):
            self.change("boolean operator", *self.between(left, right), new)

    def of_unary_op(self, node: ast.UnaryOp) -> None:
        """A `not`, or a minus."""
        if isinstance(node.op, (ast.Not, ast.USub, ast.Invert)):
            first = self.span(node)[0]
            kind = "not removed" if isinstance(node.op, ast.Not) else "sign removed"
            self.change(kind, first, first + (4 if isinstance(node.op, ast.Not) else 1), "")

    def operator(self, left: ast.expr, op: ast.operator, right: ast.expr, after: str = "") -> None:
        """An arithmetic operator, `|` of types in `isinstance` among them."""
        if new := ARITHMETIC.get(type(op)):
            self.change("arithmetic", *self.between(left, right), new + after)

    def of_bin_op(self, node: ast.BinOp) -> None:
        """An operator between two values; a `%` behind a text is wording."""
        if not (isinstance(node.left, ast.Constant) and isinstance(node.left.value, str)):
            self.operator(node.left, node.op, node.right)

    def of_constant(self, node: ast.Constant) -> None:
        """A number, a truth, or a text that is no wording."""
        value = node.value
        if isinstance(value, bool):
            self.replace("constant", node, str(not value))
        elif isinstance(value, (int, float)):
            for new in dict.fromkeys([value + 1, value - 1, 0]):
                if new != value:
                    self.replace("constant", node, f"({new})" if new < 0 else str(new))
        elif isinstance(value, (str, bytes)) and not self.in_raise():
            self.of_text(node, value)

    def of_text(self, node: ast.Constant, value: str | bytes) -> None:
        """A text without a blank, which something depends on."""
        empty, other = ('""', '"mutant"') if isinstance(value, str) else ('b""', 'b"mutant"')
        if (" " if isinstance(value, str) else b" ") not in value:
            self.replace("constant", node, empty if value else other)

    def of_joined(self, node: ast.JoinedStr) -> None:
        """An f-string that makes a name, and no sentence."""
        texts = [each.value for each in node.values if isinstance(each, ast.Constant)]
        if not self.in_raise() and not any(" " in text for text in texts):
            self.replace("constant", node, '""')

    def of_call(self, node: ast.Call) -> None:
        """Calls that have an opposite, and what is suppressed."""
        name = self.text(node.func)
        if name in CALLS and node.args:
            if name == "sorted":
                self.replace("order dropped", node, f"list({self.text(node.args[0])})")
            else:
                kind = "order dropped" if name == "reversed" else "opposite function"
                self.replace(kind, node.func, CALLS[name])
        if name.rpartition(".")[2] == "suppress":
            for each in node.args:
                kept = ", ".join(self.text(other) for other in node.args if other is not each)
                self.replace("exception narrowed", node, f"{name}({kept})")

    def of_slice(self, node: ast.Slice) -> None:
        """Both bounds, also where they are not written."""
        first, last = self.span(node)
        if node.lower:
            self.replace("slice", node.lower, f"({self.text(node.lower)}) + 1")
        else:
            self.change("slice", first, first, "1")
        if node.upper:
            self.replace("slice", node.upper, f"({self.text(node.upper)}) - 1")
        elif not node.step:
            self.change("slice", last, last, "-1")

    def in_raise(self) -> bool:
        """Whether the statement raises: its texts are wording."""
        start = self.starts[self.lines[0] - 1]
        return self.source[start : self.starts[self.lines[0]]].lstrip().startswith(b"raise")


_ORDERS: Final = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_OF_STATEMENT: Final = {
    ast.Expr: _Finder.of_expr,
    ast.Assign: _Finder.of_assign,
    ast.AugAssign: _Finder.of_aug_assign,
    ast.Delete: _Finder.deleted,
    ast.Raise: _Finder.deleted,
    ast.Assert: _Finder.deleted,
    ast.Return: _Finder.of_return,
    ast.If: _Finder.of_test,
    ast.While: _Finder.of_test,
    ast.Continue: lambda self, node: self.replace("continue and break", node, "break"),
    ast.Break: lambda self, node: self.replace("continue and break", node, "continue"),
}
_OF_EXPRESSION: Final = {
    ast.IfExp: _Finder.of_test,
    ast.comprehension: _Finder.of_comprehension,
    ast.Compare: _Finder.of_compare,
    ast.BoolOp: _Finder.of_bool_op,
    ast.UnaryOp: _Finder.of_unary_op,
    ast.BinOp: _Finder.of_bin_op,
    ast.Constant: _Finder.of_constant,
    ast.JoinedStr: _Finder.of_joined,
    ast.Call: _Finder.of_call,
    ast.Slice: _Finder.of_slice,
}


def _tokens(source: bytes, starts: list[int]) -> list[tuple[int, int]]:
    """The places of operators: signs, and the words that are operators."""
    found, lines = [], source.decode().splitlines(keepends=True)
    for token in tokenize.generate_tokens(io.StringIO(source.decode()).readline):
        sign = token.type == tokenize.OP and token.string.startswith(OPERATORS)
        if sign or token.string in WORDS:
            row, column = token.start
            first = starts[row - 1] + len(lines[row - 1][:column].encode())
            found.append((first, first + len(token.string)))
    return found


def mutations(source: bytes) -> list[Mutation]:
    """Every change of a module, in the order of its text."""
    finder = _Finder(source)
    finder.statements(finder.tree.body)
    return sorted(finder.found, key=lambda each: (each.start, each.end, each.new))
