"""Print every mutant of the given files as JSON, one a line: `.venv-mutants/bin/python mutate.py FILE…`.

mutmut's own runner leaves out what is decorated and what is no function: here that is the SQL, the grants and
the grammar of identifiers. So its mutations are taken from it, for whole files, and runner.py runs them. Four
kinds are left out as they only repeat others: a value set to None, the second and third change of a string,
arguments set to None beside being dropped, and decorators.
"""

import ast
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import libcst as cst
from mutmut.mutation import mutators
from mutmut.mutation.file_mutation import MutationVisitor, deep_replace
from mutmut.mutation.pragma_handling import IgnoredCode


class WholeFile(MutationVisitor):
    """mutmut's visitor, which goes into decorated functions and classes as well."""

    def _skip_node_and_children(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            return False
        if isinstance(node, cst.Decorator):
            return True
        if isinstance(node, cst.Call) and isinstance(node.func, cst.Name) and node.func.value == "TypeVar":
            return True
        return bool(super()._skip_node_and_children(node))


def operators() -> Iterator[tuple[type, Callable[[Any], Iterable[cst.CSTNode]]]]:
    """Give mutmut's mutations, without those that repeat others."""
    for kind, operator in mutators.mutation_operators:
        if operator is mutators.operator_assignment:
            continue
        yield (
            kind,
            {mutators.operator_string: first_change, mutators.operator_arg_removal: fewer}.get(
                operator, operator
            ),
        )


def first_change(node: cst.BaseString) -> Iterable[cst.BaseString]:
    """Give one change of a string."""
    return list(mutators.operator_string(node))[:1]


def fewer(node: cst.Call) -> Iterable[cst.Call]:
    """Drop each argument of a call; an only one becomes None."""
    changed = list(mutators.operator_arg_removal(node))
    return [call for call in changed if len(call.args) < len(node.args)] or changed


def mutants(path: Path) -> Iterator[dict[str, Any]]:
    """Give the mutants of a file: where each is, the lines that it changes, and its source."""
    source = path.read_text()
    tree, lines = ast.parse(source), source.splitlines()
    visitor = WholeFile(list(operators()), IgnoredCode(set(), set(), set()))
    module = cst.MetadataWrapper(cst.parse_module(source)).visit(visitor)
    for mutation in visitor.mutations:
        mutated = deep_replace(module, mutation.original_node, mutation.mutated_node).code
        start, end, mutated_end = changed(lines, mutated.splitlines())
        yield {
            "module": str(path),
            **place(tree, start + 1),
            "line": start + 1,
            "old": joined(lines[start:end]),
            "new": joined(mutated.splitlines()[start:mutated_end]),
            "source": mutated,
        }


def changed(old: list[str], new: list[str]) -> tuple[int, int, int]:
    """Return where the first difference begins, and where the last ends in each."""
    start = next((place for place, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), len(new))
    same = 0
    while same < min(len(old), len(new)) - start and old[-1 - same] == new[-1 - same]:
        same += 1
    return start, len(old) - same, len(new) - same


def joined(lines: list[str]) -> str:
    """Return lines as one, without their indentation."""
    return " ".join(line.strip() for line in lines)


def place(tree: ast.Module, line: int) -> dict[str, Any]:
    """Return the function a line is in and where that begins; None where it runs once a process or less."""
    for node in tree.body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
        for member in inside:
            if isinstance(member, ast.FunctionDef):
                begins = min([member.lineno, *(it.lineno for it in member.decorator_list)])
                if begins <= line <= (member.end_lineno or 0):
                    is_cached = any(ast.unparse(it) == "cache" for it in member.decorator_list)
                    return {"function": prefix + member.name, "begins": None if is_cached else begins}
        if prefix and node.lineno <= line <= (node.end_lineno or 0):
            return {"function": prefix.rstrip("."), "begins": None}
    return {"function": "", "begins": None}


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        for mutant in mutants(Path(argument)):
            print(json.dumps(mutant))
