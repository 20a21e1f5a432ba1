"""A cut cable, between a client and the server."""

import contextlib
import socket
import threading


class Cable:
    """A way to the server that can be cut: then nothing goes through it, and nobody is told."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.target = (host, int(port))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.is_cut = threading.Event()
        self.ends = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        near, _ = self.listener.accept()
        self.ends = [near, socket.create_connection(self.target)]
        for source, sink in [self.ends, self.ends[::-1]]:
            threading.Thread(target=self._carry, args=[source, sink], daemon=True).start()

    def _carry(self, source, sink):
        with contextlib.suppress(OSError):
            while (piece := source.recv(65_536)) and not self.is_cut.is_set():
                sink.sendall(piece)

    def cut(self):
        self.is_cut.set()

    def close(self):
        for end in [self.listener, *self.ends]:
            end.close()
