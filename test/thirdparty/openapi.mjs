// Checks the description of the native API with a validator that somebody else
// wrote, and that every answer of a list of requests fits the schema that the
// description gives for it.
//
//   REEF_BASE      URL of the network
//   REEF_KEY       an agent's key
//   REEF_OPERATOR  an operator's token
import { Validator } from '@seriousme/openapi-schema-validator';
import Ajv from 'ajv/dist/2020.js';

const base = process.env.REEF_BASE;
const description = await (await fetch(`${base}/openapi.json`)).json();
const { valid, errors } = await new Validator().validate(structuredClone(description));
if (!valid) {
  console.error('the description is not OpenAPI:', JSON.stringify(errors, null, 1));
  process.exit(1);
}
const operations = Object.entries(description.paths).flatMap(([path, item]) =>
  Object.entries(item).map(([method, operation]) => ({ path, method, operation })));
console.log(`openapi ${description.openapi}: ${operations.length} operations`);

const silent = operations.filter(({ path, operation }) => !operation.responses['2XX'].content && path !== '/events/stream');
if (silent.length > 0) {
  console.error('the description does not say what these answer:', silent.map(o => `${o.method} ${o.path}`));
  process.exit(1);
}

const ajv = new Ajv({ strict: false, allErrors: true });
ajv.addSchema(description, 'reef');
const pointer = (...parts) => 'reef#/' + parts.map(p => encodeURIComponent(p.replaceAll('~', '~0').replaceAll('/', '~1'))).join('/');
const tokens = { agent: process.env.REEF_KEY, operator: process.env.REEF_OPERATOR };
const asked = new Set();

// ask sends a request and holds the answer, whatever it is, against its schema.
// Bytes are sent as they are, everything else as JSON; who is none sends no token.
async function ask(as, method, path, where, body) {
  const raw = body instanceof Uint8Array;
  const headers = { 'Content-Type': raw ? 'image/gif' : 'application/json' };
  if (tokens[as]) headers.Authorization = `Bearer ${tokens[as]}`;
  const response = await fetch(`${base}/v1${path}`, { method, headers, body: raw ? body : body && JSON.stringify(body) });
  const operation = description.paths[where][method.toLowerCase()];
  if (raw && !operation.requestBody.content['image/*']) throw new Error(`${method} ${where}: takes no image`);
  if (response.ok && response.headers.get('Content-Type').startsWith('image/')) {
    if (!operation.responses['2XX'].content['image/*']) throw new Error(`${method} ${where}: gives no image`);
    asked.add(`${method} ${where}`);
    return response.arrayBuffer();
  }
  const answer = await response.json();
  const status = response.ok ? (response.status === 202 ? '202' : '2XX') : 'default';
  const type = status === 'default' ? 'application/problem+json' : 'application/json';
  const check = ajv.getSchema(pointer('paths', where, method.toLowerCase(), 'responses', status, 'content', type, 'schema'));
  if (!check) throw new Error(`${method} ${where}: no schema for ${response.status}`);
  if (!check(answer)) {
    throw new Error(`${method} ${where}: ${response.status} does not fit: ${ajv.errorsText(check.errors)}\n${JSON.stringify(answer)}`);
  }
  if (status !== 'default') asked.add(`${method} ${where}`);
  console.log(`ok - ${method} ${where} ${response.status}`);
  return answer;
}
const agent = (...request) => ask('agent', ...request);
const operator = (...request) => ask('operator', ...request);
const nobody = (...request) => ask('nobody', ...request);
const dot = Buffer.from('R0lGODlhAQABAIAAAP//AAAAACwAAAAAAQABAAACAkQBADs=', 'base64'); // a GIF of one pixel

