'use strict';
// What an outcome of `sluicify --status-fd` is to a caller in JavaScript: a result, or an error.

const os = require('node:os');

// What the client exits with (REFERENCE.md, "Statuses and exit codes").
const USAGE = 2;
const UNREACHED = 125;
const UNANSWERED = 135;
const STATUSES = new Map([
  [129, 'NO_RULE'], [130, 'PROTO'], [131, 'FDS'], [132, 'SPAWN'], [134, 'AUDIT'], [124, 'TIMEOUT'], [136, 'PEER'],
  [137, 'TOO_LARGE'], [138, 'STOPPING'],
]);
const TOLD = {
  NO_RULE: 'no rule allows this',
  SPAWN: 'a rule allows this, but it could not be started',
  AUDIT: 'the call cannot be kept on record as the rules demand',
  STOPPING: 'the broker stops',
};
// The command may have run, in part.
const INTERRUPTING = ['AUDIT', 'STOPPING', 'UNANSWERED'];

// The first name of a number is the usual one.
const SIGNALS = new Map(Object.entries(os.constants.signals).reverse().map(([name, number]) => [number, name]));

/** Why a call has no result. */
class SluiceError extends Error {
  constructor(message, code, { call = null, reason = null, status = null }) {
    super(message);
    this.name = 'SluiceError';
    this.code = code;
    this.status = status;
    this.call = call;
    this.reason = reason;
    this.mayHaveRun = INTERRUPTING.includes(code);
  }
}

/** The result of a call, which its caller may have left. Throws a SluiceError where there is none. */
function resultOf(outcome, words, isLeft) {
  const { outcome: kind, code, signal, call } = outcome;
  const result = { code: null, signal: null, call, timedOut: false, hangup: isLeft };
  const name = signal === null ? null : SIGNALS.get(signal) ?? `SIG${signal}`;
  switch (kind) {
    case 'exited': return { ...result, code };
    case 'signaled': return { ...result, signal: name };
    case 'timeout': return { ...result, code, timedOut: true };
    case 'refused': throw refusal(outcome, words);
    default:
      // The call was left before its end was known, by kill() or by the end of its client.
      if (signal !== null) return { ...result, signal: name, hangup: true };
      throw failure(outcome);
  }
}

function refusal(outcome, words) {
  const code = outcome.status ?? 'REFUSED';
  const what = TOLD[code] ?? `the broker refused the request (${code})`;
  return new SluiceError(`${words[0]}: ${what}${outcome.reason ? `: ${outcome.reason}` : ''}`, code, outcome);
}

function failure(outcome) {
  const codes = { [USAGE]: 'BAD_REQUEST', [UNREACHED]: 'UNREACHED' };
  return new SluiceError(outcome.reason, codes[outcome.code] ?? 'UNANSWERED', outcome);
}

/** Why there is no listing. */
function listingError({ code, reason }) {
  const status = STATUSES.get(code) ?? null;
  const name = { [UNREACHED]: 'UNREACHED', [UNANSWERED]: 'UNANSWERED' }[code] ?? status ?? 'REFUSED';
  const told = reason.trim().replace(/^sluicify: /, '');
  return new SluiceError(told, name, { status, reason: told });
}

function abortError({ reason }) {
  const error = new Error('The operation was aborted', { cause: reason });
  return Object.assign(error, { name: 'AbortError', code: 'ABORT_ERR' });
}

module.exports = { SluiceError, abortError, listingError, resultOf };
