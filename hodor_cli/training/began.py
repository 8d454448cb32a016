"""What a run in a folder began with, so that going on with it can mean the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hodor_cli.errors import DataError, UsageError
from hodor_cli.training.checkpointing import read_run
from hodor_cli.training.run_folder import RunFolder
from hodor_cli.training.sources import ClipOptions, DataSource


@dataclass(frozen=True)
class Began:
    """The settings (None if nothing began) and the facts of run.json (empty where an older run wrote none)."""

    config: Mapping[str, Any] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def read(folder: RunFolder, kind: str) -> Began:
        """What is in the folder. Raises UsageError if it is a run of another kind, "pretrain" or "finetune"."""
        state, facts = read_run(folder.root), folder.read_facts()
        if facts and facts.get("kind") != kind:
            raise UsageError(f"{folder.root} holds a run of `hodor {facts.get('kind')}`; go on with it by that command")
        return Began(state.values["config"] if state is not None else facts.get("settings"), facts)

    def clips(self, asked: ClipOptions) -> ClipOptions:
        """How clips are used: as before. Raises UsageError, naming the flag, if something else is asked for."""
        before = self.facts.get("clips")
        if not before:
            return asked
        usual = dataclasses.asdict(ClipOptions())
        for name, value in dataclasses.asdict(asked).items():
            if value != usual[name] and value != before[name]:
                flag = f"--{name.replace('_', '-')}"
                raise UsageError(f"{flag} {value} contradicts --resume: the run began with {flag} {before[name]}")
        return ClipOptions(**before)

    def sources(self, asked: list[DataSource]) -> list[DataSource]:
        """The data sets: those asked for, which may have moved, or else as before. Raises UsageError."""
        before = [DataSource.from_dict(item) for item in self.facts.get("data", [])]
        if not asked or not before:
            return asked or before
        if [source.weight for source in asked] != [source.weight for source in before]:
            had = " ".join(f"--data {source.folder}:{source.weight:g}" for source in before)
            raise UsageError(f"--data contradicts --resume: the run began with {had}; leave --data out to keep them")
        return asked

    def check_samples(self, sources: Sequence[DataSource], samples: Sequence[int]) -> None:
        """Raise DataError if a set has more or fewer samples than when the run began."""
        for source, before, now in zip(sources, self.facts.get("data", []), samples, strict=False):
            if before.get("samples", now) != now:
                raise DataError(
                    f"{source.folder} had {before['samples']} samples when the run began and has {now} now, so --resume"
                    " cannot give the same batches; put it back or train into another folder"
                )
