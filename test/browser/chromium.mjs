// Debian's Chromium over one server, and what every page must keep to.
import { chromium } from 'playwright-core';

export const base = process.env.REEF_BASE;
export const spots = JSON.parse(process.env.REEF_PAGES);
export const signed = JSON.parse(process.env.REEF_SIGNED ?? '[]'); // pages that operators look at
export const also = process.env.REEF_ALSO ?? base; // another server whose pages may be seen
export const shots = process.env.REEF_SHOTS;

export const wide = { width: 1280, height: 900 };
export const narrow = { width: 360, height: 740 };

const faults = [];
export const fault = (where, what) => faults.push(`${where}: ${what}`);

// The browser says nothing to anybody by itself: what it asks for, the pages asked for.
export async function browse(profile, options, drive) {
  const context = await chromium.launchPersistentContext(`${process.env.REEF_PROFILE}/${profile}`, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    chromiumSandbox: false,
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
    ...options,
  });
  const seen = { requests: 0 };
  await context.route('**/*', (route) => {
    const url = route.request().url();
    seen.requests++;
    if (url.startsWith(base + '/') || url.startsWith(also + '/')) return route.continue();
    fault(profile, `a page asks for ${url.slice(0, 200)}`);
    return route.abort();
  });
  const page = context.pages()[0] ?? await context.newPage();
  page.setDefaultTimeout(60_000);
  const here = () => `${profile} ${page.url().slice(base.length)}`;
  page.on('dialog', (d) => { fault(here(), `a dialog: ${d.message()}`); d.dismiss(); });
  page.on('popup', (p) => fault(here(), `a window: ${p.url()}`));
  page.on('download', (d) => fault(here(), `a download: ${d.url()}`));
  page.on('worker', (w) => fault(here(), `a worker: ${w.url()}`));
  page.on('pageerror', (e) => fault(here(), `a script fails, and there is none: ${e.message}`));
  page.on('console', (m) => { if (!/Failed to load resource: the server responded with a status of/.test(m.text())) fault(here(), `the console says: ${m.text()}`); });
  page.on('frameattached', (f) => fault(here(), `a frame: ${f.url()}`));
  try {
    await drive(page, context);
  } finally {
    await context.close();
  }
  return seen.requests;
}

// What Core Web Vitals call a good cumulative layout shift. A page that is drawn while
// it comes in may settle by a fraction of this.
const mostShift = 0.1;
let shifted = 0;
export const mostShifted = () => shifted;

// Nothing on a page is wider than the window, and it holds still while it comes in; of a
// page whose window was resized, what moved with that is not counted.
export async function fits(page, where, resized = false) {
  const found = await page.evaluate(async (resized) => {
    if (resized) await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    const room = document.documentElement.clientWidth;
    const over = [];
    if (document.documentElement.scrollWidth > room) {
      for (const e of document.body.querySelectorAll('*')) {
        if (e.getBoundingClientRect().right > room + 1 && !e.closest('.scroll')) over.push(`${e.tagName}.${e.className}`);
      }
    }
    return new Promise((done) => {
      const shifts = [];
      let shift = 0;
      const take = (list) => {
        for (const e of list) shift += e.value, shifts.push(`${e.value} of ${e.sources.map((s) => `${s.node?.parentElement?.className} ${s.node?.className ?? s.node?.data?.slice(0, 40)}`).slice(0, 3)}`);
      };
      const watch = new PerformanceObserver((l) => take(l.getEntries()));
      watch.observe({ type: 'layout-shift', buffered: !resized });
      requestAnimationFrame(() => requestAnimationFrame(() => {
        take(watch.takeRecords());
        done({ wide: document.documentElement.scrollWidth > room, over: over.slice(0, 5), shift, shifts });
      }));
    });
  }, resized);
  if (found.wide) fault(where, `runs over the side: ${found.over}`);
  shifted = Math.max(shifted, found.shift);
  if (found.shift > mostShift) fault(where, `shifts: ${found.shifts}`);
}

export function end(text) {
  console.log(text);
  if (faults.length > 0) {
    console.error(faults.slice(0, 60).join('\n'));
    console.error(`${faults.length} faults`);
    process.exit(1);
  }
}
