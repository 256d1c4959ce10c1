#!/usr/bin/env node
// Verifies exports and proofs of an audit log, written from docs/audit-format.md alone.
import crypto from 'node:crypto';
import fs from 'node:fs';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

const usage = `Usage:
  node verify.mjs --export FILE.ndjson [--proof FILE.ndjson.proof] --key KEY [--witness FILE ...] [--json]
  node verify.mjs --entry-proof FILE.json --key KEY [--json]
  node verify.mjs --consistency FILE.json --from-checkpoint FILE --key KEY [--json]
KEY is NAME+HASH+KEY or a file that holds it. Exit codes: 0 sound, 1 a file cannot be read
or is not of the format, 2 wrong usage, 5 not sound.`;

class Usage extends Error {}
class Unreadable extends Error {}
class Harm extends Error {
  constructor(harm, text, entry = null, until = null) {
    super(text);
    Object.assign(this, { harm, entry, until });
  }
}
const refuse = (what) => {
  throw new Unreadable(`not of the format: ${what}`);
};
const span = (from, until) => (until === null || until === from ? `entry ${from}` : `entries ${from} to ${until}`);

// ---- Hashes and trees (RFC 6962, section 2.1) ----

const sha256 = crypto.hash // faster, since Node 20.12
  ? (data) => crypto.hash('sha256', data, 'buffer')
  : (data) => crypto.createHash('sha256').update(data).digest();
let leafBytes = Buffer.alloc(4096); // its first byte is the 0x00 before every leaf
function leafHash(leaf) {
  if (leaf.length >= leafBytes.length) leafBytes = Buffer.alloc(2 * leaf.length);
  leaf.copy(leafBytes, 1);
  return sha256(leafBytes.subarray(0, leaf.length + 1));
}
const nodeBytes = Buffer.alloc(65, 1);
function nodeHash(left, right) {
  left.copy(nodeBytes, 1);
  right.copy(nodeBytes, 33);
  return sha256(nodeBytes);
}

/** A tree that grows at its end, kept as its perfect subtrees. */
class Tree {
  size = 0;
  peaks = [];
  add(hash, leaves = 1) {
    this.size += leaves;
    for (; this.peaks.at(-1)?.leaves === leaves; leaves *= 2) hash = nodeHash(this.peaks.pop().hash, hash);
    this.peaks.push({ hash, leaves });
  }
  root() {
    if (!this.size) return sha256(Buffer.alloc(0));
    return this.peaks.map((peak) => peak.hash).reduceRight((right, left) => nodeHash(left, right));
  }
}

/** The sizes of the perfect subtrees that lie from place `from` to `end`, in their order. */
function subtrees(from, end) {
  const sizes = [];
  for (let n; from < end; from += n) {
    n = 1; // no bit operations: places may exceed 32 bits
    while (from % (2 * n) === 0 && from + 2 * n <= end) n *= 2;
    sizes.push(n);
  }
  return sizes;
}

// The next two use up a path from its end, where the sibling next to the root is.
const split = (n) => {
  let k = 1;
  while (2 * k < n) k *= 2;
  return k;
};
const take = (path) => path.pop() ?? Buffer.alloc(32); // where one is missing, no root comes out
/** The root that an audit path leads to from leaf i of n (section 2.1.1). */
function rootOfPath(path, leaf, i, n) {
  if (n === 1) return leaf;
  const [k, sibling] = [split(n), take(path)];
  if (i < k) return nodeHash(rootOfPath(path, leaf, i, k), sibling);
  return nodeHash(sibling, rootOfPath(path, leaf, i - k, n - k));
}
/** The roots of m and of n leaves by a consistency proof (section 2.1.2). `known` is the root
 * of m leaves, which the proof leaves out if it is that of a subtree of n's. */
function rootsOfProof(path, m, n, known) {
  if (m === n) return Array(2).fill(known ?? take(path));
  const [k, sibling] = [split(n), take(path)];
  if (m > k) return rootsOfProof(path, m - k, n - k).map((right) => nodeHash(sibling, right));
  const [old, left] = rootsOfProof(path, m, k, known);
  return [old, nodeHash(left, sibling)];
}

// ---- Keys and checkpoints ----

/** The bytes that base64 in its one form says, else null. */
function base64(text, length) {
  const bytes = Buffer.from(String(text), 'base64');
  return bytes.toString('base64') === text && bytes.length === (length ?? bytes.length) ? bytes : null;
}

