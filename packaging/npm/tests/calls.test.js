'use strict';
// What calls promise, by the addon and by what takes its place.

const assert = require('node:assert');
const { spawn } = require('node:child_process');
const crypto = require('node:crypto');
const { once } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');
const { after, before, test } = require('node:test');
const { Worker } = require('node:worker_threads');
const sluice = require('..');
const { served, gone, found, text, line } = require('./gate.js');

const isAddon = sluice.backend === 'addon';
let gate;
let options;
before(async () => {
  gate = await served();
  options = { socket: gate.socket, sluicify: process.env.SLUICIFY_BIN };
});
after(() => gate.stop());

const call = (argv, more) => sluice.call(argv, { ...options, ...more });
const run = (argv, more) => sluice.run(argv, { ...options, ...more });
const sh = (script, more) => call(['/bin/sh', '-c', script], more);
const quiet = { stdio: 'ignore' };

test('the backend is the one under test', () => {
  assert.strictEqual(sluice.backend, process.env.SLUICE_TEST_BACKEND);
  assert.strictEqual(sluice.loadError === null, isAddon);
});

test('the types have what there is', () => {
  const types = fs.readFileSync(path.join(__dirname, '../index.d.ts'), 'utf8');
  const names = [...types.matchAll(/^export (?:class|const|function) (\w+)/gm)].map(([, name]) => name);
  assert.deepStrictEqual([...new Set(names)].sort(), Object.keys(sluice).sort());
});

test('a call is the command to its caller', async () => {
  const ran = sh('cat; echo err >&2; exit 3');
  ran.stdin.end('in');
  assert.deepStrictEqual(await Promise.all([text(ran.stdout), text(ran.stderr)]), ['in', 'err\n']);
  const { call: number, ...rest } = await ran.result;
  assert.deepStrictEqual(rest, { code: 3, signal: null, timedOut: false, hangup: false });
  assert.strictEqual(number, gate.records('start').at(-1).call);
  assert.strictEqual(await ran.started, number);
  assert.strictEqual(ran.kill(), false);
});

test('64 MiB go both ways', async () => {
  const data = Buffer.alloc(64 << 20, crypto.randomBytes(1 << 20));
  const ran = call(['/bin/cat']);
  ran.stdin.end(data);
  const [out, back] = [crypto.createHash('sha256').update(data), crypto.createHash('sha256')];
  for await (const part of ran.stdout) back.update(part);
  assert.strictEqual((await ran.result).code, 0);
  assert.strictEqual(back.digest('hex'), out.digest('hex'));
});

test('a signal and a timeout are told apart from an exit code', async () => {
  const ended = async (words) => {
    const { code, signal, timedOut } = await call(words, quiet).result;
    return [code, signal, timedOut];
  };
  assert.deepStrictEqual(await ended(['/bin/sh', '-c', 'exit 143']), [143, null, false]);
  assert.deepStrictEqual(await ended(['/bin/sh', '-c', 'kill $$']), [null, 'SIGTERM', false]);
  assert.deepStrictEqual(await ended(['/bin/sh', '-c', 'kill -ABRT $$']), [null, 'SIGABRT', false]);
  assert.deepStrictEqual(await ended(['/bin/sleep', '9']), [124, null, true]);
});

test('a refusal has its name, its number and its reason', async () => {
  const refused = await call(['/bin/nope'], quiet).result.catch((error) => error);
  assert.ok(refused instanceof sluice.SluiceError && refused instanceof Error);
  assert.deepStrictEqual([refused.code, refused.mayHaveRun], ['NO_RULE', false]);
  assert.strictEqual(refused.call, gate.records('reject').at(-1).call);
  assert.match(refused.message, /^\/bin\/nope: no rule allows this/);
  const failed = await call(['/bin/is-not-there'], quiet).result.catch((error) => error);
  assert.deepStrictEqual([failed.code, failed.mayHaveRun], ['SPAWN', false]);
  assert.ok(failed.call > 0 && failed.reason.length > 0, failed.reason);
  const never = call(['/bin/nope'], { ...quiet, socket: '/is/not/there' });
  never.result.catch(() => {});
  assert.strictEqual(await never.started, null);
});

