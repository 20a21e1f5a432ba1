"""A WebSocket client written by hand from RFC 6455: bytes on a socket, and nothing else."""

import base64
import hashlib
import os
import socket
import struct

from programs import DEADLINE_SECONDS

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
FIN, RSV1 = 0x80, 0x40


class RawClient:
    def __init__(self, address, path, *lines):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host.strip("[]"), int(port)), DEADLINE_SECONDS)
        self.received = b""
        key = base64.b64encode(os.urandom(16)).decode()
        head = [
            f"GET {path} HTTP/1.1", f"Host: {address}", "Upgrade: websocket", "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", *lines,
        ]
        self.socket.sendall(("\r\n".join(head) + "\r\n\r\n").encode())
        self.head = self._read_head()
        digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        assert self.head.startswith("http/1.1 101 "), self.head
        accept = base64.b64encode(digest).decode().lower()
        assert f"sec-websocket-accept: {accept}\r\n" in self.head, f"no {accept} in {self.head}"

    def _fill(self):
        more = self.socket.recv(65_536)
        self.received += more
        return bool(more)

    def _read_head(self):
        while b"\r\n\r\n" not in self.received:
            assert self._fill(), f"the connection ended in the handshake: {self.received}"
        head, self.received = self.received.split(b"\r\n\r\n", 1)
        return head.decode().lower() + "\r\n"

    def _take(self, count):
        while len(self.received) < count:
            if not self._fill():
                raise EOFError("the server ended the connection")
        taken, self.received = self.received[:count], self.received[count:]
        return taken

    def send(self, opcode, payload):
        """One frame, masked; its length in 7, 16 or 64 bits."""
        length = len(payload)
        if length < 126:
            head = struct.pack("!BB", FIN | opcode, 0x80 | length)
        elif length < 65_536:
            head = struct.pack("!BBH", FIN | opcode, 0x80 | 126, length)
        else:
            head = struct.pack("!BBQ", FIN | opcode, 0x80 | 127, length)
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
        self.socket.sendall(head + mask + masked)

    def read(self):
        """One frame: its first byte, the bits of its length, its payload."""
        first, length = self._take(2)
        assert length & 0x80 == 0, "a server must not mask"
        bits = 7
        if length == 126:
            bits, (length,) = 16, struct.unpack("!H", self._take(2))
        elif length == 127:
            bits, (length,) = 64, struct.unpack("!Q", self._take(8))
        return first, bits, self._take(length)

    def read_message(self):
        """The next frame that is no ping; pings are answered."""
        while True:
            first, bits, payload = self.read()
            if first & 0x0F != PING:
                return first, bits, payload
            self.send(PONG, payload)

    def close(self):
        self.socket.close()
