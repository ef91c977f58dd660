"""The `defi` command."""

import sys
from importlib.metadata import EntryPoint

import pytest

from defi_models import cli
from defi_models.contract import ConfigError

GROUP = "defi.commands"


class Echo:
    """A subcommand for these tests."""

    help = "says a word"

    def add_arguments(self, parser):
        parser.add_argument("word")

    def run(self, args):
        if args.word == "refuse":
            raise ConfigError("word: got 'refuse', expected another")
        if args.word == "interrupt":
            raise KeyboardInterrupt
        sys.stdout.write(args.word)
        return 1 if args.word == "fail" else 0


@pytest.fixture(autouse=True)
def commands(monkeypatch):
    offers = {
        "echo": EntryPoint("echo", "echo_of_the_tests:Echo", GROUP),
        "torn": EntryPoint("torn", "defi_models.nothing_here:Torn", GROUP),
    }
    monkeypatch.setattr(cli, "offered", lambda: offers)
    monkeypatch.setattr(EntryPoint, "load", load)


def load(entry):
    if entry.name == "echo":
        return Echo
    raise ModuleNotFoundError("No module named 'defi_models.nothing_here'")


@pytest.mark.parametrize(("word", "code"), [("hello", 0), ("fail", 1), ("refuse", 2), ("interrupt", 130)])
def test_the_exit_code_tells_how_it_ended(word, code):
    assert cli.main(["echo", word]) == code


def test_refused_input_is_one_line_and_no_traceback(capsys):
    cli.main(["echo", "refuse"])
    assert capsys.readouterr().err == "defi: word: got 'refuse', expected another\n"


def test_an_unknown_command_names_the_nearest_and_all(capsys):
    assert cli.main(["ecko"]) == 2
    assert "got unknown command 'ecko', expected one of echo, torn; did you mean 'echo'?" in capsys.readouterr().err


def test_a_command_that_cannot_be_imported_says_why_and_what_to_do(capsys):
    assert cli.main(["torn"]) == 2
    assert "No module named 'defi_models.nothing_here'" in capsys.readouterr().err


def test_help_lists_every_command_also_the_one_that_cannot_run_here(capsys):
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "echo       says a word" in text
    assert "torn       (not available: No module named" in text


def test_no_command_at_all_shows_the_help_and_is_an_error(capsys):
    assert cli.main([]) == 2
    assert "usage: defi" in capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("defi 0.")
