// What the dashboard does without a browser. Run by `node --test internal/dashboard/test/`.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { filtersOf, rangeOf } from '../static/js/lib/auditquery.js';
import { moment, utc } from '../static/js/lib/format.js';
import { codeIn, holds } from '../static/js/lib/session.js';
import { marked } from '../static/js/lib/spans.js';
import { story, verdict } from '../static/js/lib/story.js';
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

const decided = {
  id: '7', event: 'proxy.request', agentId: 'bot', provider: 'openai', timestamp: '2026-01-02T03:04:05Z',
  details: { carriers: ['authorization'], decision: 'forward', jti: 'J', label: 'default', method: 'POST', mode: 'envelope', path: '/v1/x', requestBytes: 12, scope: 'openai:chat', source: '127.0.0.1', version: 3 },
};

function told(...entries) {
  return story(entries).map((one) => one.text).join('\n');
}

test('a story says what became of a call', () => {
  const redacted = { id: '8', event: 'scan.redacted', agentId: 'bot', provider: 'openai', details: { findings: [{ rule: 'github-pat', location: 'body.a', form: 'base64', confidence: 'high' }] } };
  const ended = { id: '9', event: 'proxy.response', agentId: 'bot', provider: 'openai', details: { durationMs: 5, outcome: 'complete', responseBytes: 90, status: 200 } };
  const text = told(decided, redacted, ended);
  for (const want of [
    'bot from 127.0.0.1 called POST /v1/x of openai in an envelope, with a body of 12 bytes.', 'The token J was valid', 'taken off: authorization.',
    'Its scope openai:chat covers the call.', 'with the credential default of openai, version 3, and wrote that down as entry 7 before it did.',
    'In the answer keeper found github-pat in body.a (base64), of high confidence, and replaced it', 'The provider answered 200, 90 bytes in 5 ms.', 'The agent got the whole answer.',
  ]) assert.ok(text.includes(want), `want ${JSON.stringify(want)} in\n${text}`);
  assert.deepEqual(verdict([decided, redacted, ended]), ['warn', 'Redacted']);
  assert.deepEqual(verdict([decided]), ['accent', 'Under way']);
});

test('a story says why a call was refused, and how an answer was cut', () => {
  const refused = { id: '2', event: 'proxy.request', timestamp: '2026-01-02T03:04:05Z', details: { code: 'token_missing', count: 40, decision: 'refuse', method: 'GET', path: '/', source: '127.0.0.1' } };
  assert.match(told(refused), /A caller who proved nothing from 127\.0\.0\.1 called GET \/ of no known provider\.\nKeeper refused it because it showed no keeper token \(token_missing\)\. Nothing was sent to the provider\. This stands for 40 refusals/);
  const cut = { id: '9', event: 'proxy.response', details: { code: 'token_revoked', outcome: 'cut', responseBytes: 1, status: 200 } };
  assert.match(told(decided, cut), /The answer was cut off before its end\. Why: its token or its agent was revoked or disabled/);
  assert.deepEqual(verdict([decided, cut]), ['bad', 'Cut off']);
  assert.match(told({ id: '1', event: 'constructor', details: {} }), /^constructor\.$/);
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
