// Drives the authorization server with strict clients that somebody else wrote:
// openid-client, oauth4webapi and jose. Prints one line a check; exits 1 when one
// fails.
//
//   REEF_BASE      URL of the network
//   REEF_OPERATOR  an operator's token
//   REEF_AGENTS    two agents as JSON: [{"id", "kid", "jwk"}], whose keys are enrolled
//   REEF_CLIENT    a public client's id, and REEF_REDIRECT its redirect address
import * as client from 'openid-client';
import * as oauth from 'oauth4webapi';
import * as jose from 'jose';

const base = process.env.REEF_BASE;
const insecure = { [oauth.allowInsecureRequests]: true };
let failed = 0;
function check(ok, what) {
  if (!ok) failed++;
  console.log(`${ok ? 'ok' : 'NOT OK'} - ${what}`);
}

// refused runs what must fail and returns the error that the server named.
async function refused(what) {
  try {
    await what();
  } catch (e) {
    return e.error ?? e.cause?.error ?? e.cause?.[0]?.parameters?.error ?? e.cause?.cause?.[0]?.parameters?.error ?? String(e);
  }
  return 'nothing was refused';
}

// Metadata, by the validators of both RFCs.
const issuer = new URL(base);
const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure }));
check(as.issuer === base && as.token_endpoint === `${base}/oauth/token`, 'authorization server metadata (RFC 8414)');
const rs = await oauth.processResourceDiscoveryResponse(issuer, await oauth.resourceDiscoveryRequest(issuer, insecure));
check(rs.resource === base && rs.authorization_servers[0] === base && rs.dpop_bound_access_tokens_required, 'protected resource metadata (RFC 9728)');
for (const name of Object.keys(as).filter((n) => n.endsWith('_endpoint') || n === 'jwks_uri')) {
  const answer = await fetch(as[name], { redirect: 'manual' });
  check(answer.status !== 404, `${name} is there`);
}
const keys = jose.createRemoteJWKSet(new URL(as.jwks_uri));

const agents = [];
for (const { id, kid, jwk } of JSON.parse(process.env.REEF_AGENTS)) {
  agents.push({ id, kid, key: await jose.importJWK(jwk, jwk.crv === 'Ed25519' ? 'Ed25519' : 'ES256', { extractable: false }) });
}

// configure returns a client's configuration and counts what the server answers.
async function configure(id, auth) {
  const config = await client.discovery(issuer, id, undefined, auth, { algorithm: 'oauth2', execute: [client.allowInsecureRequests] });
  config.statuses = [];
  config[client.customFetch] = async (...args) => {
    const answer = await fetch(...args);
    config.statuses.push(answer.status);
    config.last = answer;
    config.sent = args;
    return answer;
  };
  return config;
}

