"""A Kubernetes API on 127.0.0.1 that keeps the jobs it is asked for and lets every one fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import yaml


@contextmanager
def kubernetes_api(kubeconfig: Path) -> Iterator[list[dict[str, Any]]]:
    """Serve until the block ends; the jobs asked for so far. Writes how to reach it."""
    jobs: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            kind = self.path.split("?")[0].split("/")
            reply: dict[str, Any] = {"metadata": {"name": kind[-1]}, "items": []}
            if self.command == "POST" and kind[-1] == "jobs":
                jobs.append(json.loads(body))
                reply = jobs[-1]
            elif self.command == "GET" and "jobs" in kind:
                reply |= {"status": {"failed": 1}}
            content = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = answer

        def log_message(self, *arguments: Any) -> None:
            """Nothing: the test's output is for the test."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        where = f"http://127.0.0.1:{server.server_address[1]}"
        configuration = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {"server": where}}],
            "users": [{"name": "test", "user": {}}],
        }
        kubeconfig.write_text(yaml.safe_dump(configuration))
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield jobs
        finally:
            server.shutdown()
