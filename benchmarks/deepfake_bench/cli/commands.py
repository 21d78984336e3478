"""Commands as users meet them: help that ends with examples, and hints at what a mistyped word may have meant."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

Function = TypeVar("Function", bound=Callable[..., Any])
EXAMPLES = "\n\nExamples:\n"
"""What separates the help of a command from its examples, in the docstring of its function."""
WIDTH = 100
"""Largest width of help in columns, for terminals that are at least as wide."""


class App(typer.Typer):
    """Application or group of commands, whose help comes from the docstrings of its functions.

    The text after ``Examples:`` is shown as it stands, below the options. Help is plain: to import Rich takes longer
    than a whole command needs.

    Args:
        name: Name of the group.
        **settings: Further settings of :class:`typer.Typer`.
    """

    def __init__(self, name: str, **settings: Any) -> None:
        given = {"cls": Group, "no_args_is_help": True, "rich_markup_mode": None, "pretty_exceptions_enable": False}
        context = {"help_option_names": ["-h", "--help"], "max_content_width": WIDTH}
        super().__init__(name=name, context_settings=context, **{**given, **settings})

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Function], Function]:
        """Return what adds a function as a command."""
        return super().command(name, **{"cls": Command, **settings})


class _Helped:
    """Part of a command and of a group: the examples at the end of the help."""

    help: str | None
    examples: str

    def _take_examples(self) -> None:
        self.help, _, self.examples = inspect.cleandoc(self.help or "").partition(EXAMPLES)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - the signature of the library
        """Write the examples as they stand in the docstring."""
        if self.examples:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line}\n" for line in inspect.cleandoc(self.examples).splitlines()))


class Command(_Helped, TyperCommand):
    """Command with examples, whose arguments are written as ``FILE``, ``[FILE]`` and ``FILE...``."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._take_examples()

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the parts of the usage line after the name of the command."""
        arguments = (one for one in self.get_params(ctx) if one.param_type_name == "argument")
        return ["[OPTIONS]", *map(_written, arguments)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments by their names alone, then the options."""
        rows: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for one in self.get_params(ctx):
            if (record := one.get_help_record(ctx)) is not None:
                is_argument = one.param_type_name == "argument"
                name = _name(one) if is_argument else record[0]
                rows["Arguments" if is_argument else "Options"].append((name, record[1]))
        for title, found in rows.items():
            if found:
                with formatter.section(title):
                    formatter.write_dl(found)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line.

        Raises:
            typer.BadParameter: An argument is missing, with an example of the command, or a value is none of the
                choices, with the closest of them.
        """
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            if not error.message and self.examples:  # something is missing
                error.message = f"For example: {self.examples.strip().splitlines()[0]}"
            elif found := re.fullmatch(r"(?:Value error, )?('(.*)' is not one of (.*?))\.?", error.message, re.DOTALL):
                close = difflib.get_close_matches(found[2], re.findall(r"'(.*?)'", found[3]), n=1)
                error.message = found[1] + (f"; did you mean {close[0]!r}?" if close else "")
            raise


class Group(_Helped, TyperGroup):
    """Group of commands with examples, in which ``help COMMAND`` means ``COMMAND --help``."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._take_examples()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line of the group itself."""
        return super().parse_args(ctx, [*args[1:], "--help"] if args[:1] == ["help"] else args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the first word names; where it is a file, the error says which command judges it."""
        if ctx.parent is None and args[0] not in self.commands and Path(args[0]).exists():
            ctx.fail(f"No such command {args[0]!r}. To judge a file: dfbench predict {args[0]}")
        return super().resolve_command(ctx, args)


def _name(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _written(argument: Any) -> str:
    name = _name(argument)
    return (name if argument.required else f"[{name}]") + ("..." if argument.nargs != 1 else "")
