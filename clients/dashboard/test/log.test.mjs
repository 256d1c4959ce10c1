// What is looked at: the overview, the audit log, and what hostile agents wrote into it.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { assault, attack, chat, day, open } from '../lib/traffic.mjs';
import { journey, variants } from '../lib/visit.mjs';

const world = await open();
const tokens = await day(world);
const hostile = await assault(world);

journey('the overview counts what agents do, as they do it', world, async (visit) => {
  const { page } = visit;
  const tile = (name) => page.getByRole('main').getByRole('link', { name: new RegExp(`^${name} \\d`) });
  const number = async (name) => Number(/\d+/.exec(await tile(name).innerText())[0]);
  await tile('Calls').waitFor();
  const before = await number('Calls');
  assert.ok(before >= 25, `calls: ${before}`);
  assert.ok(await number('Blocked') >= 2 && await number('Redacted') >= 1 && await number('Refused') >= 2 && await number('Errors') >= 1, 'a kind of call is not counted');
  await chat(world, tokens['release-bot']);
  await page.getByRole('link', { name: new RegExp(`^Calls ${before + 1} `) }).waitFor();
  for (const chart of ['Calls a second', 'Blocked, redacted', 'Median and 95th']) await page.getByLabel(new RegExp(`^${chart}`)).first().waitFor();
  await page.getByRole('link', { name: 'claude-code-mira' }).waitFor();
  await page.getByRole('button', { name: '24 hours' }).click();
  await page.waitForURL(/window=24h/);
  await page.reload();
  await page.getByRole('button', { name: '24 hours', pressed: true }).waitFor();
  await tile('Blocked').click();
  await page.getByRole('heading', { level: 1, name: 'Audit' }).waitFor();
  await visit.row('support-desk').first().waitFor();
});

journey('the audit log is narrowed by filters that live in the address', world, async (visit, { size }) => {
  const { page } = visit;
  await visit.go('Audit');
  await visit.rows().first().waitFor();
  if (size === 'phone') await page.getByText('Narrow it down').click();
  await page.getByRole('group', { name: 'Agents' }).getByRole('button', { name: /claude-code-mira/ }).click();
  await page.waitForURL(/agentId=claude-code-mira/);
  await visit.gone(visit.row('support-desk'));
  await page.getByLabel('Event', { exact: true }).selectOption('proxy.request');
  await page.waitForURL(/event=proxy\.request/);
  await visit.gone(visit.row('Call ended'));
  const decisions = 13;
  await visit.rows().nth(decisions - 1).waitFor();
  assert.equal(await visit.rows().count(), decisions);
  await page.reload();
  await visit.rows().nth(decisions - 1).waitFor();
  assert.equal(await visit.rows().count(), decisions, 'after the page was loaded again');
  await page.goBack();
  await visit.row('Call ended').first().waitFor();
  await page.getByRole('button', { name: 'Clear all' }).click();
  await visit.row('support-desk').first().waitFor();
  assert.doesNotMatch(page.url(), /agentId|event/);
});

journey('one call is found by its id, and by its path', world, async (visit) => {
  const { page } = visit;
  const { requestId } = await chat(world, tokens['nightly-eval'], 'Hello', 'leak=text');
  await visit.go('Audit');
  const find = page.getByRole('searchbox', { name: /Request id/ });
  await find.fill(requestId);
  await find.press('Enter');
  const story = page.getByRole('dialog', { name: 'The story of a call' });
  await story.getByText(/replaced it before the agent saw it/).waitFor();
  await page.reload();
  await story.getByText(/replaced it before the agent saw it/).waitFor();
  await page.keyboard.press('Escape');
  await visit.gone(story);
  await find.fill('/v1/embeddings');
  await find.press('Enter');
  await visit.row('/v1/embeddings').first().waitFor();
  await visit.gone(visit.row('/v1/chat/completions'));
});

