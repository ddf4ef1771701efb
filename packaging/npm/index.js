'use strict';
// Calls of a sluice broker from node: streams, signals and results in the shape of child_process. The addon
// (`src`) speaks the wire protocol; where it cannot be loaded, each call is a `sluicify` (`sluicify.js`).
//
//   const { call, run, list } = require('sluice');
//   const made = call(['make'], { socket: '/gate/sock', stdio: ['ignore', 'inherit', 'inherit'] });
//   const { code, signal } = await made.result;

const { EventEmitter } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const addon = require('./lib/addon.js');
const { checkedArgv, checkedEncoding, checkedStatus, checkedStdio, placeOf } = require('./lib/options.js');
const { SluiceError, abortError, listingError, resultOf } = require('./lib/outcome.js');
const { collected } = require('./lib/collect.js');
const client = require('./lib/client.js');

const backend = addon.isLoaded ? addon : client;

const { SIGHUP, SIGKILL, SIGTERM } = os.constants.signals;
// The signals that hang a call up, and those that the protocol carries (REFERENCE.md, "Version 2").
const LEAVING = [SIGHUP, SIGKILL, SIGTERM];
const FORWARDED = new Set(['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH', 'SIGCONT',
  'SIGTSTP'].map((name) => os.constants.signals[name]));

/** A call under way. `index.d.ts` describes it. */
class Call extends EventEmitter {
  #request = null;
  #isLeft = false;
  #isOver = false;
  #settleStarted;

  constructor(place, argv, options) {
    super();
    const words = checkedArgv(argv);
    const stdio = checkedStdio(options.stdio);
    const encoding = checkedEncoding(options.encoding);
    checkedStatus(options.status);
    this.call = null;
    this.killed = false;
    [this.stdin, this.stdout, this.stderr] = [null, null, null];
    this.started = new Promise((resolve) => { this.#settleStarted = resolve; });
    this.result = options.signal?.aborted ? this.#neverStarted(options.signal) : this.#start(place, words, stdio, options);
    this.stdio = [this.stdin, this.stdout, this.stderr];
    if (encoding) [this.stdout, this.stderr].forEach((stream) => stream?.setEncoding(encoding));
  }

  /** Ends the call by SIGTERM, SIGHUP and SIGKILL, and forwards other signals. Gives whether it was sent. */
  kill(signal = 'SIGTERM') {
    const number = typeof signal === 'number' ? signal : os.constants.signals[signal];
    if (!Number.isInteger(number)) {
      throw Object.assign(new TypeError(`Unknown signal: ${signal}`), { code: 'ERR_UNKNOWN_SIGNAL' });
    }
    if (this.#isOver || (number !== 0 && number !== SIGKILL && !FORWARDED.has(number))) return false;
    if (number === 0) return true;
    this.killed = true;
    this.#isLeft ||= LEAVING.includes(number);
    this.#request.kill(number);
    return true;
  }

  /** Keeps node's process alive until the call's end, which it does unless told otherwise. */
  ref() { return this.#keepAlive(true); }

  unref() { return this.#keepAlive(false); }

  #keepAlive(isKept) {
    if (!this.#isOver) this.#request.keepAlive(isKept);
    this.stdio.forEach((stream) => (isKept ? stream?.ref?.() : stream?.unref?.()));
    return this;
  }

  #neverStarted(signal) {
    this.#isOver = true;
    this.#settleStarted(null);
    return Promise.reject(abortError(signal));
  }

  #start(place, words, stdio, options) {
    return new Promise((resolve, reject) => {
      const { signal, status, sluicify } = options;
      const abort = () => {
        reject(abortError(signal));
        this.#request.kill(SIGKILL);
      };
      const hear = ({ queued, started, outcome }) => {
        if (this.#isOver) return undefined;
        if (queued !== undefined) return this.emit('queued', queued);
        if (started !== undefined) return this.#begun(started);
        signal?.removeEventListener('abort', abort);
        this.#finish(outcome, status);
        try {
          resolve(resultOf(outcome, words, this.#isLeft));
        } catch (error) {
          reject(error);
        }
      };
      try {
        this.#request = backend.begin({ place, words, stdio, sluicify, hear });
      } catch ({ message }) {
        this.#isOver = true;
        this.#settleStarted(null);
        return reject(new SluiceError(`nothing ran: ${message}`, 'UNREACHED', { reason: message }));
      }
      [this.stdin, this.stdout, this.stderr] = this.#request.streams;
      signal?.addEventListener('abort', abort, { once: true });
    });
  }

  #begun(call) {
    if (this.call !== null) return;
    this.call = call;
    this.#settleStarted(call);
    this.emit('started', call);
  }

  #finish(outcome, status) {
    this.#isOver = true;
    if (outcome.call !== null) this.#begun(outcome.call);
    this.#settleStarted(null);
    this.stdin?.destroy();
    this.#request.keepAlive(false);
    const line = `${JSON.stringify(outcome)}\n`;
    // Whoever closed it does not want the line.
    if (typeof status === 'number') fs.write(status, line, () => {});
    else status?.write(line);
  }
}

async function listOf(place, { sluicify } = {}) {
  const { rules, outcome } = await backend.list({ place, sluicify });
  if (outcome) throw listingError(outcome);
  return rules;
}

function runOf(place, argv, options) {
  const { input, encoding = 'utf8', maxBuffer, ...rest } = options;
  const stdio = [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'];
  const child = new Call(place, argv, { ...rest, stdio, encoding: undefined });
  return Object.assign(collected(child, { argv, input, encoding, maxBuffer }), { child });
}

/** One connection for any number of calls at once. */
class Connection {
  #place;

  constructor(options = {}) {
    this.#place = backend.place(placeOf(options), true);
  }

  call(argv, options = {}) { return new Call(this.#open(), argv, options); }

  run(argv, options = {}) { return runOf(this.#open(), argv, options); }

  list(options = {}) { return listOf(this.#open(), options); }

  /** Closes it. Calls under way go on. */
  close() {
    this.#place?.close();
    this.#place = null;
  }

  #open() {
    if (!this.#place) throw Object.assign(new Error('the connection is closed'), { code: 'ERR_CLOSED' });
    return this.#place;
  }
}

const call = (argv, options = {}) => new Call(backend.place(placeOf(options)), argv, options);
const run = (argv, options = {}) => runOf(backend.place(placeOf(options)), argv, options);
const list = async (options = {}) => listOf(backend.place(placeOf(options)), options);
const connect = (options = {}) => new Connection(options);

module.exports = {
  call,
  run,
  list,
  connect,
  Call,
  Connection,
  SluiceError,
  /** 'addon', or 'sluicify' where that could not be loaded, because of `loadError`. */
  backend: backend.name,
  loadError: addon.loadError,
};
