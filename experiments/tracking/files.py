"""A run's files: what is copied into its folder, what is uploaded to GridFS once, and the captured output."""

from __future__ import annotations

import contextlib
import mimetypes
import re
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gridfs
from bson import ObjectId

from experiments.tracking.snapshot import Store
from experiments.tracking.values import Mongo, bson_safe
from framework.files.arrays import digest

MAX_STORED = 16 * 2**20
OUTPUT = "output.txt"
OUTPUT_TAIL = 64 * 1024
_UNUSUAL = re.compile(r"[^\w.-]", re.ASCII)


def keep(path: Path, folder: Path, name: str) -> dict[str, Any]:
    """Describe an artifact, and copy a small one into the run's folder: it stays there whatever happens to the file.

    Returns:
        A record's fields: name, path, size in bytes, sha256, and whether it is to be stored in the database too.
    """
    path = path.absolute()
    if not path.is_file():
        return {"name": name, "path": str(path), "missing": True}
    size = path.stat().st_size
    record = {"name": name, "path": str(path), "size": size, "sha256": digest(path), "stored": size <= MAX_STORED}
    if record["stored"]:
        copy = path if path.is_relative_to(folder) else _copy(folder, record)
        if copy != path:
            copy.parent.mkdir(mode=0o700, exist_ok=True)
            shutil.copyfile(path, copy)
        record["copy"] = str(copy.relative_to(folder))
    return record


def _copy(folder: Path, entry: Mapping[str, Any]) -> Path:
    """A name may come from anybody's data: it neither leaves the folder nor is too long for it."""
    name = _UNUSUAL.sub("_", Path(entry["name"]).name)[-100:]
    return folder / "artifacts" / f"{str(entry.get('sha256'))[:12]}-{name}"


def kept(document: Mapping[str, Any], name: str) -> bytes | None:
    """An artifact by its name, or a file that lies in the run's folder; None where there is none.

    The document has `journal` and `files`.
    """
    folder = Path((document.get("journal") or {}).get("folder") or "nowhere")
    entries = [entry for entry in document.get("files") or () if entry.get("name") == name]
    places = [place for entry in entries for place in _places(folder, entry)]
    for place in (*places, folder / name):
        with contextlib.suppress(OSError, ValueError):
            return place.read_bytes()
    return None


def _places(folder: Path, entry: Mapping[str, Any]) -> list[Path]:
    """Where an artifact may lie: as it was copied, and in the run's folder, wherever that is by now."""
    path = Path(entry["path"])
    own = path.parts[path.parts.index(folder.name) + 1 :] if folder.name in path.parts else ()
    return [_copy(folder, entry), *([folder.joinpath(*own)] if own else [])]


def uploaded(database: Mongo, document: Mapping[str, Any], name: str) -> bytes | None:
    """An artifact from GridFS; arguments as in `kept`, with `artifacts` in the document."""
    for entry in document.get("artifacts") or ():
        if entry.get("name") == name:
            with contextlib.suppress(gridfs.NoFile):
                return bytes(gridfs.GridFS(database).get(entry["file_id"]).read())
    return None


def output_tail(folder: Path) -> str:
    """The last part of the captured output; the file has all of it."""
    path = folder / OUTPUT
    if not path.exists():
        return ""
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - OUTPUT_TAIL))
        text = file.read().decode("utf-8", "replace")
    return text if size <= OUTPUT_TAIL else f"[... {size - OUTPUT_TAIL} bytes before this are in {path}]\n{text}"


class Uploads:
    """What one run has in GridFS; each file is uploaded once, by content."""

    def __init__(self, database: Mongo, folder: Path) -> None:
        self._store = gridfs.GridFS(database)
        self._database, self._folder, self._kept = database, folder, Store.of(folder)
        self._known: dict[tuple[str, str], Any] = {}

    def artifacts(self, run: str, records: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
        """Upload the artifacts that the database lacks; an older version under the same name goes.

        Args:
            run: what comes before their names in GridFS: the run's number.
            records: the journal's, by name.

        Returns:
            Sacred's form: name and GridFS id of each that is stored.
        """
        return [
            {"name": name, "file_id": file_id}
            for name, record in records.items()
            if (file_id := self._artifact(f"artifact://runs/{run}/{name}", record)) is not None
        ]

    def sources(self, base_dir: str, sources: Sequence[Sequence[str]]) -> list[list[Any]]:
        """Upload source files whose content no run has uploaded yet; what is lost or has changed is left out.

        Args:
            base_dir: the folder that names are relative to, where the store beside the runs lacks a content.
            sources: Sacred's pairs of name and MD5.

        Returns:
            Sacred's form: pairs of name and GridFS id.
        """
        # In one question: a run has hundreds of them.
        stored = self._database["fs.files"].find(
            {"metadata.md5": {"$in": [md5 for _, md5 in sources]}}, {"metadata.md5": 1}
        )
        known = {file["metadata"]["md5"]: file["_id"] for file in stored}
        lacking = {md5: name for name, md5 in sources if md5 not in known}
        found = {md5: self._kept.find(md5, Path(base_dir) / name) for md5, name in lacking.items()}
        contents = {md5: content for md5, content in found.items() if content is not None}
        known |= self._put_sources(contents, lacking)
        return [[name, known[md5]] for name, md5 in sources if md5 in known]

    def _put_sources(self, contents: Mapping[str, bytes], names: Mapping[str, str]) -> dict[str, Any]:
        """Store hundreds of small files in two writes, in GridFS's form; GridFS itself needs several for each."""
        size, now = gridfs.DEFAULT_CHUNK_SIZE, datetime.now(UTC)
        ids = {md5: ObjectId() for md5 in contents}
        files = [
            {"_id": ids[md5], "filename": f"source://{names[md5]}", "metadata": {"md5": md5}}
            | {"length": len(content), "chunkSize": size, "uploadDate": now}
            for md5, content in contents.items()
        ]
        chunks = [
            {"files_id": ids[md5], "n": start // size, "data": content[start : start + size]}
            for md5, content in contents.items()
            for start in range(0, len(content), size)
        ]
        # The chunks first: a file that is found has its content.
        for name, documents in (("fs.chunks", chunks), ("fs.files", files)):
            if documents:
                self._database[name].insert_many(documents, ordered=False)
        return ids

    def _artifact(self, filename: str, record: dict[str, Any]) -> Any:
        sha256 = record["sha256"]
        if (filename, sha256) not in self._known:
            found = self._store.find_one({"filename": filename, "metadata.sha256": sha256})
            file_id = found._id if found is not None else self._put(filename, record)
            if file_id is None:
                return None
            for version in self._store.find({"filename": filename, "_id": {"$ne": file_id}}):
                self._store.delete(version._id)
            self._known[filename, sha256] = file_id
        return self._known[filename, sha256]

    def _put(self, filename: str, record: dict[str, Any]) -> Any:
        source = self._folder / record["copy"]
        if not source.is_file() or digest(source) != record["sha256"]:
            return None
        metadata = {**bson_safe(record.get("metadata") or {}), "sha256": record["sha256"]}
        kind = record.get("content_type") or mimetypes.guess_type(record["name"])[0]
        return self._store.put(source.read_bytes(), filename=filename, metadata=metadata, content_type=kind)
