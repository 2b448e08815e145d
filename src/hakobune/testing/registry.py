"""Registries for tests: Debian's docker-registry on loopback, with passwords, tokens or TLS, a token server for it, and one that lies.

Each is `with`, has a port of its own and leaves nothing. Imports: http.server, subprocess.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

USER, PASSWORD = "visitor", "sesame"
_BCRYPT = "$2b$04$JHUV0PptWt7vr5XEMdwyhuKfdCVjpNV6NlCsLIvDQer57KnfDeyIK"  # of PASSWORD
START_SECONDS = 20.0


def program() -> str:
    """Of the real registry; "" when it is not installed."""
    return shutil.which("docker-registry") or ""


def free_port() -> int:
    """One that nobody listens on at the moment."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class RealRegistry:
    """`with RealRegistry() as it:` serves at `it.name`. `auth` is "", "basic" or the TokenServer; `tls` a Certificates."""

    def __init__(
        self, auth: str | TokenServer = "", tls: Certificates | None = None, *, mirror_of: str = ""
    ) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="hr-", dir="/tmp"))
        self.port = free_port()
        self.name = f"localhost:{self.port}"
        self.log = self.base / "log"
        self._tls = tls
        self._process: subprocess.Popen[bytes] | None = None
        (self.base / "config.json").write_text(json.dumps(self._config(auth, mirror_of)))

    def _config(self, auth: str | TokenServer, mirror_of: str) -> dict[str, Any]:
        http_part: dict[str, Any] = {"addr": f"127.0.0.1:{self.port}", "secret": "of the tests"}
        if self._tls is not None:
            http_part["tls"] = {"certificate": str(self._tls.certificate), "key": str(self._tls.key)}
        config: dict[str, Any] = {
            "version": 0.1,
            "log": {"accesslog": {"disabled": False}, "level": "info"},
            "storage": {
                "filesystem": {"rootdirectory": str(self.base / "data")},
                "delete": {"enabled": True},
            },
            "http": http_part,
        }
        if mirror_of:
            config["proxy"] = {"remoteurl": mirror_of}
        if auth == "basic":
            (self.base / "htpasswd").write_text(f"{USER}:{_BCRYPT}\n")
            config["auth"] = {"htpasswd": {"realm": "tests", "path": str(self.base / "htpasswd")}}
        elif isinstance(auth, TokenServer):
            config["auth"] = {"token": auth.for_registry()}
        return config

    @property
    def url(self) -> str:
        """Of its root."""
        return f"{'https' if self._tls else 'http'}://{self.name}"

    def command(self) -> list[str]:
        """What runs it."""
        return [program(), "serve", str(self.base / "config.json")]

    def forget(self) -> None:
        """Everything that was pushed to it."""
        shutil.rmtree(self.base / "data", ignore_errors=True)

    def __enter__(self) -> Self:
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    said = self.log.read_text()[-2000:]
                    self.__exit__()
                    raise AssertionError(said) from None
                time.sleep(0.02)

    def __exit__(self, *exc: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self.base, ignore_errors=True)

    def asked(self, words: str) -> int:
        """How many lines of its log have these words."""
        return sum(words in line for line in self.log.read_text().splitlines())


class Certificates:
    """A private authority and a certificate of localhost by it, also one for a client; `ca` is the authority's file."""

    def __init__(self) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="hr-", dir="/tmp"))
        self.ca, self.certificate, self.key = (self.base / name for name in ("ca.crt", "one.crt", "one.key"))
        self._openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-days",
                      "2", "-subj", "/CN=authority of the tests")  # fmt: skip
        (self.base / "ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        self._openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "one.key", "-out", "one.csr", "-subj",
                      "/CN=localhost")  # fmt: skip
        self._openssl("x509", "-req", "-in", "one.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-out",
                      "one.crt", "-days", "2", "-extfile", "ext")  # fmt: skip

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.base, check=True, capture_output=True)

    def sign(self, data: bytes) -> bytes:
        """RS256 with the key of `certificate`."""
        return subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", str(self.key)],
            input=data,
            check=True,
            capture_output=True,
        ).stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        shutil.rmtree(self.base, ignore_errors=True)