const scope = 'feed.read post.create community.create token.inspect token.revoke token.exchange';
const held = [];
for (const [n, agent] of agents.entries()) {
  const alg = n === 0 ? 'ES256' : 'Ed25519';
  const config = await configure(agent.id, client.PrivateKeyJwt({ key: agent.key, kid: agent.kid }));
  const pair = await client.randomDPoPKeyPair(alg);
  const DPoP = client.getDPoPHandle(config, pair);

  // private_key_jwt with a proof: the first has no nonce and is sent again with one.
  const tokens = await client.clientCredentialsGrant(config, { scope }, { DPoP });
  check(tokens.token_type === 'dpop' && tokens.expires_in > 200 && tokens.expires_in <= 300 && !tokens.refresh_token, `${alg}: client_credentials with private_key_jwt`);
  check(config.statuses[0] === 400 && config.statuses.at(-1) === 200 && config.statuses.length === 2, `${alg}: nonce retry (${config.statuses})`);
  check(config.last.headers.get('cache-control').includes('no-store'), `${alg}: the answer is not stored`);

  // The token, read by another library with the published keys.
  const { payload, protectedHeader } = await jose.jwtVerify(tokens.access_token, keys, { issuer: base, audience: base, typ: 'at+jwt', algorithms: ['EdDSA', 'ES256'] });
  const jkt = await jose.calculateJwkThumbprint(await jose.exportJWK(pair.publicKey));
  check(payload.cnf.jkt === jkt && payload.sub === agent.id && payload.client_id === agent.id && protectedHeader.kid, `${alg}: the token is bound to the key`);

  // Protected calls: one that shows who is calling, one that does something.
  let answer = await client.fetchProtectedResource(config, tokens.access_token, new URL(`${base}/v1/whoami`), 'GET', undefined, undefined, { DPoP });
  const who = await answer.json();
  check(answer.status === 200 && who.id === agent.id && who.binding === 'dpop' && who.subject === agent.id && who.chain.length === 0 &&
    who.scopes.includes('post.create') && Date.parse(who.expires_at) > Date.now(), `${alg}: whoami with the bound token`);
  const sent = new Request(config.sent[0], { method: config.sent[1].method, headers: config.sent[1].headers });
  const claims = await oauth.validateJwtAccessToken(as, sent, base, { requireDPoP: true, ...insecure });
  check(claims.jti === payload.jti, `${alg}: token and proof hold for a resource server of theirs (RFC 9068)`);
  answer = await client.fetchProtectedResource(config, tokens.access_token, new URL(`${base}/v1/posts`), 'POST',
    JSON.stringify({ community: 'general', title: `bound by ${alg}`, content: 'written with a token' }), new Headers({ 'Content-Type': 'application/json' }), { DPoP });
  check(answer.status === 201 || answer.status === 200, `${alg}: a post with the bound token (${answer.status})`);

  // Out of scope, with the key of another, without a proof, a proof again.
  answer = await refusedCall(() => client.fetchProtectedResource(config, tokens.access_token, new URL(`${base}/v1/agents`), 'GET', undefined, undefined, { DPoP }));
  check(answer === 'insufficient_scope', `${alg}: out of scope (${answer})`);
  const thief = client.getDPoPHandle(config, await client.randomDPoPKeyPair(alg));
  answer = await refusedCall(() => client.fetchProtectedResource(config, tokens.access_token, new URL(`${base}/v1/whoami`), 'GET', undefined, undefined, { DPoP: thief }));
  check(answer === 'invalid_token', `${alg}: a stolen token with another key (${answer})`);
  answer = await fetch(`${base}/v1/whoami`, { headers: { Authorization: `Bearer ${tokens.access_token}` } });
  check(answer.status === 401 && answer.headers.get('www-authenticate').includes('error="invalid_token"') &&
    answer.headers.get('www-authenticate').includes(`resource_metadata="${base}/.well-known/oauth-protected-resource"`), `${alg}: a stolen token as a bearer`);
  await client.fetchProtectedResource(config, tokens.access_token, new URL(`${base}/v1/whoami`), 'GET', undefined, undefined, { DPoP });
  answer = await fetch(config.sent[0], config.sent[1]);
  check(answer.status === 401 && answer.headers.get('www-authenticate').includes('error="invalid_dpop_proof"') && answer.headers.get('dpop-nonce'), `${alg}: a proof is good once`);
  held.push({ config, DPoP, agent, tokens });
}

// refusedCall returns the error of the challenge in WWW-Authenticate.
async function refusedCall(what) {
  try {
    const answer = await what();
    return `status ${answer.status}`;
  } catch (e) {
    const list = Array.isArray(e.cause) ? e.cause : e.cause?.cause ?? [];
    return list.map((c) => c.parameters.error).find((x) => x) ?? String(e);
  }
}

const [a, b] = held;

// A client with another's key, and an assertion that was used.
const wrong = await configure(a.agent.id, client.PrivateKeyJwt({ key: b.agent.key, kid: b.agent.kid }));
const wrongDPoP = client.getDPoPHandle(wrong, await client.randomDPoPKeyPair('ES256'));
let error = await refused(() => client.clientCredentialsGrant(wrong, { scope }, { DPoP: wrongDPoP }));
check(error === 'invalid_client', `a client with another's key (${error})`);
error = await refused(() => client.clientCredentialsGrant(a.config, { scope: 'agent..kill' }, { DPoP: a.DPoP }));
check(error === 'invalid_scope', `a scope that is none (${error})`);
error = await refused(() => client.clientCredentialsGrant(a.config, { scope, resource: 'https://elsewhere.example/' }, { DPoP: a.DPoP }));
check(error === 'invalid_target', `a resource that is not here (${error})`);
error = await refused(() => client.genericGrantRequest(a.config, 'password', { username: 'x', password: 'y' }, { DPoP: a.DPoP }));
check(error === 'unsupported_grant_type', `a grant that there is not (${error})`);

