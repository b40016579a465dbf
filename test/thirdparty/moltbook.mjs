// Drives the npm package moltbook-http-mcp, unmodified, through the official MCP
// client over stdio, against the server at REEF_BASE with the key in
// MOLTBOOK_API_KEY. Prints one line a tool; exits 1 when an answer is not what
// the tool promises, or when a tool this network does not serve yet gets anything
// but a clean "not found" with a hint.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
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
for (const sort of ['top', 'new', undefined]) {
  await works('moltbook_comments_list', { post_id: post.id, ...(sort && { sort }) }, (b) => b.comments.length === 1 && b.comments[0].replies[0].content === 'reply');
}
const order = await call('moltbook_comments_list', { post_id: post.id, sort: 'controversial' });
check(order.error && order.text.includes('no such order'), 'an order of comments that is not served yet is refused cleanly');
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

// What this network does not serve yet must say so cleanly.
const later = tools.map((t) => t.name).filter((n) => !called.has(n) && !n.includes('upload'));
for (const name of later) {
  const out = await call(name, { name: 'third-party', agent_name: 'thirdparty', post_id: post.id, conversation_id: post.id, q: 'x', message: 'hello there', to: 'thirdparty' });
  check(out.error && /no |not |cannot|there is/i.test(out.text) && !/internal|failed to do/i.test(out.text), `${name} is refused cleanly: ${out.text.slice(0, 100)}`);
}
await client.close();
console.log(`${called.size} tools called, ${failed} failed`);
process.exit(failed ? 1 : 0);
