"""The tree is the flow: a stage uses only what comes before it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import locant

ROOT = Path(locant.__file__).parent
STAGES = ["queries", "models", "attributions", "selections", "interventions", "evaluations"]
BELOW_ALL = {"types", "errors", "files", "languages"}


def imported(path: Path) -> set[str]:
    """Parts of locant that a file imports, anywhere in it."""
    parts = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "locant":
            names = (node.module or "").split(".")[1:2]
            parts |= set(names) or {alias.name for alias in node.names}
        if isinstance(node, ast.Import):
            parts |= {name.name.split(".")[1] for name in node.names if name.name.startswith("locant.")}
    return parts


def test_a_stage_imports_only_types_errors_and_earlier_stages() -> None:
    for number, stage in enumerate(STAGES):
        allowed = BELOW_ALL | set(STAGES[: number + 1])
        for path in (ROOT / stage).rglob("*.py"):
            assert imported(path) <= allowed, f"{path} imports {imported(path) - allowed}"


def test_types_and_errors_import_nothing_of_locant() -> None:
    assert imported(ROOT / "types.py") == set()
    assert imported(ROOT / "errors.py") == set()


def test_the_reading_of_imports_sees_a_forbidden_one(tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text("def late():\n    from locant.reports import page\n    import locant.cli\n    return page\n")
    assert imported(path) == {"reports", "cli"}


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, locant.cli; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_can_be_had() -> None:
    assert all(getattr(locant, name) is not None for name in locant.__all__)
    assert set(locant.__all__) == set(locant._MODULE_OF)
