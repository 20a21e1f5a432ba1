// Runs the real server on a port of its own.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { within } from "./deadline.mjs";

const BINARY = process.env.STATESYNC_BIN ?? fileURLToPath(new URL("../../target/debug/statesync", import.meta.url));
const READY = /^statesync is ready: open http:\/\/127\.0\.0\.1:(\d+)\/ in a browser$/;

/**
 * The server ends with the test.
 *
 * @param {{ after(end: () => Promise<void>): void }} test
 * @param {{ config?: string }} [options] the text of a config file, instead of the built-in defaults
 */
export async function startServer(test, { config } = {}) {
  if (!existsSync(BINARY)) {
    throw new Error(`there is no ${BINARY}: run "cargo build" first, or name a binary in STATESYNC_BIN`);
  }
  // A directory of its own, so that no server finds what another one has stored.
  const directory = await mkdtemp(join(tmpdir(), "statesync-browser-"));
  const args = [];
  if (config !== undefined) {
    await writeFile(join(directory, "test.toml"), config);
    args.push("serve", "--config", "test.toml");
  }
  const server = new Server(directory, args);
  test.after(async () => {
    await server.kill();
    await rm(directory, { recursive: true });
  });
  await server.start();
  return server;
}

class Server {
  #directory;
  #args;
  #process;
  #exit;
  port = 0;

  constructor(directory, args) {
    this.#directory = directory;
    this.#args = args;
  }

  get url() {
    return `http://127.0.0.1:${this.port}/`;
  }

  /** Listens on the port it had before, if it was started before. */
  async start() {
    const child = spawn(BINARY, this.#args, {
      cwd: this.#directory,
      env: { ...process.env, STATESYNC__SERVER__BIND: `127.0.0.1:${this.port}` },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#process = child;
    this.#exit = once(child, "exit");
    let log = "";
    child.stderr.setEncoding("utf8").on("data", (text) => (log += text));
    const line = once(createInterface(child.stdout), "line").then(([first]) => first);
    const ended = this.#exit.then(([code, signal]) => {
      throw new Error(`the server ended (${signal ?? code}) before it was ready; its log:\n${log}`);
    });
    const first = await within(Promise.race([line, ended]), () => `the server printed no ready line; its log:\n${log}`);
    ended.catch(() => {});
    const ready = READY.exec(first);
    if (!ready) throw new Error(`the server's first line is not the ready line: ${first}`);
    this.port = Number(ready[1]);
  }

  /**
   * @param {NodeJS.Signals} signal
   * @returns {Promise<number | null>} the exit code
   */
  async stop(signal) {
    this.#process.kill(signal);
    const [code] = await within(this.#exit, `the server did not end after ${signal}`);
    return code;
  }

  async kill() {
    if (this.#process && this.#process.exitCode === null && this.#process.signalCode === null) await this.stop("SIGKILL");
  }
}
