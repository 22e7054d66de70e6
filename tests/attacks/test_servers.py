"""Servers that lie, lead elsewhere or never end: each gets its answer, and nothing of theirs is in."""

from __future__ import annotations

import gzip
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import httpcore2
import pytest

from lorry.errors import AccessDenied, InvalidArgument, LorryError, NotFound, UpstreamFailed
from lorry.plugin.fetched import Limits
from lorry_registry import Registry
from lorry_registry.adding.add import Outcome, Wishes
from lorry_registry.sources import guarded
from tests.support.servers import HOST, Asked, Reply, files, serving

from .attack import adapter
from .contents import lora

GOOD = adapter(lora())
SMALL = Limits(nbytes=1 << 16, seconds=20, hosts=(HOST,))


def add(registry: Registry, address: str, limits: Limits = SMALL) -> Outcome:
    (outcome,) = registry.add([address], wishes=Wishes(limits=limits))
    return outcome


def endless(piece: bytes, pause: float = 0.0, most: float = 30.0) -> Callable[[BufferedIOBase], None]:
    """Return what writes the same again and again until nobody listens."""

    def write(file: BufferedIOBase) -> None:
        until = time.monotonic() + most
        with suppress(OSError):
            while time.monotonic() < until:
                file.write(piece)
                time.sleep(pause)

    return write


def to(address: str) -> Reply:
    return Reply(status=302, headers={"Location": address})


