// A person's browser at keeper's dashboard. A visit notes whatever a page must not do, and
// everything that keeper answered; its end fails where anything was noted.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { AxeBuilder } from '@axe-core/playwright';
import { chromium } from 'playwright-core';

const sizes = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };

// variants are the screens on which every journey is made.
export const variants = Object.keys(sizes).flatMap((size) => ['dark', 'light'].map((theme) => ({ size, theme, toString: () => `${size}, ${theme}` })));

let browser;
after(async () => (await browser)?.close());

// The sandbox of Chromium needs namespaces, which containers often lack. The pages are keeper's
// own. A GPU that is emulated, as Debian's settings ask for, takes the processor's time.
const launch = () => chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'] });

// Whoever looks for the ready page waits so long, on a machine with other work.
const patience = 20_000;

// journey is a test on each of the variants: run gets a visit, signed in by a link of the
// admin's unless token says whose, or nobody's where it is null.
export function journey(name, world, run, { token, expected = [], hosts = [], on = variants } = {}) {
  for (const variant of on) {
    test(`${name} (${variant})`, async () => {
      const visit = await begin(world, variant, expected, hosts);
      try {
        if (token !== null) await visit.signIn(await token?.(variant));
        await run(visit, variant);
      } catch (error) {
        error.message += visit.report();
        await visit.picture(`failed ${name}`).catch(() => {});
        throw error;
      } finally {
        await visit.end();
      }
      assert.deepEqual(visit.problems, [], 'what the page must not do');
    });
  }
}

// begin opens a browser's window. expected are the answers that a page may meet though they
// are errors, as "401 /api/v1/auth/session"; hosts the origins beside keeper's that it may
// lead to.
export async function begin(world, variant, expected = [], hosts = []) {
  browser ??= launch();
  const context = await (await browser).newContext({
    viewport: sizes[variant.size], colorScheme: variant.theme, hasTouch: variant.size === 'phone', isMobile: variant.size === 'phone', locale: 'en-GB', timezoneId: 'UTC', reducedMotion: 'reduce', acceptDownloads: true,
  });
  context.setDefaultTimeout(patience);
  const visit = new Visit(world, variant, context, { expected, hosts });
  await visit.open();
  return visit;
}

class Visit {
  #context; #expected; #hosts; #reading = [];

  constructor(world, variant, context, { expected, hosts }) {
    this.world = world;
    this.variant = variant;
    this.problems = [];
    this.answers = []; // all that keeper answered, as text
    this.#context = context;
    this.#expected = expected;
    this.#hosts = [...hosts, new URL(world.management).origin];
  }

