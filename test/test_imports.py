"""Imports point left: contract < transforms, control, checkpoint < models, sim < ... < launch. Read with ast, not run."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src"
PACKAGES = ("defi_models", "defi_ros", "defi_sim")
CHAIN = (
    ("contract",),
    ("transforms", "control", "checkpoint"),
    ("models", "sim"),
    ("datasets", "recording"),
    ("inference",),
    ("training", "export", "evaluation"),
    ("experiment",),
    ("bridge", "drivers"),
    ("nodes",),
    ("bringup",),
    ("launch",),
)
RANK = {name: rank for rank, names in enumerate(CHAIN) for name in names}
# Modules that stand beside the folders of the chain, and the link whose place they share.
SHARES_PLACE_OF = {
    "defi_models.config": "checkpoint",
    "defi_models.published": "checkpoint",
    "defi_models.errors": "contract",
    "defi_models.arrays": "contract",
    "defi_models.limits": "contract",
    "defi_models.words": "checkpoint",
    "defi_models.bar": "checkpoint",
    "defi_models.files": "checkpoint",
    "defi_models.options": "checkpoint",
    "defi_models.kinds": "checkpoint",
    "defi_models.sampling": "checkpoint",
    "defi_models.cli": "evaluation",
    "defi_models.inventory": "evaluation",
    "defi_models.inspection": "evaluation",
    "defi_models.official": "evaluation",
    "defi_models.official_keys": "evaluation",
    "defi_models.commands": "evaluation",
    "defi_ros.robot": "control",
    "defi_ros.teleop": "control",
    "defi_ros.sections": "control",
    "defi_ros.settings": "control",
    "defi_ros.up": "launch",
    "defi_ros.cli": "launch",
}
FORBIDDEN_IN_CONTROL = {
    "rclpy",
    "torch",
    "time",
    "threading",
    "logging",
    "asyncio",
    "multiprocessing",
    "datetime",
    "cv2",
    "mujoco",
}
PARTS_OF_CONTRACT = ("errors", "arrays", "limits", "contract")
ALLOWED_IN_CONTRACT = {"__future__", "collections", "dataclasses", "numpy", "types", "typing"}


def modules() -> list[tuple[str, Path]]:
    found = []
    for package in PACKAGES:
        for path in sorted((SOURCE / package / package).rglob("*.py")):
            parts = path.relative_to(SOURCE / package).with_suffix("").parts
            found.append((".".join(parts).removesuffix(".__init__"), path))
    return found


def imports(name: str, path: Path) -> Iterator[tuple[str, int, bool]]:
    """(imported module, line, whether it happens at run time) for every import of a module, nested ones too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        runs = id(node) not in typing_only
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno, runs) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(
                    [*package.split(".")[: len(package.split(".")) - node.level + 1], *filter(None, [node.module])]
                )
            yield base, node.lineno, runs
            yield from ((f"{base}.{alias.name}", node.lineno, runs) for alias in node.names)


def rank_of(module: str) -> int | None:
    """The place of a module in the chain; None when it is no module of this project or a whole package."""
    parts = module.split(".")
    if parts[0] not in PACKAGES:
        return None
    if parts[0] == "defi_sim":
        return RANK["sim"]
    for length in range(len(parts), 1, -1):
        shared = SHARES_PLACE_OF.get(".".join(parts[:length]))
        if shared is not None:
            return RANK[shared]
    return RANK.get(parts[1]) if len(parts) > 1 else None


@pytest.mark.parametrize(("name", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_point_left(name: str, path: Path):
    own = rank_of(name)
    if own is None:
        return
    for imported, line, _ in imports(name, path):
        other = rank_of(imported)
        if other is not None and imported.split(".")[:2] != name.split(".")[:2]:
            assert other <= own, f"{path}:{line}: {name} imports {imported}, which stands to its right in the chain"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_has_a_place_in_the_chain(package: str):
    homeless = [name for name, _ in modules() if name.startswith(f"{package}.") and rank_of(name) is None]
    assert not homeless, f"{homeless}: give it a place in CHAIN or SHARES_PLACE_OF, or move it"


def test_control_knows_no_ros_torch_clock_thread_or_log():
    for name, path in modules():
        if name.startswith("defi_ros.control"):
            for imported, line, _ in imports(name, path):
                assert imported.split(".")[0] not in FORBIDDEN_IN_CONTROL, f"{path}:{line}: control/ imports {imported}"


@pytest.mark.parametrize("module", PARTS_OF_CONTRACT)
def test_the_contract_needs_numpy_alone(module: str):
    path = SOURCE / "defi_models" / "defi_models" / f"{module}.py"
    for imported, line, _ in imports(f"defi_models.{module}", path):
        own = imported.removeprefix("defi_models.").split(".")[0] in PARTS_OF_CONTRACT
        assert own or imported.split(".")[0] in ALLOWED_IN_CONTRACT, f"{path}:{line}: {module}.py imports {imported}"


@pytest.mark.parametrize("package", ["defi_models", "defi_sim"])
def test_models_and_simulator_know_no_ros(package: str):
    for name, path in modules():
        if name.split(".")[0] == package:
            for imported, line, _ in imports(name, path):
                top = imported.split(".")[0]
                assert top != "rclpy" and not top.endswith("_msgs"), f"{path}:{line}: {name} imports {imported}"


@pytest.mark.parametrize("package", ["defi_ros", "defi_sim"])
def test_packages_themselves_import_the_standard_library_only(package: str):
    path = SOURCE / package / package / "__init__.py"
    nodes = [
        node
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    tops = {
        name.split(".")[0]
        for node in nodes
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }
    assert tops <= set(sys.stdlib_module_names)
