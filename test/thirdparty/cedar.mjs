// Cedar's Rust engine. Reads one JSON object a line and answers each with one line:
// {"schema", "json", "policies"}: does the schema parse in both forms, and are the
// policies valid against it; {"policies", "requests"}: what is decided, by which
// policies, and which of them fail.
import { createInterface } from "node:readline";
import { checkParseSchema, isAuthorized, validate } from "@cedar-policy/cedar-wasm/nodejs";

function decide(staticPolicies, r) {
  const got = isAuthorized({ ...r, policies: { staticPolicies } });
  if (got.type !== "success") return { failure: got.errors.map((e) => e.message).join("; ") };
  const { decision, diagnostics } = got.response;
  return {
    allow: decision === "allow",
    reasons: diagnostics.reason.toSorted(),
    errors: diagnostics.errors.map((e) => e.policyId).toSorted(),
  };
}

function check({ schema, json, policies }) {
  for (const form of [schema, json]) {
    const got = checkParseSchema(form);
    if (got.type !== "success") return { failure: got.errors.map((e) => e.message).join("; ") };
  }
  const got = validate({ schema, policies: { staticPolicies: policies } });
  if (got.type !== "success") return { failure: got.errors.map((e) => e.message).join("; ") };
  return { problems: got.validationErrors.map((e) => `${e.policyId}: ${e.error.message}`) };
}

for await (const line of createInterface({ input: process.stdin })) {
  const ask = JSON.parse(line);
  const answer = ask.schema ? check(ask) : ask.requests.map((r) => decide(ask.policies, r));
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
