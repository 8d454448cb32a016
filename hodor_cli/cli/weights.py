"""`hodor weights`: list, describe, verify, average and publish weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from hodor_cli.cli.lazy import HodorCommand, group
from hodor_cli.cli.options import JsonOption, OverwriteOption, arg, numbers_in, opt, out_option, switch
from hodor_cli.cli.parameters import fetched
from hodor_cli.cli.terminal import note, say, say_json
from hodor_cli.errors import HodorError, InputError, OutputError, UsageError, WeightsError
from hodor_cli.files import require_place

app = group("List, describe, verify, average and publish weights.\n\nhodor weights describe mini")


@app.command("list", cls=HodorCommand)
def list_weights() -> None:
    """List the named weights.

    Any checkpoint file can also be used by its path.
    """
    from hodor_cli.weights.registry import DEFAULT_WEIGHTS, available_weights

    for info in available_weights().values():
        size = f"{info.path.stat().st_size / 2**20:.1f} MiB" if info.path.is_file() else "file missing"
        default = ", the default" if info.name == DEFAULT_WEIGHTS else ""
        say(f"{info.name}  {info.description} ({size}{default})")


@app.command(cls=HodorCommand)
def describe(
    weights: Annotated[str, arg("NAME|FILE|ADDRESS", "Weights by name, or a checkpoint file.")],
    as_json: JsonOption = False,
) -> None:
    """Show architecture, training and the beginning of the model card.

    Training settings and scores are shown as they were saved in the file. Exits with code 4 if the parameters do not
    fit the architecture.
    """
    from hodor_cli.weights.checkpoint import load_checkpoint, network_of
    from hodor_cli.weights.registry import available_weights, weights_path
    from hodor_cli.weights.tensor_files import file_sha256

    info = available_weights().get(weights)
    path = weights_path(str(fetched(weights)))
    content = load_checkpoint(path)
    facts: dict[str, Any] = {} if info is None else {"name": info.name, "description": info.description}
    facts |= {
        "file": str(path),
        "bytes": path.stat().st_size,
        "sha256": file_sha256(path),
        "architecture": content.config.name,
        "parameters": sum(value.numel() for value in content.state_dict.values()),
        "stored_as": sorted({str(value.dtype).removeprefix("torch.") for value in content.state_dict.values()}),
        "working_resolution": {"min_dim": content.config.min_dim, "max_dim": content.config.max_dim},
        "config": content.config.to_dict(),
        "metadata": content.metadata,
    }
    if info is not None and info.card.is_file():
        facts |= {"model_card": str(info.card), "model_card_text": info.card.read_text(encoding="utf-8")}
    if as_json:
        say_json(facts)
    else:
        _print_facts(facts)
    network_of(content, path)  # last, because it raises if parameters are missing or damaged


def _print_facts(facts: dict[str, Any]) -> None:
    """Print what `describe` found as text."""
    card, config, metadata = facts.pop("model_card_text", None), facts.pop("config"), facts.pop("metadata")
    facts["bytes"] = f"{facts['bytes']} ({facts['bytes'] / 2**20:.1f} MiB)"
    facts["parameters"] = f"{facts['parameters']} ({facts['parameters'] / 1e6:.1f} M)"
    facts["stored_as"] = ", ".join(facts["stored_as"])
    facts["working_resolution"] = "shorter side {min_dim}, longer at most {max_dim}".format(
        **facts["working_resolution"]
    )
    lines = _indented({key.replace("_", " "): value for key, value in facts.items()}, "")
    lines += ["", "architecture in detail", *_indented(config, "  ")]
    lines += ["", "saved with the weights", *(_indented(metadata, "  ") if metadata else ["  nothing"])]
    if card:
        first, _, more = card.partition("\n## ")  # the whole card has hundreds of lines
        lines += ["", *first.rstrip().splitlines()]
        lines += ["", "The rest of the model card is in its file, named above."] if more else []
    for line in lines:
        say(line)


@app.command(cls=HodorCommand)
def verify(
    weights: Annotated[
        list[str] | None, arg("NAME|FILE|ADDRESS", "Weights to check [default: all named ones].")
    ] = None,
) -> None:
    """Check that weights are complete and undamaged.

    Verifies the checksum of named weights, and that all parameters load and are finite. Exits with the code of the
    first fault.
    """
    from hodor_cli.weights.checkpoint import model_fingerprint, model_from_checkpoint
    from hodor_cli.weights.registry import available_weights, weights_path

    chosen, known = weights or list(available_weights()), available_weights()
    faults: list[HodorError] = []
    for name in chosen:
        try:
            model = model_from_checkpoint(weights_path(str(fetched(name))))  # refuses values that are not finite
            checked = "checksum and parameters" if name in known else "parameters"
            say(f"{name}: intact ({checked}), fingerprint {model_fingerprint(model)}")
        except (InputError, UsageError, WeightsError) as error:
            faults.append(error)
            if len(chosen) > 1:
                say(f"{name}: {error}")
    if faults and len(chosen) == 1:
        raise faults[0]
    if faults:
        raise type(faults[0])(f"{len(faults)} of {len(chosen)} weights cannot be used; the list above says why")


@app.command(cls=HodorCommand)
def average(
    weights: Annotated[list[str], arg("NAME|FILE|ADDRESS", "Weights by name, or checkpoint files.")],
    out: Annotated[Path, out_option("FILE", "Checkpoint to write.")],
    shares: Annotated[str | None, opt("A,B,...", "Share of each network.  [default: equal shares]")] = None,
    half: Annotated[bool, switch("--half", "Store float16, which halves the file.")] = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Average networks that were fine-tuned from the same weights.

    The mean is often better than each of them, and runs at the same speed.

    hodor weights average mini runs/more/last.safetensors -o mean.safetensors
    """
    import torch

    from hodor_cli.weights import average_models, model_fingerprint, model_from_checkpoint, save_checkpoint
    from hodor_cli.weights.checkpoint import bundled_origin
    from hodor_cli.weights.registry import weights_path

    require_place(out, overwrite=overwrite)
    if out.suffix != ".safetensors":
        raise OutputError(f"{out} is not the name of a checkpoint; give one that ends in .safetensors")
    wrong = f"--shares takes one number for each checkpoint, such as 1,1, not '{shares}'"
    parts = None if shares is None else numbers_in(shares, float, wrong)
    paths = [weights_path(str(fetched(name))) for name in weights]
    models = [model_from_checkpoint(path) for path in paths]
    mean = average_models(models, parts, origins=weights)
    sources = [
        {
            "weights": Path(name).name,
            "fingerprint": model_fingerprint(model),
            "share": part,
            "origin": bundled_origin(path),
        }
        for name, path, model, part in zip(weights, paths, models, parts or [1.0] * len(models), strict=True)
    ]
    save_checkpoint(out, mean, {"mean_of": sources}, dtype=torch.float16 if half else None)
    say(f"{out}: the mean of {len(models)} networks")


