// People sign in at an identity provider, prove again who they are, and sign out. Others
// try to get in, or to make them.
import { createRequire } from 'node:module';
import { readFile } from 'node:fs/promises';
import { also as issuer, base, browse, end, fault, fits, shots, wide } from './chromium.mjs';

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const rules = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22a', 'wcag22aa', 'best-practice'];
const want = (where, is, what) => { if (!is) fault(where, what); };
let checks = 0, requests = 0, met = '';

async function judge(page, where) {
  await fits(page, where);
  await page.evaluate(axe);
  const found = await page.evaluate((values) => globalThis.axe.run(document, { runOnly: { type: 'tag', values }, resultTypes: ['violations'] }), rules);
  checks += found.passes.length;
  for (const v of found.violations) fault(where, `axe ${v.impact} ${v.id}: ${v.nodes.slice(0, 2).map((n) => n.html.slice(0, 160)).join(' | ')}`);
  await page.screenshot({ path: `${shots}/${where}.png`, fullPage: true });
}

const atProvider = (page) => page.locator('form[action$="sign-in/provider"] button, form:has(input[value="provider"]) button');
const session = async (context) => (await context.cookies()).find((c) => c.name.includes('reef-session-'));
const carried = async (context) => (await context.cookies()).find((c) => c.name.includes('reef-sign-in-'));

// name signs in at the provider, once it asks. Where somebody else was signed in there,
// a page of the provider's leads on: with a script, or by its button.
async function as(page, name, scripts = true) {
  await page.waitForURL(issuer + '/who/**');
  await page.locator('input').fill(name);
  await page.locator('button').click();
  await page.waitForURL((u) => u.href.startsWith(base + '/') || !scripts && u.pathname.startsWith('/auth/'));
  if (!page.url().startsWith(base + '/')) await page.locator('button').click();
  await page.waitForURL(base + '/**');
}

// arrived waits until the page that goes on by itself has done so.
const arrived = (page, path) => page.waitForURL(base + path);

const options = { viewport: wide, colorScheme: 'light' };
// told says where a step that throws was, and what the page said.
const told = (drive) => async (page, context) => {
  page.setDefaultTimeout(20_000);
  try {
    await drive(page, context);
  } catch (e) {
    fault(page.url(), `${e.message.split('\n')[0]} ${e.stack.split('\n').filter((l) => l.includes('signin.mjs'))} at ${(await page.locator('body').innerText()).slice(0, 400)}`);
  }
};

for (const scripts of [true, false]) {
  requests += await browse(`provider-${scripts}`, { ...options, javaScriptEnabled: scripts }, told(async (page, context) => {
    await page.goto(base + '/sign-in?next=/status');
    if (scripts) await judge(page, 'sign-in-provider');
    await atProvider(page).click();
    await as(page, 'mara', scripts);
    await arrived(page, '/status');
    want('sign in', (await page.locator('.who .name').textContent()).includes('mara@example.com'), 'the page does not say who is signed in');
    want('sign in', (await page.locator('.who .roles').textContent()) === 'responder', 'the page does not say which roles she has');
    const first = await session(context);
    want('cookie', first?.httpOnly && first.sameSite === 'Strict' && first.path === '/', `the session's cookie is ${JSON.stringify({ ...first, value: '' })}`);
    want('cookie', await carried(context) === undefined, 'the cookie of the sign-in is still there');
    want('storage', !scripts || await page.evaluate(() => localStorage.length + sessionStorage.length + document.cookie.length) === 0, 'scripts could read something');

    // She proves again who she is; the session gets another key.
    if (scripts) {
      await page.goto(base + '/account');
      await judge(page, 'account');
      await page.goto(base + '/step-up?next=/account');
      await judge(page, 'step-up');
    } else {
      await page.goto(base + '/step-up?next=/account');
    }
    await atProvider(page).click();
    await page.waitForURL(issuer + '/who/**');
    want('step up', (await page.locator('#why').textContent()).includes('login_prompt'), 'the provider was not told to ask again');
    await as(page, 'mara', scripts);
    await arrived(page, '/account');
    const second = await session(context);
    want('step up', second.value !== first.value, 'the session has the key that it had');

    // Somebody else comes back: nothing changes.
    await page.goto(base + '/step-up');
    await atProvider(page).click();
    await as(page, 'otto', scripts);
    want('other', (await page.content()).includes('session.other'), 'somebody else has stepped up');
    want('other', (await session(context)).value === second.value, 'the session has changed hands');

    await page.goto(base + '/status');
    await page.locator('.who button').click();
    await page.waitForURL(base + '/sign-out');
    want('sign out', await session(context) === undefined, 'the cookie is still there');
    want('sign out', !(await page.content()).includes('mara@example.com'), 'the page says that she is there');
    if (scripts) await judge(page, 'signed-out');
    // At the provider she is signed in until she says there that she would not be.
    await page.locator('.button').click();
    await page.waitForURL(issuer + '/session/end?**');
    await page.locator('button[value=yes]').click();
    await page.waitForURL((u) => u.href.startsWith(base + '/sign-in'));
    await context.addCookies([second]);
    await page.goto(base + '/status');
    want('sign out', !(await page.content()).includes('mara@example.com'), 'the cookie still opens the pages');
    await context.clearCookies();

    // Who has no role here, and whose address nobody has verified.
    for (const [name, rule] of [['nemo', 'no role'], ['otto', 'otto']]) {
      await page.goto(base + '/sign-in');
      await atProvider(page).click();
      await as(page, name, scripts);
      if (name === 'otto') await arrived(page, '/');
      want(name, (await page.content()).includes(rule), `${name} is not told: ${rule}`);
      want(name, (await session(context) !== undefined) === (name === 'otto'), `${name}'s session`);
      want(name, !(await page.content()).includes('ceo@example.com'), 'an address that nobody has verified is shown');
      await context.clearCookies();
    }
  }));
}

