"""The server: git over http with tokens, files of published releases, and the deployed site."""

import base64
import http.server
import json
import os
import pathlib
import subprocess
import threading
import urllib.parse


def token(permissions):
    """A token that contains its permissions, for this server and the stand-in for gh."""
    return "field_" + base64.urlsafe_b64encode(json.dumps(permissions).encode()).decode().rstrip("=")


def permissions(text):
    """The permissions of the token `text`; None if it is not a token."""
    if not text.startswith("field_"):
        return None
    coded = text.removeprefix("field_")
    return json.loads(base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4)))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: pathlib.Path
    repositories: dict  # OWNER/NAME: the bare repository in `state`; the first has the releases

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        path, _, query = self.path.partition("?")
        path = urllib.parse.unquote(path)
        if path.startswith("/pages/"):
            return self.file(self.state / "pages", path.removeprefix("/pages/") or "index.html")
        if path.startswith("/mirror/"):
            return self.file(self.state / "mirror", path.removeprefix("/mirror/"))
        released = f"/{next(iter(self.repositories))}/releases/download/"
        if path.startswith(released):
            tag, _, name = path.removeprefix(released).partition("/")
            if (self.state / "releases" / tag / ".draft").exists():
                return self.answer(404)
            return self.file(self.state / "releases" / tag, name)
        return self.git(path, query)

    do_HEAD = do_GET

    def do_POST(self):
        path, _, query = self.path.partition("?")
        self.git(urllib.parse.unquote(path), query)

    def file(self, root, name):
        place = (root / name).resolve()
        if not place.is_relative_to(root.resolve()) or not place.is_file():
            return self.answer(404)
        whole = place.read_bytes()
        wanted = self.headers.get("Range", "")
        if wanted.startswith("bytes=") and "," not in wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            if first.isdigit() and int(first) < len(whole):
                end = min(int(last) if last else len(whole) - 1, len(whole) - 1)
                part = whole[int(first):end + 1]
                return self.answer(206, part, [("Content-Range", f"bytes {first}-{end}/{len(whole)}")])
        return self.answer(200, whole)

    def git(self, path, query):
        """Calls git http-backend for a private repository: reading needs a token, pushing `contents: write`."""
        kind, _, coded = self.headers.get("Authorization", "").partition(" ")
        may = None
        if kind.lower() == "basic":
            user, _, password = base64.b64decode(coded).decode().partition(":")
            may = permissions(password) if user == "x-access-token" else None
        asked = "/".join(path.split("/")[1:3]).removesuffix(".git")
        if may is None or asked not in self.repositories:
            return self.answer(401, b"", [("WWW-Authenticate", 'Basic realm="GitHub"')])
        push = "git-receive-pack" in path + query
        if may.get("contents") not in (["write"] if push else ["read", "write"]):
            return self.answer(403, b"Write access to repository not granted.\n" if push else b"")
        body = self.body()
        environment = {
            "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(self.state), "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command, "QUERY_STRING": query, "REMOTE_USER": "x", "REMOTE_ADDR": "127.0.0.1",
            "PATH_INFO": f"/{self.repositories[asked]}" + path[len(asked) + 1:].removeprefix(".git"),
            "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True)
        head, _, rest = done.stdout.partition(b"\r\n\r\n")
        headers = [tuple(line.split(": ", 1)) for line in head.decode().splitlines() if ": " in line]
        status = next((int(value.split()[0]) for name, value in headers if name == "Status"), 200)
        self.answer(status, rest, [it for it in headers if it[0] != "Status"])

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        whole = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole


def start(state, repositories):
    """Serves `state` on loopback and returns the address, which is kept, since records contain it."""
    handler = type("Here", (Handler,), {"state": state, "repositories": repositories})
    kept = state / "port"
    port = int(kept.read_text()) if kept.exists() else 0
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    kept.write_text(str(server.server_port))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"
