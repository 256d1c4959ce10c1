import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import * as testlog from './testlog.mjs';
import { run } from './verify.mjs';

const rounds = 25; // of each case; AUDITOR_SEED=… repeats one of them
const seeds = process.env.AUDITOR_SEED ? [Number(process.env.AUDITOR_SEED)] : Array.from({ length: rounds }, (_, i) => i + 1);

const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'auditor-'));
after(() => fs.rmSync(dir, { recursive: true }));
const key = testlog.signer('keeper/audit/test', 1);
const sameName = testlog.signer('keeper/audit/test', 2);
const otherName = testlog.signer('keeper/audit/other', 3);
const file = path.join(dir, 'audit.ndjson');

function verify(...args) {
  let answer;
  const code = run([...args, '--key', key.publicKey, '--json'], (text) => (answer = JSON.parse(text)), (text) => (answer = text));
  return { code, answer };
}
function verifyExport(exported, witness, cut = 0) {
  testlog.writeExport(file, exported);
  if (cut) fs.truncateSync(file, fs.statSync(file).size - cut);
  if (witness) fs.writeFileSync(`${file}.witness`, witness);
  return verify('--export', file, ...(witness ? ['--witness', `${file}.witness`] : []));
}
function check({ code, answer }, expected) {
  if (expected === 'sound') return assert.deepEqual([code, answer.ok], [0, true], JSON.stringify(answer));
  const [harm, entry = null, until = null] = expected;
  const got = [code, answer.harm ?? answer, answer.entry, answer.until];
  assert.deepEqual(got, [5, harm, entry, until]);
}

