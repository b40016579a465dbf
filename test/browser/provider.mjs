// An identity provider that others have written, for people who sign in by name alone.
// It says where it is, then reads the address that it sends people back to.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import Provider from 'oidc-provider';

const people = JSON.parse(process.env.REEF_PEOPLE); // claims by name
let handle = (_, res) => res.writeHead(503).end();
const server = createServer((req, res) => handle(req, res));
server.listen(0, '127.0.0.1', async () => {
  // Another name than the network's makes it another site; both families have it.
  const { port } = server.address();
  const issuer = `http://localhost:${port}`;
  const sixth = createServer((req, res) => handle(req, res)).on('error', () => {}).listen(port, '::1');
  console.log(issuer);
  for await (const redirect of createInterface({ input: process.stdin })) handle = serve(issuer, redirect);
  for (const s of [server, sixth]) s.close(() => {}).closeAllConnections();
});

function serve(issuer, redirect) {
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'reef', client_secret: process.env.REEF_SECRET, redirect_uris: [redirect], post_logout_redirect_uris: [redirect.replace('/callback', '')],
      response_types: ['code'], grant_types: ['authorization_code'], token_endpoint_auth_method: 'client_secret_basic',
    }],
    scopes: ['openid', 'profile', 'email', 'groups'],
    claims: { openid: ['sub'], profile: ['name', 'preferred_username'], email: ['email', 'email_verified'], groups: ['groups'] },
    pkce: { required: () => true },
    cookies: { keys: [process.env.REEF_SECRET] },
    features: {
      devInteractions: { enabled: false },
      rpInitiatedLogout: {
        logoutSource: (ctx, form) => { ctx.body = `<!doctype html><html lang="en"><title>Sign out?</title><h1>Sign out?</h1>${form}<button form="op.logoutForm" name="logout" value="yes">Yes</button></html>`; },
      },
    },
    interactions: { url: (_, interaction) => `/who/${interaction.uid}` },
    findAccount: (_, id) => people[id] && { accountId: id, claims: () => ({ sub: id, ...people[id] }) },
    // Whoever is here may use the network: nobody is asked for consent.
    loadExistingGrant: async (ctx) => {
      const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
      grant.addOIDCScope('openid profile email groups');
      await grant.save();
      return grant;
    },
  });
  const callback = provider.callback();
  return async (req, res) => {
    const url = new URL(req.url, issuer);
    if (url.pathname === '/favicon.ico') return res.writeHead(204).end();
    if (url.pathname === '/hostile') return hostile(url, res);
    if (!url.pathname.startsWith('/who/')) return callback(req, res);
    if (req.method === 'POST') {
      let body = '';
      for await (const part of req) body += part;
      const name = new URLSearchParams(body).get('name');
      return provider.interactionFinished(req, res, { login: { accountId: name } }, { mergeWithLastSubmission: false });
    }
    const { prompt } = await provider.interactionDetails(req, res);
    res.writeHead(200, { 'content-type': 'text/html' }).end(`<!doctype html><html lang="en"><title>Who are you?</title>
<h1>Who are you?</h1><p id="why">${prompt.reasons.join(' ')}</p><form method="post"><label>Name <input name="name"></label><button>Sign in</button></form></html>`);
  };
}

// A page of another origin that sends a form somewhere.
function hostile(url, res) {
  const fields = [...url.searchParams].filter(([name]) => name !== 'to').map(([name, value]) => `<input name="${name}" value="${value}">`).join('');
  res.writeHead(200, { 'content-type': 'text/html' }).end(`<!doctype html><html lang="en"><title>Win a prize</title>
<h1>Win</h1><form method="post" action="${url.searchParams.get('to')}">${fields}<button>Win</button></form></html>`);
}
