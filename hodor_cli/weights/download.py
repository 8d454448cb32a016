"""Downloading a file from an `https://` address: limit its size, check its hash, cache it."""

from __future__ import annotations

import hashlib
import http.client
import re
import string
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote, urlsplit

from hodor_cli.errors import UsageError, WeightsError
from hodor_cli.files import remove_leftovers, replacing, writing_file
from hodor_cli.locks import locked_file
from hodor_cli.weights.registry import Progress, require_suffix
from hodor_cli.weights.tensor_files import file_sha256, kind_of, read_pickle, read_safetensors

#: No network of this kind comes close to this size.
MOST_BYTES = 4 * 2**30
_SILENT_SECONDS = 30.0
_BLOCK = 2**20
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_NO_DISK = "free its disk, or set HODOR_CACHE_DIR to a folder elsewhere"
_INSTEAD = "check the network, or fetch it yourself and give the file"


def download(text: str, cache: Path, progress: Progress | None = None) -> Path:
    """The cached file of an address, downloaded if it is missing or does not have the pinned hash.

    Raises UsageError and WeightsError as `weights_path` does, OutputError if the cache cannot be written.
    """
    url, _, fragment = text.partition("#")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UsageError(f"{text} is not a web address ({error}); correct it") from error
    url = parts._replace(path=quote(parts.path, safe=string.punctuation)).geturl()  # sent as ASCII without spaces
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise UsageError(f"{text} is plain http, which can be altered on the way; give an https address")
    pin = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", fragment)
    if fragment and pin is None:
        raise UsageError(f"{text} does not end in a hash; give #sha256= and its 64 hexadecimal digits")
    pinned, name = pin and pin[1].lower(), re.sub(r"[^\w.-]", "_", unquote(parts.path.rpartition("/")[2]))[-100:]
    require_suffix(name, text)
    file = cache / hashlib.sha256(url.encode()).hexdigest()[:16] / name
    if file.is_file() and pinned in (None, file_sha256(file)):
        return file
    with writing_file(file.parent, _NO_DISK):
        file.parent.mkdir(parents=True, exist_ok=True)
    with locked_file(file, advice="wait until it is there, and run again"), writing_file(file, _NO_DISK):
        remove_leftovers(file.parent)
        with replacing(file) as temporary:
            _receive(url, temporary, progress)
            _check(url, temporary, pinned)
    return file


def _check(url: str, received: Path, pinned: str | None) -> None:
    """Raise WeightsError unless the file is an undamaged checkpoint with the pinned hash."""
    if not (kind := kind_of(received)):
        raise WeightsError(f"the file at {url} is not a checkpoint; give the address of the file itself")
    if pinned not in (None, found := file_sha256(received)):
        raise WeightsError(f"{url} has the SHA-256 {found} and not the pinned one; check the file and the pin")
    try:
        (read_safetensors if kind == "safetensors" else read_pickle)(received)
    except WeightsError as error:
        raise WeightsError(str(error).replace(str(received), url)) from error


def _receive(url: str, target: Path, progress: Progress | None) -> None:
    """Download a file. Raises WeightsError for any network error."""
    request = urllib.request.Request(url, headers={"User-Agent": "hodor"})
    done = 0
    try:
        with _OPENER.open(request, timeout=_SILENT_SECONDS) as answer, target.open("wb") as file:
            length = answer.headers.get("Content-Length", "")
            total = int(length) if length.isdigit() else None
            while block := _read(answer, url):
                done += len(block)
                if max(done, total or 0) > MOST_BYTES:
                    most = f"{MOST_BYTES // 2**30} GiB"
                    raise WeightsError(f"{url} is larger than any weights (over {most}); check the address")
                file.write(block)
                if progress is not None:
                    progress(done, total)
        if total is not None and done < total:
            raise WeightsError(f"{url} broke off after {done} of {total} bytes; run the same again")
    except urllib.error.HTTPError as error:
        raise WeightsError(f"{url} cannot be fetched ({error.code} {error.reason}); check the address") from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, UnicodeError) as error:  # www..org
        reason = " ".join(str(getattr(error, "reason", error)).split()) or type(error).__name__
        raise WeightsError(f"{url} cannot be reached ({reason}); {_INSTEAD}") from error


def _read(answer: IO[bytes], url: str) -> bytes:
    """Read a block of an answer. The network's OSErrors become WeightsErrors, so they are not taken for the disk's."""
    try:
        return answer.read(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise WeightsError(f"{url} broke off ({error}); run the same again") from error


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses redirects from https to any other kind of address."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise urllib.error.URLError(f"it redirects to {newurl}, which is not an https address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_SafeRedirects)
