// Drives the npm package moltbook-http-mcp, unmodified, through the official MCP
// client over stdio, against the server at REEF_BASE. The token in REEF_OPERATOR
// invites and claims its agent and those that it talks with. Prints one line a call,
// "refused - " before those that the network refuses, which whoever runs this compares
// with what it expects; exits 1 when an answer is not what the tool promises or a tool
// was not called.
//
// With REEF_PROXIES, a JSON object of base URLs by agent, the agents are enrolled
// already and each goes through its own proxy, with a key that is none.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const proxies = JSON.parse(process.env.REEF_PROXIES ?? '{}');
const keyless = 'behind-the-proxy';

// ask sends a request of our own and insists on an answer.
async function ask(path, body, key, base = process.env.REEF_BASE) {
  const answer = await fetch(base + path, {
    method: 'POST', headers: { 'Content-Type': 'application/json', ...(key && { Authorization: `Bearer ${key}` }) }, body: JSON.stringify(body),
  });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error ?? said.detail);
  return said;
}

// claim makes an owner answer for an agent.
const claim = (agent) => ask(`/v1/agents/${agent.id}/claim`, { owner: 'somebody' }, process.env.REEF_OPERATOR);

// newcomer makes an agent that may act and returns its key.
async function newcomer(name) {
  if (proxies[name]) return keyless;
  const { code } = await ask('/v1/invites', {}, process.env.REEF_OPERATOR);
  const { agent } = await ask('/api/v1/agents/register', { name, description: 'asks', invite: code });
  await claim(agent);
  return agent.api_key;
}

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const transport = new StdioClientTransport({
  command: process.execPath,
  args: ['--import', at('./redirect.mjs'), at('./node_modules/moltbook-http-mcp/dist/cli.js'), '--stdio'],
  env: { ...process.env, MOLTBOOK_API_KEY: await newcomer('thirdparty'), REEF_BASE: proxies.thirdparty ?? process.env.REEF_BASE },
  stderr: 'ignore',
});
const client = new Client({ name: 'reefwarden-tests', version: '1.0.0' });
await client.connect(transport);

let failed = 0;
const called = new Set();
function check(ok, what) {
  if (!ok) failed++;
  console.log(`${ok ? 'ok' : 'NOT OK'} - ${what}`);
}

// call runs a tool and returns what it answered and whether it was an error.
async function call(name, args = {}) {
  called.add(name);
  try {
    const out = await client.callTool({ name, arguments: args });
    const text = out.content?.map((c) => c.text ?? '').join('') ?? '';
    let body = null;
    try { body = JSON.parse(text); } catch { /* an error is plain text */ }
    return { error: out.isError === true, text, body };
  } catch (e) {
    return { error: true, text: String(e.message ?? e), body: null };
  }
}

async function works(name, args, holds) {
  const out = await call(name, args);
  if (out.error) console.log(`refused - ${name}: ${out.text.replaceAll('\n', ' ')}`);
  else check(holds(out.body ?? {}), name);
  return out.error ? {} : out.body ?? {};
}

const { tools } = await client.listTools();
check(tools.length === 41, `the package lists ${tools.length} tools`);

await works('moltbook_agent_status', {}, (b) => b.status === 'claimed');
await works('moltbook_agent_me', {}, (b) => b.agent.name === 'thirdparty' && b.agent.is_claimed === true);
await works('moltbook_agent_update', { description: 'driven by a client from npm' }, (b) => b.agent.description.startsWith('driven'));
await works('moltbook_submolt_create', { name: 'third-party', display_name: 'Third party', description: 'from npm' }, (b) => b.success === true);
const { post = {} } = await works('moltbook_post_create', { submolt: 'third-party', title: 'From npm', content: 'unmodified' }, (b) => b.post.title === 'From npm');
const link = await works('moltbook_post_create', { submolt: 'general', title: 'A link', url: 'https://example.com/' }, (b) => b.post.url === 'https://example.com/');
await works('moltbook_post_get', { post_id: post.id }, (b) => b.post.id === post.id && b.post.author.name === 'thirdparty' && b.post.submolt.name === 'third-party');
const { comment = {} } = await works('moltbook_comment_add', { post_id: post.id, content: 'root' }, (b) => b.comment.content === 'root');
const reply = await works('moltbook_comment_add', { post_id: post.id, content: 'reply', parent_id: comment.id }, (b) => b.comment.parent_id === comment.id);
for (const sort of ['top', 'new', 'controversial', undefined]) {
  await works('moltbook_comments_list', { post_id: post.id, ...(sort && { sort }) }, (b) => b.comments.length === 1 && b.comments[0].replies.map((r) => r.content).join() === (reply.comment ? 'reply' : ''));
}
await works('moltbook_comment_upvote', { comment_id: comment.id }, (b) => b.success === true && b.action === 'upvoted');
await works('moltbook_post_upvote', { post_id: post.id }, (b) => b.action === 'upvoted');
await works('moltbook_post_downvote', { post_id: post.id }, (b) => b.action === 'changed');
for (const sort of ['hot', 'new', 'top']) {
  await works('moltbook_feed', { sort, limit: 5 }, (b) => b.posts.length === (link.post ? 2 : 1));
  await works('moltbook_posts_list', { sort, limit: 5, submolt: 'third-party' }, (b) => b.posts.length === 1 && b.posts[0].downvotes === 1);
}
const registered = await works('moltbook_agent_register', { name: 'from-npm', description: 'registered by the package' }, (b) => b.agent.api_key.startsWith('moltbook_sk_'));
if (registered.agent) await claim(registered.agent);
else await newcomer('from-npm');

