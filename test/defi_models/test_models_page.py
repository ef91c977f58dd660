"""docs/models.md names every behaviour of the paper's code with a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parents[1] / "docs" / "models.md"
HERE = "test_behaviours.py"
DESCRIPTION = "test_official.py::test_the_policy_computes_what_the_paper_describes"


def rows() -> dict[int, str]:
    """Number of each behaviour -> the cell that names its tests."""
    found = re.findall(r"^\| (\d+) \|.*\| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE)
    return {int(number): tests for number, tests in found}


def exists(name: str) -> bool:
    """Whether a test of that name, or of that beginning, is in the file it names."""
    file, _, test = name.rpartition("::")
    sources = [path.read_text() for path in TESTS.rglob(file or HERE)]
    return any(re.search(rf"def {re.escape(test.removesuffix('...'))}", source) for source in sources)


def test_all_24_behaviours_are_there() -> None:
    assert sorted(rows()) == list(range(1, 25))


def test_every_behaviour_names_tests_that_exist() -> None:
    named = {number: re.findall(r"`([^`]+)`", cell) for number, cell in rows().items()}
    assert [number for number, names in named.items() if not names] == []
    assert [name for names in named.values() for name in [*names, DESCRIPTION] if not exists(name)] == []


def test_files_the_table_names_exist() -> None:
    source = TESTS.parents[1] / "src" / "defi_models" / "defi_models"
    cells = re.findall(r"^\| \d+ \|.*\| ([^|]+) \| [^|]+ \|$", PAGE.read_text(), re.MULTILINE)
    files = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    missing = [name for name in files if not (source / name).exists() and not (source.parents[2] / name).exists()]
    assert missing == []
