// A client on Node's http2: one session, many things at once, one JSON line of what came of it.
//
// argv[2] is JSON: {url, ca, prefix}. The server answers as node_backend.js does.
'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
const http2 = require('node:http2');

const { url, ca, prefix } = JSON.parse(process.argv[2]);
const REQUESTS = 100;
const BODY = Buffer.alloc(1024 * 1024, 'a body of the Node client ');

const session = http2.connect(url, ca ? { ca: fs.readFileSync(ca) } : {});
session.on('error', fail);

function fail(error) {
  console.error(error);
  process.exit(1);
}

function ask(headers, body, trailers) {
  return new Promise((resolve) => {
    const path = prefix + headers[':path'];
    const stream = session.request({ ...headers, ':path': path }, { waitForTrailers: Boolean(trailers), endStream: body === undefined });
    const found = { interim: [], size: 0 };
    const hash = crypto.createHash('sha256');
    let text = '';
    stream.on('headers', (head) => found.interim.push(head[':status']));
    stream.on('response', (head) => { found.status = head[':status']; found.length = head['content-length']; });
    stream.on('data', (data) => {
      found.size += data.length;
      hash.update(data);
      if (found.size < 1000) text += data;
    });
    stream.on('trailers', (fields) => { found.trailers = { ...fields }; });
    stream.on('wantTrailers', () => stream.sendTrailers(trailers));
    stream.on('error', fail);
    stream.on('end', () => resolve({ ...found, sha256: hash.digest('hex'), text }));
    if (body !== undefined) stream.end(body);
  });
}

async function main() {
  const result = { echoed: crypto.createHash('sha256').update(BODY).digest('hex') };
  const many = Array.from({ length: REQUESTS }, () => ask({ ':path': '/hello' }));
  result.many = (await Promise.all(many)).map((found) => `${found.status} ${found.text}`);
  [result.echo, result.head, result.hints, result.trailers] = await Promise.all([
    ask({ ':method': 'POST', ':path': '/echo' }, BODY),
    ask({ ':method': 'HEAD', ':path': '/head' }),
    ask({ ':path': '/earlyhints' }),
    ask({ ':method': 'POST', ':path': '/trailers', te: 'trailers' }, 'x', { 'x-sent': 'yes' }),
  ]);
  result.pinged = await new Promise((resolve) => session.ping((error) => resolve(!error)));
  session.close(() => console.log(JSON.stringify(result)));
}

main();
