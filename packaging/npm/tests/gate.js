'use strict';
// A broker of a test file's own, in a directory of its own. SLUICE_BIN is the broker, SLUICIFY_BIN the
// client; SLUICE_ADDON is the addon under test, or no file, to test what takes its place.

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { once } = require('node:events');

const RULES = `
defaults:
  scope     = off
  max_calls = 256
  logfile   = @DIR@/log
  fifo      = yes

; Runs a script.
/bin/sh -c #script
  allow_any = script

/bin/sh -e -c #script
  allow_any = script
  on_hangup = keep

/bin/cat

/bin/cat -
  max_calls = 1

/bin/true

/bin/sleep #n
  n       = [0-9]
  timeout = 300ms

/bin/is-not-there
`;

/** Starts a broker. */
async function served() {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'sluice-npm-'));
  fs.writeFileSync(path.join(directory, 'test.rules'), RULES.replaceAll('@DIR@', directory), { mode: 0o600 });
  const socket = path.join(directory, 'sock');
  const words = ['serve', ...(process.getuid() === 0 ? ['--allow-root'] : []), '--rules', path.join(directory, 'test.rules'),
    '--socket', socket];
  const broker = spawn(process.env.SLUICE_BIN, words, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  for await (const part of broker.stderr.setEncoding('utf8').iterator({ destroyOnReturn: false })) {
    said += part;
    if (said.includes('sluice: ready')) break;
  }
  if (!said.includes('sluice: ready')) throw new Error(`the broker did not start: ${said}`);
  broker.stderr.resume();
  return {
    directory,
    socket,
    records: (kind) => fs.readFileSync(path.join(directory, 'log'), 'utf8').trimEnd().split('\n')
      .map((line) => JSON.parse(line)).filter((record) => record.kind === kind),
    async stop() {
      const ended = once(broker, 'exit');
      broker.kill();
      await ended;
      fs.rmSync(directory, { recursive: true });
    },
  };
}

/** The result of a look, once there is one. */
async function found(what, look) {
  for (const until = Date.now() + 30000; Date.now() < until;) {
    const result = look();
    if (result) return result;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`no ${what}`);
}

/** Waits until a process is gone, or a zombie. */
function gone(pid) {
  return found(`end of ${pid}`, () => {
    try {
      return /^\d+ \(.*\) [ZX]/s.test(fs.readFileSync(`/proc/${pid}/stat`, 'utf8'));
    } catch {
      return true;
    }
  });
}

/** Everything that a stream has. */
async function text(stream) {
  const parts = [];
  for await (const part of stream) parts.push(Buffer.from(part));
  return Buffer.concat(parts).toString();
}

const line = async (stream) => (await once(stream, 'data'))[0].toString();

module.exports = { served, found, gone, text, line };
