"""Signatures: who signed is told from who did not, and a signature is for these very bytes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from modelpack_client import ModelPackClient

from lorry.cli import cli
from lorry.errors import (
    AccessDenied,
    Incompatible,
    InvalidArgument,
    InvalidFile,
    MissingExtra,
    NotFound,
    NotRecognised,
    VerificationFailed,
)
from lorry_registry import Registry
from lorry_registry.references.semver import Version
from lorry_registry.version.card import Card
from lorry_registry.version.notes import Note

from .helpers import write_lora

PEM, SECRET = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8


def make_key(folder: Path, name: str, password: str | None = None) -> tuple[Path, Path]:
    """Make a pair of keys; return the private and the public one."""
    key = ec.generate_private_key(ec.SECP256R1())
    protection = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    private.write_bytes(key.private_bytes(PEM, SECRET, protection))
    public.write_bytes(key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def ann(tmp_path: Path) -> tuple[Path, Path]:
    return make_key(tmp_path, "ann")


@pytest.fixture
def ben(tmp_path: Path) -> tuple[Path, Path]:
    return make_key(tmp_path, "ben")


@pytest.fixture
def signed(published: Registry, ann: tuple[Path, Path]) -> Registry:
    """A registry with demo/cat@1.0.0, which ann signed."""
    published.sign("demo/cat", ann[0])
    return published


def signatures(registry: Registry) -> list[str]:
    return registry.note("demo/cat@1.0.0").signed_by


def put_signatures(registry: Registry, *texts: str) -> None:
    """Put signatures in the note on demo/cat@1.0.0 as a hostile place would."""
    records = registry.store.records(registry.resolve("demo/cat@1.0.0").reference)
    records.say(Version.parse("1.0.0"), lambda _: Note().signed(texts), "sign")


def test_who_signed_is_told_from_who_did_not(signed: Registry, ann: tuple[Path, Path], ben: tuple[Path, Path]) -> None:
    signed.check_signature("demo/cat", ann[1])
    with pytest.raises(VerificationFailed, match="not signed by the key of"):
        signed.check_signature("demo/cat", ben[1])
    signed.sign("demo/cat", ben[0])
    for _, public in (ann, ben):
        signed.check_signature("demo/cat", public)
    signed.sign("demo/cat", ann[0])
    assert len(signatures(signed)) == 2


def test_what_nobody_signed_is_told(published: Registry, ann: tuple[Path, Path]) -> None:
    with pytest.raises(VerificationFailed, match="demo/cat@1.0.0 is not signed by anybody"):
        published.check_signature("demo/cat", ann[1])


def test_changed_bytes_are_refused(signed: Registry, ann: tuple[Path, Path]) -> None:
    (file,) = signed.manifest("demo/cat").files
    path = signed.store.blobs.path(file.sha256)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(VerificationFailed, match="damaged"):
        signed.check_signature("demo/cat", ann[1])


@pytest.mark.parametrize("what", ["another file", "one more file", "one file less", "another title"])
def test_a_signature_is_for_one_manifest(what: str, ann: tuple[Path, Path], tmp_path: Path) -> None:
    lora, text = write_lora(tmp_path / "cat.safetensors"), tmp_path / "read.txt"
    text.write_text("hello")
    true = Registry(tmp_path / "true")
    true.publish("demo/cat@1.0.0", [lora, text])
    true.sign("demo/cat", ann[0])
    false = Registry(tmp_path / "false")
    if what == "another file":
        lora.unlink()
        write_lora(lora, seed=7)
    extra = tmp_path / "extra"
    (extra / ".github").mkdir(parents=True)  # which model_signing leaves out unless told not to
    (extra / ".github" / "more.txt").write_text("more")
    files = {"one more file": [lora, text, extra], "one file less": [lora]}.get(what, [lora, text])
    false.publish("demo/cat@1.0.0", files, card=Card(title="Dog") if what == "another title" else None)
    put_signatures(false, *signatures(true))
    with pytest.raises(VerificationFailed, match="not signed by the key"):
        false.check_signature("demo/cat", ann[1])


@pytest.mark.parametrize("place", ["file", "oci", "bundle"])
def test_a_signature_travels_with_the_version(
    place: str, signed: Registry, elsewhere: Registry, ann: tuple[Path, Path], tmp_path: Path, oci_strict: str
) -> None:
    if place == "bundle":
        signed.export(["demo/cat"], tmp_path / "x.tar")
        elsewhere.import_(tmp_path / "x.tar")
    else:
        where = (tmp_path / "shared").as_uri() if place == "file" else f"oci://{oci_strict}/signed"
        signed.push("demo/cat", where)
        elsewhere.clone(f"{where}#demo/cat")
    elsewhere.check_signature("demo/cat", ann[1])


def test_the_signatures_of_both_sides_are_kept(
    signed: Registry, elsewhere: Registry, ann: tuple[Path, Path], ben: tuple[Path, Path], tmp_path: Path
) -> None:
    elsewhere.publish("demo/cat@1.0.0", [tmp_path / "cat.safetensors"])
    elsewhere.sign("demo/cat", ben[0])
    elsewhere.yank("demo/cat@1.0.0")
    elsewhere.unyank("demo/cat@1.0.0")
    signed.push("demo/cat", elsewhere.home.as_uri())
    for _, public in (ann, ben):
        elsewhere.check_signature("demo/cat", public)


def test_the_tool_of_the_field_says_the_same(
    signed: Registry, ann: tuple[Path, Path], ben: tuple[Path, Path], tmp_path: Path, oci_strict: str
) -> None:
    signed.push("demo/cat", f"oci://{oci_strict}/field")
    ModelPackClient(insecure=True).pull(f"{oci_strict}/field/demo/cat:1.0.0", tmp_path / "pulled")
    (tmp_path / "cat.sig").write_text(signatures(signed)[0])

    def verify(public: Path) -> int:
        command = [sys.executable, "-m", "model_signing", "verify", "key", str(tmp_path / "pulled")]
        options = ["--signature", str(tmp_path / "cat.sig"), "--public_key", str(public)]
        return subprocess.run([*command, *options], capture_output=True, check=False, timeout=120).returncode

    assert verify(ann[1]) == 0
    assert verify(ben[1]) != 0
    (tmp_path / "pulled" / "more.txt").touch()
    assert verify(ann[1]) != 0


def forged(text: str, **changes: str) -> str:
    """Change a signature's parts."""
    found = json.loads(text)
    found["dsseEnvelope"].update(changes)
    return json.dumps(found)


