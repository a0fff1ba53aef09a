// A small site on Node's http2 for browsers and for comparing backends: files, a page with assets, an EventSource, a
// WebSocket by RFC 8441.
//
// argv[2] is JSON: {cert, key}. It listens in clear (h2c) and over TLS (h2), and prints one JSON line with the ports, then
// one for each result that a page has sent to /result and for each WebSocket that ended.
'use strict';

const fs = require('node:fs');
const http2 = require('node:http2');

const options = JSON.parse(process.argv[2]);
const ETAG = '"v1"';
const ASSETS = 100;

const say = (value) => console.log(JSON.stringify(value));

// Bodies, as tests/support/pattern.py makes them

const BLOCK = 4096;
const FILLING = Buffer.from(Array.from({ length: BLOCK - 8 }, (_, index) => (index * 7 + 3) & 0xff));

function pattern(size) {
  const buffer = Buffer.alloc(Math.ceil(size / BLOCK) * BLOCK);
  for (let offset = 0, number = 0; offset < buffer.length; offset += BLOCK, number += 1) {
    buffer.writeBigUInt64BE(BigInt(number), offset);
    FILLING.copy(buffer, offset + 8);
  }
  return buffer.subarray(0, size);
}

// A WebSocket (RFC 6455) over a stream of HTTP/2

const TEXT = 1;
const BINARY = 2;
const CLOSE = 8;
const PING = 9;
const PONG = 10;

// A server's frames are not masked.
function frame(opcode, payload) {
  const size = payload.length;
  let head;
  if (size < 126) {
    head = Buffer.from([0x80 | opcode, size]);
  } else if (size < 65536) {
    head = Buffer.from([0x80 | opcode, 126, size >> 8, size & 0xff]);
  } else {
    head = Buffer.alloc(10);
    head[0] = 0x80 | opcode;
    head[1] = 127;
    head.writeBigUInt64BE(BigInt(size), 2);
  }
  return Buffer.concat([head, payload]);
}

// Returns [opcode, is it the last, payload, bytes taken], or null where the frame is not whole yet.
function parse(buffer) {
  if (buffer.length < 2) return null;
  let size = buffer[1] & 0x7f;
  let offset = 2;
  if (size === 126) {
    if (buffer.length < 4) return null;
    size = buffer.readUInt16BE(2);
    offset = 4;
  } else if (size === 127) {
    if (buffer.length < 10) return null;
    size = Number(buffer.readBigUInt64BE(2));
    offset = 10;
  }
  if (!(buffer[1] & 0x80)) throw new Error('a frame of a client is not masked');
  const mask = buffer.subarray(offset, offset + 4);
  offset += 4;
  if (buffer.length < offset + size) return null;
  const payload = Buffer.from(buffer.subarray(offset, offset + size));
  for (let index = 0; index < size; index += 1) payload[index] ^= mask[index & 3];
  return [buffer[0] & 0x0f, Boolean(buffer[0] & 0x80), payload, offset + size];
}

function websocket(stream, headers) {
  const fields = { ':status': 200 };
  const offered = headers['sec-websocket-protocol'];
  if (offered) fields['sec-websocket-protocol'] = offered.split(',')[0].trim();
  stream.respond(fields);
  let pending = Buffer.alloc(0);
  let message = { opcode: 0, parts: [] };
  let isClosing = false;
  const receive = (opcode, isLast, payload) => {
    if (opcode === PING) {
      stream.write(frame(PONG, payload));
    } else if (opcode === CLOSE) {
      // Either the answer to our close frame, or one that has to be answered. The end of the stream is behind both.
      stream.end(isClosing ? undefined : frame(CLOSE, payload));
    } else if (opcode <= BINARY) {
      if (opcode) message = { opcode, parts: [] };
      message.parts.push(payload);
      if (!isLast) return;
      const whole = Buffer.concat(message.parts);
      if (message.opcode === TEXT && whole.toString() === 'close') {
        isClosing = true;
        stream.write(frame(CLOSE, Buffer.concat([Buffer.from([4000 >> 8, 4000 & 0xff]), Buffer.from('as told')])));
      } else {
        stream.write(frame(message.opcode, whole));
      }
    }
  };
  stream.on('data', (data) => {
    pending = Buffer.concat([pending, data]);
    for (let found = parse(pending); found; found = parse(pending)) {
      pending = pending.subarray(found[3]);
      receive(found[0], found[1], found[2]);
    }
  });
  stream.on('end', () => stream.end());
  stream.on('close', () => say({ part: 'websocket over', code: stream.rstCode }));
}

// The page: it loads its assets, listens to events and talks over a WebSocket, all at once, and sends what came of each to
// /result.

