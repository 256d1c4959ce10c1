import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { newKey } from '../lib/canary.mjs';
import { has, run } from '../lib/command.mjs';
import { start } from '../lib/keeper.mjs';

assert.ok(await has('git'), 'the git program is missing');
const world = await start();
const reader = await world.token('github:read');
const writer = await world.token('github:read', 'github:write');
const url = `${world.base('github')}/octo/hello.git`;
const withToken = (token) => url.replace('http://', `http://x-access-token:${token}@`);
const bearer = (token) => ['-c', `http.extraHeader=Authorization: Bearer ${token}`];
let folders = 0;
const folder = () => join(world.folder, `clone-${++folders}`);

async function git(args, cwd = world.folder) {
  const result = await run('git', ['-c', 'user.name=T', '-c', 'user.email=t@example.org', ...args], {
    cwd, env: { HOME: world.folder, GIT_CONFIG_NOSYSTEM: '1', GIT_TERMINAL_PROMPT: '0', LC_ALL: 'C' },
  });
  world.see(result.stdout + result.stderr);
  return result;
}

async function must(args, cwd) {
  const result = await git(args, cwd);
  assert.equal(result.code, 0, `git ${args.at(-1)}: ${result.stderr}`);
  return result.stdout;
}

test('git: clone and fetch with the token in the URL', async () => {
  const to = folder();
  const { requests } = await world.arrived(() => must(['clone', '-q', withToken(reader), to]));
  assert.equal(await readFile(join(to, 'README.md'), 'utf8'), 'Hello from the fake provider.\n');
  assert.ok(requests.length >= 2 && requests.every((request) => request.credential === world.keys.github), 'every request bears the real credential');
  await must(['fetch', '-q'], to);
});

test('git: clone and fetch with the token in http.extraHeader', async () => {
  const to = folder();
  await must([...bearer(reader), 'clone', '-q', url, to]);
  assert.equal(await readFile(join(to, 'README.md'), 'utf8'), 'Hello from the fake provider.\n');
  await must([...bearer(reader), 'fetch', '-q'], to);
});

for (const [name, bytes] of [['a small push', 200], ['a push above 1 MB, which git sends in chunks', 2 << 20]]) {
  test(`git: ${name} arrives whole`, async () => {
    const to = folder();
    await must(['clone', '-q', withToken(writer), to]);
    await writeFile(join(to, `noise-${bytes}.bin`), randomBytes(bytes));
    await must(['add', '.'], to);
    await must(['commit', '-q', '-m', name], to);
    await must(['push', '-q', 'origin', 'HEAD:main'], to);
    const again = folder();
    await must(['clone', '-q', withToken(reader), again]);
    assert.deepEqual(await readFile(join(again, `noise-${bytes}.bin`)), await readFile(join(to, `noise-${bytes}.bin`)));
  });
}

test('git: a key in a file that is pushed is refused, and git shows where it is', async () => {
  const to = folder();
  await must(['clone', '-q', withToken(writer), to]);
  await writeFile(join(to, 'key.txt'), newKey('github'));
  await must(['add', '.'], to);
  await must(['commit', '-q', '-m', 'key'], to);
  const { result, requests } = await world.arrived(() => git(['push', 'origin', 'HEAD:refs/heads/key'], to));
  assert.notEqual(result.code, 0);
  assert.match(result.stderr, /^remote: keeper: .* a secret in body\.pack\.objects\[\d+\]\.blob: /m);
  assert.ok(requests.every(({ method }) => method === 'GET'), 'of the push nothing arrived but its question for the refs');
});

test('git: github:read clones and cannot push, and git shows why', async () => {
  const to = folder();
  await must(['clone', '-q', withToken(reader), to]);
  await writeFile(join(to, 'new.txt'), 'new\n');
  await must(['add', '.'], to);
  await must(['commit', '-q', '-m', 'new'], to);
  const { result, requests } = await world.arrived(() => git(['push', 'origin', 'HEAD:main'], to));
  assert.notEqual(result.code, 0);
  assert.match(result.stderr, /^remote: keeper: .*github:write/m);
  assert.deepEqual(requests, []);
});

test('git: a scope that is missing is shown', async () => {
  const token = await world.token('openai:chat');
  for (const args of [['clone', withToken(token)], [...bearer(token), 'clone', url]]) {
    const { result, requests } = await world.arrived(() => git([...args, folder()]));
    assert.notEqual(result.code, 0);
    assert.match(result.stderr, /^remote: keeper: .*github:read/m);
    assert.deepEqual(requests, []);
  }
});

test('git: a revoked token is refused, and git shows why', async () => {
  const token = await world.revokedToken('github:read');
  for (const args of [['clone', withToken(token)], [...bearer(token), 'clone', url]]) {
    const { result, requests } = await world.arrived(() => git([...args, folder()]));
    assert.notEqual(result.code, 0);
    assert.match(result.stderr, /^remote: keeper: .*revoked/m);
    assert.deepEqual(requests, []);
  }
});

test('git: the provider\'s own error is shown', async () => {
  const result = await git(['clone', withToken(reader).replace('hello.git', 'none.git'), folder()]);
  assert.notEqual(result.code, 0);
  assert.match(result.stderr, /not found/);
});
