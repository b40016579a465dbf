// Opens pages full of hostile text with scripts allowed (T55). chromium.mjs takes
// note of every dialog, window, frame, script fault and request elsewhere.
import { base, browse, end, fault, fits, mostShifted, narrow, spots } from './chromium.mjs';

// Letters stand where they were written: within a text of one direction each
// stretch begins after the one before, line by line; within a stretch each letter does.
const ordered = () => {
  const wrong = [];
  const range = document.createRange();
  const compare = (boxes, dir, what) => {
    for (let i = 1; i < boxes.length; i++) {
      const [a, b] = [boxes[i - 1], boxes[i]];
      const line = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > Math.min(a.height, b.height) / 2;
      if (!line || a.width === 0 || b.width === 0) continue;
      if (dir === 'rtl' ? b.right > a.right + 0.5 : b.left < a.left - 0.5) { wrong.push(what.slice(0, 80)); return; }
    }
  };
  const texts = (e) => {
    const walk = document.createTreeWalker(e, NodeFilter.SHOW_TEXT), out = [];
    while (walk.nextNode()) out.push(walk.currentNode);
    return out;
  };
  let read = 0;
  for (const whole of document.querySelectorAll('main bdi, main .md p, main .md li, main .md pre, main .md h3, main .md td')) {
    if (whole.parentElement.closest('bdi')) continue;
    if (whole.querySelector('p, ul, ol, pre, table, blockquote')) continue;
    const stretches = [];
    for (const node of texts(whole)) {
      if (node.data.trim() === '') continue;
      const dir = getComputedStyle(node.parentElement).direction, boxes = [];
      for (let i = 0; i < node.length && i < 600; i++) {
        if (node.data[i].trim() === '') continue;
        range.setStart(node, i);
        range.setEnd(node, i + 1);
        const box = range.getClientRects()[0];
        if (box) boxes.push(box);
      }
      read += boxes.length;
      compare(boxes, dir, `${dir}: ${node.data}`);
      if (boxes.length > 0) stretches.push([boxes[0], boxes[boxes.length - 1]]);
    }
    // A stretch that fills more than one line begins where the other ended; only its own line is compared.
    const dir = getComputedStyle(whole).direction;
    for (let i = 1; i < stretches.length; i++) {
      const [a, b] = [stretches[i - 1], stretches[i]];
      const one = (s) => Math.abs(s[0].top - s[1].top) < 2;
      if (!one(a) || !one(b)) continue;
      compare([a[0], b[0]], dir, `stretches of ${whole.textContent}`);
    }
  }
  return { wrong, read };
};

let letters = 0;
const requests = await browse('hostile', { viewport: narrow, colorScheme: 'light' }, async (page) => {
  for (const { path } of spots) {
    const answer = await page.goto(base + path, { waitUntil: 'load' });
    if (answer.status() !== 200) fault(path, `answers ${answer.status()}`);
    if (!page.url().startsWith(base + path.split('?')[0])) fault(path, `leads to ${page.url()}`);
    await fits(page, path);
    const found = await page.evaluate(ordered);
    letters += found.read;
    for (const w of found.wrong.slice(0, 3)) fault(path, `out of order: ${JSON.stringify(w)}`);
    // Nothing lies over the page's own bar, and none of it has our words in place of us.
    const top = await page.evaluate(() => {
      scrollTo(0, 0);
      const at = document.querySelector('.brand').getBoundingClientRect();
      return document.elementFromPoint(at.left + 8, at.top + at.height / 2)?.closest('.brand') !== null;
    });
    if (!top) fault(path, 'something lies over the bar');
  }
});
end(`${spots.length} pages, ${letters} letters in their order, ${requests} requests, all to ${base}, most shift ${mostShifted()}`);
