/**
 * @param {number} code a close code
 * @returns {{ comesBack: boolean, meaning: string }}
 */
export function closeCode(code: number): {
    comesBack: boolean;
    meaning: string;
};
/**
 * The counter's way to apply an action: `plus` or `minus`, by 1 or by `by`. Exact, as numbers where they are and as
 * bigints beyond. What the server will refuse changes nothing, nor does anything change a value that is not whole.
 *
 * @param {number | bigint} value
 * @param {{ action: string, by?: unknown }} action
 * @returns {number | bigint}
 */
export function counter(value: number | bigint, { action, by }: {
    action: string;
    by?: unknown;
}): number | bigint;
/**
 * The document's way to apply an action: `set`, `merge` (RFC 7396) or `patch` (RFC 6902). What the server will refuse
 * changes nothing.
 *
 * @param {any} value
 * @param {{ action: string, value?: any, patch?: any, ops?: any }} action
 * @returns {any}
 */
export function document(value: any, { action, value: given, patch, ops }: {
    action: string;
    value?: any;
    patch?: any;
    ops?: any;
}): any;
/**
 * The server counts further than a JavaScript number is exact (2^53 − 1). Where the engine shows the source text of a
 * number, whole numbers beyond that are written in digits alone are read as bigints.
 *
 * @param {string} text
 * @returns {any}
 */
export function parseExactly(text: string): any;
/**
 * What the close codes of the server mean for a client: the first row that has the code. A code that is in no row comes
 * back.
 *
 * @type {ReadonlyArray<{ first: number, last: number, comesBack: boolean, meaning: string }>}
 */
export const CLOSE_CODES: ReadonlyArray<{
    first: number;
    last: number;
    comesBack: boolean;
    meaning: string;
}>;
/** Why an action did not count, or that nobody knows whether it did. */
export class ActionError extends Error {
    /**
     * @param {string} code
     * @param {string} message
     * @param {Action} action
     * @param {number | null} id
     */
    constructor(code: string, message: string, action: Action, id: number | null);
    /** Stable, for programs. */
    code: string;
    action: Action;
    /** The action's number, if it had one. */
    id: number | null;
}
declare const Connection_base: new () => ConnectionEventTarget;
export class Connection extends Connection_base {
    /**
     * Connects at once. Throws a TypeError for what is no URL, a SyntaxError for one that is not of a room, and what
     * `WebSocket` throws when it may not connect there.
     *
     * @param {string | URL} url of the room; in a page it may be relative, and `http:` is as good as `ws:`
     * @param {ConnectionOptions} [options]
     */
    constructor(url: string | URL, options?: ConnectionOptions);
    /** The detail of the last `status` event. */
    get status(): StatusDetail;
    /** How many actions are not decided: they wait to be sent, or for an answer. */
    get pending(): number;
    /** The actions that are not decided, in order, also those that an earlier page of this tab has left. @returns {Action[]} */
    get waiting(): Action[];
    /**
     * The newest state that the server has told.
     *
     * @returns {StateDetail | undefined} nothing before the first
     */
    get confirmed(): StateDetail | undefined;
    /**
     * The confirmed value, and on it what this side's undecided actions make of it. Without the option `apply`, the
     * confirmed value.
     *
     * @returns {any} `undefined` before the first state
     */
    get optimistic(): any;
    /**
     * What the server said when this connection came about.
     *
     * @returns {Welcome | undefined} nothing while there is no connection
     */
    get welcome(): Welcome | undefined;
    /**
     * Takes an action to be counted once, now or when the connection is back. What becomes of it is told by events as
     * well, so the promise may be ignored.
     *
     * Throws a TypeError for what is not a JSON object; a bigint is nothing that JSON has.
     *
     * @template {{ action: string }} Asked
     * @param {Asked} action
     * @returns {Promise<Decision>} rejects with an `ActionError`
     */
    act<Asked extends {
        action: string;
    }>(action: Asked): Promise<Decision>;
    /**
     * Sends an action that belongs to this connection and ends with it, such as a login: now, or not at all. It has no
     * number, is not kept and never sent again, so nothing tells what becomes of it but the room's own events, and an
     * `error` without an `action`. Said when `status` tells `connected`, it comes before all that waits.
     *
     * (Were it kept and numbered, as others are, one that was lost would be sent again on the next connection, since
     * numbers have no gaps: after the messages that needed it, and perhaps against what was wished since.)
     *
     * @template {{ action: string }} Asked
     * @param {Asked} action
     * @returns {boolean} whether it was sent
     */
    say<Asked extends {
        action: string;
    }>(action: Asked): boolean;
    /**
     * Leaves for good. Promises of undecided actions are rejected with `closed`; where there is a storage, the actions
     * stay in it, and the next connection to this room in this tab sends them.
     */
    close(): void;
    #private;
}
/**
 * what is sent; the key `id` is the library's own
 */
