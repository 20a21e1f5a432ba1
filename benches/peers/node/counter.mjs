// What both servers have in common.

import { createServer } from "node:http";

// As in statesync: otherwise each newcomer costs every client an event.
const PRESENCE_INTERVAL_MS = 50;

const CHANGES = new Map([["plus", 1], ["minus", -1]]);

// By how much an action changes the value; undefined if it is none.
export function changeOf(action) {
    return CHANGES.get(action?.action);
}

// Calls `tell` at once when it was quiet, and not too often: many calls become one.
export function merged(tell) {
    let waits = false;
    let again = false;
    return function changed() {
        if (waits) {
            again = true;
            return;
        }
        waits = true;
        tell();
        setTimeout(() => {
            waits = false;
            if (again) {
                again = false;
                changed();
            }
        }, PRESENCE_INTERVAL_MS);
    };
}

// Serves on the port that is the first argument, or on any. `attach` puts the library on it.
export function listen(attach) {
    // There is nothing to be kept.
    process.on("SIGTERM", () => process.exit(0));
    const http = createServer({ noDelay: true });
    attach(http);
    const port = Number(process.argv[2] ?? 0);
    http.listen({ host: "127.0.0.1", port, backlog: 4096 }, () => {
        console.log(`ready: http://127.0.0.1:${http.address().port}/`);
    });
}