class TokenServer:
    """Gives tokens as distribution's specification has them; `seconds` is how long they hold. Remembers who asked."""

    def __init__(self, certificates: Certificates, seconds: int = 300) -> None:
        self.certificates = certificates
        self.seconds = seconds
        self.asked: list[tuple[str, str]] = []  # (user, scopes)
        self.refresh_token = "refreshing"
        self._server = serving(self._answer)
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"

    def for_registry(self) -> dict[str, Any]:
        """Its part of the registry's configuration."""
        return {
            "realm": self.url, "service": "tests", "issuer": "tests",
            "rootcertbundle": str(self.certificates.certificate),
        }  # fmt: skip

    def _answer(self, request: Request) -> None:
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(request.path).query)
        if request.command == "POST":
            query = urllib.parse.parse_qs(request.body().decode())
            user = USER if query.get("refresh_token") == [self.refresh_token] else ""
        else:
            user = _user(request.headers.get("Authorization", ""))
        scopes = query.get("scope", [])
        self.asked.append((user, " ".join(scopes)))
        if user != USER:
            request.reply(
                401,
                json.dumps(
                    {"errors": [{"code": "UNAUTHORIZED", "message": "incorrect username or password"}]}
                ),
            )
            return
        token = self._token([one for text in scopes for one in text.split(" ")])
        request.reply(200, json.dumps({
            "token": token, "access_token": token, "expires_in": self.seconds, "refresh_token": self.refresh_token,
        }))  # fmt: skip

    def _token(self, scopes: list[str]) -> str:
        lines = self.certificates.certificate.read_text()
        x5c = "".join(lines.partition("-----BEGIN CERTIFICATE-----")[2].partition("-----END")[0].split())
        now = int(time.time())
        access = [
            {"type": kind, "name": name, "actions": actions.split(",")}
            for kind, name, actions in (scope.split(":") for scope in scopes if scope)
        ]
        claims = {
            "iss": "tests", "sub": USER, "aud": "tests", "exp": now + self.seconds, "nbf": now - 5, "iat": now,
            "jti": str(time.monotonic_ns()), "access": access,
        }  # fmt: skip
        text = f"{_url64(json.dumps({'typ': 'JWT', 'alg': 'RS256', 'x5c': [x5c]}).encode())}.{_url64(json.dumps(claims).encode())}"
        return f"{text}.{_url64(self.certificates.sign(text.encode()))}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _user(header: str) -> str:
    try:
        user, _, password = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
    except ValueError:
        return ""
    return user if password == PASSWORD else ""


class Request(http.server.BaseHTTPRequestHandler):
    """One request to a server of ours; `reply` answers it whole."""

    protocol_version = "HTTP/1.1"
    default_request_version = (
        "HTTP/1.1"  # what is no HTTP, as a TLS hello, is refused in words that clients of TLS know
    )
    act: Any = None

    def body(self) -> bytes:
        """What came with it."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def reply(self, status: int, body: bytes | str = b"", **headers: str) -> None:
        """Underscores of header names become hyphens."""
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        lines = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        for name, value in {
            **lines,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_GET(self) -> None:
        type(self).act(self)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes is no error."""


def serving(act: Any) -> _Server:
    """A server in a thread on a port of its own; `act(request)` answers."""
    server = _Server(("127.0.0.1", 0), type("Bound", (Request,), {"act": staticmethod(act)}))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


@dataclass(frozen=True)
class Sample:
    """A small image: bytes by digest, and what they are."""

    blobs: Mapping[str, bytes]
    manifest: str
    config: str
    layers: tuple[str, ...]


def sample(*sizes: int, architecture: str = "") -> Sample:
    """An image with a layer for each size, of one file of so many bytes that nobody has seen before."""
    return image_of(*(_layer(number, size) for number, size in enumerate(sizes)), architecture=architecture)


