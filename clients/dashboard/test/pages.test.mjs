// Each page as it looks: nothing cut off, nothing that axe finds, and the first one small.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assault, day, open } from '../lib/traffic.mjs';
import { begin, journey, variants } from '../lib/visit.mjs';

const world = await open();
await day(world);
await assault(world);

const pages = ['Overview', 'Agents', 'Tokens', 'Vault', 'Providers', 'Audit', 'Scanner', 'Settings'];

for (const page of pages) {
  journey(`the page ${page} is whole`, world, async (visit) => {
    if (page !== 'Overview') await visit.go(page);
    await visit.settled();
    await visit.picture(page);
    await visit.fits(page);
    await visit.accessible(page);
  });
}

journey('whoever is not signed in is told how to', world, async (visit) => {
  await visit.page.goto(`${world.management}/`);
  await visit.page.getByRole('heading', { level: 1, name: 'Sign in to keeper' }).waitFor();
  await visit.page.getByText('keeper login', { exact: true }).waitFor();
  await visit.picture('sign in');
  await visit.fits('the way in');
  await visit.accessible('the way in');
}, { token: null, expected: ['401 /api/v1/auth/session'] });

const limitBytes = 200 * 1024;

for (const variant of variants.filter(({ theme }) => theme === 'light')) {
  test(`the first view is small (${variant})`, async () => {
    const visit = await begin(world, variant);
    const link = await visit.link();
    const devtools = await visit.devtools();
    let bytes = 0;
    devtools.on('Network.loadingFinished', (one) => { bytes += one.encodedDataLength; });
    await devtools.send('Network.enable');
    const began = Date.now();
    await visit.page.goto(link);
    await visit.page.locator('.tile').first().waitFor();
    const took = Date.now() - began;
    await visit.settled();
    await visit.end();
    console.log(`first view, ${variant}: ${(bytes / 1024).toFixed(1)} KiB as transferred, figures after ${took} ms`);
    assert.ok(bytes > 10_000 && bytes < limitBytes, `${bytes} bytes, want less than ${limitBytes}`);
    assert.deepEqual(visit.problems, []);
  });
}

test('the cookie is nothing to agents\' routes, and scripts cannot read it', async () => {
  const visit = await begin(world, variants[0], ['401 /api/v1/proxy/openai/v1/models']);
  await visit.signIn();
  const got = await visit.page.evaluate(async () => {
    const answer = await fetch('/api/v1/proxy/openai/v1/models');
    return { status: answer.status, code: answer.headers.get('keeper-code'), cookie: document.cookie };
  });
  assert.deepEqual(got, { status: 401, code: 'token_missing', cookie: '' });
  await visit.end();
  assert.deepEqual(visit.problems, []);
});
