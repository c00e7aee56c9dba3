// What programs in Node ask their host.
import test from 'node:test';
import assert from 'node:assert';
import { execFileSync, fork, spawn } from 'node:child_process';
import cluster from 'node:cluster';
import dns from 'node:dns/promises';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { Worker } from 'node:worker_threads';

const once = (it, name) => new Promise((done, fail) => it.once(name, done).once('error', fail));

test('userInfo', () => assert.ok(os.userInfo().username && os.userInfo().homedir));
test('homedir is writable', () => fs.accessSync(os.homedir(), fs.constants.W_OK));
test('hostname resolves', async () => assert.ok((await dns.lookup(os.hostname())).address));
test('localhost resolves', async () => assert.ok((await dns.lookup('localhost')).address));
test('parallelism', () => assert.ok(os.availableParallelism() >= 1 && os.cpus().length >= 1));
test('memory', () => assert.ok(os.totalmem() > os.freemem() && process.constrainedMemory() !== undefined));
test('interfaces', () => assert.ok(os.networkInterfaces().lo));
test('load and uptime', () => assert.ok(os.uptime() > 0 && os.loadavg().length === 3));
test('child', () => assert.strictEqual(execFileSync('sh', ['-c', 'echo $PPID']).toString().trim(), `${process.pid}`));
test('signals', async () => {
    const child = spawn('sleep', ['100']);
    child.kill('SIGINT');
    assert.strictEqual(await new Promise((done) => child.once('exit', (code, signal) => done(signal))), 'SIGINT');
});
test('own signal', async () => {
    const alive = setTimeout(() => {}, 10_000); // a handler alone does not keep the program
    const seen = once(process, 'SIGUSR2');
    process.kill(process.pid, 'SIGUSR2');
    await seen;
    clearTimeout(alive);
});
test('worker', async () => {
    const worker = new Worker('require("worker_threads").parentPort.postMessage(7)', { eval: true });
    assert.strictEqual(await once(worker, 'message'), 7);
});
test('fork', async () => {
    fs.writeFileSync('/tmp/child.mjs', 'process.send(7)');
    assert.strictEqual(await once(fork('/tmp/child.mjs'), 'message'), 7);
});
test('cluster', async () => {
    cluster.setupPrimary({ exec: '/tmp/cluster.mjs' });
    fs.writeFileSync('/tmp/cluster.mjs', 'import net from "node:net"; net.createServer((s) => s.end("x")).listen(4711, "127.0.0.1")');
    const worker = cluster.fork();
    await once(worker, 'listening');
    const socket = net.connect(4711, '127.0.0.1');
    assert.strictEqual((await once(socket, 'data')).toString(), 'x');
    worker.kill();
});
test('pipe in the file system', async () => {
    const server = net.createServer((socket) => socket.end('x')).listen('/tmp/socket');
    await once(server, 'listening');
    assert.strictEqual((await once(net.connect('/tmp/socket'), 'data')).toString(), 'x');
    server.close();
});
for (const at of ['/tmp', '/var/tmp', '/work', '/dev/shm']) {
    test(`files in ${at}`, () => {
        const dir = fs.mkdtempSync(path.join(at, 'probe-'));
        fs.writeFileSync(`${dir}/a`, 'x');
        fs.symlinkSync('a', `${dir}/l`);
        fs.chmodSync(`${dir}/a`, 0o700);
        fs.renameSync(dir, `${dir}-moved`);
        fs.cpSync(`${dir}-moved`, `${dir}-copy`, { recursive: true, preserveTimestamps: true });
        fs.rmSync(`${dir}-moved`, { recursive: true });
        assert.strictEqual(fs.readFileSync(`${dir}-copy/a`, 'utf8'), 'x');
        assert.ok(fs.statfsSync(at).bavail > 0);
    });
}
test('rename of the caller\'s directory', () => fs.renameSync('/work/sub', '/work/moved'));
test('watch', async () => {
    const dir = fs.mkdtempSync('/tmp/watch-');
    const watcher = fs.watch(dir);
    const seen = once(watcher, 'change');
    fs.writeFileSync(`${dir}/a`, 'x');
    await seen;
    watcher.close();
});
