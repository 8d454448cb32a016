"""report.html: table, curves and failures in one file that needs nothing else, readable on a phone."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hodor_cli.evaluation.curves import Series, line_chart, sparkline
from hodor_cli.evaluation.failures import Failure, Picture
from hodor_cli.evaluation.results import EvaluationResult
from hodor_cli.evaluation.scoring import SequenceScore
from hodor_cli.files import write_whole, writing
from hodor_cli.video.overlay import object_colours

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --dim: #777; --j: #0b62a4; --f: #e07b00; }
* { box-sizing: border-box; }
body { font: 16px/1.45 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 60rem;
  overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin-top: 2rem; } h3 { font-size: 1rem; margin: 1.5rem 0 .3rem; }
p.dim, figcaption, .dim { color: var(--dim); font-size: .85rem; }
.numbers { display: flex; flex-wrap: wrap; gap: .6rem; padding: 0; list-style: none; }
.numbers li { border: 1px solid var(--line); border-radius: .5rem; padding: .4rem .8rem; min-width: 5.5rem; }
.numbers b { display: block; font-size: 1.4rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .35rem .5rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: Canvas; }
.triple { display: grid; grid-template-columns: repeat(3, 1fr); gap: 3px; margin: .2rem 0 .8rem; }
.triple img { width: 100%; display: block; border-radius: 3px; cursor: zoom-in; }
.triple img:focus { grid-column: 1 / -1; outline: none; }
.triple span { color: var(--dim); font-size: .85rem; }
svg { max-width: 100%; height: auto; } .wide svg { width: 100%; }
.swatch { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .4em; }
.j { color: var(--j); } .f { color: var(--f); }
ul.notes { padding-left: 1.2rem; }
"""


def write_report(path: Path, result: EvaluationResult, failures: Sequence[Failure] = ()) -> None:
    """Write the page of one evaluation."""
    parts = [
        _headline(result),
        _notes("Failed sequences", [f"{name}: {message}" for name, message in result.failed.items()]),
        _table(result),
        _failures(failures),
        _notes("Remarks", list(result.notes)),
        _settings(result),
    ]
    _write(path, f"Evaluation of {_short_name(result)}", [_paragraph(result.dataset), *parts])


def write_sweep_report(path: Path, results: Sequence[EvaluationResult], figure: str) -> None:
    """Write the page of a history sweep; `figure` is an SVG element."""
    rows = "".join(
        f"<tr><td><a href='history-{r.settings['history']}/report.html'>{r.settings['history']}</a></td>"
        f"<td>{_percent(r.jf)}</td><td>{_percent(r.j)}</td><td>{_percent(r.f)}</td><td>{_speed(r.frames_per_second)}</td></tr>"
        for r in results
    )
    table = (
        "<div class='scroll'><table><tr><th>history</th><th>J&amp;F</th><th>J</th><th>F</th><th>frames/s</th></tr>"
        f"{rows}</table></div>"
    )
    parts = [f"<div class='wide'>{figure}</div>", table, _settings(results[0], without=("history",))]
    _write(path, f"History length on {_short_name(results[0])}", [_paragraph(results[0].dataset), *parts])


def _write(path: Path, title: str, parts: Sequence[str]) -> None:
    page = (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, page.encode())


def _short_name(result: EvaluationResult) -> str:
    return Path(str(result.settings.get("dataset", ""))).name or "a data set"


def _paragraph(text: str) -> str:
    return f"<p class='dim'>{escape(text)}</p>"


def _headline(result: EvaluationResult) -> str:
    if not result.sequences:
        return "<p>Nothing was scored.</p>"
    numbers = [
        ("J&F", _percent(result.jf)),
        ("J", _percent(result.j)),
        ("F", _percent(result.f)),
        ("J recall", _percent(result.metric("J_recall"))),
        ("J decay", _percent(result.metric("J_decay"))),
        ("F recall", _percent(result.metric("F_recall"))),
        ("F decay", _percent(result.metric("F_decay"))),
    ]
    numbers += [(f"J&F {group}", _percent(means["J&F"])) for group, means in result.group_means().items()]
    if result.frames_per_second is not None:
        numbers += [
            ("frames/s, network", _speed(result.frames_per_second)),
            ("frames/s, end to end", _speed(result.frames_per_second_end_to_end)),
        ]
    items = "".join(f"<li>{escape(name)}<b>{value}</b></li>" for name, value in numbers)
    return f"<ul class='numbers'>{items}</ul>"


