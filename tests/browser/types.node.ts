// A program for Node, where there is no DOM. Nothing here is run: types.test.mjs lets the compiler read it.
import { Connection, counter, parseExactly } from "statesync-client";
import type { Socket } from "statesync-client";

// The globals that the types of Node have, and the library needs.
declare global {
  class URL {
    constructor(url: string);
  }
  class AbortSignal {
    readonly aborted: boolean;
  }
  class Event {
    readonly type: string;
  }
  class EventTarget {
    addEventListener(type: string, listener: (event: Event) => void): void;
  }
}

declare const WebSocket: new (url: string, protocol: string) => Socket;

const room = new Connection("ws://localhost:6789/", { WebSocket, apply: counter, parse: parseExactly });
room.addEventListener("state", ({ type, detail }) => [type.toUpperCase(), detail.seq.toFixed()], { once: true });
room.act({ action: "plus", by: 5 }).then(({ seq }) => seq?.toFixed());
