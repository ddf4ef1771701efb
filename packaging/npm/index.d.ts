// The types of this package. REFERENCE.md, "In node", has the whole.

import { EventEmitter } from 'node:events';
import { Readable, Writable } from 'node:stream';

/** The broker, by one of these, or by `$SLUICE_FD`, else `$SLUICE_SOCKET`. */
export interface BrokerOptions {
  /** A socket's path, a gate's directory, or `-` for the environment's broker. */
  socket?: string;
  /** The directory of a FIFO door. */
  door?: string;
  /** The number of a connected descriptor. It stays open. */
  fd?: number;
}

export interface ClientOptions {
  /** The path of `sluicify`, which makes the calls where the addon cannot be loaded. */
  sluicify?: string;
}

export type Stdio = 'pipe' | 'inherit' | 'ignore' | number | Readable | Writable | null | undefined;

export interface BaseOptions extends ClientOptions {
  /** Ends the call, and `result` rejects with an AbortError. */
  signal?: AbortSignal;
  /** A descriptor or a stream that gets the outcome as one line of JSON, as of `sluicify --status-fd`. */
  status?: number | Writable;
}

export interface CallOptions extends BaseOptions {
  stdio?: Stdio | [Stdio?, Stdio?, Stdio?];
  /** Of `stdout` and `stderr`. */
  encoding?: BufferEncoding | 'buffer' | null;
}

export interface RunOptions extends BaseOptions {
  /** What the command reads. Without it, nothing. */
  input?: string | Uint8Array;
  /** Of the collected output. */
  encoding?: BufferEncoding | 'buffer';
  /** The bytes that each stream may have, 1 MiB unless told otherwise. */
  maxBuffer?: number;
}

/** How a call ended. */
export interface CallResult {
  /** The command's exit code, 124 for its rule's timeout, or null where `signal` ended it. */
  code: number | null;
  signal: NodeJS.Signals | null;
  /** The number in the broker's records. */
  call: number | null;
  /** The rule's timeout ended it. */
  timedOut: boolean;
  /** Its caller hung it up. */
  hangup: boolean;
}

export interface RunResult<Output> extends CallResult {
  stdout: Output;
  stderr: Output;
}

/** A call under way. */
export class Call extends EventEmitter {
  readonly stdin: Writable | null;
  readonly stdout: Readable | null;
  readonly stderr: Readable | null;
  readonly stdio: [Writable | null, Readable | null, Readable | null];
  /** The number in the broker's records, once the command has begun. */
  readonly call: number | null;
  /** Whether a signal was sent by `kill`. */
  readonly killed: boolean;
  /** The number, or null where the command never began. It never rejects. */
  readonly started: Promise<number | null>;
  /** Rejects with a SluiceError or an AbortError. */
  readonly result: Promise<CallResult>;
  /** Ends the call by SIGTERM, SIGHUP and SIGKILL, and forwards other signals. Gives whether it was sent. */
  kill(signal?: NodeJS.Signals | number): boolean;
  /** Has node's process stay until the end. */
  ref(): this;
  unref(): this;
  on(event: 'queued', listener: (limit: number) => void): this;
  on(event: 'started', listener: (call: number) => void): this;
  once(event: 'queued', listener: (limit: number) => void): this;
  once(event: 'started', listener: (call: number) => void): this;
}

export interface Running<Output> extends Promise<RunResult<Output>> {
  readonly child: Call;
}

/** One connection for any number of calls at once. */
export class Connection {
  constructor(options?: BrokerOptions);
  call(argv: readonly string[], options?: CallOptions): Call;
  run(argv: readonly string[], options: RunOptions & { encoding: 'buffer' }): Running<Buffer>;
  run(argv: readonly string[], options?: RunOptions): Running<string>;
  list(options?: ClientOptions): Promise<ListedRule[]>;
  /** Calls under way go on. */
  close(): void;
}

export type SluiceErrorCode =
  | 'NO_RULE' | 'PROTO' | 'FDS' | 'SPAWN' | 'AUDIT' | 'PEER' | 'TOO_LARGE' | 'STOPPING'
  | 'REFUSED' | 'UNREACHED' | 'UNANSWERED' | 'BAD_REQUEST';

/** Why a call has no result. */
export class SluiceError extends Error {
  readonly code: SluiceErrorCode;
  readonly status: string | null;
  readonly call: number | null;
  readonly reason: string | null;
  /** Whether the command may have run, in part. */
  readonly mayHaveRun: boolean;
}

/** A rule of REFERENCE.md, "The listing as JSON". */
export interface ListedRule {
  about: string[];
  words: unknown[];
  [key: string]: unknown;
}

export function call(argv: readonly string[], options?: CallOptions & BrokerOptions): Call;
export function run(argv: readonly string[], options: RunOptions & BrokerOptions & { encoding: 'buffer' }): Running<Buffer>;
export function run(argv: readonly string[], options?: RunOptions & BrokerOptions): Running<string>;
export function list(options?: ClientOptions & BrokerOptions): Promise<ListedRule[]>;
export function connect(options?: BrokerOptions): Connection;

/** What makes the calls. */
export const backend: 'addon' | 'sluicify';
/** Why the addon is not loaded. */
export const loadError: Error | null;