def _table(result: EvaluationResult) -> str:
    if not result.sequences:
        return ""
    speed = bool(result.timings)
    head = "".join(f"<th>{name}</th>" for name in ("sequence", "J&amp;F", "over time", "J", "F", "objects"))
    rows = []
    for sequence in result.worst_first():
        timing = result.timings.get(sequence.name)
        cells = [
            escape(sequence.name),
            _percent(sequence.jf),
            sparkline(_over_time(sequence)),
            _percent(sequence.j),
            _percent(sequence.f),
            str(len(sequence.objects)),
        ]
        if speed:
            cells.append(_speed(None if timing is None else timing.frames_per_second))
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head += "<th>frames/s</th>" if speed else ""
    return (
        "<h2>Sequences, worst first</h2>\n"
        f"<div class='scroll'><table><tr>{head}</tr>\n" + "\n".join(rows) + "</table></div>\n"
        "<p class='dim'>Values in percent; over time: <span class='j'>J</span> and <span class='f'>F</span>, mean over "
        "objects, from 0 to 100.</p>"
    )


def _over_time(sequence: SequenceScore) -> list[Series]:
    """Mean J and F over the objects that count in each frame."""
    frames = max((score.frames for score in sequence.objects.values()), key=len)
    positions = {frame: index for index, frame in enumerate(frames)}
    sums, counts = np.zeros((2, len(frames))), np.zeros(len(frames))
    for score in sequence.objects.values():
        where = [positions[frame] for frame in score.frames]
        sums[:, where] += np.stack([score.j_values, score.f_values])
        counts[where] += 1
    j, f = sums / np.maximum(counts, 1)
    return [Series("J", j, "var(--j)"), Series("F", f, "var(--f)")]


def _failures(failures: Sequence[Failure]) -> str:
    if not failures:
        return ""
    parts = [
        "<h2>The worst objects</h2><p class='dim'>Around the largest falls of J: input, truth, prediction, cut out "
        "around the object; tap a picture to enlarge it. Colours are object ids.</p>"
    ]
    for failure in failures:
        score = failure.score
        title = f"{failure.sequence}, object {score.object_id}: J {_percent(score.j)}, F {_percent(score.f)}"
        red, green, blue = object_colours(np.array([score.object_id]))[0]
        parts.append(f"<h3><i class='swatch' style='background:rgb({red},{green},{blue})'></i>{escape(title)}</h3>")
        marks = [frame.position for frame in failure.frames]
        parts.append(
            f"<div class='wide'>{line_chart([Series('J', score.j_values, 'var(--j)')], score.frames, marks)}</div>"
        )
        parts.append("<div class='triple'><span>input</span><span>truth</span><span>prediction</span></div>")
        for frame in failure.frames:
            images = "".join(
                f"<img alt='{kind}' tabindex='0' src='{_data_uri(picture)}'>"
                for kind, picture in zip(("input", "truth", "prediction"), frame.pictures, strict=True)
            )
            parts.append(
                f"<div class='dim'>frame {escape(frame.name)}: J {_percent(frame.j)}, F {_percent(frame.f)}</div>"
                f"<div class='triple'>{images}</div>"
            )
    return "\n".join(parts)


def _notes(title: str, notes: Sequence[str]) -> str:
    if not notes:
        return ""
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"<h2>{title}</h2><ul class='notes'>{items}</ul>"


def _settings(result: EvaluationResult, without: Sequence[str] = ()) -> str:
    rows = "".join(
        f"<tr><td>{escape(str(key))}</td><td style='white-space:normal'>{escape(_shown(value))}</td></tr>"
        for key, value in result.settings.items()
        if key not in without
    )
    return f"<h2>Settings</h2><div class='scroll'><table>{rows}</table></div>" if rows else ""


def _shown(value: object) -> str:
    return ", ".join(str(item) for item in value) if isinstance(value, list) else "-" if value is None else str(value)


def _data_uri(picture: Picture) -> str:
    import cv2

    bgr: npt.NDArray[np.uint8] = np.ascontiguousarray(picture[..., ::-1])
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 82])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def _percent(value: float) -> str:
    return "-" if value != value else f"{100 * value:.1f}"


def _speed(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.1f}"