def image_of(*archives: bytes, architecture: str = "") -> Sample:
    """An image of these layers, tar archives each."""
    architecture = architecture or {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, "amd64")
    blobs: dict[str, bytes] = {}

    def put(data: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        blobs[digest] = data
        return digest

    layers = tuple(map(put, archives))
    config = put(json.dumps({
        "architecture": architecture, "os": "linux", "created": "2026-01-01T00:00:00Z", "config": {"Cmd": ["/x"]},
        "rootfs": {"type": "layers", "diff_ids": list(layers)},
    }).encode())  # fmt: skip
    kind = "application/vnd.oci.image."
    manifest = put(json.dumps({
        "schemaVersion": 2, "mediaType": f"{kind}manifest.v1+json",
        "config": {"mediaType": f"{kind}config.v1+json", "digest": config, "size": len(blobs[config])},
        "layers": [{"mediaType": f"{kind}layer.v1.tar", "digest": one, "size": len(blobs[one])} for one in layers],
    }).encode())  # fmt: skip
    return Sample(blobs, manifest, config, layers)


def listed(**images: Sample) -> Sample:
    """An index of images by architecture; its `manifest` is the index."""
    kind = "application/vnd.oci.image."
    body = json.dumps({
        "schemaVersion": 2, "mediaType": f"{kind}index.v1+json",
        "manifests": [
            {"mediaType": f"{kind}manifest.v1+json", "digest": one.manifest, "size": len(one.blobs[one.manifest]),
             "platform": {"os": "linux", "architecture": architecture}}
            for architecture, one in images.items()
        ],
    }).encode()  # fmt: skip
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    blobs = {name: data for one in images.values() for name, data in one.blobs.items()}
    return Sample(
        {**blobs, digest: body}, digest, "", tuple(name for one in images.values() for name in one.layers)
    )


def _layer(number: int, size: int) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo(f"file-{number}")
        member.size = size
        archive.addfile(member, io.BytesIO(os.urandom(size)))
    return packed.getvalue()


Lie = Callable[[Request, bytes], bool]


class LyingRegistry:
    """Serves a sample as `name` under every tag; `lies` by digest, or by "manifest", answer in the place of the truth.

    A lie gets the request and the bytes that would have been right; it returns False to have the truth told this time.
    `seen` are (method, path, headers) of all requests.
    """

    def __init__(self, image: Sample) -> None:
        self.image = image
        self.lies: dict[str, Lie] = {}
        self.seen: list[tuple[str, str, Mapping[str, str]]] = []
        self._server = serving(self._answer)
        self.name = f"localhost:{self._server.server_port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def asked(self, digest: str) -> list[Mapping[str, str]]:
        """The headers of each GET of a blob."""
        return [
            headers
            for method, path, headers in self.seen
            if method == "GET" and path.endswith(f"/blobs/{digest}")
        ]

    def _answer(self, request: Request) -> None:
        self.seen.append((request.command, request.path, dict(request.headers.items())))
        path = request.path.partition("?")[0]
        what, _, label = path.rpartition("/")
        if path == "/v2/":
            request.reply(200, "{}")
        elif what.endswith("/manifests"):
            digest = label if ":" in label else self.image.manifest
            self._tell(request, "manifest", digest, self._kind(digest))
        elif what.endswith("/blobs"):
            self._tell(request, label, label, "application/octet-stream")
        else:
            request.reply(404, json.dumps({"errors": [{"code": "NAME_UNKNOWN", "message": "unknown"}]}))

    def _kind(self, digest: str) -> str:
        try:
            return str(json.loads(self.image.blobs[digest])["mediaType"])
        except (KeyError, ValueError):
            return "application/json"

    def _tell(self, request: Request, key: str, digest: str, kind: str) -> None:
        data = self.image.blobs.get(digest, b"")
        if key in self.lies and self.lies[key](request, data):
            return
        if not data:
            request.reply(404, json.dumps({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "unknown"}]}))
            return
        start, _, end = request.headers.get("Range", "").removeprefix("bytes=").partition("-")
        about = {"Content-Type": kind, "Docker-Content-Digest": digest, "Accept-Ranges": "bytes"}
        if start:
            last = int(end) if end else len(data) - 1
            about["Content-Range"] = f"bytes {start}-{last}/{len(data)}"
            request.reply(206, data[int(start) : last + 1], **about)
        else:
            request.reply(200, data, **about)


def cut(request: Request, data: bytes, count: int) -> bool:
    """Tell the right length, send so many bytes of what was asked for, and go."""
    text = request.headers.get("Range", "").removeprefix("bytes=").partition("-")
    start, last = int(text[0] or 0), int(text[2] or len(data) - 1)
    request.send_response(206 if text[1] else 200)
    request.send_header("Content-Length", str(last + 1 - start))
    if text[1]:
        request.send_header("Content-Range", f"bytes {start}-{last}/{len(data)}")
    request.end_headers()
    request.wfile.write(data[start : min(start + count, last + 1)])
    request.close_connection = True
    return True


def endless(request: Request, data: bytes) -> bool:
    """Send the truth without telling its length, and never stop."""
    request.send_response(200)
    request.send_header("Transfer-Encoding", "chunked")
    request.end_headers()
    with contextlib.suppress(OSError):
        while True:
            request.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
    request.close_connection = True
    return True