const renumber = (line, id) => line.replace(/^(.*,"id":")\d+"/, `$1${id}"`);
/** A log and an export of it, or of a part of it; `min` is how many entries it has at least. */
function sample(rnd, min) {
  const n = min + rnd.int(rnd.pick([4, 40, 300, 700]));
  const log = testlog.makeLog(rnd, n, key);
  let [first, last] = [1, n];
  if (rnd.int(2)) {
    first = 1 + rnd.int(n - min + 1);
    last = first + min - 1 + rnd.int(n - first - min + 2);
  }
  const exported = testlog.makeExport(log, first, last);
  const renumbers = rnd.int(2); // whether whoever tampers takes care that the ids go up by one
  const tidy = () => {
    if (renumbers) exported.lines = exported.lines.map((line, i) => renumber(line, first + i));
  };
  // The record is made to fit the lines; what does not fit then are checkpoints.
  const rewrite = () => {
    exported.lines = exported.lines.map((line, i) => renumber(line, first + i));
    exported.hashes = exported.lines.map(testlog.leafHash);
  };
  /** Where the harm can be if p is the first entry that was changed along with the record. */
  const around = (p) => {
    const before = Math.max(first - 1, ...exported.sizes.filter((size) => size < p));
    return [before + 1, Math.min(exported.head.last, ...exported.sizes.filter((size) => size >= p))];
  };
  const top = exported.sizes.at(-1);
  /** A size at which a checkpoint can be held against the export. */
  const holdable = (from) => (rnd.int(4) ? from + rnd.int(last - from + 1) : top);
  return { ...{ log, first, last, top, lines: exported.lines, exported }, tidy, rewrite, around, holdable };
}
const between = (rnd, from, until) => from + rnd.int(until - from + 1);
const foreignLine = (rnd, p) =>
  rnd.pick(['{}', '', 'no JSON', `{"details":{},"event":"x","id":"${p}","risk":0,"timestamp":"2026-11-24T05:36:28Z"}`]);

/** Each tampers, and says what must come out. */
const cases = {
  'sound': [1, () => 'sound'],
  'sound, without the last line feed': [1, (rnd, { exported }) => ((exported.end = ''), 'sound')],
  'an edited line': [1, (rnd, { lines, first, last, tidy }) => {
    const p = between(rnd, first, last);
    const line = lines[p - first];
    const chars = [...line];
    const at = rnd.int(chars.length);
    chars[at] = chars[at] === 'x' ? 'y' : 'x';
    lines[p - first] = chars.join('');
    tidy();
    return lines[p - first] === line ? 'sound' : ['edited', p]; // an id may have been made right again
  }],
  'another id': [1, (rnd, { lines, first, last }) => {
    const p = between(rnd, first, last);
    lines[p - first] = renumber(lines[p - first], rnd.pick([p + 1, p - 1, 0, '007', 1e18]));
    return ['edited', p];
  }],
  'dropped lines': [2, (rnd, { lines, first, last, tidy }) => {
    const p = between(rnd, first, last - 1);
    const count = Math.min(last - p, rnd.pick([1, 1, 2, 5]));
    lines.splice(p - first, count);
    tidy();
    return ['deleted', p, p + count - 1];
  }],
  'inserted lines': [1, (rnd, { exported, lines, first, last, tidy }) => {
    const p = between(rnd, first, last + 1);
    lines.splice(p - first, 0, ...Array.from({ length: rnd.pick([1, 1, 3]) }, () => foreignLine(rnd, p)));
    tidy();
    return ['inserted', p];
  }],
  'a line twice': [1, (rnd, { lines, first, last, tidy }) => {
    const of = between(rnd, first, last);
    const p = between(rnd, of + 1, last + 1);
    lines.splice(p - first, 0, lines[of - first]);
    tidy();
    return ['inserted', p];
  }],
  'a line too early, too': [2, (rnd, { lines, first, last, tidy }) => {
    const p = between(rnd, first, last - 1);
    lines.splice(p - first, 0, lines[between(rnd, p + 1, last) - first]);
    tidy();
    return ['reordered', p];
  }],
  'a line in the place of another': [2, (rnd, { lines, first, last, tidy }) => {
    const p = between(rnd, first, last);
    const of = between(rnd, first, last - 1);
    lines[p - first] = lines[(of < p ? of : of + 1) - first];
    tidy();
    return [of < p ? 'edited' : 'reordered', p];
  }],
  'lines swapped': [2, (rnd, { lines, first, last, tidy }) => {
    const p = between(rnd, first, last - 1);
    const q = between(rnd, p + 1, last);
    [lines[p - first], lines[q - first]] = [lines[q - first], lines[p - first]];
    tidy();
    return ['reordered', p];
  }],
  'a line moved': [2, (rnd, { lines, first, last, tidy }) => {
    const p = between(rnd, first, last - 1);
    const q = between(rnd, p + 1, last);
    const [from, to] = rnd.pick([[p, q], [q, p]]);
    lines.splice(to - first, 0, ...lines.splice(from - first, 1));
    tidy();
    return ['reordered', p];
  }],
  'lines cut off': [1, (rnd, { lines, first, last }) => {
    const p = between(rnd, first, last);
    lines.length = p - first;
    return ['truncated', p, last];
  }],
  'bytes cut off': [1, (rnd, sampled) => {
    const sizes = sampled.lines.map((line) => Buffer.byteLength(line) + 1);
    const size = sizes.reduce((a, b) => a + b, 0);
    sampled.cut = between(rnd, 2, size);
    let [p, left] = [sampled.first, size - sampled.cut];
    for (const bytes of sizes) if (left >= bytes - 1) [p, left] = [p + 1, left - bytes];
      else break;
    return ['truncated', p, sampled.last];
  }],
  'an edited line and record': [1, (rnd, { exported, lines, first, last, around, rewrite }) => {
    const p = between(rnd, first, last);
    lines[p - first] = lines[p - first].replace('proxy.request', 'proxy.refused');
    rewrite();
    return ['edited', ...around(p)];
  }],
  'lines and record swapped': [2, (rnd, { exported, lines, first, last, around, rewrite }) => {
    const p = between(rnd, first, last - 1);
    const q = between(rnd, p + 1, last);
    [lines[p - first], lines[q - first]] = [lines[q - first], lines[p - first]];
    rewrite();
    return ['edited', ...around(p)];
  }],
  'a line and its record dropped': [2, (rnd, { log, exported, lines, first, last, around, rewrite }) => {
    const p = between(rnd, first, last - 1);
    lines.splice(p - first, 1);
    Object.assign(exported, testlog.makeExport(log, first, last - 1), { lines });
    rewrite();
    return ['edited', ...around(p)];
  }],
  'a line and a record inserted': [1, (rnd, { exported, lines, first, last, around, rewrite }) => {
    const p = between(rnd, first, last);
    lines.splice(p - first, 0, foreignLine(rnd, p).replace(/^[^{]*$/, '{"details":{},"id":"1"}').replace('{}', '{"a":0}'));
    lines.pop();
    rewrite();
    return lines.every((line) => /,"id":"/.test(line)) ? ['edited', ...around(p)] : ['edited', p];
  }],
  'only the record edited': [1, (rnd, { exported, first, last }) => {
    const p = between(rnd, first, last);
    exported.hashes[p - first] = testlog.sha256('another');
    return ['edited', p];
  }],
  'another hash in left or right': [2, (rnd, { exported, first, last, around }) => {
    const { left, right } = exported.head;
    const side = rnd.pick([left, right].filter((list) => list.length));
    if (!side) return 'sound';
    side[rnd.int(side.length)] = testlog.sha256('another').toString('base64');
    if (side === left) return ['edited', ...around(first)];
    return ['edited', Math.max(first - 1, ...exported.sizes.slice(0, -1)) + 1, last];
  }],
  'a checkpoint altered': [1, (rnd, { exported }) => {
    const i = rnd.int(exported.checkpoints.length);
    const chars = [...exported.checkpoints[i]];
    const at = rnd.int(chars.length);
    chars[at] = chars[at] === 'A' ? 'B' : 'A';
    exported.checkpoints[i] = chars.join('');
    return ['forged'];
  }],
  'a checkpoint of another key': [1, (rnd, { log, exported }) => {
    const i = rnd.int(exported.checkpoints.length);
    exported.checkpoints[i] = testlog.checkpointAt({ ...log, key: rnd.pick([sameName, otherName]) }, exported.sizes[i]);
    return ['forged'];
  }],
  'another origin, signed': [1, (rnd, { log, exported }) => {
    const i = rnd.int(exported.checkpoints.length);
    exported.checkpoints[i] = testlog.checkpoint({ ...key, name: 'keeper/audit/other' }, exported.sizes[i], testlog.root(log.hashes.slice(0, exported.sizes[i])));
    return ['forged'];
  }],
  'another root, signed': [1, (rnd, { exported, last, around }) => {
    const i = rnd.int(exported.checkpoints.length);
    exported.checkpoints[i] = testlog.checkpoint(key, exported.sizes[i], testlog.sha256('another'));
    return ['edited', ...around(Math.min(exported.sizes[i], last))];
  }],
  'another key in the proof': [1, (rnd, { exported }) => {
    exported.head.publicKey = sameName.publicKey;
    return ['forged'];
  }],
  'the last checkpoints missing': [1, (rnd, { exported, first, last }) => {
    const keep = rnd.int(exported.checkpoints.length);
    exported.checkpoints.length = keep;
    return ['forged', keep ? exported.sizes[keep - 1] + 1 : first, last];
  }],
  'sound, with a witness': [1, (rnd, sampled) => {
    const { log } = sampled;
    const sizes = Array.from({ length: 1 + rnd.int(3) }, () => between(rnd, 1, sampled.top));
    sampled.witness = sizes.map((size) => testlog.checkpointAt(log, size)).join(rnd.pick(['', '\n', '\n\n']));
    return 'sound';
  }],
  'sound, signed by others, too': [1, (rnd, { exported }) => {
    const i = rnd.int(exported.checkpoints.length);
    exported.checkpoints[i] += otherName.signature(`${exported.checkpoints[i].split('\n\n')[0]}\n`);
    return 'sound';
  }],
  // An honest one, that is newer than the export.
  'a witness of a longer log': [1, (rnd, sampled) => {
    const { log, top } = sampled;
    const size = top + 1 + rnd.int(9);
    sampled.witness = testlog.checkpointAt(log, between(rnd, sampled.first, sampled.last)) + testlog.checkpoint(key, size, testlog.sha256('later'));
    sampled.notHeld = 1;
    return 'sound';
  }],
  'a witness of another log': [1, (rnd, sampled) => {
    const size = sampled.holdable(sampled.first);
    const other = testlog.makeLog(rnd, size, key);
    sampled.witness = testlog.checkpointAt(other, size);
    return ['forked', 1, size];
  }],
  'a witness of another key': [1, (rnd, sampled) => {
    const { log, top } = sampled;
    sampled.witness = testlog.checkpointAt({ ...log, key: rnd.pick([sameName, otherName]) }, between(rnd, 1, top));
    return ['forged'];
  }],
  'all written and signed anew': [1, (rnd, sampled) => {
    const { log, first, last, top, holdable } = sampled;
    const p = between(rnd, first, last);
    const leaves = log.leaves.with(p - 1, log.leaves[p - 1].replace('proxy.request', 'proxy.refused'));
    const anew = { ...log, leaves, hashes: leaves.map(testlog.leafHash) };
    anew.checkpoints = new Map([...log.checkpoints.keys()].map((size) => [size, testlog.checkpointAt(anew, size)]));
    sampled.exported = testlog.makeExport(anew, first, last);
    check(verifyExport(sampled.exported), 'sound'); // only a witness can tell
    const size = holdable(p);
    sampled.witness = testlog.checkpointAt(log, size);
    return ['forked', 1, size];
  }],
};

for (const [name, [min, tamper]] of Object.entries(cases))
  test(name, () => {
    for (const seed of seeds) {
      const rnd = testlog.random(seed * 7919 + name.length);
      const sampled = sample(rnd, min);
      try {
        const expected = tamper(rnd, sampled);
        const said = verifyExport(sampled.exported, sampled.witness, sampled.cut);
        check(said, expected);
        if ('notHeld' in sampled) assert.equal(said.answer.notHeld, sampled.notHeld);
      } catch (error) {
        error.message = `AUDITOR_SEED=${seed}, entries ${sampled.first} to ${sampled.last} of ${sampled.log.leaves.length}: ${error.message}`;
        throw error;
      }
    }
  });

test('proofs of entries and of consistency', () => {
  const proofFile = path.join(dir, 'proof.json');
  const keptFile = path.join(dir, 'kept');
  const text = (list) => list.map((hash) => hash.toString('base64'));
  const another = testlog.sha256('another').toString('base64');
  for (const seed of seeds) {
    const rnd = testlog.random(seed);
    const { log } = sample(rnd, 1);
    const n = log.leaves.length;
    const common = { checkpoint: log.checkpoints.get(n), publicKey: key.publicKey };
    const [id, from] = [between(rnd, 1, n), between(rnd, 1, n)];

    const entry = { id, leaf: log.leaves[id - 1], path: text(testlog.auditPath(id - 1, log.hashes)), ...common };
    const proveEntry = (change, expected) => {
      fs.writeFileSync(proofFile, JSON.stringify({ ...entry, ...change }));
      check(verify('--entry-proof', proofFile), expected);
    };
    proveEntry({}, 'sound');
    proveEntry({ leaf: entry.leaf.replace('proxy', 'prosy') }, ['edited', id]);
    proveEntry({ path: [...entry.path, another] }, ['edited', id]);
    if (n > 1) {
      const other = id === n ? id - 1 : id + 1;
      proveEntry({ id: other }, ['edited', other]);
      proveEntry({ path: entry.path.with(rnd.int(entry.path.length), another) }, ['edited', id]);
      proveEntry({ path: entry.path.slice(1) }, ['edited', id]);
    }
    proveEntry({ checkpoint: testlog.checkpointAt({ ...log, key: sameName }, n) }, ['forged']);

    const consistency = { from, path: text(testlog.consistency(from, log.hashes)), ...common };
    const proveConsistency = (change, kept, expected) => {
      fs.writeFileSync(proofFile, JSON.stringify({ ...consistency, ...change }));
      fs.writeFileSync(keptFile, kept);
      check(verify('--consistency', proofFile, '--from-checkpoint', keptFile), expected);
    };
    const kept = testlog.checkpointAt(log, from);
    proveConsistency({}, kept, 'sound');
    proveConsistency({}, testlog.checkpoint(key, from, testlog.sha256('another')), ['forked', 1, from]);
    proveConsistency({ path: [...consistency.path, another] }, kept, ['forked', 1, from]);
    if (from < n) {
      proveConsistency({ path: consistency.path.with(rnd.int(consistency.path.length), another) }, kept, ['forked', 1, from]);
      proveConsistency({ path: consistency.path.slice(1) }, kept, ['forked', 1, from]);
    }
    proveConsistency({}, testlog.checkpoint(key, n + 2, testlog.sha256('later')), ['rolled back', n + 1, n + 2]);
    proveConsistency({}, testlog.checkpointAt({ ...log, key: otherName }, from), ['forged']);
  }
});

test('known answers', () => {
  // The tree that the tests of Certificate Transparency's implementations share.
  const leaves = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f'];
  const hashes = leaves.map((hex) => testlog.leafHash(Buffer.from(hex, 'hex')));
  assert.equal(testlog.root(hashes).toString('hex'), '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328');
});

test('a proof that keeper gave', () => {
  const proof = fileURLToPath(new URL('testdata/proof.json', import.meta.url));
  const { publicKey } = JSON.parse(fs.readFileSync(proof, 'utf8'));
  const lines = [];
  assert.equal(run(['--entry-proof', proof, '--key', publicKey], (line) => lines.push(line)), 0);
  assert.deepEqual(lines, ['OK: entry 3, held against 1 checkpoints']);
  assert.equal(run(['--entry-proof', proof, '--key', key.publicKey], (line) => lines.push(line)), 5);
  assert.match(lines[1], /^FORGED: /);
});

test('files that are not of the format', () => {
  const log = testlog.makeLog(testlog.random(1), 300, key);
  const refused = (change) => {
    const exported = testlog.makeExport(log, 3, 300);
    change(exported);
    assert.equal(verifyExport(exported).code, 1);
  };
  refused(({ hashes }) => hashes.pop());
  refused(({ hashes }) => hashes.push(hashes[0]));
  refused(({ head }) => (head.more = 1));
  refused(({ head }) => (head.format = 'keeper-audit-proof/2'));
  refused(({ head }) => (head.first = 0));
  refused(({ head }) => head.left.push(head.left[0]));
  refused(({ head }) => (head.left[0] = head.left[0].replace('=', '')));
  refused(({ checkpoints }) => checkpoints.push(log.checkpoints.get(300), testlog.checkpoint(key, 301, log.hashes[0])));
  refused(({ checkpoints }) => checkpoints.unshift(testlog.checkpointAt(log, 2)));
  refused(({ checkpoints }) => checkpoints.push(checkpoints.at(-1)));
  refused(({ checkpoints }) => checkpoints.splice(0, 1, { size: 3 }));
  refused(({ head }) => (head.publicKey = 7));
  refused((exported) => (exported.head.first += 1));
});

test('the command, and an export of many lines', () => {
  const log = { key, leaves: [], hashes: [], checkpoints: new Map() };
  for (let id = 1; id <= 20_000; id++)
    log.leaves.push(`{"details":{"n":${id},"text":"${'–'.repeat(id % 97)}"},"event":"x","id":"${id}","risk":0,"timestamp":"2026-11-24T05:36:28Z"}`);
  log.leaves[9000] = log.leaves[9000].replace('"text":"', `$&${'long '.repeat(600_000)}`);
  log.hashes = log.leaves.map(testlog.leafHash);
  log.checkpoints.set(20_000, testlog.checkpointAt(log, 20_000));
  const exported = testlog.makeExport(log);
  testlog.writeExport(file, exported);
  const keyFile = path.join(dir, 'audit.pub');
  fs.writeFileSync(keyFile, `${key.publicKey}\n`);
  const command = (...args) => {
    const { status, stdout } = spawnSync(process.execPath, [fileURLToPath(new URL('verify.mjs', import.meta.url)), ...args], { encoding: 'utf8' });
    return [status, stdout.trim()];
  };
  assert.deepEqual(command('--export', file, '--key', keyFile), [0, 'OK: entries 1 to 20000, held against 1 checkpoints']);
  exported.lines.splice(16, 1);
  testlog.writeExport(file, exported);
  fs.renameSync(`${file}.proof`, `${file}.elsewhere`);
  const [status, line] = command('--export', file, '--proof', `${file}.elsewhere`, '--key', key.publicKey);
  assert.equal(status, 5);
  assert.match(line, /^DELETED: entry 17: /);
  assert.deepEqual(JSON.parse(command('--export', file, '--proof', `${file}.elsewhere`, '--key', keyFile, '--json')[1]), {
    ...{ ok: false, harm: 'deleted', entry: 17, until: 17, first: 1, last: 20_000, checkpoints: 0, notHeld: 0 },
  });
  assert.equal(command('--export', file, '--key', keyFile)[0], 1);
  assert.equal(command('--export', file)[0], 2);
  assert.equal(command('--export', file, '--key', key.publicKey.replace('+', '+0'))[0], 1);
  assert.equal(command('--export', file, '--key', key.publicKey.replace(/\+.{8}\+/, '+00000000+'))[0], 2);
  assert.equal(command('--export', file, '--key', keyFile, '--entry-proof', file)[0], 2);
  assert.equal(command('--export', file, '--key', keyFile, '--nonsense')[0], 2);
});