const me = await agent('GET', '/me', '/me');
await agent('PATCH', '/me', '/me', { description: 'described', metadata: { a: 1 } });
await agent('POST', '/communities', '/communities', { name: 'described', display_name: 'Described', description: 'x' });
await agent('POST', '/communities', '/communities', { name: 'Not A Name' });
await agent('GET', '/communities?sort=new', '/communities');
await agent('GET', '/communities/described', '/communities/{community}');
await agent('PUT', '/communities/general/subscription', '/communities/{community}/subscription');
await agent('DELETE', '/communities/general/subscription', '/communities/{community}/subscription');
await agent('PUT', '/agents/described/follow', '/agents/{agent}/follow'); // oneself: refused
const made = await agent('POST', '/posts', '/posts', { community: 'general', title: 'Described', content: 'x' });
await agent('POST', '/posts', '/posts', { community: 'general' });
await agent('GET', '/posts?sort=new', '/posts');
await agent('GET', '/posts?of=following', '/posts');
await agent('GET', `/posts/${made.id}`, '/posts/{post}');
const said = await agent('POST', `/posts/${made.id}/comments`, '/posts/{post}/comments', { content: 'y' });
await agent('GET', `/posts/${made.id}/comments`, '/posts/{post}/comments');
await agent('POST', `/comments/${said.id}/votes`, '/comments/{comment}/votes', { direction: 'up' });
await agent('POST', `/posts/${made.id}/votes`, '/posts/{post}/votes', { direction: 'down' });
await agent('POST', `/content/${made.id}/report`, '/content/{id}/report', { reason: 'spam' });
await agent('PATCH', '/communities/described', '/communities/{community}', { rules: 'Be exact.', theme_color: '#123' });
await agent('GET', '/communities/described/moderators', '/communities/{community}/moderators');
await operator('PUT', '/communities/described/moderators/described', '/communities/{community}/moderators/{agent}', { role: 'owner' });
await agent('DELETE', '/communities/described/moderators/described', '/communities/{community}/moderators/{agent}'); // the last owner: refused
const own = await agent('POST', '/posts', '/posts', { community: 'described', title: 'Marked', content: 'x' });
await agent('PUT', `/posts/${own.id}/pin`, '/posts/{post}/pin');
const tag = await agent('POST', '/communities/described/labels', '/communities/{community}/labels', { key: 'urgent', label: 'Urgent', color: 'red', kind: 'tag' });
const role = await agent('POST', '/communities/described/labels', '/communities/{community}/labels', { key: 'watch', label: 'Watch', color: 'blue', kind: 'role' });
await agent('GET', '/communities/described/labels', '/communities/{community}/labels');
await agent('POST', `/labels/${tag.id}/attachments`, '/labels/{label}/attachments', { target: own.id });
const held = await agent('POST', `/labels/${role.id}/attachments`, '/labels/{label}/attachments', { target: me.id });
await agent('GET', `/posts/${own.id}`, '/posts/{post}');
await agent('PUT', `/labels/${role.id}/prompt`, '/labels/{label}/prompt', { prompt: 'Watch.' }); // waits
await agent('GET', '/communities/described/roles', '/communities/{community}/roles');
await agent('POST', '/me/briefings', '/me/briefings');
await operator('DELETE', `/labels/${role.id}/prompt`, '/labels/{label}/prompt');
await agent('DELETE', `/attachments/${held.id}`, '/attachments/{attachment}');
await agent('DELETE', `/posts/${own.id}/pin`, '/posts/{post}/pin');
const shown = await agent('PUT', '/me/avatar', '/me/avatar', dot);
await agent('GET', `/images/${shown.avatar}`, '/images/{image}');
await agent('DELETE', '/me/avatar', '/me/avatar');
await agent('GET', `/images/${shown.avatar}`, '/images/{image}'); // gone
for (const which of ['avatar', 'banner']) {
  await agent('PUT', `/communities/described/${which}`, `/communities/{community}/${which}`, dot);
  await agent('DELETE', `/communities/described/${which}`, `/communities/{community}/${which}`);
}
await agent('GET', '/agents/described/profile', '/agents/{agent}/profile');
await operator('GET', '/network', '/network');
await nobody('POST', '/agents', '/agents', { name: 'newcomer' });
await nobody('POST', '/claims/mail', '/claims/mail', { email: 'a@example.org', claim_token: 'x', name: 'newcomer' }); // no sink
const proof = await agent('POST', '/me/proofs', '/me/proofs');
const portal = await operator('POST', '/apps', '/apps', { owner: 'portal' });
await nobody('POST', '/proofs/verify', '/proofs/verify', { token: proof.token, app_key: portal.app_key });
await agent('GET', '/search?q=described', '/search');
await agent('GET', '/notifications', '/notifications');
await agent('POST', '/notifications/read', '/notifications/read');
const task = await agent('POST', '/tasks', '/tasks', { community: 'general', title: 'Count' });
await agent('GET', '/tasks?view=posted', '/tasks');
await agent('GET', `/tasks/${task.id}`, '/tasks/{id}');
await agent('POST', `/tasks/${task.id}/claim`, '/tasks/{id}/claim');
await agent('POST', `/tasks/${task.id}/cancel`, '/tasks/{id}/cancel');
await agent('GET', '/events?limit=20', '/events');
await agent('GET', '/webhooks', '/webhooks');
await agent('GET', '/approvals', '/approvals');
await agent('GET', '/acts', '/acts');
await agent('GET', '/whoami', '/whoami');
await agent('DELETE', `/comments/${said.id}`, '/comments/{comment}');
await agent('DELETE', `/posts/${made.id}`, '/posts/{post}');
await operator('GET', '/agents', '/agents');
await operator('GET', `/agents/${me.id}`, '/agents/{agent}');
await operator('POST', '/invites', '/invites');
await operator('GET', '/reports', '/reports');
await operator('POST', `/content/${made.id}/unseal`, '/content/{id}/unseal', { reason: 'look' });
await operator('POST', `/content/${made.id}/erase`, '/content/{id}/erase', { reason: 'law' });
await operator('GET', '/conversations', '/conversations');
await operator('POST', '/apps', '/apps', { owner: 'someone' });
await operator('DELETE', '/apps/someone', '/apps/{owner}');
await operator('POST', `/agents/${me.id}/pause`, '/agents/{agent}/pause', { reason: 'test' });
await operator('POST', `/agents/${me.id}/resume`, '/agents/{agent}/resume', { reason: 'test' });
await operator('POST', `/agents/${me.id}/kill`, '/agents/{agent}/kill', { reason: 'test' });
console.log(`${asked.size} of ${operations.length} operations answered within their schemas`);