test('a broker that is not there is told', async () => {
  const unreached = call(['true'], { ...quiet, socket: '/is/not/there' }).result;
  await assert.rejects(unreached, { name: 'SluiceError', code: 'UNREACHED', mayHaveRun: false });
  await assert.rejects(sluice.list({ ...options, socket: '/is/not/there' }), { code: 'UNREACHED' });
});

test('what is no call throws at once', () => {
  const throws = (argv, more, code) => assert.throws(() => call(argv, more), { name: 'TypeError', code });
  throws([], {}, 'ERR_INVALID_ARG_TYPE');
  throws('true', {}, 'ERR_INVALID_ARG_TYPE');
  throws(['a\0b'], {}, 'ERR_INVALID_ARG_VALUE');
  throws(['true'], { fd: 9 }, 'ERR_INVALID_ARG_VALUE');
  throws(['true'], { stdio: 'else' }, 'ERR_INVALID_ARG_VALUE');
  throws(['true'], { stdio: [fs.createReadStream('/dev/null')] }, 'ERR_INVALID_ARG_VALUE');
  throws(['true'], { encoding: 'no' }, 'ERR_INVALID_ARG_VALUE');
  throws(Array(3), {}, 'ERR_INVALID_ARG_TYPE');
});

test('what can be no descriptor throws at once', () => {
  const wrong = { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' };
  for (const number of [-1, 0.5, NaN, Infinity, 2 ** 31, 2 ** 32, 2 ** 32 + 5]) {
    assert.throws(() => call(['/bin/true'], { stdio: [number, 'ignore', 'ignore'] }), wrong, `stdio: ${number}`);
    assert.throws(() => call(['/bin/true'], { stdio: [{ fd: number }, 'ignore', 'ignore'] }), wrong, `fd: ${number}`);
    assert.throws(() => call(['/bin/true'], { ...quiet, status: number }), wrong, `status: ${number}`);
    assert.throws(() => sluice.connect({ fd: number }), wrong, `the broker's: ${number}`);
  }
  assert.throws(() => sluice.connect({ fd: 2 }), wrong);
});

test('stdio takes descriptors and streams', async () => {
  const file = path.join(gate.directory, 'out');
  fs.writeFileSync(`${file}.in`, 'from a file');
  const [input, output] = [fs.openSync(`${file}.in`), fs.openSync(file, 'w')];
  const stream = fs.createWriteStream(null, { fd: output });
  const ran = sh('cat; echo err >&2', { stdio: [input, stream, 'pipe'], encoding: 'utf8' });
  assert.strictEqual(ran.stdin, null);
  assert.strictEqual(await line(ran.stderr), 'err\n');
  assert.strictEqual((await ran.result).code, 0);
  assert.strictEqual(fs.readFileSync(file, 'utf8'), 'from a file');
  fs.closeSync(input);
  stream.destroy();
  await assert.rejects(sh('exit 0', { stdio: [4000, 'ignore', 'ignore'] }).result);
});

test('signals reach the command', async () => {
  const ran = sh("trap 'exit 9' USR1; echo; while :; do sleep 0.02; done", { stdio: ['ignore', 'pipe', 'ignore'] });
  await line(ran.stdout);
  assert.strictEqual(ran.kill('SIGALRM'), false);
  assert.strictEqual(ran.kill('SIGUSR1'), true);
  assert.strictEqual((await ran.result).code, 9);
  assert.throws(() => ran.kill('SIGNO'), { code: 'ERR_UNKNOWN_SIGNAL' });
});

test('SIGKILL ends the call', async () => {
  const ran = sh('echo $$; exec sleep 60', { stdio: ['ignore', 'pipe', 'ignore'] });
  const pid = Number(await line(ran.stdout));
  assert.ok(ran.kill('SIGKILL') && ran.killed);
  const { call: number, ...rest } = await ran.result;
  assert.deepStrictEqual(rest, { code: null, signal: 'SIGKILL', timedOut: false, hangup: true });
  await gone(pid);
  const end = await found('an end', () => gate.records('exit').find((record) => record.pid === pid || record.hangup));
  assert.strictEqual(end.hangup, true);
  if (isAddon) assert.strictEqual(gate.records('exit').at(-1).call, number);
});

test('SIGTERM hangs the call up, and its end is waited for', async () => {
  const ended = async (script) => {
    const ran = sh(script, { stdio: ['ignore', 'pipe', 'ignore'] });
    await line(ran.stdout);
    assert.ok(ran.kill());
    const { call: number, ...rest } = await ran.result;
    const end = await found('an end', () => gate.records('exit').find((record) => record.call === number));
    assert.strictEqual(end.hangup, true);
    return rest;
  };
  const left = { code: null, signal: null, timedOut: false, hangup: true };
  assert.deepStrictEqual(await ended("trap 'exit 5' TERM; echo; sleep 60 & wait"), { ...left, code: 5 });
  assert.deepStrictEqual(await ended('echo; exec sleep 60'), { ...left, signal: 'SIGTERM' });
});

test('a call that its rule keeps is left at a second signal', async () => {
  const go = path.join(gate.directory, 'go');
  const script = `echo; until [ -e ${go} ]; do sleep 0.02; done; exit 7`;
  const ran = call(['/bin/sh', '-e', '-c', script], { stdio: ['ignore', 'pipe', 'ignore'] });
  await line(ran.stdout);
  assert.ok(ran.kill() && ran.kill('SIGKILL'));
  const { code, signal, hangup } = await ran.result;
  assert.deepStrictEqual([code, signal, hangup], [null, 'SIGKILL', true]);
  fs.writeFileSync(go, '');
  const end = await found('an end', () => gate.records('exit').find((record) => record.status === 7));
  assert.strictEqual(end.hangup, undefined);
});

test('an abort ends the call', async () => {
  const control = new AbortController();
  const ran = sh('echo $$; exec sleep 60', { stdio: ['ignore', 'pipe', 'ignore'], signal: control.signal });
  const pid = Number(await line(ran.stdout));
  control.abort(new Error('why'));
  await assert.rejects(ran.result, { name: 'AbortError', code: 'ABORT_ERR', cause: new Error('why') });
  await gone(pid);
  const never = sh('exit 0', { signal: AbortSignal.abort() });
  assert.deepStrictEqual([never.stdin, never.kill(), await never.started], [null, false, null]);
  await assert.rejects(never.result, { name: 'AbortError' });
});

test('100 calls run at once, and the loop goes on', async () => {
  let ticks = 0;
  const timer = setInterval(() => { ticks += 1; }, 10);
  const codes = await Promise.all([...Array(100).keys()].map((code) => sh(`sleep 0.5; exit ${code}`, quiet).result));
  clearInterval(timer);
  assert.deepStrictEqual(codes.map(({ code }) => code), [...Array(100).keys()]);
  assert.ok(ticks > 20, `${ticks} ticks`);
});

test('100 calls share a connection', { skip: !isAddon && 'by the addon alone' }, async () => {
  const connection = sluice.connect(options);
  assert.strictEqual((await connection.call(['/bin/true'], quiet).result).code, 0);
  const sockets = () => fs.readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return fs.readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:');
    } catch {
      return false;
    }
  }).length;
  const before = sockets();
  const calls = [...Array(100).keys()].map((code) => connection.call(['/bin/sh', '-c', `read x; exit ${code}`],
    { stdio: ['pipe', 'ignore', 'ignore'] }));
  await Promise.all(calls.map(({ started }) => started));
  assert.strictEqual(sockets(), before);
  calls.forEach(({ stdin }) => stdin.end('\n'));
  const ends = await Promise.all(calls.map(({ result }) => result));
  assert.deepStrictEqual(ends.map(({ code }) => code), [...Array(100).keys()]);
  connection.close();
  assert.throws(() => connection.call(['/bin/true']), { code: 'ERR_CLOSED' });
});

