"""What ``--help`` shows, of the whole command and of every sub-command."""

from __future__ import annotations

import argparse
import shlex

import pytest

from scribble_conversion.cli import COMMANDS, _get_parser, main

NAMES = tuple(module.__name__.rpartition(".")[2] for module in COMMANDS)


def _shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--help"])
    assert stopped.value.code == 0
    return capsys.readouterr().out


def _examples(text: str) -> list[list[str]]:
    """The arguments of the examples in a help text, each of which has to be on one line."""
    lines = text.partition("example:\n")[2].splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("  nnUNetv2_convert_scribbles ")]


def _parser(name: str) -> argparse.ArgumentParser:
    (commands,) = (action for action in _get_parser()._actions if isinstance(action, argparse._SubParsersAction))
    return commands.choices[name]


def test_the_whole_command_shows_what_each_is_for_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    text = _shown(capsys)
    examples = _examples(text)
    assert [example[0] for example in examples] == list(NAMES)
    for example in examples:
        assert _get_parser().parse_args(example).format == example[0]
    for words in ("WSL4MIS", "CycleMix", "ScribbleBench", "any two folders", "dense labels"):
        assert words in " ".join(text.split())


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_explained(capsys: pytest.CaptureFixture[str], name: str) -> None:
    text = _shown(capsys, name)
    ((command, *_),) = _examples(text)
    assert command == name
    for action in _parser(name)._actions:
        assert action.help, action.option_strings
        optional = action.option_strings and not action.required
        if optional and action.nargs != 0:
            assert "default" in action.help, action.option_strings
