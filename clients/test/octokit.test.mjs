import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Octokit } from '@octokit/rest';
import { newKey } from '../lib/canary.mjs';
import { refusal, refusals, start } from '../lib/keeper.mjs';

const world = await start();
const good = await world.token('github:read', 'github:write');
const text = 'Hello from the fake API.';
const quiet = { debug() {}, info() {}, warn() {}, error() {} };
const client = (token = good, at = world.url) => new Octokit({ auth: token, baseUrl: world.base('github', at), log: quiet });
const fake = (scenario) => ({ headers: { 'x-fake': scenario } });
const repo = { owner: 'octo', repo: 'hello' };

test('octokit: calls return the provider\'s answer', async () => {
  const { result, requests } = await world.arrived(() => client().rest.users.getAuthenticated());
  assert.equal(world.see(result.data).login, 'octo');
  assert.equal(requests.length, 1);
  assert.equal(requests[0].credential, world.keys.github);
  assert.equal((await client().rest.repos.get(repo)).data.full_name, 'octo/hello');
  const issue = await client().rest.issues.create({ ...repo, title: 'One' });
  assert.equal(issue.status, 201);
  assert.equal(issue.data.title, 'One');
  assert.equal((await client().graphql('query { viewer { login } }')).viewer.login, 'octo');
});

test('octokit: an answer is the same whatever its encoding', async () => {
  for (const encoding of ['gzip', 'br', 'deflate']) {
    const answer = await client().rest.repos.get({ ...repo, ...fake(`encoding=${encoding}`) });
    assert.equal(answer.data.description, text, encoding);
  }
});

test('octokit: the provider\'s own error is shown', async () => {
  const error = await world.failure(() => client().rest.repos.get({ ...repo, ...fake('error=404') }));
  assert.equal(error.status, 404);
  assert.match(error.message, /^The fake provider has no such thing\./);
});

for (const one of refusals) {
  test(`octokit: ${one.name} is a readable error at the first attempt`, async () => {
    const error = await refusal(world, one, 'github:write', ({ at, token, prompt }) => client(token, at).rest.issues.create({ ...repo, title: 'One', body: prompt }));
    assert.match(error.message, /^keeper: /);
    assert.match(error.message, one.says);
    assert.equal(error.status, one.status);
    assert.equal(error.response.data.error.code, one.code);
  });
}

test('octokit: github:read covers queries and no mutation', async () => {
  const token = await world.token('github:read');
  assert.equal((await client(token).graphql('query { viewer { login } }')).viewer.login, 'octo');
  const error = await world.failure(() => client(token).graphql('mutation { addStar(input: {starrableId: "x"}) { clientMutationId } }'));
  assert.match(error.message, /keeper: .*github:write/);
  const write = await world.failure(() => client(token).rest.issues.create({ ...repo, title: 'One' }));
  assert.match(write.message, /^keeper: .*github:write/);
});

test('octokit: a secret in an answer is redacted', async () => {
  const answer = await client().rest.repos.get({ ...repo, ...fake('leak=text,header') });
  assert.equal(world.see(answer.data).description, 'Hello from the key is [REDACTED:vault:github] indeed the fake API.');
  assert.equal(world.see(answer.headers)['x-fake-leak'], 'the key is [REDACTED:vault:github]');
  const value = newKey('openai');
  await world.provider('plant', 'POST', { name: 'stranger', value });
  const other = await client().rest.repos.get({ ...repo, ...fake('leak=text;secret=stranger') });
  assert.match(other.data.description, /^Hello from the key is \[REDACTED:[a-z0-9-]+\] indeed the fake API\.$/);
});