test('a connection is one to its caller in either way', async () => {
  const connection = sluice.connect(options);
  const { stdout } = await connection.run(['/bin/sh', '-c', 'echo hi'], { sluicify: options.sluicify });
  assert.strictEqual(stdout, 'hi\n');
  assert.ok((await connection.list({ sluicify: options.sluicify })).length > 3);
  connection.close();
});

test('the listing has each rule', async () => {
  const rules = await sluice.list(options);
  assert.strictEqual(rules.length, 7);
  assert.deepStrictEqual(rules[0].about, ['Runs a script.']);
});

test('a call that waits for its place says so', { skip: !isAddon && 'by the addon alone' }, async () => {
  const first = call(['/bin/cat', '-'], { stdio: ['pipe', 'ignore', 'ignore'] });
  await first.started;
  const second = call(['/bin/cat', '-'], quiet);
  const third = call(['/bin/cat', '-'], quiet);
  const limits = [second, third].map((waiting) => new Promise((resolve) => waiting.once('queued', resolve)));
  assert.deepStrictEqual(await Promise.all(limits), [1, 1]);
  // There is no command yet that could end of it.
  assert.ok(third.kill('SIGTERM'));
  const { code, signal, call: number, hangup } = await third.result;
  assert.deepStrictEqual([code, signal, number, hangup], [null, 'SIGTERM', null, true]);
  first.stdin.end();
  assert.deepStrictEqual([(await first.result).code, (await second.result).code], [0, 0]);
});

