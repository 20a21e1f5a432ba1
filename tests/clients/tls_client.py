#!/usr/bin/env python3
"""Tests statesync over TLS: versions, pages, event streams and refusals.

    tls_client.py SCENARIO URL
    tls_client.py --list

URL is that of the counter room, wss://. The certificate that is trusted is the
one that the environment variable SSL_CERT_FILE names.
"""

import asyncio
import http.client
import json
import platform
import ssl
from urllib.parse import urlsplit

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from conversation import PLUS, main, shown, state, users


def context(version=None):
    """What a client uses that knows nothing of this server but its certificate."""
    trusting = ssl.create_default_context()
    if version:
        trusting.minimum_version = trusting.maximum_version = version
    return trusting


async def speak(run, tls, **options):
    """Joins the counter, acts and closes; returns the connection's TLS."""
    run.conversation.note("a client", f"connects to {run.url}")
    async with connect(run.url, ssl=tls, proxy=None, **options) as websocket:
        used = websocket.transport.get_extra_info("ssl_object")
        async with asyncio.timeout(run.conversation.deadline_seconds):
            await websocket.recv()
            await websocket.recv()
            await websocket.send(PLUS)
            while '"state"' not in await websocket.recv():
                pass
        return used


def versions(run):
    for version, name in [(ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")]:
        used = asyncio.run(speak(run, context(version)))
        run.conversation.check("a client", used.version() == name, name, used.version())


def old_versions_are_refused(run):
    tls = context()
    tls.set_ciphers("ALL:@SECLEVEL=0")
    tls.minimum_version = ssl.TLSVersion.TLSv1
    tls.maximum_version = ssl.TLSVersion.TLSv1_1
    try:
        asyncio.run(speak(run, tls))
    except ssl.SSLError as error:
        run.conversation.check("an old client", "ALERT" in str(error).upper(), "an alert that says why", error)
        return
    raise run.conversation.failure("an old client", "a refusal", "a connection")


def only_http_1_1_is_offered(run):
    tls = context()
    tls.set_alpn_protocols(["h2", "http/1.1"])
    used = asyncio.run(speak(run, tls))
    chosen = used.selected_alpn_protocol()
    run.conversation.check("a client", chosen == "http/1.1", "http/1.1", chosen)


def others_certificates_are_not_trusted(run):
    """What the tests above would not notice if trust were off."""
    try:
        asyncio.run(speak(run, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)))
    except ssl.SSLCertVerificationError:
        return
    raise run.conversation.failure("a client that trusts nobody", "an error", "a connection")


def get(run, path, **headers):
    url = urlsplit(run.url)
    connection = http.client.HTTPSConnection(
        url.hostname, url.port, timeout=run.conversation.deadline_seconds, context=context())
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


def pages(run):
    for path, part in [("/health/", b"OK"), ("/", b"<!DOCTYPE html>"), ("/web/statesync.js", b"Connection")]:
        answer = get(run, path)
        body = answer.read()
        good = answer.status == 200 and part.lower() in body.lower()
        run.conversation.check("a browser", good, f"{path} with {part}", f"{answer.status} {shown(body)}")


def event_stream(run):
    stream = get(run, "/", Accept="text/event-stream")

    def read():
        line = stream.readline().decode().strip()
        while not line.startswith("data: "):
            line = stream.readline().decode().strip()
        return line.removeprefix("data: ")

    def expect(text):
        got = read()
        run.conversation.check("the event stream", got == text, text, got)

    expect(users(1))
    value = json.loads(read())["value"]
    asyncio.run(speak(run, context()))
    expect(users(2))
    expect(state(value + 1))
    stream.close()


async def refused(run, url, status, **options):
    try:
        async with connect(url, ssl=context(), proxy=None, **options):
            pass
    except InvalidStatus as error:
        response = error.response
        good = response.status_code == status and b'"type":"error"' in (response.body or b"")
        run.conversation.check("a client", good, f"{status} with a body",
                               f"{response.status_code} {response.body}")
        return
    raise run.conversation.failure("a client", f"status {status}", "a connection")


def refusals(run):
    asyncio.run(refused(run, run.url + "nowhere", 404))
    asyncio.run(refused(run, run.url, 403, origin="https://elsewhere.example"))


SCENARIOS = [versions, old_versions_are_refused, only_http_1_1_is_offered, others_certificates_are_not_trusted,
             pages, event_stream, refusals]

if __name__ == "__main__":
    main(f"Python {platform.python_version()}, {ssl.OPENSSL_VERSION}",
         {scenario.__name__: scenario for scenario in SCENARIOS}, description=__doc__)
