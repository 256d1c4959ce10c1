// Holds this verifier against keeper's own: both are shown the exports that keeper's mutation
// test has tampered with. AUDITOR_MUTANTS names their folder; else they are made here.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { run } from './verify.mjs';

let folder = process.env.AUDITOR_MUTANTS;
if (!folder) {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mutants-'));
  after(() => fs.rmSync(folder, { recursive: true }));
  const args = ['test', '-count=1', './cmd/keeper', '-run', '^TestTamperingWithAnExportIsFoundAndNamed$', '-args', '-mutants', folder];
  const { status, error, stdout } = spawnSync('go', args, { cwd: fileURLToPath(new URL('../..', import.meta.url)), encoding: 'utf8' });
  assert.equal(status, 0, `making the tampered exports: ${error ?? stdout}`);
}

const mutants = new Map(); // by what was done to them
for (const name of fs.readdirSync(folder).sort()) {
  const dir = path.join(folder, name);
  const said = JSON.parse(fs.readFileSync(path.join(dir, 'verdict.json'), 'utf8'));
  mutants.set(said.name, [...(mutants.get(said.name) ?? []), { dir, ...said }]);
}

function verify(dir) {
  const args = ['--export', path.join(dir, 'audit.ndjson'), '--key', path.join(dir, 'audit.pub'), '--json'];
  const witness = path.join(dir, 'witness.txt');
  if (fs.existsSync(witness)) args.push('--witness', witness);
  let answer = {};
  const code = run(args, (text) => (answer = JSON.parse(text)), () => {});
  return { code, ...answer };
}

test('there are tampered exports', () => assert.ok(mutants.size > 30, `${mutants.size} kinds in ${folder}`));

for (const [name, all] of mutants)
  test(`keeper agrees: ${name}`, () => {
    for (const { dir, seed, code, rewritten, verdict } of all) {
      const here = verify(dir);
      const { harm = null, entry = null, until = entry } = verdict.damage ?? {};
      // Where the record was changed, too, keeper may tell what was done within the range.
      const range = [here.entry, here.until ?? here.entry];
      const finer = rewritten && here.harm === 'edited' && range[0] <= entry && until <= range[1];
      const told = (harm, entry, until) => ({ code, harm, entry, until });
      const where = `-mutationseed ${seed}, ${path.basename(dir)}`;
      assert.equal(here.code, code, where);
      if (code === 5 && !finer) assert.deepEqual(told(here.harm ?? null, ...range), told(harm, entry, until), where);
      const figures = ({ first, last, checkpoints, notHeld }) => ({ first, last, checkpoints, notHeld });
      if (code === 0) assert.deepEqual(figures(here), figures(verdict), where);
    }
  });
