"""A folder to upload to the hub: model.safetensors, config.json, and a model card with the hub's front matter."""

from __future__ import annotations

import json
import re
from pathlib import Path

from hodor_cli.errors import OutputError, UsageError
from hodor_cli.files import json_text, require_new, write_whole, writing
from hodor_cli.images.paths import listed
from hodor_cli.weights.checkpoint import bundled_origin, load_checkpoint, network_of, save_checkpoint
from hodor_cli.weights.registry import HUB_FILE, available_weights

_CARD, _CONFIG = "README.md", "config.json"
_TAGS = ("video-object-segmentation", "object-tracking", "hodor")


def write_hub_folder(
    folder: Path, weights: str, path: Path, repository: str, licence: str | None = None, *, overwrite: bool = False
) -> bool:
    """Write the three files, and return whether the card names a licence.

    weights: the weights as the user named them; path: their file. repository: `OWNER/NAME` on the hub. licence: the
    hub's identifier of one. Raises UsageError for a name or licence that the hub would not accept, or a licence that
    the weights forbid, OutputError if a file exists already (unless `overwrite`) or the folder holds other files, and
    the errors of `load_checkpoint`.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise UsageError(f"`name` {repository} is not a name on the hub; give OWNER/NAME")
    if licence is not None and not re.fullmatch(r"[a-z0-9.+-]+", licence):
        raise UsageError(f"`license` {licence} is not an identifier of the hub; give one such as cc-by-nc-4.0 or mit")
    if (origin := bundled_origin(path)) is not None and "nc" not in (licence or "nc").split("-") and licence != "other":
        kept = f"these weights are or continue {origin}, which forbids commercial use"
        raise UsageError(f"{kept}; give cc-by-nc-4.0 as `license`, not {licence}")
    ours = (_CARD, _CONFIG, HUB_FILE)
    for name in ours:
        require_new(folder / name, overwrite=overwrite)
    there = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    if others := [name for name in there if not name.startswith(".") and name not in ours]:
        raise OutputError(f"{folder} holds {listed(others, 3)}, which would be uploaded too; choose another `out`")
    checkpoint = load_checkpoint(path)
    model = network_of(checkpoint, path)
    dtype = next((value.dtype for value in checkpoint.state_dict.values() if value.is_floating_point()), None)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(folder / HUB_FILE, model, checkpoint.metadata, dtype=dtype)
    config = {"model_type": "hodor", "architectures": ["Hodor"], **checkpoint.config.to_dict()}
    info = available_weights().get(weights)
    licence = licence or (None if info is None else "other")  # the card of bundled weights explains theirs
    lines = ["---", "library_name: hodor", "pipeline_tag: image-segmentation"]
    lines += [] if licence is None else [f"license: {licence}"]
    lines += ["license_name: non-commercial", "license_link: README.md"] if licence == "other" else []
    lines += ["tags:", *(f"- {tag}" for tag in _TAGS), "---", "", _USE.format(name=repository)]
    if info is not None and info.card.is_file():
        lines.append(info.card.read_text(encoding="utf-8"))
    else:
        name, numbers = repository.partition("/")[2], sum(one.numel() for one in checkpoint.state_dict.values())
        saved = json.dumps(checkpoint.metadata, indent=2)
        lines.append(_KNOWN.format(name=name, config=checkpoint.config, millions=numbers / 1e6, saved=saved))
    with writing(folder, again="run the same again"):
        write_whole(folder / _CONFIG, json_text(config).encode())
        write_whole(folder / _CARD, "\n".join(lines).encode())
    return licence is not None


_USE = """Follow objects through video from one mask, with `hodor`:

```
pip install 'hodor-cli[hub]'
hodor segment clip.mp4 --mask first.png --weights hf://{name}
```
"""
#: The card of weights that come without one.
_KNOWN = """# {name}

| | |
|---|---|
| architecture | {config.name}, {millions:.1f} M parameters |
| working resolution | shorter side {config.min_dim}, longer at most {config.max_dim} |

**What it was trained on, what it is for, where it fails:** describe it here.

Saved with the weights:

```json
{saved}
```
"""