// A picture of one pixel, for the uploads: a file part without a type.
const picture = join(await mkdtemp(join(tmpdir(), 'reef-')), 'pixel.png');
await writeFile(picture, Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64'));
await works('moltbook_agent_avatar_upload', { file_path: picture }, (b) => b.success === true);
await works('moltbook_agent_avatar_remove', {}, (b) => b.success === true);
await works('moltbook_submolt_avatar_upload', { name: 'third-party', file_path: picture }, (b) => b.submolt.avatar_url.includes('/images/'));
await works('moltbook_submolt_banner_upload', { name: 'third-party', file_path: picture }, (b) => b.submolt.banner_url.includes('/images/'));
await works('moltbook_submolt_settings', { name: 'third-party', description: 'steered from npm', theme_color: '#224466' }, (b) => b.success === true);
await works('moltbook_submolt_get', { name: 'third-party' }, (b) => b.submolt.description === 'steered from npm' && b.your_role === 'owner');
await works('moltbook_submolts_list', {}, (b) => b.submolts.some((s) => s.name === 'third-party'));
await works('moltbook_submolt_subscribe', { name: 'general' }, (b) => b.success === true);
await works('moltbook_submolt_unsubscribe', { name: 'general' }, (b) => b.success === true);
await works('moltbook_submolt_moderator_add', { name: 'third-party', agent_name: 'from-npm', role: 'moderator' }, (b) => b.success === true);
await works('moltbook_submolt_moderators_list', { name: 'third-party' }, (b) => JSON.stringify(b).includes('from-npm'));
await works('moltbook_submolt_moderator_remove', { name: 'third-party', agent_name: 'from-npm' }, (b) => b.success === true);
await works('moltbook_post_pin', { post_id: post.id }, (b) => b.success === true);
await works('moltbook_post_unpin', { post_id: post.id }, (b) => b.success === true);
await works('moltbook_agent_profile', { name: 'from-npm' }, (b) => b.agent.name === 'from-npm' && Array.isArray(b.recentPosts));
await works('moltbook_follow', { agent_name: 'from-npm' }, (b) => b.success === true);
await works('moltbook_unfollow', { agent_name: 'from-npm' }, (b) => b.success === true);
await works('moltbook_search', { q: 'unmodified npm', type: 'posts', limit: 5 }, (b) => Array.isArray(b.results));

// Messages: others ask this agent, which approves one and refuses one, and it
// asks another. Where agents that are new may not ask, nothing is there to answer.
const asks = async (name) => {
  const key = await newcomer(name);
  try {
    return (await ask('/api/v1/agents/dm/request', { to: 'thirdparty', message: 'May I ask you something?' }, key, proxies[name])).conversation_id;
  } catch (e) {
    console.log(`refused - ${name} asks: ${e}`);
    return post.id;
  }
};
const [friend, stranger] = [await asks('friend'), await asks('stranger')];
const waiting = friend === post.id ? 0 : 2;
await works('moltbook_dm_check', {}, (b) => b.has_activity === waiting > 0 && (b.requests?.count ?? 0) === waiting);
await works('moltbook_dm_requests', {}, (b) => JSON.stringify(b).includes(friend) === waiting > 0);
await works('moltbook_dm_approve', { conversation_id: friend }, (b) => b.success === true);
await works('moltbook_dm_reject', { conversation_id: stranger, block: true }, (b) => b.success === true);
await works('moltbook_dm_send', { conversation_id: friend, message: 'Ask.' }, (b) => b.success === true);
await works('moltbook_dm_conversation', { conversation_id: friend }, (b) => JSON.stringify(b).includes('Ask.'));
await works('moltbook_dm_conversations', {}, (b) => JSON.stringify(b.conversations.items).includes(friend) === waiting > 0);
await works('moltbook_dm_request', { to: 'from-npm', message: 'Shall we talk about feeds?' }, (b) => b.status === 'pending');
await works('moltbook_post_delete', { post_id: (link.post ?? post).id }, (b) => b.success === true);

for (const { name } of tools) check(called.has(name), `${name} was called`);
await client.close();
console.log(`${called.size} tools called, ${failed} failed`);
process.exit(failed ? 1 : 0);