LIES: dict[str, tuple[Reply, type[LorryError], str]] = {
    "fewer bytes than told": (Reply(GOOD, length=len(GOOD) + 100), UpstreamFailed, "connection failed"),
    "more bytes told than may be fetched": (Reply(b"x", length=1 << 40), UpstreamFailed, "--max-size"),
    "a body without end": (Reply(endless(bytes(1 << 14))), UpstreamFailed, "--max-size"),
    "chunks without end": (
        Reply(endless(b"1000\r\n" + bytes(4096) + b"\r\n"), headers={"Transfer-Encoding": "chunked"}),
        UpstreamFailed, "--max-size"),
    "a length that is no number": (Reply(GOOD, headers={"Content-Length": "-1"}, length=None), UpstreamFailed, "fail"),
    "a bomb in gzip": (
        Reply(gzip.compress(bytes(1 << 20)), headers={"Content-Encoding": "gzip"}), UpstreamFailed, "compressed"),
    "another encoding": (Reply(GOOD, headers={"Content-Encoding": "br"}), UpstreamFailed, "compressed"),
    "headers without end": (Reply(headers={f"X-{each}": "x" * 900 for each in range(200)}), UpstreamFailed, "fail"),
    "part of a file unasked": (
        Reply(GOOD, 206, {"Content-Range": f"bytes 5-{len(GOOD)}/{len(GOOD)}"}), UpstreamFailed, "another part"),
    "an error": (Reply(b"x", 500), UpstreamFailed, "status 500"),
    "nothing": (Reply(b"", 404), NotFound, "is not there"),
    "a closed door": (Reply(b"", 403), AccessDenied, "needs a token"),
    "a redirect to nowhere": (Reply(status=302), UpstreamFailed, "status 302"),
    "a redirect to itself": (to("/a.safetensors"), UpstreamFailed, "on and on"),
    "a redirect to a file": (to("file:///etc/passwd"), UpstreamFailed, "no host"),
    "a redirect to another protocol": (to("gopher://x/1"), UpstreamFailed, "no https address"),
    "a redirect with a password": (to("https://me:pw@example.org/"), UpstreamFailed, "a password"),
    "a redirect to metadata": (to("https://169.254.169.254/latest/meta-data"), UpstreamFailed, "no public machine"),
    "a redirect to a private network": (to("https://10.0.0.1/"), UpstreamFailed, "no public machine"),
    "a redirect to IPv4 in IPv6": (to("https://[::ffff:127.0.0.1]/"), UpstreamFailed, "no public machine"),
    "a redirect to loopback by name": (to("https://localhost/"), UpstreamFailed, "no public machine"),
    "a redirect to a number": (to("https://2130706433/"), UpstreamFailed, "no public machine"),
    "a redirect to a hexadecimal number": (to("https://0x7f000001/"), UpstreamFailed, "no public machine"),
    "a redirect to a short number": (to("https://127.1/"), UpstreamFailed, "no public machine"),
    "a redirect to an escaped host": (to("https://127%2e0%2e0%2e1/"), UpstreamFailed, "names no host"),
    "a redirect to nothing at all": (to("https:///x"), UpstreamFailed, "names no host"),
    "a redirect with a line break": (to("https://example.org/\tx"), UpstreamFailed, "characters"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_answered(registry: Registry, lie: str) -> None:
    reply, error, says = LIES[lie]
    with serving(lambda _: reply) as server:
        outcome = add(registry, f"{server.url}/a.safetensors")
    assert type(outcome.error) in {error, *error.__subclasses__(), guarded.Cut, guarded.TooLarge}, outcome
    assert isinstance(outcome.error, error)
    assert says in outcome.why
    assert not registry.ls()
    assert not list(registry.quarantine.ls())


def test_fewer_bytes_that_are_told_as_all_are_not_let_in(registry: Registry) -> None:
    with serving(lambda _: Reply(GOOD[:-1])) as server:
        outcome = add(registry, f"{server.url}/a.safetensors")
    assert (outcome.outcome, registry.ls()) == ("refused", [])
    assert registry.quarantine.get(outcome.id).verdict == "reject"


def test_the_good_one_gets_in(registry: Registry) -> None:
    """What every lie is told from."""
    with serving(files({"/a.safetensors": GOOD})) as server:
        assert add(registry, f"{server.url}/a.safetensors").outcome == "added"


def test_a_slow_drip_is_left(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded, "PACE_SECONDS", 0.2)
    with serving(lambda _: Reply(endless(b"x", 0.02))) as server:
        assert "too slowly" in add(registry, f"{server.url}/a").why


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 200 OK\r\nX: "], ids=["silence", "headers"])
def test_headers_that_never_end_are_left_at_the_deadline(registry: Registry, before: bytes) -> None:
    with raw(endless(b"x" if before else b"", 0.02, most=0.6), before) as port:
        outcome = add(registry, f"http://{HOST}:{port}/a", SMALL._replace(seconds=0.3))
    assert isinstance(outcome.error, UpstreamFailed)


def test_what_is_no_http_is_refused(registry: Registry) -> None:
    with raw(lambda _: None, b"SSH-2.0-OpenSSH_9\r\n") as port:
        assert isinstance(add(registry, f"http://{HOST}:{port}/a").error, UpstreamFailed)


@pytest.mark.parametrize(
    "address",
    ["https://127.0.0.1:{port}/a", "https://localhost:{port}/a", "https://2130706433:{port}/a", "https://[::1]:{port}/",
     "https://0x7f.1:{port}/a", "https://127.1:{port}/a", "https://[::ffff:7f00:1]:{port}/a", "https://0:{port}/a",
     "https://127.0.0.1.:{port}/a", "https://\uff11\uff12\uff17.0.0.1:{port}/a", "https://LOCALHOST:{port}/a"],
)  # fmt: skip
def test_no_spelling_of_this_machine_is_spoken_to(registry: Registry, address: str) -> None:
    came: list[bytes] = []
    with raw(lambda _: came.append(b"connected"), b"") as port:
        outcome = add(registry, address.format(port=port), SMALL._replace(hosts=()))
    assert isinstance(outcome.error, LorryError)
    assert "no public machine" in outcome.why or "no host" in outcome.why
    assert not came


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("http://example.org/a", "no https address"),
        ("https://me:secret@example.org/a", "a password"),
        ("https://example.org/a b", "characters"),
        ("https://example.org\\@127.0.0.1/a", "characters"),
        ("https://exa%6dple.org/a", "names no host"),
        ("https://example.org:99999/a", "is no address"),
        ("https://example.org/a#sha256=zz", "64 hexadecimal digits"),
    ],
)
def test_addresses_that_are_not_asked(
    registry: Registry, address: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("it looked for the host"))
    outcome = add(registry, address)
    assert isinstance(outcome.error, InvalidArgument)
    assert says in outcome.why
    assert "secret" not in outcome.why


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let the name server answer with one list after the other; return the hosts that it was asked for."""
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        found = answers[min(len(asked), len(answers) - 1)]
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def test_a_name_with_one_private_address_is_not_spoken_to(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, ["93.184.215.14", "127.0.0.1"])
    assert "example (127.0.0.1) is no public machine" in add(registry, "https://rebind.example/a").why


def test_a_name_that_changes_its_address_leads_nowhere_else(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address that was looked at is the one that is connected to: the name is not asked for a second time."""
    asked = resolving(monkeypatch, ["93.184.215.14"], ["127.0.0.1"])
    connected: list[str] = []

    def connect(_: object, host: str, *__: Any, **___: Any) -> httpcore2.NetworkStream:
        connected.append(host)
        raise httpcore2.ConnectError("stop here")

    monkeypatch.setattr(httpcore2.SyncBackend, "connect_tcp", connect)
    assert isinstance(add(registry, "https://rebind.example/a").error, UpstreamFailed)
    assert (asked, connected) == (["rebind.example"], ["93.184.215.14"])


