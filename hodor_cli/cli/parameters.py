"""Turns a settings dataclass among a command's parameters into one option per field.

A setting's help text, limits and default are declared only in the library; this module decides how its option looks.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable
from contextlib import ExitStack
from typing import Annotated, Any

import typer
from typer.models import OptionInfo

from hodor_cli.settings import settings_of

#: Groups of options below the everyday ones.
FRAMES = "Which frames"
RESULTS = "What is written"
NETWORK = "Network"
MACHINE = "Machine"
#: Groups listed first and last in help; groups of single commands come between.
FIRST_GROUPS, LAST_GROUPS = (FRAMES, RESULTS), (NETWORK, MACHINE)

#: Setting name -> placeholder of its value in help ("" for a number or a switch), and its group.
_LOOKS: dict[str, tuple[str, str | None]] = {
    "weights": ("NAME|FILE|ADDRESS", None), "history": ("N", NETWORK), "min_dim": ("PX", NETWORK),
    "max_dim": ("PX", NETWORK), "matching": ("", NETWORK), "device": ("auto|cpu|cuda[:N]|mps", MACHINE),
    "precision": ("auto|fp32|bf16|fp16", MACHINE), "threads": ("N", MACHINE), "overlay": ("", RESULTS),
    "overlay_side": ("PX", RESULTS), "preset": ("NAME|FILE", None), "backbone": ("FILE", None),
    "resolution": ("NAME", None), "split": ("NAME", None),
    "out": ("FOLDER", None), "resume": ("", None), "overwrite": ("", None), "time_limit": ("TIME", "Run"),
    "time": ("TIME", None),
}  # fmt: skip


class Fields:
    """Marks a parameter whose fields become options: `Annotated[SomeSettings, Fields("history", ...)]`.

    Without names, all fields do. panel: the help group of fields that have no other.
    """

    def __init__(self, *names: str, panel: str | None = None) -> None:
        self.names, self.panel = names, panel


def expand(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with an option for each marked field; when called, it builds the dataclasses from the options."""
    parameters: list[inspect.Parameter] = []
    groups: dict[str, tuple[Any, tuple[str, ...]]] = {}
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        annotation, *marks = typing.get_args(parameter.annotation) or (parameter.annotation,)
        fields = next((mark for mark in marks if isinstance(mark, Fields)), None)
        if fields is None:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        names = fields.names or tuple(settings_of(annotation))
        groups[parameter.name] = (annotation, names)
        hints = typing.get_type_hints(annotation, include_extras=True)
        for name in names:
            setting, hint = settings_of(annotation)[name], hints[name]
            if not any(isinstance(mark, OptionInfo) for mark in typing.get_args(hint)):
                kind = setting.kind if isinstance(setting.kind, type) else str
                hint = Annotated[kind | None if setting.optional else kind, option(annotation, name, fields.panel)]
            parameters.append(
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=setting.default, annotation=hint)
            )
    if not groups:
        return function

    def call(**values: Any) -> Any:
        for name, (declared, names) in groups.items():
            values[name] = declared(**{field: values.pop(field) for field in names})
        return function(**values)

    call.__doc__, call.__name__, call.__module__ = function.__doc__, function.__name__, function.__module__
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def option(declared: Any, name: str, panel: str | None = None, *, flag: str = "", metavar: str = "") -> Any:
    """The typer option of a declared setting, with its help and limits; by default the flag is its name."""
    setting, flag = settings_of(declared)[name], flag or f"--{name.replace('_', '-')}"
    value, panel = _LOOKS.get(name, ("", panel))
    if setting.kind is bool:
        flags = f"{flag}/--no-{flag[2:]}" if setting.default else flag
        return typer.Option(flags, help=setting.help, rich_help_panel=panel)
    metavar = metavar or "|".join(filter(None, setting.choices)) or value or ("VALUE" if setting.kind is str else "N")
    return typer.Option(
        flag, *(["-o"] if name == "out" else []), metavar=metavar, help=setting.help, min=setting.least,
        max=setting.most, rich_help_panel=panel, callback=_fetched_for_run if name == "weights" else None,
    )  # fmt: skip


def _fetched_for_run(context: typer.Context, weights: str | None) -> str | None:
    """As `fetched`, except while the shell completes a command line."""
    return weights if context.resilient_parsing else fetched(weights)


def fetched(weights: str | None) -> str | None:
    """The value of `--weights`, unchanged; an address is downloaded once, with a progress bar, before the work."""
    if weights is None or not re.match("https?://", weights):
        return weights
    from hodor_cli.cli.terminal import Show, note, progress_bar
    from hodor_cli.weights.registry import weights_path
    from hodor_cli.weights.tensor_files import file_sha256

    show: Show | None = None
    with ExitStack() as bar:

        def progress(done: int, total: int | None) -> None:
            nonlocal show
            show = show or bar.enter_context(progress_bar("fetching weights", None, "MB"))
            show(done // 10**6, None if total is None else total // 10**6)

        path = weights_path(weights, progress)
    if show is not None and "#" not in weights:
        note(f"Saved as {path}. To accept only this file from there: {weights}#sha256={file_sha256(path)}")
    return weights
