"""A small server that speaks the Hub's routes over a folder, and can misbehave on request."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "a" * 40
LFS_SUFFIXES = (".pt", ".png")


@dataclass
class Hub:
    """What the server serves, and what was asked of it."""

    root: Path
    repo: str
    kind: str
    commit: str = COMMIT
    cut_once: dict[str, int] = field(default_factory=dict)
    """File to the number of bytes after which its first transfer breaks off."""
    spoilt: set[str] = field(default_factory=set)
    """Files whose bytes are changed on the way."""
    gets: list[tuple[str, str | None]] = field(default_factory=list)
    """Every transfer of a file, with its Range."""
    endpoint: str = ""

    def files(self) -> list[str]:
        names = (path for path in sorted(self.root.rglob("*")) if path.is_file())
        return [path.relative_to(self.root).as_posix() for path in names]


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Answers, hub))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, hub: Hub, *arguments: Any) -> None:
        self.hub = hub
        super().__init__(*arguments)

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._file(with_body=False)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        api = f"/api/{self.hub.kind}s/{self.hub.repo}"
        found = re.fullmatch(rf"{api}(?:/revision/([^/]+))?", path)
        if path == f"{api}/tree/{self.hub.commit}":
            self._json([self._leaf(name) for name in self.hub.files()])
        elif found is None:
            self._file(with_body=True)
        elif (found.group(1) or "main") not in ("main", self.hub.commit):
            self._refuse("RevisionNotFound")
        else:
            siblings = [self._sibling(name) for name in self.hub.files()]
            self._json({"id": self.hub.repo, "sha": self.hub.commit, "siblings": siblings})

    def _sibling(self, name: str) -> dict[str, Any]:
        content = (self.hub.root / name).read_bytes()
        entry: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": _git(content)}
        if name.endswith(LFS_SUFFIXES):
            sha = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"sha256": sha, "size": len(content), "pointerSize": 134}
        return entry

    def _leaf(self, name: str) -> dict[str, Any]:
        entry = self._sibling(name)
        leaf = {"type": "file", "path": name, "size": entry["size"], "oid": entry["blobId"]}
        if "lfs" in entry:
            leaf["lfs"] = {**entry["lfs"], "oid": entry["lfs"]["sha256"]}
        return leaf

    def _file(self, *, with_body: bool) -> None:
        prefix = "/datasets" if self.hub.kind == "dataset" else ""
        pattern = rf"{prefix}/{self.hub.repo}/resolve/([^/]+)/(.+)"
        found = re.fullmatch(pattern, self.path.partition("?")[0])
        path = None if found is None else self.hub.root / found.group(2)
        if found is None or path is None or not path.is_file():
            self._refuse("EntryNotFound" if found else "RepoNotFound")
            return
        content = path.read_bytes()
        etag = hashlib.sha256(content).hexdigest()
        if not found.group(2).endswith(LFS_SUFFIXES):
            etag = _git(content)
        if with_body and found.group(2) in self.hub.spoilt:
            content = bytes(byte ^ 1 for byte in content)
        self._send(content, etag, found.group(2), with_body=with_body)

    def _send(self, content: bytes, etag: str, name: str, *, with_body: bool) -> None:
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if asked else 200)
        if asked:
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.send_header("Content-Range", span)
        self.send_header("X-Repo-Commit", self.hub.commit)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if not with_body:
            return
        self.hub.gets.append((name, asked))
        cut = self.hub.cut_once.pop(name, None)
        self.wfile.write(content[start:] if cut is None else content[start : start + cut])
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()

    def _json(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _git(content: bytes) -> str:
    start = f"blob {len(content)}\0".encode()
    return hashlib.sha1(start + content, usedforsecurity=False).hexdigest()
