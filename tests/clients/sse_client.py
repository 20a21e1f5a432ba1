#!/usr/bin/env python3
"""Tests the server-sent events of statesync, with the standard library alone.

    sse_client.py SCENARIO URL
    sse_client.py --list

URL is that of the counter room, http:// or ws://. The one who acts is a
WebSocket client written by hand.
"""

import base64
import hashlib
import os
import platform
import socket
import struct
import time
from urllib.parse import urlsplit

from conversation import MINUS, PLUS, Arrival, Presence, main, shown, state, users

BURST = 100
RECEIVE_BYTES = 65536
TEXT, CLOSE, PING = 1, 8, 9
ACCEPT_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Connection:
    """A TCP connection with a deadline for everything that is read from it."""

    def __init__(self, run, name):
        self.conversation = run.conversation
        self.name = name
        self.buffer = b""
        self.presence = Presence()
        url = urlsplit(run.url)
        self.host, self.path = url.netloc, url.path or "/"
        self.conversation.note(name, f"connects to {run.url}")
        self.socket = socket.create_connection((url.hostname, url.port or 80), run.conversation.deadline_seconds)
        run.clients.append(self)

    def failure(self, expected, got):
        return self.conversation.failure(self.name, expected, got)

    def check(self, condition, expected, got):
        self.conversation.check(self.name, condition, expected, got)

    def read_more(self, expected, deadline):
        """A trickle of other bytes must not put the deadline off, so it is one for all of them."""
        try:
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            data = self.socket.recv(RECEIVE_BYTES)
        except TimeoutError:
            raise self.failure(expected, f"{self.conversation.nothing()}; unfinished: {self.buffer!r}") from None
        except OSError as error:
            raise self.failure(expected, f"the end of the connection: {error}") from None
        self.check(data, expected, f"the end of the connection; unfinished: {self.buffer!r}")
        self.buffer += data

    def deadline(self):
        return time.monotonic() + self.conversation.deadline_seconds

    def read_until(self, end, expected):
        deadline = self.deadline()
        while end not in self.buffer:
            self.read_more(expected, deadline)
        data, _, self.buffer = self.buffer.partition(end)
        return data

    def read_exactly(self, size, expected):
        deadline = self.deadline()
        while len(self.buffer) < size:
            self.read_more(expected, deadline)
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def request(self, headers):
        """Sends a GET; the answer's status and headers, these with lower-case names."""
        lines = [f"GET {self.path} HTTP/1.1", f"Host: {self.host}", *headers]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())
        status, *fields = self.read_until(b"\r\n\r\n", "the head of an HTTP response").decode().split("\r\n")
        self.conversation.note(self.name, f"is answered {status}")
        return int(status.split()[1]), {name.lower(): value.strip() for name, _, value in
                                        (field.partition(":") for field in fields)}

    def receive(self, expected):
        """The next event, repeated counts passed over."""
        while True:
            text = self.receive_any(expected)
            if not self.presence.is_repeated(text):
                return text

    def expect(self, *texts):
        for text in texts:
            got = self.receive(text)
            self.check(got == text, text, shown(got))

    def leave(self):
        self.conversation.note(self.name, "closes its socket")
        self.socket.close()

    def cut(self):
        self.conversation.note(self.name, "cuts the connection (RST)")
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class EventStream(Connection):
    def __init__(self, run, name):
        super().__init__(run, name)
        self.body = b""
        status, headers = self.request(["Accept: text/event-stream"])
        self.check(status == 200, "status 200", status)
        content_type = headers.get("content-type", "")
        self.check(content_type.split(";")[0] == "text/event-stream", "text/event-stream", repr(content_type))
        self.chunked = headers.get("transfer-encoding", "").lower() == "chunked"

    def read_body(self, expected):
        """The next piece of the response's body."""
        if self.chunked:
            size = int(self.read_until(b"\r\n", expected).split(b";")[0], 16)
            self.check(size > 0, expected, "the end of the stream")
            self.body += self.read_exactly(size + 2, expected)[:size]
        else:
            if not self.buffer:
                self.read_more(expected, self.deadline())
            self.body, self.buffer = self.body + self.buffer, b""

    def receive_any(self, expected):
        """The data of the next event. Comments, which keep the stream alive, are passed over."""
        deadline = self.deadline()
        while True:
            while b"\n\n" not in self.body:
                if time.monotonic() > deadline:
                    raise self.failure(expected, self.conversation.nothing())
                self.read_body(expected)
            block, _, self.body = self.body.partition(b"\n\n")
            fields = [line.partition(":") for line in block.decode().split("\n")]
            data = [value.removeprefix(" ") for name, _, value in fields if name == "data"]
            if data:
                self.conversation.note(self.name, f"receives {shown(' '.join(block.decode().split(chr(10))))}")
                return "\n".join(data)