def test_what_is_no_signature_holds_nothing_and_hides_none(signed: Registry, ann: tuple[Path, Path]) -> None:
    (true,) = signatures(signed)
    false = [
        "",
        "{}",
        "[" * 10_000,
        forged(true, payload="e30="),
        forged(true, payloadType="text/plain"),
        json.dumps({**json.loads(true), "dsseEnvelope": {**json.loads(true)["dsseEnvelope"], "signatures": []}}),
    ]
    put_signatures(signed, *false)
    with pytest.raises(VerificationFailed, match="not signed by the key"):
        signed.check_signature("demo/cat", ann[1])
    put_signatures(signed, *false, true)
    signed.check_signature("demo/cat", ann[1])


@pytest.mark.parametrize("text", ["5", "{}", '"text"', "[1]", "[", "[" * 100_000, json.dumps(["x" * (2 << 20)])])
def test_a_note_whose_signatures_are_none_is_damaged(text: str) -> None:
    with pytest.raises(InvalidFile, match="signatures"):
        Note.from_bytes(json.dumps({"signatures": text}).encode())


def test_an_encrypted_key_asks_for_its_password(
    published: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = make_key(tmp_path, "safe", password="open")
    for password in (None, "shut"):
        with pytest.raises(AccessDenied, match="LORRY_KEY_PASSWORD"):
            published.sign("demo/cat", private, password=password)
    monkeypatch.setenv("LORRY_KEY_PASSWORD", "open")
    run("sign", "demo/cat", "--key", str(private))
    published.check_signature("demo/cat", public)


def test_a_password_that_no_key_needs_is_told(published: Registry, ann: tuple[Path, Path]) -> None:
    with pytest.raises(InvalidArgument, match="is not encrypted; leave LORRY_KEY_PASSWORD out"):
        published.sign("demo/cat", ann[0], password="open")


def test_what_is_no_key_is_told(published: Registry, ann: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "text.pem").write_text("no key")
    for key, says in ((tmp_path / "text.pem", "no private key"), (ann[1], "a public one")):
        with pytest.raises(NotRecognised, match=says):
            published.sign("demo/cat", key)
    for key, says in ((tmp_path / "text.pem", "no public key"), (ann[0], "a private one")):
        with pytest.raises(NotRecognised, match=says):
            published.check_signature("demo/cat", key)
    with pytest.raises(NotFound):
        published.sign("demo/cat", tmp_path / "missing.pem")
    assert signatures(published) == []


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (rsa.generate_private_key(65537, 2048), "RSA"),
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519"),
        (ec.generate_private_key(ec.SECP256K1()), "secp256k1"),
    ],
    ids=["rsa", "ed25519", "secp256k1"],
)
def test_a_key_of_another_kind_is_told(
    published: Registry, tmp_path: Path, key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey, kind: str
) -> None:
    private, public = tmp_path / "other.pem", tmp_path / "other.pub.pem"
    private.write_bytes(key.private_bytes(PEM, SECRET, serialization.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(Incompatible, match=rf"other\.pem is a key of .*{kind}.*P-256"):
        published.sign("demo/cat", private)
    with pytest.raises(Incompatible, match=rf"other\.pub\.pem is a key of .*{kind}.*P-256"):
        published.check_signature("demo/cat", public)


def test_without_the_extra_it_is_named(
    published: Registry, ann: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(MissingExtra, match=re.escape("pip install 'lorry[sign]'")):
        published.sign("demo/cat", ann[0])


def test_the_commands_do_the_same(published: Registry, ann: tuple[Path, Path], ben: tuple[Path, Path]) -> None:
    assert "demo/cat@1.0.0 is signed" in run("sign", "demo/cat", "--key", str(ann[0]))
    asked = ("verify", "demo/cat", "--signature", "--key")
    assert "signed by the key of" in run(*asked, str(ann[1]))
    assert json.loads(run(*asked, str(ann[1]), "--json"))["signed_by"] == str(ann[1])
    assert isinstance(CliRunner().invoke(cli, [*asked, str(ben[1])]).exception, VerificationFailed)
    assert CliRunner().invoke(cli, ["verify", "demo/cat", "--signature"]).exit_code == 2
    assert "1 signature" in run("show", "demo/cat")
    assert json.loads(run("show", "demo/cat", "--json"))["signatures"] == 1
    assert published.note("demo/cat@1.0.0").signed_by


def run(*arguments: str) -> str:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout
