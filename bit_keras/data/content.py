"""The content of a source's files, to tell data apart that have the same names and sizes."""

import concurrent.futures
import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from bit_keras.data.remembered import Table, remembered, stamp
from bit_keras.data.source import Source, Split
from bit_keras.system.logs import doing, logger

_LENGTH, _CRC = 8, 4  # bytes of the length of a TFRecord, and of a checksum of its length or its data


def with_content(source: Source) -> Source:
    """Returns a source whose identity also has a hash of the content of its files.

    Arrays are identified by their content already. Of TFRecord files only the checksums of the records are read.
    """
    if source.identity["kind"] in ("arrays", "bundled") or "content" in source.identity:
        return source
    splits = [split for split in (source.train, source.test, source.validation) if split is not None]
    digest = hashlib.sha256()
    files = {path: summarize for split in splits for path, summarize in _files(split)}
    folders = sorted({os.path.dirname(path) for path in files})
    with (
        doing(f"reading the content of {source.name}"),
        remembered("content", *folders) as table,
        concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        try:
            for part in pool.map(lambda path: files[path](path, table), sorted(files, key=repr)):
                digest.update(part)
        except OSError as error:
            logger.warning("%s: changes of the data will not be noticed: %s", source.name, error)
            return source
    for split in splits:
        for image in _in_memory(split):
            digest.update(hashlib.sha256(image).digest())
    return dataclasses.replace(source, identity={**source.identity, "content": digest.hexdigest()})


def _files(split: Split) -> Iterator[tuple[str, Callable[[str, Table], bytes]]]:
    """Yields the files of a split, each with the function that summarizes its content, or looks it up in a table."""
    if hasattr(split, "builder"):  # TensorFlow Datasets
        info = split.builder.info
        is_tfrecord = getattr(info.file_format, "value", "tfrecord") == "tfrecord"
        names, summarize = info.splits[split.split].filepaths, _checksums if is_tfrecord else _sha256
    elif hasattr(split, "files"):  # TFRecord files
        names, summarize = split.files, _checksums
    elif split.digests is not None:  # from files that were read when the source was opened
        digests = dict(zip(map(os.fspath, split.images), split.digests, strict=True))
        names, summarize = digests, lambda path, table: digests[path]
    else:
        names, summarize = split.images if split.in_files else (), _sha256
    for name in names:
        yield os.fspath(name), summarize


def _in_memory(split: Split) -> Iterator[bytes]:
    """Yields the encoded images of a split that are in memory."""
    if not getattr(split, "in_files", True):
        yield from split.images


def _looked_up(compute: Callable[[str], bytes]) -> Callable[[str, Table], bytes]:
    @functools.wraps(compute)
    def look_up(path: str, table: Table) -> bytes:
        key = stamp(path)
        known = table.get(key)
        if known is None:
            known = compute(path)
            table.put(key, known)
        return known

    return look_up


@_looked_up
def _sha256(path: str) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


@_looked_up
def _checksums(path: str) -> bytes:
    """Returns a hash of the CRCs that follow the data of the records in a TFRecord file."""
    digest = hashlib.sha256()
    with Path(path).open("rb", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        header, end = os.pread(file.fileno(), _LENGTH, 0), 0
        while len(header) == _LENGTH and end < size:
            end += _LENGTH + _CRC + int.from_bytes(header, "little")
            following = os.pread(file.fileno(), _CRC + _LENGTH, end) if end < size else b""
            digest.update(following[:_CRC])
            end, header = end + _CRC, following[_CRC:]
    return digest.digest()