export type Action = {
    action: string;
    [key: string]: unknown;
};
/**
 * an action was applied, and is kept
 */
export type Decision = {
    /**
     * its number
     */
    id: number;
    /**
     * no state from this position on is without it. `null`: it was applied before the
     * connection was lost, and the position was lost with it; the states since the connection came back have it
     */
    seq: number | null;
    /**
     * it was sent more than once, and counted once
     */
    duplicate: boolean;
};
/**
 * the room's state has changed, or is told for the first time on this connection
 */
export type StateDetail = {
    value: any;
    seq: number;
};
/**
 * somebody has come or gone
 */
export type UsersDetail = {
    /**
     * how many are connected, this one included
     */
    count: number;
    /**
     * who is logged in, where the room tells that
     */
    users?: string[] | undefined;
};
/**
 * somebody has said something, in a room that keeps what was said
 */
export type MessageDetail = {
    seq: number;
    from: string;
    text: string;
    /**
     * as in RFC 3339, UTC
     */
    time: string;
};
/**
 * somebody has logged in, or is not logged in any more
 */
export type PersonDetail = {
    seq: number;
    name: string;
    /**
     * as in RFC 3339, UTC
     */
    time: string;
};
/**
 * what has changed in a document; the new `state` is told next
 */
export type PatchDetail = {
    /**
     * the position of the value that `ops` change
     */
    from: number;
    seq: number;
    ops: import("./json_patch.js").Operation[];
};
/**
 * what was told before, and what is told from now on, do not follow each other
 */
export type MissedDetail = {
    /**
     * `true`: what was told before is of another history, and all is told anew. `false`:
     * the server does not have all any more that was said while there was no connection
     */
    isNewHistory: boolean;
};
/**
 * `optimistic` has another value
 */
export type OptimisticDetail = {
    value: any;
};
/**
 * `pending` has changed
 */
export type PendingDetail = {
    count: number;
};
export type AckDetail = Decision & {
    action: Action;
};
/**
 * an action did not count, or something else is wrong. The connection stays
 */
export type ErrorDetail = {
    /**
     * stable, for programs: the server's, or one of `unknown`, `queue_full`, `too_large`, `closed`,
     * `not_kept`; the README has a table
     */
    code: string;
    /**
     * for people
     */
    message: string;
    /**
     * the action's number, if it had one
     */
    id: number | null;
    action: Action | null;
    /**
     * nothing was decided: the library sends the action again by itself
     */
    retry: boolean;
    /**
     * it was refused before
     */
    duplicate: boolean;
    /**
     * `rate_limited`: nothing is taken before that
     */
    retryAfterMs?: number | undefined;
};
/**
 * `waiting`: lost, and will try again by itself. `closed`: will not.
 */
export type StatusDetail = {
    status: "connecting";
} | {
    status: "connected";
} | {
    status: "waiting";
    code: number;
    reason: string;
    retryInMs: number;
} | {
    status: "closed";
    code: number;
    reason: string;
};
export type ConnectionEvents = {
    state: Told<StateDetail>;
    users: Told<UsersDetail>;
    optimistic: Told<OptimisticDetail>;
    pending: Told<PendingDetail>;
    ack: Told<AckDetail>;
    error: Told<ErrorDetail>;
    status: Told<StatusDetail>;
    message: Told<MessageDetail>;
    joined: Told<PersonDetail>;
    left: Told<PersonDetail>;
    patch: Told<PatchDetail>;
    missed: Told<MissedDetail>;
};
/**
 * what the server said of itself and of this client; it may say more
 */