test('a call is left before it is known that it waits', { skip: !isAddon && 'by the addon alone' }, async () => {
  const first = call(['/bin/cat', '-'], { stdio: ['pipe', 'ignore', 'ignore'] });
  await first.started;
  const waiting = ['SIGTERM', 'SIGHUP', 'SIGKILL', 'SIGTERM'].map((name) => [name, call(['/bin/cat', '-'], quiet)]);
  // By then the broker has taken them, and it tells a call that waits so after a second.
  for (let turn = 0; turn < 5; turn += 1) await run(['/bin/true']);
  waiting.forEach(([name, ran]) => assert.ok(ran.kill(name)));
  for (const [name, ran] of waiting) {
    assert.deepStrictEqual(await ran.result, { code: null, signal: name, call: null, timedOut: false, hangup: true });
  }
  first.stdin.end();
  assert.strictEqual((await first.result).code, 0);
});

test('the status is what --status-fd writes', async () => {
  const file = path.join(gate.directory, 'status');
  const fd = fs.openSync(file, 'w');
  const { call: number } = await sh('exit 4', { ...quiet, status: fd }).result;
  const line = await found('a status', () => fs.readFileSync(file, 'utf8'));
  const want = { outcome: 'exited', code: 4, signal: null, status: null, call: number, reason: null };
  assert.deepStrictEqual(JSON.parse(line), want);
  fs.closeSync(fd);
});

test('run collects the output', async () => {
  const script = (text) => ['/bin/sh', '-c', text];
  const ran = run(script('cat; echo err >&2'), { input: 'in' });
  assert.ok(ran.child instanceof sluice.Call);
  const { stdout, stderr, code } = await ran;
  assert.deepStrictEqual([stdout, stderr, code], ['in', 'err\n', 0]);
  const { stdout: bytes } = await run(script('printf "\\377"'), { encoding: 'buffer' });
  assert.deepStrictEqual(bytes, Buffer.from([255]));
  const failed = await run(script('echo out; echo err >&2; exit 3')).catch((error) => error);
  assert.deepStrictEqual([failed.code, failed.stdout, failed.stderr, failed.killed], [3, 'out\n', 'err\n', false]);
  assert.match(failed.message, /^Command failed: \/bin\/sh -c .*\nerr\n$/s);
  await assert.rejects(run(['/bin/nope']), { code: 'NO_RULE', stdout: '' });
  const long = await run(script('yes'), { maxBuffer: 1000 }).catch((error) => error);
  assert.deepStrictEqual([long.code, long.stdout.length], ['ERR_CHILD_PROCESS_STDIO_MAXBUFFER', 1000]);
  await assert.rejects(run(script('sleep 60'), { signal: AbortSignal.timeout(50) }), { name: 'AbortError' });
});