  async open() {
    const note = (problem) => this.problems.push(problem);
    await this.#context.exposeBinding('noteViolation', (_, said) => note(`content security policy: ${said}`));
    await this.#context.addInitScript(() => {
      document.addEventListener('securitypolicyviolation', (event) => globalThis.noteViolation(`${event.violatedDirective} ${event.blockedURI}`));
    });
    this.#context.on('request', (request) => this.#judgeRequest(request));
    this.#context.on('requestfailed', (request) => this.#judgeFailure(request));
    this.#context.on('response', (response) => this.#judgeResponse(response));
    this.#context.on('requestfinished', (request) => this.#reading.push(this.#read(request)));
    this.#context.on('console', (message) => this.#judgeMessage(message));
    this.#context.on('weberror', (error) => note(`error: ${error.error().stack}`));
    this.page = await this.#context.newPage();
    this.page.on('dialog', (dialog) => {
      note(`dialog: ${dialog.message()}`);
      return dialog.dismiss();
    });
  }

  #judgeRequest(request) {
    const url = new URL(request.url());
    if (!['data:', 'blob:'].includes(url.protocol) && !this.#hosts.includes(url.origin)) this.problems.push(`request to another host: ${url}`);
  }

  // A stream that goes on for ever is ended by leaving its page.
  #judgeFailure(request) {
    const { errorText } = request.failure();
    if (errorText !== 'net::ERR_ABORTED') this.problems.push(`request failed: ${request.url()}: ${errorText}`);
  }

  #judgeResponse(response) {
    const { pathname } = new URL(response.url());
    if (response.status() >= 400 && !this.#expects(response.status(), pathname)) this.problems.push(`status ${response.status()} of ${pathname}`);
  }

  // The body of a page that was left is gone.
  async #read(request) {
    try {
      this.answers.push(this.world.see(await (await request.response()).text()));
    } catch { /* as said */ }
  }

  #expects(status, pathname) {
    return this.#expected.some((one) => one === `${status} ${pathname}`);
  }

  // What the browser itself says of an answer that was expected is no error of the page's.
  #judgeMessage(message) {
    if (!['error', 'warning', 'assert'].includes(message.type())) return;
    const status = /^Failed to load resource: the server responded with a status of (\d+)/.exec(message.text())?.[1];
    if (status && this.#expects(Number(status), new URL(message.location().url).pathname)) return;
    this.problems.push(`console: ${message.text()}`);
  }

  // link is a one-time link for whoever has the bearer; without one, the admin's.
  async link(token) {
    if (!token) return (await this.world.manage('POST', '/auth/link')).url;
    const answer = await fetch(`${this.world.management}/api/v1/auth/link`, { method: 'POST', headers: { authorization: `Bearer ${token}` } });
    assert.equal(answer.status, 200, 'asking for a link');
    return (await answer.json()).url;
  }

  async signIn(token) {
    await this.page.goto(await this.link(token));
    await this.page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
  }

  // go opens a page by the navigation, which a narrow screen keeps behind a button.
  async go(name) {
    const link = this.page.getByRole('navigation').getByRole('link', { name: new RegExp(`^${name}`) });
    if (!(await link.isVisible())) await this.page.getByRole('button', { name: 'Menu' }).click();
    await link.click();
    await this.page.getByRole('heading', { level: 1, name }).waitFor();
  }

  rows() {
    return this.page.getByRole('main').getByRole('row').filter({ has: this.page.getByRole('cell') });
  }

  // row are the rows of tables that have the text.
  row(text) {
    return this.rows().filter({ hasText: text });
  }

  gone(what) {
    return what.waitFor({ state: 'detached' });
  }

  // unfold opens a part that is folded, unless it is open.
  async unfold(within, title) {
    const part = within.locator('details').filter({ hasText: title }).first();
    if ((await part.getAttribute('open')) === null) await part.locator('summary').click();
  }

  // tabTo goes to what by the Tab key alone; on its way it opens the menu, where what is in one.
  async tabTo(what, menu) {
    for (let presses = 0; presses < 150; presses++) {
      await this.page.keyboard.press('Tab');
      if (await what.evaluateAll((all) => all.includes(document.activeElement))) {
        const outline = await this.page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
        assert.notEqual(outline, 'none', `${what}: nothing shows that it has the focus`);
        return;
      }
      const at = await this.page.evaluate(() => `${document.activeElement.textContent.trim()} ${document.activeElement.ariaExpanded}`);
      if (menu && at === `${menu} false`) await this.page.keyboard.press('Enter');
    }
    assert.fail(`${what} is not reached by Tab`);
  }

  // held is what the page holds now.
  held() {
    return this.page.evaluate(() => {
      const values = [...document.querySelectorAll('input, textarea, select')].map((field) => field.value);
      return [document.documentElement.outerHTML, location.href, document.title, ...values, JSON.stringify({ ...localStorage }), JSON.stringify({ ...sessionStorage })].join('\n');
    });
  }

  // everything is what keeper answered and what the page holds now.
  async everything() {
    await Promise.all(this.#reading);
    return `${this.answers.join('\n')}\n${await this.held()}`;
  }

  // fits asserts that nothing is wider than the screen, and that nothing is cut off by what it
  // stands in, but where that scrolls for all to see or ends its text in an ellipsis.
  async fits(where) {
    const wide = await this.page.evaluate(() => {
      const name = (e) => `${e.tagName.toLowerCase()}.${e.className}`;
      const cuts = (e) => {
        const style = getComputedStyle(e);
        return style.overflowX !== 'visible' && style.textOverflow !== 'ellipsis' && e.clientWidth > 1 && !e.matches('pre, textarea, input, select, [tabindex="0"], .scroller');
      };
      return [document.documentElement, ...document.body.querySelectorAll('*')]
        .filter((e) => e.scrollWidth > e.clientWidth + 1 && (e === document.documentElement || cuts(e)))
        .map((e) => `${name(e)} has ${e.clientWidth} px, needs ${e.scrollWidth} for ${[...e.querySelectorAll('*')].filter((i) => i.getBoundingClientRect().right > e.getBoundingClientRect().right + 1).slice(0, 3).map(name)}`);
    });
    assert.deepEqual(wide, [], `${where}: what is cut off or wider than the screen`);
  }

  // cut asserts that rows with long texts take no more room than a few lines.
  async cut(rows) {
    await rows.first().waitFor();
    for (const row of await rows.all()) {
      const { height } = await row.boundingBox();
      assert.ok(height < 220, `a row is ${height} px high: ${(await row.innerText()).slice(0, 80)}`);
    }
  }

  // accessible asserts that axe finds nothing: in the page, or in what some selectors name.
  async accessible(where, ...parts) {
    const axe = new AxeBuilder({ page: this.page });
    for (const part of parts) axe.include(part);
    const { violations } = await axe.analyze();
    const found = violations.map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes.slice(0, 3).map((n) => `${n.target} (${n.any[0]?.message ?? n.html.slice(0, 120)})`).join('; ')}`);
    assert.deepEqual(found, [], `${where}: what axe finds`);
  }

  // unharmed asserts that attacks ran nothing: not now, and not in anything that was shown.
  async unharmed() {
    const harm = await this.page.evaluate(() => ({
      ran: globalThis.owned ?? null,
      elements: document.querySelectorAll('img[src="x"], [onerror], [onload], [onclick]').length + [...document.scripts].filter((s) => !s.src).length,
    }));
    assert.deepEqual(harm, { ran: null, elements: 0 }, 'what the markup of agents did');
  }

  // settled waits until the page shows all that it loads.
  async settled() {
    await this.page.waitForFunction(() => document.querySelector('main h1') && !document.querySelector('[aria-busy="true"], .bones'));
    await this.page.evaluate(() => new Promise((resolve) => { requestAnimationFrame(() => requestAnimationFrame(resolve)); }));
  }

  devtools() {
    return this.#context.newCDPSession(this.page);
  }

  // picture goes into the folder of pictures, where the run wants one.
  async picture(name) {
    const file = `${name} ${this.variant}.png`.replaceAll(/[^a-z0-9.]+/gi, '-');
    if (process.env.PICTURES) await this.page.screenshot({ path: `${process.env.PICTURES}/${file}` });
  }

  report() {
    return this.problems.length ? `\nmeanwhile the page did what it must not:\n${this.problems.join('\n')}` : '';
  }

  async end() {
    await this.unharmed().catch((error) => this.problems.push(error.message));
    await this.#context.close();
    await Promise.all(this.#reading);
  }
}
