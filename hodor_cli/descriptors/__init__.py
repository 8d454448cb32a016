"""Objects as data: descriptors saved in one HDF5 file, compared, searched, drawn and used again."""

from __future__ import annotations

from hodor_cli.descriptors.store.schema import ObjectRow, RowIndex, StoreInfo, VideoInfo, VideoRows
from hodor_cli.descriptors.store.store import DescriptorStore
from hodor_cli.descriptors.store.writer import StoreWriter

__all__ = ["DescriptorStore", "ObjectRow", "RowIndex", "StoreInfo", "StoreWriter", "VideoInfo", "VideoRows"]
