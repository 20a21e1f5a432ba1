// Whatever is cut, reloaded, delayed or refused, in whatever order: each action counts once, and the page tells what
// became of it. The orders are made at random from seeds; a failure names its seed.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { counter } from "../../web/statesync.js";
import { FakeClock, FakeLocks, FakeStorage, connect, settled } from "./fake_world.mjs";
import { SimulatedServer } from "./simulated_server.mjs";

const SEEDS = Number(process.env.STATESYNC_SEEDS ?? 100);
const STEPS = 150;

/** Chance that a seed repeats (mulberry32). */
function chance(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

class Run {
  server = new SimulatedServer();
  storage = new FakeStorage();
  locks = new FakeLocks();
  clock = new FakeClock();
  /** What the page told of each action: "applied", or the code of its error. @type {Map<number, string[]>} */
  told = new Map();
  acted = 0;
  /** The pages of the tab that it may show again: the shown one, and those in the back/forward cache. */
  history = [];
  /** Optimistic values, since the page was opened. */
  shown = [];

  constructor(seed) {
    this.random = chance(seed);
    this.openPage();
  }

  below(count) {
    return Math.floor(this.random() * count);
  }

  openPage() {
    const { server, clock, locks, random } = this;
    const storage = this.storage.ofNextPage();
    const isLeft = () => storage.isClosed;
    class WebSocket extends server.WebSocket {
      constructor(url) {
        if (isLeft()) throw new Error("this page is not there any more");
        super(url);
      }
    }
    const page = connect({ WebSocket, clock, locks, storage, random, apply: counter, maxWaiting: 20 });
    this.page = page;
    this.history.push({ page, storage });
    this.shown = [];
    const tell = ({ action, code = "applied", retry = false }) => {
      if (page === this.page && !retry) this.told.set(action.tag, [...(this.told.get(action.tag) ?? []), code]);
    };
    page.connection.addEventListener("ack", ({ detail }) => tell(detail));
    page.connection.addEventListener("error", ({ detail }) => tell(detail));
    page.connection.addEventListener("optimistic", ({ detail }) => this.shown.push(detail.value));
  }

  async wait(ms) {
    // What is not a matter of time has happened by then.
    await settled();
    this.clock.advance(ms);
  }

  act(action = "plus") {
    this.acted += 1;
    this.page.connection.act({ action, tag: this.acted });
  }

  /** Something arrives somewhere. */
  arrive() {
    const links = [...this.server.links].filter(({ canArrive }) => canArrive.atServer || canArrive.atClient);
    const link = links[this.below(links.length)];
    if (!link) return false;
    const { atServer, atClient } = link.canArrive;
    if (atServer && (!atClient || this.random() < 0.5)) link.arriveAtServer();
    else link.arriveAtClient();
    return true;
  }

  cut() {
    const links = [...this.server.links];
    links[this.below(links.length)]?.cut();
  }

  /** @param {boolean} isOrderly false: the old page ends without a word, and its locks with it */
  reload(isOrderly) {
    if (isOrderly) {
      this.page.hides();
    } else {
      for (const link of this.server.links) link.onopen = link.onmessage = link.onclose = null;
      // Nothing reaches the old page, and it reaches nothing.
      for (const { storage } of this.history) storage.isClosed = true;
      this.history.length = 0;
      this.locks.end();
      this.locks = new FakeLocks();
      this.clock = new FakeClock();
    }
    this.openPage();
  }

  /** Shows a page again that was left, or the shown one, if there is no other. */
  goBack() {
    this.page.hides();
    this.page = this.history[this.below(this.history.length)].page;
    this.page.shows();
  }

  /** All arrives, and the journal works, until nothing is undecided. */
  async drain() {
    this.server.isDurable = true;
    for (let round = 0; round < 1_000; round += 1) {
      await settled();
      while (this.arrive());
      if (this.page.connection.pending === 0) return;
      this.clock.advance(1_000);
    }
    assert.fail(`${this.page.connection.pending} actions are never decided`);
  }

  /** @param {string[]} undecidable the codes that may mean that an action was applied */
  check(undecidable) {
    for (let tag = 1; tag <= this.acted; tag += 1) {
      const told = this.told.get(tag) ?? [];
      const times = this.server.applied.get(tag) ?? 0;
      assert.equal(told.length, 1, `action ${tag} was told as ${JSON.stringify(told)}`);
      const broken = `action ${tag}, told as ${told}, was applied ${times} times`;
      if (undecidable.includes(told[0])) assert.ok(times <= 1, broken);
      else assert.equal(times, told[0] === "applied" ? 1 : 0, broken);
    }
  }
}

/**
 * @param {string} name
 * @param {(run: Run) => (() => void)[]} whatMayHappen each as likely as each other
 * @param {(run: Run) => void} check
 */
function property(name, whatMayHappen, check) {
  test(name, async () => {
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const run = new Run(seed);
      const happenings = whatMayHappen(run);
      try {
        for (let step = 0; step < STEPS; step += 1) {
          await happenings[run.below(happenings.length)]();
          if (run.random() < 0.2) await settled();
        }
        await run.drain();
        check(run);
      } catch (error) {
        throw new Error(`seed ${seed}: ${error.message}`, { cause: error });
      }
    }
  });
}

describe("in any order", () => {
  property(
    "each action is applied once or refused, and nothing is unknown, while the server knows its clients",
    (run) => [
      ...Array(3).fill(() => run.act()),
      () => run.act("times"),
      ...Array(12).fill(() => run.arrive()),
      () => run.cut(),
      () => run.wait(run.below(2_000)),
      () => run.wait(run.below(30_000)),
      () => (run.server.isDurable = run.random() < 0.5),
      () => run.reload(true),
      () => run.reload(false),
      () => run.goBack(),
    ],
    (run) => {
      run.check([]);
      const codes = new Set([...run.told.values()].flat());
      assert.ok(!codes.has("unknown"), "something is unknown");
      assert.equal(run.page.connection.confirmed?.value ?? run.server.value, run.server.value);
      assert.equal(run.page.connection.optimistic ?? run.server.value, run.server.value);
    },
  );

  property(
    "no action is applied twice, and what is told is true, when the server forgets",
    (run) => [
      ...Array(3).fill(() => run.act()),
      ...Array(12).fill(() => run.arrive()),
      () => run.cut(),
      () => run.wait(run.below(30_000)),
      () => (run.server.isDurable = run.random() < 0.8),
      () => run.reload(run.random() < 0.5),
      () => run.goBack(),
      () => run.server.forget([...run.server.clients.keys()][run.below(3)]),
    ],
    (run) => run.check(["unknown"]),
  );

  property(
    "the optimistic value never goes back, and is right at every moment, when all is counted that is asked for",
    (run) => [
      ...Array(3).fill(() => {
        if (run.page.connection.pending >= 20) return;
        run.act();
        const { optimistic } = run.page.connection;
        assert.equal(optimistic ?? run.acted, run.acted);
      }),
      ...Array(12).fill(() => run.arrive()),
      () => run.cut(),
      () => run.wait(run.below(30_000)),
      () => (run.server.isDurable = run.random() < 0.8),
    ],
    (run) => {
      run.check([]);
      run.shown.forEach((value, index) => assert.equal(value, run.shown[0] + index, `shown was ${run.shown}`));
      assert.equal(run.shown.at(-1), run.acted);
    },
  );
});