test('a command that leaves its input unread harms nobody', async () => {
  assert.strictEqual((await run(['/bin/true'], { input: Buffer.alloc(1 << 20) })).code, 0);
});

/** A node of its own that uses this package: its words. */
function nodeWords(script) {
  const head = `const sluice = require(${JSON.stringify(path.join(__dirname, '..'))});
    const options = ${JSON.stringify({ ...options, socket: undefined })};`;
  return [process.execPath, '-e', head + script];
}

function started([program, ...words], env) {
  return spawn(program, words, { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, ...env } });
}

const node = (script) => started(nodeWords(script), { SLUICE_SOCKET: gate.socket });

test('a node that is killed takes its calls with it', { skip: !isAddon && 'by the addon alone' }, async () => {
  const script = `sluice.call(['/bin/sh', '-c', 'echo $$; exec sleep 60'],
    { ...options, stdio: ['ignore', 'inherit', 'ignore'] });`;
  const child = node(script);
  const pid = Number(await line(child.stdout));
  child.kill('SIGKILL');
  await gone(pid);
  const start = await found('a start', () => gate.records('start').at(-1));
  const end = await found('an end', () => gate.records('exit').find((record) => record.call === start.call));
  assert.strictEqual(end.hangup, true);
});

test('node ends with its last call, and does not wait for one that is let go', async () => {
  const ended = async (script) => {
    const child = node(script);
    const [said, code] = await Promise.all([text(child.stdout), new Promise((resolve) => child.on('exit', resolve))]);
    return [said, code];
  };
  const call = (argv) => `sluice.call(${JSON.stringify(argv)}, { ...options, stdio: 'ignore' })`;
  const slow = call(['/bin/sh', '-c', 'sleep 0.3; exit 5']);
  assert.deepStrictEqual(await ended(`${slow}.result.then(({ code }) => console.log(code))`), ['5\n', 0]);
  const endless = call(['/bin/sh', '-c', 'exec sleep 60']);
  assert.deepStrictEqual(await ended(`const ran = ${endless}.unref(); ran.result.catch(() => {});`), ['', 0]);
  assert.deepStrictEqual(await ended(`const ran = ${endless}; ran.started.then(() => process.exit(6));
    setTimeout(() => process.exit(6), 500);`), ['', 6]);
  assert.deepStrictEqual(await ended(`${call(['/bin/nope'])}.result.catch(({ code }) => console.log(code))`), ['NO_RULE\n', 0]);
});

test('a call whose connection is waited for is left at once', { skip: !isAddon && 'by the addon alone' }, async () => {
  const full = path.join(gate.directory, 'full');
  const script = `import socket, sys
it = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
it.bind(sys.argv[1]); it.listen(0); print('ready', flush=True); sys.stdin.read()`;
  const silent = spawn('python3', ['-c', script, full], { stdio: ['pipe', 'pipe', 'inherit'] });
  await line(silent.stdout);
  const caller = started(nodeWords(`(async () => {
    const control = new AbortController();
    const all = ['SIGTERM', 'SIGKILL', 'SIGINT', 'abort'].map((name) => {
      const made = sluice.call(['true'], { ...options, signal: name === 'abort' ? control.signal : undefined });
      setTimeout(() => (name === 'abort' ? control.abort() : made.kill(name)), 300);
      return made.result.then(({ signal, hangup }) => signal, ({ name }) => name);
    });
    console.log((await Promise.all(all)).join(' '));
  })();`), { SLUICE_SOCKET: full });
  assert.strictEqual(await text(caller.stdout), 'SIGTERM SIGKILL SIGINT AbortError\n');
  silent.stdin.end();
});

test('a worker that is terminated takes its calls with it', { skip: !isAddon && 'by the addon alone' }, async () => {
  const worker = new Worker(`const { workerData: { options, index }, parentPort } = require('node:worker_threads');
    const ran = require(index).call(['/bin/sh', '-c', 'echo $$; exec sleep 60'], options);
    ran.stdout.once('data', (data) => parentPort.postMessage(Number(data)));`,
  { eval: true, workerData: { options, index: path.join(__dirname, '..') } });
  const [pid] = await once(worker, 'message');
  await worker.terminate();
  await gone(pid);
});

