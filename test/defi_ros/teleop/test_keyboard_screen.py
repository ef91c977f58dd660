"""What a person sees of the keyboard: its keys, its status line."""

import io

import pytest

from defi_ros.sections import Teleop
from defi_ros.teleop.keyboard import Keyboard
from defi_ros.teleop.mapping import KeyboardMapping, load_mapping
from defi_ros.teleop.terminal import KeyTerminal


@pytest.fixture
def screen():
    return io.StringIO()


@pytest.fixture
def terminal(screen):
    return KeyTerminal(io.StringIO(), screen)


@pytest.mark.parametrize("columns", [120, 80, 60])
def test_the_keys_are_shown_in_lines_that_fit_each_beside_what_it_does(terminal, screen, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    mapping = load_mapping("keyboard")
    assert isinstance(mapping, KeyboardMapping)
    terminal.say(Keyboard(mapping, Teleop()).help)
    lines = screen.getvalue().removeprefix("\r\x1b[K").splitlines()
    assert max(map(len, lines)) < columns
    for shown in ("w +x", "l -yaw", "o -roll", "space stop", "Ctrl-C quit"):
        assert any(shown in line for line in lines), lines


@pytest.mark.parametrize("columns", [120, 60])
def test_the_status_line_uses_the_width_that_there_is(terminal, screen, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    terminal.show("x" * 200)
    assert screen.getvalue() == "\r\x1b[K" + "x" * (columns - 1)