def test_a_peer_that_is_private_is_not_sent_a_byte(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A public number may lead here all the same: by the routes of this machine."""
    resolving(monkeypatch, ["93.184.215.14"])
    came: list[bytes] = []
    real = httpcore2.SyncBackend.connect_tcp
    with raw(lambda _: came.append(b"asked"), b"", wait=True) as port:
        monkeypatch.setattr(
            httpcore2.SyncBackend,
            "connect_tcp",
            lambda self, *asked: real(self, HOST, port, *asked[2:]),
        )
        monkeypatch.setattr(socket, "create_connection", _connect)
        assert "example (127.0.0.1) is no public machine" in add(registry, "https://routed.example/a").why
    assert not came


def _connect(address: tuple[str, int], timeout: float | None = None, **_: Any) -> socket.socket:
    peer = socket.socket()
    peer.settimeout(timeout)
    peer.connect(address)
    return peer


def test_proxies_and_passwords_of_the_environment_are_not_used(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text(f"machine {HOST} login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with serving(files({})) as proxy, serving(files({"/a.safetensors": GOOD})) as server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert add(registry, f"{server.url}/a.safetensors").outcome == "added"
    assert not proxy.asked
    assert "authorization" not in server.asked[0].headers


@pytest.mark.parametrize(
    ("told", "path"),
    [
        ('attachment; filename="../../../etc/cron.d/a.safetensors"', "a.safetensors"),
        ("attachment; filename*=UTF-8''..%2F..%2Fa%00%0A.safetensors", "a.safetensors"),
        ('attachment; filename="C:\\\\Windows\\\\nul.safetensors"', "_nul.safetensors"),
        ('attachment; filename="a.part"', "a"),
        ('attachment; filename="about.json"', "about.json"),
        ('attachment; filename=""', "x.safetensors"),
    ],
)
def test_names_that_a_server_chose_stay_in_their_folder(registry: Registry, told: str, path: str) -> None:
    before = {*Path.cwd().iterdir()}
    with serving(lambda _: Reply(GOOD, headers={"Content-Disposition": told})) as server:
        outcome = add(registry, f"{server.url}/x.safetensors")
    found = {each.name for each in registry.home.rglob("*") if each.is_file()}
    if outcome.reference:
        assert [file.path for file in registry.manifest(outcome.reference).files] == [path]
    else:
        assert outcome.examined
        assert [each.name for each in outcome.examined.originals] == [path]
    assert ".." not in found
    assert {*Path.cwd().iterdir()} == before


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for this machine that nobody vouches for."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize("trusted", [False, True])
def test_certificates_are_checked(
    registry: Registry, certificate: Path, monkeypatch: pytest.MonkeyPatch, *, trusted: bool
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving(files({"/a.safetensors": GOOD}), context) as server:
        outcome = add(registry, f"{server.url}/a.safetensors")
    assert outcome.outcome == ("added" if trusted else "refused"), outcome.why
    assert len(server.asked) == trusted


def raw(say: Callable[[Any], None], before: bytes, *, wait: bool = False) -> Any:
    """Run a server of bare TCP, which writes `before` and goes on as `say` does; yield its port.

    With `wait`, `say` is done only where the client has sent something.
    """

    @contextmanager
    def run() -> Iterator[int]:
        with socket.socket() as listener:
            listener.bind((HOST, 0))
            listener.listen()

            def serve() -> None:
                with suppress(OSError):
                    peer, _ = listener.accept()
                    peer.settimeout(2)
                    with peer, peer.makefile("wb", buffering=0) as file:
                        peer.sendall(before)
                        if not wait or peer.recv(1):
                            say(file)

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            yield int(listener.getsockname()[1])
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(3)

    return run()


@pytest.fixture
def registry(home: Path) -> Registry:
    return Registry(home)


def test_the_servers_are_live() -> None:
    """A client without a guard is led to a private address."""
    seen: list[Asked] = []

    def lead(asked: Asked) -> Reply:
        seen.append(asked)
        return to(f"{inside.url}/secret")

    with serving(files({"/secret": b"inside"})) as inside, serving(lead) as outside:
        from urllib.request import ProxyHandler, build_opener

        assert build_opener(ProxyHandler({})).open(outside.url).read() == b"inside"
    assert seen
