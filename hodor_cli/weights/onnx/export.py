"""Exporting the network as ONNX files, with a JSON file that describes their inputs and outputs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from hodor_cli.config import NUM_BACKGROUND, NUM_NON_OBJECT
from hodor_cli.errors import UsageError, extra, not_a_network
from hodor_cli.files import json_text, replacing, require_empty, require_new, writing
from hodor_cli.model.hodor import Hodor
from hodor_cli.runtime.preprocess import Geometry
from hodor_cli.settings import about, check_settings
from hodor_cli.weights.checkpoint import model_fingerprint
from hodor_cli.weights.onnx import graphs as parts

FORMAT = "hodor-onnx"
FORMAT_VERSION = 1
#: The JSON file that describes the graphs.
SIDECAR = "hodor.json"
#: The first operator set with both grid sampling and layer normalisation.
OPSET = 17
#: Most object slots, because labels are uint8.
MAX_OBJECTS = 255
#: Outputs of match, and inputs of decode for models that match.
CUE = ("cue_previous", "cue_reference", "cue_near", "cue_matched")


@dataclass(frozen=True)
class ExportSizes:
    """Sizes that are fixed in the files. min_dim, max_dim: the working resolution; None for the model's own."""

    #: (width, height) of the video's frames.
    size: tuple[int, int]
    objects: Annotated[int, about("Number of object slots.", least=1, most=MAX_OBJECTS)] = 4
    history: Annotated[int, about("Number of past frames that masks are decoded from.", least=1)] = 7
    min_dim: int | None = None
    max_dim: int | None = None

    def __post_init__(self) -> None:
        check_settings(self)
        if min(self.size) < 1:
            raise UsageError(f"`size` must be at least 1x1, not {self.size[0]}x{self.size[1]}")


def export_onnx(
    model: Hodor,
    folder: str | Path,
    wanted: ExportSizes,
    *,
    overwrite: bool = False,
    progress: Callable[[str], None] | None = None,
) -> list[Path]:
    """Write extract, masks, encode, decode (and match, for models that match) as ONNX files into a folder.

    Args:
        model: the network; it is left as it is.
        folder: where the files go; created if it does not exist.
        wanted: the sizes that are fixed in the files.
        overwrite: replace files of an earlier export (and no others).
        progress: called with the name of each graph before it is written.
    Returns:
        The files, `hodor.json` last.
    Raises:
        UsageError if the resolution is out of range or the package onnx is missing; OutputError if the files exist
        already, the folder holds other files, or they cannot be written.
    """
    if not isinstance(model, Hodor):
        raise not_a_network(model)
    with extra("onnx", "writing ONNX files"):
        import onnx  # noqa: F401
    min_dim, max_dim = model.config.resolution(wanted.min_dim, wanted.max_dim)
    geometry = Geometry.of(wanted.size[1], wanted.size[0], min_dim=min_dim, max_dim=max_dim)
    folder = Path(folder)
    graphs = _graphs(parts.exportable(model), geometry, wanted)
    names = [*(f"{name}.onnx" for name in graphs), SIDECAR]
    for name in names:
        require_new(folder / name, overwrite=overwrite)
    if not any((folder / name).exists() for name in names):
        require_empty(folder)
    with writing(folder, again="run the same again"):
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:  # at its end, all files are renamed into place, or none
            places = {name: stack.enter_context(replacing(folder / name)) for name in names}
            files = {}
            for name, (graph, inputs, outputs) in graphs.items():
                if progress is not None:
                    progress(name)
                file = f"{name}.onnx"
                files[name] = {"file": file, **_write_graph(places[file], graph, inputs, outputs)}
            places[SIDECAR].write_text(json_text(_describe(model, geometry, wanted, files)), encoding="utf-8")
    return [folder / name for name in names]


_Traced = tuple[parts.Graph, dict[str, Tensor], tuple[str, ...]]


