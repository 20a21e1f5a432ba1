// The counter with Socket.IO.

import { Server } from "socket.io";

import { changeOf, listen, merged } from "./counter.mjs";

let value = 0;

const io = new Server({
    transports: ["websocket"],
    allowUpgrades: false,
    perMessageDeflate: false,
    httpCompression: false,
    serveClient: false,
});

const users = () => ({ type: "users", count: io.sockets.sockets.size });
const presenceChanged = merged(() => io.emit("users", users()));

io.on("connection", (socket) => {
    socket.emit("users", users());
    socket.emit("state", { type: "state", value });
    presenceChanged();
    socket.on("action", (action) => {
        const change = changeOf(action);
        if (change !== undefined) {
            value += change;
            io.emit("state", { type: "state", value });
        }
    });
    socket.on("disconnect", presenceChanged);
});

listen((http) => {
    io.attach(http);
    // The request of the handshake is not kept, as Socket.IO's advice on memory has it.
    io.engine.on("connection", (connection) => {
        connection.request = null;
    });
});
