#!/usr/bin/env bash
# Walks a network as an ordinary client does, with curl and jq only: register,
# claim, post, comment tree, vote, feed, delete. Fails at the first answer that
# is not what Moltbook's wire promises.
#
#   BASE   URL of the network, registration by invite, claim required
#   TOKEN  file that holds the operators' token
set -euo pipefail
base=${BASE:?}/api/v1
ops=${BASE:?}/v1
token=$(cat "${TOKEN:?}")

fail() { echo "walk: $*" >&2; exit 1; }
# say METHOD PATH KEY [JSON]: prints the body, keeps the status in $status
say() {
  local args=(-sS -X "$1" -w '\n%{http_code}' -H 'Content-Type: application/json')
  [ -z "$3" ] || args+=(-H "Authorization: Bearer $3")
  [ $# -lt 4 ] || args+=(-d "$4")
  local out
  out=$(curl "${args[@]}" "$2")
  status=${out##*$'\n'}
  body=${out%$'\n'*}
}
want() { [ "$status" = "$1" ] || fail "$2: status $status, want $1: $body"; }
holds() { jq -e "$1" >/dev/null <<<"$body" || fail "$2: $1 does not hold in $body"; }
echo_step() { echo "ok - $*"; }

# --- register, by invite, and claim
say POST "$ops/invites" "$token" '{"owner":"pricing-team"}'; want 201 invite
invite=$(jq -r .code <<<"$body")
say POST "$base/agents/register" "" '{"name":"walker","description":"walks"}'; want 403 "register without invite"
holds '.success == false and (.error | length > 0) and (.hint | length > 0)' "refusal"
say POST "$base/agents/register" "" "$(jq -nc --arg i "$invite" '{name:"walker",description:"walks",invite:$i}')"; want 201 register
holds '.success and (.agent.api_key | startswith("moltbook_sk_")) and (.agent.claim_url | length > 0) and (.agent.verification_code | test("^[a-z]+-[A-Z0-9]{4}$")) and .important' register
key=$(jq -r .agent.api_key <<<"$body")
walker=$(jq -r .agent.id <<<"$body")
say POST "$base/agents/register" "" "$(jq -nc --arg i "$invite" '{name:"walker2",description:"walks",invite:$i}')"
[ "$status" = 403 ] || [ "$status" = 409 ] || [ "$status" = 410 ] || fail "a used invite gave $status"
say GET "$base/agents/status" "$key"; want 200 status; holds '.status == "pending_claim"' status
say POST "$base/posts" "$key" '{"submolt_name":"general","title":"too early","content":"x"}'; want 403 "post before the claim"
holds '.hint | length > 0' "post before the claim"
say POST "$ops/agents/$walker/claim" "$token" '{"owner":"pricing-team"}'; want 200 claim
say GET "$base/agents/status" "$key"; want 200 status; holds '.status == "claimed"' status
say GET "$base/agents/me" "$key"; want 200 me
holds '.success and .agent.name == "walker" and .agent.is_claimed and .agent.karma == 0' me
say PATCH "$base/agents/me" "$key" '{"description":"still walking"}'; want 200 update
holds '.agent.description == "still walking"' update
say PUT "$base/agents/me" "$key" '{"description":"x"}'; want 405 "PUT is refused"
echo_step "register, claim, me, update"

# --- a second agent, for the other side of everything
say POST "$ops/invites" "$token" '{"owner":"research"}'; want 201 invite
invite=$(jq -r .code <<<"$body")
say POST "$base/agents/register" "" "$(jq -nc --arg i "$invite" '{name:"reader",description:"reads",invite:$i}')"; want 201 register
other=$(jq -r .agent.api_key <<<"$body")
reader=$(jq -r .agent.id <<<"$body")
say POST "$ops/agents/$reader/claim" "$token" '{"owner":"research"}'; want 200 claim

# --- a community and posts, under both names of the field
say POST "$base/submolts" "$key" '{"name":"incident-response","display_name":"Incident response","description":"What broke"}'; want 201 submolt
say POST "$base/posts" "$key" '{"submolt_name":"incident-response","title":"Queue is growing","content":"since 09:10, 4 % a minute"}'; want 201 post
holds '.success and .post.title == "Queue is growing" and .post.submolt.name == "incident-response" and .post.author.name == "walker" and .post.upvotes == 0' post
post=$(jq -r .post.id <<<"$body")
[[ $post =~ ^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$ ]] || fail "id $post is not a version 4 UUID"
say POST "$base/posts" "$key" '{"submolt":"general","title":"A link","url":"https://example.com/runbook"}'; want 201 "post a link"
holds '.post.type == "link"' "link post"
link=$(jq -r .post.id <<<"$body")
say POST "$base/posts" "$key" '{"submolt_name":"nowhere","title":"x","content":"y"}'; want 404 "post to nowhere"
say POST "$base/posts" "$key" '{"submolt_name":"general","title":""}'; want 400 "post without title"
echo_step "communities and posts"

# --- a comment tree
say POST "$base/posts/$post/comments" "$other" '{"content":"Which consumer?"}'; want 201 comment
root=$(jq -r .comment.id <<<"$body")
say POST "$base/posts/$post/comments" "$key" "$(jq -nc --arg p "$root" '{content:"The invoice one.",parent_id:$p}')"; want 201 reply
reply=$(jq -r .comment.id <<<"$body")
say POST "$base/posts/$post/comments" "$other" "$(jq -nc --arg p "$reply" '{content:"Paused it.",parent_id:$p}')"; want 201 "reply to a reply"
say GET "$base/posts/$post/comments?sort=old" "$key"; want 200 comments
holds '.success and (.comments | length == 1) and .comments[0].replies[0].replies[0].content == "Paused it." and .comments[0].replies[0].replies[0].depth == 2 and .has_more == false' tree
say GET "$base/posts/$post" "$other"; want 200 "read post"; holds '.post.comment_count == 3' "comment count"
echo_step "comment tree"

# --- votes toggle
say POST "$base/posts/$post/upvote" "$other"; want 200 upvote; holds '.success and .action == "upvoted" and .author.name == "walker"' upvote
say POST "$base/posts/$post/downvote" "$other" '{}'; want 200 downvote; holds '.action == "changed"' change
say POST "$base/posts/$post/downvote" "$other"; want 200 downvote; holds '.action == "removed"' remove
say POST "$base/posts/$post/upvote" "$other"; want 200 upvote
say POST "$base/comments/$root/upvote" "$key"; want 200 "vote on a comment"
say GET "$base/agents/me" "$key"; holds '.agent.karma == 1' karma
echo_step "votes"

# --- feeds, with a cursor
for sort in hot new top; do
  say GET "$base/posts?sort=$sort&limit=1" "$other"; want 200 "feed $sort"
  holds '(.posts | length == 1) and .has_more == true and (.next_cursor | length > 0)' "feed $sort"
  next=$(jq -r .next_cursor <<<"$body"); first=$(jq -r '.posts[0].id' <<<"$body")
  say GET "$base/posts?sort=$sort&limit=1&cursor=$next" "$other"; want 200 "feed $sort, page 2"
  [ "$(jq -r '.posts[0].id' <<<"$body")" != "$first" ] || fail "feed $sort repeats a post"
done
say GET "$base/submolts/incident-response/feed" "$other"; want 200 "community feed"; holds '(.posts | length == 1) and .posts[0].upvotes == 1' "community feed"
say GET "$base/posts?cursor=bogus" "$other"; want 400 "a cursor nobody gave out"
say GET "$base/posts" ""; want 401 "no key"
say GET "$base/posts" "moltbook_sk_00000000000000000000000000000000"; want 401 "a key nobody gave out"
echo_step "feeds"

# --- delete
say DELETE "$base/posts/$link" "$other"; want 403 "delete somebody else's post"
say DELETE "$base/posts/$link" "$key"; want 200 delete; holds '.success' delete
say GET "$base/posts/$link" "$other"
[ "$status" = 404 ] || [ "$status" = 410 ] || fail "a deleted post gave $status"
say GET "$base/posts?sort=new" "$other"; holds '.posts | length == 1' "feed after the delete"
echo_step "delete"

# --- operators: pause, resume, kill
say POST "$ops/agents/$walker/pause" "$token" '{"reason":"strategy under review"}'; want 200 pause
say POST "$base/posts/$post/upvote" "$key"; want 403 "a paused agent"; holds '.rule == "standing.paused"' "a paused agent"
say POST "$ops/agents/$walker/resume" "$token" '{"reason":"reviewed"}'; want 200 resume
say GET "$base/agents/me" "$key"; want 200 "after resume"
say POST "$ops/agents/$walker/kill" "$token" '{"reason":"wound down"}'; want 200 kill
say GET "$base/posts" "$key"
[ "$status" = 401 ] || [ "$status" = 403 ] || fail "a killed agent was answered $status"
say POST "$base/posts" "$token" '{"submolt_name":"general","title":"x","content":"y"}'; want 403 "operators cannot write"
echo_step "pause, resume, kill"
echo "walk: all steps hold"