class WebSocket(Connection):
    """As much of RFC 6455 as the counter needs."""

    def __init__(self, run, name):
        super().__init__(run, name)
        key = base64.b64encode(os.urandom(16)).decode()
        status, headers = self.request([
            "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"])
        self.check(status == 101, "status 101", status)
        accept = base64.b64encode(hashlib.sha1((key + ACCEPT_GUID).encode()).digest()).decode()
        self.check(headers.get("sec-websocket-accept") == accept, f"Sec-WebSocket-Accept: {accept}", headers)

    def send_frame(self, opcode, payload):
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        self.socket.sendall(bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + masked)

    def send(self, text):
        self.conversation.note(self.name, f"sends {text}")
        self.send_frame(TEXT, text.encode())

    def receive_any(self, expected):
        while True:
            first, length = self.read_exactly(2, expected)
            if length == 126:
                length = struct.unpack("!H", self.read_exactly(2, expected))[0]
            payload = self.read_exactly(length, expected)
            opcode = first & 0x0F
            if opcode == TEXT:
                self.conversation.note(self.name, f"receives {shown(payload.decode())}")
                return payload.decode()
            self.check(opcode != CLOSE, expected, f"a close frame {payload!r}")
            if opcode == PING:
                self.send_frame(PING + 1, payload)


def join_empty_room(run, kind, name):
    """A client that is alone in the room, and the room's value."""
    client = kind(run, name)
    arrival = Arrival(client)
    while not arrival.is_alone():
        arrival.add(client.receive(arrival.expected))
    return client, arrival.value


def events(run):
    """The reader sees what a WebSocket client sees, in the same order."""
    stream, value = join_empty_room(run, EventStream, "reader")
    actor = WebSocket(run, "actor")
    actor.expect(users(2), state(value))
    stream.expect(users(2))
    for message, change in [(PLUS, 1), (PLUS, 1), (MINUS, -1), (MINUS, -1), (PLUS, 1)]:
        value += change
        actor.send(message)
        actor.expect(state(value))
        stream.expect(state(value))
    for _ in range(BURST):
        actor.send(PLUS)
    for _ in range(BURST):
        value += 1
        stream.expect(state(value))
        actor.expect(state(value))
    actor.leave()
    stream.expect(users(1))
    stream.leave()


def leaving(run):
    """A reader that closes, and one whose connection is cut, are counted out, once."""
    actor, value = join_empty_room(run, WebSocket, "actor")
    for name, leave in [("reader that closes", Connection.leave), ("reader that is cut", Connection.cut)]:
        stream = EventStream(run, name)
        stream.expect(users(2), state(value))
        actor.expect(users(2))
        leave(stream)
        actor.expect(users(1))
    actor.send(PLUS)
    actor.expect(state(value + 1))
    actor.leave()


def with_http_address(scenario):
    def perform(run):
        run.url = run.url.replace("ws://", "http://", 1)
        try:
            scenario(run)
        finally:
            # After a failure nobody may be left in the room for the next scenario to trip over.
            for client in run.clients:
                client.socket.close()

    return perform


if __name__ == "__main__":
    main(f"Python {platform.python_version()}",
         {scenario.__name__: with_http_address(scenario) for scenario in [events, leaving]}, description=__doc__)
