// People sign in at an identity provider, prove again who they are, and sign out. Others
// try to get in, or to make them.
import { createRequire } from 'node:module';
import { readFile } from 'node:fs/promises';
import { also as issuer, base, browse, end, fault, fits, narrow, shots, wide } from './chromium.mjs';

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const rules = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22a', 'wcag22aa', 'best-practice'];
const want = (where, is, what) => { if (!is) fault(where, what); };
let checks = 0, requests = 0, met = '';

async function judge(page, where, resized) {
  await fits(page, where, resized);
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

// An owner comes by the link that her agent gave her, claims it, lets it talk, and replaces
// its key when that is lost.
for (const scripts of [true, false]) {
  requests += await browse(`owner-${scripts}`, { ...options, javaScriptEnabled: scripts }, told(async (page, context) => {
    const both = async (where) => {
      if (!scripts) return;
      await judge(page, where);
      await page.emulateMedia({ colorScheme: 'dark' });
      await judge(page, where + '-dark', true); // a picture of the whole page resizes the window
      await page.emulateMedia({ colorScheme: 'light' });
      await page.setViewportSize(narrow);
      await judge(page, where + '-narrow', true);
      await page.setViewportSize(wide);
    };
    const call = async (path, key, data) => {
      const answer = await context.request.post(base + path, { data, headers: key ? { authorization: 'Bearer ' + key } : {} });
      return [answer.status(), await answer.json()];
    };
    const newcomer = async (name, description) => (await call('/v1/agents', '', { name: name + (scripts ? '' : '-2'), description }))[1];
    const quiet = await newcomer('tidewater', 'Watches list prices.\n\n<img src=x onerror=alert(1)> and [a link](https://evil.example/) \u202eereh');
    const other = await newcomer('gullwing', 'Asks around.');
    page.on('request', (r) => { if ((r.headers().referer ?? '').includes('moltbook_claim_')) fault('claim', `the token is told to ${r.url()}`); });

    await page.goto(base + '/claim/' + quiet.claim_token);
    await arrived(page, '/claim');
    want('claim', !(await page.content()).includes('tidewater'), 'a stranger sees the agent');
    await both('claim-stranger');
    await atProvider(page).click();
    await as(page, 'olga', scripts);
    await arrived(page, '/claim');
    want('claim', (await page.locator('h1').textContent()).includes('tidewater'), 'the agent is not shown after signing in');
    want('claim', !(await page.content()).includes('moltbook_claim_'), 'the page has the token');
    await both('claim');
    await page.getByRole('button', { name: 'Yes, I answer for it' }).click();
    await page.waitForURL(`${base}/mine#a-${quiet.id}`);

    // Her session comes along with a link that somebody else's page leads to.
    await page.goto(`${issuer}/hostile?to=${encodeURIComponent(base + '/status')}`);
    if (scripts) await page.evaluate((to) => { location.href = to; }, base + '/claim/' + other.claim_token);
    else await page.goto(base + '/claim/' + other.claim_token);
    await arrived(page, '/claim');
    await page.getByRole('button', { name: 'Yes, I answer for it' }).click();
    await page.waitForURL(`${base}/mine#a-${other.id}`);

    const [asked] = await call('/v1/conversations', other.key, { to: quiet.name, message: 'May I ask about the prices?' });
    want('ask', asked === 201 || asked === 200, `the request is answered ${asked}`);
    await page.goto(base + '/mine');
    await both('mine');
    await page.getByLabel('Why').first().fill('they work together');
    await page.getByRole('button', { name: 'Let them talk' }).click();
    await page.waitForURL(base + '/mine');
    want('mine', (await page.locator('.empty').textContent()).includes('Nothing waits'), 'the request waits still');

    // The key is lost. She proves again that it is her, if the provider has not just said so.
    for (const first of [true, false]) {
      await page.locator(`#a-${quiet.id} summary`).click();
      await page.locator(`#a-${quiet.id}`).getByLabel('Why').fill('the laptop is gone');
      await page.locator(`#a-${quiet.id} button[value="recover"]`).click();
      await page.waitForLoadState();
      if (!page.url().includes('/step-up')) break;
      want('recover', first, 'who has proved who she is has to do so again');
      await atProvider(page).click();
      await as(page, 'olga', scripts);
      await arrived(page, '/mine');
    }
    want('recover', /^reef_/.test(await page.locator('.address').textContent()) || (await page.locator('.address').textContent()).length > 20, 'no token is shown');
    await both('mine-recovered');
    const [refused] = await call('/v1/posts', quiet.key, { community: 'general', title: 'Still me', content: 'c' });
    want('recover', refused === 401, `the old key is answered ${refused}`);
    await page.goto(base + '/mine');
    want('recover', await page.locator('.address').count() === 0, 'the token is shown again');
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
  for (const [path, fields] of [['/sign-out', ''], ['/sign-in/provider', 'next=/'], ['/step-up', 'with=provider'], ['/account', 'session=x'], ['/claim', 'agent=x'], ['/mine', 'do=pause'], ['/sign-in', 'token=x']]) {
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
