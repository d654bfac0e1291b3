"""The product's source, read without running it: which modules there are, and what each refers to.

Imports are found wherever they hide: inside functions, for types only, relative, by name. `tests/test_house.py` holds
the rules.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
FLOORS = {"ca": {"ca"}, "renewers": {"renewers", "ca"}, "pki": {"pki", "renewers", "ca"}}
"""What each package may import of the house."""
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Module:
    """One module of the product: its dotted name, its source, and its tree."""

    name: str
    text: str
    is_package: bool = False

    @property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return _tree(self.text)

    @property
    def floor(self) -> str:
        """`ca`, `renewers` or `pki`."""
        return self.name.partition(".")[0]


@cache
def _tree(text: str) -> ast.Module:
    return ast.parse(text)


def modules() -> dict[str, Module]:
    """Every module of the product by its name."""
    found = {}
    for floor in FLOORS:
        for path in sorted((ROOT / floor).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            found[name] = Module(name, path.read_text(), is_package)
    return found


def imports(module: Module) -> Sequence[tuple[str, str | None]]:
    """Every import, wherever it is hidden: the module that is named, and the name taken from it, if one is."""
    return _imports(module)


@cache
def _imports(module: Module) -> Sequence[tuple[str, str | None]]:
    return tuple(_each_import(module))


def _each_import(module: Module) -> Iterator[tuple[str, str | None]]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node.level, node.module)
            yield from ((base, alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and (name := _imported_by_call(module, node)) is not None:
            yield name, None


def _absolute(module: Module, level: int, name: str | None) -> str:
    if level == 0:
        return name or ""
    parts = module.name.split(".")
    kept = parts[: len(parts) - level + (1 if module.is_package else 0)]
    return ".".join([*kept, *([name] if name else [])])


def _imported_by_call(module: Module, call: ast.Call) -> str | None:
    """The module that `import_module("...")` or `__import__("...")` names."""
    word = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if word not in ("import_module", "__import__", "find_spec", "run_module") or not call.args:
        return None
    first = call.args[0]
    assert isinstance(first, ast.Constant), f"{module.name}:{call.lineno} imports what only a running program knows"
    text = str(first.value)
    level = len(text) - len(text.lstrip("."))
    return _absolute(module, level, text.lstrip(".") or None)


def dependencies(module: Module, known: Mapping[str, Module]) -> set[str]:
    """The modules of the house that a module imports."""
    found = set()
    for base, name in imports(module):
        full = f"{base}.{name}".removeprefix(".")
        found.add(full if name is not None and (full in known or not base) else base)
    return {name for name in found if name.partition(".")[0] in FLOORS} - {module.name}


def references(module: Module) -> Sequence[tuple[int, str]]:
    """Every dotted path that begins with an import or a built-in, under the name that it has where it comes from."""
    return _references(module)


@cache
def _references(module: Module) -> Sequence[tuple[int, str]]:
    return tuple(_each_reference(module))


def _each_reference(module: Module) -> Iterator[tuple[int, str]]:
    origins: dict[str, str] = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                origins[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node.level, node.module)
            for alias in node.names:
                origins[alias.asname or alias.name] = f"{base}.{alias.name}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name | ast.Attribute) and (path := _dotted(node)) is not None:
            first, _, rest = path.partition(".")
            origin = origins.get(first, first if hasattr(builtins, first) else None)
            if origin is not None:
                yield node.lineno, f"{origin}.{rest}" if rest else origin


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        above = _dotted(node.value)
        return None if above is None else f"{above}.{node.attr}"
    return None


def functions(module: Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function and method with its full name."""

    def walk(node: ast.AST, above: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
        for child in ast.iter_child_nodes(node):
            name = f"{above}.{child.name}" if isinstance(child, (ast.ClassDef, *FUNCTION)) else above
            if isinstance(child, FUNCTION):
                yield name, child
            yield from walk(child, name)

    yield from walk(module.tree, module.name)


def calls(module: Module, *words: str) -> list[str]:
    """The functions whose own body calls one of these, whatever it is called on."""
    found = []
    for name, node in functions(module):
        for inner in ast.walk(node):
            if isinstance(inner, ast.Call):
                last = inner.func.attr if isinstance(inner.func, ast.Attribute) else getattr(inner.func, "id", "")
                if last in words:
                    found.append(name)
    return found