test('a connection that was handed in is used, and stays its own', async () => {
  const script = `(async () => {
    for (const code of [3, 4]) {
      const argv = ['/bin/sh', '-c', 'exit ' + code];
      const { code: got } = await sluice.call(argv, { ...options, ...OPTIONS, stdio: 'ignore' }).result;
      console.log(got, (await sluice.list({ ...options, ...OPTIONS })).length);
    }
  })();`;
  const renamed = ['/bin/sh', '-c', 'FD=$SLUICE_FD; unset SLUICE_FD; export FD; exec "$@"', 'sh'];
  for (const [more, before] of [['({})', []], ['{ fd: Number(process.env.FD) }', renamed]]) {
    const words = [...before, ...nodeWords(script.replaceAll('OPTIONS', more))];
    const child = started([options.sluicify, '--with-fd', gate.socket, '--', ...words], {});
    assert.strictEqual(await text(child.stdout), '3 7\n4 7\n');
  }
});

test('a FIFO door is one to its caller', async () => {
  const ran = call(['/bin/sh', '-c', 'cat; exit 3'], { socket: undefined, door: path.join(gate.directory, 'fifo') });
  ran.stdin.end('in');
  assert.strictEqual(await text(ran.stdout), 'in');
  assert.strictEqual((await ran.result).code, 3);
  assert.strictEqual(gate.records('start').at(-1).door, 'fifo');
});

test('200 calls leave no descriptor and no thread behind', async () => {
  const count = (of) => fs.readdirSync(`/proc/self/${of}`).length;
  const some = () => Promise.all([...Array(20)].map(async () => {
    const ran = sh('cat; exit 1');
    ran.stdin.end('x');
    await Promise.all([text(ran.stdout), text(ran.stderr), ran.result]);
  }));
  const rest = async () => {
    let [last, now] = [null, null];
    await found('rest', () => {
      [last, now] = [now, `${count('fd')} ${count('task')}`];
      return last === now;
    });
    return now;
  };
  await some();
  const before = await rest();
  for (let turn = 0; turn < 9; turn += 1) await some();
  await call(['/bin/nope'], quiet).result.catch(() => {});
  await found(`the ${before} of before`, () => `${count('fd')} ${count('task')}` === before);
});

test('a call without a thread leaves no descriptor behind', { skip: !isAddon && 'by the addon alone' }, async () => {
  const child = node(`(async () => {
    // A user of no other process, where the limit of processes would not hold.
    if (process.getuid() === 0) { process.setgroups([]); process.setgid(54321); process.setuid(54321); }
    require('child_process').execFileSync('prlimit', ['--pid', process.pid, '--nproc=1:1']);
    const count = () => require('fs').readdirSync('/proc/self/fd').length;
    const made = () => sluice.call(['true'], options).result.then(() => 'a result', ({ message }) => message);
    const said = new Set([await made()]);
    const before = count();
    for (let turn = 0; turn < 20; turn += 1) said.add(await made());
    console.log(...said, count() - before);
  })();`);
  assert.match(await text(child.stdout), /^nothing ran: Resource temporarily unavailable [^\n]* 0\n$/);
});

test('workers that are terminated amid calls leave no descriptor', { skip: !isAddon && 'by the addon alone' }, async () => {
  const count = () => fs.readdirSync('/proc/self/fd').length;
  const worker = async () => {
    const one = new Worker(`const { workerData: { index }, parentPort } = require('node:worker_threads');
      const { call } = require(index);
      parentPort.postMessage('begins');
      for (const until = Date.now() + 10000; Date.now() < until;) {
        call(['true'], { socket: '/is/not/there' }).result.catch(() => {});
      }`, { eval: true, workerData: { index: path.join(__dirname, '..') } });
    await once(one, 'message');
    await one.terminate();
  };
  await worker();
  const before = count();
  for (let turn = 0; turn < 24; turn += 1) await worker();
  await found(`the ${before} descriptors of before`, () => count() <= before);
});