const PAGE = `<!doctype html>
<title>a page</title>
<link rel="icon" href="data:,">
${Array.from({ length: ASSETS }, (_, index) => `<img src="/asset/${index}.svg">`).join('\n')}
<script>
const report = (part, result) => fetch('/result', { method: 'POST', body: JSON.stringify({ part, ...result }) });

addEventListener('load', () => {
  const timings = performance.getEntriesByType('resource').filter((entry) => entry.name.includes('/asset/'));
  report('assets', {
    loaded: [...document.images].filter((image) => image.naturalWidth > 0).length,
    page: performance.getEntriesByType('navigation')[0].nextHopProtocol,
    assets: [...new Set(timings.map((entry) => entry.nextHopProtocol))],
  });
});

const events = [];
const source = new EventSource('/events');
source.onmessage = (event) => {
  events.push(event.data);
  // The next one is sent only when this one has come: an event that is held back is never followed.
  if (events.length < 5) {
    fetch('/next', { method: 'POST' });
  } else {
    source.close();
    report('events', { events });
  }
};
source.onerror = () => {
  source.close();
  report('events', { events: [...events, 'error'] });
};

const heard = [];
const long = 'x'.repeat(100000);
const socket = new WebSocket(location.origin.replace('http', 'ws') + '/websocket', ['chat', 'other']);
socket.binaryType = 'arraybuffer';
socket.onopen = () => socket.send('hello');
socket.onmessage = ({ data }) => {
  if (data === 'hello') {
    heard.push('text');
    socket.send(long);
  } else if (data === long) {
    heard.push('long text');
    socket.send(Uint8Array.of(0, 1, 255));
  } else {
    heard.push([...new Uint8Array(data)].join());
    socket.send('close');
  }
};
socket.onerror = () => heard.push('error');
socket.onclose = ({ code, reason, wasClean }) => {
  report('websocket', { heard, subprotocol: socket.protocol, closed: [code, reason, wasClean] });
};
</script>
`;

const svg = (index) => `<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><!-- ${index} --><rect width="9" height="9"/></svg>`;

let next = () => {};

function eventStream(stream) {
  stream.respond({ ':status': 200, 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  let number = 0;
  next = () => { if (!stream.destroyed) stream.write(`data: event ${number += 1}\n\n`); };
  next();
}

// Files and the rest

function text(stream, status, body, fields = {}) {
  stream.respond({ ':status': status, 'content-length': Buffer.byteLength(body), ...fields });
  stream.end(body);
}

function whole(stream, then) {
  const parts = [];
  stream.on('data', (data) => parts.push(data));
  stream.on('end', () => then(Buffer.concat(parts).toString()));
}

function respond(stream, headers) {
  const [path, argument] = headers[':path'].split('?')[0].split('/').slice(1);
  switch (path) {
    case '': return text(stream, 200, PAGE, { 'content-type': 'text/html' });
    case 'asset': return text(stream, 200, svg(parseInt(argument, 10)), { 'content-type': 'image/svg+xml' });
    case 'events': return eventStream(stream);
    case 'next': text(stream, 200, ''); return next();
    case 'result': return whole(stream, (body) => { text(stream, 200, ''); say(JSON.parse(body)); });
    case 'small':
      if (headers['if-none-match'] === ETAG) return stream.respond({ ':status': 304, etag: ETAG }, { endStream: true });
      return text(stream, 200, 'small\n', { etag: ETAG, 'content-type': 'text/plain' });
    case 'bytes': return text(stream, 200, pattern(Number(argument)));
    case 'echo':
      stream.respond({ ':status': 200 });
      return stream.pipe(stream);
    default: return text(stream, 404, 'no such path\n');
  }
}

function onStream(stream, headers) {
  stream.on('error', () => {});
  if (headers[':method'] === 'HEAD') {
    const path = headers[':path'].split('/')[1];
    const fields = path === 'small' ? { ':status': 200, 'content-length': 6, etag: ETAG } : { ':status': 404 };
    stream.respond(fields, { endStream: true });
  } else if (headers[':protocol'] === 'websocket') {
    websocket(stream, headers);
  } else {
    respond(stream, headers);
  }
}

function serve(server) {
  server.on('stream', onStream);
  server.on('session', (session) => session.on('error', () => {}));
  server.on('sessionError', () => {});
  return new Promise((resolve) => server.listen({ port: 0, host: '127.0.0.1' }, () => resolve(server.address().port)));
}

async function main() {
  const settings = { enableConnectProtocol: true, initialWindowSize: 1024 * 1024, maxConcurrentStreams: 100 };
  const pair = { cert: fs.readFileSync(options.cert), key: fs.readFileSync(options.key) };
  const clear = await serve(http2.createServer({ settings }));
  const tls = await serve(http2.createSecureServer({ ...pair, settings }));
  say({ clear, tls });
}

main();
