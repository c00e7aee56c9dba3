// Run in the packed runtime: a server that answers itself, a worker, WebAssembly, TLS's certificates.
import assert from "node:assert";
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { rootCertificates } from "node:tls";
import { Worker } from "node:worker_threads";
import { gunzipSync, gzipSync } from "node:zlib";

const sum = createHash("sha256").update("hello").digest("hex");
assert.equal(sum, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
assert.equal(gunzipSync(gzipSync("hello")).toString(), "hello");
assert(rootCertificates.length > 100, `${rootCertificates.length} certificates`);

const source = "const { parentPort } = require('worker_threads'); parentPort.postMessage(6 * 7);";
const answer = await new Promise((done) => new Worker(source, { eval: true }).on("message", done));
assert.equal(answer, 42);

const empty = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);
assert(await WebAssembly.instantiate(empty));
assert.equal(new Intl.DateTimeFormat("de", { month: "long" }).format(new Date(2026, 2, 1)), "März");

const server = createServer((_, response) => response.end("served"));
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const response = await fetch(`http://127.0.0.1:${server.address().port}/`);
assert.equal(await response.text(), "served");
server.close();
console.log(`node ${process.version}, ${rootCertificates.length} certificates`);