function parseKey(arg) {
  const shape = /^([^+\s]+)\+([0-9a-f]{8})\+(\S+)$/; // of the three, only base64 may hold a plus sign
  const text = (shape.test(arg) ? arg : read(arg)).trim();
  const [, name, hash, body] = shape.exec(text) ?? [];
  const bytes = base64(body, 33);
  if (bytes?.[0] !== 1) throw new Usage('--key: this is not NAME+HASH+KEY with an Ed25519 key');
  const id = sha256(Buffer.concat([Buffer.from(`${name}\n`), bytes])).subarray(0, 4);
  if (id.toString('hex') !== hash) throw new Usage('--key: the hash is not that of the name and the key');
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: bytes.subarray(1).toString('base64url') };
  return { text, name, id, ed25519: crypto.createPublicKey({ key: jwk, format: 'jwk' }) };
}

/** The signed notes in a text, one after the other: lines, an empty line, signatures. */
function splitNotes(text) {
  const notes = [];
  let note = null;
  for (const line of text.split('\n')) {
    if (note?.signatures && !line.startsWith('— ')) note = null;
    if (!note && line.trim() === '') continue;
    if (!note) notes.push((note = { lines: [], signatures: null }));
    if (note.signatures) note.signatures.push(line);
    else if (line === '') note.signatures = [];
    else note.lines.push(line);
  }
  return notes;
}

function parseCheckpoint({ lines, signatures }, key, what) {
  const forged = (why) => {
    throw new Harm('forged', `${what} ${why}`);
  };
  const text = Buffer.from(`${lines.join('\n')}\n`);
  let signed = false;
  for (const line of signatures ?? []) {
    const [, name, signature] = /^— (\S+) (\S+)$/.exec(line) ?? [];
    const bytes = base64(signature);
    if (!(bytes?.length > 4)) forged('has a malformed signature');
    // As in signed-note, others may have signed, too; that says nothing here.
    if (name !== key.name || !bytes.subarray(0, 4).equals(key.id)) continue;
    if (bytes.length !== 68 || !crypto.verify(null, text, key.ed25519, bytes.subarray(4)))
      forged('is not what was signed');
    signed = true;
  }
  if (!signed) forged(`is not signed by ${key.text}`);
  const [origin, digits, hash] = lines;
  if (origin !== key.name) forged(`is of another log, ${origin}`);
  const [size, root] = [Number(digits), base64(hash, 32)];
  if (!/^(0|[1-9]\d*)$/.test(digits) || !Number.isSafeInteger(size) || !root) forged('has no valid size and root');
  return { size, root, what: `${what} (size ${size})` };
}
function oneCheckpoint(text, key, what) {
  const notes = splitNotes(text);
  const whole = notes.map(({ lines, signatures }) => [...lines, '', ...(signatures ?? []), ''].join('\n'));
  if (notes.length !== 1 || whole[0] !== text) throw new Harm('forged', `${what} is not one signed note`);
  return parseCheckpoint(notes[0], key, what);
}
function checkpointsOf(file, key) {
  const notes = splitNotes(read(file));
  if (!notes.length) refuse(`${file}: it holds no checkpoint`);
  return notes.map((note, i) => parseCheckpoint(note, key, `checkpoint ${i + 1} of ${file}`));
}

// ---- Files ----

const read = (file) => fs.readFileSync(file, 'utf8');

/** The lines of a file, each with its line feed. What is yielded is good until the next. */
function* linesOf(file) {
  const fd = fs.openSync(file);
  try {
    const chunk = Buffer.alloc(1 << 20);
    let begun = []; // the parts of a line that earlier chunks hold
    for (let n; (n = fs.readSync(fd, chunk)) > 0; ) {
      let at = 0;
      for (let lf; (lf = chunk.subarray(0, n).indexOf(10, at)) >= 0; at = lf + 1) {
        const line = chunk.subarray(at, lf + 1);
        yield begun.length ? Buffer.concat([...begun, line]) : line;
        begun = [];
      }
      if (at < n) begun.push(Buffer.from(chunk.subarray(at, n)));
    }
    if (begun.length) yield Buffer.concat(begun);
  } finally {
    fs.closeSync(fd);
  }
}
const leafOf = (line) => (line.at(-1) === 10 ? line.subarray(0, -1) : line);

