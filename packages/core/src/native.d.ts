// Written by scripts/build.ts from the addon's own descriptions. Do not edit.
export interface Fault {
code: string
message: string
hint?: string
}
/** An operation's time on the device, in microseconds since the start of the trace. */
export interface TraceSpan {
name: string
start: number
end: number
}
/** Runs one operation: its number in `operations()`, its arguments, room for its answer. The length of the answer, or −1. */
export declare function call(op: number, args: Float64Array, argsLen: number, out: Float64Array): number
/** What the device is: instruction set and threads, or adapter and driver. */
export declare function deviceDescribe(number: number): string
/** Opens a device (`cpu`) and returns its number. */
export declare function deviceOpen(name: string): number
/** Records what the device runs from now on. */
export declare function deviceTraceStart(number: number): void
/** Ends the record and gives it away. */
export declare function deviceTraceTake(number: number): Array<TraceSpan>
/** Names of the element types, in the order of their numbers. */
export declare function dtypes(): Array<string>
/** Why the last call on this thread answered −1. */
export declare function lastError(): Fault | null
/** Names of the operations, in the order of their numbers. */
export declare function operations(): Array<string>
/** The bytes of a tensor, once everything enqueued before has run. */
export declare function read(handle: number): Promise<Uint8Array>
/** Resolves once everything enqueued on the device has run. */
export declare function sync(number: number): Promise<void>
/** Copies bytes (little endian, C order) to a new tensor: its handle. */
export declare function upload(number: number, dtype: number, shape: Array<number>, bytes: Uint8Array): number
