'use strict';
// Calls by the addon. Its ends of a command's pipes become sockets of node's, which never block the loop.

const net = require('node:net');
const { SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM } = require('node:os').constants.signals;
const path = require('node:path');

const FILE = process.env.SLUICE_ADDON
  || path.join(__dirname, '..', `sluice.${process.platform}-${process.arch}.node`);
// What stands for a new pipe, and for /dev/null (src/streams.rs).
const NUMBERS = { pipe: -1, ignore: -2 };

const ENDING = [SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM];

const left = (signal) => (
  { outcome: 'error', code: 128 + signal, signal, status: null, call: null, reason: 'left before it was asked' });

let native = null;
let loadError = null;
try {
  native = require(path.resolve(FILE));
} catch (error) {
  loadError = error;
}

function place({ socket, fd }, isKept = false) {
  const { SLUICE_FD, SLUICE_SOCKET } = process.env;
  const descriptor = fd === null ? SLUICE_FD || undefined : String(fd);
  const variable = fd === null ? SLUICE_SOCKET || undefined : undefined;
  const isNamed = socket !== '-';
  // A descriptor is a connection that is kept already.
  const keeps = isNamed ? socket : descriptor === undefined ? variable : undefined;
  return new native.Place(socket, descriptor, variable, isKept ? keeps : undefined);
}

function begin({ place: broker, words, stdio, hear }) {
  const numbers = stdio.map((stream) => NUMBERS[stream] ?? stream);
  const request = native.call(broker, words, numbers, (line) => {
    const news = JSON.parse(line);
    if (!news.outcome) return hear(news);
    // It was left before a command began: nothing comes any more, although the request may wait with its
    // descriptors where nobody takes it.
    if (news.signal !== null && news.call === null) streams.forEach((stream) => stream?.destroy());
    return hear({ outcome: news });
  });
  const streams = request.ends.map((fd, index) => {
    if (fd < 0) return null;
    const socket = new net.Socket({ fd, readable: index > 0, writable: index === 0 });
    request.release(index);
    return socket;
  });
  return {
    streams,
    kill: (number) => {
      if (request.kill(number) || !ENDING.includes(number)) return;
      // Its thread connects, which may take long, and asks nothing after that, or leaves the call.
      request.kill(SIGKILL);
      streams.forEach((stream) => stream?.destroy());
      hear({ outcome: left(number) });
    },
    keepAlive: (isKept) => request.keepAlive(isKept),
  };
}

function list({ place: broker }) {
  return new Promise((resolve) => {
    native.list(broker, (line) => {
      const { listing, ...outcome } = JSON.parse(line);
      resolve(listing ? { rules: listing.rules } : { outcome });
    });
  });
}

module.exports = { name: 'addon', isLoaded: native !== null, loadError, place, begin, list };
