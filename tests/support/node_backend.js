// An HTTP/2 backend on Node's http2, scripted by the path of each request.
//
// argv[2] is JSON: {cert, key, unix, maxStreams, goawayEvery}. It listens in clear (h2c), with a certificate also over
// TLS (h2), with `unix` also on that socket file, and prints one JSON line with the ports. What it saw is asked for at the
// control port (HTTP/1.1, so that questions do not count as work): GET /stats, GET /runs/ID, GET /runs.
// Times are seconds of CLOCK_MONOTONIC, as Python's time.monotonic().
'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
const http = require('node:http');
const http2 = require('node:http2');

const options = JSON.parse(process.argv[2] || '{}');
const { NGHTTP2_NO_ERROR, NGHTTP2_INTERNAL_ERROR, NGHTTP2_REFUSED_STREAM } = http2.constants;

const stats = { sessions: 0, openSessions: 0, streams: 0, openStreams: 0, maxConcurrent: 0, aborted: 0, goaways: 0 };
const runs = new Map(); // x-id of a request -> what became of each time it came

const now = () => Number(process.hrtime.bigint()) / 1e9;

// Bodies, as tests/support/pattern.py makes them

const BLOCK = 4096;
const FILLING = Buffer.from(Array.from({ length: BLOCK - 8 }, (_, index) => (index * 7 + 3) & 0xff));

function piece(number, size) {
  const buffer = Buffer.allocUnsafe(Math.ceil(size / BLOCK) * BLOCK);
  for (let offset = 0; offset < buffer.length; offset += BLOCK, number += 1) {
    buffer.writeBigUInt64BE(BigInt(number), offset);
    FILLING.copy(buffer, offset + 8);
  }
  return buffer.subarray(0, size);
}

function sendPattern(stream, size) {
  let sent = 0;
  const more = () => {
    while (sent < size) {
      const length = Math.min(16 * BLOCK, size - sent);
      const block = piece(sent / BLOCK, length);
      sent += length;
      if (!stream.write(block)) {
        stream.once('drain', more);
        return;
      }
    }
    stream.end();
  };
  more();
}

// The end of the connection without a word: session.destroy() would still say GOAWAY.
const sockets = new Map(); // by the peer's port

function die(session) { sockets.get(session.socket.remotePort).destroy(); }

// Answers: (stream, headers, argument of the path, run)

const TEXT = { 'content-type': 'text/plain' };

function text(stream, status, body, fields = {}) {
  stream.respond({ ':status': status, ...TEXT, 'content-length': Buffer.byteLength(body), ...fields });
  stream.end(body);
}

function json(stream, value, fields = {}) {
  text(stream, 200, JSON.stringify(value), { 'content-type': 'application/json', ...fields });
}

// Only who calls this reads: a stream without it stays unread.
function count(stream, run) {
  stream.on('data', (data) => { run.received += data.length; });
}

function whenRead(stream, run, then) {
  const hash = crypto.createHash('sha256');
  count(stream, run);
  stream.on('data', (data) => { hash.update(data); });
  stream.on('end', () => { if (!stream.destroyed) then(hash.digest('hex')); });
}