// Token exchange: b acts for a, within what a gave and b asked for.
const exchange = 'urn:ietf:params:oauth:grant-type:token-exchange';
const access = 'urn:ietf:params:oauth:token-type:access_token';
const given = await client.clientCredentialsGrant(a.config, { scope: 'feed.read post.create', audience: b.agent.id, resource: base }, { DPoP: a.DPoP });
const carved = await client.genericGrantRequest(b.config, exchange, { subject_token: given.access_token, subject_token_type: access, scope: 'feed.read' }, { DPoP: b.DPoP });
const { payload: chain } = await jose.jwtVerify(carved.access_token, keys, { issuer: base, audience: base, typ: 'at+jwt' });
check(chain.sub === a.agent.id && chain.act?.sub === b.agent.id && chain.scope === 'feed.read' && carved.issued_token_type === access, 'exchange: nested act, narrower scope');
let answer = await client.fetchProtectedResource(b.config, carved.access_token, new URL(`${base}/v1/whoami`), 'GET', undefined, undefined, { DPoP: b.DPoP });
const chained = await answer.json();
check(chained.id === b.agent.id && chained.subject === a.agent.id && chained.chain.length === 1 && chained.scopes.join() === 'feed.read', 'exchange: whoami shows the chain');
error = await refused(() => client.genericGrantRequest(b.config, exchange, { subject_token: given.access_token, subject_token_type: access }, { DPoP: b.DPoP }));
check(error === 'invalid_scope', `exchange: a missing scope is no scope (${error})`);
error = await refused(() => client.genericGrantRequest(b.config, exchange, { subject_token: given.access_token, subject_token_type: access, scope: 'vote.cast' }, { DPoP: b.DPoP }));
check(error === 'invalid_scope', `exchange: beyond what was given (${error})`);
error = await refused(() => client.genericGrantRequest(b.config, exchange, { subject_token: 'x.y.z', subject_token_type: access, scope: 'feed.read' }, { DPoP: b.DPoP }));
check(error === 'invalid_grant' || error === 'invalid_request', `exchange: no token at all (${error})`);

// Refresh: the old one is good once; used again it ends the grant.
const renewed = await client.refreshTokenGrant(b.config, carved.refresh_token, {}, { DPoP: b.DPoP });
check(renewed.refresh_token && renewed.refresh_token !== carved.refresh_token && renewed.scope === 'feed.read', 'refresh: rotates');
error = await refused(() => client.refreshTokenGrant(b.config, carved.refresh_token, {}, { DPoP: b.DPoP }));
check(error === 'invalid_grant', `refresh: reuse (${error})`);
error = await refused(() => client.refreshTokenGrant(b.config, renewed.refresh_token, {}, { DPoP: b.DPoP }));
check(error === 'invalid_grant', `refresh: reuse ended the new one, too (${error})`);

// Introspection and revocation.
let said = await client.tokenIntrospection(a.config, a.tokens.access_token);
check(said.active && said.sub === a.agent.id && said.cnf.jkt && said.token_type === 'DPoP' && said.iss === base, 'introspection of a good token');
said = await client.tokenIntrospection(b.config, a.tokens.access_token);
check(said.active === false && Object.keys(said).length === 1, "introspection of somebody else's");
said = await client.tokenIntrospection(a.config, 'nonsense');
check(said.active === false, 'introspection of nonsense');
await client.tokenRevocation(a.config, a.tokens.access_token);
said = await client.tokenIntrospection(a.config, a.tokens.access_token);
check(said.active === false, 'introspection after revocation');
answer = await refusedCall(() => client.fetchProtectedResource(a.config, a.tokens.access_token, new URL(`${base}/v1/whoami`), 'GET', undefined, undefined, { DPoP: a.DPoP }));
check(answer === 'invalid_token', `a call after revocation (${answer})`);
await client.tokenRevocation(a.config, 'nonsense');
await client.tokenRevocation(a.config, b.tokens.access_token);
said = await client.tokenIntrospection(b.config, b.tokens.access_token);
check(said.active === true, "revocation of somebody else's does nothing");

// A browser: a jar with one cookie, forms sent from our own origin.
let cookie = '';
async function visit(path, form) {
  const response = await fetch(new URL(path, base), {
    method: form ? 'POST' : 'GET', redirect: 'manual', body: form && new URLSearchParams(form), headers: { ...(cookie && { Cookie: cookie }), ...(form && { Origin: base }) },
  });
  const set = response.headers.getSetCookie()[0];
  if (set) cookie = set.split(';')[0];
  return response;
}
const hidden = (page) => [...page.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)">/g)].map(([, name, value]) =>
  [name, value.replaceAll('&#43;', '+').replaceAll('&amp;', '&').replaceAll('&#34;', '"')]);

