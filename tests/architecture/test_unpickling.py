"""Nothing that comes from a disk or a socket can run code: no pickle, no eval."""

import ast

import pytest

from tests.support.shared import REPOSITORY

PACKAGE = REPOSITORY / "src" / "reverie"
OWN_WORKERS = {"recipes/evaluation.py": {"import pickle", "pickle.loads"}}
"""Results of processes that the same call started; they pass through a pipe, never a file."""
RESTRICTED = {"core/tensors.py": {"torch.load"}}
"""Torch's restricted unpickler, which builds tensors and plain containers and calls nothing."""
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CALLS = {"torch.load", "pickle.loads", "pickle.load", "yaml.load", "yaml.unsafe_load"}
NAMES = {"eval", "exec", "compile"}


def dangers(code: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {f"import {item.name}" for item in node.names if item.name in MODULES}
        if isinstance(node, ast.ImportFrom) and node.module in MODULES:
            found.add(f"import {node.module}")
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            found |= {name} & (CALLS | NAMES)
            found |= {
                item.arg
                for item in node.keywords
                if item.arg == "allow_pickle" and ast.unparse(item.value) != "False"
            }
    return found


def test_no_module_unpickles_or_runs_what_it_reads() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix(): dangers(path.read_text())
        for path in PACKAGE.rglob("*.py")
    }
    assert {name: names for name, names in found.items() if names} == OWN_WORKERS | RESTRICTED


def test_the_one_call_of_torch_load_is_restricted_to_tensors() -> None:
    tree = ast.parse((PACKAGE / "core" / "tensors.py").read_text())
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    assert len(calls) == 1
    told = {item.arg: ast.unparse(item.value) for item in calls[0].keywords}
    assert told["weights_only"] == "True"


@pytest.mark.parametrize(
    ("code", "danger"),
    [
        ("import torch\ntorch.load(path)", "torch.load"),
        ("from pickle import loads", "import pickle"),
        ("np.load(path, allow_pickle=True)", "allow_pickle"),
        ("eval(text)", "eval"),
    ],
)
def test_the_check_sees_what_it_looks_for(code: str, danger: str) -> None:
    assert danger in dangers(code)
