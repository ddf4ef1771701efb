'use strict';
// A call whose output is collected, as by the promise form of child_process.execFile.

const MAX_BUFFER = 1024 * 1024;

/** A promise of the result with `stdout` and `stderr`; an error has them as well. */
async function collected(child, { argv, input, encoding, maxBuffer = MAX_BUFFER }) {
  feed(child.stdin, input);
  const tooLong = [];
  const streams = [child.stdout, child.stderr].map((stream, index) => gathered(stream, maxBuffer, () => {
    tooLong.push(['stdout', 'stderr'][index]);
    child.kill('SIGKILL');
  }));
  const ended = await child.result.then((result) => ({ result }), (error) => ({ error }));
  const [stdout, stderr] = (await Promise.all(streams)).map((data) => decoded(data, encoding));
  const error = ended.error ?? failure(ended.result, { argv, stderr, tooLong, killed: child.killed });
  if (error) throw Object.assign(error, { stdout, stderr });
  return { ...ended.result, stdout, stderr };
}

function feed(stdin, input) {
  // The command may end without reading all of it.
  stdin?.on('error', () => {}).end(input);
}

function gathered(stream, maxBuffer, overflow) {
  if (!stream) return Promise.resolve(Buffer.alloc(0));
  const parts = [];
  let length = 0;
  return new Promise((resolve) => {
    stream.on('data', (part) => {
      if (length === maxBuffer + 1) return;
      const room = maxBuffer - length;
      parts.push(part.length > room ? part.subarray(0, room) : part);
      length += part.length;
      if (length > maxBuffer) {
        length = maxBuffer + 1;
        overflow();
      }
    });
    stream.on('error', () => {}).on('close', () => resolve(Buffer.concat(parts)));
  });
}

const decoded = (data, encoding) => (encoding === null || encoding === 'buffer' ? data : data.toString(encoding));

/** Why a result is not that of a command that went well. */
function failure({ code, signal, call, timedOut, hangup }, { argv, stderr, tooLong, killed }) {
  if (tooLong.length > 0) {
    const error = new RangeError(`${tooLong[0]} maxBuffer length exceeded`);
    return Object.assign(error, { code: 'ERR_CHILD_PROCESS_STDIO_MAXBUFFER', call });
  }
  if (code === 0) return null;
  const cmd = argv.join(' ');
  return Object.assign(new Error(`Command failed: ${cmd}\n${stderr}`), { code, signal, call, timedOut, hangup, killed, cmd });
}

module.exports = { collected };
