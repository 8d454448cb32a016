"""The faults of a data set, collected while it is read and reported together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hodor_cli.errors import DataError
from hodor_cli.images.paths import plural

#: Faults of one kind that are kept; further ones are only counted.
_KEPT = 1000
CROWDS = "masks marked as crowds"
MISSING, OUTSIDE, BELOW = "missing image", "image outside the folder", "objects below the limits"
_WAYS_OUT = {
    "broken image": "; delete its file to train without it",
    "image listed more than once": "; give all its annotations the id of one entry, and delete the others",
    MISSING: "; put the images next to their annotations, or links to them",
}
_EMPTY = "nothing is left to train on"
_LIMITS = " within the limits; lower `limits.min_area` or `limits.min_side`"
_LONGEST = 400  # characters of a name or a detail


class DataSizeError(DataError):
    """A picture or an annotation whose size differs from what its data set says."""


@dataclass(frozen=True)
class Fault:
    """One fault. kind: for example "missing image". where: the file or annotation. detail: more about this one.

    serious: training would fail on it or learn something wrong. An entry with any other fault is only left out.
    """

    kind: str
    where: str
    detail: str = ""
    serious: bool = True

    @property
    def way_out(self) -> str:
        """The end of a sentence about the fault: what to do; "" if unknown."""
        return _WAYS_OUT.get(self.kind, "")

    def __str__(self) -> str:
        return f"{self.where}: {self.detail}" if self.detail else self.where


@dataclass
class Faults:
    """The faults of the data set at `path`, in reading order. facts: sentences for the user about anything else.
    doubts: sentences about labels that are probably wrong."""

    path: Path
    found: list[Fault] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, where: object, detail: str = "", *, serious: bool = True) -> None:
        """Add one fault. Only the first thousand of a kind are kept; the others are counted."""
        self.counts[kind] += 1
        if self.counts[kind] <= _KEPT:
            self.found.append(Fault(kind, _cut(str(where)), _cut(detail), serious))

    @contextmanager
    def noting(self, kind: str, where: str) -> Iterator[None]:
        """Turn a DataError in the block into a fault of that kind, and continue after the block."""
        try:
            yield
        except DataError as error:
            self.add("size mismatch" if isinstance(error, DataSizeError) else kind, where, str(error))

    def kinds(self) -> dict[str, list[Fault]]:
        """The faults by kind, serious kinds first."""
        kinds: dict[str, list[Fault]] = {}
        for fault in self.found:
            kinds.setdefault(fault.kind, []).append(fault)
        return dict(sorted(kinds.items(), key=lambda item: not any(fault.serious for fault in item[1])))

    def notes(self) -> list[str]:
        """The facts and doubts, and a sentence on each kind of fault with its first example."""
        kinds = (f"{kind}: {self.counts[kind]}, such as {found[0]}" for kind, found in self.kinds().items())
        return [*self.facts, *self.doubts, *kinds]

    def warnings(self) -> list[str]:
        """The doubts, and a sentence on the images that are left out because their files are missing."""
        if not (count := self.counts[MISSING]):
            return self.doubts
        are, first = "is" if count == 1 else "are", self.kinds()[MISSING][0]
        missing = f"{plural(count, 'image')} of {self.path} {are} missing and left out"
        return [*self.doubts, f"{missing}, such as {first}; `check_dataset` lists them"]

    def _nothing_left(self) -> str:
        return _EMPTY if set(self.counts) - {BELOW} else _EMPTY + _LIMITS

    def sentence(self, *, empty: bool = False, use: str = "trained on") -> str:
        """The serious faults in one sentence, for an error message; "" if there are none. empty: no sample is left, so
        say this and name all faults. use: what the data set cannot be."""
        parts = [
            f"{kind} ({self.counts[kind]:,}, such as {found[0]}){found[0].way_out}"
            for kind, found in self.kinds().items()
            if found[0].serious or empty
        ]
        if empty:
            parts.append(self._nothing_left())
        return f"{self.path} cannot be {use}: {', '.join(parts)}; see `check_dataset`" if parts else ""


@dataclass
class CheckReport(Faults):
    """The result of checking a data set, with all its faults.

    kind: "coco" or "clips". full: whether every file was opened. images: number of photographs or frames. objects:
    number of usable objects. samples: number of photographs or labelled frames with a usable object.
    """

    kind: str = "coco"
    full: bool = False
    images: int = 0
    objects: int = 0
    samples: int = 0

    @property
    def serious(self) -> list[Fault]:
        """The faults to fix before training."""
        return [fault for fault in self.found if fault.serious]

    @property
    def ok(self) -> bool:
        """Whether training can start: there is no serious fault and at least one sample."""
        return not self.serious and self.samples > 0

    def lines(self, examples: int = 3) -> list[str]:
        """The report as text: the set's size, the facts, then each kind of fault with its count and some `examples`."""
        held = plural(self.images, "photograph" if self.kind == "coco" else "frame")
        crowds = "; masks marked as crowds are left out" if self.counts[CROWDS] else ""
        left = f"{self.samples} left to train on with {plural(self.objects, 'object')}{crowds}"
        out = [f"{self.path}: {held}, {left}", *self.facts, *self.doubts]
        for kind, found in self.kinds().items():
            count = self.counts[kind]
            out.append(f"{'fault' if found[0].serious else 'left out'}: {kind}: {count}{found[0].way_out}")
            out += [f"  {fault}" for fault in found[:examples]]
            if count > examples:
                out.append(f"  and {count - examples} more (`examples={min(count, _KEPT)}` lists them)")
        if not self.samples:
            out.append(f"fault: {self._nothing_left()}")
        if not self.full:
            read = "only the headers of images were read" if self.kind == "coco" else "images and masks were not read"
            out.append(f"{read}; `full` reads every image and mask")
        return out

    def sentence(self, *, empty: bool = False, use: str = "trained on") -> str:
        return super().sentence(empty=empty or not self.samples, use=use)


def _cut(text: str) -> str:
    """Leaves out the middle, because a sentence ends with the way out; what makes it long is a path or a value."""
    return text if len(text) <= _LONGEST else f"{text[:95]} ... {text[len(text) - _LONGEST + 100 :]}"
