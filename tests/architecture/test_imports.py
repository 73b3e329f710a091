import ast
import os
import subprocess
import sys

from tests.support.shared import REPOSITORY

PACKAGE = REPOSITORY / "src" / "reverie"


DRAWING = {"MUJOCO_GL": "egl", "PYOPENGL_PLATFORM": "egl"}
"""Chosen before, as our factories do: where nothing is chosen, dm_control sets them on import."""


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **DRAWING}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )


def test_importing_reverie_is_quick_and_imports_no_torch() -> None:
    code = (
        "import sys, time; start = time.perf_counter(); import reverie; "
        "seconds = time.perf_counter() - start; assert seconds < 1, seconds; "
        "heavy = {'torch', 'numpy', 'cv2', 'gymnasium', 'pygame'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    result = run_python(code)
    assert result.returncode == 0, result.stderr


def test_the_root_of_the_package_imports_nothing() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


def modules(folder: str) -> list[str]:
    return sorted(
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in (PACKAGE / folder).rglob("*.py")
    )


LIBRARY_IMPORTS_TORCH = {
    "reverie.envs.domains.maniskill.game",
    "reverie.envs.domains.maniskill.own_tasks",
}
"""Imported only when a task of ManiSkill is made: the library itself brings torch along."""


def test_simulators_import_no_torch() -> None:
    names = sorted(set(modules("envs")) - LIBRARY_IMPORTS_TORCH)
    code = (
        f"import importlib, sys; [importlib.import_module(name) for name in {names}]; "
        "assert 'torch' not in sys.modules"
    )
    result = run_python(code)
    assert result.returncode == 0, result.stderr


IMPORT_ALL = """
import importlib, os
# What others do on import is theirs: gymnasium sets a variable for pygame, dm_control and ManiSkill
# set some for their drivers.
import cv2, gymnasium, matplotlib, numpy, pygame, sklearn, torch, uvicorn
import dm_control.suite, mani_skill.envs

def visible():
    seeds = (numpy.random.get_state()[1].tolist(), torch.initial_seed())
    flags = (torch.get_num_threads(), torch.is_grad_enabled(), cv2.getNumThreads(),
             torch.are_deterministic_algorithms_enabled(), matplotlib.get_backend())
    return dict(os.environ), seeds, flags

before = visible()
print("START", flush=True)
for name in {names}:
    importlib.import_module(name)
    assert visible() == before, name
"""


def test_importing_a_module_prints_nothing_and_changes_no_flag_seed_or_environment() -> None:
    result = run_python(IMPORT_ALL.format(names=modules("")))
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("START\n")