// What was sent in the victim's name, or to the victim.
requests += await browse('victim', options, told(async (page, context) => {
  // An attacker begins to sign in and keeps the address that the provider sends back to.
  await page.goto(base + '/sign-in');
  await atProvider(page).click();
  await page.waitForURL(issuer + '/who/**');
  // (What a redirect leads to is never shown to a browser's routes, so a program goes along.)
  for (let at = page.url(), form = { name: 'otto' }; !met.startsWith(base); at = met, form = undefined) {
    const answer = await (form ? context.request.post(at, { form, maxRedirects: 0 }) : context.request.get(at, { maxRedirects: 0 }));
    met = new URL(answer.headers().location, at).href;
  }
  const sent = await carried(context);
  await context.clearCookies();

  // The victim follows it: login CSRF, mix-up of browsers.
  await page.goto(met);
  want('login CSRF', (await page.content()).includes('has not begun a sign-in') && await session(context) === undefined, 'the victim is signed in as the attacker');

  // With a sign-in of the victim's own on its way it is no better.
  await page.goto(base + '/sign-in');
  await atProvider(page).click();
  await page.waitForURL(issuer + '/**');
  await page.goto(met);
  want('state', (await page.content()).includes('belongs to another sign-in') && await session(context) === undefined, 'the state of another sign-in is taken');
  await context.clearCookies();

  // In the browser where it was begun it is good, once.
  await context.addCookies([sent]);
  await page.goto(met);
  await arrived(page, '/');
  want('own', await session(context) !== undefined, 'the sign-in of this browser is refused');
  const held = await session(context);
  await context.addCookies([sent]);
  await page.goto(met);
  want('replay', (await page.content()).includes('role="alert"') && (await session(context)).value === held.value, 'a code was taken twice');

  // Forms of another site do nothing with the victim's cookie.
  for (const [path, fields] of [['/sign-out', ''], ['/sign-in/provider', 'next=/'], ['/step-up', 'with=provider'], ['/account', 'session=x'], ['/sign-in', 'token=x']]) {
    await page.goto(`${issuer}/hostile?to=${encodeURIComponent(base + path)}&${fields}`);
    const [answer] = await Promise.all([page.waitForResponse((r) => r.url() === base + path && r.request().method() === 'POST'), page.locator('button').click()]);
    want('CSRF', answer.status() === 403 || answer.status() === 401, `${path} answers ${answer.status()} to another site's form`);
    await page.waitForLoadState();
  }
  await page.goto(base + '/status');
  want('CSRF', (await page.locator('.who .name').textContent()).includes('otto'), 'another site has signed the victim out');

  // Where the human goes on is one of our own pages.
  for (const next of ['https://evil.example/', '//evil.example/', '/\\evil.example', 'javascript:alert(1)']) {
    await context.clearCookies();
    await page.goto(base + '/sign-in?next=' + encodeURIComponent(next));
    await atProvider(page).click();
    await as(page, 'mara');
    await page.waitForURL((u) => u.href.startsWith(base) && !u.pathname.includes('callback'));
    want('redirect', page.url().startsWith(base + '/'), `after signing in the browser is at ${page.url()}`);
  }
}));

end(`people signed in, stepped up and out with and without scripts, ${checks} rules passed, ${requests} requests`);