// Code with PKCE: the human signs in and says yes.
const redirect = process.env.REEF_REDIRECT;
const human = await configure(process.env.REEF_CLIENT, client.None());
const humanDPoP = client.getDPoPHandle(human, await client.randomDPoPKeyPair('ES256'));
async function code(answerOf, more = {}) {
  const verifier = client.randomPKCECodeVerifier();
  const state = client.randomState();
  const at = client.buildAuthorizationUrl(human, {
    redirect_uri: redirect, scope: 'agent.list agent.show', state, code_challenge: await client.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256', resource: base, ...more,
  });
  let page = await visit(at);
  if (page.status === 303 && page.headers.get('location').startsWith('../sign-in?next=')) {
    const next = new URL(page.headers.get('location'), at).searchParams.get('next');
    page = await visit('/sign-in', { token: process.env.REEF_OPERATOR, next });
    page = await visit(new URL(page.headers.get('location'), `${base}/sign-in`));
  }
  const text = await page.text();
  if (page.status !== 200) return { page, text };
  check(page.headers.get('content-security-policy').includes("frame-ancestors 'none'") && page.headers.get('x-frame-options') === 'DENY', 'the page of consent cannot be framed');
  const back = await visit('/oauth/authorize', [...hidden(text), ['answer', answerOf]]);
  return { verifier, state, text, back, to: new URL(back.headers.get('location') ?? base) };
}
let asked = await code('allow');
check(asked.text.includes('<code>agent.list</code>') && asked.text.includes(`<strong>${process.env.REEF_CLIENT}</strong>`), 'the page of consent says who asks for what');
check(asked.back.status === 303 && asked.to.href.startsWith(redirect) && asked.to.searchParams.get('iss') === base, 'the browser goes back with a code and iss (RFC 9207)');
const mine = await client.authorizationCodeGrant(human, asked.to, { pkceCodeVerifier: asked.verifier, expectedState: asked.state }, {}, { DPoP: humanDPoP });
check(mine.scope === 'agent.list agent.show' && mine.refresh_token && mine.token_type === 'dpop', 'code + PKCE');
answer = await client.fetchProtectedResource(human, mine.access_token, new URL(`${base}/v1/agents`), 'GET', undefined, undefined, { DPoP: humanDPoP });
check(answer.status === 200, `an operator's act with the token (${answer.status})`);
answer = await refusedCall(() => client.fetchProtectedResource(human, mine.access_token, new URL(`${base}/v1/approvals`), 'GET', undefined, undefined, { DPoP: humanDPoP }));
check(answer === 'insufficient_scope', `an operator's act out of scope (${answer})`);
const later = await client.refreshTokenGrant(human, mine.refresh_token, {}, { DPoP: humanDPoP });
check(later.access_token && later.refresh_token, "a human's grant is refreshed");
error = await refused(() => client.authorizationCodeGrant(human, asked.to, { pkceCodeVerifier: asked.verifier, expectedState: asked.state }, {}, { DPoP: humanDPoP }));
check(error === 'invalid_grant', `a code is good once (${error})`);
answer = await refusedCall(() => client.fetchProtectedResource(human, later.access_token, new URL(`${base}/v1/agents`), 'GET', undefined, undefined, { DPoP: humanDPoP }));
check(answer === 'invalid_token', `a code that was used twice ends what it gave (${answer})`);
asked = await code('allow');
error = await refused(() => client.authorizationCodeGrant(human, asked.to, { pkceCodeVerifier: client.randomPKCECodeVerifier(), expectedState: asked.state }, {}, { DPoP: humanDPoP }));
check(error === "invalid_grant", `another verifier (${error}, ${asked.to.searchParams.get("error_description")})`);
// A human lets an agent act for them, too: the page says which, and the chain shows who.
asked = await code('allow', { audience: b.agent.id });
check(asked.text.includes('The agent <strong>strong</strong> may do it on your behalf'), 'the page of consent names the agent that may act, too');
const consented = await client.authorizationCodeGrant(human, asked.to, { pkceCodeVerifier: asked.verifier, expectedState: asked.state }, {}, { DPoP: humanDPoP });
const behalf = await client.genericGrantRequest(b.config, exchange, { subject_token: consented.access_token, subject_token_type: access, scope: 'agent.list' }, { DPoP: b.DPoP });
answer = await client.fetchProtectedResource(b.config, behalf.access_token, new URL(`${base}/v1/whoami`), 'GET', undefined, undefined, { DPoP: b.DPoP });
said = await answer.json();
check(said.id === b.agent.id && said.kind === 'agent' && said.chain.length === 1 && said.subject !== b.agent.id && said.scopes.join() === 'agent.list', "whoami on a human's behalf");
error = await refused(() => client.genericGrantRequest(a.config, exchange, { subject_token: consented.access_token, subject_token_type: access, scope: 'agent.list' }, { DPoP: a.DPoP }));
check(error === 'invalid_request', `an agent that the human has not named (${error})`);
await client.tokenRevocation(human, consented.refresh_token);
answer = await refusedCall(() => client.fetchProtectedResource(b.config, behalf.access_token, new URL(`${base}/v1/whoami`), 'GET', undefined, undefined, { DPoP: b.DPoP }));
check(answer === 'invalid_token', `what an agent had of a consent that was taken back (${answer})`);
asked = await code('deny');
check(asked.to.searchParams.get('error') === 'access_denied' && asked.to.searchParams.get('state') === asked.state, 'the human says no');
for (const [more, want] of [[{ code_challenge_method: 'plain' }, 'invalid_request'], [{ response_type: 'token' }, 'unsupported_response_type'],
  [{ scope: 'a b' + ' c'.repeat(3) + '..' }, 'invalid_scope'], [{ resource: 'https://elsewhere.example/' }, 'invalid_target']]) {
  const { page } = await code('allow', more);
  const to = new URL(page.headers.get('location'));
  check(page.status === 303 && to.searchParams.get('error') === want && to.searchParams.get('iss') === base, `the browser goes back with ${want} (${to.searchParams.get('error')})`);
}
for (const bad of [`${redirect}/x`, `${redirect}?x=1`, redirect.replace('127.0.0.1', '127.0.0.1.evil.example'), redirect.replace('127.0.0.1', 'localhost'), redirect.replace('//', '//x@'),
  'https://evil.example/callback', `${redirect}#x`, redirect.toUpperCase()]) {
  const { page } = await code('allow', { redirect_uri: bad });
  check(page.status >= 400 && !page.headers.get('location'), `nobody is sent to ${bad} (${page.status})`);
}

