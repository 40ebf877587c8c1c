// Written by scripts/build.ts from the addon's own declarations. Do not edit.
export interface Fault {
  code: string
  message: string
  hint?: string
}
export declare function call(op: number, args: Float64Array, argsLen: number, out: Float64Array): number
export declare function deviceDescribe(number: number): string
export declare function deviceOpen(name: string): number
export declare function dtypes(): Array<string>
export declare function lastError(): Fault | null
export declare function operations(): Array<string>
export declare function read(handle: number): Promise<Uint8Array>
export declare function sync(number: number): Promise<void>
export declare function upload(number: number, dtype: number, shape: Array<number>, bytes: Uint8Array): number
