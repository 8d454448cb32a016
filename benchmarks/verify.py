# ruff: noqa: T201
"""Does `hodor retrieval --verify` find objects better than the search alone?

    hodor export-descriptors DAVIS2016_TRAIN DAVIS2016_DEV DAVIS_MULTI --every 4 -o objects.h5
    python benchmarks/verify.py objects.h5

Each object asks with its first row; the library holds the second half of every object's rows, so that exactly one
object of it is right. R@1 and the mean reciprocal rank (with one right answer, the mean average precision) in per cent:
after the search, and after re-ranking its nearest objects by the distance to what decoding the query finds there
("decoded"), by the sum of both distances ("sum"), and as the search does, but with those last in which the query is not
found where the stored object is ("elsewhere last"). The videos must still be where the store was made from.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from hodor_cli.descriptors import DescriptorStore, ObjectRow, StoreWriter
from hodor_cli.descriptors.search.comparison import possible_comparisons
from hodor_cli.descriptors.search.projection import projection_for
from hodor_cli.descriptors.search.query import Query
from hodor_cli.descriptors.search.search import search_objects
from hodor_cli.descriptors.search.verify import verify_matches
from hodor_cli.engine import Segmenter
from hodor_cli.weights import load_model, model_fingerprint


def split(store: DescriptorStore, library: Path) -> list[Query]:
    """Write the second half of each object's rows into `library`; returns a query of each object's first row."""
    queries = []
    with StoreWriter(library, store.info) as writer:
        for name in store.videos:
            rows, features = store.rows(name), store.dataset(name, "baseline")
            late: dict[int, list[int]] = {}
            for value in store.object_ids(name):
                mine = np.flatnonzero(rows.object_id == value)
                if len(mine) < 2:
                    continue
                queries.append(
                    Query(
                        f"{name}/{value}",
                        rows.descriptor[mine[:1]],
                        store.info.model_fingerprint,
                        baseline=features[mine[:1]],
                        video=name,
                        object_id=value,
                    )
                )
                for row in mine[len(mine) // 2 :]:
                    late.setdefault(int(rows.frame[row]), []).append(int(row))
            backgrounds, frames = store.background(name)
            with writer.video(store.video(name)) as video:
                for frame, members in sorted(late.items()):
                    objects = [
                        ObjectRow(
                            int(rows.object_id[row]),
                            rows.descriptor[row],
                            tuple(int(side) for side in rows.box[row]),
                            int(rows.area[row]),
                            baseline=features[row],
                        )
                        for row in members
                    ]
                    video.add_frame(frame, objects, backgrounds[np.abs(frames - frame).argmin()])
    return queries


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--weights", default="mini")
    parser.add_argument("--projection", type=Path, help="of train-projection; by default the package's own")
    parser.add_argument("--queries", type=int, default=24, help="objects that ask, spread over the store")
    parser.add_argument("--top", type=int, default=4, help="objects that are re-ranked")
    options = parser.parse_args()
    model = load_model(options.weights)
    with tempfile.TemporaryDirectory() as folder, DescriptorStore(options.store) as store:
        if model_fingerprint(model) != store.info.model_fingerprint:
            parser.error(f"{options.store} was made with other weights than {options.weights}")
        queries = split(store, Path(folder) / "library.h5")
        count = min(options.queries, len(queries))
        queries = [queries[k] for k in np.linspace(0, len(queries) - 1, count).round().astype(int)]
        segmenter = Segmenter(model)
        with DescriptorStore(Path(folder) / "library.h5") as library:
            objects = len(np.unique(library.index().instance))
            print(f"{count} queries, {objects} objects, the nearest {options.top} re-ranked; weights {options.weights}")
            print(
                "| compared by | search R@1 | MRR | decoded R@1 | MRR | sum R@1 | MRR | elsewhere last R@1 | MRR |\n"
                "|---|---|---|---|---|---|---|---|---|"
            )
            projection = projection_for(store.info.model_fingerprint, options.projection)
            for comparison in possible_comparisons(library, projection):
                ranks: list[list[int]] = []
                for query in queries:
                    found = search_objects(library, query, comparison=comparison, top=objects)
                    near, rest = found[: options.top], found[options.top :]
                    checked = verify_matches(library, query, near, segmenter, comparison=comparison)
                    total = sorted(checked, key=lambda check: check.distance + check.match.distance)
                    decoded = sorted(checked, key=lambda check: check.distance)
                    here = sorted(checked, key=lambda check: (check.overlap < 0.5, check.match.distance))
                    orders = (found, *([check.match for check in order] + rest for order in (decoded, total, here)))
                    right = (query.video, query.object_id)
                    ranks.append([[(m.video, m.object_id) for m in order].index(right) + 1 for order in orders])
                table = np.array(ranks)
                numbers = np.stack([(table == 1).mean(axis=0), (1 / table).mean(axis=0)], axis=1).ravel()
                print(f"| {comparison.by} | " + " | ".join(f"{100 * v:.1f}" for v in numbers) + " |", flush=True)


if __name__ == "__main__":
    main()
