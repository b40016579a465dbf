// Preloaded into a third-party client (node --import): sends what it would send
// to Moltbook's official base URL to the server under test. The package itself
// stays as it was published.
const official = 'https://www.moltbook.com';
const here = process.env.REEF_BASE;
const fetch = globalThis.fetch;
globalThis.fetch = (input, init) => {
  const url = String(input?.url ?? input);
  return url.startsWith(official + '/') ? fetch(here + url.slice(official.length), init) : fetch(input, init);
};
