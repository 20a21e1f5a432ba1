// What a program in TypeScript may say to the library, and what it may not. Nothing here is run: types.test.mjs lets
// the compiler read it.
import { ActionError, Connection, applyPatch, counter, document, mergePatch, parseExactly } from "statesync-client";
import { difference } from "statesync-client/json_patch.js";
import type { ConnectionOptions, Decision } from "statesync-client";

const room = new Connection("ws://localhost:6789/", { apply: counter, parse: parseExactly });
new Connection(new URL("ws://localhost:6789/"));

const decision: Promise<Decision> = room.act({ action: "plus", by: 5 });
decision.then((decided) => decided satisfies { id: number; seq: number | null; duplicate: boolean });
decision.catch((error: unknown) => error instanceof ActionError && error.code.toUpperCase());

room.addEventListener("state", ({ detail }) => detail.seq.toFixed());
room.addEventListener("users", ({ detail }) => detail.count.toFixed());
room.addEventListener("pending", ({ detail }) => detail.count.toFixed());
room.addEventListener("ack", ({ detail }) => detail.action.action.toUpperCase());
room.addEventListener("error", ({ detail }) => detail.code.toUpperCase(), { once: true });
room.addEventListener("status", ({ detail }) => {
  if (detail.status === "waiting") detail.retryInMs.toFixed();
  if (detail.status === "closed") detail.reason.toUpperCase();
  // @ts-expect-error: only one that waits says for how long
  detail.retryInMs;
});
room.addEventListener("users", ({ detail }) => detail.users?.join());
room.addEventListener("message", ({ detail }) => detail.text.length.toFixed());
room.addEventListener("joined", ({ detail }) => detail.name.length.toFixed());
room.addEventListener("patch", ({ detail }) => applyPatch({}, detail.ops));
room.addEventListener("missed", ({ detail }) => detail.isNewHistory satisfies boolean);
room.say({ action: "login", name: "Ann" }) satisfies boolean;
room.waiting.map(({ action }) => action.toUpperCase());
difference([1], mergePatch({}, {})).map(({ path }) => path.toUpperCase());
new Connection("ws://localhost:6789/document", { apply: document });
interface Plus {
  action: "plus";
  by?: number;
}
const plus: Plus = { action: "plus" };
room.act(plus);
room.act<Plus>({ action: "plus", by: 5 });
counter(5, plus) satisfies number | bigint;
room.pending satisfies number;
room.confirmed?.seq satisfies number | undefined;
room.welcome?.epoch satisfies string | undefined;
room.close();

// What browsers and other libraries bring can be given as it is.
({ storage: sessionStorage, locks: navigator.locks, WebSocket, window, document: window.document }) satisfies ConnectionOptions;
// What a program has not got is as if it were not said, and `null` is none.
({ parse: undefined, baseDelayMs: undefined, WebSocket: undefined, window: undefined }) satisfies ConnectionOptions;
({ storage: null, locks: null, window: null, document: null }) satisfies ConnectionOptions;

// @ts-expect-error: an action says which
room.act({ by: 5 });
// @ts-expect-error: there is no such event
room.addEventListener("open", () => {});
// @ts-expect-error: what is told is told
room.pending = 0;
// @ts-expect-error: there is no such option
new Connection("ws://localhost:6789/", { retries: 3 });
