"""The options that `hodor pretrain` and `hodor finetune` share, made from the settings of training as declared."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from hodor_cli.cli.options import DeviceOption, PrecisionOption
from hodor_cli.cli.parameters import MACHINE, option
from hodor_cli.cli.terminal import Show, note, progress_bar, stdout_console, warn
from hodor_cli.errors import DataError, UsageError
from hodor_cli.settings import settings_of
from hodor_cli.training.config import LearningRate, TrainConfig
from hodor_cli.training.options import LaunchSettings, Recipe, RunOptions
from hodor_cli.training.samples.settings import augment_preset

if TYPE_CHECKING:
    from hodor_cli.model.hodor import Hodor
    from hodor_cli.training.options import TrainingResult

T = TypeVar("T")

#: Options that are settings of a run: option -> dotted name. `--set` reaches all others.
SETTINGS = {
    "iterations": "iterations",
    "batch_size": "batch_size",
    "micro_batch": "micro_batch",
    "learning_rate": "learning_rate.peak",
    "warmup": "learning_rate.warmup",
    "sequence": "sequence",
    "schedule": "schedule",
    "average": "average",
    "seed": "seed",
}
#: Where it is no number.
_METAVARS = {
    "preset": "NAME", "model": "NAME", "weights": "NAME|FILE", "backbone": "FILE", "out": "FOLDER",
    "time_limit": "TIME", "learning_rate": "RATE", "average": "DECAY", "resolution": "NAME", "split": "NAME",
}  # fmt: skip


Command = Callable[[Mapping[str, Any]], None]


def training_command(
    *own: inspect.Parameter, leave_out: Sequence[str] = ()
) -> Callable[[Command], Callable[..., None]]:
    """Make a command out of a function of all parameters by name: `data`, its own, and those of every run.

    leave_out: parameters of every run that it does not have.
    """
    common = [
        *declared(Recipe, without=("changes", *leave_out)),
        *declared(RunOptions, "Run"),
        *(_setting(name, dotted) for name, dotted in SETTINGS.items()),
        *_OTHERS,
        *declared(LaunchSettings, MACHINE, without=("device", "precision")),
    ]

    def decorate(command: Command) -> Callable[..., None]:
        parameters = [_DATA, *own, *common]

        def run(**values: Any) -> None:
            command(values)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def declared(settings: Any, panel: str | None = None, without: Sequence[str] = ()) -> list[inspect.Parameter]:
    """The fields of a dataclass of settings as parameters of a command, in a group of its help."""
    return [_parameter(settings, name, panel=panel) for name in settings_of(settings) if name not in without]


def given(settings: Callable[..., T], values: Mapping[str, Any], **others: Any) -> T:
    """The settings in a command's parameters. Raises UsageError."""
    return settings(**{name: values[name] for name in settings_of(settings) if name in values}, **others)


def plain(name: str, kind: Any, help: str, metavar: str, **more: Any) -> inspect.Parameter:
    """A parameter of a command that is no declared setting, and may be left out."""
    flag = typer.Option(f"--{name.strip('_').replace('_', '-')}", metavar=metavar, help=help, **more)
    return _named(name, None, Annotated[kind | None, flag])


