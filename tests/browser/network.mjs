// The network between a browser and the server, for a test to break. Only WebSockets suffer: pages can be loaded.
import { once } from "node:events";
import { connect, createServer } from "node:net";

/**
 * @param {{ after(end: () => Promise<void>): void }} test
 * @param {{ port: number }} server
 */
export async function startNetwork(test, server) {
  const network = new Network(server.port);
  await network.listen();
  test.after(() => network.end());
  return network;
}

class Network {
  #serverPort;
  #listener = createServer((browser) => this.#accept(browser));
  /** @type {Set<import("node:net").Socket>} */
  #ends = new Set();
  /** @type {Set<import("node:net").Socket>} the browser's ends of WebSockets */
  #webSockets = new Set();
  #isCut = false;
  #isMute = false;

  constructor(serverPort) {
    this.#serverPort = serverPort;
  }

  get url() {
    return `http://127.0.0.1:${this.#listener.address().port}/`;
  }

  async listen() {
    this.#listener.listen(0, "127.0.0.1");
    await once(this.#listener, "listening");
  }

  async end() {
    for (const end of this.#ends) end.destroy();
    this.#listener.close();
    await once(this.#listener, "close");
  }

  /** Ends all WebSockets, and lets no new one through. */
  cut() {
    this.#isCut = true;
    for (const browser of this.#webSockets) browser.destroy();
  }

  /** What is sent reaches the server, and no answer comes back. */
  mute() {
    this.#isMute = true;
  }

  /** New connections work. */
  restore() {
    this.#isCut = this.#isMute = false;
  }

  /** @param {import("node:net").Socket} browser */
  async #accept(browser) {
    this.#add(browser);
    const [request] = await once(browser, "data").catch(() => []);
    if (!request) return;
    const isWebSocket = /^upgrade: websocket\r$/im.test(String(request));
    if (isWebSocket && this.#isCut) return browser.destroy();
    if (isWebSocket) this.#webSockets.add(browser);
    const server = connect(this.#serverPort, "127.0.0.1");
    this.#add(server);
    server.write(request);
    browser.pipe(server);
    server.on("data", (bytes) => {
      if (!(isWebSocket && this.#isMute)) browser.write(bytes);
    });
    server.on("close", () => browser.destroy());
    browser.on("close", () => server.destroy());
  }

  /** @param {import("node:net").Socket} end */
  #add(end) {
    this.#ends.add(end);
    end.on("close", () => {
      this.#ends.delete(end);
      this.#webSockets.delete(end);
    });
    // A connection that breaks is what this is for.
    end.on("error", () => {});
  }
}
