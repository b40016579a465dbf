// An operator adds a passkey, proves by it who they are, and lets a terminal act for them
// before and after. The authenticator is the browser's own virtual one.
import { createRequire } from 'node:module';
import { readFile } from 'node:fs/promises';
import { base, browse, end, fault, fits, narrow, shots, wide } from './chromium.mjs';

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const rules = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22a', 'wcag22aa', 'best-practice'];
const want = (where, is, what) => { if (!is) fault(where, what); };
const [before, after] = JSON.parse(process.env.REEF_CODES);
let checks = 0, requests = 0;

async function judge(page, name, looks = ['light', 'dark']) {
  for (const look of looks) {
    await page.emulateMedia({ colorScheme: look });
    await fits(page, `${name} ${look}`, look !== looks[0]); // a picture of the whole page resizes the window
    await page.evaluate(axe);
    const found = await page.evaluate((values) => globalThis.axe.run(document, { runOnly: { type: 'tag', values }, resultTypes: ['violations'] }), rules);
    checks += found.passes.length;
    for (const v of found.violations) fault(`${name} ${look}`, `axe ${v.impact} ${v.id}: ${v.nodes.slice(0, 2).map((n) => n.html.slice(0, 160)).join(' | ')}`);
    await page.screenshot({ path: `${shots}/${name}-${look}.png`, fullPage: true });
  }
}

const told = (drive) => async (page, context) => {
  page.setDefaultTimeout(20_000);
  try {
    await drive(page, context);
  } catch (e) {
    fault(page.url(), `${e.message.split('\n')[0]} ${e.stack.split('\n').filter((l) => l.includes('passkey.mjs'))} at ${(await page.locator('body').innerText()).slice(0, 600)}`);
  }
};

async function signIn(page, next) {
  await page.goto(`${base}/sign-in?next=${next}`);
  await page.locator('#token').fill(process.env.REEF_TOKEN);
  await page.locator('form[action$="sign-in"] button').click();
  await page.waitForURL(base + next);
}

async function letIn(page, code) {
  await page.goto(`${base}/oauth/device?user_code=${encodeURIComponent(code)}`);
  await page.locator('button[value=allow]').click();
  await page.waitForLoadState();
}

const options = { viewport: wide, colorScheme: 'light' };
const session = async (context) => (await context.cookies()).find((c) => c.name.includes('reef-session-'));
const adding = 'form[data-passkey=create]', proving = 'form[data-passkey=get]';

requests += await browse('passkeys', options, told(async (page, context) => {
  const cdp = await context.newCDPSession(page);
  await cdp.send('WebAuthn.enable');
  const device = { protocol: 'ctap2', transport: 'internal', hasUserVerification: true, hasResidentKey: true, isUserVerified: true, automaticPresenceSimulation: true };
  const { authenticatorId } = await cdp.send('WebAuthn.addVirtualAuthenticator', { options: device });

  await signIn(page, '/account');
  want('account', (await page.locator('main').innerText()).includes('You have none.'), 'there is a passkey already');
  await judge(page, 'passkeys-none');
  await page.goto(base + '/step-up');
  want('step-up', await page.locator(proving).count() === 0 && (await page.locator('main').innerText()).includes('add one'), 'a passkey is asked for where there is none');
  await letIn(page, before);

  const answer = await page.goto(base + '/account');
  const policy = answer.headers()['content-security-policy'];
  want('policy', policy.includes("script-src 'self'") && policy.startsWith("default-src 'none'") && !policy.includes('unsafe'), policy);
  want('policy', !(await page.goto(base + '/status')).headers()['content-security-policy'].includes('script-src'), 'other pages run scripts');
  await page.goto(base + '/account');

  // Whoever does not unlock it adds nothing, is told so, and can try again.
  await cdp.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: false });
  await page.locator('#passkey').fill('The key on my desk');
  await page.locator(`${adding} button`).click();
  await page.waitForFunction((s) => document.querySelector(s + ' [role=status]').textContent.includes('Try again'), adding);
  await judge(page, 'passkeys-not-unlocked');
  await cdp.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: true });
  await page.locator(`${adding} button`).click();
  await page.waitForURL(base + '/account');
  await page.locator('th', { hasText: 'The key on my desk' }).waitFor();
  want('added', (await cdp.send('WebAuthn.getCredentials', { authenticatorId })).credentials.length === 1, 'the device has no passkey');
  await judge(page, 'passkeys-one');

  // The same device has no second one.
  await page.locator('#passkey').fill('The same again');
  await page.locator(`${adding} button`).click();
  await page.waitForFunction((s) => document.querySelector(s + ' [role=status]').textContent.includes('already'), adding);

  // Proved, the session has another key and goes on where it was.
  const first = await session(context);
  await page.goto(base + '/step-up?next=/account');
  await judge(page, 'step-up-passkey');
  await page.locator(`${proving} button`).click();
  await page.waitForURL(base + '/account');
  const second = await session(context);
  want('proved', second.value !== first.value && second.httpOnly && second.sameSite === 'Strict', 'the session has the key that it had');
  want('proved', !(await page.locator('main').innerText()).includes('not yet'), 'the passkey was not used');
  await letIn(page, after);

  // An answer that is sent again is refused, and the session stays as it is.
  await page.goto(base + '/step-up?next=/account');
  const [sent] = await Promise.all([
    page.waitForRequest((r) => r.url() === base + '/passkeys/prove'),
    page.locator(`${proving} button`).click(),
  ]);
  await page.waitForURL(base + '/account');
  const third = await session(context);
  const replay = await context.request.post(base + '/passkeys/prove', {
    form: Object.fromEntries(new URLSearchParams(sent.postData())), headers: { origin: base }, maxRedirects: 0,
  });
  want('replay', replay.status() === 403 && (await session(context)).value === third.value, `the same answer again: ${replay.status()}`);
}));

requests += await browse('narrow', { ...options, viewport: narrow }, told(async (page) => {
  await signIn(page, '/account');
  await judge(page, 'passkeys-narrow');
  await page.goto(base + '/step-up?next=/account');
  await judge(page, 'step-up-narrow');
}));

// Without scripts everything else is there, and the page says what is missing.
requests += await browse('unscripted', { ...options, javaScriptEnabled: false }, told(async (page) => {
  await signIn(page, '/account');
  want('unscripted', (await page.locator('main').innerText()).includes('A passkey needs a script'), 'the page does not say that a passkey needs a script');
  want('unscripted', await page.locator(`${adding} button`).isDisabled(), 'the button that can do nothing can be pressed');
  await page.goto(base + '/step-up?next=/status');
  await page.locator('#token').fill(process.env.REEF_TOKEN);
  await page.locator('form[action$="step-up"] button').click();
  await page.waitForURL(base + '/status');
}));

end(`a passkey was added and used, ${checks} rules passed, ${requests} requests`);
