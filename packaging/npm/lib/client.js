'use strict';
// Calls by the program `sluicify`, where the addon cannot be loaded.

const sluicify = require('../sluicify.js');

function place({ socket, fd }) {
  return { socket: fd ?? socket, close() {} };
}

function begin({ place: { socket }, words, stdio: [stdin, stdout, stderr], sluicify: program, hear }) {
  const running = sluicify.call(socket, words, { stdin, stdout, stderr, sluicify: program });
  running.result.then((outcome) => hear({ outcome }));
  return {
    streams: [running.stdin, running.stdout, running.stderr],
    // The client's death by SIGKILL is to the broker its caller's end.
    kill: (number) => running.kill(number),
    keepAlive: (isKept) => running.keepAlive(isKept),
  };
}

async function list({ place: { socket }, sluicify: program }) {
  try {
    return { rules: await sluicify.list(socket, { sluicify: program }) };
  } catch ({ code, message }) {
    return { outcome: { code: Number.isInteger(code) ? code : 125, reason: message } };
  }
}

module.exports = { name: 'sluicify', place, begin, list };
