// Looks at every page in light, dark, narrow and on paper, and uses all of them
// without scripts.
import { createRequire } from 'node:module';
import { readFile } from 'node:fs/promises';
import { base, browse, end, fault, fits, mostShifted, narrow, shots, signed, spots, wide } from './chromium.mjs';

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const rules = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22a', 'wcag22aa', 'best-practice'];
let requests = 0, judged = 0, checks = 0;

const views = [
  ['light', { viewport: wide, colorScheme: 'light' }],
  ['dark', { viewport: wide, colorScheme: 'dark' }],
  ['narrow', { viewport: narrow, colorScheme: 'light' }],
  ['narrow-dark', { viewport: narrow, colorScheme: 'dark', reducedMotion: 'reduce' }],
];
for (const [view, options] of views) {
  requests += await browse(view, options, async (page) => {
    for (const spot of [...spots, ...signed]) {
      const { name, path } = spot, where = `${view} ${name}`;
      if (spot === signed[0]) {
        await page.goto(base + '/sign-in');
        await page.locator('#token').fill(process.env.REEF_TOKEN);
        await page.locator('.sign button').click();
      }
      const answer = await page.goto(base + path, { waitUntil: 'load' });
      if (answer.status() >= 500) fault(where, `answers ${answer.status()}`);
      await fits(page, where);
      await page.evaluate(axe);
      const found = await page.evaluate((values) => globalThis.axe.run(document, { runOnly: { type: 'tag', values }, resultTypes: ['violations'] }), rules);
      judged++;
      checks += found.passes.length;
      for (const v of found.violations) {
        fault(where, `axe ${v.impact} ${v.id}: ${v.nodes.slice(0, 2).map((n) => n.html.slice(0, 160)).join(' | ')}`);
      }
      await page.screenshot({ path: `${shots}/${name}-${view}.png`, fullPage: true });
      if (view === 'light') {
        await page.emulateMedia({ media: 'print' });
        await page.screenshot({ path: `${shots}/${name}-print.png`, fullPage: true });
        await page.emulateMedia({ media: null });
      }
    }
  });
}

// What somebody does who has scripts switched off.
const want = (where, is, what) => { if (!is) fault(where, what); };
requests += await browse('unscripted', { viewport: wide, colorScheme: 'light', javaScriptEnabled: false }, async (page) => {
  const say = async (selector) => (await page.locator(selector).first().textContent()).trim();
  await page.goto(base + '/?sort=new');
  const first = await say('.feed .title');
  await page.locator('.more a').click();
  want('paging', page.url().includes('after=') && await say('.feed .title') !== first, 'the next page is the first one again');
  for (const order of ['hot', 'top', 'rising', 'new']) {
    await page.locator('.sorts a', { hasText: order }).click();
    want(order, await say('.sorts a[aria-current]') === order, 'is not marked');
  }
  await page.locator('.places a', { hasText: 'pricing' }).click();
  want('community', page.url() === base + '/m/pricing', page.url());
  await page.locator('.title a').first().click();
  want('thread', page.url().includes('/post/'), page.url());

  await page.goto(base + process.env.REEF_THREAD);
  const comment = page.locator('.c > details:has(> .kids)').first();
  const answers = comment.locator('> .kids'), toggle = comment.locator('> summary');
  want('fold', await answers.isVisible(), 'answers are folded at first');
  await toggle.click();
  want('fold', !await answers.isVisible(), 'a comment does not fold');
  await toggle.press('Enter');
  want('fold', await answers.isVisible(), 'a comment does not unfold by key');

  await page.locator('.said a.out').first().click();
  const go = page.locator('.go a');
  want('leave', await go.getAttribute('href') === 'https://handbook.example/pricing#floor', `the link out leads to ${await go.getAttribute('href')}`);
  want('leave', (await say('.address')).includes('https://handbook.example/pricing#floor'), 'the whole address is not shown');
  await page.goBack();

  await page.locator('.by').first().click();
  want('agent', page.url() === base + '/u/tidewater', page.url());
  await page.locator('#find').fill('chain');
  await page.locator('#find').press('Enter');
  want('search', (await say('.feed .title')).includes('chain'), 'search finds nothing');
  want('search', await page.locator('#q').inputValue() === 'chain', 'the words are not kept');

  await page.keyboard.press('Tab');
  want('skip', await page.locator('.skip').evaluate((e) => e === document.activeElement), 'the first stop is not the link to the content');

  for (const form of ['json', 'md', 'atom']) {
    const twin = await page.request.get(base + '/index.' + form);
    want(form, twin.ok(), `answers ${twin.status()}`);
  }

  await page.goto(base + '/u/tidewater');
  await page.locator('.who a').click();
  await page.locator('#token').fill('wrong');
  await page.locator('.sign button').click();
  want('sign in', (await page.content()).includes('role="alert"') && !(await page.content()).includes('value="wrong"'), 'a wrong token is not refused, or is shown');
  await page.locator('#token').fill(process.env.REEF_TOKEN);
  await page.locator('.sign button').click();
  want('sign in', page.url() === base + '/u/tidewater', `leads to ${page.url()}`);
  want('sign in', await page.locator('text=For operators').isVisible() && await page.locator('.held').isVisible(), 'what operators see is not there');
  await page.screenshot({ path: `${shots}/agent-operator.png`, fullPage: true });
  await page.locator('.who button').click();
  want('sign out', await page.locator('.who a').isVisible(), 'somebody is still signed in');
});

end(`${spots.length + signed.length} pages in ${views.length} views, axe ran ${judged} times with ${checks} rules passed, ${requests} requests, all to ${base}, most shift ${mostShifted()}; screenshots in ${shots}`);
