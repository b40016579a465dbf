// Drives the npm package moltbook-http-mcp, unmodified, through the official MCP
// client over stdio, against the server at REEF_BASE with the key in
// MOLTBOOK_API_KEY. Prints one line a tool; exits 1 when an answer is not what
// the tool promises, when one that is not served yet gets anything but a clean
// refusal, or when a tool was not called.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const transport = new StdioClientTransport({
  command: process.execPath,
  args: ['--import', at('./redirect.mjs'), at('./node_modules/moltbook-http-mcp/dist/cli.js'), '--stdio'],
  env: { ...process.env },
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
  check(!out.error && holds(out.body ?? {}), `${name} ${out.error ? out.text : ''}`);
  return out.body ?? {};
}

const { tools } = await client.listTools();
check(tools.length === 41, `the package lists ${tools.length} tools`);

await works('moltbook_agent_status', {}, (b) => b.status === 'claimed');
await works('moltbook_agent_me', {}, (b) => b.agent.name === 'thirdparty' && b.agent.is_claimed === true);
await works('moltbook_agent_update', { description: 'driven by a client from npm' }, (b) => b.agent.description.startsWith('driven'));
await works('moltbook_submolt_create', { name: 'third-party', display_name: 'Third party', description: 'from npm' }, (b) => b.success === true);
const { post } = await works('moltbook_post_create', { submolt: 'third-party', title: 'From npm', content: 'unmodified' }, (b) => b.post.title === 'From npm');
const link = await works('moltbook_post_create', { submolt: 'general', title: 'A link', url: 'https://example.com/' }, (b) => b.post.url === 'https://example.com/');
await works('moltbook_post_get', { post_id: post.id }, (b) => b.post.id === post.id && b.post.author.name === 'thirdparty' && b.post.submolt.name === 'third-party');
const { comment } = await works('moltbook_comment_add', { post_id: post.id, content: 'root' }, (b) => b.comment.content === 'root');
await works('moltbook_comment_add', { post_id: post.id, content: 'reply', parent_id: comment.id }, (b) => b.comment.parent_id === comment.id);
for (const sort of ['top', 'new', 'controversial', undefined]) {
  await works('moltbook_comments_list', { post_id: post.id, ...(sort && { sort }) }, (b) => b.comments.length === 1 && b.comments[0].replies[0].content === 'reply');
}
await works('moltbook_comment_upvote', { comment_id: comment.id }, (b) => b.success === true && b.action === 'upvoted');
await works('moltbook_post_upvote', { post_id: post.id }, (b) => b.action === 'upvoted');
await works('moltbook_post_downvote', { post_id: post.id }, (b) => b.action === 'changed');
for (const sort of ['hot', 'new', 'top']) {
  await works('moltbook_feed', { sort, limit: 5 }, (b) => b.posts.length === 2);
  await works('moltbook_posts_list', { sort, limit: 5, submolt: 'third-party' }, (b) => b.posts.length === 1 && b.posts[0].downvotes === 1);
}
await works('moltbook_post_delete', { post_id: link.post.id }, (b) => b.success === true);
const registered = await call('moltbook_agent_register', { name: 'from-npm', description: 'registered by the package' });
check(!registered.error && registered.body.agent.api_key.startsWith('moltbook_sk_'), `moltbook_agent_register ${registered.text.slice(0, 80).replace(/moltbook_[a-z]+_\S+/g, '…')}`);

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
// asks another.
const asks = async (name) => {
  const post = (path, body, key) => fetch(`${process.env.REEF_BASE}/api/v1${path}`, {
    method: 'POST', headers: { 'Content-Type': 'application/json', ...(key && { Authorization: `Bearer ${key}` }) }, body: JSON.stringify(body),
  }).then((r) => r.json());
  const { agent } = await post('/agents/register', { name, description: 'asks' });
  return (await post('/agents/dm/request', { to: 'thirdparty', message: 'May I ask you something?' }, agent.api_key)).conversation_id;
};
const [friend, stranger] = [await asks('friend'), await asks('stranger')];
await works('moltbook_dm_check', {}, (b) => b.has_activity === true && b.requests.count === 2);
await works('moltbook_dm_requests', {}, (b) => JSON.stringify(b).includes(friend));
await works('moltbook_dm_approve', { conversation_id: friend }, (b) => b.success === true);
await works('moltbook_dm_reject', { conversation_id: stranger, block: true }, (b) => b.success === true);
await works('moltbook_dm_send', { conversation_id: friend, message: 'Ask.' }, (b) => b.success === true);
await works('moltbook_dm_conversation', { conversation_id: friend }, (b) => JSON.stringify(b).includes('Ask.'));
await works('moltbook_dm_conversations', {}, (b) => JSON.stringify(b.conversations.items).includes(friend));
await works('moltbook_dm_request', { to: 'from-npm', message: 'Shall we talk about feeds?' }, (b) => b.status === 'pending');

for (const { name } of tools) check(called.has(name), `${name} was called`);
await client.close();
console.log(`${called.size} tools called, ${failed} failed`);
process.exit(failed ? 1 : 0);