@app.command(cls=HodorCommand)
def push(
    weights: Annotated[str, arg("NAME|FILE", "Weights by name, or a checkpoint file.")],
    out: Annotated[Path, out_option("FOLDER", "Folder to create.")],
    repository: Annotated[str | None, opt("OWNER/NAME", "Name of the repository on the hub.", "--name")] = None,
    licence: Annotated[
        str | None, opt("ID", "Licence of the weights, as the hub spells it: cc-by-nc-4.0.", "--license")
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Prepare a folder for the hub: the weights, their configuration and a model card.

    Check its README.md, then upload it with the printed command. This command uploads nothing.

    hodor weights push runs/mine/last.safetensors -o hub --name me/birds --license cc-by-nc-4.0
    """
    from hodor_cli.weights.hub_folder import write_hub_folder
    from hodor_cli.weights.registry import weights_path

    path = weights_path(str(fetched(weights)))
    repository = repository or "OWNER/NAME"
    licensed = write_hub_folder(out, weights, path, repository, licence, overwrite=overwrite)
    say(f"{out}: README.md (the model card: complete it), config.json, model.safetensors")
    say(f"Upload it:  hf upload {repository} {out}")
    say(f"Use it:     hodor segment clip.mp4 --mask first.png --weights hf://{repository}")
    if not licensed:
        note("The card names no licence, so nobody may use the weights; give --license.")


def _indented(values: dict[str, Any], indent: str) -> list[str]:
    lines: list[str] = []
    width = max((len(key) for key, value in values.items() if not (isinstance(value, dict) and value)), default=0)
    for key, value in values.items():
        if isinstance(value, dict) and value:
            lines += [f"{indent}{key}", *_indented(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key:<{width}}  {value if isinstance(value, str) else json.dumps(value)}")
    return lines