def _named(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _parameter(settings: Any, name: str, *, panel: str | None, called: str = "") -> inspect.Parameter:
    """called: what the option is called where it is not as the field; it then has no default of its own."""
    setting, called = settings_of(settings)[name], called or name
    flags = (f"--{called.replace('_', '-')}", *(["-o"] if called == "out" else []))
    kind: Any = Path if called in ("out", "backbone") else setting.kind if isinstance(setting.kind, type) else str
    metavar = "" if kind is bool else _METAVARS.get(called) or "|".join(filter(None, setting.choices)) or "N"
    own = settings not in (TrainConfig, LearningRate)
    everyday = called in ("out", "resume", "overwrite", "iterations")
    flag = option(settings, name, metavar, flags=flags, rich_help_panel=None if everyday else panel)
    annotation: Any = Annotated[kind if own and not setting.optional else kind | None, flag]
    return _named(called, setting.default if own else None, annotation)


def _setting(called: str, dotted: str) -> inspect.Parameter:
    part, _, name = dotted.partition(".")
    if name:
        return _parameter(LearningRate, name, panel="Settings", called=called)
    return _parameter(TrainConfig, part, panel="Settings")


_DATA = plain("data", list[str], "A data set, and how often it is drawn from. Repeatable.", "FOLDER[:WEIGHT]")
_OTHERS = [
    plain("augment", str, "Augmentation: paper (imgaug), fast, mini, toy.", "NAME", rich_help_panel="Settings"),
    plain(
        "set_", list[str], "Any other setting of run.json, such as augment.rotation=0,15. Repeatable.", "NAME=VALUE",
        rich_help_panel="Settings",
    ),
    plain("val", Path, "Measure J&F on this benchmark and keep the best.", "FOLDER", rich_help_panel="Run"),
    _named("device", "auto", DeviceOption),
    _named("precision", "auto", PrecisionOption),
]  # fmt: skip


def given_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted name, from the options that have one of their own and from `--set`.

    Raises UsageError where both name the same.
    """
    changes: dict[str, Any] = {}
    for called, name in SETTINGS.items():
        if values[called] is not None:
            part, _, field = name.rpartition(".")
            setting = settings_of(LearningRate if part else TrainConfig)[field]
            dataclasses.replace(setting, name=called).check(values[called])
            changes[name] = values[called]
    if changes.get("average") == 0:
        changes["average"] = None
    if values["augment"] is not None:
        changes["augment"] = augment_preset(values["augment"])
    flags = {name: f"--{called.replace('_', '-')}" for called, name in SETTINGS.items()}
    for text in values["set_"] or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set takes NAME=VALUE, not {text!r}")
        if name in changes:
            raise UsageError(f"{flags.get(name, '--set')} and --set {text} set the same; give one of them")
        changes[name] = value
    return changes


def train_with(job: Any, data: Sequence[Any] | None, values: Mapping[str, Any], **arguments: Any) -> None:
    """Run `hodor_cli.pretrain` or `hodor_cli.finetune` with a command's parameters, and print the outcome."""
    from hodor_cli.cli.training_live import LiveLine
    from hodor_cli.training.options import Callbacks

    recipe = given(Recipe, values, changes=given_settings(values))
    run, launch = given(RunOptions, values), given(LaunchSettings, values)
    validate = None if values["val"] is None else Validation.of(values["val"], values["precision"])
    with ExitStack() as stack:
        show: Show | None = None

        def checking(done: int, total: int) -> None:
            nonlocal show
            show = show or stack.enter_context(progress_bar("checking", total, "items"))
            show(done)
            if done == total:
                stack.close()
                show = None

        callbacks = Callbacks(LiveLine(), note, warn, checking, validate)
        result: TrainingResult = job(data, recipe=recipe, run=run, launch=launch, callbacks=callbacks, **arguments)
    if not result.is_first:
        return
    console = stdout_console()
    console.print(f"{result.last}: the network after {result.iterations} iterations")
    if result.best is not None and result.score is not None:
        console.print(f"{result.best}: the best by validation, J&F {100 * result.score:.1f}")
    if result.iterations < result.wanted:
        note(f"the time is over after {result.iterations} of {result.wanted} iterations; `resume` continues")
    note(f"Use it: hodor segment VIDEO --mask MASK --weights {result.best or result.last}")


@dataclass(frozen=True)
class Validation:
    """J&F of a network on a benchmark in the DAVIS layout or another that `hodor evaluate` reads."""

    dataset: Path
    precision: str

    @staticmethod
    def of(dataset: Path, precision: str) -> Validation:
        """Raises InputError or DataError for a folder that no network can be measured on."""
        from hodor_cli.datasets.dataset import recognise

        benchmark = recognise(dataset)
        if not benchmark.has_truth:
            raise DataError(f"`val` {dataset} has no annotations to measure against")
        if not any(sequence.images for sequence in benchmark.sequences.values()):
            raise DataError(f"`val` {dataset} has masks but no images to run the network on")
        return Validation(dataset, precision)

    def __call__(self, model: Hodor) -> float:
        """Run the network on every sequence; NaN if nothing could be scored."""
        from hodor_cli.evaluation import EvaluationSettings, evaluate

        device = str(next(model.parameters()).device)
        settings = EvaluationSettings(device=device, precision=self.precision)
        result = evaluate(self.dataset, model=model, settings=settings)
        for name, fault in result.failed.items():
            note(f"{name} was left out of the validation: {fault}")
        note(f"J&F {100 * result.jf:.1f} on {self.dataset}")
        return float(result.jf)
