'use strict';
// A caller of sluice for node, 18 or later, in one file without dependencies. Plain node cannot pass
// descriptors over a socket, so each call is a `sluicify` that does, with its outcome on a descriptor.
//
//   const { call, list } = require('./sluicify.js');
//   const made = call('/gate/sock', ['make'], { stdin: 'ignore', stdout: 'inherit' });
//   const { outcome, code, signal } = await made.result;

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');

/**
 * The end of a call. `result` of a call always resolves to one; it never rejects.
 * @typedef {object} Outcome
 * @property {'exited'|'signaled'|'timeout'|'refused'|'error'} outcome
 * @property {number} code what `sluicify` exits with: the command's exit code, 128 + its signal, 124 to 138
 * @property {number|null} signal the signal that ended the command
 * @property {string|null} status the broker's own status, such as NO_RULE
 * @property {number|null} call the number in the broker's records
 * @property {string|null} reason for a person
 */

/**
 * Has the broker at `socket` run a command. Throws a TypeError for what is no command line.
 * @param {string|number} socket a path, the number of a connected descriptor, or `-` for `$SLUICE_FD`, else
 *   `$SLUICE_SOCKET`
 * @param {string[]} argv the program and its words
 * @param {object} [options] stdin, stdout, stderr: as of `child_process.spawn` ('pipe', 'ignore', 'inherit', a
 *   stream, a descriptor); signal: an AbortSignal that ends the call; sluicify: the client's path
 * @returns {{stdin: ?Writable, stdout: ?Readable, stderr: ?Readable, kill: function, keepAlive: function,
 *   result: Promise<Outcome>}} the streams that are 'pipe'; kill(signal = 'SIGTERM') ends the call by SIGTERM, SIGHUP
 *   and SIGKILL, and forwards other signals; keepAlive(false) has node not wait for the call
 */
function call(socket, argv, options = {}) {
  if (!Array.isArray(argv) || argv.length === 0 || !argv.every((word) => typeof word === 'string')) {
    throw new TypeError('argv is an array of at least one string');
  }
  const { stdin = 'pipe', stdout = 'pipe', stderr = 'pipe', signal, sluicify = 'sluicify' } = options;
  if (signal?.aborted) return notStarted({ code: null, name: 'SIGKILL' }, null, true);
  const { name, passed, env } = broker(socket);
  const words = ['--status-fd', '3', name, '--', ...argv];
  let child;
  try {
    child = spawn(sluicify, words, { stdio: [stdin, stdout, stderr, 'pipe', ...passed], env });
  } catch (error) {
    // Node throws some failures of the system, and what cannot be an argument as a TypeError.
    if (error instanceof TypeError) throw error;
    return notStarted(null, error, false);
  }
  // Where descriptors are used up, there is no stream, and an 'error' comes.
  const report = child.stdio?.[3];
  let line = '';
  report?.setEncoding('utf8').on('data', (text) => { line += text; });
  // The client's death, of whatever kind, is to the broker its caller's end.
  const abort = () => child.kill('SIGKILL');
  signal?.addEventListener('abort', abort, { once: true });
  const result = new Promise((resolve) => {
    let failure = null;
    let ended = null;
    let isRead = !report;
    const settle = () => {
      if (!isRead || (!ended && !failure)) return;
      signal?.removeEventListener('abort', abort);
      resolve(outcomeOf(line, ended, failure, signal?.aborted));
    };
    child.on('error', (error) => { failure ??= error; settle(); });
    child.on('exit', (code, name) => { ended = { code, name }; settle(); });
    report?.on('close', () => { isRead = true; settle(); });
  });
  return {
    stdin: child.stdin ?? null,
    stdout: child.stdout ?? null,
    stderr: child.stderr ?? null,
    kill: (name = 'SIGTERM') => child.kill(name),
    keepAlive: (isKept) => [child, report].forEach((it) => (isKept ? it?.ref() : it?.unref())),
    result,
  };
}

// How a client finds the broker: its argument, and the connection that is open here, if there is one. Node's
// children inherit no descriptor that is not passed, whatever `$SLUICE_FD` says.
function broker(socket) {
  const isNumber = typeof socket === 'number';
  const number = isNumber ? socket : Number(process.env.SLUICE_FD || NaN);
  const name = isNumber ? '-' : socket;
  try {
    fs.fstatSync(number);
  } catch {
    return { name, passed: [], env: isNumber ? { ...process.env, SLUICE_FD: String(number) } : process.env };
  }
  const env = { ...process.env, SLUICE_FD: '4' };
  if (isNumber) delete env.SLUICE_SOCKET;
  return { name, passed: [number], env };
}

/** A call without a client, and so without streams. */
function notStarted(ended, failure, isAborted) {
  const result = Promise.resolve(outcomeOf('', ended, failure, isAborted));
  return { stdin: null, stdout: null, stderr: null, kill: () => false, keepAlive: () => {}, result };
}

function outcomeOf(line, ended, failure, isAborted) {
  try {
    return JSON.parse(line);
  } catch {
    // The client ended before it could say anything.
    const signal = ended?.name ? os.constants.signals[ended.name] : null;
    const code = failure && !ended ? 125 : ended.code ?? 128 + signal;
    const reason = isAborted ? 'aborted' : failure?.message ?? 'the client ended without an outcome';
    return { outcome: 'error', code, signal, status: null, call: null, reason };
  }
}

/**
 * What may be called: the rules of REFERENCE.md, "The listing as JSON". Rejects with an Error that has `code`.
 * @param {string|number} socket as of `call`
 * @param {object} [options] sluicify: the client's path
 * @returns {Promise<object[]>}
 */
function list(socket, { sluicify = 'sluicify' } = {}) {
  return new Promise((resolve, reject) => {
    const { name, passed, env } = broker(socket);
    const stdio = ['ignore', 'pipe', 'pipe', 'ignore', ...passed];
    const child = spawn(sluicify, ['--list', name, '--json'], { stdio, env });
    let [text, said] = ['', ''];
    child.on('error', reject);
    // There are no streams where descriptors are used up.
    child.stdout?.setEncoding('utf8').on('data', (data) => { text += data; });
    child.stderr?.setEncoding('utf8').on('data', (data) => { said += data; });
    child.on('close', (code) => {
      if (code !== 0) return reject(Object.assign(new Error(said.trim()), { code }));
      try {
        resolve(JSON.parse(text).rules);
      } catch (error) {
        reject(error);
      }
    });
  });
}

module.exports = { call, list };
