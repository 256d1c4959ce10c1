// What the dashboard does without a browser. Run by `node --test internal/dashboard/test/`.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { filtersOf, rangeOf } from '../static/js/lib/auditquery.js';
import { moment, utc } from '../static/js/lib/format.js';
import { codeIn, holds } from '../static/js/lib/session.js';
import { marked } from '../static/js/lib/spans.js';
import { troubles } from '../static/js/parts/attention.js';
import { plain } from '../static/js/parts/text.js';

test('what would not show, or would reorder its neighbours, is spelled out', () => {
  const hidden = ['\u001b[31m', '\u009b2J', '\u202e', '\u2066', '\u200b', '\u2028', '\u061c', '\ufeff', '\u{e0041}', '\u0000', '\u007f', '\ud800', '\u3164'];
  for (const text of hidden) {
    assert.match(plain(`a${text}b`), /^a\\(e\[31m|u\{[0-9A-F]+\}(2J)?)b$/u);
  }
  for (const text of ['<img src=x onerror=alert(1)>', 'Grüße, 世界', 'مرحبا', '🙂']) assert.equal(plain(text), text);
});

test('places in bytes are found in a text that is longer in bytes than in characters', () => {
  const text = 'Grüße 🙂 key=SECRET, and SECRET';
  const bytes = Buffer.from(text);
  const [first, second] = [bytes.indexOf('SECRET'), bytes.lastIndexOf('SECRET')];
  const found = [{ start: second, end: second + 6 }, { start: first, end: first + 6 }, { start: first + 2, end: first + 8 }];
  const pieces = marked(text, found);
  assert.equal(pieces.map((p) => p.text).join(''), text);
  assert.deepEqual(pieces.filter((p) => p.finding !== null).map((p) => [p.text, p.finding]), [['SECRET', 1], [', ', 2], ['SECRET', 0]]);
  assert.deepEqual(marked('x', [{ start: 5, end: 9 }]), [{ text: 'x', finding: null }]);
});

test('a lacking scope is no scope', () => {
  assert.ok(holds(['*'], 'write') && holds(['*'], '*') && holds(['keeper:*'], 'audit') && holds(['Keeper:Read'], 'read') && holds(['*:read'], 'read'));
  for (const scopes of [[], ['openai:*'], ['keeper:read'], ['keeper:write2'], ['keeper']]) assert.ok(!holds(scopes, 'write'), scopes.join());
  assert.ok(!holds(['keeper:*'], '*'), 'keeper:* is not everything');
});

test('filters hold what the address says, and a range ends now', () => {
  const now = Date.parse('2026-01-02T01:00:00Z');
  assert.deepEqual(filtersOf({ range: '1h', provider: 'openai', since: 'x', live: '1', call: 'req_1' }, now), { provider: 'openai', since: '2026-01-02T00:00:00.000Z' });
  assert.deepEqual(filtersOf({ range: 'constructor', since: 'S' }, now), { since: 'S' });
  assert.equal(rangeOf({ since: 'S' }), 'custom');
});

test('a time that is none is shown as it is', () => {
  assert.equal(moment('garbage'), 'garbage');
  assert.equal(utc('garbage'), 'garbage');
  assert.equal(utc('2026-01-02T03:04:05Z'), '2026-01-02 03:04:05 UTC');
});

test('a code is taken out of a pasted link', () => {
  for (const text of ['ABC', ' ABC\n', 'http://127.0.0.1:8700/dashboard/#code=ABC']) assert.equal(codeIn(text), 'ABC');
});

test('what needs a person among the calls is named, the worst first', () => {
  const rows = (counts) => Object.entries(counts).map(([name, [calls, errors, blocked]]) => ({ name, id: name, calls, errors, blocked }));
  const found = troubles({ since: 'S', providers: rows({ fine: [100, 3, 0], gone: [4, 4, 0], worse: [50, 20, 0], young: [2, 2, 0] }), agents: rows({ a: [9, 0, 1], b: [9, 9, 0], c: [9, 0, 12] }) });
  assert.deepEqual(found.map(({ title, says }) => `${title} ${says}`), [
    'worse fails: 20 of 50 calls', 'gone fails: 4 of 4 calls', 'c had 12 calls blocked for secrets in them', 'a had a call blocked for a secret in it',
  ]);
  assert.equal(found[3].to, '#/audit?agentId=a&code=secret_in_request&since=S');
});