journey('what is typed as the page comes up stays', world, async (visit) => {
  const { page } = visit;
  await page.evaluate(() => {
    new MutationObserver((_, self) => {
      const field = document.querySelector('input[data-search]');
      if (!field) return;
      self.disconnect();
      field.value = 'typed at once';
      field.dispatchEvent(new Event('input', { bubbles: true }));
    }).observe(document.body, { childList: true, subtree: true });
  });
  await visit.go('Audit');
  await visit.rows().first().waitFor();
  const find = page.getByRole('searchbox', { name: /Request id/ });
  assert.equal(await find.inputValue(), 'typed at once');
  await find.press('Enter');
  await page.waitForURL(/text=typed/);
  await page.getByRole('button', { name: 'Clear all' }).click();
  await page.waitForURL((url) => !url.href.includes('text='));
  await visit.rows().first().waitFor();
  assert.equal(await find.inputValue(), '');
}, { on: variants.slice(0, 1) });

journey('the live tail shows what comes, and waits where it is told to', world, async (visit) => {
  const { page } = visit;
  await visit.go('Audit');
  await page.getByRole('button', { name: 'Live tail' }).click();
  await page.getByRole('status').getByText('live', { exact: true }).waitFor();
  const { requestId } = await chat(world, tokens['release-bot']);
  await page.getByRole('main').locator(`a[href*="${requestId}"]`).first().waitFor();
  await page.getByRole('button', { name: 'Pause' }).click();
  await page.getByRole('status').getByText('paused', { exact: true }).waitFor();
  await chat(world, tokens['support-desk']);
  await page.getByText(/\d+ new/).waitFor();
  await page.getByRole('button', { name: 'Go on' }).click();
  await page.getByRole('button', { name: 'Stop live tail' }).click();
});

journey('the log is exported, and verified', world, async (visit) => {
  const { page } = visit;
  await visit.go('Audit');
  await page.getByText('The log', { exact: true }).click();
  await page.getByRole('button', { name: 'Verify the whole log now' }).click();
  await page.getByText('verified', { exact: true }).waitFor();
  await page.getByRole('button', { name: 'Export…' }).click();
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Download' }).click()]);
  assert.match(download.suggestedFilename(), /\.ndjson$/);
  const lines = (await readFile(await download.path(), 'utf8')).trim().split('\n');
  assert.ok(lines.length > 100, `${lines.length} lines`);
  for (const line of lines) JSON.parse(line);
  await page.getByRole('radio', { name: /^CSV/ }).check();
  const [csv] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Download' }).click()]);
  assert.match(csv.suggestedFilename(), /\.csv$/);
});

journey('what a hostile agent calls itself and asks for is shown as text', world, async (visit) => {
  const { page } = visit;
  await visit.go('Agents');
  await page.getByText(attack.image, { exact: true }).first().waitFor();
  await page.getByText(`${attack.script}${attack.image}`, { exact: true }).waitFor();
  await visit.unharmed();
  await visit.row(hostile.agentId).getByRole('link', { name: hostile.agentId }).click();
  await page.getByRole('heading', { level: 1, name: hostile.agentId }).waitFor();
  await page.getByText(/svg\/onload/).first().waitFor();
  await visit.cut(visit.row('WWWWWWWW'));
  await visit.unharmed();
  await visit.fits('the agent');
  await visit.picture('hostile agent');
  await page.goto(`${world.management}/dashboard/#/audit?agentId=${hostile.agentId}`);
  await visit.row('svg/onload').first().waitFor();
  await visit.cut(visit.row('WWWWWWWW'));
  const links = await visit.row(hostile.agentId).locator('a[href*="call="]').all(); // each to the story of a call
  assert.ok(links.length > 6, `${links.length} entries`);
  for (const link of links) {
    await link.click();
    await page.getByRole('dialog').getByText('What happened').waitFor();
    await page.getByRole('dialog').getByText(/as the log has/).click();
    await visit.unharmed();
    await visit.fits('the story');
    const seen = await page.getByRole('dialog').innerText();
    assert.doesNotMatch(seen, /[\u00AD\u200B-\u200F\u2060\uFEFF\u202A-\u202E\u2066-\u2069\u0000-\u0008\u000B-\u001F\u007F-\u009F]/, 'characters that repaint what stands beside them');
    await page.keyboard.press('Escape');
    await visit.gone(page.getByRole('dialog'));
  }
  await visit.picture('hostile log');
});
