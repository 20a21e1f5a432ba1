"""Programs that the walk starts, and what they print. Nothing here sleeps: whoever waits, waits for a line."""

import atexit
import os
import pty
import signal
import subprocess
import threading

# Of each wait: within that of a row, and generous, since a busy machine is slow, not broken.
DEADLINE_SECONDS = 15


class Output:
    """What a program has printed so far."""

    def __init__(self, descriptor):
        self.text = ""
        self.has_ended = False
        self.changed = threading.Condition()
        threading.Thread(target=self._collect, args=[descriptor], daemon=True).start()

    def _collect(self, descriptor):
        while True:
            try:
                read = os.read(descriptor, 65_536)
            except OSError:  # The end of a terminal.
                read = b""
            with self.changed:
                self.text += read.decode(errors="replace")
                self.has_ended = not read
                self.changed.notify_all()
            if not read:
                return

    def wait_for(self, part, after=0, seconds=DEADLINE_SECONDS):
        """Returns the place behind `part`, to go on from there."""
        def is_there():
            return part in self.text[after:] or self.has_ended

        with self.changed:
            self.changed.wait_for(is_there, seconds)
            if part not in self.text[after:]:
                raise AssertionError(f"{part!r} was not printed, but: {self.text[after:][-400:]!r}")
            return self.text.index(part, after) + len(part)


class Program:
    """A child process; killed when the `with` block ends, or the walk."""

    def __init__(self, *command, at_terminal=False, environment={}, directory=None):
        self.terminal = None
        ends = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if at_terminal:
            self.terminal, theirs = pty.openpty()
            ends = dict.fromkeys(ends, theirs)
        environment = {**clean_environment(), "TERM": "xterm", **environment}
        self.process = subprocess.Popen(command, cwd=directory, env=environment, **ends)
        atexit.register(self.__exit__)
        if at_terminal:
            os.close(theirs)
            self.stdout = Output(self.terminal)
        else:
            self.stdout = Output(self.process.stdout.fileno())
            self.stderr = Output(self.process.stderr.fileno())

    def type(self, text):
        """Types at the terminal, or writes to standard input."""
        os.write(self.terminal or self.process.stdin.fileno(), text.encode())

    def end_input(self):
        self.process.stdin.close()

    def wait(self):
        """The exit code."""
        return self.process.wait(DEADLINE_SECONDS)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()


def clean_environment():
    """Ours, without what would change what a server or a client does."""
    unwanted = ("STATESYNC_", "RUST_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "WS_PROXY", "WSS_PROXY")
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(unwanted)}


class Server(Program):
    """A `statesync serve`, or a program like it, that is ready."""

    def __init__(self, *command, environment={}, directory=None):
        # The debug log is on from the beginning: a row of the walk looks at it.
        environment = {"RUST_LOG": "statesync=trace", **environment}
        super().__init__(*command, environment=environment, directory=directory)
        try:
            self.stdout.wait_for("statesync is ready: ")
        except AssertionError as error:
            self.kill()
            raise AssertionError(f"{error}; its log: {self.stderr.text[-1000:]}") from None

    def read_addresses(self):
        """From its log: those with TLS come last."""
        self.stderr.wait_for("\n", self.stderr.wait_for("listening on wss://"))
        lines = self.stderr.text.splitlines()
        listening = [line.split("listening on ")[1] for line in lines if "listening on " in line]
        self.addresses = [address for address in listening if "://" not in address]
        self.tls_addresses = [address.removeprefix("wss://") for address in listening if "://" in address]
