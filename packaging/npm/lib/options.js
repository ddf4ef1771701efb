'use strict';
// The arguments of this package, checked as node checks those of child_process.

const invalid = (kind, code, message) => Object.assign(new kind(message), { code });
const wrongType = (message) => invalid(TypeError, 'ERR_INVALID_ARG_TYPE', message);
const wrongValue = (message) => invalid(TypeError, 'ERR_INVALID_ARG_VALUE', message);

const DESCRIPTOR_MAX = 2 ** 31 - 1;
const isDescriptor = (value, least = 0) => Number.isInteger(value) && value >= least && value <= DESCRIPTOR_MAX;

/** The place of the broker: one of `socket`, `door` and `fd`, or the environment's. */
function placeOf({ socket, door, fd }) {
  const named = [socket, door, fd].filter((value) => value !== undefined && value !== null);
  if (named.length > 1) throw wrongValue('only one of socket, door and fd names the broker');
  if (named.length === 0) return { socket: '-', fd: null };
  if (typeof named[0] === 'number') {
    if (named[0] !== fd || !isDescriptor(fd, 3)) throw wrongValue('fd is the number of a connected descriptor');
    return { socket: '-', fd };
  }
  if (typeof named[0] !== 'string') throw wrongType('socket and door are paths');
  if (named[0] === '' || named[0].includes('\0')) throw wrongValue('a path is not empty, and has no NUL');
  return { socket: named[0], fd: null };
}

function checkedArgv(argv) {
  // Array.from, because every() passes over what an array does not have.
  if (!Array.isArray(argv) || argv.length === 0 || !Array.from(argv).every((word) => typeof word === 'string')) {
    throw wrongType('argv is an array of at least one string');
  }
  if (argv.some((word) => word.includes('\0'))) throw wrongValue('a word has no NUL');
  return argv;
}

/** Three of 'pipe', 'ignore', and the number of a descriptor. */
function checkedStdio(stdio = 'pipe') {
  const all = Array.isArray(stdio) ? stdio : [stdio, stdio, stdio];
  if (all.length > 3) throw wrongValue('stdio has three members');
  return [0, 1, 2].map((index) => stream(all[index] ?? 'pipe', index));
}

function stream(value, index) {
  if (value === 'pipe' || value === 'ignore') return value;
  if (value === 'inherit') return index;
  const number = typeof value === 'number' ? value : value.fd ?? value._handle?.fd;
  if (!isDescriptor(number)) {
    throw wrongValue(`stdio[${index}] is 'pipe', 'ignore', 'inherit', a descriptor, or a stream that has one`);
  }
  return number;
}

/** Where the outcome is written to. */
function checkedStatus(status) {
  if (typeof status === 'number' && !isDescriptor(status)) throw wrongValue('status is a descriptor or a stream');
  return status;
}

function checkedEncoding(encoding) {
  if (encoding === undefined || encoding === null || encoding === 'buffer') return null;
  if (!Buffer.isEncoding(encoding)) throw wrongValue(`no encoding: ${encoding}`);
  return encoding;
}

module.exports = { checkedArgv, checkedEncoding, checkedStatus, checkedStdio, placeOf };
