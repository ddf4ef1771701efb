'use strict';
// What examples/sluicify.js promises, against a real broker and the real client; tests/it/languages.rs starts
// them. SLUICE_TEST_SOCKET is the broker's socket, SLUICE_TEST_CLIENT the client.

const assert = require('node:assert');
const childProcess = require('node:child_process');
const crypto = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const test = require('node:test');
const { call, list } = require(path.join(__dirname, '../../examples/sluicify.js'));

const socket = process.env.SLUICE_TEST_SOCKET;
const sluicify = process.env.SLUICE_TEST_CLIENT;
const sh = (script, options) => call(socket, ['/bin/sh', '-c', script], { sluicify, ...options });

async function text(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts).toString();
}

const line = (stream) => new Promise((resolve) => stream.once('data', (data) => resolve(data.toString())));

async function isGone(pid) {
  const state = () => {
    try {
      return fs.readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/.*\) /s, '')[0];
    } catch {
      return 'X';
    }
  };
  for (const until = Date.now() + 20000; Date.now() < until;) {
    if ('ZX'.includes(state())) return true;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return false;
}

test('a call is the command to its caller', async () => {
  const ran = sh('cat; echo err >&2; exit 3');
  ran.stdin.end('in');
  assert.deepStrictEqual(await Promise.all([text(ran.stdout), text(ran.stderr)]), ['in', 'err\n']);
  const { call: number, ...rest } = await ran.result;
  assert.deepStrictEqual(rest, { outcome: 'exited', code: 3, signal: null, status: null, reason: null });
  assert.ok(number > 0);
});

test('64 MiB go both ways', async () => {
  const data = Buffer.alloc(64 << 20, crypto.randomBytes(1 << 20));
  const ran = call(socket, ['/bin/cat'], { sluicify });
  ran.stdin.end(data);
  const [out, back] = [crypto.createHash('sha256').update(data), crypto.createHash('sha256')];
  for await (const part of ran.stdout) back.update(part);
  assert.strictEqual((await ran.result).code, 0);
  assert.strictEqual(back.digest('hex'), out.digest('hex'));
});

test('a refusal, a timeout, a signal and a missing broker are told apart', async () => {
  const outcome = async (words, at = socket) => {
    const ran = call(at, words, { sluicify, stdin: 'ignore', stdout: 'ignore', stderr: 'ignore' });
    const { outcome, code, signal, status } = await ran.result;
    return [outcome, code, signal, status];
  };
  assert.deepStrictEqual(await outcome(['/bin/nope']), ['refused', 129, null, 'NO_RULE']);
  assert.deepStrictEqual(await outcome(['/bin/sleep', '9']), ['timeout', 124, null, 'TIMEOUT']);
  assert.deepStrictEqual(await outcome(['/bin/sh', '-c', 'exit 143']), ['exited', 143, null, null]);
  assert.deepStrictEqual(await outcome(['/bin/sh', '-c', 'kill $$']), ['signaled', 143, 15, null]);
  assert.deepStrictEqual(await outcome(['true'], '/is/not/there'), ['error', 125, null, null]);
  assert.throws(() => call(socket, []), TypeError);
});

test('a client that is not there is an outcome', async () => {
  const { outcome, code, reason } = await call(socket, ['true'], { sluicify: '/is/not/there' }).result;
  assert.deepStrictEqual([outcome, code], ['error', 125]);
  assert.match(reason, /ENOENT/);
});

test('signals reach the command', async () => {
  const ran = sh("trap 'exit 9' USR1; echo; while :; do sleep 0.02; done", { stdin: 'ignore' });
  await line(ran.stdout);
  // The client knows that the command has begun, and forwards the signal, or keeps it until it does.
  ran.kill('SIGUSR1');
  assert.strictEqual((await ran.result).code, 9);
});

test('an abort ends the call', async () => {
  const control = new AbortController();
  const ran = sh('echo $$; exec sleep 60', { stdin: 'ignore', signal: control.signal });
  const pid = Number(await line(ran.stdout));
  control.abort();
  assert.deepStrictEqual((({ outcome, reason }) => [outcome, reason])(await ran.result), ['error', 'aborted']);
  assert.ok(await isGone(pid));
  assert.strictEqual((await sh('exit 0', { signal: AbortSignal.abort() }).result).reason, 'aborted');
});

test('the loop goes on while calls run, and calls run beside each other', async () => {
  const calls = [...Array(20).keys()].map((code) => sh(`read line; exit ${code}`));
  let ticks = 0;
  // The commands end by what the loop does.
  const timer = setInterval(() => {
    ticks += 1;
    if (ticks === 10) calls.forEach(({ stdin }) => stdin.end('\n'));
  }, 10);
  const ends = await Promise.all(calls.map(({ result }) => result));
  clearInterval(timer);
  assert.deepStrictEqual(ends.map(({ code }) => code), [...Array(20).keys()]);
});

test('what cannot be started is an outcome', async () => {
  const huge = await call(socket, Array(250).fill('x'.repeat(16000)), { sluicify }).result;
  assert.deepStrictEqual([huge.outcome, huge.code], ['error', 125]);
  // In a process without descriptors that are free: of its few, the last two are for what node does itself.
  const script = `
    const { openSync, closeSync } = require('node:fs');
    const { call, list } = require(process.argv[1]);
    const held = [];
    try { for (;;) held.push(openSync('/dev/null', 'r')); } catch { held.splice(-2).forEach(closeSync); }
    const options = { sluicify: '/bin/true' };
    const failed = list('/x', options).then(() => 'a list', (error) => error.code);
    Promise.all([call('/x', ['true'], options).result, failed]).then(([{ outcome, code, reason }, error]) => {
      held.forEach(closeSync);
      process.stdout.write(JSON.stringify([outcome, code, /EMFILE/.test(reason), error]));
    });`;
  const module = path.join(__dirname, '../../examples/sluicify.js');
  const words = ['-c', 'ulimit -n 64 && exec "$@"', 'sh', process.execPath, '-e', script, module];
  const ran = childProcess.spawnSync('/bin/sh', words, { encoding: 'utf8' });
  assert.strictEqual(ran.stdout, JSON.stringify(['error', 125, true, 'EMFILE']), ran.stderr);
});

test('the listing has each rule', async () => {
  const rules = await list(socket, { sluicify });
  assert.deepStrictEqual(rules[0].about, ['Runs a script.']);
  await assert.rejects(list('/is/not/there', { sluicify }), { code: 125 });
});