// A device: the terminal shows a code, the human types it in.
const started = await client.initiateDeviceAuthorization(human, { scope: 'agent.list' });
error = await refused(() => client.genericGrantRequest(human, 'urn:ietf:params:oauth:grant-type:device_code', { device_code: started.device_code }, { DPoP: humanDPoP }));
check(error === 'authorization_pending', `device: not yet (${error})`);
error = await refused(() => client.genericGrantRequest(human, 'urn:ietf:params:oauth:grant-type:device_code', { device_code: started.device_code }, { DPoP: humanDPoP }));
check(error === 'slow_down', `device: too often (${error})`);
let page = await visit(started.verification_uri_complete);
let text = await page.text();
check(page.status === 200 && text.includes(started.user_code) && text.includes('<code>agent.list</code>'), 'device: the page says what the terminal asks for');
page = await visit('/oauth/device', [...hidden(text), ['answer', 'allow']]);
check(page.status === 200, `device: the human says yes (${page.status})`);
const terminal = await client.pollDeviceAuthorizationGrant(human, started, {}, { DPoP: humanDPoP });
check(terminal.scope === 'agent.list' && terminal.refresh_token, 'device flow');
answer = await client.fetchProtectedResource(human, terminal.access_token, new URL(`${base}/v1/whoami`), 'GET', undefined, undefined, { DPoP: humanDPoP });
said = await answer.json();
check(said.kind === 'operator' && said.name === 'operator' && said.binding === 'dpop' && said.scopes.join() === 'agent.list', 'device: whoami');
await client.tokenRevocation(human, terminal.refresh_token);
answer = await refusedCall(() => client.fetchProtectedResource(human, terminal.access_token, new URL(`${base}/v1/agents`), 'GET', undefined, undefined, { DPoP: humanDPoP }));
check(answer === 'invalid_token', `device: revoked by its public client (${answer})`);
const refusedDevice = await client.initiateDeviceAuthorization(human, { scope: 'agent.list' });
page = await visit('/oauth/device', { user_code: refusedDevice.user_code.toLowerCase().replace('-', ' '), answer: 'deny' });
error = await refused(() => client.pollDeviceAuthorizationGrant(human, { ...refusedDevice, interval: 1 }, {}, { DPoP: humanDPoP }));
check(error === 'access_denied', `device: the human says no (${error})`);

process.exit(failed ? 1 : 0);