const answers = {
  hello(stream) { text(stream, 200, 'hello\n'); },

  // What came: method, path, authority, fields.
  request(stream, headers, _, run) {
    whenRead(stream, run, (sha256) => json(stream, { headers, bytes: run.received, sha256 }));
  },

  delay(stream, headers, milliseconds) {
    setTimeout(() => { if (!stream.destroyed) text(stream, 200, 'late\n'); }, Number(milliseconds));
  },

  bytes(stream, headers, size) {
    stream.respond({ ':status': 200, 'content-length': size });
    sendPattern(stream, Number(size));
  },

  // A body whose length is not known before.
  stream(stream, headers, size) {
    stream.respond({ ':status': 200 });
    sendPattern(stream, Number(size));
  },

  upload(stream, headers, _, run) {
    whenRead(stream, run, (sha256) => json(stream, { bytes: run.received, sha256, length: headers['content-length'] }));
  },

  echo(stream, headers, _, run) {
    stream.respond({ ':status': 200 });
    count(stream, run);
    stream.pipe(stream);
  },

  // Reads nothing and says nothing.
  stall() {},

  silence(stream, headers, _, run) { count(stream, run); },

  silentbody(stream) {
    stream.respond({ ':status': 200, 'content-length': 100000 });
    stream.write('x'.repeat(1000));
  },

  // Trailers of the response; those of the request come back in the body.
  trailers(stream, headers, _, run) {
    let received = null;
    stream.on('trailers', (fields) => { received = fields; });
    whenRead(stream, run, () => {
      stream.respond({ ':status': 200, trailer: 'x-checksum' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-checksum': 'abc123', 'x-second': 'two' }));
      stream.end(JSON.stringify({ bytes: run.received, trailers: received, te: headers.te }));
    });
  },

  trailersonly(stream) {
    stream.respond({ ':status': 200 }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.end();
  },

  earlyhints(stream) {
    stream.additionalHeaders({ ':status': 103, link: '</a.css>; rel=preload' });
    stream.additionalHeaders({ ':status': 103, link: '</b.js>; rel=preload', 'x-interim': 'yes' });
    text(stream, 200, 'final\n');
  },

  // 100 only after a while, so that a client that waits for it proves that it does.
  continue(stream, headers, _, run) {
    run.expect = headers.expect;
    run.receivedBeforeContinue = run.received;
    setTimeout(() => {
      run.receivedBeforeContinue = run.received;
      stream.additionalHeaders({ ':status': 100 });
      whenRead(stream, run, (sha256) => json(stream, { bytes: run.received, sha256 }));
    }, 100);
  },

  // An answer instead of 100.
  refusecontinue(stream) {
    text(stream, 417, 'no\n');
    stream.on('finish', () => stream.close(NGHTTP2_NO_ERROR));
  },

  // Never 100: the gate sends the body after a while all the same.
  nocontinue(stream, headers, _, run) {
    run.expect = headers.expect;
    whenRead(stream, run, (sha256) => json(stream, { bytes: run.received, sha256 }));
  },

  status(stream, headers, status) {
    if (status === '204' || status === '304') {
      stream.respond({ ':status': Number(status), etag: '"v1"' }, { endStream: true });
    } else {
      text(stream, Number(status), `status ${status}\n`);
    }
  },

  head(stream, headers) {
    if (headers[':method'] === 'HEAD') {
      stream.respond({ ':status': 200, 'content-length': 12345, 'x-method': 'HEAD' }, { endStream: true });
    } else {
      text(stream, 200, 'x'.repeat(12345));
    }
  },

  // An answer before the upload is through, with and without the RST_STREAM that says so.
  early413(stream) {
    text(stream, 413, 'too much\n');
    stream.on('finish', () => stream.close(NGHTTP2_NO_ERROR));
  },

  early413open(stream) { text(stream, 413, 'too much\n'); },

  rstbeforehead(stream) { stream.close(NGHTTP2_INTERNAL_ERROR); },

  refused(stream) { stream.close(NGHTTP2_REFUSED_STREAM); },

  rstmidbody(stream) {
    stream.respond({ ':status': 200, 'content-length': 100000 });
    stream.write('x'.repeat(10000), () => stream.destroy(new Error('as told')));
  },

  // The same without a length: only the framing can tell that it broke.
  rstmidstream(stream) {
    stream.respond({ ':status': 200 });
    stream.write('x'.repeat(10000), () => stream.destroy(new Error('as told')));
  },

  diebeforehead(stream) { die(stream.session); },

  diemidbody(stream) {
    stream.respond({ ':status': 200, 'content-length': 100000 });
    stream.write('x'.repeat(10000), () => die(stream.session));
  },

  diemidstream(stream) {
    stream.respond({ ':status': 200 });
    stream.write('x'.repeat(10000), () => die(stream.session));
  },

  // The response's fields as the request says them: x-respond is JSON, `:status` among them.
  respond(stream, headers) {
    const fields = JSON.parse(headers['x-respond']);
    stream.respond({ ':status': 200, ...fields });
    stream.end('as told\n');
  },
};

// GOAWAY in mid-flight, with the highest stream seen as its last id; what comes behind that did not run. The connection is
// left to its client to close: Node 18's session.close() throws away answers that are not written yet.
function goaway(session) {
  stats.goaways += 1;
  session.last = session.highest;
  session.goaway(NGHTTP2_NO_ERROR, session.last);
}

function onStream(stream, headers) {
  const session = stream.session;
  if (session.last !== undefined && stream.id > session.last) {
    stream.on('error', () => {});
    stream.close(NGHTTP2_REFUSED_STREAM);
    return;
  }
  session.highest = stream.id;
  stats.streams += 1;
  stats.openStreams += 1;
  stats.maxConcurrent = Math.max(stats.maxConcurrent, stats.openStreams);
  const run = { path: headers[':path'], session: session.number, started: now(), received: 0 };
  const id = headers['x-id'] || `stream ${stats.streams}`;
  if (!runs.has(id)) runs.set(id, []);
  runs.get(id).push(run);
  stream.on('end', () => { run.requestEnded = now(); });
  stream.on('aborted', () => { run.aborted = true; stats.aborted += 1; });
  stream.on('error', (error) => { run.error = error.code || String(error); });
  stream.on('finish', () => { run.answered = now(); });
  stream.on('close', () => {
    run.closed = now();
    run.code = stream.rstCode;
    stats.openStreams -= 1;
  });
  if (options.goawayEvery) {
    stream.on('finish', () => {
      session.answered += 1;
      if (session.answered === options.goawayEvery) goaway(session);
    });
  }
  // NAME or NAME/ARGUMENT, under whatever base path.
  const segments = headers[':path'].split('?')[0].split('/');
  const last = segments.pop();
  const before = segments.pop();
  if (Object.hasOwn(answers, last)) answers[last](stream, headers, undefined, run);
  else if (Object.hasOwn(answers, before)) answers[before](stream, headers, last, run);
  else text(stream, 404, `no such path: ${headers[':path']}\n`);
}

function serve(server) {
  server.on('session', (session) => {
    stats.sessions += 1;
    stats.openSessions += 1;
    session.number = stats.sessions;
    session.answered = session.highest = 0;
    if (!session.destroyed) session.setLocalWindowSize(4 * 1024 * 1024);
    session.on('error', () => {});
    session.on('close', () => { stats.openSessions -= 1; });
  });
  server.on('sessionError', () => {});
  server.on('connection', (socket) => { sockets.set(socket.remotePort, socket); });
  server.on('stream', onStream);
  return server;
}

function listen(server, address) {
  return new Promise((resolve) => server.listen(address, () => resolve(server.address().port || address)));
}

const control = http.createServer((request, response) => {
  const id = request.url.startsWith('/runs/') ? decodeURIComponent(request.url.slice('/runs/'.length)) : null;
  let value;
  if (request.url === '/stats') value = stats;
  else if (request.url === '/runs') value = Object.fromEntries([...runs].map(([key, list]) => [key, list.length]));
  else if (id !== null) value = runs.get(id) || [];
  response.end(JSON.stringify(value));
});

async function main() {
  const settings = { initialWindowSize: 1024 * 1024, maxConcurrentStreams: options.maxStreams || 100 };
  const ports = { clear: await listen(serve(http2.createServer({ settings })), { port: 0, host: '127.0.0.1' }) };
  if (options.cert) {
    const pair = { cert: fs.readFileSync(options.cert), key: fs.readFileSync(options.key) };
    ports.tls = await listen(serve(http2.createSecureServer({ ...pair, settings })), { port: 0, host: '127.0.0.1' });
  }
  if (options.unix) await listen(serve(http2.createServer({ settings })), options.unix);
  ports.control = await listen(control, { port: 0, host: '127.0.0.1' });
  console.log(JSON.stringify(ports));
}

main();
