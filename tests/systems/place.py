"""Where the walk is: the one server, and the one browser."""

import json
import subprocess
from pathlib import Path

from programs import DEADLINE_SECONDS, Program, Server

HERE = Path(__file__).parent


class Place:
    """The server, and all that rows need to reach it."""

    def __init__(self, statesync, examples, directory):
        self.statesync, self.examples = Path(statesync).resolve(), Path(examples).resolve()
        self.directory = directory
        certify = [self.statesync, "cert"]
        subprocess.run(certify, cwd=directory, check=True, capture_output=True, timeout=DEADLINE_SECONDS)
        self.start({})
        self.address = self.server.addresses[0]
        self.tls_port = self.server.tls_addresses[0].rsplit(":", 1)[1]

    def start(self, environment):
        self.server = self.serve(environment)

    def start_again(self):
        """On the same port, with the same journal."""
        self.start({"STATESYNC__SERVER__BIND": self.address})

    def serve(self, environment):
        server = Server(self.statesync, "serve", "--config", HERE / "server.toml",
                        environment=environment, directory=self.directory)
        server.read_addresses()
        return server

    def variant(self, **environment):
        """For a moment, a second server with the same configuration but for these variables."""
        environment = {f"STATESYNC__{name}": value for name, value in environment.items()}
        return self.serve({"STATESYNC__JOURNAL__KIND": "memory", **environment})

    def url(self, path):
        return f"ws://{self.address}{path}"

    def start_browser(self):
        """No row waits for that: it takes longer than most rows, and much longer on a busy machine."""
        self.browser = Program("node", HERE / "walk.mjs", f"http://{self.address}/")
        self.in_browser("start", 60)

    def in_browser(self, step, seconds=DEADLINE_SECONDS):
        """Has a step of walk.mjs done; returns what was seen."""
        output = self.browser.stdout
        begin = len(output.text)
        self.browser.type(f"{step}\n")
        try:
            end = output.wait_for("\n", begin, seconds)
        except AssertionError:
            raise AssertionError(f"{step}: no answer; {self.browser.stderr.text[-600:]}") from None
        answer = json.loads(output.text[begin:end])
        assert "failed" not in answer, f"{step}: {answer['failed']}"
        return answer["saw"]

    def end(self):
        """The browser leaves nothing behind if it may end by itself."""
        self.browser.end_input()
        self.browser.wait()
        self.server.__exit__()