export type Welcome = {
    protocol: string;
    room: string;
    kind: string;
    /**
     * the server's number for the connection, to find it in the server's log
     */
    session: number;
    /**
     * the name of the history that positions count in
     */
    epoch: string;
    seq: number;
    last_id: number | null;
    refused: number[];
    forgotten_until: number;
    max_in_flight: number;
    heartbeat_ms: number;
    max_message_bytes: number;
};
export type Told<Detail> = Event & {
    readonly detail: Detail;
};
/**
 * what is used of a WebSocket
 */
export type Socket = {
    readyState: number;
    protocol: string;
    onopen: ((event: any) => unknown) | null;
    onmessage: ((event: any) => unknown) | null;
    onclose: ((event: any) => unknown) | null;
    onerror: ((event: any) => unknown) | null;
    send: (text: string) => void;
    close: (code?: number) => void;
};
/**
 * where identity and waiting actions outlive the page: what is used of a Web Storage
 */
export type ActionStorage = {
    getItem: (key: string) => string | null;
    setItem: (key: string, value: string) => void;
    removeItem: (key: string) => void;
};
/**
 * what is used of the Web Locks API
 */
export type Locks = {
    request: (name: string, options: {
        signal: AbortSignal;
    }, held: () => Promise<any>) => Promise<unknown>;
    /**
     * answers after all that was granted before is told
     */
    query?: (() => Promise<unknown>) | undefined;
};
/**
 * each is as by default if it is `undefined`; `null` is none
 */
export type ConnectionOptions = {
    /**
     * what an action makes of a value, for `optimistic`. It must be
     * pure, and for an action that it does not know give the value that it got
     */
    apply?: ((value: any, action: any) => any) | undefined;
    /**
     * reads JSON
     */
    parse?: ((text: string) => any) | undefined;
    /**
     * by default the tab's `sessionStorage`, and outside browsers none: `null`
     */
    storage?: ActionStorage | null | undefined;
    /**
     * by default `navigator.locks`, where there is one
     */
    locks?: Locks | null | undefined;
    /**
     * the most actions that may be undecided. 1,000 by default: more than anybody clicks
     * while a train is in a tunnel, a small part of what `sessionStorage` holds, and sent within a second
     */
    maxWaiting?: number | undefined;
    /**
     * the first wait before coming back is at most this long, each further one twice that,
     */
    baseDelayMs?: number | undefined;
    /**
     * but not more than this
     */
    maxDelayMs?: number | undefined;
    /**
     * a connection that lasts this long makes the waits short again
     */
    stableAfterMs?: number | undefined;
    /**
     * so long a page that was reloaded waits for the page before it to be gone. 1 s by
     * default: a page that is left takes some milliseconds, and a duplicated tab should not wait for long
     */
    lockWaitMs?: number | undefined;
    WebSocket?: (new (url: string, protocol: string) => Socket) | undefined;
    setTimeout?: ((callback: () => void, delayMs: number) => any) | undefined;
    clearTimeout?: ((timer: any) => void) | undefined;
    /**
     * from 0 to 1, without 1; for waits
     */
    random?: (() => number) | undefined;
    /**
     * where `online`, `pagehide` and `pageshow` are heard
     */
    window?: EventTarget | null | undefined;
    /**
     * where `visibilitychange` is heard
     */
    document?: (EventTarget & {
        readonly visibilityState: string;
    }) | null | undefined;
};
export type Listen = <Type extends keyof ConnectionEvents>(type: Type, listener: (event: ConnectionEvents[Type]) => void, options?: {
    once?: boolean;
    signal?: AbortSignal;
    capture?: boolean;
    passive?: boolean;
} | boolean) => void;
export type ConnectionEventTarget = {
    addEventListener: Listen;
    removeEventListener: Listen;
    dispatchEvent: (event: Event) => boolean;
};
/**
 * An action that is not decided.
 */
export type Waiting = {
    /**
     * its number. `null`: it has not been sent, or the server has told that it was forgotten
     */
    id: number | null;
    /**
     * as JSON, without `id`
     */
    text: string;
    /**
     * what `text` says
     */
    action: any;
    resolve: (decision: Decision) => void;
    reject: (error: ActionError) => void;
};
import { PatchError } from "./json_patch.js";
import { applyPatch } from "./json_patch.js";
import { mergePatch } from "./json_patch.js";
export { PatchError, applyPatch, mergePatch };