def _graphs(model: Hodor, geometry: Geometry, sizes: ExportSizes) -> dict[str, _Traced]:
    """Each graph with example inputs by name and the names of its outputs."""
    config, frames = model.config, sizes.history
    map_size = (geometry.padded[0] // 8, geometry.padded[1] // 8)

    stride8, masks = torch.zeros(1, config.channels, *map_size), torch.zeros(1, sizes.objects, *map_size)
    descriptors = (sizes.objects, config.descriptor_channels)
    encode = {
        "stride8": stride8,
        "object_masks": masks,
        "background_masks": torch.zeros(1, NUM_BACKGROUND, *map_size),
        "has_object": torch.ones(1, sizes.objects, dtype=torch.bool),
    }
    if config.hold_lost_objects:
        encode["last_objects"] = torch.zeros(1, *descriptors)
    decode = {
        "stride4": torch.zeros(1, config.stride4_channels, 2 * map_size[0], 2 * map_size[1]),
        "stride8": stride8,
        "history_objects": torch.zeros(1, frames, *descriptors),
        "history_background": torch.zeros(1, frames, NUM_BACKGROUND, config.descriptor_channels),
        "history_has_object": torch.ones(1, frames, sizes.objects, dtype=torch.bool),
        "history_has_background": torch.ones(1, frames, dtype=torch.bool),
    }
    match = {}
    if config.matching is not None:
        keys = torch.zeros(1, config.matching.stored_channels, *map_size)
        match = {"keys": keys}
        for frame in ("previous", "reference", "recent"):
            match |= {f"{frame}_keys": keys, f"{frame}_masks": masks}
        decode |= dict.fromkeys(CUE, masks) | {"cue_matched": masks[:, :1]}
    picture = torch.zeros(*geometry.original, 3, dtype=torch.uint8)
    maps = ("stride4", "stride8", "keys") if match else ("stride4", "stride8")
    fixed = (model, geometry, sizes.objects)
    graphs: dict[str, _Traced] = {
        "extract": (parts.ExtractGraph(*fixed), {"frame": picture}, maps),
        "masks": (parts.MasksGraph(*fixed), {"labels": picture[..., 0]}, tuple(encode)[1:4]),
        "encode": (parts.EncodeGraph(*fixed), encode, ("objects", "background")),
    }
    if match:
        graphs["match"] = (parts.MatchGraph(*fixed), match, CUE)
    made = ("labels", "object_masks", "background_masks", "logits")
    graphs["decode"] = (parts.DecodeGraph(*fixed), decode, made)
    # Inputs are cloned, because the tracer would merge inputs that are the same tensor.
    return {
        name: (graph, {key: value.clone() for key, value in inputs.items()}, outputs)
        for name, (graph, inputs, outputs) in graphs.items()
    }


def _write_graph(path: Path, graph: nn.Module, inputs: dict[str, Tensor], outputs: tuple[str, ...]) -> dict[str, Any]:
    """Export one graph and return what the sidecar says about it."""
    with warnings.catch_warnings(), torch.no_grad():
        # The exporter for traced modules is deprecated in favour of one that needs another package.
        warnings.simplefilter("ignore")
        flat = _flattened(graph.eval(), tuple(inputs.values()))
        torch.onnx.export(
            torch.jit.trace(flat, tuple(inputs.values()), check_trace=False),
            tuple(inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            do_constant_folding=False,  # runtimes do it when they load a graph
            dynamo=False,
        )
        made = graph(*inputs.values())
    return {
        "inputs": {name: _kind(value) for name, value in inputs.items()},
        "outputs": {name: _kind(value) for name, value in zip(outputs, made, strict=True)},
    }


def _flattened(graph: nn.Module, inputs: tuple[Tensor, ...]) -> nn.Module:
    """The graph as plain operations in which every size is a number; tracing alone would compute sizes at run time."""
    flat = torch.export.export(graph, inputs, strict=False).module()  # PyTorch 2.6 fails with strict=True
    aten = torch.ops.aten
    shaping = (aten.unflatten.int, aten.flatten.using_ints, aten.view.default, aten.reshape.default)
    for part in flat.modules():  # operations that run without autocast are in submodules
        if not isinstance(part, torch.fx.GraphModule):
            continue
        for node in part.graph.nodes:
            # PyTorch before 2.6 makes `_unsafe_view`, `_to_copy` and `lift_fresh_copy`, but cannot write them to ONNX.
            if node.target in (*shaping, aten._unsafe_view.default):
                shape = list(node.meta["val"].shape)
                node.target, node.args, node.kwargs = aten.reshape.default, (node.args[0], shape), {}
            elif node.target is aten._to_copy.default:
                node.target, node.args, node.kwargs = aten.to.dtype, (node.args[0], node.meta["val"].dtype), {}
            elif node.target is aten.lift_fresh_copy.default:
                node.target = aten.clone.default
        part.recompile()
    return flat


def _kind(value: Tensor) -> dict[str, Any]:
    return {"shape": list(value.shape), "type": str(value.dtype).removeprefix("torch.")}


def _describe(model: Hodor, geometry: Geometry, sizes: ExportSizes, files: dict[str, Any]) -> dict[str, Any]:
    """What a program needs to know to use the files."""
    from hodor_cli import __version__

    def sides(size: tuple[int, int]) -> dict[str, int]:
        return {"height": size[0], "width": size[1]}

    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "hodor_version": __version__,
        "model": {"name": model.config.name, "fingerprint": model_fingerprint(model)},
        "frame": sides(geometry.original),
        "scaled": sides(geometry.scaled),
        "padded": sides(geometry.padded),
        "objects": sizes.objects,
        "history": sizes.history,
        "logit_channels": {"catch_all": 1, "background": NUM_BACKGROUND, "objects_from": NUM_NON_OBJECT},
        "normalisation": {
            "what": "inside extract: (RGB on 0..255 - mean) / std, after scaling, before padding with zeros",
            "mean": list(model.config.pixel_mean),
            "std": list(model.config.pixel_std),
        },
        "graphs": files,
    }
