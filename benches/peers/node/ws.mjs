// The counter with ws.

import { Sender, WebSocket, WebSocketServer } from "ws";

import { changeOf, listen, merged } from "./counter.mjs";

const OPCODE_TEXT = 1;

let value = 0;

const server = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    // An action is ASCII; JSON.parse refuses what is not JSON.
    skipUTF8Validation: true,
    maxPayload: 64 * 1024,
});

// A frame is made once for all, as the adapter of Socket.IO does; `send` would make it anew for each.
// In one piece, so that it is one write without a cork.
function frameOf(event) {
    const options = { fin: true, rsv1: false, opcode: OPCODE_TEXT, mask: false, readOnly: true };
    return [Buffer.concat(Sender.frame(Buffer.from(JSON.stringify(event)), options))];
}

function tellAll(event) {
    const frame = frameOf(event);
    for (const client of server.clients) {
        if (client.readyState === WebSocket.OPEN) {
            client._sender.sendFrame(frame);
        }
    }
}

// What is no JSON is no action.
function parse(message) {
    try {
        return JSON.parse(message);
    } catch {
        return undefined;
    }
}

const presenceChanged = merged(() => tellAll({ type: "users", count: server.clients.size }));

server.on("connection", (client) => {
    client.send(JSON.stringify({ type: "users", count: server.clients.size }));
    client.send(JSON.stringify({ type: "state", value }));
    presenceChanged();
    client.on("message", (message) => {
        const change = changeOf(parse(message));
        if (change !== undefined) {
            value += change;
            tellAll({ type: "state", value });
        }
    });
    client.on("close", presenceChanged);
    // It is closed then.
    client.on("error", () => {});
});

listen((http) => {
    http.on("upgrade", (request, socket, head) => {
        server.handleUpgrade(request, socket, head, (client) => server.emit("connection", client));
    });
});
