// Makes logs, exports and proofs to test the verifier with. Trees are built as RFC 6962
// section 2.1 defines them, from the top down, and not as the verifier does it.
import crypto from 'node:crypto';
import fs from 'node:fs';

/** Random numbers from a seed (mulberry32): `int(n)` is one of 0 to n - 1. */
export function random(seed) {
  let a = seed >>> 0;
  const next = () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const int = (n) => Math.floor(next() * n);
  return { int, pick: (list) => list[int(list.length)] };
}

export const sha256 = (...parts) => {
  const hash = crypto.createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};
export const leafHash = (leaf) => sha256(Buffer.from([0]), leaf);
const node = (left, right) => sha256(Buffer.from([1]), left, right);
const split = (n) => 2 ** Math.ceil(Math.log2(n) - 1);

export function root(hashes) {
  if (hashes.length < 2) return hashes[0] ?? sha256('');
  const k = split(hashes.length);
  return node(root(hashes.slice(0, k)), root(hashes.slice(k)));
}
export function auditPath(m, hashes) {
  if (hashes.length === 1) return [];
  const k = split(hashes.length);
  const [low, high] = [hashes.slice(0, k), hashes.slice(k)];
  return m < k ? [...auditPath(m, low), root(high)] : [...auditPath(m - k, high), root(low)];
}
export function consistency(m, hashes, whole = true) {
  if (m === hashes.length) return whole ? [] : [root(hashes)];
  const k = split(hashes.length);
  const [low, high] = [hashes.slice(0, k), hashes.slice(k)];
  return m <= k ? [...consistency(m, low, whole), root(high)] : [...consistency(m - k, high, false), root(low)];
}

/** A signer of checkpoints; the same seed gives the same key. */
export function signer(name, seed) {
  const pkcs8 = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), sha256(`seed ${seed}`)]);
  const key = crypto.createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
  const x = Buffer.from(crypto.createPublicKey(key).export({ format: 'jwk' }).x, 'base64url');
  const body = Buffer.concat([Buffer.from([1]), x]);
  const id = sha256(name, '\n', body).subarray(0, 4);
  return {
    name,
    publicKey: `${name}+${id.toString('hex')}+${body.toString('base64')}`,
    signature: (text) => `— ${name} ${Buffer.concat([id, crypto.sign(null, Buffer.from(text), key)]).toString('base64')}\n`,
  };
}
export function checkpoint(key, size, hash, more = '') {
  const text = `${key.name}\n${size}\n${hash.toString('base64')}\n${more}`;
  return `${text}\n${key.signature(text)}`;
}

function leaf(rnd, id) {
  const details = rnd.pick([
    '{}',
    `{"id":"${rnd.int(99)}","n":${rnd.int(1e6)}}`,
    '{"objects":[{"after":"00ff","id":"a,\\"id\\":\\"7\\"","kind":"key"}]}',
    '{ "old": "not canonical" , "id":"5" }',
    `{"text":"${'ü–😀\\\\'.repeat(rnd.int(20))}"}`,
  ]);
  const agent = rnd.int(3) ? `"agentId":"agent-${rnd.int(9)}",` : '';
  const call = rnd.int(2) ? `"provider":"openai","requestId":"req_${rnd.int(1e9).toString(16)}",` : '';
  // The fraction of the second keeps every leaf apart from every other.
  const time = `2026-11-24T05:36:28.${String(id).padStart(6, '0')}${100 + rnd.int(900)}Z`;
  return `{${agent}"details":${details},"event":"proxy.request","id":"${id}",${call}"risk":${rnd.int(3)},"timestamp":"${time}"}`;
}

/** A log of n entries with checkpoints at random sizes, and at n. */
export function makeLog(rnd, n, key) {
  const leaves = Array.from({ length: n }, (_, i) => leaf(rnd, i + 1));
  const log = { key, leaves, hashes: leaves.map(leafHash), checkpoints: new Map() };
  const sizes = new Set([n]);
  for (let i = rnd.int(5); i > 0; i--) sizes.add(1 + rnd.int(n));
  for (const size of [...sizes].sort((a, b) => a - b)) log.checkpoints.set(size, checkpointAt(log, size));
  return log;
}
export function checkpointAt(log, size) {
  return checkpoint(log.key, size, root(log.hashes.slice(0, size)), size % 3 ? `state ${'5e'.repeat(32)} 0 ${size}\n` : '');
}

/** Hashes of the perfect subtrees from place `from` up to `end`. */
function subtrees(hashes, from, end) {
  if (from >= end) return [];
  let n = 1;
  while (from % (2 * n) === 0 && from + 2 * n <= end) n *= 2;
  return [root(hashes.slice(from, from + n)), ...subtrees(hashes, from + n, end)];
}

/** The export of the entries first to last, as parts that tests tamper with. */
export function makeExport(log, first = 1, last = log.leaves.length) {
  const sizes = [...log.checkpoints.keys()];
  const within = sizes.filter((size) => size >= first && size <= last);
  if (within.at(-1) !== last) within.push(sizes.find((size) => size > last));
  const text = (list) => list.map((hash) => hash.toString('base64'));
  return {
    lines: log.leaves.slice(first - 1, last),
    end: '\n',
    head: {
      format: 'keeper-audit-proof/1',
      first,
      last,
      publicKey: log.key.publicKey,
      left: text(subtrees(log.hashes, 0, first - 1)),
      right: text(subtrees(log.hashes, last, within.at(-1))),
    },
    sizes: within,
    checkpoints: within.map((size) => log.checkpoints.get(size)),
    hashes: log.hashes.slice(first - 1, last),
  };
}
export function writeExport(file, { lines, end, head, checkpoints, hashes }) {
  fs.writeFileSync(file, lines.join('\n') + (lines.length ? end : ''));
  const proof = [head, ...checkpoints.map((text) => ({ checkpoint: text }))];
  for (let i = 0; i < hashes.length; i += 256)
    proof.push({ hashes: Buffer.concat(hashes.slice(i, i + 256)).toString('base64') });
  fs.writeFileSync(`${file}.proof`, proof.map((object) => `${JSON.stringify(object)}\n`).join(''));
}
