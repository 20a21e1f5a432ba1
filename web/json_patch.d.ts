/**
 * Applies all operations, or none.
 *
 * @param {any} value
 * @param {readonly Operation[]} ops
 * @returns {any}
 * @throws {PatchError}
 */
export function applyPatch(value: any, ops: readonly Operation[]): any;
/**
 * Applies a JSON Merge Patch (RFC 7396, section 2).
 *
 * @param {any} value
 * @param {any} patch
 * @returns {any}
 */
export function mergePatch(value: any, patch: any): any;
/**
 * What makes `after` of `before`, as a JSON Patch that fails with `test_failed` where what it changes has changed.
 *
 * Members of objects are tested one by one. Places in a list are not: where one thing was put in, all that follow have
 * other places. So an object in a list is tested as a whole, and the list, if anything else in it changes. JSON Patch
 * cannot test that a member is not there: of two who add the same one, the later wins.
 *
 * @param {any} before
 * @param {any} after
 * @returns {Operation[]} nothing, if they are equal
 */
export function difference(before: any, after: any): Operation[];
/**
 * @param {any} one
 * @param {any} other
 * @returns {boolean} whether they are the same JSON; the order of members is no part of it
 */
export function isEqual(one: any, other: any): boolean;
/**
 * @param {any} value
 * @param {string} path a JSON Pointer (RFC 6901)
 * @returns {any}
 * @throws {PatchError} if there is nothing
 */
export function valueAt(value: any, path: string): any;
/**
 * Changes to JSON values: JSON Patch (RFC 6902), JSON Merge Patch (RFC 7396), and the difference between two values.
 *
 * No value that is given is changed: what comes out is new where it differs, and shares the rest.
 */
/**
 * @typedef {object} Operation one of a JSON Patch (RFC 6902, section 4)
 * @property {string} op `add`, `remove`, `replace`, `move`, `copy` or `test`
 * @property {string} path a JSON Pointer (RFC 6901)
 * @property {string} [from] of `move` and `copy`
 * @property {any} [value] of `add`, `replace` and `test`
 */
/** Why a JSON Patch cannot be applied. The codes are those of the server. */
export class PatchError extends Error {
    /**
     * @param {"test_failed" | "patch_failed"} code
     * @param {string} message
     * @param {string} path
     */
    constructor(code: "test_failed" | "patch_failed", message: string, path: string);
    code: "test_failed" | "patch_failed";
    /** Where, as a JSON Pointer. */
    path: string;
}
/**
 * one of a JSON Patch (RFC 6902, section 4)
 */
export type Operation = {
    /**
     * `add`, `remove`, `replace`, `move`, `copy` or `test`
     */
    op: string;
    /**
     * a JSON Pointer (RFC 6901)
     */
    path: string;
    /**
     * of `move` and `copy`
     */
    from?: string | undefined;
    /**
     * of `add`, `replace` and `test`
     */
    value?: any;
};