function parseJSON(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
/** A JSON object with exactly these members: name and type, which is that of JSON. */
function parseObject(text, what, members) {
  const object = parseJSON(text);
  const names = Object.keys(members);
  if (Object.keys(object ?? {}).sort().join() !== names.sort().join()) refuse(`${what} has other members than ${names.join(', ')}`);
  const typeOf = (value) => (Array.isArray(value) ? 'list' : typeof value);
  for (const name of names) if (typeOf(object[name]) !== members[name]) refuse(`${what}: ${name} is not a ${members[name]}`);
  return object;
}
function hashes(list, what) {
  return list.map((text) => base64(text, 32) ?? refuse(`${what} holds what is not a hash in base64`));
}
function sameKey(text, key) {
  if (text !== key.text) throw new Harm('forged', `the proof names another key, ${text}`);
}

/** The proof file of an export. Its form is checked before its key and signatures, and those
 * before whether its parts fit together; not yet its hashes. */
function readProof(file, key, report) {
  let head;
  const [texts, blocks] = [[], []];
  let number = 0;
  for (const line of linesOf(file)) {
    const [what, text] = [`${file}: line ${++number}`, leafOf(line).toString()];
    if (!head) {
      head = parseObject(text, what, { format: 'string', first: 'number', last: 'number', publicKey: 'string', left: 'list', right: 'list' });
      if (head.format !== 'keeper-audit-proof/1') refuse(`${what}: unknown format ${head.format}`);
      const { first, last } = Object.assign(report, { first: head.first, last: head.last });
      if (![first, last].every(Number.isSafeInteger) || first < 1 || last < first) refuse(`${what}: no valid first and last`);
    } else if (!blocks.length && typeof parseJSON(text)?.checkpoint === 'string') {
      texts.push([parseObject(text, what, { checkpoint: 'string' }).checkpoint, number]);
    } else {
      const block = base64(parseObject(text, what, { hashes: 'string' }).hashes);
      const [n, full] = [(block?.length ?? 0) / 32, (blocks.at(-1)?.length ?? 8192) === 8192];
      if (!Number.isInteger(n) || n < 1 || n > 256 || !full) refuse(`${what}: hashes are not 256 in a line, and fewer in the last`);
      blocks.push(block);
    }
  }
  if (!head) refuse(`${file}: it is empty`);
  const { first, last } = head;
  const count = blocks.reduce((n, block) => n + block.length / 32, 0);
  if (count !== last - first + 1) refuse(`${file}: it has ${count} hashes for ${span(first, last)}`);
  const side = (name, sizes) => {
    const list = hashes(head[name], `${file}: ${name}`);
    if (list.length !== (sizes?.length ?? list.length)) refuse(`${file}: ${name} has ${list.length} hashes, not ${sizes.length}`);
    return list.map((hash, i) => [hash, sizes?.[i]]);
  };
  const left = side('left', subtrees(0, first - 1));
  side('right');

  sameKey(head.publicKey, key);
  const checkpoints = texts.map(([text, line]) => oneCheckpoint(text, key, `the checkpoint in line ${line} of the proof`));
  let top = first - 1;
  for (const [i, { size, what }] of checkpoints.entries()) {
    if (size <= top || (i && top >= last)) refuse(`${file}: ${what} does not belong there`);
    top = size;
  }
  if (top < last) throw new Harm('forged', 'no checkpoint is over all entries', top + 1, last);
  const right = side('right', subtrees(last, top));
  const recorded = (entry) => {
    const i = entry - first;
    if (!(i >= 0 && i < count)) return null;
    return blocks[Math.floor(i / 256)].subarray((i % 256) * 32, (i % 256) * 32 + 32);
  };
  return { first, last, top, checkpoints, recorded, left, right };
}

// ---- An export ----

// Of a leaf's members, only `details` holds others, and it stands before `id`: so the last
// one of that name is the entry's.
function idSpan(leaf) {
  const at = leaf.lastIndexOf(',"id":"') + 7;
  const end = at < 7 ? -1 : leaf.indexOf('"', at);
  return end < 0 ? null : [at, end];
}
function idOf(leaf) {
  const text = leaf.latin1Slice(...(idSpan(leaf) ?? [0, 0]));
  return /^[1-9]\d*$/.test(text) ? Number(text) : NaN;
}
/** Whether the leaf, with `id` set to q, has the hash that was recorded for q. */
function isWrittenAs(leaf, q, recorded) {
  const [at, hash] = [idSpan(leaf), recorded(q)];
  if (!at || !hash) return false;
  return leafHash(Buffer.concat([leaf.subarray(0, at[0]), Buffer.from(String(q)), leaf.subarray(at[1])])).equals(hash);
}

const isJSON = (bytes) => {
  try {
    JSON.parse(bytes);
    return true;
  } catch {
    return false;
  }
};

/** The lines of an export: a last one that has neither a line feed nor the end of its object
 * was cut off, and is not there. */
function* leavesOf(file) {
  for (const line of linesOf(file)) {
    const leaf = leafOf(line);
    yield { leaf, cut: leaf === line && !isJSON(leaf) };
  }
}

/** Names the harm at p, the first place where the line of the export does not fit. */
function nameHarm(file, { first, last, recorded }, p) {
  let q = null; // the entry that the line at p was written as; 0: none from p on
  let place = first - 1;
  for (const { leaf } of leavesOf(file)) {
    if (++place < p) continue;
    const here = (entry) => isWrittenAs(leaf, entry, recorded);
    if (place === p) {
      q = [idOf(leaf), p].find(here) ?? p + 1;
      while (q > p && q <= last && !here(q)) q++;
      if (q > last) q = 0;
      if (q === p) break;
    } else if (q > p) {
      if (here(p) || (place === p + 1 && here(place))) return new Harm('reordered', `entry ${q} stands in its place`, p);
    } else if (here(p) !== here(place)) {
      // If both, they are alike, and the next line tells.
      if (here(p)) return new Harm('inserted', `${place - p} line(s) stand before what was written as entry ${p}`, p);
      break;
    }
  }
  if (q > p) return new Harm('deleted', `entry ${p - 1} is followed by what was written as entry ${q}`, p, q - 1);
  return new Harm('edited', 'its line does not have the hash that was recorded', p);
}

function verifyExport({ export: file, proof: proofFile = `${file}.proof`, witness = [] }, key, report) {
  const proof = readProof(proofFile, key, report);
  const { first, last, checkpoints, recorded } = proof;
  const witnesses = witness.flatMap((name) => checkpointsOf(name, key)).sort((a, b) => a.size - b.size);
  const tree = new Tree();
  const due = (list) => {
    const all = [];
    while (list[0]?.size <= tree.size) all.push(list.shift());
    return all.filter(({ size }) => size === tree.size);
  };
  let [goodUntil, agreed, held, fork] = [first - 1, 0, 0, null];
  const known = witnesses.length;
  /** Holds against the tree whatever checkpoints are of its size. */
  const hold = () => {
    const [own, kept] = [due(checkpoints), due(witnesses)];
    if (!own.length && !kept.length) return;
    const root = tree.root();
    const fits = (checkpoint) => checkpoint.root.equals(root);
    const unlike = own.find((checkpoint) => !fits(checkpoint));
    if (unlike) {
      const text = `the lines are as recorded, but ${unlike.what} has another root: the record was changed, too`;
      throw new Harm('edited', text, goodUntil + 1, last > goodUntil ? Math.min(tree.size, last) : tree.size);
    }
    held += kept.length;
    const parts = kept.find((checkpoint) => !fits(checkpoint));
    if (parts) fork ??= new Harm('forked', `${parts.what} is of another log than this export`, agreed + 1, tree.size);
    else if (kept.length) agreed = tree.size;
    const fitting = own.length + kept.filter(fits).length;
    report.checkpoints += fitting;
    if (!fitting) return;
    goodUntil = Math.max(goodUntil, tree.size);
    if (fork) throw fork; // what the witness saw is not what was signed here
  };
  const append = (hash, size) => {
    tree.add(hash, size);
    hold();
  };
  for (const subtree of proof.left) append(...subtree);
  for (const { leaf, cut } of leavesOf(file)) {
    const place = tree.size + 1;
    if (place > last) throw new Harm('inserted', `there are more lines behind entry ${last}`, place);
    if (cut) break;
    const hash = leafHash(leaf);
    if (idOf(leaf) !== place || !hash.equals(recorded(place))) throw nameHarm(file, proof, place);
    append(hash);
  }
  if (tree.size < last) throw new Harm('truncated', `the export ends before ${span(tree.size + 1, last)}`, tree.size + 1, last);
  for (const subtree of proof.right) append(...subtree);
  report.notHeld = known - held;
  return report.notHeld ? `; ${report.notHeld} of the witness cannot be held against this export` : '';
}

// ---- Proofs of one entry and of consistency ----

function verifyEntry(flags, key, report) {
  const file = flags['entry-proof'];
  const proof = parseObject(read(file), file, { id: 'number', leaf: 'string', path: 'list', checkpoint: 'string', publicKey: 'string' });
  sameKey(proof.publicKey, key);
  const { size, root, what } = oneCheckpoint(proof.checkpoint, key, 'the checkpoint');
  const [id, leaf, path] = [proof.id, Buffer.from(proof.leaf), hashes(proof.path, `${file}: path`)];
  if (!Number.isSafeInteger(id) || id < 1 || id > size) refuse(`${file}: ${what} is not over entry ${proof.id}`);
  Object.assign(report, { first: id, last: id, checkpoints: 1 });
  const sound = idOf(leaf) === id && rootOfPath(path, leafHash(leaf), id - 1, size).equals(root) && !path.length;
  if (!sound) throw new Harm('edited', `the proof does not lead from it to the root of ${what}`, id);
}

function verifyConsistency(flags, key, report) {
  const file = flags.consistency;
  const proof = parseObject(read(file), file, { from: 'number', path: 'list', checkpoint: 'string', publicKey: 'string' });
  sameKey(proof.publicKey, key);
  const [to, path] = [oneCheckpoint(proof.checkpoint, key, 'the checkpoint'), hashes(proof.path, `${file}: path`)];
  const kept = checkpointsOf(flags['from-checkpoint'], key);
  const from = kept.find(({ size }) => size === proof.from) ?? kept[0];
  Object.assign(report, { first: 1, last: to.size, checkpoints: 2 });
  if (from.size > to.size) throw new Harm('rolled back', `the log ends at ${to.size}, but there is ${from.what}`, to.size + 1, from.size);
  if (from.size !== proof.from || from.size < 1) refuse(`${file}: the proof is from size ${proof.from}, not from ${from.what}`);
  const [old, now] = rootsOfProof(path, from.size, to.size, from.root);
  if (!old.equals(from.root) || !now.equals(to.root) || path.length)
    throw new Harm('forked', `${to.what} does not continue the log of ${from.what}`, 1, from.size);
}

// ---- The command ----

export function run(args, print = console.log, complain = console.error) {
  const report = { ok: false, harm: null, entry: null, until: null, first: null, last: null, checkpoints: 0, notHeld: 0 };
  const text = { type: 'string' };
  const options = { export: text, proof: text, key: text, 'entry-proof': text, consistency: text, 'from-checkpoint': text };
  Object.assign(options, { witness: { type: 'string', multiple: true }, json: { type: 'boolean' } });
  const modes = [
    [/^export( proof)?( witness)?$/, verifyExport],
    [/^entry-proof$/, verifyEntry],
    [/^consistency from-checkpoint$/, verifyConsistency],
  ];
  try {
    const { json, key, ...rest } = parseArgs({ args, options }).values;
    const given = Object.keys(rest).sort().join(' ');
    const mode = modes.find(([flags]) => flags.test(given))?.[1];
    if (!mode || !key) throw new Usage('Flags are missing, or do not go together.');
    let line;
    try {
      const note = mode(rest, parseKey(key), report) ?? '';
      report.ok = true;
      line = `OK: ${span(report.first, report.last)}, held against ${report.checkpoints} checkpoints${note}`;
    } catch (error) {
      if (!(error instanceof Harm)) throw error;
      const { harm, entry, until } = Object.assign(report, { harm: error.harm, entry: error.entry, until: error.until });
      line = `${harm.toUpperCase()}: ${entry === null ? '' : `${span(entry, until)}: `}${error.message}`;
    }
    print(json ? JSON.stringify(report) : line);
    return report.ok ? 0 : 5;
  } catch (error) {
    const misused = error instanceof Usage || error.code?.startsWith('ERR_PARSE_ARGS');
    if (!misused && !(error instanceof Unreadable) && !error.syscall) throw error;
    complain(misused ? `${error.message}\n${usage}` : error.message);
    return misused ? 2 : 1;
  }
}

const main = process.argv[1] && pathToFileURL(fs.realpathSync(process.argv[1])).href;
if (import.meta.url === main) process.exitCode = run(process.argv.slice(2));
